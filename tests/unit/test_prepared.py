"""Finds whose plan is known: what goes the short way, and what does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.prepared import Unprepared
from rango.engine.query import Query
from rango.errors import DatabaseClosed, ForkedHandle, InvalidFilter, QueryCancelled

BY_N = {"sort": [("n", -1)], "limit": 2}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with rango.open(tmp_path / "db", durability="memory") as db:
        rows = db["rows"]
        rows.create_index("n")
        rows.create_index("kind")
        rows.create_index([("kind", 1), ("w", 1)])
        rows.insert_many({"_id": n, "n": n, "kind": "ab"[n % 2], "w": n * 0.5} for n in range(6))
        yield db


def finds(db: rango.Database, filter: Any, options: Any) -> Any:
    """What the short way says."""
    prepared = db._handle.prepared_finds
    assert prepared is not None
    options = dict(options)
    return prepared.find("rows", filter, options.pop("projection", None), options)


def ids(documents: Any) -> list[Any]:
    return [each["_id"] for each in documents]


def asked_twice(db: rango.Database, filter: Any, options: Any) -> Any:
    """The short way's answer to what was asked twice, and the general one."""
    general = [db["rows"].find_many(filter, **options) for _ in range(2)]
    assert general[0] == general[1] == db["rows"].find(filter, **options).to_list()
    return finds(db, filter, options), general[0]


@pytest.mark.parametrize(
    ("filter", "options"),
    [
        ({}, BY_N),
        ({}, {"sort": "n", "limit": 3}),
        ({}, {"limit": 3}),
        ({}, {}),
        ({}, {"sort": [("_id", -1)]}),
        ({"kind": "a"}, {}),
        ({"kind": "a"}, {"limit": 1}),
        ({"n": {"$gte": 4}}, {}),
        ({"kind": "b", "w": {"$gte": 1}}, {"sort": [("w", 1)]}),
        ({"w": {"$gt": 0.9}}, {"limit": 2}),
        ({"n": 2}, {"projection": {"w": 1}}),
        ({"n": 2}, {"projection": {"w": True, "_id": 0}}),
        ({}, {**BY_N, "projection": {"w": 0, "nothing": 0}}),
    ],
)
def test_what_is_asked_again_goes_the_short_way(
    db: rango.Database, filter: Any, options: Any
) -> None:
    short, general = asked_twice(db, filter, options)
    assert short == general
    assert short


def test_another_value_has_the_same_plan(db: rango.Database) -> None:
    asked_twice(db, {"kind": "a"}, {})
    assert ids(finds(db, {"kind": "b"}, {})) == [1, 3, 5]
    assert finds(db, {"kind": "c"}, {}) == []
    assert finds(db, {"kind": 3}, {}) == []
    asked_twice(db, {"n": 2}, {"limit": 1})
    assert ids(finds(db, {"n": 3.0}, {"limit": 1})) == [3]


@pytest.mark.parametrize("value", [None, float("nan"), [1], {"$gt": 1}, {"b": 1}, "x" * 61])
def test_a_value_that_decides_more_is_no_path(db: rango.Database, value: Any) -> None:
    asked_twice(db, {"n": 2}, {})
    assert type(finds(db, {"n": value}, {})) is not list
    assert db["rows"].find_many({"n": value}) == db["rows"].find({"n": value}).to_list()


@pytest.mark.parametrize(
    ("filter", "options"),
    [
        (None, {}),
        ({"_id": 1}, {}),
        ({1: 2}, {}),
        ({}, {"limit": True}),
        ({}, {"limit": -1}),
        ({}, {"limit": 1 << 40}),
        ({}, {"skip": 1}),
        ({}, {"limit": 1, "hint": "n_1"}),
        ({}, {"sort": [("n", True)]}),
        ({}, {"sort": [["n", 1]]}),
        ({}, {"sort": {"n": 1}}),
        ({}, {"projection": ["w"]}),
        ({}, {"projection": {}}),
        ({}, {"projection": {"w": 1.0}}),
        ({}, {"projection": {"w": {"$slice": 1}}}),
        ({"n": object()}, {}),
        ({"n": "x" * 600}, {}),
    ],
)
def test_what_is_unusual_goes_the_general_way(
    db: rango.Database, filter: Any, options: Any
) -> None:
    for _ in range(3):
        assert finds(db, filter, options) is None


def test_what_is_sorted_in_memory_stays_there(db: rango.Database) -> None:
    short, general = asked_twice(db, {}, {"sort": [("w", -1)], "limit": 2})
    assert short is None
    assert ids(general) == [5, 4]


@pytest.mark.parametrize(
    ("filter", "projection"),
    [
        ({"n": 2}, {"n": 1, "_id": 0}),
        ({"n": {"$lt": 3}}, {"_id": 1}),
        ({"n": 2}, {"a.b": 1}),
        ({"n": 2}, {"_rev": 1}),
        ({"n": 2}, {"w": 1, "kind": 0}),
    ],
)
def test_a_projection_that_needs_more_is_made_anew(
    db: rango.Database, filter: Any, projection: Any
) -> None:
    answers = []
    for _ in range(3):
        try:
            answers.append(db["rows"].find_many(filter, projection))
        except InvalidFilter:
            answers.append(None)
    assert answers[0] == answers[1] == answers[2]
    assert type(finds(db, filter, {"projection": projection})) is not list


def test_a_cursor_that_is_one_batch_goes_the_short_way(db: rango.Database) -> None:
    rows = db["rows"]
    for _ in range(3):
        assert ids(rows.find({}).sort("n", -1).limit(2)) == [5, 4]
        assert ids(rows.find({"kind": "b"}).limit(2)) == [1, 3]
    cursor = rows.find({"kind": "b"}, limit=2)
    before = db._handle.metrics.queries
    assert ids(cursor) == [1, 3]
    assert not cursor.alive
    assert cursor._query.plan is None
    assert db._handle.metrics.queries == before + 1
    assert ids(cursor.rewind()) == [1, 3]
    with db.transaction():
        rows.delete_one({"_id": 1})
        assert ids(rows.find({"kind": "b"}, limit=2)) == [3, 5]


def test_a_cursor_asks_what_the_filter_was_when_it_was_made(db: rango.Database) -> None:
    rows = db["rows"]
    filter: dict[str, Any] = {"kind": "b"}
    for _ in range(3):
        rows.find(filter, limit=1).to_list()
    cursor = rows.find(filter, limit=1)
    filter["kind"] = "a"
    assert ids(cursor) == [1]
    assert ids(cursor.clone()) == [1]
    assert cursor.clone()[0]["_id"] == 1
    deep: dict[str, Any] = {"n": {"$gte": 3}}
    for _ in range(3):
        rows.find(deep, limit=1).to_list()
    cursor = rows.find(deep, limit=1)
    deep["n"]["$gte"] = 0
    assert ids(cursor) == [3]


def test_a_cancelled_cursor_reads_nothing(db: rango.Database) -> None:
    for _ in range(3):
        db["rows"].find({}, limit=2).to_list()
    cursor = db["rows"].find({}, limit=2)
    cursor.cancel()
    with pytest.raises(QueryCancelled):
        cursor.to_list()


def test_what_was_refused_is_asked_anew_when_there_is_an_index(db: rango.Database) -> None:
    short, general = asked_twice(db, {"w": 1.5}, {})
    assert short is None
    assert ids(general) == [3]
    db["rows"].create_index("w")
    short, general = asked_twice(db, {"w": 1.5}, {})
    assert short == general
    assert ids(finds(db, {"w": 2.0}, {})) == [4]


def test_a_plan_is_not_kept_for_marks_that_came_after_it(db: rango.Database) -> None:
    rows = db["rows"]
    rows.find_many({"n": {"$gte": 1, "$lte": 3}})
    unprepared = finds(db, {"n": {"$gte": 1, "$lte": 3}}, {})
    assert type(unprepared) is Unprepared
    view = db._handle.core.view()
    info = view.catalog.collections["rows"]
    query = Query({"n": {"$gte": 1, "$lte": 3}})
    plan = query.choose(info)
    marks = tuple(each.marks for each in info.indexes)
    rows.insert_one({"_id": "both", "n": [0, 9]})
    assert plan.index is not None
    unprepared.prepare(
        view.catalog, info, marks, index_tree=info.indexes[0].tree_id, intervals=plan.intervals,
        reverse=False, is_unique=False, program=None, names=None, is_kept=False,
    )  # fmt: skip
    assert finds(db, {"n": {"$gte": 1, "$lte": 3}}, {}) is None
    assert ids(rows.find_many({"n": {"$gte": 1, "$lte": 3}})) == [1, 2, 3, "both"]


class Shifting(dict[str, Any]):
    """An operand that says something else each time that it is read."""

    def items(self) -> Any:
        self["$gte"] += 1
        return dict(self).items()


def test_a_filter_that_changes_while_it_is_read_is_not_another_ones_plan(
    db: rango.Database,
) -> None:
    for _ in range(6):
        db["rows"].find_many({"n": Shifting({"$gte": 1})})
    for low in range(6):
        expected = list(range(low, 6))
        assert ids(db["rows"].find_many({"n": {"$gte": low}})) == expected
        assert ids(db["rows"].find_many({"n": {"$gte": low}})) == expected


def test_an_array_that_came_later_changes_the_plan(db: rango.Database) -> None:
    rows = db["rows"]
    asked_twice(db, {"n": 2}, {})
    asked_twice(db, {}, BY_N)
    rows.insert_one({"_id": "both", "n": [2, 9]})
    assert type(finds(db, {"n": 2}, {})) is not list
    assert ids(rows.find_many({"n": 2})) == [2, "both"]
    assert ids(rows.find_many({}, **BY_N)) == ["both", 5]
    short, general = asked_twice(db, {"n": {"$in": [2, 9]}}, {})
    assert short == general
    assert ids(short) == [2, "both"]


def test_an_index_that_goes_takes_its_plans_along(db: rango.Database) -> None:
    rows = db["rows"]
    asked_twice(db, {"kind": "a"}, {})
    rows.drop_index("kind_1")
    assert type(finds(db, {"kind": "a"}, {})) is not list
    assert ids(rows.find_many({"kind": "a"})) == [0, 2, 4]
    db.drop_collection("rows")
    assert rows.find_many({"kind": "a"}) == rows.find_many({}) == []
    rows.insert_one({"_id": 7, "kind": "a"})
    assert ids(rows.find_many({"kind": "a"})) == [7]


def test_a_partial_index_is_chosen_by_values(db: rango.Database) -> None:
    rows = db["rows"]
    rows.create_index([("w", 1)], partial_filter={"w": {"$gt": 1}})
    for value in (2.0, 2.0, 0.5, 0.5):
        assert ids(rows.find_many({"w": value})) == [int(value * 2)]
    assert type(finds(db, {"w": 2.0}, {})) is not list


def test_writes_are_seen_and_a_transaction_sees_its_own(db: rango.Database) -> None:
    rows = db["rows"]
    asked_twice(db, {}, BY_N)
    rows.insert_one({"_id": 9, "n": 9})
    assert ids(finds(db, {}, BY_N)) == [9, 5]
    with db.transaction():
        rows.delete_one({"_id": 9})
        assert finds(db, {}, BY_N) is None
        assert ids(rows.find_many({}, **BY_N)) == [5, 4]
    assert ids(rows.find_many({}, **BY_N)) == [5, 4]


def test_a_snapshot_reads_its_own_moment(db: rango.Database) -> None:
    asked_twice(db, {}, BY_N)
    with db.snapshot() as past:
        db["rows"].insert_one({"_id": 9, "n": 9})
        for _ in range(3):
            assert ids(past["rows"].find_many({}, **BY_N)) == [5, 4]
        assert ids(db["rows"].find_many({}, **BY_N)) == [9, 5]


def test_a_cancel_scope_is_obeyed(db: rango.Database) -> None:
    asked_twice(db, {}, BY_N)
    with pytest.raises(QueryCancelled), rango.cancel_scope() as scope:
        assert finds(db, {}, BY_N) is None
        scope.cancel()
        db["rows"].find_many({}, **BY_N)


def test_find_one_goes_the_short_way(db: rango.Database) -> None:
    for _ in range(3):
        assert db["rows"].find_one({"kind": "b"}, sort=[("_id", 1)])["_id"] == 1
        assert db["rows"].find_one({"kind": "b"})["_id"] == 1
        assert db["rows"].find_one({"kind": "c"}) is None
    assert ids(finds(db, {"kind": "b"}, {"limit": 1})) == [1]


def test_documents_are_made_anew(db: rango.Database) -> None:
    first, _ = asked_twice(db, {}, BY_N)
    first[0]["n"] = "changed"
    assert finds(db, {}, BY_N)[0]["n"] == 5


def test_errors_are_those_of_the_general_way(db: rango.Database) -> None:
    for _ in range(3):
        with pytest.raises(InvalidFilter):
            db["rows"].find_many({"n": {"$nothing": 1}})
        with pytest.raises(InvalidFilter):
            db["rows"].find_many({}, sort=[("n", 2)])
    asked_twice(db, {}, BY_N)
    rows = db["rows"]
    db.close()
    with pytest.raises(DatabaseClosed):
        rows.find_many({}, **BY_N)


def test_queries_are_counted_and_timed(db: rango.Database) -> None:
    metrics = db._handle.metrics
    asked_twice(db, {}, BY_N)
    before = metrics.queries, sum(metrics.times["find"].buckets)
    for _ in range(80):
        db["rows"].find_many({}, **BY_N)
    assert metrics.queries == before[0] + 80
    assert sum(metrics.times["find"].buckets) == before[1] + 80


def test_there_is_no_short_way_where_what_is_slow_is_logged(tmp_path: Path) -> None:
    with rango.open(tmp_path / "slow", slow_query_ms=1) as db:
        assert db._handle.prepared_finds is None


def test_it_does_not_grow_without_end(db: rango.Database) -> None:
    for at in range(2000):
        for _ in range(2):
            db["rows"].find_many({"n": {"$gt": at}})
    assert finds(db, {"n": {"$gt": 1999}}, {}) == []
    assert type(finds(db, {"n": {"$gt": 1}}, {})) is not list


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_says_that_its_handle_is_the_parents(db: rango.Database) -> None:
    asked_twice(db, {}, BY_N)
    child = os.fork()
    if child == 0:
        try:
            db["rows"].find_many({}, **BY_N)
        except ForkedHandle:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
