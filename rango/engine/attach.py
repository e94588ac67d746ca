"""Opening a database that other processes have open, and following what they do.

Terms       to follow: to take over what other processes have appended, and the generations that
            their checkpoints have made.
Invariants  I-16. Followed is only what the shared words say was written; it is seen once it is
            durable. Commits of this process come while it holds the append lock and has followed
            everything, so the two never mix.
States      attached -> behind (somebody else committed) -> followed -> behind ...
Failure     LogCorrupted or a page error: what was read before stays as it was.
Sources     architecture section 3.
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rango._ext.log_follow import appender_follow, appender_mend
from rango._ext.near import follow_commit
from rango._ext.pins import Lease, lease
from rango._ext.vfs import VFS_WRITE
from rango.engine import kept_state, recovery
from rango.engine.catalog import Catalog
from rango.engine.checkpoint import take_keys
from rango.errors import (
    Corrupted,
    DatabaseBusy,
    IoFailed,
    LogCorrupted,
    LowDisk,
    SuperblockCorrupted,
)
from rango.storage.follow import Follower, appender_behind
from rango.storage.lock import DatabaseLock
from rango.storage.oplog import LogMark, Oplog
from rango.storage.segment import io_named, is_gone, read_segments
from rango.storage.superblock import DATA_FILE, slot_load, slot_newest, slots_read

if TYPE_CHECKING:
    from rango._ext.segment import SegmentHeader
    from rango._ext.shared import Shared
    from rango._ext.store import Store
    from rango.engine.core import Core
    from rango.engine.options import OpenOptions
    from rango.engine.recovery import Opened
    from rango.storage.keyring import Keyring
    from rango.storage.superblock import Slot


READINGS_MAX: Final = 8
"""How often an opening beside others reads the files before it calls them damaged."""


def attach(
    options: OpenOptions,
    lock: DatabaseLock,
    keyring: Keyring,
    log: Oplog,
    data_fd: int,
    findings: list[str],
    undo: list[Callable[[], Any]],
) -> Opened:
    """What a core starts from beside others: nothing is judged or mended, somebody has done that.

    Takes no lock: somebody may sit in a transaction. What is read is pinned instead, and what is
    appended meanwhile is followed later, as ever. Keys, slots and segments are read one after the
    other, so a rotation or a checkpoint between two of them can look like damage: then all is read
    again. Raises what opening raises.
    """
    for _ in range(READINGS_MAX - 1):
        try:
            return read_state(options, lock, keyring, log, data_fd, findings, undo)
        except Corrupted:
            continue
        except IoFailed as error:
            # the log behind this slot was given up meanwhile: then there is a newer slot
            if not is_gone(error):
                raise
    return read_state(options, lock, keyring, log, data_fd, findings, undo)


def read_log(options: OpenOptions, keyring: Keyring) -> Oplog:
    """The names and headers of the log beside others: see attach()."""
    for _ in range(READINGS_MAX - 1):
        keyring.refresh()
        try:
            return recovery.open_log(options, options.vfs, keyring)
        except Corrupted:
            continue
    return recovery.open_log(options, options.vfs, keyring)


def read_state(
    options: OpenOptions,
    lock: DatabaseLock,
    keyring: Keyring,
    log: Oplog,
    data_fd: int,
    findings: list[str],
    undo: list[Callable[[], Any]],
) -> Opened:
    """Read once what attach() gives."""
    shared = lock.shared
    # what came between reading the names and having the pin
    keyring.refresh()
    # whoever changed them may have died before it told anybody
    shared.keys = keyring.generation
    number = shared.generation
    slot, fallback, _torn = recovery.choose_slot(options, options.vfs, data_fd, keyring)
    held = leased(shared, slot, os.path.join(options.path, DATA_FILE))
    # behind the slot, which may name a segment that has just been begun
    log.reread()
    pager = recovery.make_pager(options, keyring, data_fd)
    store = recovery.load(pager, slot, options.page_size)
    follower = read_newest(store, log, slot, shared)
    if not options.read_only:
        store.appender = appender_behind(log, follower.mark, shared, is_closed=follower.is_closed)
        undo.append(store.appender.close)
    store.reached = follower.mark.ordinal
    store.known_generation = number
    del held
    node_id = options.node_id or store.head.catalog.settings.get("node_id") or "reader"
    store.node = node_id.encode()
    seals = slot.seals if slot is not None and slot.epoch == keyring.epoch else 0
    return recovery.Opened(
        lock,
        keyring,
        log,
        store,
        data_fd,
        slot,
        fallback,
        node_id,
        seals,
        findings,
        follower.mark,
    )


def read_newest(store: Store, log: Oplog, slot: Slot | None, shared: Shared) -> Follower:
    """Take over what the log has behind the newest slot, all of it if there is no slot."""
    if slot is not None:
        start = LogMark(slot.log_segment, slot.log_offset, slot.ordinal, slot.chain)
        return read_all(store, log, start, shared)
    for changes in kept_state.load(store, log):
        store.head.catalog = store.head.catalog.changed(changes, store.marks)
    return read_all(store, log, log.start(), shared)


def leased(shared: Shared, slot: Slot | None, path: str) -> Lease:
    """What keeps the pages of the newest slot's generation as long as it is held.

    Raises SuperblockCorrupted if there is a newer one: then the pages may be used again already,
    and the slots have to be read again.
    """
    number = 0 if slot is None else slot.generation
    held = lease(shared, number)
    # whoever writes the next but one checkpoint looks at the pins after it has named one
    if shared.generation > number:
        raise SuperblockCorrupted(
            path,
            f"neither slot names generation {shared.generation}, which was there a moment ago",
        )
    return held


def share(core: Core) -> None:
    """Let other processes in, if this one was alone, and follow them from now on."""
    shared, store, held = core.lock.shared, core.store, weakref.ref(core)

    def follow_others() -> None:
        if (core := held()) is not None:
            follow(core)

    store.builder.shared = store.pager.shared = shared
    store.attach(shared, follow_others, core.lock.place)
    core.follow_lock.serve(store)
    if core.lock.is_alone and store.appender is not None:
        named = 0 if core.slot is None else core.slot.generation
        if store.head.generation_number != named:
            # a long replay went into pages that no slot names: others could not know of them
            try:
                core.checkpoint()
            except LowDisk:
                # others wait until this one is closed
                core.findings.append("no space for a checkpoint; the database is not shared")
                return
        store.appender.carry_write()
    core.lock.share()


def read_all(store: Store, log: Oplog, start: LogMark, shared: Shared) -> Follower:
    """Take over the log behind the slot, as far as it was appended when this began."""
    follower = Follower(log, start)
    replay(store, follower, max(shared.visible, start.ordinal), 0)
    store.current = store.head
    learn(log, follower)
    # what is not durable yet waits to be seen
    follow_on(store, follower, shared.appended, 0)
    learn(log, follower)
    # one that came meanwhile is taken over with its first commit, or with the append lock; one that
    # its writer never used, because it died, is removed (appender_mend)
    del log.segments[log.position(follower.mark.segment_id) + 1 :]
    return follower


def learn(log: Oplog, follower: Follower) -> None:
    """Take over the headers of segments that were begun since the log's names were read."""
    log.segments.extend(each for each in follower.headers if each.id > log.segments[-1].id)


def replay(store: Store, follower: Follower, written: int, segment_id: int) -> None:
    """Put what the log has behind the slot into the overlay."""
    changes: list[tuple[int, bytes | None]] = []
    for commits in follower.read(written, segment_id):
        for ordinal, _lsn, body, first_ordinal in commits:
            changes += store.apply(body, first_ordinal, ordinal)
    store.head.catalog = store.head.catalog.changed(changes, store.marks)


def follow_on(store: Store, follower: Follower, written: int, segment_id: int) -> None:
    """Take over the commits up to `written`, each to be seen once it is durable."""
    for commits in follower.read(written, segment_id):
        for ordinal, _lsn, body, first_ordinal in commits:
            # one that was interrupted may have come some way
            if ordinal > store.head.ordinal:
                follow_commit(store, body, first_ordinal, ordinal)


def busy_writer(path: str, lock: DatabaseLock) -> DatabaseBusy:
    """The error that names the process that has the append lock."""
    owner = lock.shared.owner()
    if owner is None or owner[0] == os.getpid():
        return DatabaseBusy(
            f"another thread of this process (pid {os.getpid()}) has been in a transaction on "
            f"{path} for a long time; end it, or retry later",
            pid=os.getpid(),
        )
    return DatabaseBusy(
        f"process {owner[0]} has been in a transaction on {path} for a long time; end it there, "
        "or retry later",
        pid=owner[0],
    )


def busy_users(path: str, lock: DatabaseLock) -> DatabaseBusy:
    """The error that names the other processes that have the database open."""
    pids = sorted({pid for pid, _start, is_this in lock.shared.users() if not is_this})
    return DatabaseBusy(
        f"{path} is open in process {', '.join(map(str, pids)) or '?'}; close it there first",
        pid=pids[0] if pids else None,
    )


def latched(core: Core) -> IoFailed:
    """The error of who wants to write after a write of another process had an unknown outcome."""
    code, pid = core.lock.shared.failed or (errno.EIO, 0)
    if code == errno.ESTALE:
        return IoFailed(
            f"{core.path}: the lock file was deleted or replaced while the database was open, so "
            "other processes do not know of this one any more; close the database here and open "
            "it again, and let nobody clean up its directory"
        )
    return IoFailed(
        f"{core.path}: process {pid} could not write ({os.strerror(code)}); what was appended "
        f"after ordinal {core.lock.shared.durable} may be lost; check the disk, then close the "
        "database in every process and open it again"
    )


def catch_up(core: Core) -> None:
    """Everything that was appended, and what a writer that died left. Under the append lock.

    Raises IoFailed if the database is latched (I-10).
    """
    store = core.store
    if core.lock.shared.failed is not None:
        raise latched(core)
    is_elsewhere = core.lock.shared.segment != store.appender.segment_id
    # another catalog: what must_follow() has taken over is not all that there is to do
    if is_elsewhere or store.is_behind() or store.head.catalog is not core.catalog:
        follow(core)
    if core.lock.shared.is_appending:
        appender_mend(store.appender)


def follow(core: Core) -> None:
    """Take over what other processes have done. Called when the store finds itself behind.

    Raises LogCorrupted, IoFailed, PageCorrupted.
    """
    shared, store = core.lock.shared, core.store
    with core.follow_lock as near:
        if not shared.is_ready:
            # a reader that came first goes on by itself until somebody opens for writing
            return
        # raises if the core was closed
        store.publish()
        if not near.read_all(store, core.keyring.generation):
            follow_all(core)
    if store.head.catalog is not core.catalog and not core.is_read_only:
        core.catalog = store.head.catalog
        # an index that ends documents may be among what others made
        core.expirer.start()


def follow_all(core: Core) -> None:
    """The same, whatever they did."""
    shared, store = core.lock.shared, core.store
    is_elsewhere = (
        store.appender is not None
        and core.append_lock.is_mine
        and shared.failed is None
        and shared.segment != store.appender.segment_id
    )
    if shared.keys > core.keyring.generation:
        take_keys(core)
    # else the append lock may be held by a thread of this process that appends just now
    if store.has_unread() or is_elsewhere:
        read_on(core)
    if shared.generation != store.known_generation:
        move_on(core, shared.generation)
    store.publish()
    if store.appender is not None:
        core.follower.mark = LogMark(*store.appender.mark())
    core.follower.approach(core.keyring.generation)


def read_on(core: Core) -> None:
    """Take over every commit that was appended."""
    store, appender = core.store, core.store.appender
    is_latched = core.lock.shared.failed is not None
    if appender is None:
        core.follower.leave()
    else:
        core.follower.mark = LogMark(*appender.mark())
    follower = core.follower
    begun: list[SegmentHeader] = []
    try:
        follow_on(store, follower, *goal(core, is_latched=is_latched))
    except (LogCorrupted, IoFailed):
        if not is_given_up(core, follower.mark):
            raise
        begun = jump(core)
        follow_on(store, follower, *goal(core, is_latched=is_latched))
    mark = follower.mark
    headers = begun + follower.headers
    if appender is None or is_latched:
        learn(core.log, follower)
    else:
        # the appender adds those that it goes on to by itself
        del core.log.segments[len(core.log.segments) - len(begun) :]
        fd = -1
        if headers:
            path = core.log.path(headers[-1].id)
            with io_named(f"opening {path}"):
                fd = core.vfs.open(path, VFS_WRITE)
        appender_follow(
            appender,
            headers,
            fd,
            mark.offset,
            mark.ordinal,
            mark.chain,
            follower.is_closed,
        )
    store.reached = mark.ordinal


def goal(core: Core, *, is_latched: bool) -> tuple[int, int]:
    """How far to follow: the ordinal, and the segment that others began (0: it is not waited for).

    The segment is read first: behind the ordinal it might be one that goes on behind later commits.
    """
    shared = core.lock.shared
    segment_id, written = shared.segment, shared.appended
    if is_latched:
        # what lies behind may be gone from the cache, and nobody appends any more
        return shared.durable, 0
    return written, 0 if core.store.appender is None else segment_id


def is_given_up(core: Core, mark: LogMark) -> bool:
    """Whether the log before a mark was given up, so that nothing can be read on from there."""
    found = read_segments(core.vfs, core.log.directory, core.keyring).base
    return found is not None and mark.segment_id <= found.id


def jump(core: Core) -> list[SegmentHeader]:
    """Go on from the newest slot: the log in between is gone. Returns the header of the segment
    that the slot names, in a list, which is the last of the log's now.

    All that this process knew is durable, and the slot holds it: a log is given up only behind
    both slots.
    """
    store = core.store
    take_keys(core)
    slot, other, held = newest_leased(core)
    if slot is None:
        path = os.path.join(core.path, DATA_FILE)
        raise SuperblockCorrupted(path, "neither superblock slot is whole")
    generation, definitions = slot_load(store.pager, slot)
    files = read_segments(core.vfs, core.log.directory, core.keyring)
    begun = [each for each in files.headers if each.id == slot.log_segment]
    # imported here: only other processes bring it about
    from rango._ext.jump import store_jump

    store_jump(store, generation, lambda marks: Catalog(dict(definitions), marks, slot.tree_next))
    store.floor(slot.hlc_ms, slot.hlc_counter)
    # the appender holds the same list
    core.log.segments[:] = [each for each in files.headers if each.id <= slot.log_segment]
    core.log.base, core.log.given_up = files.base, files.given_up
    core.follower.mark = LogMark(slot.log_segment, slot.log_offset, slot.ordinal, slot.chain)
    store.known_generation = slot.generation
    take_slot(core, slot, other, is_told=False)
    del held
    return begun


def take_slot(core: Core, slot: Slot, other: Slot | None, *, is_told: bool) -> None:
    """Take over a slot that another process wrote. Not told: it may be in the cache only."""
    core.slot, core.fallback = slot, other
    core.unadopted = None
    core.is_slot_proven = is_told
    is_own_epoch = slot.epoch == core.keyring.epoch
    core.seals = (slot.seals if is_own_epoch else 0) - core.store.pager.seals


def move_on(core: Core, number: int) -> None:
    """Go on from the generation that another process has made."""
    store = core.store
    slot, other, held = newest_leased(core)
    if slot is None or slot.generation < number:
        raise SuperblockCorrupted(
            os.path.join(core.path, DATA_FILE),
            f"neither slot names generation {number}, which was there a moment ago",
        )
    if slot.ordinal > store.reached:
        # the slot is newer than what was followed
        read_on(core)
    # what a slot holds is durable, so all of it may be seen
    store.publish()
    if core.slot is None or slot.generation > core.slot.generation:
        generation, _definitions = slot_load(store.pager, slot)
        store.adopt(generation, False)
        store.builder.rename(generation)
        # one that nobody told of yet may be in the cache only
        take_slot(core, slot, other, is_told=slot.generation <= number)
    store.known_generation = number
    del held


def newest_leased(core: Core) -> tuple[Slot | None, Slot | None, Lease]:
    """What the slots say now, the newest one first, and what keeps that one's pages.

    Raises SuperblockCorrupted if neither is what others said a moment ago.
    """
    for _ in range(READINGS_MAX - 1):
        with contextlib.suppress(SuperblockCorrupted):
            return newest_leased_once(core)
        # there is a newer one; whoever rotated the keys may have died before it could tell
        take_keys(core)
    return newest_leased_once(core)


def newest_leased_once(core: Core) -> tuple[Slot | None, Slot | None, Lease]:
    """The same from one reading."""
    path = os.path.join(core.path, DATA_FILE)
    slot, other = slot_newest(slots_read(core.vfs, core.data_fd, path, core.keyring))
    return slot, other, leased(core.lock.shared, slot, path)
