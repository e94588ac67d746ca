"""Writes of the one document that an `_id` names, and updates that only set fields at the top: they
take a shorter way, and must do what the long one does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.record import encode
from rango.engine.update import compile_update
from rango.errors import (
    DuplicateKey,
    InvalidArgument,
    InvalidFilter,
    InvalidUpdate,
    QueryCancelled,
)

WAYS = ({"_id": 1}, {"_id": {"$eq": 1}})
"""Filters of the short way and of the long one."""


@pytest.fixture(params=WAYS, ids=["short", "long"])
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[rango.Collection[Any]]:
    with rango.open(tmp_path / "db", durability="memory") as db:
        db["notes"].create_index("a", unique=True)
        db["notes"].insert_many([{"_id": 1, "a": 1, "b": [1]}, {"_id": 2, "a": 2}])
        yield db["notes"]


def test_an_update(notes: rango.Collection[Any], way: dict[str, Any]) -> None:
    done = notes.update_one(way, {"$set": {"a": 7, "c": None}})
    assert (done.matched_count, done.modified_count, done.upserted_id) == (1, 1, None)
    assert notes.find_one(1) == {"_id": 1, "a": 7, "b": [1], "c": None}
    assert [each["_id"] for each in notes.find_many({"a": 7})] == [1]
    done = notes.update_one(way, {"$set": {"a": 7}})
    assert (done.matched_count, done.modified_count) == (1, 0)
    assert len(list(notes.history(1))) == 2


def test_no_document(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": 1})
        for name in ("notes", "nothing"):
            assert db[name].update_one({"_id": 9}, {"$set": {"a": 7}}).matched_count == 0
            assert db[name].delete_one({"_id": 9}).deleted_count == 0


def test_a_replacement(notes: rango.Collection[Any], way: dict[str, Any]) -> None:
    assert notes.replace_one(way, {"x": 1}).modified_count == 1
    assert notes.find_one(1) == {"_id": 1, "x": 1}
    with pytest.raises(InvalidUpdate):
        notes.replace_one(way, {"_id": 3})


def test_a_deletion(notes: rango.Collection[Any], way: dict[str, Any]) -> None:
    assert notes.delete_one(way).deleted_count == 1
    assert notes.delete_one(way).deleted_count == 0
    assert notes.find_one(1) is None and notes.count_documents({}) == 1
    assert list(notes.find_many({"a": 1})) == []


def test_a_duplicate_changes_nothing_and_names_the_index(
    notes: rango.Collection[Any], way: dict[str, Any]
) -> None:
    with pytest.raises(DuplicateKey) as caught:
        notes.update_one(way, {"$set": {"a": 2}})
    assert caught.value.pattern == {"a": 1}
    assert notes.find_one(1) == {"_id": 1, "a": 1, "b": [1]}
    # the lock was let go
    assert notes.update_one(way, {"$set": {"a": 3}}).modified_count == 1


def test_inside_a_transaction_it_is_a_part_of_it(tmp_path: Path, way: dict[str, Any]) -> None:
    with rango.open(tmp_path / "db") as db:
        notes = db["notes"]
        notes.insert_one({"_id": 1, "a": 1})
        with pytest.raises(ZeroDivisionError), db.transaction():
            notes.update_one(way, {"$set": {"a": 2}})
            assert notes.find_one(1) == {"_id": 1, "a": 2}
            notes.delete_one(way)
            assert notes.find_one(1) is None
            raise ZeroDivisionError
        assert notes.find_one(1) == {"_id": 1, "a": 1}


def test_a_cancelled_scope_writes_nothing(
    notes: rango.Collection[Any], way: dict[str, Any]
) -> None:
    with rango.cancel_scope() as scope:
        scope.cancel()
        for write in (
            lambda: notes.update_one(way, {"$set": {"a": 2}}),
            lambda: notes.replace_one(way, {"a": 2}),
            lambda: notes.delete_one(way),
        ):
            with pytest.raises(QueryCancelled):
                write()
    assert notes.find_one(1) == {"_id": 1, "a": 1, "b": [1]}


@pytest.mark.parametrize("upsert", ["", 0, "no", None])
def test_a_flag_is_a_flag(notes: rango.Collection[Any], way: dict[str, Any], upsert: Any) -> None:
    with pytest.raises(InvalidArgument):
        notes.update_one(way, {"$set": {"a": 2}}, upsert=upsert)
    with pytest.raises(InvalidArgument):
        notes.replace_one(way, {"a": 2}, upsert=upsert)


def test_they_are_counted_and_timed(tmp_path: Path, way: dict[str, Any]) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": 1, "a": 1})
        db["notes"].update_one(way, {"$set": {"a": 2}})
        db["notes"].replace_one(way, {"a": 3})
        db["notes"].delete_one(way)
        stats = db.stats()
        done = stats["operations"]
        assert (done["updates"], done["deletes"]) == (2, 1)
        assert stats["times"]["update"]["count"] == 2 and stats["times"]["delete"]["count"] == 1


def test_two_floats_are_the_same_if_they_are_stored_as_the_same_bytes() -> None:
    values = [0.0, -0.0, 1.0, 1.5, math.inf, -math.inf, math.nan, -math.nan, 5e-324, 1e308]
    for old, new in itertools.product(values, values):
        is_same = encode({"": old}) == encode({"": new})
        document = {"a": old}
        assert (compile_update({"$set": {"a": new}}).apply(document) is document) == is_same


def test_new_fields_of_a_plain_set_come_in_the_order_of_their_names() -> None:
    update = {"$set": {"c": 1, "10": 2, "9": 3, "b": 4}}
    assert list(compile_update(update).apply({"z": 0, "c": 0})) == ["z", "c", "9", "10", "b"]
    whole = compile_update({**update, "$unset": {"x": 1}}).apply({"z": 0, "c": 0})
    assert list(whole) == ["z", "c", "9", "10", "b"]


@pytest.mark.parametrize("name", ["", "_rev", "a.", "$a", "a\0", 1])
def test_a_plain_set_refuses_what_any_set_refuses(name: object) -> None:
    for update in ({"$set": {name: 1}}, {"$set": {name: 1}, "$unset": {"x": 1}}):
        with pytest.raises(InvalidUpdate):
            compile_update(update).apply({})


@pytest.mark.parametrize("value", [2**63, "\ud800"])
def test_an_id_that_cannot_be_is_a_wrong_filter(notes: rango.Collection[Any], value: Any) -> None:
    for write in (
        lambda: notes.update_one({"_id": value}, {"$set": {"a": 2}}),
        lambda: notes.update_one({"_id": value}, {"$nothing": {"a": 2}}),
        lambda: notes.replace_one({"_id": value}, {"a": 2}),
        lambda: notes.delete_one({"_id": value}),
    ):
        with pytest.raises(InvalidFilter, match="_id"):
            write()
