"""Readable twin of rango.verify: what somebody would write who has only docs/reference/format.md.

It knows no writers and no torn ends: the database is closed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from tests.reference.frame import BLOCK, chain_of, frame_of, segment_of


class Problem(NamedTuple):
    """Where the history breaks: the segment (0: only a signature says so) and the commit."""

    segment: int
    ordinal: int


class Twin(NamedTuple):
    """What the walk found."""

    ordinal: int
    chain: bytes
    signed_ordinal: int
    problem: Problem | None


def heads_of(path: Path) -> dict[int, bytes]:
    """The chain value of each ordinal that the key of `keys` has signed."""
    key = (path / "keys").read_bytes()[48:80]
    heads = {}
    for line in (path / "oplog" / "signatures").read_text().splitlines():
        words = line.split(" ")
        if words[0] != "head":
            continue
        database_id, chain = bytes.fromhex(words[2]), bytes.fromhex(words[4])
        ordinal, ms = int(words[3]), int(words[5])
        message = b"rango head" + database_id + ordinal.to_bytes(8, "little") + chain
        message += ms.to_bytes(8, "little") + key
        try:
            VerifyKey(key).verify(message, bytes.fromhex(words[7]))
        except BadSignatureError:
            continue
        heads[ordinal] = chain
    return heads


def twin_verify(path: Path) -> Twin:
    """Walk all segments of a closed database that nothing was purged from."""
    heads = heads_of(path)
    is_plain = (path / "keys").read_bytes()[44] == 0
    files = sorted((path / "oplog").glob("*.rgo"))
    ordinal, chain, signed = 0, bytes(32), 0
    for at, file in enumerate(files):
        data = file.read_bytes()
        segment = segment_of(data)
        if (segment.first_ordinal, segment.chain) != (ordinal + 1, chain):
            return Twin(ordinal, chain, signed, Problem(segment.id - 1, ordinal))
        end = None
        if at + 1 < len(files):
            end = segment_of(files[at + 1].read_bytes()).predecessor_end
        place = 136
        while end is None or place < end:
            boundary = (place + BLOCK - 1) // BLOCK * BLOCK
            frame = frame_of(data, place) or frame_of(data, boundary)
            if frame is None or frame.ordinal != ordinal + 1:
                break
            if is_plain and not tag_fits(segment.database_id, segment.id, frame.offset, frame.raw):
                return Twin(ordinal, chain, signed, Problem(segment.id, ordinal + 1))
            if frame.previous != chain[:16]:
                return Twin(ordinal, chain, signed, Problem(segment.id, ordinal))
            chain, ordinal, place = chain_of(chain, frame.raw), frame.ordinal, frame.end
            if heads.get(ordinal, chain) != chain:
                return Twin(ordinal, chain, signed, Problem(0, ordinal))
            if ordinal in heads:
                signed = ordinal
        is_whole = place == end if end is not None else ordinal >= max(heads, default=0)
        if not is_whole:
            return Twin(ordinal, chain, signed, Problem(segment.id, ordinal + 1))
    return Twin(ordinal, chain, signed, None)


def tag_fits(database_id: bytes, segment_id: int, offset: int, raw: bytes) -> bool:
    """Whether the tag of a frame of a plain database is that of its bytes."""
    aad = bytes([3]) + database_id
    aad += segment_id.to_bytes(8, "little") + offset.to_bytes(8, "little") + raw[8:56]
    body = raw[68:-16]
    tagged = len(aad).to_bytes(8, "little") + aad + raw[56:68]
    tagged += len(body).to_bytes(8, "little") + body
    return hashlib.blake2b(tagged, digest_size=16, person=b"rango plain tag").digest() == raw[-16:]
