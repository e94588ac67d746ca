"""Opening a database: keys, newest slot, what the log has behind it, and a log that can be appended
to.

Terms       tail: what the log holds behind the slot's T; to adopt it: to make it durable before
            anything hangs on it.
Invariants  I-3, I-11, I-17, I-18. Nothing is written before the whole tail was read and judged; a
            reader writes nothing.
States      locked -> change of keys finished, if one was interrupted (rekey.py) -> keys open ->
            slot chosen -> tail replayed -> adopted -> open. A crash anywhere leaves what was there.
Failure     NotADatabase, KeyRejected, DatabaseBusy: nothing was touched. LogCorrupted: the oplog is
            damaged where an open
            must replay it; nothing is changed. A data file that is missing is rebuilt from the
            oplog. One without a valid slot
            is rebuilt if it never had a second one (the first checkpoint was cut off), else
            SuperblockCorrupted.
Sources     architecture section 8.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

from rango._ext import layout
from rango._ext.generation import generation_empty
from rango._ext.pager import Pager
from rango._ext.store import Store
from rango._ext.vfs import VFS_CREATE, VFS_READ, VFS_WRITE, Vfs
from rango.engine import attach, checkpoint, kept, kept_state
from rango.engine.catalog import DATABASE_ID, Catalog, database_definition
from rango.engine.options import OpenOptions
from rango.errors import (
    IoFailed,
    LogCorrupted,
    LowDisk,
    NotADatabase,
    ReadOnly,
    SuperblockCorrupted,
)
from rango.events import WARNING, emit
from rango.ids import generate_node_id
from rango.storage.keyring import Keyring, keys_exist
from rango.storage.lock import LOCK_FILE, DatabaseLock
from rango.storage.oplog import Commit, LogMark, Oplog
from rango.storage.segment import io_named
from rango.storage.superblock import (
    DATA_FILE,
    Slot,
    slot_load,
    slot_mend,
    slot_newest,
    slots_read,
    slots_torn,
)

OWN_NAMES: Final = frozenset(
    {LOCK_FILE, DATA_FILE, f"{DATA_FILE}.new", "keys", "keys.new", "oplog"}
)
HALF: Final = "rekey"
"""Where a change of the root key (rekey.py) makes its files, and leaves them when interrupted."""

REPLAY_ENTRIES_MAX: Final = 400_000
"""Overlay entries at which a replay stops for a checkpoint, so that a rebuild needs bounded
memory.
"""

KEYS_WITHOUT_LOG: Final = 1
"""Generation of `keys` as they are created. They are written again once the first segment is
durable, so that a log that is gone later is not taken for a creation that was cut off.
"""

EPOCH_SEALS_MAX: Final = 1 << 30
"""Pages sealed under one key epoch after which the next open starts another: 2^31 with random
nonces is the bound, and no
session seals 2^30 pages (8 TB)."""


class Opened(NamedTuple):
    """What a core starts from."""

    lock: DatabaseLock
    keyring: Keyring
    log: Oplog
    store: Store
    data_fd: int
    slot: Slot | None
    fallback: Slot | None
    node_id: str
    seals: int
    findings: list[str]
    mark: LogMark
    """Where the log was read to."""


def open_database(options: OpenOptions) -> Opened:
    """Open, and create if asked to.

    Raises everything that the module says; holds nothing after an error.
    """
    vfs = options.vfs
    undo: list[Callable[[], Any]] = []
    try:
        return _open(options, vfs, undo)
    except OSError as error:
        release(undo)
        raise os_error(options.path, error) from error
    except BaseException:
        release(undo)
        raise


def release(undo: list[Callable[[], Any]]) -> None:
    """Give back what an open that failed had taken, last first."""
    for step in reversed(undo):
        step()


def os_error(path: str, error: OSError) -> Exception:
    """The error of Rango that an operating system error means while opening."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LowDisk(
            f"{path}: there is no space to open the database for writing; free some, or open it "
            "read_only"
        )
    if error.errno == errno.EROFS:
        return ReadOnly(f"{path} lies on a read-only mount; open it with read_only=True")
    if error.errno in (errno.EACCES, errno.EPERM):
        return IoFailed(f"{path}: no permission ({error.strerror}); check owner and mode")
    if error.errno == errno.ENOENT:
        return NotADatabase(f"{path}: the directory that it should lie in does not exist; make it")
    return IoFailed(f"{path}: opening failed ({error}); check the disk and the path")


def _open(options: OpenOptions, vfs: Vfs, undo: list[Callable[[], Any]]) -> Opened:
    is_new = prepare_directory(options, vfs)
    lock = DatabaseLock.acquire(
        vfs, options.path, read_only=options.read_only, now_ms=options.clock()
    )
    undo.append(lock.release)
    if lock.is_alone:
        resume_rekey(vfs, options.path, read_only=options.read_only)
    if is_new and lock.is_alone and not keys_exist(vfs, options.path):
        keyring = Keyring.create(vfs, options.path, options.secret, options.entropy)
    else:
        keyring = Keyring.open(vfs, options.path, options.secret, options.entropy)
    undo.append(keyring.close)
    log = open_log(options, vfs, keyring) if lock.is_alone else attach.read_log(options, keyring)
    findings = [
        f"keys: copy {copy} is damaged; it is mended with the next change"
        for copy in keyring.damaged_copies
    ]
    data_fd = open_data_file(options, vfs)
    if data_fd >= 0:
        undo.append(lambda: vfs.close(data_fd))
    if not lock.is_alone:
        return attach.attach(options, lock, keyring, log, data_fd, findings, undo)
    slot, fallback, torn = (
        (None, None, []) if data_fd < 0 else choose_slot(options, vfs, data_fd, keyring)
    )
    findings += [torn_slot(options, number) for number in torn]
    seals = spend_epoch(options, keyring, slot)
    store = load(make_pager(options, keyring, data_fd), slot, options.page_size)
    if replay(store, log, slot, fallback, may_write=not options.read_only):
        fallback = None
    store.current = store.head
    node_id = options.node_id or store.head.catalog.settings.get("node_id")
    if not options.read_only:
        store.appender = log.adopt(lock.shared)
        undo.append(store.appender.close)
        if log.cut_path is not None:
            emit("storage", WARNING, "torn_tail", "a torn tail was kept", path=log.cut_path)
            findings.append(
                f"{log.end.what if log.end else ''}; they were put aside in {log.cut_path}"
            )
        begin_words(store, lock, slot, keyring)
        for number in torn:
            fallback = slot_mend(vfs, data_fd, number, slot, keyring)
        node_id = settle_node(store, options, node_id)
    store.node = (node_id or "reader").encode()
    name = node_id or "reader"
    mark = end_mark(log, store)
    return Opened(lock, keyring, log, store, data_fd, slot, fallback, name, seals, findings, mark)


def end_mark(log: Oplog, store: Store) -> LogMark:
    """Where the log was read to."""
    if store.appender is not None:
        return LogMark(*store.appender.mark())
    return log.end.mark if log.end else LogMark(*log.start())


def make_pager(options: OpenOptions, keyring: Keyring, data_fd: int) -> Pager:
    """The page cache and its file."""
    return Pager(
        options.vfs,
        os.path.join(options.path, DATA_FILE),
        data_fd,
        keyring.database_id,
        keyring,
        keyring.epoch,
        options.cache_size,
    )


def begin_words(store: Store, lock: DatabaseLock, slot: Slot | None, keyring: Keyring) -> None:
    """Say in the shared words what this process, alone, has found."""
    appender = store.appender
    generation = 0 if slot is None else slot.generation
    lock.shared.begin(
        appender.ordinal,
        appender.durable,
        generation,
        keyring.generation,
        appender.segment_id,
        appender.position,
    )
    store.reached = appender.ordinal
    store.known_generation = generation


def resume_rekey(vfs: Vfs, path: str, *, read_only: bool) -> None:
    """What an open does first, if there is anything to do: rekey.resume."""
    if vfs.exists(os.path.join(path, HALF)):
        from rango.engine import rekey

        rekey.resume(vfs, path, read_only=read_only)


def keys_read(options: OpenOptions) -> Keyring:
    """The keys for who reads the files without opening the database, and without its lock.

    Raises NotADatabase, ReadOnly (a change of the root key was interrupted), KeyRejected,
    KeysCorrupted, IoFailed.
    """
    resume_rekey(options.vfs, options.path, read_only=True)
    if not keys_exist(options.vfs, options.path):
        raise NotADatabase(f"{options.path} holds no database; give another path")
    with io_named(f"reading the keys of {options.path}"):
        return Keyring.open(options.vfs, options.path, options.secret, options.entropy)


def spend_epoch(options: OpenOptions, keyring: Keyring, slot: Slot | None) -> int:
    """Pages sealed so far under the epoch that this session writes with; a spent epoch is
    followed by a new one (I-6).
    """
    if slot is None or slot.epoch != keyring.epoch:
        return 0
    if slot.seals >= EPOCH_SEALS_MAX and keyring.is_encrypted and not options.read_only:
        keyring.advance_epoch()
        return 0
    return slot.seals


def prepare_directory(options: OpenOptions, vfs: Vfs) -> bool:
    """Whether the directory holds no database yet (but may); makes it if it is missing.

    Raises NotADatabase.
    """
    path = options.path
    may_create = options.create and not options.read_only
    if not vfs.exists(path):
        if not may_create:
            raise NotADatabase(
                f"{path} does not exist; give another path, or open it with create=True"
            )
        vfs.make_directory(path)
        vfs.flush_directory(os.path.dirname(os.path.abspath(path)))
        return True
    try:
        names = set(vfs.list_directory(path))
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            raise NotADatabase(f"{path} is a file; a database is a directory") from error
        raise
    # keys are out of their place while other ones move in
    if "keys" in names or HALF in names:
        return False
    # a creation that a crash cut off has not written its keys yet, and no log either
    if names & {"oplog", DATA_FILE} or not names <= OWN_NAMES:
        raise NotADatabase(
            f"{path} holds files but no `keys` file: not a Rango database, or its keys are lost; "
            "give another path"
        )
    if not may_create:
        raise NotADatabase(
            f"{path} holds no database; give another path, or open it with create=True"
        )
    # whoever made it may have died before its name was durable
    vfs.flush_directory(os.path.dirname(os.path.abspath(path)))
    return True


def open_log(options: OpenOptions, vfs: Vfs, keyring: Keyring) -> Oplog:
    """The log; made if a creation was cut off before it."""
    sizes = {"segment_size_max": options.segment_size_max} if options.segment_size_max else {}
    if Oplog.exists(vfs, options.path):
        log = Oplog.open(vfs, options.path, keyring, **sizes)
        if keyring.generation == KEYS_WITHOUT_LOG and not options.read_only:
            # whoever made the log may have died before its names were durable
            vfs.flush_directory(os.path.join(options.path, "oplog"))
            vfs.flush_directory(options.path)
            keyring.repair()
        return log
    has_data = vfs.exists(os.path.join(options.path, DATA_FILE))
    if has_data or keyring.generation != KEYS_WITHOUT_LOG:
        raise LogCorrupted(
            os.path.join(options.path, "oplog"),
            "the oplog is missing although there was one; restore it from a backup",
        )
    if options.read_only:
        raise NotADatabase(
            f"{options.path} was never opened for writing; open it once without read_only"
        )
    # the name of `keys` first: without it the rest is nobody's
    vfs.flush_directory(options.path)
    log = Oplog.create(vfs, options.path, keyring, **sizes)
    keyring.repair()
    return log


def open_data_file(options: OpenOptions, vfs: Vfs) -> int:
    """The descriptor of data.rango; -1 for a reader without one."""
    path = os.path.join(options.path, DATA_FILE)
    if options.read_only:
        return vfs.open(path, VFS_READ) if vfs.exists(path) else -1
    if not vfs.exists(path):
        create_data_file(options, vfs, path)
    return vfs.open(path, VFS_WRITE)


def create_data_file(options: OpenOptions, vfs: Vfs, path: str) -> None:
    """An empty data file: two blank slots, durable before the file has its name.

    Growth that a crash leaves without its data then never reaches the slots (I-3).
    """
    # a process that died may have left the names of the log in the cache only
    vfs.flush_directory(os.path.join(options.path, "oplog"))
    vfs.flush_directory(options.path)
    fd = vfs.open(f"{path}.new", VFS_WRITE | VFS_CREATE)
    try:
        vfs.truncate(fd, 0)
        vfs.write(fd, bytes(layout.SLOT_UNITS * layout.UNIT_SIZE), 0)
        vfs.flush(fd)
    finally:
        vfs.close(fd)
    vfs.rename(f"{path}.new", path)
    vfs.flush_directory(options.path)


def choose_slot(
    options: OpenOptions, vfs: Vfs, fd: int, keyring: Keyring
) -> tuple[Slot | None, Slot | None, list[int]]:
    """The newest valid slot, the other one, and which are not whole although they were written.

    Raises SuperblockCorrupted if there were two and none is left.
    """
    path = os.path.join(options.path, DATA_FILE)
    slots = slots_read(vfs, fd, path, keyring)
    slot, other = slot_newest(slots)
    if slot is None and vfs.read(fd, layout.UNIT_SIZE, 0).strip(b"\0"):
        raise SuperblockCorrupted(
            f"{path}:0",
            "neither superblock slot is whole; move data.rango away and open again (it is "
            "rebuilt from the oplog)",
        )
    return slot, other, slots_torn(vfs, fd, slots)


def torn_slot(options: OpenOptions, number: int) -> str:
    """The finding for a slot that is not whole."""
    return (
        f"{os.path.join(options.path, DATA_FILE)}:{number * layout.UNIT_SIZE}: superblock slot "
        f"{number} is torn or damaged; the other slot and the oplog have what it had"
    )


def load(pager: Pager, slot: Slot | None, page_size: int) -> Store:
    """The store as of the slot."""
    if slot is None:
        store = Store(pager, generation_empty(), b"", page_size)
        store.head.catalog = Catalog({}, {}, 1)
        return store
    generation, definitions = slot_load(pager, slot)
    store = Store(pager, generation, b"", page_size)
    store.floor(slot.hlc_ms, slot.hlc_counter)
    store.head.catalog = Catalog(dict(definitions), store.marks, slot.tree_next)
    return store


def replay(
    store: Store, log: Oplog, slot: Slot | None, fallback: Slot | None, *, may_write: bool
) -> bool:
    """Put the log's tail into the overlay and judge its end; whether the fallback's pages were
    marked as kept.

    A tail that would take too much memory goes into the data file on the way; no slot names what is
    written there.
    """
    start = (
        log.start()
        if slot is None
        else (slot.log_segment, slot.log_offset, slot.ordinal, slot.chain)
    )
    if slot is None and start[2] != 0 and log.base is None:
        raise LogCorrupted(
            "oplog",
            f"the oplog starts after ordinal {start[2]} and there is no data file to start from",
        )
    is_kept = False
    changes: kept_state.Changes = []
    reach = 0 if slot is None else slot.reach
    before = kept_state.load(store, log) if slot is None else iter(())
    for made in chain(before, applied(store, log.replay(*start, must_reach=reach))):
        changes += made
        if may_write and store.overlay_count > REPLAY_ENTRIES_MAX:
            if fallback is not None and not is_kept:
                checkpoint.keep_slot(store, fallback)
            if not is_kept:
                kept.protect_slots(store, slot, fallback)
            is_kept = True
            store.head.catalog = store.head.catalog.changed(changes, store.marks)
            changes = []
            spill(store, 1 if slot is None else slot.generation + 1)
    store.head.catalog = store.head.catalog.changed(changes, store.marks)
    return is_kept


def applied(store: Store, batches: Iterable[list[Commit]]) -> Iterator[kept_state.Changes]:
    """Apply commits, batch by batch; what each batch changed in the catalog."""
    for commits in batches:
        changes: kept_state.Changes = []
        for commit in commits:
            changes += store.apply(commit[2], commit[3], commit[0])
        yield changes


def spill(store: Store, number: int) -> None:
    """Move the overlay into pages that no slot names: a crash simply starts the replay again."""
    view = store.head
    generation = store.build(view, view.catalog.definitions, number, view.ordinal)
    store.adopt(generation, False)


def settle_node(store: Store, options: OpenOptions, node_id: str | None) -> str:
    """This node's name; drawn and logged when the database has none yet."""
    name = node_id or generate_node_id(options.entropy.bytes)
    if not store.head.catalog.settings:
        store.node = name.encode()
        batch = store.begin()
        definition = database_definition(name)
        batch.define(DATABASE_ID, definition, True)
        batch.catalog = batch.catalog.changed([(DATABASE_ID, definition)], store.marks)
        store.commit(batch)
        store.appender.flush()
        store.publish()
    return name
