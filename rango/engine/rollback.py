"""Back to an earlier state by one ordinary commit: the work behind Database.rollback.

Terms       now: the state under the append lock. then: the state to go back to. Pair: see
            engine/diff.py.
Invariants  Nothing of the past is changed: the difference between now and then is written as new
            versions, with new revisions, so that history, backups and followers see it as any other
            commit, and a rollback to the commit before takes it back.
            Everything is in one commit: whatever a crash does, all of it or nothing is there. Only
            an index that a collection has lost is built in commits of its own afterwards, as
            create_index does: until then queries do without it, and the same rollback, done again,
            finds nothing but that to do.
            Indexes that were not there then go first: they may refuse old documents.
            What was purged does not come back: a state that may still show it is not taken, nor
            any while a purge is not complete.
            `system.` collections, limits and named snapshots stay as they are.
States      locked -> definitions -> documents -> committed | aborted (an error, or a dry run).
Failure     LimitExceeded: too many changes, or bytes for one commit; nothing was written. Conflict:
            a purge came between. DatabaseBusy: other writers, or an incomplete purge.
Sources     architecture section 8 (History); ADR-0029.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rango._ext.record import record_parts
from rango.engine import diff
from rango.engine.catalog import READY, collection_definition, index_definition
from rango.engine.index import copy_of, identity_of
from rango.engine.purge import FACTS
from rango.engine.settings import is_purging
from rango.engine.stopping import stop_check, stop_of
from rango.errors import Conflict, DatabaseBusy, DuplicateKey, LimitExceeded, RangoError

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo, IndexInfo
    from rango._ext.stop import Stop
    from rango._ext.view import View
    from rango.engine.core import Core, Txn

Waiting = list[tuple[bytes | None, bytes]]


@dataclass(slots=True)
class Done:
    """What a rollback did, or would do."""

    before: int
    """The commit before it."""
    pairs: list[diff.Pair]
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    missing: list[tuple[str, IndexInfo]] = field(default_factory=list)
    """Indexes that have to be built."""
    total: int = 0
    is_structural: bool = False


def purge_count(view: View) -> int:
    """Facts of purges that a view sees."""
    facts = view.catalog.collections.get(FACTS)
    return 0 if facts is None else view.count(facts.tree_id)


def rollback(
    core: Core,
    then: View,
    names: frozenset[str] | None,
    limit: int,
    is_dry: bool,
    purges: int,
    actor: bytes = b"",
) -> Done:
    """Go back to `then`; `purges` is purge_count() from before `then` was made. What it writes is
    `actor`'s, whoever wrote it then.

    Raises LimitExceeded, Conflict, DuplicateKey, DatabaseBusy, ReadOnly, LowDisk, IoFailed,
    QueryCancelled.
    """
    stop = stop_of(0)
    txn = core.begin(actor)
    try:
        txn.lock()
        now = txn.view
        if is_purging(core):
            raise DatabaseBusy(
                "a purge is not complete, and what it deletes must not come back: close snapshots "
                "and cursors, call purge() again, then roll back"
            )
        if purge_count(now) != purges:
            raise Conflict("a purge came between; nothing was written, roll back again")
        done = Done(now.ordinal, diff.pairs(now, then, names))
        for pair in done.pairs:
            definitions(core, txn, pair, done)
        for pair in done.pairs:
            documents(txn, now, then, pair, limit, done, stop)
        if not is_dry and (done.total or done.is_structural):
            txn.commit()
    finally:
        txn.abort()
    if not is_dry:
        build(core, done)
    return done


def definitions(core: Core, txn: Txn, pair: diff.Pair, done: Done) -> None:
    """Collections and indexes of a pair, but for those that have to be built."""
    before, after = pair.before, pair.after
    if after is None:
        assert before is not None
        for tree in (before.tree_id, *(each.tree_id for each in before.maintained)):
            redefine(txn, tree, None, done)
        return
    if before is None:
        info = txn.create_collection(after.name)
        done.is_structural = True
        for index in after.ready:
            tree = core.tree_take()
            made = index_definition(info.tree_id, copy_of(index, tree), READY)
            redefine(txn, tree, made, done)
        return
    if before.name != after.name:
        redefine(txn, before.tree_id, collection_definition(after.name), done)
    wanted = {each.name: each for each in after.ready}
    for index in before.ready:
        asked = wanted.get(index.name)
        if asked is None or identity_of(asked) != identity_of(index):
            redefine(txn, index.tree_id, None, done)
            continue
        del wanted[index.name]
        if diff.definition(asked) != diff.definition(index):
            # only options that say nothing about entries
            made = index_definition(before.tree_id, copy_of(asked, index.tree_id), READY)
            redefine(txn, index.tree_id, made, done)
    done.missing += [(after.name, index) for index in wanted.values()]


def redefine(txn: Txn, tree: int, definition: bytes | None, done: Done) -> None:
    """One definition of the catalog."""
    txn.define(tree, lambda _catalog: definition)
    done.is_structural = True


def documents(
    txn: Txn, now: View, then: View, pair: diff.Pair, limit: int, done: Done, stop: Stop | None
) -> None:
    """The documents of a pair."""
    counts = {"inserted": 0, "changed": 0, "deleted": 0}
    info = None if pair.after is None else txn.create_collection(pair.after.name)
    waiting: Waiting = []
    for old, new in diff.records(diff.diff_of(now, then, pair, stop)):
        stop_check(stop)
        done.total += 1
        if done.total > limit:
            raise LimitExceeded(
                "ROLLBACK_CHANGES_MAX",
                done.total,
                f"this rollback changes more than {limit} documents; nothing was written. Give a "
                "greater limit, or some collections at a time",
            )
        if info is None:
            # it went with its collection
            counts["deleted"] += 1
        elif new is None:
            assert old is not None
            txn.delete(info, old)
            counts["deleted"] += 1
        else:
            counts["inserted" if old is None else "changed"] += 1
            if not is_put(txn, info, old, new):
                waiting.append((old, new))
    if info is not None:
        put_waiting(txn, info, waiting)
    if any(counts.values()):
        done.counts[pair.name] = counts


def is_put(txn: Txn, info: CollectionInfo, old: bytes | None, new: bytes) -> bool:
    """Write a document; False if another one still has a value that is unique."""
    bson = record_parts(new)[6]
    try:
        if old is None:
            txn.insert(info, bson)
        else:
            txn.replace(info, old, bson)
    except DuplicateKey:
        return False
    return True


def put_waiting(txn: Txn, info: CollectionInfo, waiting: Waiting) -> None:
    """Write those that waited for others to give a value up."""
    is_emptied = False
    while waiting:
        left = [each for each in waiting if not is_put(txn, info, *each)]
        if len(left) < len(waiting):
            waiting = left
            continue
        if is_emptied:
            # cannot happen unless an index is being built that did not exist then
            txn.insert(info, record_parts(left[0][1])[6])
        # they wait for one another: all go, and come again in the same commit
        for old, _new in left:
            if old is not None:
                txn.delete(info, old)
        waiting = [(None, new) for _old, new in left]
        is_emptied = True


def build(core: Core, done: Done) -> None:
    """Build the indexes that are missing."""
    for name, index in done.missing:
        try:
            core.create_index(name, index)
        except RangoError as error:
            error.add_note(
                f"the documents are as they were, but index {index.name!r} of {name!r} could not "
                "be built; roll back again, or create it"
            )
            raise
