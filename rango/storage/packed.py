"""Packed segments as they lie on the disk: what ends such a file, and the view that readers get.

Terms       packed, piece, tail, mark, footer: docs/reference/format.md#packed-segment.
Invariants  A packed segment shows the bytes that it was packed from, header included, so whoever
            reads frames, the purge table or the header through a view sees the segment as it was.
            Nothing in the footer is believed: sizes are bounded by the file's, each piece is proven
            by its own tag, and what the frames lead to by the chain.
Layout      layout.pxd PACKED_*, TABLE_*, MARK_*:
            header | pieces | table | marks | ordinals of purged frames | footer
            What the signature in the footer covers: "rango packed" | BLAKE2b-256(header | table |
            marks | ordinals | footer up to the signature); the table has the digest of each piece.
Failure     bytes that are no footer: None.
Sources     ADR-0036.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from rango._ext import layout
from rango._ext.seal import SealKey, blake2b
from rango._ext.segment import SegmentHeader
from rango._ext.unpacked import UnpackedVfs
from rango._ext.vfs import Vfs
from rango.storage.segment import LogKeys, is_packed

FOOTER: Final = struct.Struct("<Q4I3Q32s32s32s64s8s")
TABLE: Final = struct.Struct("<IQ32s")
MAGIC: Final = b"RANGOPAK"
PERSON: Final = b"rango packed"
PIECE_MARK: Final = layout.PIECE_MAGIC_VALUE.to_bytes(4, "little")
LIMIT_MAX: Final = 1 << 32
"""Offsets of frames have 32 bits."""
TAIL_MAX: Final = layout.PURGE_FOOTER_SIZE + layout.SEGMENT_FRAMES_MAX * layout.PURGE_ENTRY_SIZE
READ_SIZE: Final = 1024 * 1024


class PackedKeys(NamedTuple):
    """What opens a packed segment, and seals its frames as they were."""

    database_id: bytes
    segment_id: int
    frames: SealKey
    pieces: SealKey


class Footer(NamedTuple):
    """What ends a packed segment."""

    limit: int
    """Where the frames end in the segment as it was."""
    tail_size: int
    pieces: int
    marks: int
    purged: int
    frames: int
    commits: int
    ordinal: int
    chain: bytes
    purges: bytes
    verify_key: bytes
    signature: bytes
    magic: bytes = MAGIC

    @property
    def block_count(self) -> int:
        """How many blocks of frames there are."""
        return -(-self.limit // layout.BLOCK_SIZE)

    @property
    def table_size(self) -> int:
        """Bytes of the table of pieces."""
        return self.pieces * layout.TABLE_ENTRY_SIZE

    @property
    def rest_size(self) -> int:
        """Bytes behind the pieces."""
        lists = self.marks * layout.MARK_SIZE + self.purged * 8
        return self.table_size + lists + layout.PACKED_FOOTER_SIZE


def footer_read(vfs: Vfs, fd: int) -> Footer | None:
    """The footer of a packed segment, if the file ends with one that could be."""
    size = vfs.size(fd)
    if size < layout.SEGMENT_HEADER_SIZE + layout.PACKED_FOOTER_SIZE:
        return None
    data = vfs.read(fd, layout.PACKED_FOOTER_SIZE, size - layout.PACKED_FOOTER_SIZE)
    if len(data) < layout.PACKED_FOOTER_SIZE:
        return None
    found = Footer(*FOOTER.unpack(data))
    if found.magic != MAGIC or not layout.SEGMENT_HEADER_SIZE <= found.limit <= LIMIT_MAX:
        return None
    if max(found.marks, found.purged) > layout.SEGMENT_FRAMES_MAX or found.tail_size > TAIL_MAX:
        return None
    if found.pieces != found.block_count + (found.tail_size > 0):
        return None
    return found if layout.SEGMENT_HEADER_SIZE + found.rest_size <= size else None


def table_read(vfs: Vfs, fd: int, footer: Footer) -> bytes:
    """The table of pieces; fewer bytes if the file is not as it was."""
    return vfs.read(fd, footer.table_size, vfs.size(fd) - footer.rest_size)


def packed_keys(keyring: LogKeys, header: SegmentHeader) -> PackedKeys:
    """Those of one segment."""
    of = (header.id, header.salt, header.epoch)
    keys = keyring.segment_key(*of), keyring.packed_key(*of)
    return PackedKeys(keyring.database_id, header.id, *keys)


def view_of(vfs: Vfs, fd: int, keys: PackedKeys) -> UnpackedVfs | None:
    """A packed file as it was before; None if its end is damaged. OSError of the disk."""
    footer = footer_read(vfs, fd)
    if footer is None:
        return None
    table = table_read(vfs, fd, footer)
    if len(table) < footer.table_size:
        return None
    return view_made(vfs, fd, keys, footer, table)


def view_made(
    vfs: Vfs,
    fd: int,
    keys: PackedKeys,
    footer: Footer,
    table: bytes,
    places: list[tuple[int, int]] | None = None,
) -> UnpackedVfs:
    """The view that a footer and a table say."""
    return UnpackedVfs(
        vfs,
        fd,
        keys.frames,
        keys.pieces,
        keys.database_id,
        keys.segment_id,
        footer.limit,
        footer.tail_size,
        table,
        block_count=footer.block_count,
        places=places,
    )


def view_tolerant(vfs: Vfs, fd: int, keys: PackedKeys) -> UnpackedVfs | None:
    """The same for salvage: what is damaged reads as zeros; None if the file is not packed."""
    footer = footer_read(vfs, fd)
    if footer is None and not is_packed(vfs, fd):
        return None
    found = pieces_found(vfs, fd)
    if footer is None:
        blocks = max((each for each in found if each != layout.PIECE_TAIL), default=0) + 1
        limit = blocks * layout.BLOCK_SIZE
        footer = Footer(limit, 0, blocks, 0, 0, 0, 0, 0, b"", b"", b"", b"")
    names = [*range(footer.block_count), *([layout.PIECE_TAIL] if footer.tail_size else [])]
    places = [found.get(each, (0, 0)) for each in names]
    table = bytes(footer.table_size)
    return view_made(vfs, fd, keys, footer, table, places)


def pieces_found(vfs: Vfs, fd: int) -> dict[int, tuple[int, int]]:
    """(offset, size) of whatever looks like a piece, by its block: no table is asked."""
    found: dict[int, tuple[int, int]] = {}
    size, start, before = vfs.size(fd), layout.SEGMENT_HEADER_SIZE, b""
    head_size = layout.PIECE_HEADER_SIZE
    while data := vfs.read(fd, READ_SIZE, start):
        text, base = before + data, start - len(before)
        at = text.find(PIECE_MARK)
        while 0 <= at <= len(text) - head_size:
            length = int.from_bytes(text[at + layout.PIECE_SIZE :][:4], "little")
            block = int.from_bytes(text[at + layout.PIECE_BLOCK :][:4], "little")
            total = length + layout.PIECE_OVERHEAD
            is_block = block < LIMIT_MAX // layout.BLOCK_SIZE or block == layout.PIECE_TAIL
            if is_block and base + at + total <= size:
                found.setdefault(block, (base + at, total))
            at = text.find(PIECE_MARK, at + 1)
        start += len(data)
        before = text[-(head_size - 1) :]
    return found


def signed_message(header: bytes, rest: bytes) -> bytes:
    """What the signature covers. `rest`: what lies behind the pieces, signature and magic too."""
    covered = rest[: len(rest) - layout.PACKED_FOOTER_SIZE + layout.PACKED_SIGNATURE]
    return PERSON + blake2b(header + covered, 32)
