"""The end of a log: torn tails, adopting them (I-17), damage (I-11), crashes anywhere."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rango._ext.frame import header_pack
from rango.errors import IoFailed, LogCorrupted, LowDisk
from tests.unit.log_case import BODIES, FOLDER, LogCase, StubKeyring, works_after, written
from tests.unit.memory_disk import failing


def test_reading_writes_nothing() -> None:
    case, places = written(is_flushed=False)
    del case.data()[places[-1] - 20 :]
    case.disk.calls.clear()
    assert case.bodies() == BODIES[:-1]
    assert list(case.log.verify())
    assert case.log.read_commit(1) == b"one"
    assert case.disk.calls == []


def test_parts_without_their_commit_are_dropped_and_kept_aside() -> None:
    case = LogCase()
    appender = case.create()
    appender.append_bytes(b"first")
    start = appender.position
    appender.append_bytes(random.Random(5).randbytes(200_000))
    tail = bytes(case.data()[start : start + 150_000])
    del case.data()[start + 150_000 :]
    assert case.bodies() == [b"first"]
    end = case.log.end
    assert end is not None
    assert (end.state, end.mark.offset, end.mark.ordinal) == ("torn", start, 1)
    appender = case.log.adopt()
    assert case.log.cut_path == f"{FOLDER}/{1:016d}-{start}.cut"
    assert bytes(case.disk.names[case.log.cut_path].data) == tail
    assert not any(case.data()[start:])
    assert appender.append_bytes(b"second") == 2
    assert case.bodies() == [b"first", b"second"]


def test_an_earlier_cut_is_never_overwritten() -> None:
    case, places = written(is_flushed=True)
    for _ in range(3):
        del case.data()[places[-1] :]
        case.data().extend(b"garbage!")
        case.bodies()
        case.log.adopt()
    cuts = [name for name in case.disk.names if name.endswith(".cut")]
    assert len(cuts) == 3


def test_a_tail_that_may_be_in_the_cache_only_is_written_again_before_anything_follows() -> None:
    # scenario 1: the writer's flush failed, the pages are clean and not on the medium
    case = LogCase()
    appender = case.create()
    appender.append_bytes(b"durable")
    appender.flush()
    appender.append_bytes(b"cache only")
    case.disk.fault = failing("flush", errno.EIO)
    with pytest.raises(IoFailed):
        appender.flush()
    case.disk.fault = None
    again = case.reopen()
    assert again.durable == 2
    again.append_bytes(b"next")
    again.flush()
    case.disk = case.disk.after_power_cut(random.Random(0))
    assert case.bodies() == [b"durable", b"cache only", b"next"]


def test_damage_before_a_durable_commit_is_named() -> None:
    case, places = written(is_flushed=True)
    case.data()[places[2] + 70] ^= 1
    with pytest.raises(LogCorrupted) as caught:
        case.bodies()
    assert caught.value.where == f"oplog/{1:016d}.rgo:{places[2]}"
    assert "ordinal 3" in caught.value.what
    findings = list(case.log.verify())
    assert [finding.where for finding in findings] == [caught.value.where]


def test_damage_across_blocks_is_found() -> None:
    case = LogCase()
    appender = case.create()
    bodies = [
        random.Random(size).randbytes(size) for size in (30_000, 40_000, 100_000, 500, 30_000)
    ]
    for body in bodies:
        appender.append_bytes(body)
        appender.flush()
    clean = bytes(case.data())
    for at in range(200, appender.position - 31_000, 5_003):
        case.data()[:] = clean
        case.data()[at] ^= 1
        try:
            assert case.bodies() == bodies
        except LogCorrupted:
            continue
        assert clean[at] == 0 or at > appender.position - 31_000


def test_probing_a_hostile_tail_costs_one_pass() -> None:
    case, places = written(is_flushed=True)
    end = places[-1]
    tail = bytearray(4_000_000)
    forged = header_pack(60_000, 2, 99, 99, 98, b"p" * 16, b"n" * 12)
    for at in range(0, len(tail) - 100, 72):
        tail[at : at + 68] = forged
    case.data()[end:] = tail
    with pytest.raises(LogCorrupted, match="more than an honest log"):
        case.bodies()


# --- crashes ---


def crash_everywhere(prepare: Callable[[], LogCase], expected: list[bytes], seed: int) -> int:
    """Let adopt() fail at each of its calls, cut the power, and run it again."""
    number = 0
    while True:
        case = prepare()
        assert case.bodies() == expected
        left = [number]

        def fault(operation: str, path: str, size: int, left: list[int] = left) -> int | None:
            left[0] -= 1
            return errno.EIO if left[0] < 0 else None

        case.disk.fault = fault
        try:
            case.log.adopt()
        except IoFailed:
            case.disk.fault = None
            case.disk = case.disk.after_power_cut(random.Random(seed + number))
            assert case.bodies()[: len(expected)] == expected
            works_after(case, expected)
            number += 1
            continue
        return number


def test_adopting_can_crash_anywhere() -> None:
    def torn() -> LogCase:
        case, places = written(is_flushed=True)
        case.data().extend(b"torn tail " * 100)
        case.data()[places[-1]] = 0
        file = next(iter(case.disk.names.values()))
        file.synced = bytes(file.data)
        file.pending.clear()
        case.disk.synced_names = dict(case.disk.names)
        return case

    counts = [crash_everywhere(torn, BODIES, seed) for seed in range(40)]
    assert min(counts) >= 5


@given(st.integers(min_value=0, max_value=2**32))
@settings(max_examples=150)
def test_power_cuts_lose_nothing_that_was_acknowledged(seed: int) -> None:
    choice = random.Random(seed)
    secret = b"k" * 32 if choice.random() < 0.2 else None
    case = LogCase(StubKeyring(secret), segment_size_max=choice.choice([600, 5000, 1 << 26]))
    attempted: list[bytes] = []
    acknowledged = 0
    appender = case.create()
    for _ in range(choice.randint(2, 6)):
        for _ in range(choice.randint(0, 12)):
            if choice.random() < 0.3:
                appender.flush()
                acknowledged = len(attempted)
            size = choice.choice([0, 30, 400, 3000, 33_000, 70_000, 150_000])
            attempted.append(choice.randbytes(choice.randint(0, size)))
            appender.append_bytes(attempted[-1])
        if choice.random() < 0.3:
            appender.append_closed()
            acknowledged = len(attempted)
        if choice.random() < 0.7:
            case.disk = case.disk.after_power_cut(choice)
        else:
            case.disk = case.disk.after_kill()
        found = case.bodies()
        assert len(found) >= acknowledged
        assert found == attempted[: len(found)]
        attempted = found
        appender = case.log.adopt()
        # what was found was shown to somebody: it must survive the next cut as well
        acknowledged = len(found)


@given(st.integers(min_value=0, max_value=2**32))
@settings(max_examples=60)
def test_failing_calls_never_lose_or_invent_a_commit(seed: int) -> None:
    choice = random.Random(seed)
    case = LogCase(segment_size_max=choice.choice([600, 5000]))
    appender = case.create()
    left = choice.randint(0, 60)

    def fault(operation: str, path: str, size: int) -> int | None:
        nonlocal left
        left -= 1
        return choice.choice([errno.EIO, errno.ENOSPC]) if left == 0 else None

    case.disk.fault = fault
    done: list[bytes] = []
    body = b""
    flushed = 0
    for _ in range(30):
        body = choice.randbytes(choice.choice([10, 1000, 40_000, 90_000]))
        try:
            appender.append_bytes(body)
            done.append(body)
            if choice.random() < 0.5:
                appender.flush()
                flushed = len(done)
        except LowDisk:
            continue
        except IoFailed:
            break
    case.disk.fault = None
    case.disk = case.disk.after_power_cut(choice) if choice.random() < 0.5 else case.disk
    found = case.bodies()
    assert len(found) >= flushed
    assert found == [*done, body][: len(found)]
    appender = case.log.adopt()
    appender.append_bytes(b"end")
    assert case.bodies() == [*found, b"end"]
