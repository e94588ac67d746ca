"""The oplog: opens it, replays it, judges its end, makes its tail durable, finds a commit in it.

Terms       frame, segment, base segment, ordinal, lsn, torn tail, to adopt a tail: see glossary.
            Mark: (segment, offset, ordinal, chain value), a place between two frames.
Invariants  I-1, I-11, I-17, I-18; storage-notes scenarios 1, 6, 7 and 10.
Layout      storage/segment.py for files, _ext/frame.pyx for frames, layout.pxd for offsets.
States      opened --replay to the end--> judged --adopt--> appending. Reading needs only opened.
Failure     damage in front of something that was durable: LogCorrupted, nothing is written.
            A torn tail: dropped, copied to oplog/<segment>-<offset>.cut, reported in LogEnd.
            Crashing inside adopt() loses nothing: running it again does the rest.
Sources     architecture sections 6 to 8; Pillai et al., OSDI 2014 (create, rename, flush folders).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from rango._ext.appender import Appender
from rango._ext.layout import (
    BLOCK_SIZE,
    FRAME_ALIGN,
    FRAME_CLOSED,
    FRAME_COMMIT,
    FRAME_OVERHEAD,
    FRAME_PART,
    SEGMENT_HEADER_SIZE,
    SEGMENT_SIZE_MAX,
)
from rango._ext.segment import SegmentHeader, create_segment, first_size, segment_path
from rango._ext.segment_scan import Scanner
from rango._ext.shared import Shared
from rango._ext.vfs import VFS_CREATE, VFS_WRITE, Vfs
from rango.errors import HistoryGivenUp, LogCorrupted, NotFound
from rango.storage.base_segment import base_verify, remove_given_up
from rango.storage.segment import (
    CHAIN_START,
    LogFinding,
    LogKeys,
    LogMark,
    SegmentFiles,
    found_offset,
    frame_opened,
    frames_for,
    holds_frames,
    io_named,
    opened,
    place_name,
    read_segments,
    scanner_for,
    segment_ids,
)

__all__ = ["CHAIN_START", "LogEnd", "LogFinding", "LogMark", "Oplog"]

COPY_SIZE: Final = 1024 * 1024
CLOSED_SIZE: Final = (FRAME_OVERHEAD + FRAME_ALIGN - 1) // FRAME_ALIGN * FRAME_ALIGN

ANSWERS: Final = {
    "claimed": "a later frame says that what should be here was durable",
    "foreign": "the frame here belongs to another history",
    "forged": "frames here claim more than an honest log can hold",
}

Commit = tuple[int, int, bytes, int]
"""Ordinal, lsn of its first frame, body, ordinal of its first frame."""


class LogEnd(NamedTuple):
    """How a log ended: the mark behind its last whole commit, and what was behind that."""

    mark: LogMark
    durable: int
    """The greatest ordinal that is proven to be durable."""
    state: Literal["clean", "torn"]
    is_closed: bool
    """The last frame is a closed frame: the log was closed in order."""
    tail_end: int
    """Behind the last byte that is not zero; the mark's offset if there is none."""
    what: str
    """For people: what was dropped, or "" """


class Oplog:
    """The log of one database, as its files are. Appending goes through adopt()."""

    def __init__(
        self,
        vfs: Vfs,
        directory: str,
        keyring: LogKeys,
        files: SegmentFiles,
        *,
        segment_size_max: int = SEGMENT_SIZE_MAX,
    ) -> None:
        self.vfs = vfs
        self.directory = os.path.join(directory, "oplog")
        self.keyring = keyring
        self.segments = files.headers
        self.void_ids = files.void_ids
        self.base = files.base
        """The base segment, if history was given up; `segments` begin behind it."""
        self.given_up = files.given_up
        self.segment_size_max = segment_size_max
        self.end: LogEnd | None = None
        """Set when a replay has come to the end of the log."""
        self.cut_path: str | None = None
        """Where adopt() put the torn tail, if there was one."""
        self._is_new = False

    @classmethod
    def create(
        cls,
        vfs: Vfs,
        directory: str,
        keyring: LogKeys,
        *,
        segment_size_max: int = SEGMENT_SIZE_MAX,
    ) -> Oplog:
        """Make the log of a new database: one empty segment, durable with its name."""
        folder = os.path.join(directory, "oplog")
        epoch = keyring.epoch
        # the salt is public; any key of the ring knows the injected source of randomness
        salt = keyring.segment_key(1, bytes(16), epoch).entropy.bytes(16)
        header = SegmentHeader(1, 0, 0, 1, CHAIN_START, salt, epoch, keyring.database_id)
        with io_named(f"creating {folder}"):
            if not vfs.exists(folder):
                vfs.make_directory(folder)
            fd = create_segment(
                vfs,
                folder,
                segment_path(folder, 1),
                header.pack(keyring),
                first_size(segment_size_max),
            )
            vfs.close(fd)
            vfs.flush_directory(directory)
        files = SegmentFiles([header], [])
        oplog = cls(vfs, directory, keyring, files, segment_size_max=segment_size_max)
        oplog._is_new = True
        return oplog

    @classmethod
    def open(
        cls,
        vfs: Vfs,
        directory: str,
        keyring: LogKeys,
        *,
        segment_size_max: int = SEGMENT_SIZE_MAX,
    ) -> Oplog:
        """Read the segment headers. Raises LogCorrupted, FormatTooNew; writes nothing."""
        files = read_segments(vfs, os.path.join(directory, "oplog"), keyring)
        return cls(vfs, directory, keyring, files, segment_size_max=segment_size_max)

    @staticmethod
    def exists(vfs: Vfs, directory: str) -> bool:
        """Whether a log was created here."""
        folder = os.path.join(directory, "oplog")
        return vfs.exists(folder) and bool(segment_ids(vfs, folder))

    def start(self) -> LogMark:
        """The mark before the oldest frame: what base() holds, and a replay from here, is all."""
        oldest = self.segments[0]
        return LogMark(oldest.id, SEGMENT_HEADER_SIZE, oldest.first_ordinal - 1, oldest.chain)

    # --- replay ---

    def replay(
        self,
        from_segment: int,
        from_offset: int,
        ordinal: int,
        chain: bytes,
        *,
        must_reach: int = 0,
        written: int | None = None,
    ) -> Iterator[list[Commit]]:
        """All commits behind a mark, in batches; sets `end` when the log ends as a log may end.

        Tags and the chain are verified. What the mark names must be there, for it was durable
        (I-18), and so must be `must_reach`. `written`: somebody appends meanwhile and had written
        up to this ordinal; what is behind it is not judged, for it may be half there. Writes
        nothing. Raises LogCorrupted, IoFailed.
        """
        self.end = None
        mark = LogMark(from_segment, from_offset, ordinal, chain)
        self._check_mark(mark)
        durable = ordinal
        position = self.position(from_segment)
        segments = tuple(self.segments)  # the appender adds to the list when it rolls
        for index in range(position, len(segments)):
            header = segments[index]
            is_last = index + 1 == len(segments)
            limit = None if is_last else segments[index + 1].predecessor_end
            # rolling flushes the old segment before the new one gets its name
            durable = max(durable, header.first_ordinal - 1)
            with opened(self.vfs, self.path(header.id)) as fd:
                scanner = scanner_for(self.vfs, fd, self.keyring, header, mark, limit)
                while not scanner.is_ended:
                    if batch := scanner.batch():
                        yield batch
                durable = max(durable, scanner.durable)
                if is_last and written is not None and scanner.end_ordinal >= written:
                    return
                if is_last:
                    if scanner.ordinal == ordinal:
                        self._check_chain(mark)
                    self.end = self._judge(scanner, durable, must_reach)
                    return
            mark = self.cross(scanner, segments[index + 1])

    def _check_mark(self, mark: LogMark) -> None:
        """The log must hold what the mark names, with the mark's chain value where it is stored."""
        header = self.segments[self.position(mark.segment_id)]
        where = place_name(mark.segment_id, mark.offset)
        if mark.offset == SEGMENT_HEADER_SIZE:
            if header.first_ordinal != mark.ordinal + 1 or header.chain != mark.chain:
                raise LogCorrupted(
                    where, f"this segment does not continue ordinal {mark.ordinal}: another history"
                )
            return
        with opened(self.vfs, self.path(header.id)) as fd:
            scanner = scanner_for(self.vfs, fd, self.keyring, header, is_point=True)
            offset = scanner.find(mark.ordinal)
            frame = None if offset is None else scanner.frame_at(offset)
            end = self._end_behind_damage(fd, header, mark) if frame is None else frame[5]
        if end != mark.offset:
            raise LogCorrupted(
                where, f"the log does not reach ordinal {mark.ordinal}, which was durable, here"
            )

    def _end_behind_damage(self, fd: int, header: SegmentHeader, mark: LogMark) -> int | None:
        """The end of the mark's frame if damage before it in its block hides it from find()."""
        start = max((mark.offset - 1) // BLOCK_SIZE * BLOCK_SIZE, SEGMENT_HEADER_SIZE)
        block = LogMark(header.id, start, 0, header.chain)
        scanner = scanner_for(self.vfs, fd, self.keyring, header, block, is_point=True)
        while (frame := scanner.genuine_next()) is not None and frame[2] <= mark.ordinal:
            if frame[2] == mark.ordinal:
                return int(frame[6])
        return None

    def _check_chain(self, mark: LogMark) -> None:
        """The segment's chain must lead to the mark's value: no frame behind it says so (I-18).

        What the mark names was found genuine before; damage further back does not refuse an open.
        """
        header = self.segments[self.position(mark.segment_id)]
        if mark.offset == SEGMENT_HEADER_SIZE:
            return
        with opened(self.vfs, self.path(header.id)) as fd:
            scanner = scanner_for(self.vfs, fd, self.keyring, header, limit=mark.offset)
            while not scanner.is_ended:
                scanner.batch()
        if scanner.end_ordinal < mark.ordinal:
            # an older frame is damaged: nothing has to be replayed, and verify() finds it
            return
        if (scanner.end_ordinal, scanner.end_chain) != (mark.ordinal, mark.chain):
            raise LogCorrupted(
                place_name(mark.segment_id, mark.offset),
                f"the log does not lead to ordinal {mark.ordinal} as the data file knows it:"
                " another history, or damage",
            )

    def cross(self, scanner: Scanner, successor: SegmentHeader) -> LogMark:
        """The mark at the start of the next segment, if this one ended where that one says."""
        mark = LogMark(
            successor.id, SEGMENT_HEADER_SIZE, successor.first_ordinal - 1, successor.chain
        )
        found = (scanner.offset, scanner.end_offset, scanner.end_ordinal, scanner.end_chain)
        end = successor.predecessor_end
        if found != (end, end, mark.ordinal, mark.chain):
            raise LogCorrupted(
                place_name(scanner.segment_id, scanner.offset),
                f"no frame continues here, but segment {successor.id} goes on after ordinal"
                f" {mark.ordinal}, which ends at {end}",
            )
        return mark

    def _judge(self, scanner: Scanner, durable: int, must_reach: int) -> LogEnd:
        """What the place means where no frame continues (I-11)."""
        answer, offset, tail_end = scanner.judge()
        where = place_name(scanner.segment_id, scanner.offset)
        if answer != "end":
            raise LogCorrupted(
                where,
                f"ordinal {scanner.ordinal + 1} is damaged or missing:"
                f" {ANSWERS[answer]} (at {offset})",
            )
        for void_id in self.void_ids:
            if void_id < scanner.segment_id:
                continue
            with opened(self.vfs, self.path(void_id)) as fd:
                found = holds_frames(self.vfs, fd, scanner.ordinal + 1)
            if found is not None:
                raise LogCorrupted(
                    place_name(void_id, 0), f"the header is damaged and there is a frame at {found}"
                )
        if scanner.end_ordinal < must_reach:
            raise LogCorrupted(
                where,
                f"the log ends with ordinal {scanner.end_ordinal}, but {must_reach} was durable",
            )
        end = scanner.end_offset
        tail_end = max(tail_end, scanner.offset)
        is_torn = tail_end > end
        return LogEnd(
            mark=LogMark(scanner.segment_id, end, scanner.end_ordinal, scanner.end_chain),
            durable=durable,
            state="torn" if is_torn else "clean",
            is_closed=scanner.is_closed,
            tail_end=tail_end,
            what=f"{tail_end - end} bytes behind {place_name(scanner.segment_id, end)} are not a"
            " whole commit"
            if is_torn
            else "",
        )

    # --- adopting the tail (I-17) ---

    def adopt(self, shared: Shared | None = None) -> Appender:
        """Make the end that replay found durable, clear what is behind it, and append from there.

        The caller is alone. Raises LowDisk, IoFailed; may be run again after a crash in it.
        """
        end = self.end
        if end is None:
            raise AssertionError("replay() to the end comes before adopt()")
        header, carry, durable = self.segments[-1], None, end.durable
        self._remove_unfinished()
        with io_named(f"opening {self.path(header.id)}"):
            fd = self.vfs.open(self.path(header.id), VFS_WRITE)
        try:
            with io_named("making the end of the oplog durable"):
                if end.is_closed and end.state == "clean":
                    carry = self.vfs.read(fd, FRAME_OVERHEAD, end.mark.offset - CLOSED_SIZE)
                else:
                    self._settle(fd, header, end)
                    durable = end.mark.ordinal
                size = self.vfs.size(fd)
        except BaseException:
            self.vfs.close(fd)
            raise
        return Appender(
            self.vfs,
            self.keyring,
            self.directory,
            self.segments,
            max([header.id, *self.void_ids]) + 1,
            fd,
            end.mark.offset,
            end.mark.ordinal,
            durable,
            end.mark.chain,
            size,
            carry,
            segment_size_max=self.segment_size_max,
            shared=shared,
        )

    def _settle(self, fd: int, header: SegmentHeader, end: LogEnd) -> None:
        """Rewrite what may live in the cache only, wipe the tail, flush."""
        offset = end.mark.offset
        must_flush = False
        if end.tail_end > offset:
            self._keep_aside(fd, header.id, offset, end.tail_end)
            self._copy(None, fd, offset, end.tail_end)
            must_flush = True
        # the first frame is written after the flush of the directory: without one, redo that too
        is_unused = end.mark.ordinal < header.first_ordinal
        if is_unused and not self._is_new:
            self._copy(fd, fd, 0, offset)
            must_flush = True
        elif end.durable < end.mark.ordinal:
            scanner = scanner_for(self.vfs, fd, self.keyring, header, is_point=True)
            self._copy(fd, fd, found_offset(scanner, end.durable + 1), offset)
            must_flush = True
        if must_flush:
            self.vfs.flush(fd)
        if is_unused and not self._is_new:
            self.vfs.flush_directory(self.directory)

    def _keep_aside(self, fd: int, segment_id: int, begin: int, end: int) -> None:
        """Copy the torn tail to a file of its own; an earlier copy, perhaps a fuller one, stays."""
        stem = os.path.join(self.directory, f"{segment_id:016d}-{begin}")
        number = 0
        path = f"{stem}.cut"
        while self.vfs.exists(path):
            number += 1
            path = f"{stem}.{number}.cut"
        target = self.vfs.open(f"{path}.new", VFS_WRITE | VFS_CREATE)
        try:
            self.vfs.truncate(target, 0)
            self._copy(fd, target, begin, end, -begin)
            self.vfs.flush(target)
        finally:
            self.vfs.close(target)
        self.vfs.rename(f"{path}.new", path)
        self.vfs.flush_directory(self.directory)
        self.cut_path = path

    def _copy(self, source: int | None, target: int, begin: int, end: int, shift: int = 0) -> None:
        """Write [begin, end) of `source` (None: zeros) to `target`, `shift` bytes further."""
        for offset in range(begin, end, COPY_SIZE):
            size = min(COPY_SIZE, end - offset)
            data = bytes(size) if source is None else self.vfs.read(source, size, offset)
            self.vfs.write(target, data, offset + shift)

    def _remove_unfinished(self) -> None:
        with io_named("removing what a crash left"):
            for name in self.vfs.list_directory(self.directory):
                if name.endswith((".rgo.new", ".cut.new", "signatures.new")):
                    self.vfs.remove(os.path.join(self.directory, name))
            if self.given_up:
                # whoever gave them up may have died before the base's name was durable
                self.vfs.flush_directory(self.directory)
        remove_given_up(self.vfs, self.directory, self.given_up)
        self.given_up = ()

    def reread(self) -> None:
        """Take over segment headers that were rewritten in place. Raises as open() does."""
        files = read_segments(self.vfs, self.directory, self.keyring)
        # the appender holds the same list
        self.segments[:] = files.headers
        self.base, self.given_up = files.base, files.given_up

    def find(self, ordinal: int) -> tuple[int, int]:
        """(segment, offset) of the frame with this ordinal, by its header. Raises NotFound."""
        header = self._segment_of(ordinal)
        with opened(self.vfs, self.path(header.id)) as fd:
            scanner = frames_for(self.vfs, fd, self.keyring, header)
            return header.id, found_offset(scanner, ordinal)

    def read_commit(self, ordinal: int) -> bytes:
        """The body of the commit that this ordinal, of any of its frames, belongs to.

        Its tags are verified, the chain around it is not. Raises NotFound when there is no such
        commit, LogCorrupted when it is damaged.
        """
        return self.commit_of(ordinal)[1]

    def commit_of(self, ordinal: int) -> tuple[int, bytes]:
        """The same with the commit's own ordinal, which is that of its last frame."""
        header = self._segment_of(ordinal)
        with opened(self.vfs, self.path(header.id)) as fd:
            scanner = frames_for(self.vfs, fd, self.keyring, header)
            frame = frame_opened(scanner, found_offset(scanner, ordinal), ordinal)
            if frame[0] == FRAME_CLOSED:
                raise NotFound(f"ordinal {ordinal} is that of a closed frame, not of a commit")
            if frame[0] == FRAME_COMMIT and frame[2] == ordinal:
                return ordinal, frame[4]
            bodies = []
            part = frame[2]
            offset = found_offset(scanner, part)
            while True:
                frame = frame_opened(scanner, offset, part)
                bodies.append(frame[4])
                if frame[0] != FRAME_PART:
                    return part, b"".join(bodies)
                part += 1
                offset = frame[5]  # a part fills its block, so the next frame starts here

    # --- checks ---

    def verify(self, written: int | None = None) -> Iterator[LogFinding]:
        """Walk the whole log; yields what is wrong. Sets `end` and takes `written` as replay()."""
        try:
            base_verify(self)
            for _batch in self.replay(*self.start(), written=written):
                pass
        except LogCorrupted as error:
            yield LogFinding(error.where, error.what)
        if self.end is not None and self.end.state == "torn":
            mark = self.end.mark
            place = place_name(mark.segment_id, mark.offset)
            yield LogFinding(place, self.end.what, is_torn_tail=True)
        for void_id in self.void_ids:
            yield LogFinding(place_name(void_id, 0), "no segment header; the file was never used")

    def _segment_of(self, ordinal: int) -> SegmentHeader:
        index = bisect_right(self.segments, ordinal, key=lambda header: header.first_ordinal)
        if index == 0 and self.base is not None:
            raise HistoryGivenUp(ordinal, self.base.first_ordinal)
        if index == 0:
            raise NotFound(f"there is no commit with ordinal {ordinal} in the oplog")
        return self.segments[index - 1]

    def position(self, segment_id: int) -> int:
        """Which of `segments` has this id. Raises LogCorrupted."""
        for index, header in enumerate(self.segments):
            if header.id == segment_id:
                return index
        raise LogCorrupted(place_name(segment_id, 0), "this segment is missing or damaged")

    def path(self, segment_id: int) -> str:
        """Where a segment's file is."""
        return segment_path(self.directory, segment_id)
