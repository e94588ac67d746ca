"""What is not the same in two views of a database: the work behind Database.diff and rollback.

Terms       before, after: the two views, usually of one database at two commits. Pair: a
            collection of each that are compared with each other.
Invariants  Collections are paired by name; one whose name is free afterwards and which has another
            one now that was free before is followed there by its tree (a rename). Two of one name
            with different trees were dropped and created again, which is said; their documents are
            compared by `_id` all the same, because that is what whoever reads them sees.
            Order: first what happened to collections and indexes, then documents by collection name
            and `_id`.
            Indexes are compared by name and definition; one that is still being built is not there.
            Collections that Rango keeps itself (`system.`) have no part in it.
Failure     As reads: PageCorrupted, IoFailed, SnapshotTooOld; QueryCancelled from a cancel scope.
Sources     architecture section 8 (History); ADR-0029.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from rango._ext.diff import Diff
from rango.engine.index import identity_of

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo, IndexInfo
    from rango._ext.stop import Stop
    from rango._ext.view import View

BATCH: Final = 256

Infos = dict[str, "CollectionInfo"]


class Pair(NamedTuple):
    """Two collections that are compared."""

    name: str
    """Of the later one; of the earlier one if there is no later one."""
    before: CollectionInfo | None
    after: CollectionInfo | None


class IndexStep(NamedTuple):
    """An index that only one side has."""

    collection: str
    kind: Literal["index_created", "index_dropped"]
    info: IndexInfo


def shown(view: View, names: frozenset[str] | None = None) -> Infos:
    """The collections that take part, by name."""
    collections: Infos = view.catalog.collections
    return {
        name: info
        for name, info in collections.items()
        if not name.startswith("system.") and (names is None or name in names)
    }


def pairs(before: View, after: View, names: frozenset[str] | None = None) -> list[Pair]:
    """What is compared with what, by name."""
    olds, news = shown(before), shown(after)
    by_tree = {info.tree_id: info for info in news.values()}
    found: list[Pair] = []
    for name, old in olds.items():
        moved = by_tree.get(old.tree_id)
        if name not in news and moved is not None and moved.name not in olds:
            found.append(Pair(moved.name, old, moved))
        else:
            found.append(Pair(name, old, news.get(name)))
    paired = {pair.name for pair in found}
    found += [Pair(name, None, new) for name, new in news.items() if name not in paired]
    found = [pair for pair in found if names is None or not names.isdisjoint(names_of(pair))]
    return sorted(found, key=lambda pair: pair.name)


def names_of(pair: Pair) -> set[str]:
    """The names under which a pair is known."""
    return {info.name for info in (pair.before, pair.after) if info is not None}


def is_remade(pair: Pair) -> bool:
    """Whether a collection was dropped and another one of that name created."""
    before, after = pair.before, pair.after
    return before is not None and after is not None and before.tree_id != after.tree_id


def index_steps(pair: Pair) -> list[IndexStep]:
    """The indexes that only one side has, those that went first; by name.

    An index with another definition, its TTL or whether it is hidden included, went and came.
    """
    olds = {} if pair.before is None else {each.name: each for each in pair.before.ready}
    news = {} if pair.after is None else {each.name: each for each in pair.after.ready}
    steps = []
    for name in sorted(olds):
        if name not in news or definition(olds[name]) != definition(news[name]):
            steps.append(IndexStep(pair.name, "index_dropped", olds[name]))
    for name in sorted(news):
        if name not in olds or definition(olds[name]) != definition(news[name]):
            steps.append(IndexStep(pair.name, "index_created", news[name]))
    return steps


def definition(index: IndexInfo) -> tuple[object, ...]:
    """All that can be told of an index besides its name."""
    return (*identity_of(index), index.expire_after_s, index.hidden)


def diff_of(before: View, after: View, pair: Pair, stop: Stop | None) -> Diff:
    """The walk over one pair."""
    return Diff(
        before,
        0 if pair.before is None else pair.before.tree_id,
        after,
        0 if pair.after is None else pair.after.tree_id,
        stop,
    )


def records(walk: Diff) -> Iterator[tuple[bytes | None, bytes | None]]:
    """(record before, record after) of each document that differs, by `_id`; closes the walk."""
    try:
        while batch := walk.next_records(BATCH):
            yield from batch
    finally:
        walk.close()
