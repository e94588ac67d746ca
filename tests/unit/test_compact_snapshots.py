"""Giving history up, and the snapshots that have a name: what it begins with, and what ends."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rango
from rango import errors
from rango.cli import root
from tests.unit.compact_case import files, fill, segments_small


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    segments_small(monkeypatch)


def test_a_snapshot_is_a_keep_point(tmp_path: Path, secret: dict[str, Any]) -> None:
    with rango.open(tmp_path / "db", **secret) as db:
        fill(db, 60)
        early = db.create_snapshot("early")["ordinal"]
        for n in range(60):
            db["notes"].update_one({"_id": n % 40}, {"$set": {"last": "x" * 5_000}})
        state = db["notes"].find_many({}, sort=[("_id", 1)])
        spring = db.create_snapshot("spring")["ordinal"]
        db["notes"].delete_many({})
        for name, ordinal in (("early", early), ("spring", spring)):
            said = db.compact(name, dry_run=True)
            assert said == db.compact(ordinal, dry_run=True)
            done = db.compact(name)
            assert done["is_done"] and done["ordinal"] == said["ordinal"] <= ordinal
        with db.at("spring") as past:
            assert past["notes"].find_many({}, sort=[("_id", 1)]) == state
        assert list(db.check()) == []
        with pytest.raises(errors.HistoryGone) as gone:
            db.compact("early")
        assert gone.value.ordinal == done["ordinal"] and "'early'" in str(gone.value)


def test_a_snapshot_that_nobody_named_is_not_found_and_now_is_the_present(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        fill(db, 30)
        before = files(tmp_path / "db")
        for is_dry in (True, False):
            with pytest.raises(errors.NotFound, match="no snapshot 'spring'"):
                db.compact("spring", dry_run=is_dry)
        assert files(tmp_path / "db") == before
        db.create_snapshot("now")
        db["notes"].insert_one({"_id": "later"})
        assert db.compact("now")["ordinal"] == db.stats()["ordinal"]


# --- which of them end


def named(db: rango.Database) -> dict[str, list[Any]]:
    """Nine snapshots with history between them, one of them of the empty database."""
    states: dict[str, list[Any]] = {}
    for n in range(9):
        db.create_snapshot(f"s{n}")
        states[f"s{n}"] = db["notes"].find_many({}, sort=[("_id", 1)])
        for turn in range(n * 4):
            db["notes"].insert_one({"_id": f"{n}.{turn}", "text": "x" * 5_000})
        db["notes"].update_many({}, {"$inc": {"n": 1}})
    return states


def seen(db: rango.Database) -> dict[str, list[Any]]:
    """What can still be looked at, by name."""
    found = {}
    for each in db.snapshots():
        try:
            with db.at(each["name"]) as past:
                found[each["name"]] = past["notes"].find_many({}, sort=[("_id", 1)])
        except errors.HistoryGone as gone:
            # compact() refuses for the same reason
            with pytest.raises(errors.HistoryGone):
                db.compact(each["name"])
            assert gone.ordinal > each["ordinal"]
    return found


def test_what_a_dry_run_says_is_what_ends(tmp_path: Path, secret: dict[str, Any]) -> None:
    path = tmp_path / "db"
    with rango.open(path, **secret) as db:
        states = named(db)
    ended: list[str] = []
    for keep in (0, "s3", "s3", "s5", "s8", -1, "now", "now"):
        with rango.open(path, **secret) as db:
            said = db.compact(keep, dry_run=True)
            assert seen(db) == states
            done = db.compact(keep)
            assert done["snapshots"] == said["snapshots"], keep
            for name in done["snapshots"]:
                del states[name]
            ended += done["snapshots"]
            assert keep not in ended
            assert seen(db) == states, keep
        with rango.open(path, **secret) as db:
            assert seen(db) == states, keep
    assert ended == [f"s{n}" for n in range(9)]
    with rango.open(path, **secret) as db:
        # a name that stands for nothing can be given anew
        db.drop_snapshot("s3")
        db.create_snapshot("s3")
        assert list(seen(db)) == ["s3"]


def test_the_command_says_which_snapshots_end(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path) as db:
        named(db)
    run = CliRunner().invoke
    dry = run(root, ["compact", str(path), "--keep", "s4", "--dry-run"])
    all_of_them = run(root, ["compact", str(path), "--keep", "now", "--dry-run", "--json"])
    assert json.loads(all_of_them.output)["snapshots"] == [f"s{n}" for n in range(9)]
    done = run(root, ["compact", str(path), "--keep", "s4", "--yes", "--json"])
    ended = json.loads(done.output)["snapshots"]
    assert ended[:2] == ["s0", "s1"] and "s4" not in ended
    assert f"; with it end the snapshots {', '.join(ended)}\n" in dry.output
    none = run(root, ["compact", str(path), "--keep", "s4", "--dry-run"])
    assert none.exit_code == 1 and "end the snapshots" not in none.output


def test_no_event_says_a_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with rango.open(tmp_path / "db") as db:
        db.create_snapshot("canary-in-the-mine")
        db["notes"].insert_one({"_id": 1})
        with caplog.at_level(logging.DEBUG, "rango"):
            assert db.compact("now")["snapshots"] == ["canary-in-the-mine"]
    records = [vars(each) for each in caplog.records]
    assert any(each["event"] == "compacted" for each in records)
    assert "canary" not in str(records)


def test_a_snapshot_that_is_taken_after_a_cut_can_be_seen(
    tmp_path: Path, secret: dict[str, Any]
) -> None:
    path = tmp_path / "db"
    with rango.open(path, **secret) as db:
        db["notes"].insert_one({"_id": 1})
    with rango.open(path, **secret) as db:
        # the frame that the close left is no commit, but has a number, and history begins behind it
        assert db.compact("now")["is_done"]
        db.create_snapshot("spring")
        db["notes"].insert_one({"_id": 2})
        with db.at("spring") as past:
            assert past["notes"].count_documents({}) == 1
        assert db.compact("spring", dry_run=True)["snapshots"] == []
        db.compact("spring")
    with rango.open(path, **secret) as db:
        db.create_snapshot("summer")
        db.compact("summer")
        with db.at("summer") as past:
            assert past["notes"].count_documents({}) == 2
