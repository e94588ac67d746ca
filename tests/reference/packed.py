"""Readable twin of rango/_ext/unpacked: the bytes that a packed segment was packed from.

Written from the layout (docs/reference/format.md), not from the .pyx files. LZ4 by the lz4 package,
sealing by whoever is given.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import NamedTuple, Protocol

import lz4.block

from tests.reference.frame import BLOCK, chain_of, segment_of

HEADER = 136
FOOTER = struct.Struct("<QIIIIQQQ32s32s32s64s8s")
PIECE = struct.Struct("<III12s")
CONTENT = struct.Struct("<HQ32s")
ENTRY = struct.Struct("<IQ32s")
TAIL = 0xFFFFFFFF
PACKED, PURGED = 4, 1
KIND, IS_PURGED, LATER, BEHIND = 3, 4, 8, 16


class Sealer(Protocol):
    """A key: bytes under an additional text and a nonce."""

    def seal_with_nonce(self, aad: bytes, nonce: bytes, data: bytes) -> bytes:
        """Ciphertext and tag."""

    def open_bytes(self, aad: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
        """What was sealed."""


class Packed(NamedTuple):
    """A packed file, taken apart."""

    header: bytes
    pieces: list[bytes]
    table: list[tuple[int, int, bytes]]
    marks: list[tuple[int, bytes]]
    purged: list[int]
    footer: tuple[int | bytes, ...]
    message: bytes
    """What its signature covers."""


def taken_apart(data: bytes) -> Packed:
    """The parts of a file that is whole."""
    footer = FOOTER.unpack(data[-FOOTER.size :])
    assert footer[-1] == b"RANGOPAK"
    _limit, _tail, count, marks, purged = footer[:5]
    behind = count * 44 + marks * 40 + purged * 8 + FOOTER.size
    rest = data[len(data) - behind :]
    table = [ENTRY.unpack_from(rest, 44 * n) for n in range(count)]
    pieces, at = [], HEADER
    for size, _ordinal, digest in table:
        pieces.append(data[at : at + size])
        assert hashlib.blake2b(pieces[-1], digest_size=32).digest() == digest
        at += size
    assert at == len(data) - behind
    at = 44 * count
    heads = [struct.unpack_from("<Q32s", rest, at + 40 * n) for n in range(marks)]
    at += 40 * marks
    ordinals = list(struct.unpack_from(f"<{purged}Q", rest, at))
    covered = hashlib.blake2b(data[:HEADER] + rest[:-72], digest_size=32).digest()
    message = b"rango packed" + covered
    return Packed(data[:HEADER], pieces, table, heads, ordinals, footer, message)


def content_of(piece: bytes, name: int, database_id: bytes, segment: int, key: Sealer) -> bytes:
    """What one piece holds."""
    magic, size, block, nonce = PIECE.unpack_from(piece)
    assert (magic, size, block) == (0x43505247, len(piece) - 40, name)
    aad = b"\x06" + database_id + struct.pack("<Q", segment) + piece[:12]
    opened = key.open_bytes(aad, nonce, piece[24:])
    assert opened is not None
    (whole,) = struct.unpack_from("<I", opened)
    return lz4.block.decompress(opened[4:], uncompressed_size=whole)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, seven bits a byte, lowest first; and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def block_of(
    content: bytes, number: int, size: int, database_id: bytes, segment: int, key: Sealer
) -> bytes:
    """The bytes of one block."""
    count, ordinal, chain = CONTENT.unpack_from(content)
    at = CONTENT.size
    out = bytearray()
    if number == 0:
        out += content[at : at + HEADER]
        at += HEADER
    nonces = [content[at + 12 * n : at + 12 * n + 12] for n in range(count)]
    at += 12 * count
    entries = []
    for _ in range(count):
        head = content[at]
        body_size, at = varint(content, at + 1)
        later = behind = 0
        if head & LATER:
            later, at = varint(content, at)
        if head & BEHIND:
            behind, at = varint(content, at)
        digest = content[at : at + 32] if head & IS_PURGED else None
        at += 32 if digest else 0
        entries.append((head & KIND, body_size, later, behind, digest))
    for nonce, (kind, body_size, later, behind, digest) in zip(nonces, entries, strict=True):
        out += bytes(-len(out) % 8)
        body = content[at : at + body_size]
        at += body_size
        first = ordinal - later
        fields = struct.pack(
            "<IBBHQQQ16s12s",
            body_size,
            kind,
            digest is not None,
            0,
            ordinal,
            first,
            first - 1 - behind,
            chain[:16],
            nonce,
        )
        header = struct.pack("<II", 0x4D465247, zlib.crc32(fields)) + fields
        place = number * BLOCK + len(out)
        aad = b"\x03" + database_id + struct.pack("<QQ", segment, place) + header[8:56]
        raw = header + key.seal_with_nonce(aad, nonce, body)
        if digest is None:
            chain = chain_of(chain, raw)
        else:
            chain = hashlib.blake2b(chain + digest, digest_size=32).digest()
        out += raw
        ordinal += 1
    assert at == len(content)
    return bytes(out.ljust(size, b"\0"))


def unpacked(data: bytes, frame_key: Sealer, piece_key: Sealer) -> bytes:
    """The segment as it was."""
    parts = taken_apart(data)
    clear = parts.header[:12] + bytes(4) + parts.header[16:]
    segment = segment_of(clear)
    limit, tail = parts.footer[0], parts.footer[1]
    assert isinstance(limit, int)
    out = b""
    for number, piece in enumerate(parts.pieces):
        is_tail = bool(tail) and number + 1 == len(parts.pieces)
        name = TAIL if is_tail else number
        content = content_of(piece, name, segment.database_id, segment.id, piece_key)
        if is_tail:
            out += content
            continue
        size = min(BLOCK, limit - number * BLOCK)
        out += block_of(content, number, size, segment.database_id, segment.id, frame_key)
    return out
