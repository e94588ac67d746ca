"""Building, changing and dropping indexes.

Terms       asked: an IndexInfo that says what an index shall be; its tree does not count. Building:
            entries are maintained by every write, old documents are still being filled in; ready:
            complete. Same: the same fields, directions, partial filter, unique and sparse, as
            MongoDB tells indexes apart.
Invariants  I-8 holds for a ready index; a plan never uses another one. The definition turns ready
            in a commit of its own, after the last fill, so that a crash leaves a building index,
            which the next open, checkpoint or build in any process drops.
States      absent -> building -> ready -> absent
Failure     What a document forbids (a duplicate in a unique index, arrays side by side) ends the
            build: the index is dropped again, DuplicateKey or InvalidDocument names the value.
            IndexConflict: there is another one of that name, or the same one otherwise.
Sources     storage-notes scenario 15; MongoDB manual, "createIndexes"; ADR-0018.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rango._ext.collection_info import CollectionInfo, IndexInfo
from rango._ext.layout import RECORD_FLAG_TOMBSTONE, RECORD_FLAGS
from rango._ext.record import decode, encode
from rango.engine.catalog import BUILDING, READY, Catalog, collection_definition, index_definition
from rango.errors import IndexConflict, LimitExceeded, NotFound
from rango.limits import INDEXES_PER_COLLECTION_MAX

if TYPE_CHECKING:
    from rango._ext.scan import Scan
    from rango.engine.core import Core

Changes = list[tuple[int, bytes | None]]
Progress = Callable[[int, int], object]

OPTIONS_CONFLICT: Final = 85
NAME_CONFLICT: Final = 86
"""MongoDB's codes: IndexOptionsConflict, IndexKeySpecsConflict."""

FILL_RECORDS: Final = 1_000
"""Documents of one fill commit: short enough that other writers hardly wait (about 2 ms)."""

FILL_BYTES: Final = 4 * 1024 * 1024
FILL_STEP: Final = 50
"""And their bytes, looked at after each step: documents may be 16 MiB each."""


def create(core: Core, name: str, asked: IndexInfo, progress: Progress | None = None) -> None:
    """Build an index.

    Nothing happens if it is there. Raises DuplicateKey, InvalidDocument, IndexConflict,
    LimitExceeded, and what `progress` raises.
    """
    made: list[tuple[int, IndexInfo]] = []

    def define(catalog: Catalog) -> Changes:
        changes: Changes = []
        info = catalog.collections.get(name)
        if info is None:
            tree = core.tree_take()
            changes.append((tree, collection_definition(name)))
        else:
            tree = info.tree_id
            if find_same(info, asked) is not None:
                return []
            count = 1 + len(info.maintained)  # that of `_id`, and these
            if count >= INDEXES_PER_COLLECTION_MAX:
                raise LimitExceeded("INDEXES_PER_COLLECTION_MAX", count + 1, code=67)
        index = copy_of(asked, core.tree_take())
        changes.append((index.tree_id, index_definition(tree, index, BUILDING)))
        made.append((tree, index))
        return changes

    def finish(catalog: Catalog) -> Changes:
        # dropped meanwhile, alone or with its collection: nothing to make ready
        if index.tree_id not in catalog.definitions:
            raise NotFound(
                f"collection {name!r} or its index {index.name!r} was dropped while it was "
                "being built"
            )
        return [(index.tree_id, index_definition(collection, index, READY))]

    found = core.collections().get(name)
    same = None if found is None else find_same(found, asked)
    if found is not None and same is not None and (same in found.ready or is_building(core)):
        return
    with core.build_lock:
        # nobody builds now: what is not ready was left by one that died
        for unfinished in core.view().catalog.building():
            drop_unfinished(core, unfinished)
        if not core.change_catalog(define):
            return
        collection, index = made[0]
        try:
            fill(core, name, index, progress)
            core.change_catalog(finish)
        except BaseException:
            if core.error is None:
                drop_unfinished(core, index.tree_id)
            raise


def is_building(core: Core) -> bool:
    """Whether some thread or process builds an index now."""
    if core.build_lock.locked():
        return True
    try:
        return not core.build_lock.take(0)
    finally:
        core.build_lock.drop()


def copy_of(index: IndexInfo, tree: int, **changed: Any) -> IndexInfo:
    """The same index with another tree, and options that differ."""
    options = {
        "unique": index.unique,
        "sparse": index.sparse,
        "partial": index.partial,
        "expire_after_s": index.expire_after_s,
        "hidden": index.hidden,
    }
    return IndexInfo(index.name, tree, index.fields, **{**options, **changed})


def identity_of(index: IndexInfo) -> tuple[object, ...]:
    """What tells two indexes of a collection apart, besides their names."""
    # the order of fields counts inside a filter: it is compared as it is stored
    partial = None if index.partial is None else encode(dict(index.partial))
    return index.fields, index.unique, index.sparse, partial


def find_same(info: CollectionInfo, asked: IndexInfo) -> IndexInfo | None:
    """The index that would be made, if it is there.

    Raises IndexConflict: 86 if its name belongs to another index, 85 if the same index has another
    name or other options.
    """
    for index in info.maintained:
        is_same = identity_of(index) == identity_of(asked)
        if index.name == asked.name and not is_same:
            raise IndexConflict(
                f"collection {info.name!r} has another index {index.name!r}, on "
                f"{dict(index.fields)!r}; drop it first, or choose another name",
                code=NAME_CONFLICT,
            )
        if not is_same:
            continue
        if index.name != asked.name:
            raise IndexConflict(
                f"collection {info.name!r} has the same index under the name {index.name!r}; use "
                "it, or drop it first",
                code=OPTIONS_CONFLICT,
            )
        if (index.expire_after_s, index.hidden) != (asked.expire_after_s, asked.hidden):
            raise IndexConflict(
                f"collection {info.name!r} has index {index.name!r} with other options; change it "
                "with modify_index(), or drop it first",
                code=OPTIONS_CONFLICT,
            )
        return index
    return None


def fill(core: Core, name: str, index: IndexInfo, progress: Progress | None = None) -> None:
    """Add the entries of every document, a batch at a time; writers go on in between."""
    lower: bytes | None = None
    done = 0
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
            view = batch.snapshot()
            scan = view.scan(info.tree_id, lower, None, False, None)
            entries, is_end = next_piece(scan)
            scan.close()
            for _key, record in entries:
                if record[RECORD_FLAGS] != RECORD_FLAG_TOMBSTONE:
                    batch.fill_index(info, index, record)
                    done += 1
            ordinal = core.store.commit(batch)
        finally:
            core.append_lock.drop()
        core.settle(ordinal)
        if progress is not None:
            total = view.count(info.tree_id)
            progress(total if is_end else min(done, total), total)
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


def modify(core: Core, name: str, index_name: str, changed: dict[str, Any]) -> IndexInfo:
    """Change options that say nothing about entries; the index as it was. Raises NotFound."""
    before: list[IndexInfo] = []

    def change(catalog: Catalog) -> Changes:
        info, index = find_named(catalog, name, index_name)
        before.append(index)
        after = copy_of(index, index.tree_id, **changed)
        return [(index.tree_id, index_definition(info.tree_id, after, READY))]

    core.change_catalog(change)
    return before[0]


def find_named(catalog: Catalog, name: str, index_name: str) -> tuple[CollectionInfo, IndexInfo]:
    """A collection and its ready index of that name. Raises NotFound."""
    info = catalog.collections.get(name)
    if info is not None:
        for index in info.ready:
            if index.name == index_name:
                return info, index
    raise NotFound(f"collection {name!r} has no index {index_name!r}", code=27)


def drop(core: Core, name: str, index_names: list[str]) -> None:
    """Drop indexes, all in one commit. Raises NotFound."""

    def change(catalog: Catalog) -> Changes:
        return [(find_named(catalog, name, each)[1].tree_id, None) for each in index_names]

    core.change_catalog(change)


def drop_all_unfinished(core: Core) -> None:
    """Drop the indexes whose builds were interrupted; those that somebody builds stay: he has the
    build lock, which goes with the process.
    """
    # locked: perhaps by this thread, whose fill brought a checkpoint with it
    if not core.store.head.catalog.building() or core.build_lock.locked():
        return
    if not core.build_lock.take(0):
        return
    try:
        for tree in core.view().catalog.building():
            drop_unfinished(core, tree)
    finally:
        core.build_lock.drop()


def drop_unfinished(core: Core, tree: int) -> None:
    """Drop an index whose build was interrupted."""

    def change(catalog: Catalog) -> Changes:
        definition = catalog.definitions.get(tree)
        is_building = definition is not None and decode(definition).get("state") == BUILDING
        return [(tree, None)] if is_building else []

    core.change_catalog(change)
