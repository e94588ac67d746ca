"""bulk_write: requests in order, write errors, and what is stored after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymongo
import pytest

import rango
from rango import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne, errors

COUNTS = ("nInserted", "nMatched", "nModified", "nRemoved", "nUpserted")


@pytest.fixture
def db(tmp_path: Path) -> Any:
    with rango.open(tmp_path / "db", durability="memory") as database:
        yield database


@pytest.fixture
def things(db: rango.Database) -> rango.Collection:
    collection = db["things"]
    collection.insert_many([{"_id": n, "x": n * 11} for n in (1, 2, 3)])
    return collection


REQUESTS: list[Any] = [
    InsertOne({"_id": 4, "x": 44}),
    UpdateOne({"_id": 1}, {"$inc": {"x": 1}}),
    UpdateMany({"_id": {"$gt": 1}}, {"$set": {"y": 1}}),
    ReplaceOne({"_id": 2}, {"z": 1}),
    UpdateOne({"_id": 9}, {"$set": {"x": 99}}, upsert=True),
    ReplaceOne({"_id": 10}, {"x": 1}, upsert=True),
    DeleteOne({"_id": 3}),
    DeleteMany({"x": {"$gte": 44}}),
]


def check_all(things: rango.Collection, requests: list[Any]) -> None:
    result = things.bulk_write(requests)
    assert (result.inserted_count, result.matched_count, result.modified_count) == (1, 5, 5)
    assert (result.deleted_count, result.upserted_count) == (3, 2)
    assert result.upserted_ids == {4: 9, 5: 10}
    assert result.bulk_api_result["writeErrors"] == []
    assert things.find_many() == [{"_id": 1, "x": 12}, {"_id": 2, "z": 1}, {"_id": 10, "x": 1}]


def test_every_kind_of_request(things: rango.Collection) -> None:
    check_all(things, REQUESTS)


def test_requests_of_pymongo_are_taken(things: rango.Collection) -> None:
    kinds = {name: getattr(pymongo, name) for name in rango.__all__ if hasattr(pymongo, name)}
    made = []
    for each in REQUESTS:
        kind = kinds[type(each).__name__]
        if isinstance(each, InsertOne):
            made.append(kind(each._doc))
        elif isinstance(each, DeleteOne | DeleteMany):
            made.append(kind(each._filter))
        else:
            made.append(kind(each._filter, each._doc, upsert=bool(each._upsert)))
    check_all(things, made)


def test_ordered_stops_at_the_first_error(things: rango.Collection) -> None:
    requests = [
        InsertOne({"_id": 5}),
        UpdateOne({"_id": 2}, {"$inc": {"x": "no"}}),
        InsertOne({"_id": 6}),
    ]
    with pytest.raises(errors.BulkWriteError) as caught:
        things.bulk_write(requests)
    details = caught.value.details
    (error,) = details["writeErrors"]
    assert (error["index"], error["code"]) == (1, 14)
    assert error["op"] == {
        "q": {"_id": 2},
        "u": {"$inc": {"x": "no"}},
        "multi": False,
        "upsert": False,
    }
    assert [details[name] for name in COUNTS] == [1, 0, 0, 0, 0]
    assert things.count_documents({}) == 4


def test_unordered_tries_all(things: rango.Collection) -> None:
    requests = [
        InsertOne({"_id": 1}),
        DeleteOne({"$foo": 1}),
        UpdateMany({}, {"$inc": {"x": 1}}),
        UpdateMany({}, {"$push": {"x": 1}}),
        InsertOne({"_id": 6}),
    ]
    with pytest.raises(errors.BulkWriteError) as caught:
        things.bulk_write(requests, ordered=False)
    details = caught.value.details
    assert [each["index"] for each in details["writeErrors"]] == [0, 1, 3]
    first = details["writeErrors"][0]
    assert (first["code"], first["keyPattern"], first["keyValue"]) == (
        11000,
        {"_id": 1},
        {"_id": 1},
    )
    assert first["op"] == {"_id": 1}
    assert [details[name] for name in COUNTS] == [1, 3, 3, 0, 0]
    assert things.find_many() == [
        {"_id": 1, "x": 12},
        {"_id": 2, "x": 23},
        {"_id": 3, "x": 34},
        {"_id": 6},
    ]


@pytest.mark.parametrize(
    "requests",
    [
        [],
        5,
        {"a": 1},
        [InsertOne({"_id": 8}), {"insert": 1}],
        [InsertOne({"_id": 8}), InsertOne(5)],  # type: ignore[arg-type]
        [InsertOne({"_id": 8}), InsertOne({"a": Ellipsis})],
        [InsertOne({"_id": 8}), UpdateOne({}, {"x": 1})],
        [InsertOne({"_id": 8}), UpdateOne({}, {})],
        [InsertOne({"_id": 8}), UpdateOne({}, 5)],
        [InsertOne({"_id": 8}), UpdateOne(None, {"$set": {"x": 1}})],  # type: ignore[arg-type]
        [InsertOne({"_id": 8}), ReplaceOne({}, {"$set": {"x": 1}})],
    ],
    ids=repr,
)
def test_what_no_server_would_take_is_refused_before_anything_is_written(
    things: rango.Collection, requests: Any
) -> None:
    with pytest.raises((errors.InvalidArgument, errors.InvalidUpdate, errors.InvalidDocument)):
        things.bulk_write(requests)
    assert things.count_documents({}) == 3


def test_each_request_sees_those_before_it(things: rango.Collection) -> None:
    things.bulk_write(
        [
            InsertOne({"_id": 5, "x": 1}),
            UpdateOne({"_id": 5}, {"$inc": {"x": 1}}),
            UpdateOne({"x": 2}, {"$set": {"y": 1}}),
            DeleteOne({"y": 1}),
            InsertOne({"_id": 5}),
        ]
    )
    assert things.find_one(5) == {"_id": 5}


def test_ids_are_made_and_put_into_the_documents(things: rango.Collection) -> None:
    document: dict[str, Any] = {"x": 1}
    things.bulk_write([InsertOne(document)])
    assert things.find_one(document["_id"]) == document


def test_many_requests_over_several_commits(things: rango.Collection) -> None:
    requests: list[Any] = [InsertOne({"_id": n}) for n in range(100, 2600)]
    requests.insert(1500, InsertOne({"_id": 1}))
    with pytest.raises(errors.BulkWriteError) as caught:
        things.bulk_write(requests)
    assert caught.value.details["nInserted"] == 1500
    assert things.count_documents({}) == 1503


def test_inside_a_transaction_they_are_a_part_of_it(
    db: rango.Database, things: rango.Collection
) -> None:
    with pytest.raises(ZeroDivisionError), db.transaction():
        things.bulk_write([InsertOne({"_id": 7}), UpdateMany({}, {"$set": {"x": 0}})])
        raise ZeroDivisionError
    assert things.find_one(7) is None
    with db.transaction(), pytest.raises(errors.BulkWriteError):
        things.bulk_write([InsertOne({"_id": 7}), InsertOne({"_id": 7})])
    assert things.find_one(7) == {"_id": 7}


def test_requests_are_equal_when_all_that_they_ask_for_is() -> None:
    assert UpdateOne({"a": 1}, {"$set": {"a": 2}}) == UpdateOne({"a": 1}, {"$set": {"a": 2}})
    assert UpdateOne({"a": 1}, {"$set": {"a": 2}}) != UpdateMany({"a": 1}, {"$set": {"a": 2}})
    assert "DeleteOne" in repr(DeleteOne({"a": 1}))
