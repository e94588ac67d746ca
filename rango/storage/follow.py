"""Reading on in a log that other processes append to.

Terms       mark: see storage/oplog.py. To follow: to read from a mark up to an ordinal that
            somebody has appended; what lies behind it may be half written and is not looked at.
Invariants  I-16. The ordinal comes from the shared words, which move only after its frame was
            written.
Failure     A log that does not reach the ordinal: LogCorrupted; it was there a moment ago.
Sources     architecture section 3.
"""

from __future__ import annotations

from collections.abc import Iterator

from rango._ext.appender import Appender
from rango._ext.log_follow import appender_follow
from rango._ext.near import Near
from rango._ext.segment import SegmentHeader
from rango._ext.segment_scan import Scanner
from rango._ext.shared import Shared
from rango._ext.vfs import VFS_READ, VFS_WRITE
from rango.errors import LogCorrupted
from rango.storage.oplog import Commit, Oplog
from rango.storage.segment import (
    LogMark,
    header_bytes,
    io_named,
    opened,
    place_name,
    scanner_for,
    segment_ids,
)


class Follower:
    """How far one process has read in the log that others write."""

    def __init__(self, log: Oplog, mark: LogMark) -> None:
        self.log = log
        self.mark = mark
        self.is_closed = False
        """The last frame is a closed frame."""
        self.headers: list[SegmentHeader] = []
        """Of the segments that the last read() went through, without the first one."""
        self.near = Near()
        """Takes over a few commits to the same segment, and is the lock over all following."""
        self._near: Scanner | None = None
        self._near_fd = -1

    def approach(self, keys: int) -> None:
        """Keep the segment of the mark open for `near`. Raises IoFailed.

        `keys`: the generation of the keys that are known here.
        """
        log, mark = self.log, self.mark
        header = log.segments[log.position(mark.segment_id)]
        if self._near is None or self._near.segment_id != header.id:
            self.close()
            with io_named(f"opening {log.path(header.id)}"):
                self._near_fd = log.vfs.open(log.path(header.id), VFS_READ)
        self._near = scanner_for(log.vfs, self._near_fd, log.keyring, header, mark, is_point=True)
        self.near.approach(self._near, keys)

    def leave(self) -> None:
        """Let the mark be where `near` has come to."""
        near = self._near
        if near is not None:
            self.mark = LogMark(near.segment_id, near.end_offset, near.end_ordinal, near.end_chain)

    def close(self) -> None:
        """Close what is kept open. Idempotent."""
        fd, self._near_fd, self._near = self._near_fd, -1, None
        self.near.approach(None, 0)
        if fd >= 0:
            self.log.vfs.close(fd)

    def read(
        self, written: int, segment_id: int = 0, *, is_point: bool = True
    ) -> Iterator[list[Commit]]:
        """The commits up to the ordinal `written`, and on to this segment, which others began.

        `is_point`: read single blocks, for a few commits.

        Raises LogCorrupted, IoFailed.
        """
        log, mark = self.log, self.mark
        header = log.segments[log.position(mark.segment_id)]
        self.headers = []
        while True:
            with opened(log.vfs, log.path(header.id)) as fd:
                scanner = scanner_for(
                    log.vfs, fd, log.keyring, header, mark, is_point=is_point, stop=written
                )
                while not scanner.is_ended:
                    if batch := scanner.batch():
                        yield batch
            mark = LogMark(header.id, scanner.end_offset, scanner.end_ordinal, scanner.end_chain)
            if mark.ordinal >= written and mark.segment_id >= segment_id:
                break
            header = successor(log, header, mark)
            self.headers.append(header)
            mark = log.cross(scanner, header)
        self.mark = mark
        self.is_closed = scanner.is_closed


def successor(log: Oplog, header: SegmentHeader, mark: LogMark) -> SegmentHeader:
    """The segment that goes on behind a mark at the end of another one."""
    for segment_id in segment_ids(log.vfs, log.directory):
        if segment_id > header.id:
            data = header_bytes(log.vfs, log.directory, segment_id)
            found = SegmentHeader.unpack(data, log.keyring)
            if found is not None and found.predecessor == header.id:
                return found
    raise LogCorrupted(
        place_name(mark.segment_id, mark.offset),
        f"no frame and no segment continues ordinal {mark.ordinal}, but more was written",
    )


def appender_behind(log: Oplog, mark: LogMark, shared: Shared, *, is_closed: bool) -> Appender:
    """An appender that goes on behind a mark, which is where all processes have come to.

    Under the append lock. Raises IoFailed.
    """
    header = log.segments[-1]
    with io_named(f"opening {log.path(header.id)}"):
        fd = log.vfs.open(log.path(header.id), VFS_WRITE)
    try:
        with io_named("reading the size of the oplog"):
            size = log.vfs.size(fd)
        made = Appender(
            log.vfs,
            log.keyring,
            log.directory,
            log.segments,
            max([header.id, *log.void_ids]) + 1,
            fd,
            mark.offset,
            mark.ordinal,
            min(shared.durable, mark.ordinal),
            mark.chain,
            size,
            segment_size_max=log.segment_size_max,
            shared=shared,
        )
        appender_follow(made, [], -1, mark.offset, mark.ordinal, mark.chain, is_closed)
    except BaseException:
        log.vfs.close(fd)
        raise
    return made
