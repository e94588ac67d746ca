"""Collection.history: every version of a document, at a cost that follows the number of them."""

from __future__ import annotations

import asyncio
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rango
from rango.cli import root
from rango.engine.history import difference
from rango.errors import DatabaseClosed, InvalidDocument, LogCorrupted
from rango.storage.oplog import Oplog
from tests.unit.api_case import START_MS, engine_database, ticking


@pytest.fixture
def db(tmp_path: Path) -> Any:
    with engine_database(tmp_path / "db", clock=ticking()) as database:
        yield database


def kinds(collection: Any, id_value: Any) -> list[str]:
    return [version["kind"] for version in collection.history(id_value)]


def test_each_version_says_who_when_and_what(db: rango.Database) -> None:
    notes = db["notes"]
    notes.insert_one({"_id": 1, "text": "a", "tag": {"x": 1, "y": 2}})
    revision = notes.find_one({"_id": 1}, meta=True)
    notes.update_one({"_id": 1}, {"$set": {"tag.x": 5}, "$unset": {"text": 1}})
    newest, oldest = notes.history(1)
    assert newest["kind"] == "replace" and oldest["kind"] == "insert"
    assert newest["document"] == {"_id": 1, "tag": {"x": 5, "y": 2}}
    assert (newest["set"], newest["removed"]) == ({"tag.x": 5}, ["text"])
    assert oldest["set"] == {"text": "a", "tag": {"x": 1, "y": 2}} and oldest["removed"] == []
    assert revision is not None
    assert (oldest["_rev"], oldest["at"]) == (revision["_rev"], revision["_updated_at"])
    assert oldest["at"] >= datetime.datetime.fromtimestamp(START_MS / 1000, datetime.UTC)
    assert oldest["node"] == "node-a" and newest["ordinal"] > oldest["ordinal"]


def test_the_ordinals_are_those_of_the_log(db: rango.Database) -> None:
    notes = db["notes"]
    # commits of several frames have several ordinals
    notes.insert_many([{"_id": n, "text": "x" * 1000} for n in range(200)])
    notes.update_many({}, {"$set": {"text": "y" * 1000}})
    logged = [
        commit["ordinal"]
        for commit in rango.read_log(db.path, collection="notes")
        if any(change.get("_id") == 150 for change in commit["changes"])
    ]
    assert [version["ordinal"] for version in notes.history(150)] == logged[::-1]
    assert len(logged) == 2


def test_the_chain_crosses_deletions_checkpoints_and_a_rename(db: rango.Database) -> None:
    notes = db["notes"]
    notes.insert_one({"_id": 1, "n": 1})
    notes.delete_one({"_id": 1})
    db.checkpoint()
    assert kinds(notes, 1) == ["delete", "insert"]
    notes.insert_one({"_id": 1, "n": 2})
    notes.delete_many({})
    notes.insert_one({"_id": 1, "n": 3})
    db.checkpoint()
    notes.rename("letters")
    found = list(db["letters"].history(1))
    assert [each["kind"] for each in found] == ["insert", "delete"] * 2 + ["insert"]
    assert found[1]["document"] is None and found[1]["removed"] == ["n"]
    assert found[0]["set"] == {"n": 3}
    assert list(notes.history(1)) == []


def test_a_dropped_collection_has_no_history_for_its_successor(db: rango.Database) -> None:
    notes = db["notes"]
    notes.insert_one({"_id": 1})
    notes.drop()
    assert kinds(notes, 1) == []
    notes.insert_one({"_id": 1})
    assert kinds(notes, 1) == ["insert"]


def test_several_versions_of_one_commit_are_told_apart(db: rango.Database) -> None:
    notes = db["notes"]
    notes.insert_one({"_id": 1, "n": 0})
    with db.transaction():
        notes.update_one({"_id": 1}, {"$inc": {"n": 1}})
        notes.update_one({"_id": 1}, {"$inc": {"n": 1}})
        notes.delete_one({"_id": 1})
        notes.insert_one({"_id": 1, "n": 9})
    found = list(notes.history(1))
    assert [each["set"].get("n") for each in found] == [9, None, 2, 1, 0]
    assert len({each["ordinal"] for each in found}) == 2


def test_a_transaction_sees_the_committed_versions_of_its_snapshot(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db") as db, engine_database(tmp_path / "db") as other:
        notes = db["notes"]
        notes.insert_one({"_id": 1, "n": 0})
        with db.transaction():
            assert kinds(notes, 1) == ["insert"]
            other["notes"].update_one({"_id": 1}, {"$set": {"n": 1}})
            assert kinds(notes, 1) == ["insert"]
        with db.transaction():
            notes.update_one({"_id": 1}, {"$set": {"n": 2}})
            assert [each["set"] for each in notes.history(1)] == [{"n": 1}, {"n": 0}]
        assert len(kinds(notes, 1)) == 3


def test_the_cost_is_one_commit_for_each_version(
    db: rango.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, read = db["notes"], Oplog.commit_of
    for n in range(5):
        notes.replace_one({"_id": 1}, {"n": n}, upsert=True)
        for other in range(50):
            notes.insert_one({"_id": (n + 1) * 1000 + other})
    reads: list[int] = []

    def counted(log: Oplog, ordinal: int) -> tuple[int, bytes]:
        reads.append(ordinal)
        return read(log, ordinal)

    monkeypatch.setattr(Oplog, "commit_of", counted)
    versions = notes.history(1)
    assert reads == []
    assert next(versions)["set"] == {"n": 4}
    assert len(reads) == 2  # the version, and the one that it is compared with
    assert len(list(versions)) == 4 and len(reads) == 5


def test_a_purged_document_has_no_history(db: rango.Database) -> None:
    notes = db["notes"]
    for n in range(3):
        notes.replace_one({"_id": 1}, {"n": n}, upsert=True)
    versions = notes.history(1)
    assert next(versions)["document"] == {"_id": 1, "n": 2}
    notes.purge({"_id": 1})
    assert kinds(notes, 1) == []
    # one was in hand, to be compared with
    assert [each["kind"] for each in versions] == ["replace", "purged"]
    notes.insert_one({"_id": 1})
    assert kinds(notes, 1) == ["insert"]


def test_versions_that_another_process_wrote_are_found(tmp_path: Path) -> None:
    path = tmp_path / "db"
    code = (
        "import rango, sys\n"
        f"db = rango.open({str(path)!r})\n"
        "db['notes'].update_one({'_id': 1}, {'$set': {'n': int(sys.argv[1])}})\n"
        "db['notes'].purge({'_id': 2})\n"  # begins another segment
        "db.close()\n"
    )
    with rango.open(path) as db:
        db["notes"].insert_many([{"_id": 1, "n": 0}, {"_id": 2}])
        for n in (1, 2):
            subprocess.run([sys.executable, "-c", code, str(n)], check=True)
        assert [each["document"]["n"] for each in db["notes"].history(1)] == [2, 1, 0]


def test_a_damaged_commit_is_said_and_a_closed_database_too(tmp_path: Path) -> None:
    db = engine_database(tmp_path / "db")
    notes = db["notes"]
    notes.insert_one({"_id": 1, "mark": "needle-in-the-log"})
    notes.update_one({"_id": 1}, {"$set": {"mark": 2}})
    (segment,) = (tmp_path / "db" / "oplog").glob("*.rgo")
    data = segment.read_bytes()
    with segment.open("r+b") as file:
        file.seek(data.index(b"needle"))
        file.write(b"N")
    with pytest.raises(LogCorrupted):
        list(notes.history(1))
    versions = notes.history(1)
    db.close()
    with pytest.raises(DatabaseClosed):
        next(versions)


def test_a_backup_and_another_key_keep_the_history(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": 1, "n": 0})
        db["notes"].update_one({"_id": 1}, {"$set": {"n": 1}})
        expected = list(db["notes"].history(1))
        db.backup(tmp_path / "backup")
    rango.restore(tmp_path / "backup", to=tmp_path / "restored")
    rango.rekey(tmp_path / "db", new_key=bytes(32))
    for found, secret in (("restored", None), ("db", bytes(32))):
        with rango.open(tmp_path / found, key=secret) as db:
            db["notes"].update_one({"_id": 1}, {"$set": {"n": 2}})
            newest, *before = db["notes"].history(1)
            assert newest["set"] == {"n": 2} and before == expected


@pytest.mark.parametrize("value", [["a", "list"], {"$in": [1]}])
def test_what_cannot_be_an_id_is_refused_at_once(db: rango.Database, value: Any) -> None:
    with pytest.raises(InvalidDocument):
        db["notes"].history(value)
    assert kinds(db["notes"], "never") == kinds(db["none"], 1) == []


@pytest.mark.parametrize(
    ("before", "after", "changed", "removed"),
    [
        ({"a": 1}, {"a": 1.0}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, {"a": True}, []),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1}}}, {}, ["a.b.d"]),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {}}, []),
        ({"a": {}}, {"a": {"b": 1}}, {"a": {"b": 1}}, []),
        ({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3]}, []),
        ({"a": None}, {}, {}, ["a"]),
        ({}, {"a": None}, {"a": None}, []),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {}, []),
        ({"a": float("nan")}, {"a": float("nan")}, {}, []),
    ],
)
def test_difference(before: Any, after: Any, changed: Any, removed: Any) -> None:
    found = difference(before, after)
    assert repr(found) == repr((changed, removed))


def test_history_of_a_read_only_encrypted_database_and_of_asyncio(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db", key=bytes(32)) as db:
        db["notes"].insert_one({"_id": 1, "n": 0})
        db["notes"].update_one({"_id": 1}, {"$set": {"n": 1}})
    with rango.open(tmp_path / "db", key=bytes(32), read_only=True) as db:
        expected = list(db["notes"].history(1))
        assert [each["set"] for each in expected] == [{"n": 1}, {"n": 0}]

    async def read() -> list[Any]:
        async with await rango.aio.open(tmp_path / "db", key=bytes(32)) as later:
            return [each async for each in later["notes"].history(1)]

    assert asyncio.run(read()) == expected


def test_the_command_shows_what_changed(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    with engine_database(tmp_path / "db", clock=ticking()) as db:
        db["notes"].insert_one({"_id": "a", "n": 1, "old": True})
        db["notes"].replace_one({"_id": "a"}, {"n": 2})
        db["notes"].delete_one({"_id": "a"})
    run = CliRunner().invoke
    shown = run(root, ["history", "-P", path, "notes", "a"]).output.splitlines()
    assert [line.split()[-1] for line in shown if line.strip()[0].isdigit()] == [
        *("delete", "replace", "insert")
    ]
    assert shown[2:4] == ["         n = 2", "         - old"]
    (line,) = run(
        root, ["history", "-P", path, "notes", "a", "--limit", "1", "--json"]
    ).output.splitlines()
    assert json.loads(line)["kind"] == "delete"
    assert run(root, ["history", "-P", path, "notes", "b"]).exit_code != 0
