"""Whole pieces exchanged, replaced, cut or moved: by a bad restore, a bad disk, or somebody.

Method      directories are values in memory (damage.py); each scenario builds one that no honest
            crash leaves behind, and the judge opens it, reads everything and runs check().
Invariants  I-2, I-3, I-4, I-11, I-18. In plain mode the same holds against damage; somebody who
            wants to can recompute checksums there.
Limits      without an anchor kept elsewhere nobody can tell an older, consistent copy of the whole
            directory from the present; nor a log that ends cleanly between two frames, behind
            everything that a slot or a later frame claims. The tests say which cuts those are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from rango._ext import layout
from rango.errors import (
    Corrupted,
    KeyRejected,
    KeysCorrupted,
    LogCorrupted,
    PageCorrupted,
    SuperblockCorrupted,
)
from tests.engine_case import OTHER_KEY, Folder, disk_of, open_folder, open_tiny
from tests.security.damage import (
    DATA,
    Case,
    build,
    class_mistakes,
    frames_of,
    images_of,
    judge,
    ordinal_at,
    slot_reach,
)

UNIT = layout.UNIT_SIZE


@pytest.fixture(scope="module", params=["key", "plain"])
def case(request: pytest.FixtureRequest) -> Case:
    """An encrypted and a plain database."""
    return build(request.param)


def changed(folder: Folder, name: str, *pieces: tuple[int, bytes]) -> Folder:
    """The directory with some bytes of one file replaced."""
    data = bytearray(folder[name])
    for at, piece in pieces:
        data[at : at + len(piece)] = piece
    return {**folder, name: bytes(data)}


def units_at(folder: Folder, first: int, count: int = 1) -> bytes:
    """The bytes of some units of the data file."""
    return folder[DATA][first * UNIT : (first + count) * UNIT]


def assert_honest(folder: Folder, case: Case, name: str, *, must_notice: bool = True) -> None:
    """No wrong answer; what is raised has the right class and names a place; it is noticed."""
    outcome = judge(folder, case)
    assert not outcome.wrong
    assert not class_mistakes(outcome, name)
    assert outcome.is_noticed or not must_notice


# --- pages ----------------------------------------------------------------------------------------


def test_page_images_that_changed_places_are_not_taken_for_each_other(
    case: Case, count_cases: Callable[[str, int], None]
) -> None:
    """Every two images of the same size exchanged: each has a right tag, for another place.
    Defends I-4."""
    newest = images_of(case.closed, case)[0]
    pairs = [
        (one, other)
        for one in newest
        for other in newest
        if one < other and newest[one] == newest[other]
    ]
    assert len(pairs) > 5
    for one, other in pairs:
        count = newest[one]
        swapped = changed(
            case.closed,
            DATA,
            (one * UNIT, units_at(case.closed, other, count)),
            (other * UNIT, units_at(case.closed, one, count)),
        )
        assert_honest(swapped, case, DATA)
    count_cases("tampering: exchanged pages", len(pairs))


def test_a_page_from_before_the_last_checkpoint_is_stale(case: Case) -> None:
    """A lost write leaves the older image where the newer should be: its tag is right for its
    place, only the link knows better. Defends I-4."""
    newest = images_of(case.closed, case)[0]
    for first, count in newest.items():
        old = units_at(case.older, first, count)
        if len(old) == count * UNIT and old not in (
            units_at(case.closed, first, count),
            bytes(len(old)),
        ):
            assert_honest(changed(case.closed, DATA, (first * UNIT, old)), case, DATA)
    stale = changed_generation(case)
    outcome = judge(stale, case)
    assert not outcome.wrong
    assert any(isinstance(each, PageCorrupted) for each in outcome.errors)


def changed_generation(case: Case) -> Folder:
    """The newest leaf of the data file with the oldest image of the same size in its place."""
    newest, oldest = images_of(case.crashed, case)
    only_new = [unit for unit in newest if unit not in oldest]
    only_old = [unit for unit in oldest if unit not in newest]
    for unit in only_new:
        for old in only_old:
            if newest[unit] == oldest[old]:
                piece = units_at(case.crashed, old, oldest[old])
                return changed(case.crashed, DATA, (unit * UNIT, piece))
    raise AssertionError("the two generations have no images of the same size")


def test_a_page_of_another_database_with_the_same_key_is_refused(case: Case) -> None:
    """Two databases under one key, a page copied from one to the other. Defends I-4."""
    other = build(case.mode, seed=2)
    for first, count in images_of(case.closed, case)[0].items():
        foreign = units_at(other.closed, first, count)
        assert_honest(changed(case.closed, DATA, (first * UNIT, foreign)), case, DATA)


def test_a_page_of_zeros_is_not_an_empty_page(case: Case) -> None:
    """A hole in the file, as after a lost allocation. Defends I-4, I-5."""
    for first, count in images_of(case.closed, case)[0].items():
        assert_honest(changed(case.closed, DATA, (first * UNIT, bytes(count * UNIT))), case, DATA)


def test_a_data_file_that_was_cut_is_not_believed(case: Case) -> None:
    """The file ends earlier than its slots say. Either another generation and the log still give
    the truth, or it is refused. Defends I-3."""
    data = case.closed[DATA]
    for size in (*range(0, len(data), UNIT), len(data) - 1, UNIT - 1, 2 * UNIT + 7):
        assert_honest({**case.closed, DATA: data[:size]}, case, DATA, must_notice=size > 0)


def test_a_missing_data_file_is_rebuilt_from_the_log(case: Case) -> None:
    """The data file is only a copy of the log's past."""
    outcome = judge({name: case.closed[name] for name in case.closed if name != DATA}, case)
    assert not outcome.wrong
    assert not outcome.is_noticed


# --- superblock slots -----------------------------------------------------------------------------


def test_exchanged_slots_are_both_invalid(case: Case) -> None:
    """Each slot's place is a part of what its tag covers. Defends I-2."""
    swapped = changed(
        case.closed, DATA, (0, units_at(case.closed, 1)), (UNIT, units_at(case.closed, 0))
    )
    outcome = judge(swapped, case)
    assert isinstance(outcome.error, SuperblockCorrupted)
    assert not class_mistakes(outcome, DATA)


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_slot_is_noticed_although_the_other_one_is_used(case: Case, number: int) -> None:
    """A bit flips in one slot; the other slot and the log still give the truth, but somebody has to
    hear of it. Defends I-2, I-18."""
    for folder in (case.closed, case.crashed, case.older):
        if not units_at(folder, number).strip(b"\0"):
            continue
        truth = case.truth
        if folder is case.older:
            with open_folder(folder, **case.secret) as db:
                truth = case.states[db.stats()["ordinal"]]
        outcome = judge(changed(folder, DATA, (number * UNIT + 100, b"\1\2")), case, truth=truth)
        assert not outcome.wrong
        assert outcome.is_noticed
        assert not class_mistakes(outcome, DATA)


def test_a_slot_of_an_older_generation_does_not_bring_back_the_past(case: Case) -> None:
    """The slot that was overwritten last is put back as it was before. Defends I-2, I-18."""
    for number in (0, 1):
        old = units_at(case.older, number)
        assert_honest(
            changed(case.closed, DATA, (number * UNIT, old)), case, DATA, must_notice=False
        )


def test_an_older_data_file_is_brought_up_by_the_log(case: Case) -> None:
    """A restore of data.rango alone: the log goes on from its slot. Defends I-18."""
    outcome = judge({**case.closed, DATA: case.older[DATA]}, case)
    assert not outcome.wrong
    assert not outcome.errors


def test_a_data_file_ahead_of_its_log_is_refused(case: Case) -> None:
    """A restore of an older oplog alone: it does not reach what the slot names. Defends I-18."""
    older = {name: data for name, data in case.older.items() if name != DATA}
    outcome = judge({**older, DATA: case.closed[DATA]}, case)
    assert isinstance(outcome.error, LogCorrupted)
    assert not class_mistakes(outcome, "oplog")


@pytest.mark.parametrize("has_tail", [False, True])
def test_a_data_file_from_a_diverged_copy_is_refused(case: Case, has_tail: bool) -> None:
    """A directory was copied and both copies went on, with commits of the same sizes; then the data
    file of one is put beside the log of the other. Only the chain value tells. Defends I-18."""
    folders = []
    for name in ("left!", "right"):
        with open_folder(case.older, **case.secret) as db:
            disk = disk_of(db)
            db["things"].update_one({"_id": 1}, {"$set": {"text": name}})
            db.checkpoint()
            if has_tail:
                db["things"].update_one({"_id": 2}, {"$set": {"text": name}})
                db.flush()
            folders.append({path[4:]: bytes(file.data) for path, file in disk.names.items()})
    left, right = folders
    mixed = {**right, DATA: left[DATA]}
    with pytest.raises(LogCorrupted) as caught:
        open_folder(mixed, **case.secret).close()
    assert "oplog/" in caught.value.where


# --- the oplog ------------------------------------------------------------------------------------


def cut(folder: Folder, name: str, at: int) -> Folder:
    """The log ends at `at` of this segment: zeros behind it, later segments gone."""
    kept = {
        each: data for each, data in folder.items() if not each.endswith(".rgo") or each <= name
    }
    return {**kept, name: folder[name][:at] + bytes(len(folder[name]) - at)}


def edges(folder: Folder, names: list[str]) -> Iterator[tuple[str, int, int]]:
    """(segment, offset, ordinal of the last frame before it) of every frame edge."""
    ordinal = edge = 0
    for name in names:
        for start, end in frames_of(folder[name]):
            yield name, start, ordinal
            ordinal = ordinal_at(folder[name], start)
            edge = -(-end // layout.FRAME_ALIGN) * layout.FRAME_ALIGN
        yield name, edge, ordinal


@pytest.mark.parametrize("state", ["closed", "crashed"])
def test_a_log_that_is_cut_at_a_frame_edge_before_the_slot_is_refused(
    case: Case, state: str, count_cases: Callable[[str, int], None]
) -> None:
    """Every clean cut. In front of what the newest slot says that the log must reach it is detected
    (I-18): after close() that is every commit. After a crash nothing in the directory knows of what
    was cut off behind T: the answer is an earlier state of the database, exactly that after the
    last commit that is left. Only an anchor kept elsewhere could tell."""
    folder = case.closed if state == "closed" else case.crashed
    reached = slot_reach(folder, case)
    refused = 0
    for name, at, ordinal in edges(folder, case.segments):
        short = cut(folder, name, at)
        if ordinal < reached:
            outcome = judge(short, case)
            assert isinstance(outcome.error, LogCorrupted), (name, at)
            assert not class_mistakes(outcome, "oplog")
            refused += 1
            continue
        last = max(each for each in case.states if each <= ordinal)
        assert not judge(short, case, truth=case.states[last]).wrong
    assert refused > 20
    count_cases("tampering: cuts of the log", refused)


def test_a_segment_file_that_is_cut_short_in_a_frame_is_refused_or_torn(case: Case) -> None:
    """The file of a segment ends in the middle of a frame: damage if a later segment exists or the
    slot names more; else a torn tail, which is reported. Defends I-11, I-18."""
    for name in case.segments:
        frames = frames_of(case.closed[name])
        for start, end in frames[:: max(1, len(frames) // 6)]:
            at = (start + end) // 2
            short = {**case.closed, name: case.closed[name][:at]}
            outcome = judge(short, case)
            if name != case.segments[-1] or ordinal_at(case.closed[name], start) <= slot_reach(
                case.closed, case
            ):
                assert outcome.is_noticed
                assert not class_mistakes(outcome, "oplog")
                assert not outcome.wrong
            else:
                assert outcome.findings
                assert outcome.content in list(case.states.values())


def test_removed_segments_are_missed(case: Case) -> None:
    """Each segment but the last is named by its successor. The last is missed if the slot reaches
    into it; else its loss is a clean cut, see above. Defends I-11."""
    for name in case.segments:
        rest = {each: data for each, data in case.closed.items() if each != name}
        outcome = judge(rest, case)
        if name != case.segments[-1]:
            assert isinstance(outcome.error, LogCorrupted), name
            assert not class_mistakes(outcome, "oplog")
        else:
            assert outcome.error is not None or outcome.content in list(case.states.values())


def test_segments_under_each_others_names_are_refused(case: Case) -> None:
    """Reordered and duplicated files. Defends I-11."""
    names = case.segments
    for one, other in zip(names, [*names[1:], names[0]], strict=True):
        outcome = judge({**case.closed, one: case.closed[other], other: case.closed[one]}, case)
        assert isinstance(outcome.error, LogCorrupted)
        assert not class_mistakes(outcome, "oplog")
    copy = f"oplog/{int(names[-1][6:22]) + 1:016d}.rgo"
    outcome = judge({**case.closed, copy: case.closed[names[-1]]}, case)
    assert isinstance(outcome.error, LogCorrupted)


def test_frames_that_were_moved_between_segments_are_refused(case: Case) -> None:
    """Spliced: the frames of one segment behind the header of another, and a later frame over an
    earlier one in the same segment. Defends I-11."""
    first, second, third, *_ = case.segments
    header = layout.SEGMENT_HEADER_SIZE
    for one, other in ((first, second), (second, third), (third, second)):
        spliced = case.closed[one][:header] + case.closed[other][header:]
        assert_honest({**case.closed, one: spliced}, case, "oplog")
    data = case.closed[third]
    frames = frames_of(data)
    for (start, end), (later, later_end) in pairwise(frames):
        if end - start == later_end - later:
            repeated = changed(case.closed, third, (start, data[later:later_end]))
            assert_honest(repeated, case, "oplog")


def test_zeros_in_the_middle_of_the_log_are_refused(case: Case) -> None:
    """A lost write: a stretch of a segment reads as zeros although what is behind it is there.
    Defends I-11."""
    chance = random.Random(5)
    for name in case.segments[:-1]:
        frames = frames_of(case.closed[name])
        for start, end in chance.sample(frames[:-1], min(4, len(frames) - 1)):
            hole = changed(case.closed, name, (start, bytes(end - start)))
            assert_honest(hole, case, "oplog")


def test_a_lost_segment_header_is_refused(case: Case) -> None:
    """The header of a segment that was used reads as zeros. Defends I-11."""
    for name in case.segments:
        lost = changed(case.closed, name, (0, bytes(layout.SEGMENT_HEADER_SIZE)))
        outcome = judge(lost, case)
        assert isinstance(outcome.error, LogCorrupted), name
        assert not class_mistakes(outcome, "oplog")


def test_a_damaged_log_is_salvaged_to_a_new_place(case: Case) -> None:
    """What does not open any more: salvage keeps what is intact, says what was lost, and leaves the
    original as it was."""
    for name in case.segments:
        start, end = frames_of(case.closed[name])[0]
        damaged = changed(case.closed, name, ((start + end) // 2, b"\xff\xff"))
        with open_folder(case.closed, **case.secret) as db:
            core = db._handle.core
            disk = disk_of(db)
            disk.names[f"/db/{name}"].data[:] = damaged[name]
            report = db.salvage("/salvaged")
            assert bytes(disk.names[f"/db/{name}"].data) == damaged[name]
            with open_tiny("/salvaged", vfs=core.vfs, **case.secret) as copy:
                assert not list(copy.check())
                kept = sum(copy[each].count_documents({}) for each in case.truth)
        assert report["lost"]
        assert any(name in place for place, _what in report["lost"])
        assert 0 < report["documents"] == kept


# --- keys -----------------------------------------------------------------------------------------


def test_keys_of_another_database_open_nothing(case: Case) -> None:
    """Under the same secret the root key is another; without one, the database's id is."""
    other = build(case.mode, seed=2)
    outcome = judge({**case.closed, "keys": other.closed["keys"]}, case)
    assert isinstance(outcome.error, LogCorrupted | KeyRejected)
    with pytest.raises((KeyRejected, Corrupted)):
        open_folder(case.closed, key=OTHER_KEY)


def test_damaged_keys_are_named(case: Case) -> None:
    """Both copies damaged, one of them missing, the file empty: never a wrong key or a crash."""
    keys = case.closed["keys"]
    half = layout.KEYS_COPY_SIZE
    both = bytearray(keys)
    both[100] ^= 1
    both[half + 100] ^= 1
    for content in (bytes(both), b"", bytes(len(keys)), keys[: half - 1], b"x" * len(keys)):
        outcome = judge({**case.closed, "keys": content}, case)
        assert isinstance(outcome.error, KeysCorrupted), content[:20]
        assert "keys" in outcome.error.where
    outcome = judge({**case.closed, "keys": keys[:half]}, case)
    assert not outcome.wrong
    assert outcome.is_noticed


def test_an_encrypted_database_is_not_turned_into_a_plain_one() -> None:
    """Somebody without the key puts a plain `keys` file there, so that the next writes would be in
    clear: what is sealed does not open, and nothing is written."""
    sealed, plain = build("key"), build("plain")
    mixed = {**sealed.closed, "keys": plain.closed["keys"]}
    for options in ({}, sealed.secret):
        with pytest.raises((KeyRejected, LogCorrupted)):
            open_folder(mixed, **options)


def test_an_older_copy_of_the_whole_directory_cannot_be_told(case: Case) -> None:
    """The limit that the caveats name: everything put back together is consistent, and opens with
    the state that it had. An anchor kept elsewhere is the only thing that knows better."""
    with open_folder(case.older, **case.secret) as db:
        ordinal = db.stats()["ordinal"]
        assert not list(db.check())
    assert not judge(case.older, case, truth=case.states[ordinal]).is_noticed
