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
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from rango._ext.layout import SEGMENT_HEADER_SIZE, SEGMENT_PACKED
from rango._ext.segment import SegmentHeader
from rango.engine import purge
from rango.errors import LowDisk
from rango.storage.base_segment import all_headers
from rango.storage.pack import PackedSize, Retired, Signer, segment_pack
from rango.storage.segment import LogMark, io_named, is_base, opened
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

    def with_one(self, size: PackedSize) -> PackedSum:
        """And one more."""
        return PackedSum(self.segments + 1, self.before + size.before, self.after + size.after)


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
    """Pack every segment of the log but the newest, the base too. Under the history lock.

    `move_slots` lets both superblock slots lie behind a segment.
    """
    log = core.log
    chosen = [each for each in pairs(core) if not each[0].features & SEGMENT_PACKED]
    done = PackedSum()
    if not chosen:
        return done
    need_space(core, [header for header, _follows in chosen])
    signer = Signer(core.keyring.verify_key, core.keyring.sign)
    with purge.latching(core, "packing the history"):
        move_slots(core, chosen[-1][0].id)
        heads = ordinals_signed(core)
        for count, (header, follows) in enumerate(chosen):
            retired = retired_of(header, follows, heads)
            size = segment_pack(core.vfs, log.directory, core.keyring, retired, signer)
            if size is not None:
                done = done.with_one(size)
            if progress is not None:
                progress(count + 1, len(chosen))
        purge.headers_reread(core)
    return done


def pairs(core: Core) -> list[tuple[SegmentHeader, SegmentHeader]]:
    """Every file of the log but the newest, oldest first, with the one that goes on from it."""
    return list(pairwise(all_headers(core.log)))


def retired_of(header: SegmentHeader, follows: SegmentHeader, heads: list[int]) -> Retired:
    """A segment as the packer wants it. `heads`: the ordinals that were signed, in order."""
    if is_base(header):
        # its frames have a chain of their own, which leads nowhere
        return Retired(header, header.predecessor_end, None, [])
    last = follows.first_ordinal - 1
    return Retired(
        header,
        follows.predecessor_end,
        LogMark(follows.id, SEGMENT_HEADER_SIZE, last, follows.chain),
        heads[bisect_left(heads, header.first_ordinal) : bisect_right(heads, last)],
    )


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
