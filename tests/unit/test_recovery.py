"""Opening: a rebuild, a long tail, a lost or damaged data file, and what refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from rango import errors
from rango.engine import recovery
from tests.unit.engine_case import asked, delete, documents_of, insert, opened, replace


def filled(folder: Path, **changes: Any) -> dict[Any, Any]:
    """A database with an index, replaced and deleted documents, two generations and a tail."""
    core = opened(folder, page_size=512, **changes)
    core.create_index("a", asked("v"))
    for turn in range(3):
        insert(core, "a", [{"_id": n, "v": n % 7} for n in range(turn * 40, turn * 40 + 40)])
        replace(core, "a", {"_id": turn * 40 + 1, "v": [1, 2, 3]})
        delete(core, "a", turn * 40 + 2)
        if turn < 2:
            core.checkpoint()
    found = documents_of(core, "a")
    filled.digest = core.digest()  # type: ignore[attr-defined]
    core.release()
    return found


def same(folder: Path, expected: dict[Any, Any], **changes: Any) -> None:
    """Open, compare, check, write, close, open again."""
    for turn in range(2):
        core = opened(folder, page_size=512, **changes)
        found = documents_of(core, "a")
        found.pop(f"more {turn - 1}", None)
        assert found == expected
        assert list(core.check()) == []
        if turn == 0:
            assert core.digest() == filled.digest  # type: ignore[attr-defined]
            insert(core, "a", [{"_id": "more 0"}])
        core.release()


def test_the_data_file_is_rebuilt_from_the_log(tmp_path: Path) -> None:
    expected = filled(tmp_path / "db")
    (tmp_path / "db" / "data.rango").unlink()
    same(tmp_path / "db", expected)


@pytest.mark.parametrize("what", ["rebuild", "tail"])
@pytest.mark.parametrize("entries_max", [1, 10, 35])
def test_a_long_replay_goes_through_the_data_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, entries_max: int
) -> None:
    expected = filled(tmp_path / "db")
    if what == "rebuild":
        (tmp_path / "db" / "data.rango").unlink()
    monkeypatch.setattr(recovery, "REPLAY_ENTRIES_MAX", entries_max)
    same(tmp_path / "db", expected)


def test_a_replay_that_ended_in_the_data_file_is_named_before_others_come_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that no slot names are known to nobody else, who would write over them."""
    expected = filled(tmp_path / "db")
    (tmp_path / "db" / "data.rango").unlink()
    monkeypatch.setattr(recovery, "REPLAY_ENTRIES_MAX", 0)
    core = opened(tmp_path / "db", page_size=512)
    assert core.stats()["overlay_entries"] == 0
    assert core.slot is not None and core.slot.ordinal >= core.stats()["ordinal"]
    assert core.lock.shared.generation == core.slot.generation
    assert list(core.check()) == []
    core.release()
    monkeypatch.undo()
    same(tmp_path / "db", expected)


@pytest.mark.parametrize("entries_max", [1, 1 << 30])
def test_a_crash_while_the_tail_was_spilled_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries_max: int
) -> None:
    expected = filled(tmp_path / "db")
    monkeypatch.setattr(recovery, "REPLAY_ENTRIES_MAX", entries_max)
    for turn in range(3):
        core = opened(tmp_path / "db", page_size=512)
        shutil.copytree(tmp_path / "db", tmp_path / f"crash {turn}")
        core.release()
        same(tmp_path / f"crash {turn}", expected)


@pytest.mark.parametrize("slot", [0, 1])
def test_one_damaged_slot_leaves_the_other(tmp_path: Path, slot: int) -> None:
    expected = filled(tmp_path / "db")
    path = tmp_path / "db" / "data.rango"
    data = bytearray(path.read_bytes())
    data[slot * 4096 + 100] ^= 1
    path.write_bytes(data)
    core = opened(tmp_path / "db", page_size=512)
    assert documents_of(core, "a") == expected
    assert any("slot" in finding for finding in core.findings)
    insert(core, "a", [{"_id": "x"}])
    core.checkpoint()
    insert(core, "a", [{"_id": "y"}])
    core.checkpoint()
    assert list(core.check()) == []
    core.release()


@pytest.mark.parametrize("slot", [0, 1])
def test_a_slot_that_a_crash_left_as_zeros_is_written_again(tmp_path: Path, slot: int) -> None:
    """I-2: the simulator found it: the write of a slot may leave zeros where the old one was, and
    a blank slot is only right before there were two generations."""
    core = opened(tmp_path / "db")
    for turn in range(3):
        insert(core, "a", [{"_id": turn * 10 + n} for n in range(10)])
        core.checkpoint()
    core.release()
    data = tmp_path / "db" / "data.rango"
    content = bytearray(data.read_bytes())
    content[slot * 4096 : (slot + 1) * 4096] = bytes(4096)
    data.write_bytes(content)
    core = opened(tmp_path / "db")
    assert any("slot" in finding for finding in core.stats()["findings"])
    assert sorted(documents_of(core, "a")) == list(range(30))
    assert list(core.check()) == []
    core.release()


def test_two_damaged_slots_refuse_and_say_what_to_do(tmp_path: Path) -> None:
    expected = filled(tmp_path / "db")
    path = tmp_path / "db" / "data.rango"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    data[4196] ^= 1
    path.write_bytes(data)
    with pytest.raises(errors.SuperblockCorrupted) as caught:
        opened(tmp_path / "db")
    assert "move" in str(caught.value)
    path.rename(tmp_path / "away")
    same(tmp_path / "db", expected)


def test_a_shortened_data_file_falls_back_or_refuses(tmp_path: Path) -> None:
    expected = filled(tmp_path / "db")
    path = tmp_path / "db" / "data.rango"
    whole = path.read_bytes()
    for size in range(0, len(whole), 4096):
        path.write_bytes(whole[:size])
        try:
            core = opened(tmp_path / "db", page_size=512)
        except errors.Corrupted:
            continue
        assert documents_of(core, "a") == expected
        core.release()
        path.write_bytes(whole)


def test_a_reader_writes_nothing(tmp_path: Path) -> None:
    expected = filled(tmp_path / "db")
    files = files_of(tmp_path / "db")
    core = opened(tmp_path / "db", read_only=True)
    assert documents_of(core, "a") == expected
    assert list(core.check()) == []
    for use in (core.checkpoint, core.flush, lambda: core.create_collection("b")):
        with pytest.raises(errors.ReadOnly):
            use()
    core.release()
    assert files_of(tmp_path / "db") == files


def files_of(folder: Path) -> dict[Path, bytes]:
    """All files but the locks, where a reader, too, says that it is there."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {path: path.read_bytes() for path in files}


def test_revisions_rise_over_a_reopen_with_a_clock_that_went_back(tmp_path: Path) -> None:
    core = opened(tmp_path / "db", clock=lambda: 5_000_000)
    insert(core, "a", [{"_id": 1}])
    core.checkpoint()
    floor = core.store.revision_floor
    core.release()
    core = opened(tmp_path / "db", clock=lambda: 1_000)
    assert core.store.revision_floor >= floor
    insert(core, "a", [{"_id": 2}])
    assert core.store.revision_floor > floor
    core.release()


def test_a_database_whose_log_is_gone_is_not_an_empty_one(tmp_path: Path) -> None:
    """With the data file gone, too, it looked like a creation that was cut off."""
    filled(tmp_path / "db")
    (tmp_path / "db" / "data.rango").unlink()
    for segment in (tmp_path / "db" / "oplog").glob("*.rgo"):
        segment.unlink()
    with pytest.raises(errors.LogCorrupted):
        opened(tmp_path / "db")


def test_older_damage_is_found_by_check_while_reads_go_on(tmp_path: Path) -> None:
    """Nothing follows the checkpoint in the log: a damaged frame before it is not needed to open,
    but check() names it (I-11)."""
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": n, "text": "x" * 100} for n in range(50)])
    core.checkpoint()
    copy = tmp_path / "killed"
    shutil.copytree(tmp_path / "db", copy)
    core.release()
    segment = copy / "oplog" / f"{1:016d}.rgo"
    data = bytearray(segment.read_bytes())
    data[2_000] ^= 1
    segment.write_bytes(data)
    core = opened(copy)
    assert len(documents_of(core, "a")) == 50
    assert [finding.kind for finding in core.check()] == ["log"]
    core.release()
