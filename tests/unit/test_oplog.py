"""The oplog as files: replay, the end of a log (I-11), adopting a tail (I-17), damage, salvage."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rango._ext.appender import Appender
from rango._ext.frame import header_pack
from rango._ext.segment import SegmentHeader
from rango._ext.vfs import PythonVfs
from rango.errors import FormatTooNew, IoFailed, LogCorrupted, LowDisk, NotFound
from rango.storage.segment import LogFinding, salvage
from tests.reference import frame as twin
from tests.unit.log_case import FOLDER, LogCase, StubKeyring
from tests.unit.memory_disk import MemoryDisk

BLOCK = 65536
BODIES = [b"one", b"", b"three" * 20, b"four", b"five" * 9]


def written(*, is_flushed: bool, secret: bytes | None = None) -> tuple[LogCase, list[int]]:
    """A short log, cut behind its last frame, and where each frame starts and the log ends."""
    case = LogCase(StubKeyring(secret))
    appender = case.create()
    places = []
    for body in BODIES:
        places.append(appender.position)
        appender.append_bytes(body)
        if is_flushed:
            appender.flush()
    del case.data()[appender.position :]
    return case, [*places, appender.position]


def works_after(case: LogCase, expected: list[bytes]) -> None:
    """Adopt, append, and read again: the log goes on behind what was found."""
    appender = case.log.adopt()
    appender.append_bytes(b"more")
    appender.append_closed()
    appender.close()
    assert case.bodies() == [*expected, b"more"]
    assert list(case.log.verify()) == []


def segment_names(case: LogCase) -> list[str]:
    return sorted(name for name in case.disk.names if name.endswith(".rgo"))


# --- every byte ---


@pytest.mark.parametrize("secret", [None, b"k" * 32])
@pytest.mark.parametrize("is_flushed", [True, False])
def test_a_log_cut_at_any_byte_is_a_prefix(is_flushed: bool, secret: bytes | None) -> None:
    whole, places = written(is_flushed=is_flushed, secret=secret)
    data = bytes(whole.data())
    frames = [twin.frame_of(data, place) for place in places[:-1]]
    ends = [frame.offset + len(frame.raw) for frame in frames if frame]
    for size in range(len(data) + 1):
        case = LogCase(whole.keyring)
        case.disk.folders.add(FOLDER)
        vfs = PythonVfs(case.disk)
        vfs.write(vfs.open(f"{FOLDER}/{1:016d}.rgo", 3), data[:size], 0)
        if size < 136:
            with pytest.raises(LogCorrupted):
                case.open()
            continue
        expected = BODIES[: sum(end <= size for end in ends)]
        assert case.bodies() == expected
        assert case.log.end is not None
        behind = data[case.log.end.mark.offset : size]
        assert case.log.end.state == ("torn" if any(behind) else "clean")
        if size % 7 == 0:
            works_after(case, expected)


@pytest.mark.parametrize("secret", [None, b"k" * 32])
def test_a_flipped_byte_in_a_durable_log_is_found_or_torn_at_the_end(secret: bytes | None) -> None:
    whole, places = written(is_flushed=True, secret=secret)
    clean = bytes(whole.data())
    last = places[-2]
    counts = {"corrupted": 0, "torn": 0, "padding": 0}
    for at in range(len(clean)):
        whole.data()[:] = clean
        whole.data()[at] ^= 1 << at % 8
        try:
            bodies = whole.bodies()
        except LogCorrupted as error:
            assert at < last
            assert error.where.startswith("oplog/")
            counts["corrupted"] += 1
            continue
        end = whole.log.end
        assert end is not None
        if bodies == BODIES:
            counts["padding"] += 1  # zeros between frames belong to nobody
        else:
            assert at >= last and bodies == BODIES[:-1] and end.state == "torn"
            counts["torn"] += 1
    assert counts["torn"] == 84 + len(BODIES[-1])
    assert counts["padding"] == sum(-(84 + len(body)) % 8 for body in BODIES)


def test_a_flipped_byte_in_an_unflushed_log_is_a_torn_tail() -> None:
    whole, places = written(is_flushed=False)
    clean = bytes(whole.data())
    for at in range(136, len(clean), 3):
        whole.data()[:] = clean
        whole.data()[at] ^= 0x40
        bodies = whole.bodies()
        index = sum(place <= at for place in places) - 1
        assert bodies in (BODIES, BODIES[:index])


def test_a_flipped_byte_in_a_closed_log_never_gives_a_wrong_body() -> None:
    whole, _ = written(is_flushed=True)
    appender = whole.reopen()
    appender.append_closed()
    clean = bytes(whole.data())[: appender.position]
    for at in range(0, len(clean), 5):
        whole.data()[:] = clean
        whole.data()[at] ^= 0x11
        try:
            assert whole.bodies() == BODIES
        except LogCorrupted:
            assert at < appender.position - 88


# --- frames in the wrong place ---


def test_swapped_and_moved_frames_are_not_taken() -> None:
    for source, target in [(0, 1), (1, 0), (3, 4), (2, 4), (4, 2)]:
        case, places = written(is_flushed=True)
        data = case.data()
        piece = bytes(data[places[source] : places[source + 1]])
        room = places[target + 1] - places[target]
        data[places[target] : places[target] + min(len(piece), room)] = piece[:room]
        if target == len(BODIES) - 1:
            assert case.bodies() == BODIES[:-1]
        else:
            with pytest.raises(LogCorrupted):
                case.bodies()


def test_a_frame_copied_behind_the_end_is_not_taken() -> None:
    case, places = written(is_flushed=True)
    case.data().extend(case.data()[places[3] : places[4]])
    assert case.bodies() == BODIES
    assert case.log.end is not None and case.log.end.state == "torn"
    works_after(case, BODIES)


def test_frames_of_another_database_are_not_taken() -> None:
    case, places = written(is_flushed=True)
    other = StubKeyring()
    other.database_id = bytes(16)
    with pytest.raises(LogCorrupted, match="another database"):
        LogCase(other, case.disk).bodies()
    assert places


def test_another_history_at_the_mark_is_corruption() -> None:
    case, _ = written(is_flushed=True)
    log = case.open()
    batches = list(log.replay(*log.start()))
    assert len(batches[0]) == 5
    third = batches[0][3][1] & 0xFFFFFFFF  # the place after ordinal 3
    with pytest.raises(LogCorrupted, match="another history"):
        list(log.replay(1, third, 3, b"x" * 32))
    with pytest.raises(LogCorrupted, match="does not reach"):
        list(log.replay(1, third, 4, b"x" * 32))
    with pytest.raises(LogCorrupted, match="does not reach"):
        list(log.replay(1, 1 << 20, 77, b"x" * 32))
    with pytest.raises(LogCorrupted, match="missing"):
        list(log.replay(2, 136, 3, b"x" * 32))
    with pytest.raises(LogCorrupted, match="another history"):
        list(log.replay(1, 136, 0, b"x" * 32))


def test_replay_from_a_mark_gives_the_rest() -> None:
    case = LogCase(segment_size_max=700)
    appender = case.create()
    marks = [appender.mark()]
    for number in range(30):
        appender.append_bytes(bytes([number]) * number * 9)
        marks.append(appender.mark())
    appender.flush()
    log = case.open()
    for number, mark in enumerate(marks):
        rest = [commit for batch in log.replay(*mark, must_reach=30) for commit in batch]
        assert [ordinal for ordinal, _, _ in rest] == list(range(number + 1, 31))
        assert log.end is not None and tuple(log.end.mark) == marks[-1]
    with pytest.raises(LogCorrupted, match="31 was durable"):
        list(log.replay(*marks[3], must_reach=31))


# --- segments ---


def many_segments() -> LogCase:
    case = LogCase(segment_size_max=500)
    appender = case.create()
    for number in range(12):
        appender.append_bytes(bytes([number]) * 100)
    appender.flush()
    assert len(segment_names(case)) == 6
    return case


def test_a_missing_segment_is_corruption() -> None:
    names = segment_names(many_segments())
    for name in names[:-1]:
        case = many_segments()
        del case.disk.names[name]
        with pytest.raises(LogCorrupted, match="missing"):
            case.open()


def test_a_missing_last_segment_is_found_by_what_must_be_reached() -> None:
    case = many_segments()
    del case.disk.names[segment_names(case)[-1]]
    log = case.open()
    with pytest.raises(LogCorrupted, match="12 was durable"):
        list(log.replay(*log.start(), must_reach=12))


def test_copied_and_swapped_segments_are_corruption() -> None:
    case = many_segments()
    names = segment_names(case)
    copy = f"{FOLDER}/{9:016d}.rgo"
    case.disk.names[copy] = case.disk.names[names[2]]
    with pytest.raises(LogCorrupted, match="copied or renamed"):
        case.open()
    del case.disk.names[copy]
    files = case.disk.names
    files[names[1]], files[names[2]] = files[names[2]], files[names[1]]
    with pytest.raises(LogCorrupted, match="copied or renamed"):
        case.open()


def test_a_torn_end_of_an_older_segment_is_corruption() -> None:
    case = many_segments()
    data = case.data(3)
    end = SegmentHeader.unpack_unproven(bytes(case.data(4))).predecessor_end  # type: ignore[union-attr]
    data[end - 20] ^= 1
    with pytest.raises(LogCorrupted, match="segment 4 goes on"):
        case.bodies()


@pytest.mark.parametrize("size", [0, 10, 136, 4096])
def test_a_void_segment_is_skipped_and_its_id_is_not_reused(size: int) -> None:
    case = many_segments()
    bodies = case.bodies()
    void = f"{FOLDER}/{7:016d}.rgo"
    vfs = PythonVfs(case.disk)
    vfs.write(vfs.open(void, 3), b"\x01" * size, 0)
    appender = case.reopen()
    more = [bytes(200), bytes(201), bytes(202)]
    for body in more:
        appender.append_bytes(body)
    appender.flush()
    assert [header.id for header in case.log.segments][-2:] == [8, 9]
    assert case.bodies() == [*bodies, *more]
    assert [finding.where for finding in case.log.verify()] == [f"oplog/{7:016d}.rgo:0"]


def test_a_damaged_header_of_a_used_segment_is_corruption() -> None:
    for at in range(136):
        case = many_segments()
        case.data(6)[at] ^= 1
        with pytest.raises(LogCorrupted):
            case.bodies()


def test_a_newer_format_is_refused() -> None:
    for at in (8, 12):
        case, _ = written(is_flushed=True)
        data = case.data()
        data[at] = 2
        data[120:136] = case.keyring.segment_mac(1, bytes(data[:120]))
        with pytest.raises(FormatTooNew):
            case.open()


def test_an_unfinished_creation_is_removed() -> None:
    case, _ = written(is_flushed=True)
    vfs = PythonVfs(case.disk)
    vfs.write(vfs.open(f"{FOLDER}/{2:016d}.rgo.new", 3), b"junk", 0)
    assert case.bodies() == BODIES
    case.log.adopt()
    assert not [name for name in case.disk.names if name.endswith(".new")]


# --- the tail ---


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
    case.disk.fault = lambda operation, path, size: errno.EIO if operation == "flush" else None
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
    appender: Appender | None = case.create()
    for _ in range(choice.randint(2, 6)):
        for _ in range(choice.randint(0, 12)):
            assert appender is not None
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


# --- finding ---


def test_every_ordinal_is_found() -> None:
    case = LogCase(segment_size_max=300_000)
    appender = case.create()
    choice = random.Random(7)
    bodies = {}
    for _ in range(300):
        body = choice.randbytes(choice.choice([0, 50, 400, 5000, 33_000, 70_000]))
        bodies[appender.append_bytes(body)] = body
    appender.append_closed()
    log = case.open()
    places = {ordinal: lsn for batch in log.replay(*log.start()) for ordinal, lsn, _ in batch}
    assert log.end is not None and len(log.segments) > 5
    for ordinal in range(1, log.end.mark.ordinal + 1):
        if ordinal in bodies:
            assert log.read_commit(ordinal) == bodies[ordinal]
        else:
            with pytest.raises(NotFound):
                log.read_commit(ordinal)  # a part of a commit, or the closed frame
    one = next(ordinal for ordinal, body in bodies.items() if len(body) <= 5000)
    segment_id, offset = log.find(one)
    assert segment_id << 32 | offset == places[one]
    for ordinal in (0, log.end.mark.ordinal + 1):
        with pytest.raises(NotFound):
            log.find(ordinal)


def test_a_damaged_block_start_does_not_hide_other_commits() -> None:
    case = LogCase()
    appender = case.create()
    for number in range(40):
        appender.append_bytes(bytes([number]) * 9000)
    case.data()[2 * BLOCK + 3] ^= 1
    log = case.open()
    assert log.read_commit(36) == bytes([35]) * 9000
    assert log.read_commit(3) == bytes([2]) * 9000


# --- salvage ---


def test_salvage_finds_what_is_intact_and_names_what_is_lost() -> None:
    case, places = written(is_flushed=True)
    case.data()[places[1] + 70] ^= 1
    case.data()[places[3]] ^= 1
    lost: list[LogFinding] = []
    found = list(salvage(PythonVfs(case.disk), "/db", case.keyring, lost))
    assert [(ordinal, body) for _, ordinal, body in found] == [
        (1, BODIES[0]), (3, BODIES[2]), (5, BODIES[4]),
    ]  # fmt: skip
    assert [lsn & 0xFFFFFFFF for lsn, _, _ in found] == [places[0], places[2], places[4]]
    assert len(lost) == 2
    assert all("was expected" in finding.what for finding in lost)


def test_salvage_reads_around_missing_segments_and_damaged_headers() -> None:
    case = many_segments()
    names = segment_names(case)
    del case.disk.names[names[1]]
    case.data(4)[40] ^= 1  # the predecessor's id: nothing that the key depends on
    case.data(5)[0] ^= 1
    lost: list[LogFinding] = []
    found = [ordinal for _, ordinal, _ in salvage(PythonVfs(case.disk), "/db", case.keyring, lost)]
    assert found == [1, 2, 5, 6, 7, 8, 11, 12]
    assert len(lost) == 4


def test_salvage_reports_a_commit_without_its_parts() -> None:
    case = LogCase()
    appender = case.create()
    appender.append_bytes(bytes(200_000))
    appender.append_bytes(b"last")
    case.data()[BLOCK + 100] ^= 1
    lost: list[LogFinding] = []
    found = [body for _, _, body in salvage(PythonVfs(case.disk), "/db", case.keyring, lost)]
    assert found == [b"last"]
    assert any("lacks parts" in finding.what for finding in lost)


def test_adopt_needs_a_replay() -> None:
    case, _ = written(is_flushed=True)
    with pytest.raises(AssertionError, match="replay"):
        case.open().adopt()
    assert isinstance(case.disk, MemoryDisk)
