"""A state of the past, rebuilt from the log at a new place.

Terms       base: a database that is an earlier state of the same history; what it holds is not
            replayed. Mark: see storage/oplog.py.
Invariants  The log of the source is only read, and verified up to the last commit that is taken:
            its tags and its chain. The new database has the same history up to there, byte for
            byte, and a node id of its own. The base's data file counts only if the log leads to it
            (I-18).
Failure     InvalidArgument (the target exists; the base is later than the state asked for),
            NotFound (no such commit), LogCorrupted (damage on the way, or a base of another
            history), KeyRejected, LowDisk. A target that was not finished has the name
            `<to>.replaying`; the next replay takes its place.
Sources     architecture section 8 (History); ADR-0031.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rango._ext.layout import SEGMENT_HEADER_SIZE, SEGMENT_PURGED, SLOT_UNITS
from rango._ext.segment import SegmentHeader, create_segment, segment_path
from rango._ext.segment_scan import purge_table
from rango._ext.vfs import VFS_CREATE, VFS_EXCLUSIVE, VFS_WRITE, Vfs
from rango.engine import checkpoint, kept
from rango.engine.catalog import DATABASE_ID, database_changed
from rango.engine.options import OpenOptions
from rango.engine.recovery import keys_read
from rango.errors import Corrupted, InvalidArgument, LogCorrupted, NotFound
from rango.ids import generate_node_id
from rango.storage.base_segment import all_headers
from rango.storage.directory import remove_tree
from rango.storage.follow import Follower
from rango.storage.keyring import Keyring
from rango.storage.keys_file import SALT_SIZE, keys_path
from rango.storage.oplog import Oplog
from rango.storage.purge import table_bytes
from rango.storage.segment import LogMark, file_view, io_named, opened
from rango.storage.signatures import Signature, append, lines_of, signatures_path
from rango.storage.superblock import DATA_FILE, slot_newest, slots_read

if TYPE_CHECKING:
    from rango.engine.core import Core

COPY_SIZE: Final = 1024 * 1024
STAMP_SIZE: Final = 8

Progress = Callable[[int, int], object]


def replay(
    options: OpenOptions, to: str, until: int | None, base: str | None, progress: Progress | None
) -> dict[str, Any]:
    """Rebuild the state after commit `until` (None: the last one) of options.path in `to`.

    Returns {"ordinal", "start", "digest", "documents", "collections", "node_id"}: `start` is the
    commit that the base holds, 0 without one.
    """
    vfs = options.vfs
    if vfs.exists(to):
        raise InvalidArgument(f"{to} exists already; replay writes to a new place")
    half = f"{to}.replaying"
    keyring = keys_read(options)
    try:
        log = Oplog.open(vfs, options.path, keyring)
        mark = mark_of(log, until, progress)
        has_purged = any(each.features & SEGMENT_PURGED for each in log.segments)
        with io_named(f"writing {half}"):
            remove_tree(vfs, half)
            vfs.make_directory(half)
        start = 0 if base is None else base_copy(options, base, half, mark)
        log_copy(log, keyring, half, mark)
        copy_file(vfs, keys_path(options.path), keys_path(half))
        with io_named(f"naming the files in {half}"):
            vfs.flush_directory(half)
    finally:
        keyring.close()
    done = settle(options._replace(path=half), has_purged)
    with io_named(f"naming {to}"):
        vfs.rename(half, to)
        vfs.flush_directory(os.path.dirname(os.path.abspath(to)))
    return {"ordinal": mark.ordinal, "start": start, **done}


def mark_of(log: Oplog, until: int | None, progress: Progress | None) -> LogMark:
    """Behind the commit, everything up to it verified. Raises NotFound, LogCorrupted."""
    tell = progress or (lambda _done, _total: None)
    if until is None:
        return end_of(log, tell)
    follower = Follower(log, log.start())
    if until <= follower.mark.ordinal:
        raise NotFound(f"the log begins after commit {follower.mark.ordinal}")
    if until >= log.segments[-1].first_ordinal:
        # the error of a walk would say that something is missing
        log.find(until)
    for batch in follower.read(until):
        tell(min(batch[-1][0], until), until)
    return follower.mark


def end_of(log: Oplog, tell: Callable[[int, int], object]) -> LogMark:
    """Behind the last commit. Raises LogCorrupted."""
    damaged = ""
    while True:
        try:
            for batch in log.replay(*log.start()):
                tell(batch[-1][0], batch[-1][0])
        except LogCorrupted as error:
            # else somebody wrote between two of our readings
            if error.where == damaged:
                raise
            damaged = error.where
            log.reread()
            continue
        if log.end is None:
            raise AssertionError("a replay that ends knows the end")
        return log.end.mark


def base_copy(options: OpenOptions, base: str, half: str, mark: LogMark) -> int:
    """Copy the base's data file; the ordinal that it holds."""
    from rango.engine.core import Core

    vfs = options.vfs
    core = Core.open(options._replace(path=base, read_only=True, create=False))
    try:
        with core.checkpoint_lock:
            # nobody writes pages meanwhile
            source, target = os.path.join(base, DATA_FILE), os.path.join(half, DATA_FILE)
            with opened(vfs, source) as fd, io_named(f"reading {source}"):
                slot, _other = slot_newest(slots_read(vfs, fd, source, core.keyring))
            if slot is None:
                return 0  # nothing was written yet
            if max(slot.ordinal, slot.reach) > mark.ordinal:
                raise InvalidArgument(
                    f"{base} holds commit {max(slot.ordinal, slot.reach)}, which is later than"
                    f" {mark.ordinal}; give an earlier state"
                )
            copy_file(vfs, source, target)
            return slot.ordinal
    finally:
        core.release()


def log_copy(log: Oplog, keyring: Keyring, half: str, mark: LogMark) -> None:
    """Copy the log up to the mark, with what was signed of it."""
    vfs, folder = log.vfs, os.path.join(half, "oplog")
    with io_named(f"writing {folder}"):
        vfs.make_directory(folder)
    last = log.position(mark.segment_id)
    for header in all_headers(log)[: last + (log.base is not None)]:
        copy_file(vfs, log.path(header.id), segment_path(folder, header.id))
    header = log.segments[last]
    cut = segment_path(folder, header.id)
    table = b""
    with opened(vfs, log.path(header.id)) as fd:
        # the file is one that is appended to: never a packed one
        view = file_view(vfs, fd, keyring, header)
        if header.features & SEGMENT_PURGED:
            purged = purge_table(view, fd)
            digests = {at: each for at, each in purged.items() if at < mark.offset}
            entropy = keyring.segment_key(header.id, header.salt, header.epoch).entropy
            table = table_bytes(digests, entropy.bytes(STAMP_SIZE))
        with io_named(f"copying segment {header.id}"):
            copy_opened(vfs, view, fd, cut, mark.offset, table)
    if table:
        # a purge table ends a file that nobody appends to
        salt = keyring.segment_key(header.id, header.salt, header.epoch).entropy.bytes(SALT_SIZE)
        successor = SegmentHeader(
            header.id + 1,
            header.id,
            mark.offset,
            mark.ordinal + 1,
            mark.chain,
            salt,
            keyring.epoch,
            keyring.database_id,
        )
        with io_named(f"writing {folder}"):
            path = segment_path(folder, successor.id)
            size = SEGMENT_HEADER_SIZE
            vfs.close(create_segment(vfs, folder, path, successor.pack(keyring), size))
    copy_signatures(vfs, log.directory, folder, mark)
    with io_named(f"naming the files in {folder}"):
        vfs.flush_directory(folder)


def copy_signatures(vfs: Vfs, source: str, folder: str, mark: LogMark) -> None:
    """What was signed of the log up to the mark."""
    with io_named("copying the signatures"):
        said = [each.said for each in lines_of(vfs, signatures_path(source))]
        lines = [
            each.line
            for each in said
            if each is not None
            and (
                each.ordinal <= mark.ordinal
                or (isinstance(each, Signature) and each.kind == "purge")
            )
        ]
        if lines:
            append(vfs, signatures_path(folder), lines, is_durable=True)


def copy_file(vfs: Vfs, source: str, target: str) -> None:
    """Copy a file, durably."""
    with io_named(f"copying {source}"), opened(vfs, source) as fd:
        copy_opened(vfs, vfs, fd, target, vfs.size(fd), b"")


def copy_opened(vfs: Vfs, view: Vfs, fd: int, target: str, size: int, rest: bytes) -> None:
    """Copy the first bytes of what `view` shows to a new file, durably; put `rest` behind them."""
    out = vfs.open(target, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE)
    try:
        for offset in range(0, size, COPY_SIZE):
            vfs.write(out, view.read(fd, min(COPY_SIZE, size - offset), offset), offset)
        if rest:
            vfs.write(out, rest, size)
        vfs.flush(out)
    finally:
        vfs.close(out)


def clear(core: Core) -> None:
    """The base's pages of the past may show what was purged since."""
    with core.checkpoint_lock:
        for _slot in range(SLOT_UNITS):
            checkpoint.guarded(core, checkpoint.run_bare)
        checkpoint.keep_fallback(core)
        kept.protect(core)
        with io_named("clearing free pages"):
            core.store.builder.scrub()
            core.vfs.flush(core.data_fd)


def settle(options: OpenOptions, has_purged: bool) -> dict[str, Any]:
    """Open what was laid out, which replays it; make it a node of its own, check and close it."""
    from rango.engine.core import Core

    node_id = options.node_id or generate_node_id(options.entropy.bytes)
    alone = options._replace(node_id=node_id, durability="commit", ttl_interval_s=0)
    core = Core.open(alone._replace(create=False, read_only=False))
    try:
        digest = core.digest()
        core.change_catalog(
            lambda catalog: [(DATABASE_ID, database_changed(catalog, node_id=node_id))]
        )
        core.checkpoint()
        if has_purged:
            clear(core)
        for finding in core.check():
            if finding.kind == "count" and has_purged:
                # it counts what was purged since, and what forgot that comes later
                raise NotFound(
                    "this state held documents that were purged later and cannot be rebuilt; give"
                    " a commit behind the purge"
                )
            raise Corrupted(finding.where, finding.what)
        view, infos = core.view(), core.collections()
        return {
            "digest": digest,
            "documents": sum(view.count(info.tree_id) for info in infos.values()),
            "collections": len(infos),
            "node_id": node_id,
        }
    finally:
        core.release()
