"""Cursors: lazy, on one snapshot, with PyMongo's options."""

from __future__ import annotations

from typing import Any

import pytest

from rango import errors
from rango.collection import Collection
from rango.database import Database
from tests.unit.api_case import db  # noqa: F401 - the fixture

COUNT = 250


@pytest.fixture
def things(db: Database) -> Collection:  # noqa: F811
    collection = db["things"]
    collection.insert_many([{"_id": i, "a": i % 10, "b": {"c": -i}} for i in range(COUNT)])
    return collection


def ids(documents: Any) -> list[Any]:
    return [document["_id"] for document in documents]


def test_iteration_and_to_list(things: Collection) -> None:
    assert ids(things.find()) == list(range(COUNT))
    assert ids(things.find().to_list()) == list(range(COUNT))
    assert ids(things.find({"a": 3})) == list(range(3, COUNT, 10))
    assert things.find({"a": 11}).to_list() == []
    assert things.find_many({"_id": 7}) == [{"_id": 7, "a": 7, "b": {"c": -7}}]


def test_to_list_in_pieces(things: Collection) -> None:
    cursor = things.find().batch_size(7)
    assert ids([next(cursor)]) == [0]
    assert ids(cursor.to_list(10)) == list(range(1, 11))
    assert ids(cursor.to_list(0)) == []
    assert ids([cursor.next()]) == [11]
    assert ids(cursor.to_list(3)) == [12, 13, 14]
    assert ids(cursor.to_list()) == list(range(15, COUNT))
    assert cursor.to_list() == []
    assert not cursor.alive


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("size", [0, 1, 3, 1000])
def test_sort_skip_and_limit(things: Collection, index: bool, size: int) -> None:
    if index:
        things.create_index("a")
        things.create_index("b.c")
    expected = sorted(range(COUNT), key=lambda i: -i)
    cursor = things.find().sort("b.c", 1).skip(5).limit(20).batch_size(size)
    assert ids(cursor) == expected[5:25]
    assert ids(things.find(sort=[("b.c", -1)], limit=3)) == [0, 1, 2]
    assert ids(things.find(sort={"a": -1, "_id": 1}, limit=3)) == [9, 19, 29]
    assert ids(things.find(sort="a", skip=24, limit=2)) == [240, 1]
    assert ids(things.find({"a": {"$gte": 8}}).sort([("a", -1), ("_id", -1)]).limit(2)) == [
        249,
        239,
    ]
    assert ids(things.find({"a": {"$in": [2, 5]}}, sort=[("a", -1)], limit=1)) in ([5], [245])
    assert ids(things.find(skip=COUNT + 1)) == []
    assert ids(things.find({"_id": 4}, sort="a", skip=0, limit=9)) == [4]
    assert ids(things.find({"_id": 4}, skip=1)) == []


def test_projection(things: Collection) -> None:
    assert things.find({"_id": 3}).projection({"a": 1}).to_list() == [{"_id": 3, "a": 3}]
    assert things.find_many({"_id": 3}, ["b.c"]) == [{"_id": 3, "b": {"c": -3}}]
    assert things.find_many({"_id": 3}, {"_id": 0, "a": 1}) == [{"a": 3}]
    assert things.find_many({"_id": 3}, {"b": 0}) == [{"_id": 3, "a": 3}]
    assert things.find({"_id": 3}, ["a"]).projection(None).to_list()[0]["b"] == {"c": -3}
    with pytest.raises(errors.InvalidFilter):
        things.find({}, {"a": 1, "b": 0})


def test_a_cursor_reads_one_snapshot(things: Collection) -> None:
    cursor = things.find({"a": 1}, {"a": 1})
    first = next(cursor)
    things.delete_many({"a": 1})
    things.insert_one({"_id": 1000, "a": 1})
    assert ids([first, *cursor]) == list(range(1, COUNT, 10))
    assert ids(cursor.rewind()) == [1000]


def test_a_cursor_starts_at_its_first_fetch(things: Collection) -> None:
    cursor = things.find({"a": 1})
    things.delete_many({"_id": {"$ne": 1}})
    assert ids(cursor) == [1]


def test_clone_and_rewind(things: Collection) -> None:
    cursor = things.find({"a": 1}, limit=2).batch_size(1)
    assert ids([next(cursor)]) == [1]
    assert ids(cursor.clone()) == [1, 11]
    assert ids(cursor.rewind()) == [1, 11]


def test_close(things: Collection) -> None:
    cursor = things.find()
    assert cursor.alive
    next(cursor)
    cursor.close()
    cursor.close()
    assert not cursor.alive
    assert list(cursor) == []
    with things.find() as other:
        next(other)
    assert other.to_list() == []
    with pytest.raises(errors.InvalidArgument, match="rewind"):
        other.limit(1)


def test_options_are_fixed_by_the_first_fetch(things: Collection) -> None:
    cursor = things.find()
    next(cursor)
    for change in (
        lambda: cursor.sort("a"),
        lambda: cursor.skip(1),
        lambda: cursor.limit(1),
        lambda: cursor.projection(["a"]),
        lambda: cursor.hint("a_1"),
        lambda: cursor.batch_size(1),
    ):
        with pytest.raises(errors.InvalidArgument, match="clone"):
            change()


@pytest.mark.parametrize("bad", [-1, 1.5, "1", True, None])
def test_counts_are_checked(things: Collection, bad: Any) -> None:
    cursor = things.find()
    calls = [lambda: cursor.skip(bad), lambda: cursor.batch_size(bad)]
    if bad != -1:  # PyMongo's negative limit
        calls += [lambda: cursor.limit(bad), lambda: things.find(limit=bad)]
    for call in calls:
        with pytest.raises(errors.InvalidArgument):
            call()


@pytest.mark.parametrize("bad", [[("a", 2)], [("a",)], {"a": "up"}, 5, [("$a", 1)]])
def test_sorts_are_checked(things: Collection, bad: Any) -> None:
    with pytest.raises(errors.InvalidFilter):
        things.find(sort=bad)
    with pytest.raises(errors.InvalidFilter):
        things.find().sort(bad)


def test_hint(things: Collection) -> None:
    things.create_index("a")
    things.create_index([("b.c", -1)])
    assert things.find({"a": 1}).hint("b.c_-1").explain()["index"] == "b.c_-1"
    assert things.find({"a": 1}, hint=[("a", 1)]).explain()["index"] == "a_1"
    assert things.find({"a": 1}, hint={"a": 1}).explain()["index"] == "a_1"
    assert things.find({"a": 1}, hint="_id_").explain()["plan"] == "scan"
    assert things.find({"a": 1}, hint="a_1").hint(None).explain()["index"] == "a_1"
    assert sorted(ids(things.find({"a": 1}, hint="b.c_-1"))) == list(range(1, COUNT, 10))
    assert ids(things.find({}, hint="b.c_-1", sort="_id", limit=2)) == [0, 1]
    cursor = things.find(hint="missing")
    with pytest.raises(errors.NotFound, match="missing"):
        next(cursor)
    for bad in (5, [], [1]):
        with pytest.raises(errors.InvalidArgument):
            things.find(hint=bad)


def test_explain(things: Collection) -> None:
    things.create_index("a")
    plan = things.find({"_id": 3}, sort="a").explain()
    assert (plan["plan"], plan["sort"], plan["returned"]) == ("id", None, 1)
    plan = things.find({"a": 3, "b.c": -3}).explain()
    assert (plan["plan"], plan["index"], plan["returned"]) == ("index", "a_1", 1)
    assert (plan["keys_examined"], plan["docs_examined"]) == (25, 25)
    plan = things.find({"b.c": -3}, sort="a").explain()
    assert (plan["plan"], plan["sort"]) == ("scan", "memory")
    plan = things.find({"a": {"$gte": 8}}, sort="a").explain()
    assert (plan["plan"], plan["sort"]) == ("index", "index")


def test_a_closed_database_ends_cursors(things: Collection, db: Database) -> None:  # noqa: F811
    cursor = things.find().batch_size(10)
    next(cursor)
    db.close()
    with pytest.raises(errors.DatabaseClosed):
        cursor.to_list()
    with pytest.raises(errors.DatabaseClosed):
        things.find().to_list()


def test_find_in_a_collection_that_is_not_there(db: Database) -> None:  # noqa: F811
    assert db["none"].find({"a": 1}).to_list() == []
    assert db["none"].find().explain()["returned"] == 0
    assert db.list_collection_names() == []
