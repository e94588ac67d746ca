"""The options of find() and its kin, in PyMongo's spelling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64

import rango
from rango.collection import Collection
from rango.errors import (
    ExpressionFailed,
    InvalidArgument,
    InvalidExpression,
    InvalidFilter,
    NotFound,
    Timeout,
)
from rango.option_types import FindOptions
from rango.reads import KNOWN, REFUSED

CASELESS = {"locale": "en", "strength": 2}


@pytest.fixture
def things(tmp_path: Path) -> Iterator[Collection]:
    with rango.open(tmp_path / "db") as db:
        db["things"].insert_many(
            [
                {"_id": 1, "n": "b", "g": [1, 5, 9], "x": 1},
                {"_id": 2, "n": "A", "g": [7, 5], "x": 2},
                {"_id": 3, "n": "a", "g": [{"s": 1}, {"s": 8}], "x": 3},
                {"_id": 4, "n": "C", "x": 4},
            ]
        )
        yield db["things"]


def ids(found: Any) -> list[Any]:
    return [each["_id"] for each in found]


def test_the_positional_field_follows_the_filter(things: Collection) -> None:
    assert things.find_one({"g": {"$gt": 4}}, {"g.$": 1}) == {"_id": 1, "g": [5]}
    assert things.find_one({"g": 5, "_id": 2}, {"g.$": 1, "x": 1}) == {"_id": 2, "g": [5], "x": 2}
    assert things.find_one({"g.s": {"$gt": 5}}, {"g.$": 1}) == {"_id": 3, "g": [{"s": 8}]}
    found = things.find({"g": {"$elemMatch": {"s": {"$gt": 5}}}}, {"g.$": 1}, sort=[("x", 1)])
    assert found.to_list() == [{"_id": 3, "g": [{"s": 8}]}]
    with pytest.raises(InvalidFilter) as caught:
        things.find_one({"x": 1}, {"g.$": 1})
    assert caught.value.code == 51246


def test_elem_match_is_projected_whatever_the_filter(things: Collection) -> None:
    assert things.find_many({"x": {"$lte": 2}}, {"g": {"$elemMatch": {"$gt": 6}}}) == [
        {"_id": 1, "g": [9]},
        {"_id": 2, "g": [7]},
    ]


def test_let_reaches_filters_and_projections(things: Collection) -> None:
    found = things.find_many(
        {"$expr": {"$gte": ["$x", "$$least"]}},
        {"more": {"$subtract": ["$x", "$$least"]}},
        let={"least": {"$add": [1, 2]}},
    )
    assert found == [{"_id": 3, "more": 0}, {"_id": 4, "more": 1}]
    assert things.count_documents({"$expr": {"$eq": ["$x", "$$v"]}}, let={"v": 2}) == 1


@pytest.mark.parametrize(
    ("let", "kind"),
    [
        (5, InvalidArgument),
        ({"A": 1}, InvalidExpression),
        ({"1": 1}, InvalidExpression),
        ({"a": {"$no": 1}}, InvalidExpression),
        ({"a": {"$divide": [1, 0]}}, (InvalidExpression, ExpressionFailed)),
    ],
)
def test_a_let_that_is_none_is_refused(things: Collection, let: Any, kind: Any) -> None:
    with pytest.raises(kind):
        things.find({}, let=let)


def test_a_collation_reaches_filter_sort_projection_and_distinct(things: Collection) -> None:
    assert ids(things.find({"n": "a"}, collation=CASELESS)) == [2, 3]
    assert ids(things.find({"n": "a"}).collation(CASELESS)) == [2, 3]
    assert ids(things.find({"n": "a"}, collation=CASELESS).collation(None)) == [3]
    assert ids(things.find({}, sort=[("n", 1)])) == [2, 4, 3, 1]
    assert ids(things.find({}, sort=[("n", 1)], collation=CASELESS)) == [2, 3, 1, 4]
    assert things.count_documents({"n": "a"}, collation=CASELESS) == 2
    assert things.distinct("n", collation=CASELESS) == ["b", "A", "C"]
    things.create_index("n")
    assert ids(things.find({}, sort=[("n", 1)], collation=CASELESS)) == [2, 3, 1, 4]
    assert ids(things.find({"n": "a"}, collation=CASELESS)) == [2, 3]
    things.insert_one({"_id": 5, "tags": ["X", "y"]})
    found = things.find_one(5, {"tags": {"$elemMatch": {"$eq": "x"}}}, collation=CASELESS)
    assert found == {"_id": 5, "tags": ["X"]}
    with pytest.raises(InvalidArgument):
        things.find({}, collation={"locale": 5})


def test_a_negative_limit_counts_as_its_value(things: Collection) -> None:
    assert ids(things.find({}, limit=-2)) == [1, 2]
    assert ids(things.find({}).limit(-1)) == [1]
    with pytest.raises(InvalidArgument):
        things.count_documents({"x": 1}, limit=-1)
    with pytest.raises(InvalidArgument):
        things.find({}, skip=-1)


def test_a_query_that_takes_too_long_is_stopped(things: Collection) -> None:
    things.insert_many([{"x": number, "t": "abc" * 50} for number in range(60_000)])
    slow = {"$or": [{"t": {"$regex": f"x{number}y"}} for number in range(60)]}
    with pytest.raises(Timeout):
        things.find({**slow}, max_time_ms=1).to_list()
    with pytest.raises(Timeout):
        things.find(slow).max_time_ms(1).to_list()
    with pytest.raises(Timeout):
        things.count_documents(slow, max_time_ms=1)
    assert things.find({"x": 1}, max_time_ms=60_000, limit=1).to_list()
    with pytest.raises(InvalidArgument):
        things.find({}, max_time_ms=-1)


def test_options_without_effect_are_taken(things: Collection) -> None:
    found = things.find(
        {"x": 1},
        comment="why",
        allow_disk_use=True,
        no_cursor_timeout=True,
        allow_partial_results=False,
        session=None,
        batch_size=1,
        return_key=False,
        min=None,
    )
    assert ids(found.comment("c").allow_disk_use(True)) == [1]
    assert things.find_one(1, comment="x") == things.find_one(1)
    assert things.count_documents({}, comment={"a": 1}) == 4
    assert things.estimated_document_count(comment="c") == 4
    assert things.distinct("x", {"x": 1}, comment="c") == [1]


@pytest.mark.parametrize(
    "options", [{"min": [("x", 1)]}, {"max": []}, {"return_key": True}, {"what": 1}]
)
def test_options_that_are_not_there_are_refused(things: Collection, options: Any) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        things.find({}, **options)


def test_cursor_methods_that_are_not_there_say_what_to_do(things: Collection) -> None:
    cursor = things.find({})
    with pytest.raises(InvalidArgument, match="expr"):
        cursor.where("true")
    with pytest.raises(InvalidArgument, match="filter"):
        cursor.min([("x", 1)])
    with pytest.raises(InvalidArgument, match="filter"):
        cursor.max([("x", 1)])


def test_a_cursor_is_cut_and_indexed(things: Collection) -> None:
    assert ids(things.find({})[1:3]) == [2, 3]
    assert ids(things.find({})[2:]) == [3, 4]
    assert ids(things.find({})[:2]) == [1, 2]
    assert ids(things.find({})[2:2]) == []
    assert things.find({}, skip=1)[1]["_id"] == 3
    for index in (9, -1, slice(0, 4, 2), slice(3, 1), slice(-1, None)):
        with pytest.raises(IndexError):
            things.find({})[index]
    with pytest.raises(InvalidArgument):
        things.find({})["x"]  # type: ignore[call-overload]
    cursor = things.find({})
    next(cursor)
    with pytest.raises(InvalidArgument):
        cursor[0]


def test_distinct_values(things: Collection) -> None:
    assert things.distinct("g") == [1, 5, 9, 7, {"s": 1}, {"s": 8}]
    assert things.distinct("g.s") == [1, 8]
    assert things.distinct("g.0") == [1, 7, {"s": 1}]
    assert things.distinct("_id", {"x": {"$gt": 2}}) == [3, 4]
    assert things.distinct("missing") == []
    assert things.find({"x": {"$lt": 3}}, sort=[("x", -1)], limit=1).distinct("x") == [1, 2]
    with pytest.raises(NotFound):
        things.distinct("x", {"x": 1}, hint="none")


def test_distinct_takes_equal_values_for_one(things: Collection) -> None:
    things.drop()
    things.insert_many(
        [
            {"v": 1},
            {"v": Int64(1)},
            {"v": 1.0},
            {"v": Decimal128("1.00")},
            {"v": None},
            {},
            {"v": []},
            {"v": [[1, 2], None, True]},
            {"v": {"a": 1, "b": 2}},
            {"v": {"b": 2, "a": 1}},
            {"v": DBRef("c", 7)},
        ]
    )
    assert things.distinct("v") == [
        1,
        None,
        [1, 2],
        True,
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        DBRef("c", 7),
    ]
    assert things.distinct("v.$id") == [7]
    assert things.distinct("v.a") == [1]


def test_the_options_that_are_taken_are_those_that_type_checkers_know() -> None:
    assert set(FindOptions.__annotations__) - REFUSED.keys() == KNOWN
