"""What Rango logs: structured, and never a value, an `_id` or a key."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from ci.environment import ROOT
from rango import errors
from rango.timing import shape_of

SECRET = "canary-in-the-coal-mine"


class Kept(logging.Handler):
    """Keeps every record."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def events(self) -> list[str]:
        return [getattr(record, "event", "") for record in self.records]

    def fields(self, event: str) -> dict[str, Any]:
        """Those of the last record of an event."""
        found = [each for each in self.records if getattr(each, "event", "") == event]
        fields: dict[str, Any] = vars(found[-1])["fields"]
        return fields


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    logger = logging.getLogger("rango")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def workload(db: rango.Database) -> None:
    """Everything with a secret in it: values, ids, keys of indexes, filters, updates, errors."""
    notes = db["notes"]
    notes.create_index("text", unique=True)
    notes.insert_one({"_id": SECRET, "text": SECRET})
    notes.insert_many([{"_id": f"{SECRET} {n}", "text": f"{SECRET} {n}"} for n in range(20)])
    for refused in ({"_id": SECRET}, {"text": SECRET}):
        with contextlib.suppress(errors.DuplicateKey):
            notes.insert_one(refused)
    notes.update_many({"text": {"$regex": SECRET}}, {"$set": {"more": {SECRET: SECRET}}})
    notes.update_one({"more": {SECRET: 1}}, {"$set": {"x": SECRET}}, upsert=True)
    assert notes.find_many({"$or": [{"_id": SECRET}, {"more": {SECRET: SECRET}}]})
    assert notes.find_many({"text": {"$in": [SECRET]}}, sort=[("text", -1)])
    assert notes.find_one({"text": SECRET}) and notes.find_one(SECRET)
    assert notes.count_documents({"text": {"$gte": SECRET}})
    assert notes.distinct("text", {"text": {"$ne": SECRET}})
    assert list(notes.aggregate([{"$match": {"text": SECRET}}, {"$set": {"y": SECRET}}]))
    with pytest.raises(errors.InvalidFilter):
        notes.find_many({"a": {"$nonsense": SECRET}})
    with contextlib.suppress(RuntimeError), db.transaction():
        notes.insert_one({"_id": f"{SECRET} t", "text": f"{SECRET} t"})
        raise RuntimeError(SECRET)
    notes.delete_many({"_id": {"$in": [f"{SECRET} 1", f"{SECRET} 2"]}})
    notes.purge({"_id": f"{SECRET} 3"})
    db.checkpoint()


def test_no_secret_is_ever_logged(tmp_path: Path, kept: Kept) -> None:
    options: dict[str, Any] = {"passphrase": f"passphrase {SECRET}", "slow_query_ms": 0}
    with rango.open(tmp_path / "db", **options) as db:
        workload(db)
        db.keys.add(key=SECRET.ljust(32).encode()[:32])
        db.keys.rotate()
        db.backup(tmp_path / "backup")
    with rango.open(tmp_path / "db", **options) as db:
        assert list(db.check()) == []
    assert {"opened", "closed", "checkpoint", "keys", "purged", "backup", "slow"} <= set(
        kept.events()
    )
    for record in kept.records:
        text = repr(vars(record)) + record.getMessage()
        assert SECRET not in text
        assert SECRET.encode().hex() not in text
        assert getattr(record, "event", None) and isinstance(vars(record)["fields"], dict)


def test_a_slow_query_shows_shape_plan_and_counters(tmp_path: Path, kept: Kept) -> None:
    with rango.open(tmp_path / "db", slow_query_ms=0) as db:
        notes = db["notes"]
        notes.insert_many({"_id": n, "n": n} for n in range(100))
        notes.create_index("n")
        assert len(notes.find_many({"n": {"$gte": 90}, "x": None}, sort=[("n", -1)], limit=5)) == 5
        fields = kept.fields("slow")
        assert fields.pop("duration_ms") > 0
        assert fields == {
            "operation": "find",
            "collection": "notes",
            "filter": {"n": {"$gte": "?"}, "x": "?"},
            "sort": [["n", -1]],
            "skip": 0,
            "limit": 5,
            "plan": "index",
            "index": "n_1",
            "keys_examined": fields["keys_examined"],
            "docs_examined": fields["docs_examined"],
            "returned": 5,
        }
        assert fields["keys_examined"] >= 5
        notes.delete_many({"n": {"$lt": 3}})
        assert kept.fields("slow")["operation"] == "delete"
        assert kept.fields("slow")["changed"] == 3
        list(notes.aggregate([{"$match": {"n": 1}}, {"$group": {"_id": "$n"}}]))
        assert kept.fields("slow")["stages"] == ["$match", "$group"]


def test_without_the_option_nothing_is_slow(tmp_path: Path, kept: Kept) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({})
        db["notes"].find_many({})
    assert "slow" not in kept.events()
    with pytest.raises(errors.InvalidArgument):
        rango.open(tmp_path / "db", slow_query_ms="5")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filter", "shape"),
    [
        ({}, {}),
        ({"a": 1, "b": {"c": 2}}, {"a": "?", "b": "?"}),
        ({"a": {"$gt": 1, "$lt": 5}}, {"a": {"$gt": "?", "$lt": "?"}}),
        ({"$or": [{"a": 1}, {"b": 2}]}, {"$or": [{"a": "?"}, {"b": "?"}]}),
        ({"a": {"$not": {"$in": [1]}}}, {"a": {"$not": {"$in": "?"}}}),
        ({"a": {"$elemMatch": {"b": 1}}}, {"a": {"$elemMatch": {"b": "?"}}}),
        ({"$expr": {"$eq": ["$a", "x"]}}, {"$expr": "?"}),
        ({"a": {}}, {"a": "?"}),
        ({"$or": "x"}, {"$or": "?"}),
    ],
)
def test_shapes(filter: dict[str, Any], shape: dict[str, Any]) -> None:
    assert shape_of(filter) == shape


def test_a_program_that_configures_nothing_sees_nothing(tmp_path: Path) -> None:
    code = (
        "import logging, rango\n"
        f"db = rango.open({str(tmp_path / 'db')!r}, slow_query_ms=0)\n"
        "db['a'].insert_one({'_id': 1}); db['a'].find_many({}); db.close()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (answer.stdout, answer.stderr) == ("", "")
