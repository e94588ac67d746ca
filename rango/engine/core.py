"""The engine of one open database: one for each directory and process, shared by all handles.

Terms       core: this; append lock: one thread appends at a time; latch: no writes until the
            database is opened again.
Invariants  I-1, I-10, I-16. One core per (device, inode) in a process: two would not see each
            other's locks.
States      open -> closed (last release); open -> forked (in a child: uses raise ForkedHandle).
            Writable cores can be latched: reads go on from the last durable state, writes raise
            what happened.
Failure     A commit that raises IoFailed has an unknown outcome: it is whole or absent after the
            next open.
Sources     architecture sections 3 and 8.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from rango._ext.append_lock import AppendLock
from rango._ext.collection_info import CollectionInfo, IndexInfo
from rango._ext.core_state import CoreState
from rango._ext.histogram import Histogram
from rango._ext.store import Store
from rango._ext.view import View
from rango.engine import attach, checkpoint, expiry, index, point, recovery, shrink, signing
from rango.engine.catalog import collection_dropped, collection_renamed
from rango.engine.gone import gone
from rango.engine.options import OpenOptions, identity
from rango.engine.settings import apply_cache_size, is_purging
from rango.engine.txn import Txn
from rango.errors import (
    DatabaseBusy,
    DatabaseClosed,
    ForkedHandle,
    InvalidArgument,
    LowDisk,
    RangoError,
    ReadOnly,
)
from rango.events import ERROR, INFO, WARNING, emit
from rango.storage.follow import Follower
from rango.storage.keyring import Keyring
from rango.storage.lock import Work

if TYPE_CHECKING:
    from rango._ext.view import Generation
    from rango.engine.check import Finding
    from rango.engine.flusher import Flusher
    from rango.storage.superblock import Slot

__all__ = ["CollectionInfo", "Core", "IndexInfo", "OpenOptions", "Txn"]

APPEND_WAIT_S: Final = 30.0
"""How long a writer waits for another thread's transaction before DatabaseBusy."""

CLOSE_WAIT_S: Final = 5.0
"""How long close() waits for an append that is under way; a transaction that is only open loses."""

_cores: dict[object, Core] = {}
_secluded: set[object] = set()
# reentrant: a handle that is collected while another database is opened is released in that thread
_cores_lock = threading.RLock()


class Core(CoreState):
    """See the module. Made by Core.open; release() as often as it was opened."""

    def __init__(self, options: OpenOptions) -> None:
        self.path = options.path
        self.options = options
        self.vfs = options.vfs
        self.clock = options.clock
        self.durability = options.durability
        self.is_read_only = options.read_only
        self.overlay_entries_max = options.overlay_entries_max or checkpoint.OVERLAY_ENTRIES_MAX
        self.overlay_bytes_max = options.overlay_bytes_max or checkpoint.OVERLAY_BYTES_MAX
        self.findings: list[str] = []
        self.read_elsewhere: dict[int, Generation] = {}
        """Generations that somebody reads, and that were protected here (kept.remember)."""
        self.error: RangoError | None = None
        self.references = 1
        self.key: object = None
        self.is_closed = False
        self.commits = self.checkpoints = 0
        self.flusher: Flusher | None = None
        self.expirer = expiry.Expirer(self)
        self.times = {name: Histogram() for name in ("recovery", "commit", "checkpoint")}
        started = perf_counter_ns()
        state = recovery.open_database(options)
        self.times["recovery"].observe(perf_counter_ns() - started)
        self.lock = state.lock
        self.keyring = state.keyring
        self.log = state.log
        self.data_fd = state.data_fd
        self.slot = state.slot
        self.fallback = state.fallback
        # built, perhaps named by its slot, but not gone on from yet
        self.unadopted: tuple[Generation, Slot] | None = None
        self.is_slot_proven = False  # see checkpoint.prove_slot
        self.seals = state.seals
        self.findings.extend(state.findings)
        self.node_id = state.node_id
        self.catalog = state.store.head.catalog  # as last followed
        self.tree_next = self.catalog.tree_next
        self.store: Store = state.store
        self.store.visible_at_once = options.durability != "commit"
        self.follower = Follower(self.log, state.mark)
        self._make_locks()
        try:
            if self.lock.is_shared:
                attach.share(self)
            apply_cache_size(self)
        except BaseException:
            self.is_closed = True
            self._let_go()
            raise
        emit(
            *("engine", INFO, "opened", "the database is open"),
            path=self.path,
            read_only=self.is_read_only,
            ordinal=state.store.head.ordinal,
            generation=state.store.head.generation_number,
            replayed_entries=state.store.overlay_count,
            duration_ms=self.times["recovery"].total_ns / 1e6,
        )
        for finding in state.findings:
            emit("engine", WARNING, "finding", finding, path=self.path)

    def _make_locks(self) -> None:
        work = self.lock.work
        self.append_lock = AppendLock(self.lock.shared if self.lock.is_shared else None)
        self.checkpoint_lock = work(Work.CHECKPOINT, "a checkpoint")
        # over what reads or rewrites sealed segments
        self.history_lock = work(Work.HISTORY, "a backup or a purge")
        self.build_lock = work(Work.INDEX_BUILD, "the building of an index")
        self.expiry_lock = work(Work.EXPIRY, "expiry")
        # over taking over what other processes did
        self.follow_lock = self.follower.near

    @classmethod
    def open(cls, options: OpenOptions) -> Core:
        """The core of the database in options.path; made if this process has none.

        Raises what recovery raises.
        """
        with _cores_lock:
            if identity(options) in _secluded:
                raise DatabaseBusy(
                    f"{options.path} is open in process {os.getpid()}, which changes its keys",
                    pid=os.getpid(),
                )
            core = _cores.get(identity(options))
            if core is not None:
                core.join(options)
                return core
            core = cls(options)
            # by now the directory exists; its number may be another directory's when this closes
            core.key = identity(options)
            _cores[core.key] = core
            try:
                core.start()
            except BaseException:
                core.release()
                raise
            return core

    def start(self) -> None:
        """Begin work: drop what a crash left unfinished, start the flusher."""
        if self.is_read_only:
            return
        index.drop_all_unfinished(self)
        if is_purging(self):
            from rango.engine import purge

            purge.resume(self)
        if self.durability == "group":
            from rango.engine.flusher import Flusher

            self.flusher = Flusher(self, self.options.group_delay_ms)
        self.expirer.start()

    def join(self, options: OpenOptions) -> None:
        """Another handle of this process: the same secret, opened the same way."""
        for name in ("durability", "read_only"):
            here, asked = getattr(self.options, name), getattr(options, name)
            if here != asked:
                raise InvalidArgument(
                    f"{self.path} is already open in this process with {name}={here!r}, not "
                    f"{asked!r}; open it the same way, or close it first"
                )
        if options.node_id not in (None, self.node_id):
            raise InvalidArgument(
                f"{self.path} is already open in this process as node {self.node_id!r}"
            )
        Keyring.open(self.vfs, self.path, options.secret, options.entropy).close()
        self.references += 1

    def seclude(self) -> None:
        """Let nobody join, in this process or another one, until release().

        Raises DatabaseBusy if somebody has.
        """
        with _cores_lock:
            if self.references > 1:
                raise DatabaseBusy(
                    f"{self.path} is open in this process; close it first", pid=os.getpid()
                )
            if not self.lock.retake_alone():
                raise attach.busy_users(self.path, self.lock)
            _cores.pop(self.key, None)
            _secluded.add(self.key)

    def release(self) -> None:
        """Give one handle up; the last one closes: flush, checkpoint if worth it, closed frame."""
        with _cores_lock:
            self.references -= 1
            if self.references or self.is_closed:
                return
            self.is_closed = True
            _cores.pop(self.key, None)
            _secluded.discard(self.key)
            for thread in (self.expirer, self.flusher):
                if thread is not None:
                    thread.stop()
            try:
                if not self.is_read_only and not self.is_latched:
                    self._close_log()
            finally:
                self._let_go()

    def _close_log(self) -> None:
        if not self.lock.retake_alone():
            # others go on; _let_go flushes what this process has appended
            return
        if self.append_lock.is_mine:
            # the interpreter exits inside a transaction, which will not be committed any more
            self.append_lock.drop()
        if not self.append_lock.take(CLOSE_WAIT_S):
            # a thread sits in a transaction: no closed frame, as after a crash; _let_go flushes
            return
        self.append_lock.drop()
        if checkpoint.is_worth_it(self):
            try:
                self.checkpoint()
            except LowDisk:
                # the log has everything; the next open replays it
                self.findings.append("no space for the checkpoint at close")
        if self.commits or self.checkpoints:
            # before the closed frame, which has a number of its own: the slots that this makes name
            # the last commit
            shrink.at_close(self)
            if self.is_latched:
                return
            # the checkpoint lock first, as everywhere: a checkpoint takes the append lock under it
            with self.checkpoint_lock:
                self.end_log()

    def end_log(self) -> None:
        """Append the closed frame and record how far the log reaches. Under the checkpoint lock."""
        try:
            self.append_lock_take()
            self.store.appender.append_closed()
            self.store.reached = self.store.appender.ordinal
            checkpoint.guarded(self, checkpoint.record_reach)
            signing.sign_end(self)
            checkpoint.trim_log(self)
        except LowDisk:
            # the log is whole; only its end is not recorded
            self.findings.append("no space to record the end of the log at close")
        finally:
            self.append_lock.drop()

    def _let_go(self) -> None:
        """Let go once nobody appends or writes pages; whoever comes later finds the store gone."""
        closed = gone(DatabaseClosed, "this database was closed; open it again")
        # among the threads of this process: what others do does not touch our descriptors
        threads = self.checkpoint_lock.threads
        try:
            threads.take(CLOSE_WAIT_S)
            # a descriptor that is closed under a thread that writes to it may be another file by
            # then
            if not self.append_lock.is_mine:
                self.append_lock.take(CLOSE_WAIT_S, is_local=True)
            if self.store.appender is not None and not self.is_latched:
                # for those who have appended and wait for their flush
                self.store.appender.flush()
        finally:
            store, self.store = self.store, closed
            if store.appender is not None:
                store.appender.close()
            store.pager.close()
            self.follower.close()
            self.append_lock.drop()
            threads.drop()
            self.lock.release()
            self.keyring.close()
            emit("engine", INFO, "closed", "the database is closed", path=self.path)

    # --- reading

    def view(self) -> View:
        """A snapshot of what may be seen now."""
        view: View = self.store.view()
        return view

    def collections(self) -> dict[str, CollectionInfo]:
        """The collections by name, as of the view that may be seen now."""
        collections: dict[str, CollectionInfo] = self.store.current.catalog.collections
        return collections

    # --- writing

    def begin(self, actor: bytes = b"") -> Txn:
        """A transaction, of somebody if it is said. Raises DatabaseClosed, ForkedHandle."""
        return Txn(self, actor)

    insert_one, write_point = point.insert_one, point.write_point
    direct_writes, point_reads = point.direct_writes, point.point_reads
    prepared_finds = point.prepared_finds

    def append_lock_take(self) -> None:
        """Wait for the append lock, bounded.

        Call it inside `try`, with append_lock.drop() in `finally`. Raises ReadOnly, IoFailed or
        Corrupted (latched), DatabaseBusy.
        """
        if self.is_read_only:
            raise ReadOnly(f"{self.path} was opened with read_only=True; open it for writing")
        if self.error is not None:
            raise self.error
        if not self.append_lock.take(APPEND_WAIT_S):
            raise attach.busy_writer(self.path, self.lock)
        if self.store.must_follow():
            attach.catch_up(self)

    def stand_by(self, ordinal: int) -> None:
        """Before an answer about this commit: wait for durability as the mode says, show it."""
        store = self.store
        if self.durability == "commit":
            if store.appender.durable < ordinal:
                started = perf_counter_ns()
                store.appender.flush(ordinal)
                self.times["commit"].observe(perf_counter_ns() - started)
            store.publish()
        elif self.flusher is not None:
            self.flusher.wake()

    def settle(self, ordinal: int) -> None:
        """After a commit: stand by it, and checkpoint if one is due."""
        self.stand_by(ordinal)
        self.commits += 1
        if checkpoint.is_due(self):
            self._checkpoint_due()

    def _checkpoint_due(self) -> None:
        # Somebody else's checkpoint is not waited for: the commit that brought us here is done
        if self.checkpoint_lock.locked():
            return
        try:
            if self.checkpoint_lock.take(0) and checkpoint.is_due(self):
                checkpoint.run_due(self)
        finally:
            self.checkpoint_lock.drop()

    def checkpoint(self) -> None:
        """Bring the data file up to date now. Raises LowDisk, IoFailed, Corrupted."""
        self._writable()
        with self.checkpoint_lock:
            checkpoint.guarded(self)
            self.checkpoints += 1

    def flush(self) -> None:
        """Return when every commit so far is durable, those of other processes too."""
        self._writable()
        self.store.look()
        self.store.appender.flush()
        self.store.publish()

    def latch(self, error: RangoError) -> None:
        """No more writes: the outcome of one is unknown (I-10)."""
        if self.error is None:
            self.error = error
            kind = type(error).__name__
            emit("engine", ERROR, "latched", "no more writes", path=self.path, error=kind)
        self.lock.shared.fail(errno.EIO)

    @property
    def is_latched(self) -> bool:
        """No more writes, here or in any process: the outcome of one is unknown (I-10)."""
        return self.error is not None or self.lock.shared.failed is not None

    def _writable(self) -> None:
        if self.is_read_only:
            raise ReadOnly(f"{self.path} was opened with read_only=True; open it for writing")
        if self.error is not None:
            raise self.error

    # --- catalog

    def tree_take(self) -> int:
        """A tree id that was never used. Under the append lock."""
        tree: int = max(self.tree_next, self.store.head.catalog.tree_next)
        self.tree_next = tree + 1
        return tree

    def create_collection(self, name: str) -> CollectionInfo:
        """The collection, made if it is not there."""
        txn = self.begin()
        try:
            info = txn.create_collection(name)
            txn.commit()
        finally:
            txn.abort()
        return info

    def drop_collection(self, name: str) -> bool:
        """Drop a collection with its documents and indexes: whether there was one."""
        return self.change_catalog(lambda catalog: collection_dropped(catalog, name))

    def rename_collection(self, old: str, new: str) -> None:
        """Give a collection another name. Raises NotFound, InvalidName."""
        self.change_catalog(lambda catalog: collection_renamed(catalog, old, new))

    def change_catalog(self, change: Any) -> bool:
        """One commit of definitions: change(catalog) -> [(tree id, definition or None)]."""
        try:
            self.append_lock_take()
            batch = self.store.begin()
            changes = change(batch.catalog)
            for tree, definition in changes:
                batch.define(tree, definition, tree not in batch.catalog.definitions)
            batch.catalog = batch.catalog.changed(changes, self.store.marks)
            ordinal = self.store.commit(batch)
        finally:
            self.append_lock.drop()
        self.settle(ordinal)
        return bool(changes)

    def create_index(
        self, name: str, asked: IndexInfo, progress: index.Progress | None = None
    ) -> None:
        """Build an index over what is there and maintain it from now on (index.create)."""
        index.create(self, name, asked, progress)
        self.expirer.start()

    def drop_index(self, name: str, *index_names: str) -> None:
        """Drop indexes. Raises NotFound; then all are there still."""
        index.drop(self, name, list(index_names))

    # --- the whole

    def stats(self) -> dict[str, Any]:
        """Numbers about files, memory and work so far."""
        from rango.engine.figures import figures

        return figures(self)

    def check(self) -> Iterator[Finding]:
        """Everything that is wrong with the database; nothing when all is well."""
        from rango.engine import check

        return check.check(self)

    def digest(self) -> str:
        """A hash of all documents with their revisions and of all definitions."""
        from rango.engine import check

        return check.digest(self.view())

    def salvage(self, to: str) -> dict[str, Any]:
        """Write what is intact in the oplog to a new database. The original is not changed."""
        from rango.engine.salvage import salvage

        return salvage(self.options, to, keyring=self.keyring)


def _forget_after_fork() -> None:
    """In a child: every core is the parent's. Descriptors were closed by vfs's own handler."""
    # the parent's lock may be held by a thread that does not exist here
    global _cores_lock  # noqa: PLW0603
    _cores_lock = threading.RLock()
    for core in _cores.values():
        core.is_closed = True
        core.follow_lock.approach(None, 0)
        core.store = gone(
            ForkedHandle,
            "this database was opened before the fork; open it again in the child",
        )
        core.error = ForkedHandle(
            "this database was opened before the fork; open it again in the child"
        )
    _cores.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
