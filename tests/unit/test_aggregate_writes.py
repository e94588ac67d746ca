"""$out and $merge."""

from __future__ import annotations

from typing import Any

import pytest

from rango.database import Database
from rango.errors import (
    DuplicateKey,
    InvalidDocument,
    InvalidName,
    InvalidUpdate,
    NotFound,
    RangoError,
)
from tests.unit.aggregate_case import db, filled, refused, run

__all__ = ["db"]


def content(db: Database, name: str = "o") -> list[dict[str, Any]]:
    """The documents of a collection, by `_id`."""
    return db[name].find_many({}, sort="_id")


def test_out_has_run_when_aggregate_returns(db: Database) -> None:
    filled(db, [{"_id": at, "a": at} for at in range(5)])
    cursor = db["c"].aggregate([{"$match": {"a": {"$gt": 2}}}, {"$out": "o"}])
    assert content(db) == [{"_id": 3, "a": 3}, {"_id": 4, "a": 4}]
    assert cursor.to_list() == []


def test_out_replaces_everything_and_keeps_indexes(db: Database) -> None:
    filled(db, [{"_id": 1, "a": 1}, {"_id": 2, "a": 2}])
    filled(db, [{"_id": 7, "a": 1}, {"_id": 2, "a": 9}], "o")
    db["o"].create_index("a", unique=True)
    run(db, {"$out": {"coll": "o"}})
    assert content(db) == [{"_id": 1, "a": 1}, {"_id": 2, "a": 2}]
    assert [each["name"] for each in db["o"].list_indexes()] == ["_id_", "a_1"]
    assert db["o"].find_many({"a": 1}) == [{"_id": 1, "a": 1}]
    run(db, {"$match": {"_id": 0}}, {"$out": "o"})
    assert content(db) == []


def test_out_to_its_own_source(db: Database) -> None:
    filled(db, [{"_id": at, "a": at} for at in range(300)])
    run(db, {"$match": {"a": {"$lt": 2}}}, {"$set": {"b": 1}}, {"$out": "c"})
    assert content(db, "c") == [{"_id": 0, "a": 0, "b": 1}, {"_id": 1, "a": 1, "b": 1}]


def test_out_makes_an_id_where_there_is_none(db: Database) -> None:
    filled(db, [{"_id": 1, "a": 1}])
    run(db, {"$project": {"_id": 0}}, {"$out": "o"})
    (found,) = content(db)
    assert set(found) == {"_id", "a"}


def test_an_out_that_fails_has_written_nothing(db: Database) -> None:
    filled(db, [{"_id": 1, "a": 5}, {"_id": 2, "a": 5}])
    filled(db, [{"_id": 9}], "o")
    with pytest.raises(DuplicateKey):
        run(db, {"$set": {"_id": "$a"}}, {"$out": "o"})
    assert content(db) == [{"_id": 9}]
    with pytest.raises(InvalidDocument):
        run(db, {"$set": {"_id": [1]}}, {"$out": "o"})
    with pytest.raises(InvalidName):
        run(db, {"$out": "$x"})
    assert content(db) == [{"_id": 9}]


def test_out_in_a_transaction_is_a_part_of_it(db: Database) -> None:
    filled(db, [{"_id": 1}])
    with pytest.raises(KeyError), db.transaction():
        filled(db, [{"_id": 2}])
        run(db, {"$out": "o"})
        assert content(db) == [{"_id": 1}, {"_id": 2}]
        raise KeyError
    assert content(db) == []


@pytest.mark.parametrize(
    ("matched", "expected"),
    [
        ("replace", {"_id": 1, "b": 2}),
        ("keepExisting", {"_id": 1, "a": 1, "b": 1}),
        ("merge", {"_id": 1, "a": 1, "b": 2}),
        ([{"$set": {"b": {"$add": ["$b", "$$new.b"]}}}], {"_id": 1, "a": 1, "b": 3}),
        ([{"$replaceWith": {"_id": 1, "x": "$$new.b"}}], {"_id": 1, "x": 2}),
    ],
)
def test_merge_with_what_is_there(db: Database, matched: Any, expected: dict[str, Any]) -> None:
    filled(db, [{"_id": 1, "b": 2}, {"_id": 2, "b": 2}])
    filled(db, [{"_id": 1, "a": 1, "b": 1}, {"_id": 3}], "o")
    run(db, {"$merge": {"into": "o", "whenMatched": matched}})
    assert content(db) == [expected, {"_id": 2, "b": 2}, {"_id": 3}]


def test_merge_with_variables(db: Database) -> None:
    filled(db, [{"_id": 1, "b": 2}])
    filled(db, [{"_id": 1}], "o")
    stage = {"into": "o", "let": {"y": "$b"}, "whenMatched": [{"$set": {"x": "$$y", "z": "$$k"}}]}
    db["c"].aggregate([{"$merge": stage}], let={"k": 5})
    assert content(db) == [{"_id": 1, "x": 2, "z": 5}]


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"whenMatched": "fail"}, DuplicateKey, 11000),
        ({"whenNotMatched": "fail"}, NotFound, 13113),
        ({"whenMatched": [{"$set": {"_id": 7}}]}, InvalidUpdate, 66),
        ({"on": "b"}, NotFound, 51183),
    ],
)
def test_a_merge_that_fails_has_written_nothing(
    db: Database, options: dict[str, Any], error: type[RangoError], code: int
) -> None:
    filled(db, [{"_id": 1, "b": 1}, {"_id": 3, "b": 2}])
    filled(db, [{"_id": 1}, {"_id": 2}], "o")
    with pytest.raises(error) as raised:
        run(db, {"$merge": {"into": "o", **options}})
    assert raised.value.code == code
    assert content(db) == [{"_id": 1}, {"_id": 2}]


def test_merge_that_discards(db: Database) -> None:
    filled(db, [{"_id": 1, "b": 1}, {"_id": 3, "b": 2}])
    filled(db, [{"_id": 1}], "o")
    run(db, {"$merge": {"into": "o", "whenNotMatched": "discard"}})
    assert content(db) == [{"_id": 1, "b": 1}]


def test_merge_on_other_fields(db: Database) -> None:
    filled(db, [{"_id": 1, "k": 5, "v": "new"}, {"_id": 2, "k": 6, "v": "new"}])
    filled(db, [{"_id": 10, "k": 5, "v": "old"}], "o")
    db["o"].create_index("k", unique=True)
    with pytest.raises(InvalidUpdate, match="_id"):
        run(db, {"$merge": {"into": "o", "on": "k"}})
    run(db, {"$unset": "_id"}, {"$merge": {"into": "o", "on": ["k"]}})
    found = db["o"].find_many({}, sort="k")
    assert [(each["k"], each["v"]) for each in found] == [(5, "new"), (6, "new")]
    assert found[0]["_id"] == 10
    with pytest.raises(InvalidUpdate) as raised:
        run(db, {"$project": {"v": 1}}, {"$merge": {"into": "o", "on": "k"}})
    assert raised.value.code == 51132


def test_two_documents_of_one_merge_meet_in_the_target(db: Database) -> None:
    filled(db, [{"_id": 1, "k": 5, "a": 1}, {"_id": 2, "k": 5, "b": 2}])
    run(db, {"$set": {"_id": "$k"}}, {"$unset": "k"}, {"$merge": "o"})
    assert content(db) == [{"_id": 5, "a": 1, "b": 2}]


@pytest.mark.parametrize(
    ("code", "stages"),
    [
        (40601, [{"$out": "o"}, {"$match": {}}]),
        (40601, [{"$merge": "o"}, {"$out": "p"}]),
        (16990, [{"$out": 1}]),
        (16994, [{"$out": {"db": "x", "coll": "y"}}]),
        (51182, [{"$merge": 1}]),
        (40414, [{"$merge": {}}]),
        (40415, [{"$merge": {"into": "o", "x": 1}}]),
        (51191, [{"$merge": {"into": "o", "whenMatched": "x"}}]),
        (51190, [{"$merge": {"into": "o", "whenNotMatched": "x"}}]),
        (51199, [{"$merge": {"into": "o", "let": {"x": 1}}}]),
        (51186, [{"$merge": {"into": "o", "on": []}}]),
        (51134, [{"$merge": {"into": "o", "on": [1]}}]),
        (31465, [{"$merge": {"into": "o", "on": ["a", "a"]}}]),
        (72, [{"$merge": {"into": "o", "whenMatched": [{"$match": {}}]}}]),
    ],
)
def test_what_is_refused(db: Database, code: int, stages: list[dict[str, Any]]) -> None:
    refused(db, code, *stages)
