"""Reading the commits of a log in order, from any ordinal on, while others append to it.

Terms       mark, segment, commit: see storage/oplog.py. Proof: see _ext/commit_walk.pyx.
Invariants  I-16: the caller says up to which ordinal commits are whole; what lies behind is not
            looked at. Tags and the chain are verified.
            A descriptor is kept open only on the segment that is appended to: a sealed one may be
            rewritten by a purge, or go, and is opened anew for each piece that is read.
            One thread at a time.
Failure     LogCorrupted, IoFailed, NotFound (the segment is gone): the mark stays at the last
            commit that was handed out, and reading may be tried again.
Sources     ADR-0030.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from rango._ext.commit_walk import commit_reach, commits_read, definitions_read
from rango._ext.layout import SEGMENT_HEADER_SIZE
from rango._ext.segment import SegmentHeader
from rango._ext.segment_scan import Scanner
from rango._ext.vfs import VFS_READ, fork_count
from rango.errors import NotFound
from rango.storage.follow import successor
from rango.storage.oplog import Oplog
from rango.storage.segment import LogMark, io_named, scanner_for

PIECE_SIZE: Final = 262_144
"""Bytes of commits that are read at a time, at least one commit."""

Definition = tuple[int, int, bytes]
"""Operation, tree, definition."""


class ReadCommit(NamedTuple):
    """One commit of the log."""

    ordinal: int
    first_ordinal: int
    body: bytes
    proof: bytes
    """The first bytes of the chain value after it."""


class LogStream:
    """Reads on from a mark."""

    def __init__(self, log: Oplog, mark: LogMark) -> None:
        self.log = log
        self.mark = mark
        """Behind what was handed out."""
        self._headers = list(log.segments)
        self._scanner: Scanner | None = None
        self._fd = -1
        self._forks = fork_count()

    def read(self, ordinal: int, newest_segment: int) -> list[ReadCommit]:
        """Some commits, none behind `ordinal`, which was written; [] when all of them were read.

        `newest_segment`: the one that is appended to.
        """
        while self.mark.ordinal < ordinal:
            with self._intact():
                scanner = self._opened(newest_segment)
                found = commits_read(scanner, ordinal, PIECE_SIZE)
                self._moved(scanner, ordinal, newest_segment)
            if found:
                return [ReadCommit(*each) for each in found]
        return []

    def reach(self, ordinal: int) -> ReadCommit | None:
        """Go on until behind `ordinal`; the commit that has it, None if none ends there."""
        found = None
        while self.mark.ordinal < ordinal:
            with self._intact():
                scanner = self._opened(0)
                found = commit_reach(scanner, ordinal)
                self._moved(scanner, ordinal, 0)
        return None if found is None else ReadCommit(*found, self.mark.chain[:8])

    def definitions(self, ordinal: int) -> list[Definition]:
        """What the commits up to `ordinal` say of trees, from the mark on."""
        found: list[Definition] = []
        while self.mark.ordinal < ordinal:
            with self._intact():
                scanner = self._opened(0)
                found += definitions_read(scanner, ordinal)
                self._moved(scanner, ordinal, 0)
        return found

    @contextmanager
    def _intact(self) -> Iterator[None]:
        """A scanner that was interrupted half-way is not used again."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _moved(self, scanner: Scanner, ordinal: int, newest_segment: int) -> None:
        """Take over how far the scanner came, and go on to the next segment at the end of one."""
        if scanner.segment_id != newest_segment:
            self.close()
        mark = LogMark(
            scanner.segment_id, scanner.end_offset, scanner.end_ordinal, scanner.end_chain
        )
        if scanner.is_ended and mark.ordinal < ordinal:
            self.close()
            mark = self.log.cross(scanner, self._successor(mark))
        self.mark = mark

    def _successor(self, mark: LogMark) -> SegmentHeader:
        """The header of the segment that continues the one of a mark at its end."""
        for header in (*self._headers, *self.log.segments):
            if header.predecessor == mark.segment_id:
                break
        else:
            header = successor(self.log, self._header(mark.segment_id), mark)
        if header not in self._headers:
            self._headers.append(header)
        return header

    def _header(self, segment_id: int) -> SegmentHeader:
        for header in self._headers:
            if header.id == segment_id:
                return header
        raise NotFound(f"segment {segment_id} of the oplog is gone")

    def _opened(self, newest_segment: int) -> Scanner:
        """The scanner at the mark."""
        mark = self.mark
        if self._scanner is not None:
            if self._scanner.segment_id == newest_segment:
                return self._scanner
            self.close()
        log = self.log
        header = self._header(mark.segment_id)
        path = log.path(header.id)
        if not log.vfs.exists(path):
            raise NotFound(f"segment {header.id} of the oplog is gone")
        with io_named(f"opening {path}"):
            self._fd = log.vfs.open(path, VFS_READ)
        is_newest = header.id == newest_segment
        self._scanner = scanner_for(
            log.vfs, self._fd, log.keyring, header, mark, is_point=is_newest
        )
        return self._scanner

    def close(self) -> None:
        """Close the segment. May be called again, and read on after."""
        fd, self._fd, self._scanner = self._fd, -1, None
        # in a forked child the number is another file's
        if fd >= 0 and self._forks == fork_count():
            self.log.vfs.close(fd)

    def __del__(self) -> None:
        self.close()


def oldest_ordinal(log: Oplog) -> int:
    """The first ordinal whose commit the log still has, one by one."""
    return log.segments[0].first_ordinal


def nearest_mark(log: Oplog, ordinal: int, known: list[LogMark]) -> LogMark:
    """The last place not behind `ordinal` from which the log can be read: the start of a segment,
    or one of `known`. Raises NotFound if the log begins later.
    """
    marks = [
        LogMark(each.id, SEGMENT_HEADER_SIZE, each.first_ordinal - 1, each.chain)
        for each in log.segments
    ]
    fit = [each for each in [*marks, *known] if each.ordinal <= ordinal]
    if not fit:
        raise NotFound(f"the oplog begins behind ordinal {ordinal}")
    return max(fit, key=lambda each: (each.ordinal, each.segment_id))
