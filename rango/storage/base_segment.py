"""The base segment: what a database held at the point before which its history was given up.

Terms       base segment: a file in the place of the last segment that was given up. Statement: the
            body of its first frame, which says what state this is. Keep point: the commit whose
            state it holds; B is its ordinal.
Invariants  It is written under a temporary name, flushed, and renamed over the segment that ended
            with B: the rename decides, so at any moment the log is the old one or the new one.
            What lies before it is nobody's from then on, and is removed only after the flush of
            the directory. Its header has B + 1 and H(B), so that the chain goes on. Its frames have
            ordinals of their own from FIRST on, so that none is ever taken for a commit.
Layout      docs/reference/format.md#base-segment.
Failure     A base that does not reach its end, or that the next segment does not continue:
            LogCorrupted. No space: LowDisk, the temporary file is removed.
Sources     architecture section 8 (Checkpoint); ADR-0032.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from rango._ext import layout
from rango._ext.frame import chain_step
from rango._ext.record import decode, encode
from rango._ext.segment import SegmentHeader, segment_path
from rango._ext.vfs import VFS_CREATE, VFS_WRITE, Vfs
from rango.errors import LogCorrupted, NotFound, RangoError
from rango.storage.segment import (
    BASE_ORDINAL,
    CHAIN_START,
    LogKeys,
    io_named,
    opened,
    place_name,
    scanner_for,
)

if TYPE_CHECKING:
    from rango.storage.oplog import Commit, Oplog

FIRST: Final = BASE_ORDINAL
WRITE_SIZE: Final = 1024 * 1024
BODY_SIZE: Final = layout.BLOCK_SIZE - layout.FRAME_OVERHEAD
"""Of one commit of a base: one frame, so that damage takes no more with it. A document that is
larger has a commit to itself.
"""

SPLIT_MIN: Final = 16 * 1024
"""What is left of a block is not worth cutting a commit below this."""


class BaseWriter:
    """Writes a base segment under its temporary name. Use it with `with`; then commit()."""

    def __init__(
        self, vfs: Vfs, folder: str, keyring: LogKeys, segment_id: int, ordinal: int, chain: bytes
    ) -> None:
        """`ordinal`, `chain`: B and H(B)."""
        self._vfs = vfs
        self._folder = folder
        self._keyring = keyring
        self._path = segment_path(folder, segment_id)
        # the salt is public; any key of the ring knows the injected source of randomness
        salt = keyring.segment_key(segment_id, bytes(16), keyring.epoch).entropy.bytes(16)
        self._header = SegmentHeader(
            segment_id, 0, 0, ordinal + 1, chain, salt, keyring.epoch, keyring.database_id
        )
        self._key = keyring.segment_key(segment_id, salt, keyring.epoch)
        self._chain = CHAIN_START
        self._ordinal = FIRST - 1
        self._at = layout.SEGMENT_HEADER_SIZE
        self._start = 0
        self._piece = bytearray(layout.SEGMENT_HEADER_SIZE)
        self._fd = -1

    def __enter__(self) -> BaseWriter:
        with io_named(f"writing {self._path}.new"):
            self._fd = self._vfs.open(f"{self._path}.new", VFS_WRITE | VFS_CREATE)
            try:
                self._vfs.truncate(self._fd, 0)
            except OSError:
                self._vfs.close(self._fd)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if self._fd >= 0:
            self._vfs.close(self._fd)
            self._fd = -1
        if kind is not None and self._vfs.exists(f"{self._path}.new"):
            # frees the space; what a crash leaves is removed by the next open
            with io_named(f"removing {self._path}.new"):
                self._vfs.remove(f"{self._path}.new")

    def state(self, statement: dict[str, Any]) -> None:
        """Write the statement: before anything else."""
        self._frame(layout.FRAME_CLOSED, encode(statement), self._ordinal + 1)

    def put(self, body: bytes) -> None:
        """Write one commit body."""
        first, at = self._ordinal + 1, 0
        while True:
            left = len(body) - at
            room = layout.BLOCK_SIZE - self._at % layout.BLOCK_SIZE - layout.FRAME_OVERHEAD
            if room < min(left, SPLIT_MIN):
                self._pad(self._at + room + layout.FRAME_OVERHEAD)
                continue
            if left <= room:
                self._frame(layout.FRAME_COMMIT, body[at:], first)
                return
            self._frame(layout.FRAME_PART, body[at : at + room], first)
            at += room

    def _frame(self, kind: int, body: bytes, first: int) -> None:
        from rango.storage.purge import PlacedFrame, frame_sealed

        self._ordinal += 1
        frame = PlacedFrame(self._at, kind, self._ordinal, first, 0, body, 0)
        sealed = frame_sealed(self._key, self._keyring, self._header.id, frame, self._chain[:16])
        self._chain = chain_step(self._chain, sealed)
        self._piece += sealed
        align = layout.FRAME_ALIGN
        self._pad((self._at + len(sealed) + align - 1) // align * align)

    def _pad(self, at: int) -> None:
        self._piece += bytes(at - self._start - len(self._piece))
        self._at = at
        if len(self._piece) >= WRITE_SIZE:
            self._write()

    def _write(self) -> None:
        with io_named(f"writing {self._path}.new"):
            self._vfs.write(self._fd, bytes(self._piece), self._start)
        self._start += len(self._piece)
        self._piece = bytearray()

    def finish(self) -> int:
        """Write what is left and the header, durably. The size of the file."""
        self._write()
        head = self._header
        header = SegmentHeader(
            head.id,
            0,
            self._at,
            head.first_ordinal,
            head.chain,
            head.salt,
            head.epoch,
            head.database_id,
            layout.SEGMENT_BASE,
        )
        with io_named(f"writing {self._path}.new"):
            self._vfs.write(self._fd, header.pack(self._keyring), 0)
            self._vfs.flush(self._fd)
        return self._at

    def commit(self) -> None:
        """Decide: from the flush of the directory on, what came before is given up."""
        self._vfs.rename(f"{self._path}.new", self._path)
        self._vfs.flush_directory(self._folder)


def all_headers(log: Oplog) -> list[SegmentHeader]:
    """Of every file that a log needs, oldest first: its segments, and before them the base."""
    return [*([log.base] if log.base else []), *log.segments]


def all_limits(log: Oplog, end: int) -> list[int]:
    """Where the frames of each of them end; `end`: those of the newest one."""
    own = [log.base.predecessor_end] if log.base else []
    return [*own, *(each.predecessor_end for each in log.segments[1:]), end]


def base_statement(log: Oplog) -> dict[str, Any]:
    """What the base segment says of itself; {} if there is none. Raises LogCorrupted."""
    header = log.base
    if header is None:
        return {}
    with opened(log.vfs, log.path(header.id)) as fd:
        scanner = scanner_for(log.vfs, fd, log.keyring, header, is_point=True)
        frame = scanner.frame_at(layout.SEGMENT_HEADER_SIZE)
    where = place_name(header.id, layout.SEGMENT_HEADER_SIZE)
    if frame is None or frame[0] != layout.FRAME_CLOSED:
        raise LogCorrupted(where, "the statement of the base segment is damaged")
    try:
        found = decode(frame[4])
    except RangoError as error:
        raise LogCorrupted(where, f"the statement of the base segment: {error}") from error
    if found.get("ordinal") != header.first_ordinal - 1:
        raise LogCorrupted(where, "the statement of the base segment is that of another one")
    return found


def base_numbers(log: Oplog) -> tuple[int, int]:
    """The first and the last number that mean the state where the log begins: from the last commit
    that changed something up to B. Raises LogCorrupted.
    """
    oldest = log.start().ordinal
    # a base of before this field was written does not say
    return int(base_statement(log).get("commit", oldest)), oldest


def last_commit(log: Oplog, ordinal: int) -> int:
    """The number of the last commit up to `ordinal`: others are those of closed frames."""
    oldest = log.start().ordinal
    while ordinal > oldest:
        try:
            return log.commit_of(ordinal)[0]
        except NotFound:
            ordinal -= 1
    return base_numbers(log)[0]


def base_commits(log: Oplog) -> Iterator[list[Commit]]:
    """The commits of the base, if there is one, in batches, tags and chain verified: with what
    replay() has from start() on they are all. Raises LogCorrupted.
    """
    header = log.base
    if header is None:
        return
    end = header.predecessor_end
    with opened(log.vfs, log.path(header.id)) as fd:
        scanner = scanner_for(log.vfs, fd, log.keyring, header, limit=end)
        while not scanner.is_ended:
            if batch := scanner.batch():
                yield batch
    if scanner.end_offset != end:
        raise LogCorrupted(
            place_name(header.id, scanner.offset),
            f"the base segment is damaged here; it should go on to {end}",
        )


def base_verify(log: Oplog) -> None:
    """Read all of the base. Raises LogCorrupted."""
    base_statement(log)
    for _batch in base_commits(log):
        pass


def remove_given_up(vfs: Vfs, folder: str, ids: Sequence[int]) -> None:
    """Remove the segments that a base has taken the place of, oldest first, and what was kept
    aside of them. The base must be durable with its name.
    """
    if not ids:
        return
    with io_named("removing what was given up"):
        for segment_id in ids:
            vfs.remove(segment_path(folder, segment_id))
        for name in vfs.list_directory(folder):
            stem = name.partition("-")[0]
            if name.endswith(".cut") and stem.isdigit() and int(stem) <= ids[-1]:
                vfs.remove(os.path.join(folder, name))
        vfs.flush_directory(folder)
