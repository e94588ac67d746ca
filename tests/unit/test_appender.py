"""Appending: frames in blocks, one write a commit, shared flushes, full disks, latching."""

from __future__ import annotations

import errno
import os
import random
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rango._ext.seal import Entropy
from rango._ext.vfs import POSIX
from rango.errors import DatabaseClosed, IoFailed, LowDisk
from rango.storage.keyring import Keyring
from rango.storage.oplog import Oplog
from tests.reference import frame as twin
from tests.unit.log_case import LogCase, StubKeyring
from tests.unit.memory_disk import failing

BLOCK = 65536


def twin_commits(case: LogCase, segment_id: int = 1) -> list[tuple[int, int, bytes]]:
    """What the readable twin finds in a segment."""
    data = bytes(case.data(segment_id))
    header = twin.segment_of(data)
    assert case.keyring.segment_mac(header.epoch, header.covered) == header.tag
    key = case.keyring.segment_key(header.id, header.salt, header.epoch)
    return list(twin.commits_of(data, key.open_bytes))


SIZES = st.one_of(
    st.integers(min_value=0, max_value=600),
    st.sampled_from([32767, 32768, 32769, BLOCK - 84, BLOCK - 83, BLOCK, 3 * BLOCK, 200_000]),
    st.integers(min_value=BLOCK - 700, max_value=BLOCK + 100),
)


@given(st.lists(SIZES, max_size=12), st.booleans())
def test_the_twin_reads_what_was_appended(sizes: list[int], is_encrypted: bool) -> None:
    case = LogCase(StubKeyring(b"k" * 32 if is_encrypted else None))
    appender = case.create()
    bodies = [random.Random(size).randbytes(size) for size in sizes]
    ordinals = [appender.append_bytes(body) for body in bodies]
    found = twin_commits(case)
    assert [body for _, _, body in found] == bodies
    assert [ordinal for ordinal, _, _ in found] == ordinals
    assert [lsn & 0xFFFFFFFF for _, lsn, _, _ in case.commits()] == [
        offset for _, offset, _ in found
    ]
    if found:
        assert appender.lsn_of_last == 1 << 32 | found[-1][1]
    assert appender.mark() == tuple(case.log.end.mark)  # type: ignore[union-attr]


def test_one_commit_is_one_write() -> None:
    case = LogCase()
    appender = case.create()
    for size in (10, 40_000, 30_000, 100_000):
        before = case.disk.count("write")
        appender.append_bytes(bytes(size))
        assert case.disk.count("write") == before + 1


def test_short_writes_are_completed() -> None:
    case = LogCase()
    appender = case.create()
    case.disk.is_short = True
    appender.append_bytes(b"x" * 1000)
    case.disk.is_short = False
    assert case.bodies() == [b"x" * 1000]


def test_prewritten_steps_double_and_are_flushed_before_use() -> None:
    case = LogCase()
    appender = case.create()
    sizes = {len(case.data())}
    for _ in range(60):
        appender.append_bytes(bytes(30_000))
        sizes.add(len(case.data()))
    assert sorted(sizes) == [262144, 524288, 1048576, 2097152]
    assert appender.flush_count == 3


def test_one_flush_serves_all_that_is_appended() -> None:
    case = LogCase()
    appender = case.create()
    ordinals = [appender.append_bytes(b"x") for _ in range(5)]
    assert appender.durable == 0
    appender.flush(ordinals[2])
    assert appender.durable == 5
    appender.flush(ordinals[4])
    assert appender.flush_count == 1
    with pytest.raises(ValueError, match="not appended"):
        appender.flush(6)


def test_frames_say_what_was_durable() -> None:
    case = LogCase()
    appender = case.create()
    appender.append_bytes(b"a")
    appender.flush()
    appender.append_bytes(b"b")
    appender.append_bytes(b"c")
    data = bytes(case.data())
    places = [lsn & 0xFFFFFFFF for _, lsn, _, _ in case.commits()]
    frames = [twin.frame_of(data, place) for place in places]
    assert [frame.durable for frame in frames if frame] == [0, 1, 1]


@pytest.mark.parametrize("thread_count", [1, 4, 16])
def test_threads_share_flushes(tmp_path: Path, thread_count: int) -> None:
    keyring = Keyring.create(POSIX, str(tmp_path), None, Entropy())
    log = Oplog.create(POSIX, str(tmp_path), keyring, segment_size_max=200_000)
    list(log.replay(*log.start()))
    appender = log.adopt()
    lock = threading.Lock()
    acknowledged: list[int] = []

    def work() -> None:
        for _ in range(50):
            with lock:
                ordinal = appender.append_bytes(bytes(300))
            appender.flush(ordinal)
            assert appender.durable >= ordinal
            acknowledged.append(ordinal)

    threads = [threading.Thread(target=work) for _ in range(thread_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = 50 * thread_count
    assert sorted(acknowledged) == list(range(1, count + 1))
    assert appender.flush_count <= count + len(log.segments)
    appender.append_closed()
    appender.close()
    log = Oplog.open(POSIX, str(tmp_path), keyring)
    assert sum(map(len, log.replay(*log.start()))) == count


# --- full disks ---


def test_a_full_disk_refuses_and_later_goes_on() -> None:
    case = LogCase()
    appender = case.create()
    appended = []
    case.disk.capacity = 300_000
    with pytest.raises(LowDisk):
        for number in range(100):
            body = bytes([number]) * 30_000
            appender.append_bytes(body)
            appended.append(body)
    assert not appender.is_latched
    assert case.bodies() == appended
    case.disk.capacity = 600_000
    appender.append_bytes(b"later")
    appender.flush()
    assert case.bodies() == [*appended, b"later"]


def test_little_space_is_prewritten_in_a_smaller_step() -> None:
    case = LogCase()
    appender = case.create()
    case.disk.capacity = 262144 + 70_000
    for _ in range(9):
        appender.append_bytes(bytes(30_000))
    assert len(case.bodies()) == 9


def test_a_large_commit_on_a_full_disk_leaves_no_frame_behind() -> None:
    case = LogCase()
    appender = case.create()
    appender.append_bytes(b"first")
    case.disk.capacity = 400_000
    with pytest.raises(LowDisk):
        appender.append_bytes(b"x" * 500_000)
    assert not any(case.data()[appender.position :])
    assert case.bodies() == [b"first"]
    appender.append_bytes(b"second")
    assert case.bodies() == [b"first", b"second"]


def test_a_full_disk_at_a_roll_lets_the_old_segment_go_on() -> None:
    case = LogCase(segment_size_max=1000)
    appender = case.create()
    appender.append_bytes(bytes(900))
    case.disk.fault = failing("create", errno.ENOSPC)
    appender.append_bytes(b"beyond the size")
    assert appender.segment_id == 1
    with pytest.raises(LowDisk):
        appender.append_bytes(bytes(9000))
    case.disk.fault = None
    appender.append_bytes(bytes(9000))
    assert appender.segment_id == 2
    assert case.bodies() == [bytes(900), b"beyond the size", bytes(9000)]
    assert not [name for name in case.disk.names if name.endswith(".new")]


# --- unknown outcomes ---


def test_a_failed_write_latches() -> None:
    case = LogCase()
    appender = case.create()
    appender.append_bytes(b"a")
    case.disk.fault = failing("write", errno.EIO)
    with pytest.raises(IoFailed):
        appender.append_bytes(b"b")
    case.disk.fault = None
    assert appender.is_latched
    with pytest.raises(IoFailed):
        appender.append_bytes(b"c")
    with pytest.raises(IoFailed):
        appender.flush()
    assert case.bodies() == [b"a"]


def test_a_failed_flush_is_never_tried_again() -> None:
    case = LogCase()
    appender = case.create()
    appender.append_bytes(b"a")
    appender.flush()
    ordinal = appender.append_bytes(b"b")
    case.disk.fault = failing("flush", errno.ENOSPC)
    with pytest.raises(IoFailed):
        appender.flush(ordinal)
    case.disk.fault = None
    before = case.disk.count("flush")
    with pytest.raises(IoFailed):
        appender.flush(ordinal)
    with pytest.raises(IoFailed):
        appender.append_bytes(b"c")
    with pytest.raises(IoFailed):
        appender.append_closed()
    assert case.disk.count("flush") == before
    appender.flush(1)  # durable before the failure


def test_an_interrupted_flush_is_repeated() -> None:
    case = LogCase()
    appender = case.create()
    appender.append_bytes(b"a")
    codes = [errno.EINTR, errno.EINTR]
    case.disk.fault = lambda operation, _path, _size: (
        codes.pop() if operation == "flush" and codes else None
    )
    appender.flush()
    assert appender.durable == 1


def test_an_exception_of_the_disk_comes_out_and_latches() -> None:
    class PowerGone(Exception):
        pass

    def fault(operation: str, path: str, size: int) -> int | None:
        raise PowerGone

    case = LogCase()
    appender = case.create()
    case.disk.fault = fault
    with pytest.raises(PowerGone):
        appender.append_bytes(b"a")
    assert appender.is_latched


@pytest.mark.parametrize("operation", ["create", "flush", "rename", "flush_directory", "write"])
def test_a_failed_roll_latches(operation: str) -> None:
    case = LogCase(segment_size_max=1000)
    appender = case.create()
    appender.append_bytes(bytes(2000))
    appender.flush()
    case.disk.fault = failing(operation, errno.EIO)
    with pytest.raises(IoFailed):
        appender.append_bytes(b"next")
    assert appender.is_latched
    case.disk.fault = None
    assert case.bodies() == [bytes(2000)]
    again = case.reopen()
    again.append_bytes(b"next")
    assert case.bodies() == [bytes(2000), b"next"]


# --- rolling ---


def test_rolling_flushes_the_old_and_creates_the_new_in_order() -> None:
    case = LogCase(segment_size_max=1000)
    appender = case.create()
    appender.append_bytes(bytes(2000))
    case.disk.calls.clear()
    appender.append_bytes(b"second")
    new = "0000000000000002.rgo"
    order = [(operation, name) for operation, name, _ in case.disk.calls]
    assert [pair for i, pair in enumerate(order) if i == 0 or order[i - 1] != pair] == [
        ("flush", "0000000000000001.rgo"),
        ("create", new + ".new"),
        ("truncate", new + ".new"),
        ("write", new + ".new"),
        ("flush", new + ".new"),
        ("rename", new),
        ("flush_directory", "oplog"),
        ("write", new),
    ]
    first, second = (twin.segment_of(bytes(case.data(n))) for n in (1, 2))
    assert (second.predecessor, second.first_ordinal) == (1, 2)
    assert second.predecessor_end == 136 + 84 + 2000 + 4
    assert second.chain != first.chain
    assert second.salt != first.salt


def test_segments_end_at_the_frame_limit() -> None:
    case = LogCase()
    appender = case.create()
    limit = 1 << 20
    fd = case.log.vfs.open("/db/oplog/0000000000000001.rgo", 1)
    near = type(appender)(
        case.log.vfs, case.keyring, case.log.directory, case.log.segments, 2, fd,
        136, limit - 1, limit - 1, bytes(32), 262144,
    )  # fmt: skip
    near.append_bytes(b"the last one")
    assert near.segment_id == 1
    near.append_bytes(b"the next one")
    assert near.segment_id == 2


@given(st.lists(st.integers(min_value=0, max_value=9000), max_size=30))
def test_tiny_segments_hold_the_same_commits(sizes: list[int]) -> None:
    case = LogCase(segment_size_max=5000)
    appender = case.create()
    bodies = [random.Random(size).randbytes(size) for size in sizes]
    ordinals = [appender.append_bytes(body) for body in bodies]
    assert case.bodies() == bodies
    headers = case.log.segments
    assert all(b.predecessor == a.id for a, b in pairwise(headers))
    assert [case.log.read_commit(ordinal) for ordinal in ordinals] == bodies


# --- closing ---


def test_closing_writes_one_closed_frame() -> None:
    case = LogCase()
    appender = case.create()
    appender.append_bytes(b"a")
    appender.append_closed()
    assert (appender.ordinal, appender.durable, appender.is_closed) == (2, 2, True)
    appender.append_closed()
    assert appender.ordinal == 2
    assert case.bodies() == [b"a"]
    appender.close()
    appender.close()
    with pytest.raises(DatabaseClosed):
        appender.append_bytes(b"b")


def test_a_closed_frame_is_written_again_with_the_next_commit() -> None:
    case = LogCase()
    appender = case.create()
    appender.append_bytes(b"a")
    appender.append_closed()
    place = appender.position - 88
    case.disk.calls.clear()
    again = case.reopen()
    assert not case.disk.calls  # nothing is written to adopt a closed log
    again.flush()
    assert not case.disk.calls
    before = bytes(case.data()[place : place + 84])
    again.append_bytes(b"b")
    assert case.disk.calls == [("write", "0000000000000001.rgo", 88 + 85)]
    assert case.data()[place : place + 84] == before
    again.flush()
    assert case.bodies() == [b"a", b"b"]


def test_a_closed_frame_is_written_again_before_a_roll() -> None:
    case = LogCase(segment_size_max=500)
    appender = case.create()
    appender.append_bytes(bytes(250))
    appender.append_closed()
    again = case.reopen()
    case.disk.calls.clear()
    again.append_bytes(b"b")
    names = [(operation, size) for operation, _, size in case.disk.calls[:2]]
    assert names == [("write", 84), ("flush", 0)]
    assert case.bodies() == [bytes(250), b"b"]


def test_files_are_private(tmp_path: Path) -> None:
    keyring = Keyring.create(POSIX, str(tmp_path), None, Entropy())
    Oplog.create(POSIX, str(tmp_path), keyring)
    mode = os.stat(tmp_path / "oplog" / "0000000000000001.rgo").st_mode
    assert mode & 0o777 == 0o600
