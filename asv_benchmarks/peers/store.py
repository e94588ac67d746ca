"""What a store must be able to do to take part, and what all of them share."""

# ruff: noqa: ARG002 - a store that cannot do the work does not look at its arguments

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

from asv_benchmarks.benchmarks.workload import Document

SECTOR_SIZE = 512
"""st_blocks counts in these."""


class WorkUnknown(Exception):
    """A store was asked for work that is not in its `works`."""


class Store(ABC):
    """One peer: `folder` is its own, everything durable unless the work says otherwise.

    Work that a store has no way to do is left out of `works`, and then of the table.
    """

    name: ClassVar[str]
    short: ClassVar[str]
    """As on the command line, see choice.py."""
    is_floor: ClassVar[bool] = False
    """A floor is what the operating system or a dictionary costs; no product can be much below."""
    is_durable: ClassVar[bool] = True
    """Whether a write is on disk when it returns. The writes of others are shown and not compared
    with."""
    samples_max: ClassVar[int | None] = None
    """How often the work is done in a round, for a store that would take minutes otherwise."""
    documents_max: ClassVar[int | None] = None
    """A store that is left out of a run with more documents, because one scan takes seconds."""
    works: ClassVar[frozenset[str]]
    module: ClassVar[str] = ""
    """What a program imports to use it."""
    is_relaxed: bool = False
    """Opened so that a write returns before it is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def open(self) -> None:
        """Open, and create if it is not there."""

    @abstractmethod
    def close(self) -> None:
        """Close; open() may follow."""

    def settle(self) -> None:  # noqa: B027 - most have nothing to do
        """After loading: bring files and caches into the state of a store in use."""

    def reopen(self, *, is_relaxed: bool) -> None:
        """Close, and open with other promises."""
        self.close()
        self.is_relaxed = is_relaxed
        self.open()

    def keep(self) -> None:
        """Put a copy of the files aside, for restore()."""
        if "open" in self.works:
            self.close()
            copied(self.folder, self._kept)
            self.open()

    def restore(self) -> None:
        """Go on with the files that were put aside."""
        if "open" in self.works:
            self.close()
            shutil.rmtree(self.folder)
            copied(self._kept, self.folder)
            self.open()

    @property
    def _kept(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-kept")

    @contextmanager
    def in_thread(self) -> Iterator[Self]:
        """The store as a further thread uses it: itself, unless handles belong to threads."""
        yield self

    def encode(self, document: Document) -> bytes:
        """The bytes that are stored."""
        raise WorkUnknown(self.name)

    def decode(self, data: bytes) -> Document:
        """And back."""
        raise WorkUnknown(self.name)

    def find_one(self, identity: str) -> Document | None:
        """By _id."""
        raise WorkUnknown(self.name)

    def find_at_least(self, importance: float) -> list[Document]:
        """All with at least this importance (no index)."""
        raise WorkUnknown(self.name)

    def find_agent(self, agent: str) -> list[Document]:
        """All of one agent (index)."""
        raise WorkUnknown(self.name)

    def top_importance(self, count: int) -> list[Document]:
        """The greatest by importance (no index)."""
        raise WorkUnknown(self.name)

    def top_created(self, count: int) -> list[Document]:
        """The newest (index)."""
        raise WorkUnknown(self.name)

    def count(self) -> int:
        """All documents."""
        raise WorkUnknown(self.name)

    def count_between(self, first: int, last: int) -> int:
        """Those made from one millisecond since 1970 to another (index)."""
        raise WorkUnknown(self.name)

    def group_agents(self) -> dict[str, float]:
        """The sum of importance of each agent."""
        raise WorkUnknown(self.name)

    def insert_many(self, documents: list[Document]) -> None:
        """In one commit."""
        raise WorkUnknown(self.name)

    def insert_one(self, document: Document) -> None:
        """In a commit of its own."""
        raise WorkUnknown(self.name)

    def update_one(self, identity: str, importance: float) -> None:
        """Set the importance, in a commit of its own."""
        raise WorkUnknown(self.name)

    def delete_one(self, identity: str) -> None:
        """In a commit of its own."""
        raise WorkUnknown(self.name)

    def bytes_on_disk(self, pattern: str = "*") -> int:
        """What the files of this store really occupy, or those of a certain name."""
        return sum(
            os.stat(path).st_blocks * SECTOR_SIZE
            for path in self.folder.rglob(pattern)
            if path.is_file()
        )

    def data_bytes_on_disk(self) -> int:
        """Without logs and history, where these are files of their own."""
        return self.bytes_on_disk()


CODEC_WORKS = frozenset({"encode", "decode"})
READ_WORKS = frozenset(
    {
        "find_one", "find_one cold", "filter 1 %", "filter 20 %", "find by index", "sort+limit",
        "sort+limit index", "count", "count range", "group",
    }
)  # fmt: skip
WRITE_WORKS = frozenset({"insert_one", "insert_many/doc", "update_one", "delete_one"})
THREAD_WORKS = frozenset({"insert_one 4 threads", "insert_one 16 threads"})
RELAXED_WORKS = frozenset({"insert_one no flush", "update_one no flush", "delete_one no flush"})
FILE_WORKS = frozenset(
    {
        "import ms", "open", "disk bytes/doc", "data bytes/doc", "memory MB opened",
        "memory MB scanned",
    }
)  # fmt: skip
ALL_WORKS = CODEC_WORKS | READ_WORKS | WRITE_WORKS | THREAD_WORKS | RELAXED_WORKS | FILE_WORKS


def copied(folder: Path, target: Path) -> None:
    """Copy a folder; a file with holes keeps them (LMDB's is as long as it may ever be)."""
    subprocess.run(["cp", "-a", "--sparse=always", folder, target], check=True)
