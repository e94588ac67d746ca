"""Taking mutations out of sealed log segments, so that the chain still closes.

Terms       purged frame, purge table: docs/reference/format.md#purge-table. Mutation: one of a
            commit body. To blank a mutation: to put zeros of the same size in its place.
Invariants  A segment is rewritten under another name, flushed, and renamed over the old one: at any
            moment it is whole, old or new. Ordinals, places and sizes of frames do not change, and
            each purged frame counts in the chain with the digest that it had when it was first
            written, so later frames, anchors and signatures stay valid. Only segments that are not
            written any more are rewritten. Each frame gets a fresh nonce (I-6).
States      none: blanking twice is blanking once, so an interrupted purge is simply run again.
Failure     A frame that does not open: LogCorrupted, the segment stays. No space: LowDisk, the
            segment stays. A crash leaves <segment>.rgo.new, which the next open removes.
Sources     architecture sections 4 (Chain) and 7; ADR-0022.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from rango._ext import layout
from rango._ext.frame import aad_pack, header_pack, header_unpack
from rango._ext.seal import SealKey, blake2b
from rango._ext.segment import SegmentHeader, segment_path
from rango._ext.segment_scan import Scanner, purge_table
from rango._ext.vfs import VFS_CREATE, VFS_WRITE, Vfs
from rango.errors import LogCorrupted
from rango.storage.segment import (
    LogKeys,
    file_view,
    header_with,
    io_named,
    opened,
    place_name,
    scanner_for,
)

COPY_SIZE: Final = 1024 * 1024
STAMP_SIZE: Final = 8

Blank = Callable[[bytes], bytes | None]
"""A commit body with what is to go blanked, the same size; None if nothing of it is to go."""

Vouch = Callable[[int, bytes], object]
"""Told the segment and the digest of its purged frames before they take their place."""


class PlacedFrame(NamedTuple):
    """One genuine frame: where it is, how it is sealed, what it holds."""

    offset: int
    kind: int
    ordinal: int
    first_ordinal: int
    durable: int
    body: bytes
    end: int


class Purged(NamedTuple):
    """What was done to a segment."""

    commits: int
    frames: int


def segment_purge(
    vfs: Vfs,
    folder: str,
    keyring: LogKeys,
    header: SegmentHeader,
    limit: int,
    blank: Blank,
    vouch: Vouch,
) -> Purged:
    """Rewrite one sealed segment without what `blank` takes out. `limit`: where its frames end.

    Returns how many commits and frames changed; with none the file is not touched.
    """
    path = segment_path(folder, header.id)
    key = keyring.segment_key(header.id, header.salt, header.epoch)
    with opened(vfs, path) as fd:
        view = file_view(vfs, fd, keyring, header)
        scanner = scanner_for(view, fd, keyring, header, limit=limit, is_point=True)
        changed: dict[int, bytes] = {}
        digests = dict(purge_table(view, fd)) if header.features & layout.SEGMENT_PURGED else {}
        commits = 0
        for frames in commits_of(scanner, limit):
            body = blank(b"".join(frame.body for frame in frames))
            if body is None:
                continue
            commits += 1
            changed.update(resealed(view, fd, key, keyring, header, frames, body, digests))
        if not changed:
            return Purged(0, 0)
        table = table_bytes(digests, key.entropy.bytes(STAMP_SIZE))
        write_segment(vfs, view, fd, path, keyring, header, limit, changed, table)
        vouch(header.id, purged_digest(view, fd, changed, digests))
    with io_named(f"replacing {path}"):
        vfs.rename(f"{path}.new", path)
        vfs.flush_directory(folder)
    return Purged(commits, len(changed))


def purged_digest(vfs: Vfs, fd: int, changed: dict[int, bytes], digests: dict[int, bytes]) -> bytes:
    """The digest of all purged frames of a segment as they are from now on (signatures.py)."""
    # imported here: it loads OpenSSL
    from hashlib import blake2b as running

    total = running(digest_size=32)
    for offset in sorted(digests):
        raw = changed.get(offset)
        if raw is None:
            stored = header_unpack(vfs.read(fd, layout.FRAME_HEADER_SIZE, offset))
            if stored is None:
                raise AssertionError("a frame that opened has no header")
            raw = vfs.read(fd, layout.FRAME_OVERHEAD + stored[0], offset)
        total.update(offset.to_bytes(8, "little") + blake2b(raw, 32))
    return total.digest()


def commits_of(scanner: Scanner, limit: int) -> Iterator[list[PlacedFrame]]:
    """The frames of each whole commit of a segment. LogCorrupted where one is missing."""
    parts: list[PlacedFrame] = []
    for frame in frames_of(scanner, limit):
        if frame.kind == layout.FRAME_CLOSED:
            continue
        if frame.ordinal == frame.first_ordinal:
            parts = []
        parts.append(frame)
        if frame.kind == layout.FRAME_COMMIT:
            yield parts
            parts = []


def frames_of(scanner: Scanner, limit: int) -> Iterator[PlacedFrame]:
    """Every frame of a segment up to `limit`, by its tag. LogCorrupted where one is missing."""
    at = layout.SEGMENT_HEADER_SIZE
    while at < limit:
        found = scanner.frame_at(at)
        if found is None:
            block = (at + layout.BLOCK_SIZE - 1) // layout.BLOCK_SIZE * layout.BLOCK_SIZE
            found = scanner.frame_at(block) if at < block < limit else None
            at = block
        if found is None:
            raise LogCorrupted(
                place_name(scanner.segment_id, at), "a frame here does not open; it stays as it is"
            )
        frame = PlacedFrame(at, *found)
        at = frame.end
        yield frame


def resealed(
    vfs: Vfs,
    fd: int,
    key: SealKey,
    keyring: LogKeys,
    header: SegmentHeader,
    frames: list[PlacedFrame],
    body: bytes,
    digests: dict[int, bytes],
) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of the frames whose part of the body changed; their digests are kept."""
    at = 0
    for frame in frames:
        piece = body[at : at + len(frame.body)]
        at += len(frame.body)
        if piece == frame.body:
            continue
        raw = vfs.read(fd, layout.FRAME_OVERHEAD + len(piece), frame.offset)
        if frame.offset not in digests:
            digests[frame.offset] = blake2b(raw, 32)
        stored = header_unpack(raw)
        if stored is None:
            raise AssertionError("a frame that opened has no header")
        sealed = frame_sealed(
            key,
            keyring,
            header.id,
            frame._replace(body=piece),
            stored[5],
            flags=layout.FRAME_PURGED,
        )
        yield frame.offset, sealed


def frame_sealed(
    key: SealKey,
    keyring: LogKeys,
    segment_id: int,
    frame: PlacedFrame,
    previous: bytes,
    *,
    flags: int = 0,
) -> bytes:
    """The frame as it is stored at its place, under a fresh nonce, behind this chain value."""

    def pack(nonce: bytes) -> bytes:
        return header_pack(
            len(frame.body),
            frame.kind,
            frame.ordinal,
            frame.first_ordinal,
            frame.durable,
            previous,
            nonce,
            flags,
        )

    aad = aad_pack(keyring.database_id, segment_id, frame.offset, pack(bytes(layout.NONCE_SIZE)))
    nonce, sealed = key.seal_bytes(aad, frame.body)
    # the nonce is under the header's check, so the header is packed once more
    return pack(nonce) + sealed


def write_segment(
    vfs: Vfs,
    view: Vfs,
    source: int,
    path: str,
    keyring: LogKeys,
    header: SegmentHeader,
    limit: int,
    changed: dict[int, bytes],
    table: bytes,
) -> None:
    """The whole segment under its temporary name, durable: header, frames, purge table. `view`
    reads the source, which may be packed; the result is not.
    """
    features = header.features | layout.SEGMENT_PURGED
    marked = header_with(header, features & ~layout.SEGMENT_PACKED)
    with io_named(f"rewriting {os.path.basename(path)}"):
        target = vfs.open(f"{path}.new", VFS_WRITE | VFS_CREATE)
        try:
            vfs.truncate(target, 0)
            for offset in range(0, limit, COPY_SIZE):
                piece = bytearray(view.read(source, min(COPY_SIZE, limit - offset), offset))
                overlay(piece, offset, changed)
                if offset == 0:
                    piece[: layout.SEGMENT_HEADER_SIZE] = marked.pack(keyring)
                vfs.write(target, bytes(piece), offset)
            vfs.write(target, table, limit)
            vfs.flush(target)
        finally:
            vfs.close(target)


def overlay(piece: bytearray, start: int, changed: dict[int, bytes]) -> None:
    """Put the changed frames over a piece of the file; frames never cross a piece's end, because
    it is a multiple of a block.
    """
    for offset, frame in changed.items():
        if start <= offset < start + len(piece):
            piece[offset - start : offset - start + len(frame)] = frame


def table_bytes(digests: dict[int, bytes], stamp: bytes) -> bytes:
    """The purge table as it is stored."""
    entries = b"".join(
        offset.to_bytes(8, "little") + digest for offset, digest in sorted(digests.items())
    )
    footer = (
        stamp + len(digests).to_bytes(4, "little") + layout.PURGE_MAGIC_VALUE.to_bytes(4, "little")
    )
    return entries + footer
