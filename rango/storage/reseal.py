"""A whole log sealed again under other keys, frame by frame at the same places.

Terms       frame, segment, ordinal, chain value, purged frame: see glossary. Old, new: the keys and
            the chain before and after.
Invariants  Ordinals, places, sizes, bodies and what each frame says was durable stay, so that
            revisions, histories and the ends of segments stay. Salts, nonces (I-6), tags and chain
            values are new. The old chain is verified on the way, purged frames by their stated
            digest; in the new chain they are frames like any other. The source is only read.
Failure     a frame that does not open, is missing, or belongs to another history: LogCorrupted. No
            space: LowDisk. The target is nobody's until its caller gives it a name.
Sources     architecture sections 4 and 8; ADR-0024.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from rango._ext import layout
from rango._ext.frame import chain_step, header_unpack
from rango._ext.seal import Entropy, blake2b
from rango._ext.segment import SegmentHeader, segment_path
from rango._ext.segment_scan import purge_table
from rango._ext.vfs import VFS_CREATE, VFS_EXCLUSIVE, VFS_WRITE, Vfs
from rango.errors import LogCorrupted
from rango.storage.keys_file import SALT_SIZE
from rango.storage.purge import PlacedFrame, frame_sealed, frames_of
from rango.storage.segment import (
    CHAIN_START,
    LogKeys,
    file_view,
    first_mark,
    io_named,
    is_base,
    opened,
    place_name,
    scanner_for,
)

WRITE_SIZE: Final = 1024 * 1024


class Chains(NamedTuple):
    """The two chain values after a frame."""

    old: bytes
    new: bytes


def log_reseal(
    vfs: Vfs,
    source: str,
    target: str,
    segments: list[tuple[SegmentHeader, int]],
    old: LogKeys,
    new: LogKeys,
    entropy: Entropy,
    progress: Callable[[int], object],
) -> Chains:
    """Write every segment of the directory `source`, durably, to the directory `target`.

    `segments`: headers, oldest first, and where the frames of each end. `progress` is told how many
    are done. Returns the chain values at the end.
    """
    first = segments[0][0]
    chains = Chains(first.chain, first.chain)
    for at, (header, limit) in enumerate(segments):
        if header.chain != chains.old:
            raise LogCorrupted(place_name(header.id, 0), "it does not continue the one before it")
        if is_base(header):
            # its frames have a chain of their own; the history's goes on from where it was cut
            start = Chains(CHAIN_START, CHAIN_START)
            segment_reseal(vfs, source, target, header, limit, old, new, entropy, start)
        else:
            chains = segment_reseal(vfs, source, target, header, limit, old, new, entropy, chains)
        progress(at + 1)
    with io_named(f"naming the segments in {target}"):
        vfs.flush_directory(target)
    return chains


def segment_reseal(
    vfs: Vfs,
    source: str,
    target: str,
    header: SegmentHeader,
    limit: int,
    old: LogKeys,
    new: LogKeys,
    entropy: Entropy,
    chains: Chains,
) -> Chains:
    """One segment. Returns the chain values after its last frame."""
    fresh = SegmentHeader(
        header.id,
        header.predecessor,
        header.predecessor_end,
        header.first_ordinal,
        header.chain if is_base(header) else chains.new,
        entropy.bytes(SALT_SIZE),
        new.epoch,
        new.database_id,
        header.features & ~(layout.SEGMENT_PURGED | layout.SEGMENT_PACKED),
    )
    key = new.segment_key(fresh.id, fresh.salt, fresh.epoch)
    with opened(vfs, segment_path(source, header.id)) as fd, io_named(f"sealing {header.id}"):
        out = Writer(vfs, segment_path(target, header.id))
        try:
            out.put(0, fresh.pack(new))
            for frame, digest in verified(vfs, fd, old, header, limit, chains.old):
                sealed = frame_sealed(key, new, fresh.id, frame, chains.new[:16])
                out.put(frame.offset, sealed)
                chains = Chains(linked(chains.old, digest), chain_step(chains.new, sealed))
            out.end(limit)
        finally:
            out.close()
    return chains


def verified(
    vfs: Vfs, fd: int, keys: LogKeys, header: SegmentHeader, limit: int, chain: bytes
) -> Iterator[tuple[PlacedFrame, bytes]]:
    """Each frame, and the digest with which it counts in its chain."""
    view = file_view(vfs, fd, keys, header)
    scanner = scanner_for(view, fd, keys, header, limit=limit)
    digests = purge_table(view, fd) if header.features & layout.SEGMENT_PURGED else {}
    ordinal = first_mark(header).ordinal
    for frame in frames_of(scanner, limit):
        raw = view.read(fd, layout.FRAME_OVERHEAD + len(frame.body), frame.offset)
        stored = header_unpack(raw)
        is_purged = raw[layout.FRAME_FLAGS] & layout.FRAME_PURGED
        digest = digests.get(frame.offset) if is_purged else blake2b(raw, 32)
        if stored is None or stored[5] != chain[:16] or digest is None:
            raise LogCorrupted(
                place_name(header.id, frame.offset), "the frame here belongs to another history"
            )
        ordinal += 1
        if frame.ordinal != ordinal:
            raise LogCorrupted(
                place_name(header.id, frame.offset),
                f"ordinal {frame.ordinal} follows, {ordinal} was expected",
            )
        chain = linked(chain, digest)
        yield frame, digest


def linked(chain: bytes, digest: bytes) -> bytes:
    """The chain value after a frame with this digest."""
    return blake2b(chain + digest, 32)


class Writer:
    """A new file, written in large pieces at rising offsets; what is left out is zeros."""

    def __init__(self, vfs: Vfs, path: str) -> None:
        self._vfs = vfs
        self._path = path
        self._start = 0
        self._piece = bytearray()
        self._fd = vfs.open(path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE)

    def put(self, offset: int, data: bytes) -> None:
        """Write `data` at `offset`, which is not before what was written."""
        self._pad(offset)
        self._piece += data
        if len(self._piece) >= WRITE_SIZE:
            self._write()

    def end(self, size: int) -> None:
        """Make the file `size` bytes long and durable."""
        self._pad(size)
        self._write()
        self._vfs.flush(self._fd)

    def close(self) -> None:
        """Let go of the file."""
        self._vfs.close(self._fd)

    def _pad(self, offset: int) -> None:
        gap = offset - self._start - len(self._piece)
        if gap < 0:
            raise AssertionError(f"{os.path.basename(self._path)} is written backwards")
        self._piece += bytes(gap)

    def _write(self) -> None:
        if self._piece:
            self._vfs.write(self._fd, self._piece, self._start)
        self._start += len(self._piece)
        self._piece = bytearray()
