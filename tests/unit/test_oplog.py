"""The oplog as files: replay, the end of a log (I-11), adopting a tail (I-17), damage, salvage."""

from __future__ import annotations

import random

import pytest

from rango._ext.segment import SegmentHeader
from rango._ext.vfs import PythonVfs
from rango.errors import FormatTooNew, LogCorrupted, NotFound
from rango.storage.segment import LogFinding, salvage
from tests.reference import frame as twin
from tests.unit.log_case import (
    BODIES,
    FOLDER,
    LogCase,
    StubKeyring,
    segment_names,
    works_after,
    written,
)
from tests.unit.memory_disk import MemoryDisk

BLOCK = 65536
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
        assert [ordinal for ordinal, _, _, _ in rest] == list(range(number + 1, 31))
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
    successor = SegmentHeader.unpack_unproven(bytes(case.data(4)))
    assert successor is not None
    data[successor.predecessor_end - 20] ^= 1
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
        data[at] = 128
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
    places = {ordinal: lsn for batch in log.replay(*log.start()) for ordinal, lsn, _, _ in batch}
    assert log.end is not None and len(log.segments) > 5
    for ordinal in range(1, log.end.mark.ordinal + 1):
        if ordinal in bodies:
            assert log.read_commit(ordinal) == bodies[ordinal]
        else:
            # a part names its whole commit
            later = min((last for last in bodies if last > ordinal), default=0)
            if later:
                assert log.read_commit(ordinal) == bodies[later]
    with pytest.raises(NotFound):
        log.read_commit(log.end.mark.ordinal)  # the closed frame
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
