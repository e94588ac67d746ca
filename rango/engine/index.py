"""Building and dropping indexes.

Terms       building: entries are maintained by every write, old documents are still being filled
            in; ready: complete.
Invariants  I-8 holds for a ready index; a plan never uses another one. The definition turns ready
            in a commit of its own, after
            the last fill, so that a crash leaves a building index, which the next open drops.
States      absent -> building -> ready -> absent
Failure     A duplicate in a unique index ends the build: the index is dropped again, DuplicateKey
            names the value.
Sources     storage-notes scenario 15.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rango._ext.collection_info import CollectionInfo, IndexInfo
from rango._ext.layout import RECORD_FLAG_TOMBSTONE, RECORD_FLAGS
from rango._ext.record import decode
from rango.engine.catalog import BUILDING, READY, Catalog, collection_definition, index_definition
from rango.errors import InvalidName, LimitExceeded, NotFound
from rango.limits import INDEXES_PER_COLLECTION_MAX

if TYPE_CHECKING:
    from rango._ext.scan import Scan
    from rango.engine.core import Core

FILL_RECORDS: Final = 1_000
"""Documents of one fill commit: short enough that other writers hardly wait (about 2 ms)."""

FILL_BYTES: Final = 4 * 1024 * 1024
FILL_STEP: Final = 50
"""And their bytes, looked at after each step: documents may be 16 MiB each."""


def create(core: Core, name: str, path: str, direction: int, unique: bool, index_name: str) -> None:
    """Build an index.

    Nothing happens if the same one is there. Raises DuplicateKey, InvalidName, LimitExceeded.
    """

    made: list[tuple[int, IndexInfo]] = []

    def define(catalog: Catalog) -> list[tuple[int, bytes | None]]:
        changes: list[tuple[int, bytes | None]] = []
        info = catalog.collections.get(name)
        if info is None:
            tree = core.tree_take()
            changes.append((tree, collection_definition(name)))
        else:
            tree = info.tree_id
            if find_same(info, path, direction, unique, index_name) is not None:
                return []
            if len(info.maintained) >= INDEXES_PER_COLLECTION_MAX:
                raise LimitExceeded("INDEXES_PER_COLLECTION_MAX", len(info.maintained) + 1)
        index = IndexInfo(index_name, core.tree_take(), ((path, direction),), unique=unique)
        changes.append((index.tree_id, index_definition(tree, index, BUILDING)))
        made.append((tree, index))
        return changes

    def finish(catalog: Catalog) -> list[tuple[int, bytes | None]]:
        # dropped meanwhile, alone or with its collection: nothing to make ready
        if index.tree_id not in catalog.definitions:
            raise NotFound(
                f"collection {name!r} or its index {index_name!r} was dropped while it was "
                "being built"
            )
        return [(index.tree_id, index_definition(collection, index, READY))]

    if not core.change_catalog(define):
        return
    collection, index = made[0]
    try:
        fill(core, name, index)
        core.change_catalog(finish)
    except BaseException:
        if core.error is None:
            drop_unfinished(core, index.tree_id)
        raise


def find_same(
    info: CollectionInfo, path: str, direction: int, unique: bool, index_name: str
) -> IndexInfo | None:
    """The index that would be made, if it is there.

    Raises InvalidName if only its name or only its field is.
    """
    for index in info.maintained:
        same = (index.path, index.direction, index.unique) == (path, direction, unique)
        if index.name == index_name and same:
            return index
        if index.name == index_name or (index.path, index.direction) == (path, direction):
            raise InvalidName(
                f"collection {info.name!r} already has index {index.name!r} on {index.path!r} "
                f"(unique={index.unique}); drop it first"
            )
    return None


def fill(core: Core, name: str, index: IndexInfo) -> None:
    """Add the entries of every document, a batch at a time; writers go on in between."""
    lower: bytes | None = None
    while True:
        try:
            core.append_lock_take()
            batch = core.store.begin()
            info = batch.catalog.collections.get(name)
            if info is None or index.tree_id not in batch.catalog.definitions:
                raise NotFound(
                    f"collection {name!r} or its index {index.name!r} was dropped while it was "
                    "being built"
                )
            scan = batch.snapshot().scan(info.tree_id, lower, None, False, None)
            entries, is_end = next_piece(scan)
            scan.close()
            for _key, record in entries:
                if record[RECORD_FLAGS] != RECORD_FLAG_TOMBSTONE:
                    batch.fill_index(info, index, record)
            ordinal = core.store.commit(batch)
        finally:
            core.append_lock.drop()
        core.settle(ordinal)
        if is_end:
            return
        # the least key that is greater than the last one
        lower = entries[-1][0] + b"\0"


def next_piece(scan: Scan) -> tuple[list[tuple[bytes, bytes]], bool]:
    """What one fill commit takes, bounded in records and bytes, and whether it is the last."""
    entries: list[tuple[bytes, bytes]] = []
    size = 0
    while len(entries) < FILL_RECORDS and size < FILL_BYTES:
        piece = scan.next_entries(FILL_STEP)
        entries += piece
        size += sum(len(record) for _key, record in piece)
        if len(piece) < FILL_STEP:
            return entries, True
    return entries, False


def drop(core: Core, name: str, index_name: str) -> None:
    """Drop one index. Raises NotFound."""

    def change(catalog: Catalog) -> list[tuple[int, bytes | None]]:
        info = catalog.collections.get(name)
        for index in info.maintained if info is not None else ():
            if index.name == index_name:
                return [(index.tree_id, None)]
        raise NotFound(f"collection {name!r} has no index {index_name!r}")

    core.change_catalog(change)


def drop_unfinished(core: Core, tree: int) -> None:
    """Drop an index whose build was interrupted."""

    def change(catalog: Catalog) -> list[tuple[int, bytes | None]]:
        definition = catalog.definitions.get(tree)
        is_building = definition is not None and decode(definition).get("state") == BUILDING
        return [(tree, None)] if is_building else []

    core.change_catalog(change)
