"""What somebody who can write the files of a database, but has not its key, can do to its log.

Written from docs/reference/format.md: frames are moved, changed and chained anew without the code
under test.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from tests.reference.frame import BLOCK, FRAME_HEADER, chain_of

MAGIC = 0x4D465247
FIRST = 136
FIELDS = {
    "magic": 0,
    "check": 4,
    "body_size": 8,
    "kind": 12,
    "flags": 13,
    "reserved": 14,
    "ordinal": 16,
    "first_ordinal": 24,
    "durable": 32,
    "previous": 40,
    "nonce": 56,
    "ciphertext": 70,
    "tag": -3,
}
"""A byte of each field of a frame."""


class Segment:
    """One segment file taken apart: its header, its frames, and where each of them lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        data = path.read_bytes()
        self.header = bytearray(data[:FIRST])
        self.size = len(data)
        self.frames: list[bytes] = []
        self.offsets: list[int] = []
        at = FIRST
        while True:
            raw = frame_at(data, at)
            if raw is None:
                at = (at + BLOCK - 1) // BLOCK * BLOCK
                raw = frame_at(data, at)
            if raw is None:
                break
            self.frames.append(raw)
            self.offsets.append(at)
            at += (len(raw) + 7) // 8 * 8

    @property
    def first_ordinal(self) -> int:
        """Of the first frame."""
        return int.from_bytes(self.header[56:64], "little")

    def index(self, ordinal: int) -> int:
        """Which frame has this ordinal."""
        return [ordinal_of(raw) for raw in self.frames].index(ordinal)

    def write(self) -> int:
        """Put the frames back, one behind the other; returns where they end."""
        data = bytearray(self.header)
        for raw in self.frames:
            if len(data) // BLOCK != (len(data) + len(raw) - 1) // BLOCK:
                data += bytes(-len(data) % BLOCK)
            data += raw + bytes(-len(raw) % 8)
        end = len(data)
        data += bytes(max(0, self.size - end))
        self.path.write_bytes(data)
        return end

    def patch(self, ordinal: int, place: int, *, is_checked: bool) -> None:
        """Flip a bit of a frame where it lies, and make its check fit if asked to."""
        at = self.index(ordinal)
        raw = bytearray(self.frames[at])
        raw[place] ^= 1
        if is_checked:
            raw = bytearray(checked(bytes(raw)))
        data = bytearray(self.path.read_bytes())
        data[self.offsets[at] : self.offsets[at] + len(raw)] = raw
        self.path.write_bytes(data)

    def chain_anew(self, chain: bytes) -> bytes:
        """Make every frame follow the one before it; returns the chain value at the end."""
        self.header[64:96] = chain
        for at, raw in enumerate(self.frames):
            self.frames[at] = checked(raw[:40] + chain[:16] + raw[56:])
            chain = chain_of(chain, self.frames[at])
        return chain


def frame_at(data: bytes, at: int) -> bytes | None:
    """A frame as it is stored, by its header."""
    if len(data) - at < 84:
        return None
    magic, check, size = struct.unpack_from("<III", data, at)
    if magic != MAGIC or check != zlib.crc32(data[at + 8 : at + 68]):
        return None
    return data[at : at + 84 + size]


def checked(raw: bytes) -> bytes:
    """The frame with a check that fits."""
    return raw[:4] + struct.pack("<I", zlib.crc32(raw[8:68])) + raw[8:]


def ordinal_of(raw: bytes) -> int:
    """Its ordinal."""
    return int(FRAME_HEADER.unpack_from(raw)[6])


def renumbered(raw: bytes, ordinal: int) -> bytes:
    """The frame with another ordinal, a commit of its own."""
    numbers = struct.pack("<QQQ", ordinal, ordinal, min(ordinal - 1, ordinal_of(raw) - 1))
    return checked(raw[:16] + numbers + raw[40:])


def segments_of(path: Path) -> list[Segment]:
    """Every segment of a database."""
    return [Segment(each) for each in sorted((path / "oplog").glob("*.rgo"))]


def chain_all_anew(segments: Iterable[Segment]) -> None:
    """Number and chain all frames anew, with the headers of the segments: a log without a flaw."""
    chain, ordinal, end, before = bytes(32), 0, 0, 0
    for segment in segments:
        segment.header[40:64] = struct.pack("<QQQ", before, end, ordinal + 1)
        for at, raw in enumerate(segment.frames):
            ordinal += 1
            segment.frames[at] = renumbered(raw, ordinal)
        chain = segment.chain_anew(chain)
        end = segment.write()
        before = int.from_bytes(segment.header[32:40], "little")


def copied(source: Path, target: Path) -> Path:
    """A copy of a database."""
    shutil.copytree(source, target)
    return target


def signatures(path: Path) -> list[str]:
    """The lines of the file of signatures."""
    return (path / "oplog" / "signatures").read_text().splitlines()


def write_signatures(path: Path, lines: list[str]) -> None:
    """Replace them."""
    (path / "oplog" / "signatures").write_text("".join(f"{line}\n" for line in lines))


def replace_key(path: Path, verify_key: bytes) -> None:
    """Put another public key into the keys file; its check fits, its keyed hash cannot."""
    copy = bytearray((path / "keys").read_bytes()[:4096])
    copy[48:80] = verify_key
    copy[4080:] = hashlib.blake2b(bytes(copy[:4080]), digest_size=16).digest()
    (path / "keys").write_bytes(bytes(copy) * 2)
