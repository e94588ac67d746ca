"""Rewriting a retired segment as a packed one, which shows the same bytes and is much smaller.

Terms       packed, piece, mark: docs/reference/format.md#packed-segment. Retired: sealed, and
            behind both superblock slots, so that no open needs it.
Invariants  The segment is written under another name, read back and compared with what it was
            packed from byte by byte, flushed, and renamed over the old name: at any moment it is
            whole, old or new, and both show the same. Only a chain that leads to where the next
            segment goes on is packed and signed.
States      none: an interrupted packing is run again. A crash leaves <segment>.rgo.new, which the
            next open removes.
Failure     A frame that does not continue: LogCorrupted, the segment stays. No space: LowDisk, the
            segment stays. What does not come back as it was, or is not smaller, stays, too.
Sources     ADR-0036.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, NamedTuple

from rango._ext import layout
from rango._ext.pack import SegmentPacker
from rango._ext.segment import SegmentHeader, segment_path
from rango._ext.segment_scan import purge_table
from rango._ext.vfs import VFS_CREATE, VFS_WRITE, Vfs
from rango.errors import LogCorrupted
from rango.storage.packed import (
    FOOTER,
    LIMIT_MAX,
    TABLE,
    TAIL_MAX,
    Footer,
    packed_keys,
    signed_message,
    view_of,
)
from rango.storage.segment import (
    LogKeys,
    LogMark,
    first_mark,
    header_with,
    io_named,
    is_packed,
    opened,
    place_name,
)

COPY_SIZE: Final = 1024 * 1024


class Signer(NamedTuple):
    """Who vouches for what is packed to those who have no key."""

    verify_key: bytes
    sign: Callable[[bytes], bytes]


class Retired(NamedTuple):
    """A segment that may be packed."""

    header: SegmentHeader
    limit: int
    """Where its frames end."""
    end: LogMark | None
    """What the next segment goes on from; None: a base, whose frames lead nowhere."""
    asked: list[int]
    """Ordinals, sorted, whose chain values the packed segment is to tell."""


class PackedSize(NamedTuple):
    """Bytes of a segment's file before it was packed, and after."""

    before: int
    after: int


def segment_pack(
    vfs: Vfs, folder: str, keyring: LogKeys, retired: Retired, signer: Signer
) -> PackedSize | None:
    """Pack one segment; None if it stays as it is, because that would be no gain."""
    path = segment_path(folder, retired.header.id)
    with opened(vfs, path) as fd, io_named(f"packing {os.path.basename(path)}"):
        before = vfs.size(fd)
        if is_packed(vfs, fd) or retired.limit > LIMIT_MAX:
            return None
        target = vfs.open(f"{path}.new", VFS_WRITE | VFS_CREATE)
        is_kept = False
        try:
            try:
                vfs.truncate(target, 0)
                after = write_packed(vfs, fd, target, keyring, retired, signer)
                is_kept = after < before and is_same(vfs, fd, target, keyring, retired)
                if is_kept:
                    vfs.flush(target)
            finally:
                vfs.close(target)
        finally:
            if not is_kept:
                # frees the space; what a crash leaves is removed by the next open
                vfs.remove(f"{path}.new")
    if not is_kept:
        return None
    with io_named(f"replacing {path}"):
        vfs.rename(f"{path}.new", path)
        vfs.flush_directory(folder)
    return PackedSize(before, after)


def write_packed(
    vfs: Vfs, fd: int, target: int, keyring: LogKeys, retired: Retired, signer: Signer
) -> int:
    """The whole packed segment, not durable yet. Returns its size."""
    header, limit = retired.header, retired.limit
    digests = purge_table(vfs, fd) if header.features & layout.SEGMENT_PURGED else {}
    tail = vfs.read(fd, TAIL_MAX, limit) if digests else b""
    start = first_mark(header)
    keys = packed_keys(keyring, header)
    packer = SegmentPacker(
        vfs,
        fd,
        keys.frames,
        keys.pieces,
        keys.database_id,
        keys.segment_id,
        start.ordinal,
        start.chain,
        limit,
        digests,
        retired.asked,
    )
    head = header_with(header, header.features | layout.SEGMENT_PACKED).pack(keyring)
    out = bytearray(head)
    done, table = 0, bytearray()
    blocks = -(-limit // layout.BLOCK_SIZE)
    for number in range(blocks + (len(tail) > 0)):
        ordinal = packer.ordinal + 1
        piece = packer.pack(number) if number < blocks else packer.pack_tail(tail)
        table += TABLE.pack(len(piece), ordinal, blake2b(piece, digest_size=32).digest())
        out += piece
        if len(out) >= COPY_SIZE:
            vfs.write(target, out, done)
            done += len(out)
            out = bytearray()
    check_end(packer, retired)
    rest = table + lists_and_footer(packer, limit, len(tail), len(table), signer.verify_key)
    signed_at = len(rest) - layout.PACKED_FOOTER_SIZE + layout.PACKED_SIGNATURE
    signature = signer.sign(signed_message(head, bytes(rest)))
    rest[signed_at : signed_at + len(signature)] = signature
    vfs.write(target, bytes(out + rest), done)
    return done + len(out) + len(rest)


def lists_and_footer(
    packer: SegmentPacker, limit: int, tail_size: int, table_size: int, verify_key: bytes
) -> bytes:
    """What ends the file behind the table, the signature still zeros."""
    purges = blake2b(digest_size=32)
    for _ordinal, offset, digest in packer.purged:
        purges.update(offset.to_bytes(8, "little") + digest)
    marks = b"".join(ordinal.to_bytes(8, "little") + chain for ordinal, chain in packer.seen)
    purged = b"".join(each[0].to_bytes(8, "little") for each in packer.purged)
    footer = Footer(
        limit,
        tail_size,
        table_size // layout.TABLE_ENTRY_SIZE,
        len(packer.seen),
        len(packer.purged),
        packer.frames,
        packer.commits,
        packer.ordinal,
        packer.chain,
        purges.digest() if packer.purged else bytes(32),
        verify_key,
        bytes(64),
    )
    return marks + purged + FOOTER.pack(*footer)


def check_end(packer: SegmentPacker, retired: Retired) -> None:
    """The frames must lead to where the next segment goes on. Raises LogCorrupted."""
    header, end = retired.header, retired.end
    is_there = packer.offset == retired.limit
    if end is not None:
        is_there = is_there and (packer.ordinal, packer.chain) == (end.ordinal, end.chain)
    if not is_there:
        raise LogCorrupted(
            place_name(header.id, packer.offset),
            f"the frames do not lead to {retired.limit}, where the next segment goes on; the"
            " segment stays as it is",
        )


def is_same(vfs: Vfs, fd: int, target: int, keyring: LogKeys, retired: Retired) -> bool:
    """Whether the packed file shows the bytes that it was packed from."""
    view = view_of(vfs, target, packed_keys(keyring, retired.header))
    if view is None:
        return False
    size = view.size(target)
    for offset in range(0, size, COPY_SIZE):
        length = min(COPY_SIZE, size - offset)
        # the file may end with the last frame, before the zeros that align the next one
        if view.read(target, length, offset) != vfs.read(fd, length, offset).ljust(length, b"\0"):
            return False
    return size >= retired.limit
