"""Readable twin of rango/_ext/frame, segment and scan: reads one log segment from bytes.

Written from the layout (docs/reference/format.md), not from the .pyx files. `opener` is what opens
a sealed body: (aad, nonce, sealed) -> body, or None when the tag does not fit.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

BLOCK = 65536
SEGMENT_HEADER = struct.Struct("<8sII16sQQQQ32s16sI4x16s")
FRAME_HEADER = struct.Struct("<IIIBBHQQQ16s12s")
MAGIC = 0x4D465247
PART, COMMIT, CLOSED = 1, 2, 3

Opener = Callable[[bytes, bytes, bytes], bytes | None]


class Segment(NamedTuple):
    """The header of a segment."""

    database_id: bytes
    id: int
    predecessor: int
    predecessor_end: int
    first_ordinal: int
    chain: bytes
    salt: bytes
    epoch: int
    covered: bytes
    tag: bytes


class Frame(NamedTuple):
    """One frame: its header, its place, and the bytes that the chain covers."""

    offset: int
    kind: int
    ordinal: int
    first_ordinal: int
    durable: int
    previous: bytes
    nonce: bytes
    raw: bytes

    @property
    def end(self) -> int:
        """Where the next frame may start: frames are aligned to 8 bytes."""
        return self.offset + (len(self.raw) + 7) // 8 * 8


def segment_of(data: bytes) -> Segment:
    """The header; its tag is the caller's to check."""
    magic, version, features, *rest = SEGMENT_HEADER.unpack_from(data)
    assert (magic, version, features) == (b"RANGOLOG", 1, 0)
    return Segment._make([*rest[:-1], data[:120], rest[-1]])


def frame_of(data: bytes, offset: int) -> Frame | None:
    """The frame that starts here, if there is a valid header and the frame fits into its block."""
    block_left = BLOCK - offset % BLOCK
    piece = data[offset : offset + block_left]
    if len(piece) < FRAME_HEADER.size:
        return None
    magic, check, size, kind, flags, reserved, ordinal, first, durable, previous, nonce = (
        FRAME_HEADER.unpack_from(piece)
    )
    if magic != MAGIC or kind not in (PART, COMMIT, CLOSED) or flags or reserved:
        return None
    if not durable < first <= ordinal or check != zlib.crc32(piece[8:68]):
        return None
    total = 68 + size + 16
    if total > len(piece):
        return None
    return Frame(offset, kind, ordinal, first, durable, previous, nonce, piece[:total])


def body_of(frame: Frame, segment: Segment, opener: Opener) -> bytes | None:
    """The opened body of a frame at its place, or None."""
    aad = (
        bytes([3])
        + segment.database_id
        + struct.pack("<QQ", segment.id, frame.offset)
        + frame.raw[8:56]
    )
    return opener(aad, frame.nonce, frame.raw[68:])


def chain_of(chain: bytes, raw: bytes) -> bytes:
    """H(n) from H(n-1) and the frame as stored."""
    digest = hashlib.blake2b(raw, digest_size=32).digest()
    return hashlib.blake2b(chain + digest, digest_size=32).digest()


def commits_of(data: bytes, opener: Opener) -> Iterator[tuple[int, int, bytes]]:
    """(ordinal, offset of its first frame, body) of the commits, until no frame continues."""
    segment = segment_of(data)
    offset, ordinal, chain = 136, segment.first_ordinal - 1, segment.chain
    parts: list[bytes] = []
    start = 0
    while True:
        boundary = (offset + BLOCK - 1) // BLOCK * BLOCK
        for place in (offset, boundary):
            frame = frame_of(data, place)
            if frame is None or (frame.ordinal, frame.previous) != (ordinal + 1, chain[:16]):
                continue
            body = body_of(frame, segment, opener)
            if body is not None:
                break
        else:
            return
        offset, ordinal, chain = frame.end, frame.ordinal, chain_of(chain, frame.raw)
        if frame.first_ordinal == ordinal:
            parts, start = [], frame.offset
        parts.append(body)
        if frame.kind == COMMIT:
            yield ordinal, start, b"".join(parts)
