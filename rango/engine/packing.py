"""Packing: segments that no open needs any more are written anew, much smaller.

Terms       packed, retired: see storage/pack.py.
Invariants  A segment is packed only when both superblock slots lie behind it. No lock but that of
            long works on the history is held meanwhile: others read, write, and die. They may have
            read its header before, and have its file open: what they see does not change.
Failure     LowDisk: what was not packed stays as it was. LogCorrupted: so does the segment that is
            damaged. IoFailed: the database is latched, for the outcome of a flush is unknown.
Sources     ADR-0036.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from rango._ext.layout import SEGMENT_HEADER_SIZE, SEGMENT_PACKED
from rango._ext.segment import SegmentHeader
from rango.engine import purge
from rango.errors import LowDisk
from rango.storage.pack import Retired, Signer, segment_pack
from rango.storage.segment import LogMark, io_named, opened
from rango.storage.signatures import Signature, lines_of, signatures_path

if TYPE_CHECKING:
    from rango.engine.core import Core

SPARE: Final = 1024 * 1024
"""Bytes that are to be free beside the file that is written: others write meanwhile."""

Progress = Callable[[int, int], object]


class PackedSum(NamedTuple):
    """What packing came to."""

    segments: int = 0
    before: int = 0
    """Bytes of their files before it."""
    after: int = 0


def need_space(core: Core, headers: Iterable[SegmentHeader]) -> None:
    """Raise LowDisk at once if the largest of these may not fit beside the others once more."""
    sizes = [0]
    for header in headers:
        with opened(core.vfs, core.log.path(header.id)) as fd, io_named("reading the oplog"):
            sizes.append(core.vfs.size(fd))
    with io_named("reading the free space"):
        free = core.vfs.free_bytes(core.path)
    if free < max(sizes) + SPARE:
        raise LowDisk(
            f"{core.path}: to pack its history {max(sizes) + SPARE} bytes are needed for a while,"
            f" and {free} are free; nothing was changed"
        )


def pack_all(
    core: Core, move_slots: Callable[[Core, int], None], progress: Progress | None
) -> PackedSum:
    """Pack every segment of the log but the newest. Under the history lock.

    `move_slots` lets both superblock slots lie behind a segment.
    """
    log = core.log
    headers = tuple(log.segments)
    chosen = [at for at, each in enumerate(headers[:-1]) if not each.features & SEGMENT_PACKED]
    done = PackedSum()
    if not chosen:
        return done
    need_space(core, [headers[at] for at in chosen])
    signer = Signer(core.keyring.verify_key, core.keyring.sign)
    with purge.latching(core, "packing the history"):
        move_slots(core, headers[chosen[-1]].id)
        heads = ordinals_signed(core)
        for count, at in enumerate(chosen):
            header, follows = headers[at], headers[at + 1]
            last = follows.first_ordinal - 1
            first_head = bisect_left(heads, header.first_ordinal)
            retired = Retired(
                header,
                follows.predecessor_end,
                LogMark(follows.id, SEGMENT_HEADER_SIZE, last, follows.chain),
                heads[first_head : bisect_right(heads, last)],
            )
            size = segment_pack(core.vfs, log.directory, core.keyring, retired, signer)
            if size is not None:
                done = PackedSum(
                    done.segments + 1, done.before + size.before, done.after + size.after
                )
            if progress is not None:
                progress(count + 1, len(chosen))
        try:
            # under the lock: others may begin a segment meanwhile, which this one has not followed
            core.append_lock_take()
            log.reread()
        finally:
            core.append_lock.drop()
    return done


def ordinals_signed(core: Core) -> list[int]:
    """Of the heads that were signed so far, in order: an anchor may be any of them."""
    path = signatures_path(core.log.directory)
    with io_named("reading the signatures"):
        said = [each.said for each in lines_of(core.vfs, path) if each.said is not None]
    return sorted(
        {
            each.ordinal
            for each in said
            if not (isinstance(each, Signature) and each.kind == "purge")
        }
    )
