"""Giving history up: the log begins anew with a base segment, and what came before is removed.

Terms       base segment, keep point: see storage/base_segment.py. Cut: how many of the log's
            segments go; it lies between two of them, so more may be kept than was asked for.
Invariants  The log is cut only when both superblock slots lie behind the cut, so that an open never
            needs what was given up; the base is durable before it has its name, and its name before
            anything is removed, oldest first. No lock but that of long works on the history is held
            while the base is written: others read and write.
States      rolled (a new segment begins) -> base written under its temporary name -> both slots
            behind the cut -> base renamed: decided -> segments before it removed -> the others
            packed (packing.py). Before the rename a crash leaves the old log and a file that the
            next open removes, after it the new log; the next open removes what is left of the old.
Failure     LowDisk: nothing was given up. Once history was, too little space to pack what remains
            is none: the next call packs it. NotFound, HistoryGone: the snapshot that is to be kept
            is none, or is gone already. Another process whose place in the log is gone goes on
            from the newest slot (attach.jump).
Sources     architecture section 8 (Checkpoint); ADR-0032.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rango._ext.generation import generation_empty
from rango._ext.pager import Pager
from rango._ext.segment import SegmentHeader, segment_path
from rango._ext.store import Store
from rango._ext.vfs import VFS_CREATE, VFS_WRITE
from rango.engine import checkpoint, kept_state, packing, purge, recovery
from rango.engine.catalog import Catalog
from rango.engine.mutation import mutations, updated_of
from rango.engine.named import names_between, ordinal_named
from rango.engine.settings import is_purging
from rango.engine.shrink import shrink
from rango.engine.signing import sign_base
from rango.errors import HistoryGone, IoFailed, LowDisk
from rango.events import INFO, WARNING, emit
from rango.storage.base_segment import (
    BaseWriter,
    all_headers,
    base_numbers,
    last_commit,
    remove_given_up,
)
from rango.storage.oplog import Oplog
from rango.storage.segment import SegmentFiles, io_named, opened, scanner_for
from rango.storage.superblock import DATA_FILE, slots_read

if TYPE_CHECKING:
    from rango._ext.view import View
    from rango.engine.core import Core

SCRATCH: Final = "past.rgo.new"
"""Where a past state is put together; the next open removes it after a crash."""

SCRATCH_CACHE: Final = 16 * 1024 * 1024
SLOT_TRIES: Final = 8
READ_SIZE: Final = 65_536

Progress = Callable[[int, int], object]


class Keep(NamedTuple):
    """What is to be kept: one of these."""

    is_now: bool = False
    ordinal: int | None = None
    ms: int | None = None
    """Milliseconds since 1970."""
    commits: int = 0
    """So many of the last ordinals."""
    name: str | None = None
    """The commit of this snapshot."""
    is_all: bool = False
    """Nothing is given up, only packed."""


class Cut(NamedTuple):
    """Where the log is to begin: `headers` without the first `gone` of them."""

    headers: tuple[SegmentHeader, ...]
    gone: int

    @property
    def first(self) -> SegmentHeader:
        """The segment that the kept history begins with."""
        return self.headers[self.gone]


class Now(NamedTuple):
    """The end of the log, where it was rolled, and the state there."""

    view: View
    headers: tuple[SegmentHeader, ...]
    hlc: tuple[int, int]
    tree_next: int


def compact(
    core: Core, keep: Keep, *, dry_run: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Give up the history before a point; see the module and Database.compact()."""
    if is_purging(core) and not dry_run:
        purge.finish(core)
    with core.history_lock:
        if keep.name is not None:
            keep = Keep(ordinal=ordinal_kept(core, keep.name))
        if dry_run:
            return foreseen(core, keep)
        if keep.is_all:
            packing.need_space(core, all_headers(core.log))
        now = roll(core)
        cut = Cut(now.headers, cut_of(core, now.headers, keep))
        lost = lost_of(core, core.log, cut, now.view, is_dry=False)
        size = give_up(core, cut, now, progress) if cut.gone else 0
        # what the view pinned can be used again
        del now
        packed = pack(core, cut, progress)
        done = {**lost, "base_bytes": size, **packed_of(packed), "data_bytes": shrink(core)}
    # names are what somebody wrote, which no event says
    figures = {**done, "snapshots": len(done["snapshots"])}
    emit("engine", INFO, "compacted", "the history was compacted", path=core.path, **figures)
    return done


def pack(core: Core, cut: Cut, progress: Progress | None) -> packing.PackedSum:
    """Pack what remains. Raises LowDisk if that is all there is to do."""
    try:
        return packing.pack_all(core, move_slots, progress)
    except LowDisk as error:
        if not cut.gone:
            raise
        emit("engine", WARNING, "unpacked", str(error), path=core.path)
        return packing.PackedSum()


def foreseen(core: Core, keep: Keep) -> dict[str, Any]:
    """What compact() would say; nothing is changed."""
    log = Oplog.open(core.vfs, core.path, core.keyring)
    headers = tuple(log.segments)
    index = len(headers) if is_now(core, keep) else cut_of(core, headers, keep)
    lost = lost_of(core, log, Cut(headers, index), core.view(), is_dry=True)
    return {**lost, "base_bytes": 0, **packed_of(packing.PackedSum()), "data_bytes": 0}


def packed_of(done: packing.PackedSum) -> dict[str, Any]:
    """What was packed, for the report."""
    return {
        "packed": done.segments,
        "packed_bytes_before": done.before,
        "packed_bytes_after": done.after,
    }


def roll(core: Core) -> Now:
    """Let the log go on in a new segment, so that there is a place for the cut. LowDisk."""
    store = core.store
    try:
        core.append_lock_take()
        store.appender.roll_over()
        core.log.reread()
        view = store.leased(store.head)
        tree_next = max(core.tree_next, view.catalog.tree_next)
        return Now(view, tuple(core.log.segments), store.revision_floor, tree_next)
    finally:
        core.append_lock.drop()


# --- where to cut


def cut_of(core: Core, headers: tuple[SegmentHeader, ...], keep: Keep) -> int:
    """How many segments go: the most of those that leave the keep point and all behind it."""
    if keep.is_all:
        return 0
    if is_now(core, keep):
        return len(headers) - 1
    if keep.ms is not None:
        return cut_at(core, headers, keep.ms)
    wanted = keep.ordinal
    if wanted is None:
        wanted = core.store.head.ordinal - keep.commits
    index = 0
    for at, header in enumerate(headers):
        if header.first_ordinal - 1 <= wanted:
            index = at
    return index


def is_now(core: Core, keep: Keep) -> bool:
    """Whether nothing but the present state is to be kept."""
    if keep.ordinal is not None:
        return keep.ordinal >= core.store.head.ordinal
    return keep.is_now or (keep.ms is not None and keep.ms >= core.clock())


def ordinal_kept(core: Core, name: str) -> int:
    """The commit of a snapshot that is to be kept. Raises NotFound, HistoryGone."""
    ordinal = ordinal_named(core.view(), name)
    # fresh: another process may have given history up
    first, oldest = base_numbers(Oplog.open(core.vfs, core.path, core.keyring))
    if ordinal < first:
        raise HistoryGone(
            f"snapshot {name!r} cannot be kept: it is commit {ordinal}, and the history before "
            f"commit {oldest} was given up already; keep a later point, and drop that name",
            oldest,
        )
    return max(ordinal, oldest)


def cut_at(core: Core, headers: tuple[SegmentHeader, ...], ms: int) -> int:
    """How many segments go if the state at a time is kept: the last one that began before it is
    the first that stays.
    """
    index = 0
    for at, header in enumerate(headers):
        began = began_ms(core, header)
        if began is not None and began > ms:
            break
        if began is not None:
            index = at
    return index


def began_ms(core: Core, header: SegmentHeader) -> int | None:
    """When the first document in a segment was written, milliseconds since 1970; None: none was."""
    with opened(core.vfs, segment_path(core.log.directory, header.id)) as fd:
        scanner = scanner_for(core.vfs, fd, core.keyring, header, is_point=True)
        while not scanner.is_ended:
            for commit in scanner.batch(READ_SIZE):
                for mutation in mutations(commit[2]):
                    if (ms := updated_of(mutation)) is not None:
                        return ms
    return None


def lost_of(core: Core, log: Oplog, cut: Cut, view: View, *, is_dry: bool) -> dict[str, Any]:
    """What goes: how many commits, segments and bytes, since when, which snapshots with them, and
    where history begins.
    """
    gone = cut.headers[: cut.gone]
    end = core.store.head.ordinal + 1
    if cut.gone < len(cut.headers):
        end = cut.first.first_ordinal
    size = 0
    with io_named("reading the oplog"):
        for header in gone:
            fd = core.vfs.open(segment_path(core.log.directory, header.id), 0)
            size += core.vfs.size(fd)
            core.vfs.close(fd)
    began = [ms for header in gone[:1] if (ms := began_ms(core, header)) is not None]
    first = cut.headers[0].first_ordinal
    # the state at the cut stays, by every number that it has, and what went before had ended before
    names = names_between(view, base_numbers(log)[0], last_commit(log, end - 1) - 1) if gone else []
    return {
        "ordinal": end - 1,
        "commits": max(end - first, 0) if gone else 0,
        "segments": len(gone),
        "bytes": size,
        "oldest": datetime.fromtimestamp(began[0] / 1000, UTC) if began else None,
        "snapshots": names,
        "is_done": bool(gone) and not is_dry,
    }


# --- giving up


def give_up(core: Core, cut: Cut, now: Now, progress: Progress | None) -> int:
    """Write the base and cut. Returns the size of the base."""
    folder = core.log.directory
    last = cut.headers[cut.gone - 1]
    ordinal, head = cut.first.first_ordinal - 1, cut.first.chain
    with (
        purge.latching(core, "giving up history"),
        BaseWriter(core.vfs, folder, core.keyring, last.id, ordinal, head) as writer,
    ):
        with state_at(core, cut, now) as state:
            writer.state(statement(core, ordinal, head, state))
            kept_state.write_state(writer, state.view, progress)
        size = writer.finish()
        move_slots(core, last.id)
        # their pages are history, too
        checkpoint.forget_roots(core)
        with core.checkpoint_lock:
            # first: what goes without a signature would look as if somebody had cut it off
            sign_base(core, ordinal, head)
        writer.commit()
        try:
            # under the lock: others may begin a segment meanwhile
            core.append_lock_take()
            core.log.reread()
        finally:
            core.append_lock.drop()
        remove_given_up(core.vfs, folder, core.log.given_up)
        core.log.given_up = ()
    return size


def statement(core: Core, ordinal: int, head: bytes, state: Now) -> dict[str, Any]:
    """What the base says of itself, signed by this node."""
    signed = b"rango base" + core.keyring.database_id + ordinal.to_bytes(8, "little") + head
    return {
        "ordinal": ordinal,
        "commit": last_commit(core.log, ordinal),
        "chain": head,
        "at": datetime.fromtimestamp(core.clock() / 1000, UTC),
        "node": core.node_id,
        "hlc_ms": state.hlc[0],
        "hlc_counter": state.hlc[1],
        "tree_next": state.tree_next,
        "verify_key": core.keyring.verify_key,
        "signature": core.keyring.sign(signed),
    }


@contextmanager
def state_at(core: Core, cut: Cut, now: Now) -> Iterator[Now]:
    """The state at the cut: the present one, or one that is put together from the log."""
    if cut.gone + 1 == len(cut.headers):
        yield now
        return
    path = os.path.join(core.log.directory, SCRATCH)
    with io_named(f"making {path}"):
        fd = core.vfs.open(path, VFS_WRITE | VFS_CREATE)
    try:
        core.vfs.truncate(fd, 0)
        yield rebuilt(core, cut, path, fd)
    finally:
        core.vfs.close(fd)
        with io_named(f"removing {path}"):
            core.vfs.remove(path)


def rebuilt(core: Core, cut: Cut, path: str, fd: int) -> Now:
    """The state at the cut from a replay, with pages in a file that nobody else knows."""
    keyring = core.keyring
    pager = Pager(core.vfs, path, fd, keyring.database_id, keyring, keyring.epoch, SCRATCH_CACHE)
    store = Store(pager, generation_empty(), b"", core.options.page_size)
    store.head.catalog = Catalog({}, {}, 1)
    files = SegmentFiles(list(cut.headers[: cut.gone]), [], core.log.base)
    log = Oplog(core.vfs, core.path, keyring, files)
    batches = log.replay(*log.start(), must_reach=cut.first.first_ordinal - 1)
    generations = 0
    for changes in chain(kept_state.load(store, log), recovery.applied(store, batches)):
        store.head.catalog = store.head.catalog.changed(changes, store.marks)
        if store.overlay_count > recovery.REPLAY_ENTRIES_MAX:
            generations += 1
            recovery.spill(store, generations)
    return Now(store.head, cut.headers, store.revision_floor, store.head.catalog.tree_next)


def move_slots(core: Core, segment_id: int) -> None:
    """Let both superblock slots lie behind this segment. Raises LowDisk, IoFailed."""
    path = os.path.join(core.path, DATA_FILE)
    for _ in range(SLOT_TRIES):
        with core.checkpoint_lock:
            with io_named(f"reading {path}"):
                slots = slots_read(core.vfs, core.data_fd, path, core.keyring)
            if all(slot is not None and slot.log_segment > segment_id for slot in slots):
                return
            checkpoint.guarded(core, checkpoint.run_anew)
            core.checkpoints += 1
    raise IoFailed(f"{path}: its superblock slots do not move on; run `rango check`")
