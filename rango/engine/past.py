"""The whole database as of an earlier commit: the view behind Database.at.

Terms       root: a generation that is whole in the data file: one that a slot names, or a kept one
            (engine/kept.py). target: the ordinal that is asked for. Overlay, view: the glossary.
Invariants  I-16: the view is that of the last commit with ordinal <= target, whoever writes
            meanwhile; the log is read no further than what may be seen. The data file is never
            written: what does not fit into memory goes into pages of a private file without a
            name, sealed like the others (I-6), which is gone with the view.
            A root's pages are pinned before the lock under which it was found is let go (I-2).
            What was purged is absent, at every ordinal.
States      target resolved -> root chosen and pinned -> replayed to the target -> a view.
Failure     NotFound: there is no such commit, revision or name yet. HistoryGone: the log begins
            later. LogCorrupted: the log is damaged between root and target.
Sources     architecture sections 3 and 8 (History); ADR-0028.
"""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from rango._ext import layout
from rango._ext.pager import Pager
from rango._ext.vfs import VFS_CREATE, VFS_EXCLUSIVE, VFS_READ, VFS_WRITE, fork_count
from rango.engine import kept, kept_state, recovery
from rango.engine.moment import Moment, ordinal_of
from rango.engine.purge import FACTS
from rango.engine.stopping import stop_check, stop_of
from rango.errors import HistoryGone, IoFailed, LogCorrupted, NotFound, PageCorrupted
from rango.storage.base_segment import base_numbers
from rango.storage.follow import Follower
from rango.storage.oplog import LogMark, Oplog
from rango.storage.segment import io_named
from rango.storage.superblock import DATA_FILE

if TYPE_CHECKING:
    from rango._ext.store import Store
    from rango._ext.view import View
    from rango.engine.core import Core
    from rango.storage.superblock import Slot

Progress = Callable[[int, int], object]

MEMORY_SPAN_MAX: Final = 32 * 1024 * 1024
"""Bytes of log that are replayed into memory alone; a longer replay has a private file."""

OVERLAY_ENTRIES_MAX: Final = 200_000
OVERLAY_BYTES_MAX: Final = 48 * 1024 * 1024
"""Overlay at which a replay with a private file writes its pages into it."""

CACHE_SIZE_MAX: Final = 32 * 1024 * 1024
"""Of the pages of one private file."""

POINT_SPAN_MAX: Final = 256 * 1024
"""Bytes of log up to which a replay reads single blocks."""

CHUNK: Final = 1_000

_numbers = itertools.count(1)


class Hold:
    """What a view of the past needs to stay whole; goes with it."""

    __slots__ = ("forks", "pager", "pin")

    def __init__(self, pin: object) -> None:
        self.pin = pin
        self.pager: Pager | None = None
        self.forks = fork_count()

    def __del__(self) -> None:
        # in a child the descriptors are closed already, and the numbers may be other files'
        if self.pager is not None and self.forks == fork_count():
            self.pager.close()


def view_at(core: Core, seen: View, moment: Moment, progress: Progress | None = None) -> View:
    """The view of the last commit at or before `moment`, which `seen` has in its past.

    Raises NotFound, HistoryGone, InvalidArgument, LogCorrupted, IoFailed, LowDisk, QueryCancelled.
    """
    try:
        return _view_at(core, core.log, seen, moment, progress)
    except (LogCorrupted, NotFound, IoFailed):
        # a reading that came between two writes of somebody else, or a segment that another process
        # has given up: once more, with fresh headers
        fresh = Oplog.open(core.vfs, core.path, core.keyring)
    return _view_at(core, fresh, seen, moment, progress)


def _view_at(core: Core, log: Oplog, seen: View, moment: Moment, progress: Progress | None) -> View:
    target = number_of(log, seen, ordinal_of(core, log, seen, moment))
    if target > seen.ordinal:
        raise NotFound(
            f"there is no commit {target} yet; the newest one is {seen.ordinal}: ask for that, or "
            "for an earlier one"
        )
    if target == seen.ordinal:
        return seen
    damaged: set[int] = set()
    while True:
        hold = Hold(seen)
        root = None if damaged else root_of_view(core, seen, target)
        if root is None:
            root = kept.nearest(core, target, hold, damaged)
        try:
            return view_from(core, log, seen, target, root, hold, progress)
        except (PageCorrupted, IoFailed):
            if root is None:
                raise
            # an older one, or the log alone, has the same
            damaged.add(root.generation)


def number_of(log: Oplog, seen: View, target: int) -> int:
    """The target, or of a number that means the state where the log begins the one that can be
    replayed to. Raises LogCorrupted.
    """
    oldest = log.start().ordinal
    if log.base is None or target > oldest or target == seen.ordinal:
        return target
    first, last = base_numbers(log)
    is_same = first <= target and first <= seen.ordinal
    return min(last, seen.ordinal) if is_same else target


def view_from(
    core: Core,
    log: Oplog,
    seen: View,
    target: int,
    root: Slot | None,
    hold: Hold,
    progress: Progress | None,
) -> View:
    """The view as of the target, which lies behind the root. Raises PageCorrupted or IoFailed:
    the root cannot be read.
    """
    mark = mark_of(log, root, target)
    span = span_of(log, mark, target)
    is_from_base = log.base is not None and mark == log.start() and mark.ordinal <= target
    if is_from_base and log.base is not None and not (root is not None and root.ordinal == target):
        # the base holds a state of its own
        root, span = None, span + log.base.predecessor_end
    pager = core.store.pager
    if span > MEMORY_SPAN_MAX:
        pager = hold.pager = private_pager(core, root)
    store = recovery.load(pager, root, core.options.page_size)
    if is_from_base and root is None:
        for changes in kept_state.load(store, log):
            store.head.catalog = store.head.catalog.changed(changes, store.marks)
            if store.pager.private_fd >= 0 and is_large(store):
                recovery.spill(store, store.head.generation_number + 1)
    replay(store, log, mark, target, span, progress)
    if hold.pager is not None:
        core.seals += hold.pager.seals
    view = store.head.leased(hold)
    recount(seen, view)
    return view


def root_of_view(core: Core, seen: View, target: int) -> Slot | None:
    """The slot whose generation `seen` holds, if that is not behind the target."""
    slot = core.slot
    if slot is not None and slot.generation == seen.generation_number and slot.ordinal <= target:
        return slot
    return None


def mark_of(log: Oplog, root: Slot | None, target: int) -> LogMark:
    """Where the replay begins. Raises HistoryGone."""
    oldest = log.start()
    if root is not None and (root.ordinal == target or root.ordinal >= oldest.ordinal):
        return LogMark(root.log_segment, root.log_offset, root.ordinal, root.chain)
    if oldest.ordinal > 0 and (log.base is None or target < oldest.ordinal):
        raise HistoryGone(
            f"commit {target} cannot be seen any more: the oplog begins behind commit "
            f"{oldest.ordinal}; ask for a later one, or restore a backup of that time",
            oldest.ordinal,
        )
    return oldest


def span_of(log: Oplog, mark: LogMark, target: int) -> int:
    """Bytes of log between a mark and the commit that is asked for."""
    if target <= mark.ordinal:
        return 0
    segment, offset = log.find(target)
    last = log.position(segment)
    span, start = 0, mark.offset
    for at in range(log.position(mark.segment_id), last):
        span += log.segments[at + 1].predecessor_end - start
        start = layout.SEGMENT_HEADER_SIZE
    return span + offset - start + 1


def replay(
    store: Store, log: Oplog, mark: LogMark, target: int, span: int, progress: Progress | None
) -> None:
    """Put the commits behind a mark into the store, up to the target."""
    stop = stop_of(0)
    changes: list[tuple[int, bytes | None]] = []
    spills = 0
    total = target - mark.ordinal
    for commits in batches(log, mark, target, span):
        stop_check(stop)
        for ordinal, body, first in commits:
            changes += store.apply(body, first, ordinal)
        if store.pager.private_fd >= 0 and is_large(store):
            store.head.catalog = store.head.catalog.changed(changes, store.marks)
            changes = []
            spills += 1
            recovery.spill(store, store.head.generation_number + 1)
        if progress is not None:
            progress(min(store.head.ordinal - mark.ordinal, total), total)
    store.head.catalog = store.head.catalog.changed(changes, store.marks)
    if progress is not None:
        progress(total, total)


def batches(
    log: Oplog, mark: LogMark, target: int, span: int
) -> Iterator[list[tuple[int, bytes, int]]]:
    """(ordinal, body, first ordinal) of the commits behind a mark that are whole at the target."""
    if target <= mark.ordinal:
        return
    follower = Follower(log, mark)
    for commits in follower.read(target, is_point=span <= POINT_SPAN_MAX):
        # the target may be in the middle of a commit of several frames
        yield [(each[0], each[2], each[3]) for each in commits if each[0] <= target]


def is_large(store: Store) -> bool:
    """Whether the overlay should go into pages."""
    return store.overlay_count > OVERLAY_ENTRIES_MAX or store.overlay_bytes > OVERLAY_BYTES_MAX


def recount(seen: View, view: View) -> None:
    """Count the documents anew if any were purged since: their insertions are still counted."""
    facts = seen.catalog.collections.get(FACTS)
    if facts is None:
        return
    for info in view.catalog.collections.values():
        count = 0
        scan = view.scan(info.tree_id, None, None, False, None)
        try:
            while entries := scan.next_entries(CHUNK):
                count += sum(
                    record[layout.RECORD_FLAGS] != layout.RECORD_FLAG_TOMBSTONE
                    for _key, record in entries
                )
        finally:
            scan.close()
        view.recount(info.tree_id, count)


# --- the private file


def private_pager(core: Core, root: Slot | None) -> Pager:
    """A pager that reads the data file and writes into a file of its own, which has no name."""
    vfs = core.vfs
    path = os.path.join(core.path, DATA_FILE)
    with io_named("making a private file for a view of the past"):
        own = nameless_file(core)
        try:
            data = -1 if root is None else vfs.open(path, VFS_READ)
        except OSError:
            vfs.close(own)
            raise
    pager = Pager(
        vfs,
        path,
        data,
        core.keyring.database_id,
        core.keyring,
        core.store.pager.epoch,
        min(core.options.cache_size, CACHE_SIZE_MAX),
    )
    pager.shared = core.store.pager.shared
    pager.write_apart(own, layout.SLOT_UNITS if root is None else root.file_units)
    return pager


def nameless_file(core: Core) -> int:
    """A new file without a name: in the database's directory, or where temporary files are."""
    while True:
        name = f"past-{os.getpid()}-{next(_numbers)}.tmp"
        try:
            return unlinked(core, os.path.join(core.path, name))
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                break
            # one that died may have left its own, and numbers of processes come again
            if error.errno != errno.EEXIST:
                raise
    # a reader that may not write there
    with tempfile.TemporaryDirectory(prefix="rango-") as folder:
        return unlinked(core, os.path.join(folder, name))


def unlinked(core: Core, path: str) -> int:
    """Create a file and take its name away."""
    fd = core.vfs.open(path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE)
    try:
        core.vfs.remove(path)
    except OSError:
        core.vfs.close(fd)
        raise
    return fd
