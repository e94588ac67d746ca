"""Commits with their proofs, and definitions, beside what the twin of the frame format reads."""

from __future__ import annotations

import pytest

from rango._ext.commit_walk import PROOF_SIZE, commit_reach, commits_read, definitions_read
from rango._ext.segment_scan import Scanner
from rango._ext.vfs import VFS_READ
from rango.errors import LogCorrupted, NotFound
from rango.storage.log_stream import LogStream, nearest_mark, oldest_ordinal
from rango.storage.segment import LogMark, scanner_for
from tests.reference.frame import chain_of, frame_of
from tests.unit.log_case import LogCase, StubKeyring


def proofs(case: LogCase) -> dict[int, bytes]:
    """By ordinal, the first bytes of the chain value after a frame, as the twin computes it."""
    data = bytes(case.data())
    header = case.open().segments[0]
    chain, offset, found = header.chain, 136, {}
    while offset < len(data):
        frame = frame_of(data, offset)
        if frame is None:
            boundary = (offset + 65535) // 65536 * 65536
            frame = frame_of(data, boundary)
            if frame is None:
                break
            offset = boundary
        chain = chain_of(chain, frame.raw)
        found[frame.ordinal] = chain[:PROOF_SIZE]
        offset = frame.end
    return found


@pytest.fixture
def case() -> LogCase:
    case = LogCase(StubKeyring(b"s" * 32))
    appender = case.create()
    for size in (10, 200_000, 1, 65_000, 300, 2):
        appender.append_bytes(bytes([1]) + size.to_bytes(4, "little") + b"x" * size)
    appender.append_closed()
    appender.append_bytes(b"after")
    appender.flush()
    appender.close()
    return case


def scanner(case: LogCase) -> Scanner:
    log = case.open()
    header = log.segments[0]
    fd = log.vfs.open(log.path(header.id), VFS_READ)
    return scanner_for(log.vfs, fd, log.keyring, header)


@pytest.mark.parametrize("size_max", [1, 1000, 1 << 20])
def test_commits_come_with_their_proofs(case: LogCase, size_max: int) -> None:
    expected = case.commits()
    walk, found = scanner(case), []
    while batch := commits_read(walk, expected[-1][0], size_max):
        found += batch
    assert [(each[0], each[2], each[1]) for each in found] == [
        (ordinal, body, first) for ordinal, _lsn, body, first in expected
    ]
    by_ordinal = proofs(case)
    assert [each[3] for each in found] == [by_ordinal[each[0]] for each in found]


def test_nothing_behind_the_ordinal_is_looked_at(case: LogCase) -> None:
    expected = case.commits()
    walk = scanner(case)
    for ordinal, _lsn, body, first in expected:
        ((number, start, content, _proof),) = commits_read(walk, ordinal, 1 << 30)
        assert (number, start, content) == (ordinal, first, body)
        assert commits_read(walk, ordinal, 1 << 30) == []


def test_a_commit_is_reached_from_the_start(case: LogCase) -> None:
    for ordinal, _lsn, body, first in case.commits():
        walk = scanner(case)
        assert commit_reach(walk, ordinal) == (ordinal, first, body)
        assert walk.end_ordinal == ordinal
    # the ordinal of a closed frame is no commit's
    closed = case.commits()[-1][0] - 1
    assert commit_reach(scanner(case), closed) is None


def test_a_body_that_is_none_is_refused(case: LogCase) -> None:
    with pytest.raises(LogCorrupted, match="malformed"):
        definitions_read(scanner(case), 99)


def test_a_stream_reads_from_the_nearest_mark_and_says_when_there_is_none(case: LogCase) -> None:
    log = case.open()
    last = case.commits()[-1]
    start = nearest_mark(log, last[0], [])
    assert (start.ordinal, oldest_ordinal(log)) == (0, 1)
    stream = LogStream(log, start)
    assert stream.reach(last[0] - 1) is None
    mark = stream.mark
    assert nearest_mark(log, last[0], [mark, LogMark(9, 0, 999, b"")]) == mark
    assert [each.body for each in LogStream(log, mark).read(last[0], 0)] == [last[2]]
    log.segments.clear()
    with pytest.raises(NotFound):
        nearest_mark(log, 5, [])
    with pytest.raises(NotFound):
        LogStream(log, mark).read(last[0], 0)
