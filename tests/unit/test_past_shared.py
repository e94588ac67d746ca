"""Database.at beside other processes, and snapshots whose names all of them see (I-2, I-16)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rango
from rango import errors
from rango.engine import kept as engine_kept
from tests.unit.api_case import engine_database, ticking


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with engine_database(tmp_path / "db", clock=ticking()) as database:
        yield database


WRITER = """
import rango, sys
with rango.open(sys.argv[1], node_id="node-a") as db:
    for n in range(200):
        db["a"].insert_one({"_id": f"other-{n}"})
        if n % 40 == 39:
            db.checkpoint()
    print(db.stats()["ordinal"])
"""


def test_commits_of_another_process_are_seen_as_well(db: rango.Database) -> None:
    db["a"].insert_one({"_id": "mine"})
    mine = db.stats()["ordinal"]
    path = str(db.path)
    done = subprocess.run(
        [sys.executable, "-c", WRITER, path], capture_output=True, text=True, check=True
    )
    newest = int(done.stdout)
    for n in range(0, 200, 7):
        with db.at(newest - n) as past:
            assert past["a"].count_documents({}) == 201 - n
    with db.at(mine) as past:
        assert past["a"].count_documents({}) == 1


REWRITER = """
import rango, sys
with rango.open(sys.argv[1], node_id="node-a") as db:
    for n in range(6):
        db["a"].update_many({}, {"$set": {"x": str(n) * 300}})
        db.checkpoint()
"""


@pytest.mark.parametrize("is_pinned", [True, False])
def test_another_process_leaves_the_pages_of_the_past_alone(
    db: rango.Database, monkeypatch: pytest.MonkeyPatch, is_pinned: bool
) -> None:
    if not is_pinned:
        # a planted bug: without the pin this test has to fail
        monkeypatch.setattr(engine_kept, "pin", lambda *_: True)
    db["a"].insert_many([{"_id": n, "x": "y" * 300} for n in range(500)])
    then = db.stats()["ordinal"]
    db.checkpoint()
    db["a"].update_many({}, {"$set": {"x": "z"}})
    db.checkpoint()
    with db.at(then) as past:
        assert db._handle.core.slot is not None
        subprocess.run([sys.executable, "-c", REWRITER, str(db.path)], check=True)
        db._handle.core.store.pager.forget_cache()
        if is_pinned:
            assert {each["x"] for each in past["a"].find({})} == {"y" * 300}
        else:
            with pytest.raises((errors.PageCorrupted, errors.SnapshotTooOld)):
                past["a"].count_documents({"x": "none"})


def test_a_name_stands_for_a_commit_across_restarts(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    with engine_database(folder, clock=ticking()) as db:
        db["a"].insert_one({"_id": 1})
        newest = db.stats()["ordinal"]
        made = db.create_snapshot("first", note="x")
        assert made == db.snapshots()[0] and made["ordinal"] == newest
        assert set(made) == {"name", "ordinal", "at", "node", "note"}
        db["a"].insert_one({"_id": 2})
        db.create_snapshot("second.one-2")
        db["a"].delete_many({})
        assert db.list_collection_names() == ["a"]
    # the data file is only what the log says
    (folder / "data.rango").unlink()
    with engine_database(folder) as db:
        for name, count in (("first", 1), ("second.one-2", 2)):
            with db.at(name) as past:
                assert past["a"].count_documents({}) == count
        with pytest.raises(errors.InvalidName, match="already a snapshot"):
            db.create_snapshot("first")
        db.drop_snapshot("first")
        assert [each["name"] for each in db.snapshots()] == ["second.one-2"]
        with pytest.raises(errors.NotFound, match="no snapshot 'first'"):
            db.at("first")
        with pytest.raises(errors.NotFound):
            db.drop_snapshot("first")
        db.create_snapshot("first")
        with db.at("first") as past:
            assert past["a"].count_documents({}) == 0
        for name in ("", "1", "1-2-3", "2026-01-01", "a b", "x" * 121, 3, None):
            with pytest.raises(errors.InvalidName):
                db.create_snapshot(name)  # type: ignore[arg-type]
        with pytest.raises(errors.InvalidArgument):
            db.create_snapshot("other", note=3)  # type: ignore[arg-type]
        with db.transaction(), pytest.raises(errors.TransactionError):
            db.create_snapshot("other")
        report = db.salvage(tmp_path / "copy")
        assert report["lost"] == []
    with engine_database(tmp_path / "copy") as copy, engine_database(folder) as db:
        assert copy.snapshots() == [] and len(db.snapshots()) == 2
    with engine_database(folder, read_only=True) as reader:
        assert len(reader.snapshots()) == 2
        with pytest.raises(errors.ReadOnly):
            reader.create_snapshot("third")
