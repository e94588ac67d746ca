"""The bound on what blocking stages keep in memory.

Terms       size: what values take as BSON, near enough; account: what one stage of one run keeps.
Invariants  A stage that keeps documents charges their size before it keeps them. Nothing is ever
            written to disk for want of memory: a spill would have to be sealed like the data itself
            (ADR-0016).
Failure     LimitExceeded names the stage and says what to do.
Sources     MongoDB manual, "Aggregation Pipeline Limits".
"""

from __future__ import annotations

from typing import Any

from rango._ext.sizes import size_of, sizes_of
from rango.errors import LimitExceeded
from rango.limits import DOCUMENT_SIZE_BYTES_MAX

KEPT_SIZE_BYTES = 64
"""What is charged for keeping anything at all: a slot of a dictionary and the object's own head."""

__all__ = ["Account", "Memory", "document_size_check", "size_of"]


class Account:
    """What one stage of one run keeps in memory."""

    __slots__ = ("limit_bytes", "name", "used_bytes")

    def __init__(self, name: str, limit_bytes: int) -> None:
        self.name = name
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def charge(self, size_bytes: int) -> None:
        """Keep so much more. Raises LimitExceeded."""
        self.used_bytes += size_bytes
        if self.used_bytes > self.limit_bytes:
            raise LimitExceeded(
                "AGGREGATE_MEMORY_BYTES_MAX",
                self.used_bytes,
                f"{self.name} would keep more than {self.limit_bytes:,} bytes in memory; "
                "put a $match, $limit or $project before it, sort by an index, or pass a larger "
                "memory_bytes_max",
            )

    def charge_documents(self, documents: list[Any]) -> None:
        """Keep these documents. Raises LimitExceeded."""
        self.charge(sizes_of(documents) + KEPT_SIZE_BYTES * len(documents))

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more may be kept: for caches, which can do without."""
        return self.used_bytes + size_bytes <= self.limit_bytes

    def release(self) -> None:
        """Keep nothing any more."""
        self.used_bytes = 0


class Memory:
    """The bound of one run; each blocking stage opens an account."""

    __slots__ = ("limit_bytes",)

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes

    def account(self, name: str) -> Account:
        """An empty account for the stage of that name."""
        return Account(name, self.limit_bytes)


def document_size_check(name: str, document: dict[str, Any]) -> None:
    """LimitExceeded if a document that a stage built is larger than a document may be."""
    size = size_of(document)
    if size > DOCUMENT_SIZE_BYTES_MAX:
        raise LimitExceeded(
            "DOCUMENT_SIZE_BYTES_MAX",
            size,
            f"{name} built a document of about {size:,} bytes; the limit is "
            f"{DOCUMENT_SIZE_BYTES_MAX:,}. Return fewer or smaller values",
        )
