"""Real deletion: no byte of a purged document is left, the rest is as it was, the chain closes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import errors
from rango.engine import purge as purging

CANARY = "canary-7f3a-in-the-coal-mine"


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a database."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def places_of(folder: Path, needle: str) -> list[str]:
    """The files that hold these bytes."""
    return [name for name, data in bytes_of(folder).items() if needle.encode() in data]


def filled(db: rango.Database) -> None:
    """Documents with history: inserts, updates, deletes, one large, an index over the secret."""
    notes = db["notes"]
    notes.insert_many([{"_id": n, "text": f"kept {n}", "n": n} for n in range(50)])
    notes.create_index("text")
    notes.insert_one({"_id": 100, "text": CANARY, "tags": [CANARY, "x"]})
    notes.insert_one({"_id": f"id-{CANARY}", "text": "y"})
    notes.insert_one({"_id": 101, "text": CANARY * 5000})
    db.checkpoint()
    notes.update_one({"_id": 100}, {"$set": {"text": f"{CANARY} again"}})
    notes.update_many({"n": {"$lt": 10}}, {"$inc": {"n": 100}})
    notes.insert_one({"_id": 102, "text": CANARY})
    notes.delete_one({"_id": 102})
    notes.create_index("tags")
    with db.transaction():
        notes.insert_one({"_id": 103, "text": CANARY})
        notes.insert_one({"_id": 200, "text": "beside it in one commit"})
    db["other"].insert_one({"_id": 100, "text": "the same _id elsewhere"})


def state(db: rango.Database) -> dict[str, Any]:
    """What the database holds."""
    return {
        name: sorted(db[name].find_many({}), key=lambda each: repr(each["_id"]))
        for name in db.list_collection_names()
    }


SECRET: dict[str, Any] = {
    "$or": [{"_id": {"$in": [100, 101, 103]}}, {"_id": f"id-{CANARY}"}, {"text": CANARY}]
}


@pytest.fixture(params=[{}, {"key": b"k" * 32}], ids=["plain", "sealed"])
def secret(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


def test_nothing_of_a_purged_document_is_left(tmp_path: Path, secret: dict[str, Any]) -> None:
    folder = tmp_path / "db"
    with rango.open(folder, **secret) as db:
        filled(db)
        before = state(db)
        result = db["notes"].purge(SECRET)
        assert result.purged_count == 4
        assert result.commits >= 5
        assert db["notes"].purge({"_id": 102}).purged_count == 1  # only its tombstone was left
        gone = (100, 101, 102, 103, f"id-{CANARY}")
        kept = [each for each in before["notes"] if each["_id"] not in gone]
        assert state(db) == {"notes": kept, "other": before["other"]}
        assert db["notes"].count_documents({}) == len(kept)
        assert db["notes"].find_many({"text": {"$gte": "canary", "$lt": "canaryz"}}) == []
        assert list(db.check()) == []
        if not secret:
            assert places_of(folder, CANARY) == []
        expected = state(db)
    if not secret:
        assert places_of(folder, CANARY) == []
    with rango.open(folder, **secret) as db:
        assert state(db) == expected
        assert list(db.check()) == []


def test_the_oplog_alone_still_rebuilds_the_database(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    with rango.open(folder) as db:
        filled(db)
        db["notes"].purge(SECRET)
        db["notes"].insert_one({"_id": 300, "text": "after"})
        expected = state(db)
        count = db["notes"].estimated_document_count()
    (folder / "data.rango").unlink()
    with rango.open(folder) as db:
        assert state(db) == expected
        assert db["notes"].estimated_document_count() == count
        assert list(db.check()) == []
        names = [each["name"] for each in db["notes"].list_indexes()]
        assert names == ["_id_", "text_1", "tags_1"]


def test_a_purge_is_on_record_without_content(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        filled(db)
        db["notes"].purge({"_id": 100})
        (fact,) = db.purges()
        assert (fact["collection"], fact["documents"], fact["is_complete"]) == ("notes", 1, True)
        assert CANARY not in repr(fact)
        assert db["notes"].purge({"_id": "nothing"}).purged_count == 0
        assert len(db.purges()) == 1


def test_salvage_reads_purged_segments(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        filled(db)
        db["notes"].purge(SECRET)
        expected = state(db)["notes"]
    report = rango.salvage(tmp_path / "db", to=tmp_path / "rescued")
    assert report["lost"] == []
    with rango.open(tmp_path / "rescued") as db:
        assert state(db)["notes"] == expected


def test_a_changed_byte_of_a_purged_segment_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    with rango.open(folder, key=b"k" * 32) as db:
        filled(db)
        db["notes"].purge(SECRET)
    segment = min((folder / "oplog").glob("*.rgo"))
    data = segment.read_bytes()
    for place in (len(data) - 20, len(data) // 2, 200):
        damaged = bytearray(data)
        damaged[place] ^= 1
        segment.write_bytes(damaged)
        with (
            contextlib.suppress(errors.LogCorrupted),
            rango.open(folder, key=b"k" * 32, read_only=True) as db,
        ):
            assert list(db.check()) != [], place
    segment.write_bytes(data)
    with rango.open(folder, key=b"k" * 32, read_only=True) as db:
        assert list(db.check()) == []


def test_a_cursor_on_old_pages_is_named_and_the_purge_goes_on_later(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        filled(db)
        db.checkpoint()
        cursor = db["notes"].find({}).batch_size(1)
        next(cursor)
        with pytest.raises(errors.DatabaseBusy, match="cursor"):
            db["notes"].purge(SECRET)
        assert db["notes"].find_one(100) is None
        cursor.close()
        db["notes"].purge({"_id": "nothing"})
        assert db.purges()[0]["is_complete"] is True
    assert places_of(tmp_path / "db", f"id-{CANARY}") == []


class Stopped(Exception):
    """Stands for a crash."""


@pytest.mark.parametrize("step", ["finish", "rewrite", "remove_cuts", "complete"])
def test_an_interrupted_purge_goes_on_at_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = tmp_path / "db"

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    db = rango.open(folder)
    filled(db)
    with monkeypatch.context() as patch:
        patch.setattr(purging, step, stop)
        with pytest.raises(Stopped):
            db["notes"].purge(SECRET)
        expected = state(db)
        db.close()
    with rango.open(folder) as db:
        assert state(db) == expected
        assert list(db.check()) == []
        assert not purging.is_purging(db._handle.core)
        assert db["notes"].purge({"_id": 102}).purged_count == 1
    assert places_of(folder, CANARY) == []


def test_purge_twice_and_write_between(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    with rango.open(folder) as db:
        notes = db["notes"]
        for number in range(5):
            notes.insert_many([{"_id": (number * 10 + n), "text": f"v{n}"} for n in range(10)])
            notes.insert_one({"_id": f"s{number}", "text": CANARY})
            notes.update_one({"_id": f"s{number}"}, {"$set": {"more": CANARY}})
            assert notes.purge({"text": CANARY}).purged_count == 1
            assert notes.purge({"text": "v3"}).purged_count == 1
        expected = state(db)
        assert len(expected["notes"]) == 45
    assert places_of(folder, CANARY) == []
    (folder / "data.rango").unlink()
    with rango.open(folder) as db:
        assert state(db) == expected
        assert list(db.check()) == []


def test_purge_is_refused_where_it_cannot_be(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        filled(db)
        with db.transaction(), pytest.raises(errors.TransactionError):
            db["notes"].purge({})
        with pytest.raises(errors.InvalidArgument):
            db["notes"].purge(100)  # type: ignore[arg-type]
    with rango.open(tmp_path / "db", read_only=True) as db, pytest.raises(errors.ReadOnly):
        db["notes"].purge({"_id": 100})


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Several segments, so that a purge rewrites more than one."""
    from rango import database

    made = database.options_of

    def options(*args: Any, **more: Any) -> Any:
        return made(*args, **more)._replace(segment_size_max=65536)

    monkeypatch.setattr(database, "options_of", options)
    yield
