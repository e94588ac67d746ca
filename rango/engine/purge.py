"""Real deletion: documents go, and all of their history with them.

Terms       target: (tree, key) of a document that was purged. To forget: to remove a record without
            leaving a tombstone. Fact: the document in `system.purges` that says that there was a
            purge, without saying what was in it.
Invariants  The log is rewritten only when both superblock slots lie behind the commit that forgot
            the documents: a replay that starts at either of them never needs what was taken out.
            Segments go oldest first and the forgetting itself last, so that a replay from the start
            gives the same documents at every moment; blanked mutations keep their effect on counts.
States      nothing -> forgotten (one commit: documents, fact, the mark `is_purging` among the
            settings) -> both slots past it -> free units zeroed -> segments rewritten -> fact
            complete, mark gone. Every step may be done again: an open that finds the mark goes on
            from there, and if it has to wait a later open, a Database.checkpoint(), purge() or
            compact(), or a round of the expirer does.
Failure     A cursor or snapshot that still reads old pages: DatabaseBusy, close it and call purge()
            again; everything else is as far as it came. LowDisk: likewise. An open does not fail by
            either: the purge waits, and `system.purges` says that it is not complete.
Sources     architecture section 4 (Chain); storage/purge.py; ADR-0022.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from rango._ext import layout
from rango._ext.collection_info import CollectionInfo
from rango._ext.key import key_of
from rango._ext.record import decode, encode, record_parts
from rango.engine import checkpoint, kept, signing
from rango.engine.catalog import DATABASE_ID, database_changed
from rango.engine.mutation import MUTATION, mutations
from rango.engine.settings import is_purging
from rango.errors import DatabaseBusy, IoFailed, LowDisk
from rango.events import INFO, WARNING, emit
from rango.storage.base_segment import all_headers, all_limits, base_commits
from rango.storage.purge import segment_purge
from rango.storage.segment import io_named

if TYPE_CHECKING:
    from rango._ext.view import View
    from rango.engine.core import Core
    from rango.engine.query import Query

FACTS: Final = "system.purges"
"""The collection of facts."""

WAITS: Final = "a purge is not complete yet"

_working: WeakSet[Core] = WeakSet()
"""Those of whose threads one is in the middle of a purge."""

BATCH_COUNT: Final = 1_000
"""Documents that one commit forgets."""

LOOK_COMMITS: Final = 1_000
"""Commits that are read between two calls of `progress`, which may end the work, ..."""

LOOK_BYTES: Final = 16 * 1024 * 1024
"""... or bytes of them."""

Target = tuple[int, bytes]
Progress = Callable[[int, int], object]

# what a mutation did to the number of documents, as the byte behind a blanked header says it
EFFECT: Final = {
    layout.MUTATION_INSERT: layout.MUTATION_INSERT,
    layout.MUTATION_REPLACE: layout.MUTATION_REPLACE,
    layout.MUTATION_DELETE: layout.MUTATION_DELETE,
}


def purge(
    core: Core, name: str, query: Query, progress: Progress | None = None, actor: bytes = b""
) -> dict[str, int]:
    """Purge what the query finds in a collection; see the module for the steps.

    Returns {"documents", "commits", "segments"}: how many documents went, in how many commits of
    the history they were found, and how many segments were rewritten. Raises DatabaseBusy, LowDisk,
    IoFailed, ReadOnly.
    """
    documents = 0
    with working(core):
        while forgotten := forget_batch(core, name, query, actor):
            documents += forgotten
        if not documents and not is_purging(core):
            return {"documents": 0, "commits": 0, "segments": 0}
        return {"documents": documents, **finish(core, progress, documents)}


def forget_batch(core: Core, name: str, query: Query, actor: bytes = b"") -> int:
    """One commit: some documents are forgotten, a fact is written, the mark is set. How many."""
    txn = core.begin(actor)
    try:
        txn.lock()
        info = txn.collections().get(name)
        if info is None:
            return 0
        found = list(found_records(txn.view, info, query))
        if not found:
            return 0
        for key, record in found:
            txn.forget(info, key, record)
        facts = txn.create_collection(FACTS)
        fact = {
            "_id": core.options.ids(),
            "collection": name,
            "documents": len(found),
            "at": datetime.fromtimestamp(core.clock() / 1000, UTC),
            "node": core.node_id,
            **({"actor": actor.decode()} if actor else {}),
            "is_complete": False,
        }
        txn.insert(facts, encode(fact))
        txn.define(DATABASE_ID, lambda catalog: database_changed(catalog, is_purging=True))
        txn.commit()
        return len(found)
    finally:
        txn.abort()


def found_records(
    view: View, info: CollectionInfo, query: Query
) -> Iterator[tuple[bytes, bytes | None]]:
    """Up to BATCH_COUNT (key, live record); an `_id` that is named also finds its tombstone."""
    count = 0
    for batch in query.copy().records(view, info):
        for record in batch:
            yield key_of(decode(record_parts(record)[6])["_id"]), record
            count += 1
            if count == BATCH_COUNT:
                return
    for value in named_ids(query):
        key = key_of(value)
        # get() does not show tombstones
        scan = view.scan(info.tree_id, key, key + b"\0", False, None)
        for _key, record in scan.next_entries(1):
            if record[layout.RECORD_FLAGS] == layout.RECORD_FLAG_TOMBSTONE:
                yield key, None


def named_ids(query: Query) -> list[Any]:
    """The values of `_id` that a filter of nothing but `_id` names."""
    match query.program.normal:
        case ("$eq", "_id", value):
            return [value]
        case ("$in", "_id", values):
            return list(values)
    return []


def finish(core: Core, progress: Progress | None = None, documents: int = 0) -> dict[str, int]:
    """Everything after the forgetting. Also what an open calls that finds the mark."""
    with working(core):
        done = finished(core, progress)
    # those of earlier tries are not counted
    figures = {"documents": documents, **done}
    emit("engine", INFO, "purged", "a purge is complete", path=core.path, **figures)
    forget_findings(core)
    return done


@contextmanager
def working(core: Core) -> Iterator[None]:
    """Let nothing else in this process take a purge up that is under way."""
    if core in _working:
        yield
        return
    _working.add(core)
    try:
        yield
    finally:
        _working.discard(core)


def finished(core: Core, progress: Progress | None) -> dict[str, int]:
    """Do the steps, each of them again. Raises DatabaseBusy, LowDisk, IoFailed."""
    core.checkpoint()
    # something to write, so that the other slot moves on as well
    core.change_catalog(lambda catalog: [(DATABASE_ID, database_changed(catalog, is_purging=True))])
    core.checkpoint()
    checkpoint.forget_roots(core)
    core.store.pager.forget_cache()
    with core.history_lock, core.checkpoint_lock, latching(core):
        check_pins(core)
        with io_named("clearing free pages"):
            core.store.builder.scrub()
        # outside of io_named: whatever a flush says, its outcome is unknown
        core.vfs.flush(core.data_fd)
        try:
            core.append_lock_take()
            core.store.appender.roll_over()
            # what another process purged is in headers that this one has not read
            core.log.reread()
        finally:
            core.append_lock.drop()
        done = rewrite(core, progress)
        remove_cuts(core)
    complete(core)
    return done


def check_pins(core: Core) -> None:
    """DatabaseBusy if somebody reads pages that no slot names. Under the checkpoint lock."""
    # other processes may have made checkpoints meanwhile: their pages are no free ones
    checkpoint.refresh(core)
    checkpoint.keep_fallback(core)
    kept.protect(core)
    if core.store.builder.pinned:
        raise DatabaseBusy(
            "a cursor or snapshot still reads pages that hold what is to be purged; close it "
            "and call purge() again: the documents are gone, their history not yet"
        )


@contextmanager
def latching(core: Core, work: str = "a purge") -> Iterator[None]:
    """Latch the database after a failure whose outcome is unknown (I-10)."""
    try:
        yield
    except IoFailed as error:
        core.latch(error)
        raise
    except OSError as error:
        failed = IoFailed(
            f"{core.path}: {work} failed ({error}); check the disk and open the database again: "
            "what was begun is then finished or undone"
        )
        core.latch(failed)
        raise failed from error


def rewrite(core: Core, progress: Progress | None) -> dict[str, int]:
    """Blank every mutation of the targets in every sealed segment."""
    log = core.log
    sealed = all_headers(log)[:-1]
    limits = all_limits(log, 0)
    targets: set[Target] = set()
    owners: dict[int, int] = {}
    unseen = LOOK_BYTES
    for body in bodies(core):
        unseen += len(body) + LOOK_BYTES // LOOK_COMMITS
        if progress is not None and unseen > LOOK_BYTES:
            progress(0, len(sealed))
            unseen = 0
        for mutation in mutations(body):
            note(mutation, targets, owners)
    commits = segments = 0
    for at, header in enumerate(sealed):
        purged = segment_purge(
            core.vfs,
            log.directory,
            core.keyring,
            header,
            limits[at],
            lambda body: blanked(body, targets, owners),
            lambda segment_id, digest: signing.sign_purge(core, segment_id, digest),
        )
        commits += purged.commits
        segments += purged.frames > 0
        if progress is not None:
            progress(at + 1, len(sealed))
    headers_reread(core)
    return {"commits": commits, "segments": segments}


def headers_reread(core: Core) -> None:
    """After segments were rewritten under their names."""
    try:
        # under the lock: others may begin a segment meanwhile, which this one has not followed
        core.append_lock_take()
        core.log.reread()
    finally:
        core.append_lock.drop()


def bodies(core: Core) -> Iterator[bytes]:
    """The body of every commit, oldest first, the base's included."""
    written = core.store.appender.ordinal
    replayed = core.log.replay(*core.log.start(), written=written)
    for batch in chain(base_commits(core.log), replayed):
        for commit in batch:
            yield commit[2]


def note(mutation: memoryview, targets: set[Target], owners: dict[int, int]) -> None:
    """Learn what a mutation says: a target, or which collection an index belongs to."""
    _size, op, tree, key_size = MUTATION.unpack_from(mutation)
    key = bytes(mutation[layout.MUTATION_HEADER_SIZE : layout.MUTATION_HEADER_SIZE + key_size])
    if op == layout.MUTATION_FORGET:
        targets.add((tree, key))
    elif tree == layout.TREE_CATALOG and op in (layout.MUTATION_INSERT, layout.MUTATION_REPLACE):
        fields = decode(bytes(mutation[layout.MUTATION_HEADER_SIZE + key_size :]))
        if fields.get("kind") == "index":
            owners[int.from_bytes(key, "big")] = fields["collection"]


def blanked(body: bytes, targets: set[Target], owners: dict[int, int]) -> bytes | None:
    """The body without the targets' mutations; None if it has none of them."""
    changed: bytearray | None = None
    at = layout.COMMIT_HEADER_SIZE
    for mutation in mutations(body):
        size, op, tree, key_size = MUTATION.unpack_from(mutation)
        if is_target(mutation, op, tree, key_size, targets, owners):
            changed = bytearray(body) if changed is None else changed
            changed[at : at + size] = blank(mutation, size, op, tree, key_size)
        at += size
    return None if changed is None else bytes(changed)


def is_target(
    mutation: memoryview,
    op: int,
    tree: int,
    key_size: int,
    targets: set[Target],
    owners: dict[int, int],
) -> bool:
    """Whether a mutation speaks of a target."""
    if tree == layout.TREE_CATALOG or op == layout.MUTATION_PURGED:
        return False
    if key_size:
        start = layout.MUTATION_HEADER_SIZE
        return (tree, bytes(mutation[start : start + key_size])) in targets
    # an index was filled: the mutation has the entries of one document, whose key ends each of them
    owner = owners.get(tree)
    return any((owner, key) in targets for key in entry_ids(mutation))


def entry_ids(mutation: memoryview) -> Iterator[bytes]:
    """The documents' keys in the index entries of a mutation that has nothing else."""
    at = layout.MUTATION_HEADER_SIZE
    while at + layout.INDEX_ENTRY_HEADER_SIZE <= len(mutation):
        op = mutation[at + layout.INDEX_ENTRY_OP]
        split = int.from_bytes(mutation[at + layout.INDEX_ENTRY_SPLIT :][:2], "little")
        size = int.from_bytes(mutation[at + layout.INDEX_ENTRY_KEY_SIZE :][:2], "little")
        at += layout.INDEX_ENTRY_HEADER_SIZE
        yield bytes(mutation[at + split : at + size])
        at += size
        if op == layout.INDEX_PUT:
            at += 1 + mutation[at]  # type bytes, and how many


def blank(mutation: memoryview, size: int, op: int, tree: int, key_size: int) -> bytes:
    """Zeros in the place of a mutation, and what it did to the number of documents."""
    effect = EFFECT.get(op, 0)
    if op == layout.MUTATION_FORGET and mutation[layout.MUTATION_HEADER_SIZE + key_size]:
        effect = layout.MUTATION_DELETE
    if not key_size:
        effect = 0
    head = MUTATION.pack(size, layout.MUTATION_PURGED, tree, 0)
    rest = bytes(layout.MUTATION_HEADER_SIZE - len(head))
    return (head + rest + bytes([effect])).ljust(size, b"\0")


def remove_cuts(core: Core) -> None:
    """Torn tails that were put aside for people may hold anything: they go."""
    with io_named("removing torn tails"):
        for name in core.vfs.list_directory(core.log.directory):
            if name.endswith(".cut"):
                core.vfs.remove(os.path.join(core.log.directory, name))
        core.vfs.flush_directory(core.log.directory)


def complete(core: Core) -> None:
    """Say in the facts that it is done, and take the mark away."""
    txn = core.begin()
    try:
        txn.lock()
        info = txn.collections().get(FACTS)
        if info is not None:
            scan = txn.view.scan(info.tree_id, None, None, False, None)
            for record in scan.next_records(1 << 30):
                fact = decode(record_parts(record)[6])
                if not fact["is_complete"]:
                    txn.replace(info, record, encode({**fact, "is_complete": True}))
        txn.define(DATABASE_ID, lambda catalog: database_changed(catalog, is_purging=None))
        txn.commit()
    finally:
        txn.abort()


def resume(core: Core, progress: Progress | None = None) -> None:
    """Go on with a purge that was interrupted, if there is one. If it has to wait, because somebody
    reads older pages or works on the history, or because space is missing, a finding and an event
    say so: nobody was told that it is complete. `progress` may raise DatabaseBusy to end it early.
    Raises IoFailed, Corrupted.
    """
    if core in _working:
        return
    if not is_purging(core):
        # another process may have ended it
        forget_findings(core)
        return
    try:
        check_free(core)
        finish(core, progress)
    except (LowDisk, DatabaseBusy) as error:
        forget_findings(core)
        core.findings.append(f"{WAITS}: {error}")
        kind = type(error).__name__
        emit("engine", WARNING, "purge_waits", WAITS, path=core.path, error=kind)


def check_free(core: Core) -> None:
    """DatabaseBusy if finish() would end so, before it waits and writes checkpoints."""
    if not core.history_lock.take(0):
        raise DatabaseBusy("somebody works on the history at the moment")
    try:
        with core.checkpoint_lock, latching(core):
            check_pins(core)
    finally:
        core.history_lock.drop()


def forget_findings(core: Core) -> None:
    """Nothing waits any more."""
    core.findings[:] = [each for each in core.findings if not each.startswith(WAITS)]
