"""Limits that a database was given for itself: kept in its catalog, so every process obeys them.

Terms       document_size_bytes_max: a larger document is refused by every write.
            cache_size_bytes: the page cache of an open that does not ask for another size.
Invariants  A limit is a commit like any other: logged, replayed, seen by all. Documents that were
            there before stay and can be read.
Failure     LimitExceeded names the limit and the size; nothing was written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rango.engine.catalog import DATABASE_ID, Catalog, database_changed
from rango.errors import InvalidArgument, LimitExceeded
from rango.limits import DOCUMENT_SIZE_BYTES_MAX

if TYPE_CHECKING:
    from rango.engine.core import Core

RANGES: Final = {
    "document_size_bytes_max": (64, DOCUMENT_SIZE_BYTES_MAX),
    "cache_size_bytes": (0, 1 << 62),
}
"""Name of a limit -> the least and the greatest value that it may have."""


def limits_of(catalog: Catalog) -> dict[str, int]:
    """The limits that were set, by name."""
    return dict(catalog.settings.get("limits", {}))


def set_limits(core: Core, given: dict[str, int | None]) -> dict[str, int]:
    """Set limits (None takes one back); returns all that are set.

    Raises InvalidArgument for an unknown name or a value out of range.
    """
    for name, value in given.items():
        limit_check(name, value)
    kept: dict[str, int] = {}

    def change(catalog: Catalog) -> list[tuple[int, bytes | None]]:
        merged = {**limits_of(catalog), **given}
        kept.update({name: value for name, value in merged.items() if value is not None})
        return [(DATABASE_ID, database_changed(catalog, limits=kept or None))]

    core.change_catalog(change)
    apply_cache_size(core)
    return kept


def limit_check(name: str, value: int | None) -> None:
    """InvalidArgument unless a limit of this name may have this value."""
    if name not in RANGES:
        raise InvalidArgument(f"there is no limit {name!r}; there are {', '.join(RANGES)}")
    lower, upper = RANGES[name]
    if value is None:
        return
    if type(value) is not int or not lower <= value <= upper:
        raise InvalidArgument(f"{name} must be an int from {lower} to {upper}, not {value!r:.40}")


def apply_cache_size(core: Core) -> None:
    """Give the page cache the size that the database was given, if the open asked for none."""
    size = limits_of(core.store.head.catalog).get("cache_size_bytes")
    if size is not None and not core.options.cache_is_given:
        core.store.pager.cache_resize(size)


def document_check(catalog: Catalog, size: int) -> None:
    """LimitExceeded if a document of this size is more than this database takes."""
    if size > catalog.document_size_bytes_max:
        raise LimitExceeded(
            "document_size_bytes_max",
            size,
            f"the document has {size} bytes; this database takes at most "
            f"{catalog.document_size_bytes_max} (Database.set_limits); split it",
        )


def is_purging(core: Core) -> bool:
    """Whether a purge was begun and is not complete."""
    return bool(core.store.head.catalog.settings.get("is_purging"))
