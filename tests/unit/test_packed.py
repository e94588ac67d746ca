"""Packed segments: the same bytes and the same log, from a smaller file."""

from __future__ import annotations

import random

import pytest

from rango._ext import layout
from rango._ext.segment import SegmentHeader
from rango._ext.vfs import PythonVfs
from rango.errors import LogCorrupted, LowDisk
from rango.storage.packed import footer_read
from rango.storage.purge import segment_purge
from rango.storage.segment import LogFinding, frames_for, opened, salvage, scanner_for
from tests.reference import packed as twin
from tests.unit.log_case import FOLDER, LogCase, works_after
from tests.unit.memory_disk import failing
from tests.unit.packed_case import bodies_of, original, packed, retired, sealed, shown

KEYS = pytest.mark.parametrize("secret", [None, b"k" * 32], ids=["plain", "sealed"])


def large() -> list[bytes]:
    """Commits of several frames between small ones, so that there are gaps and parts."""
    chance = random.Random(5)
    bodies = bodies_of(150, 3)
    for at in (10, 60, 61, 140):
        bodies.insert(at, b"large " * chance.randrange(5_000, 40_000))
    bodies.insert(50, chance.randbytes(150_000))
    return bodies


def purged(case: LogCase, word: bytes) -> None:
    """Blank every commit of the first segment that has the word."""

    def blank(body: bytes) -> bytes | None:
        return body.replace(word, bytes(len(word))) if word in body else None

    vfs, mine = PythonVfs(case.disk), retired(case)
    done = segment_purge(
        vfs, FOLDER, case.keyring, mine.header, mine.limit, blank, lambda _id, _digest: None
    )
    assert done.frames
    case.open()


SHAPES = {
    "small": lambda secret: sealed(bodies_of(400, 1), secret),
    "one": lambda secret: sealed([b"only " * 300], secret),
    "empty bodies": lambda secret: sealed([b""] * 2000, secret),
    "closed": lambda secret: sealed(bodies_of(300, 2), secret, closed_every=20),
    "parts and gaps": lambda secret: sealed(large(), secret),
    "never flushed": lambda secret: sealed(bodies_of(300, 4), secret, flush_every=0),
}


@KEYS
@pytest.mark.parametrize("shape", SHAPES)
def test_a_packed_segment_shows_the_bytes_that_it_was_packed_from(
    shape: str, secret: bytes | None
) -> None:
    case = SHAPES[shape](secret)
    before, commits, size = original(case), case.commits(), len(case.data())
    done = packed(case)
    assert done is not None
    assert (done.before, done.after) == (size, len(case.data()))
    assert done.after < len(before) or shape == "one"
    assert shown(case) == before
    # with headers that were read before it, and with new ones
    assert [commit for batch in case.log.replay(*case.log.start()) for commit in batch] == commits
    assert case.commits() == commits
    assert list(case.log.verify()) == []
    assert [each.features for each in case.log.segments] == [layout.SEGMENT_PACKED, 0]


@KEYS
@pytest.mark.parametrize("shape", SHAPES)
def test_the_twin_reads_it_as_well(shape: str, secret: bytes | None) -> None:
    case = SHAPES[shape](secret)
    before, header = original(case), case.log.segments[0]
    packed(case, asked=[1, 7, 10**6])
    keys = (header.id, header.salt, header.epoch)
    data = bytes(case.data())
    frame_key, piece_key = case.keyring.segment_key(*keys), case.keyring.packed_key(*keys)
    assert twin.unpacked(data, frame_key, piece_key) == before
    parts = twin.taken_apart(data)
    assert parts.footer[-2] == (parts.message * 2)[:64]  # what the stub signs with
    assert SegmentHeader.unpack(parts.header, case.keyring) is not None


def test_chain_values_that_were_asked_for_are_told() -> None:
    case = sealed(bodies_of(300, 1), b"k" * 32)
    chains = {}
    for wanted in (1, 2, 150, 299):
        marks = [m for m in walked(case) if m[0] == wanted]
        chains[wanted] = marks[0][1]
    packed(case, asked=[1, 2, 150, 299, 4000])
    parts = twin.taken_apart(bytes(case.data()))
    assert dict(parts.marks) == chains
    mine = retired(case)
    assert mine.end is not None
    assert parts.footer[7:9] == (mine.end.ordinal, mine.end.chain)
    assert parts.footer[5:7] == (300, 300)


def walked(case: LogCase) -> list[tuple[int, bytes]]:
    """The chain value after each commit of the first segment, by the twin."""
    from tests.reference.frame import chain_of, frame_of

    data, out = original(case), []
    at, chain = 136, case.log.segments[0].chain
    while at < len(data):
        frame = frame_of(data, at) or frame_of(data, (at + 65535) // 65536 * 65536)
        assert frame is not None
        chain = chain_of(chain, frame.raw)
        out.append((frame.ordinal, chain))
        at = frame.end
    return out


@KEYS
def test_purged_frames_keep_what_they_count_with(secret: bytes | None) -> None:
    case = sealed(bodies_of(400, 1), secret)
    purged(case, b"budget")
    before, commits = original(case), case.commits()
    assert packed(case) is not None
    assert shown(case) == before
    assert case.commits() == commits
    assert list(case.log.verify()) == []
    assert case.log.segments[0].features == layout.SEGMENT_PACKED | layout.SEGMENT_PURGED
    header = case.log.segments[0]
    keys = (header.id, header.salt, header.epoch)
    whole = twin.unpacked(
        bytes(case.data()), case.keyring.segment_key(*keys), case.keyring.packed_key(*keys)
    )
    assert whole == before
    parts = twin.taken_apart(bytes(case.data()))
    assert parts.purged and len(parts.purged) == parts.footer[4]


@KEYS
def test_what_is_packed_can_be_purged_and_packed_again(secret: bytes | None) -> None:
    case = sealed(bodies_of(400, 1), secret)
    ends = [each[:2] for each in case.commits()]
    packed(case)
    case.open()
    small = len(case.data())
    for word in (b"budget", b"error"):
        purged(case, word)
        assert case.log.segments[0].features == layout.SEGMENT_PURGED
        before = original(case)
        assert packed(case) is not None
        assert shown(case) == before
        case.open()
    assert [each[:2] for each in case.commits()] == ends
    assert not any(b"budget" in body or b"error" in body for body in case.bodies())
    assert list(case.log.verify()) == []
    assert small / 2 < len(case.data()) < 4 * small


def test_it_is_packed_once() -> None:
    case = sealed(bodies_of(200, 1))
    assert packed(case) is not None
    before = bytes(case.data())
    assert packed(case) is None
    assert bytes(case.data()) == before
    assert not any(name.endswith(".new") for name in case.disk.names)


def test_what_is_not_zero_between_frames_keeps_a_segment_as_it_is() -> None:
    case = sealed(large())
    limit = retired(case).limit
    data = case.data()
    ends = [at for at in range(65536, limit, 65536) if data[at - 1] == 0 and data[at - 9] == 0]
    assert ends, "no block ends with a gap"
    data[ends[0] - 1] = 7
    before = bytes(data)
    assert packed(case) is None
    assert bytes(case.data()) == before


@KEYS
def test_what_is_damaged_is_not_packed(secret: bytes | None) -> None:
    whole = sealed(bodies_of(100, 1), secret)
    limit = retired(whole).limit
    chance = random.Random(3)
    for at in (140, 160, limit - 20, *(chance.randrange(136, limit) for _ in range(60))):
        case = sealed(bodies_of(100, 1), secret)
        case.data()[at] ^= 1 << chance.randrange(8)
        before = bytes(case.data())
        try:
            assert packed(case) is None
        except LogCorrupted as error:
            assert "stays as it is" in error.what
        assert bytes(case.data()) == before
        assert not any(name.endswith(".new") for name in case.disk.names)


def test_a_segment_that_leads_elsewhere_is_not_packed() -> None:
    case = sealed(bodies_of(100, 1))
    mine = retired(case)
    assert mine.end is not None
    for end in (
        mine.end._replace(chain=bytes(32)),
        mine.end._replace(ordinal=mine.end.ordinal - 1),
    ):
        from rango.storage.pack import segment_pack
        from tests.unit.packed_case import SIGNER

        with pytest.raises(LogCorrupted, match="do not lead"):
            segment_pack(PythonVfs(case.disk), FOLDER, case.keyring, mine._replace(end=end), SIGNER)


def test_no_space_leaves_it_as_it_is() -> None:
    case = sealed(bodies_of(400, 1))
    before = bytes(case.data())
    case.disk.fault = failing("write", 28)
    with pytest.raises(LowDisk):
        packed(case)
    case.disk.fault = None
    assert bytes(case.data()) == before
    assert not any(name.endswith(".new") for name in case.disk.names)
    assert packed(case) is not None


def test_single_commits_are_found_in_it() -> None:
    case = sealed(large(), b"k" * 32)
    expected = {ordinal: body for ordinal, _lsn, body, _first in case.commits()}
    packed(case)
    for log in (case.log, case.open()):
        for ordinal, body in expected.items():
            assert log.read_commit(ordinal) == body
            assert log.find(ordinal)[0] == (1 if ordinal < max(expected) else 2)


@KEYS
@pytest.mark.parametrize("shape", ["closed", "parts and gaps", "purged"])
def test_single_frames_are_what_a_scanner_makes_of_the_bytes(
    shape: str, secret: bytes | None
) -> None:
    case = sealed(bodies_of(400, 1), secret) if shape == "purged" else SHAPES[shape](secret)
    if shape == "purged":
        purged(case, b"budget")
    packed(case)
    header, vfs = case.open().segments[0], PythonVfs(case.disk)
    with opened(vfs, f"{FOLDER}/{1:016d}.rgo") as fd:
        view = frames_for(vfs, fd, case.keyring, header)
        scanner = scanner_for(vfs, fd, case.keyring, header, is_point=True)
        assert type(view) is not type(scanner)
        last = case.log.segments[1].first_ordinal - 1
        chance = random.Random(1)
        for ordinal in [*range(1, last + 1), *chance.choices(range(1, last + 1), k=200)]:
            offset = view.find(ordinal)
            assert offset is not None and offset == scanner.find(ordinal)
            assert view.frame_at(offset) == scanner.frame_at(offset)
            assert view.frame_at(offset + 8) is scanner.frame_at(offset + 8) is None
        assert view.find(last + 1) is view.find(0) is view.find(1 << 63) is None
        assert view.frame_at(0) is view.frame_at(1 << 40) is None


def test_the_log_goes_on_behind_it() -> None:
    case = sealed(bodies_of(50, 1), b"k" * 32)
    bodies = case.bodies()
    packed(case)
    assert case.bodies() == bodies
    works_after(case, bodies)


def test_nobody_appends_to_it_when_the_next_segment_is_lost() -> None:
    case = sealed(bodies_of(50, 1), b"k" * 32)
    packed(case)
    del case.disk.names[f"{FOLDER}/{2:016d}.rgo"]
    with pytest.raises(LogCorrupted, match="another one goes on from it"):
        case.open()


def test_a_lost_header_is_no_void_segment() -> None:
    case = sealed(bodies_of(50, 1), b"k" * 32)
    packed(case)
    case.data()[3] ^= 1
    with pytest.raises(LogCorrupted):
        case.open()
    # and neither when the next one, with nothing in it, is lost as well
    del case.disk.names[f"{FOLDER}/{2:016d}.rgo"]
    with pytest.raises(LogCorrupted):
        case.open()


# --- damage ---


def damaged(case: LogCase, at: int, bit: int) -> str:
    """What becomes of a packed log with one bit changed: "corrupted", or "same" """
    before = case.bodies()
    case.data()[at] ^= 1 << bit
    try:
        found = case.bodies()
        if case.log.void_ids or found != before:
            return "wrong"
        for ordinal in range(1, 20):
            case.log.read_commit(ordinal)
        return "same"
    except LogCorrupted:
        return "corrupted"
    finally:
        case.data()[at] ^= 1 << bit


@KEYS
def test_a_changed_bit_is_found_by_who_reads_it(secret: bytes | None) -> None:
    case = sealed(bodies_of(300, 1), secret)
    packed(case)
    size = len(case.data())
    with opened(PythonVfs(case.disk), f"{FOLDER}/{1:016d}.rgo") as fd:
        footer = footer_read(PythonVfs(case.disk), fd)
    assert footer is not None
    pieces_end = size - footer.rest_size
    chance = random.Random(9)
    for at in range(0, pieces_end, 97):
        assert damaged(case, at, chance.randrange(8)) == "corrupted", at
    # table and footer: sizes matter to readers, what is signed matters to those without a key
    for at in range(pieces_end, size):
        assert damaged(case, at, chance.randrange(8)) in ("corrupted", "same"), at


@KEYS
def test_a_packed_file_that_was_cut_is_found(secret: bytes | None) -> None:
    whole = sealed(bodies_of(300, 1), secret)
    packed(whole)
    bodies = whole.bodies()
    data = bytes(whole.data())
    for size in [*range(136, len(data), 331), len(data) - 1]:
        whole.data()[:] = data[:size]
        with pytest.raises(LogCorrupted):
            whole.bodies()
    whole.data()[:] = data
    assert whole.bodies() == bodies


@KEYS
@pytest.mark.parametrize("what", ["piece", "footer", "table", "header", "cut"])
def test_salvage_keeps_every_intact_piece(secret: bytes | None, what: str) -> None:
    case = sealed(bodies_of(1000, 1), secret)
    bodies = case.bodies()
    packed(case)
    case.open()
    data = case.data()
    parts = twin.taken_apart(bytes(data))
    assert len(parts.pieces) > 3
    lost_from, lost_to = 0, 0
    if what == "piece":
        at = 136 + len(parts.pieces[0]) + 200
        data[at] ^= 1
        lost_from, lost_to = parts.table[1][1], parts.table[2][1]
    elif what == "footer":
        data[-5] ^= 1
    elif what == "table":
        data[len(data) - 216 - 20] ^= 1
    elif what == "header":
        data[3] ^= 1
    else:
        del data[136 + sum(len(piece) for piece in parts.pieces[:2]) + 10 :]
        lost_from, lost_to = parts.table[2][1], 10**9
    lost: list[LogFinding] = []
    found = [
        body for _lsn, _ordinal, body in salvage(PythonVfs(case.disk), "/db", case.keyring, lost)
    ]
    if what == "header":
        assert found == bodies[-1:] and lost
        return
    expected = [b for n, b in enumerate(bodies, 1) if not lost_from <= n < lost_to or n == 1001]
    assert found == expected
    assert bool(lost) == (what in ("piece", "cut"))
