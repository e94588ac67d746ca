"""Plans: the rule of choice by example, and that no matching record lies outside the bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from bson import Decimal128, MaxKey, MinKey
from hypothesis import given, settings
from hypothesis import strategies as st

from rango._ext.filter import NO_VALUE, compile_filter
from rango._ext.key import index_keys, key_of
from rango._ext.record import encode
from rango.engine.plan import Interval, Plan, bounds_of, choose, intervals, successor
from rango.engine.sort import Sort
from tests.unit.test_filter import DOCUMENTS, PATHS, VALUES, filters, record_of


class Index(NamedTuple):
    name: str
    path: str
    unique: bool = False
    multikey: bool = False


A = Index("a_1", "a")
UNIQUE = Index("u_1", "u", unique=True)
MULTI = Index("t_1", "t", multikey=True)
PLACE = Index("a.0_1", "a.0")
INDEXES = [A, UNIQUE, MULTI, PLACE]


def plan_of(filter: dict[str, Any], sort: Sort = (), limit: int = 0) -> Plan:
    return choose(compile_filter(filter), sort, INDEXES, limit)


@pytest.mark.parametrize(
    ("filter", "sort", "limit", "expected"),
    [
        ({}, (), 0, ("scan", None, True, False)),
        ({"b": 1}, (), 0, ("scan", None, True, False)),
        ({"_id": 1, "a": 2}, (("b", 1),), 0, ("id", None, True, False)),
        ({"_id": [1]}, (), 0, ("scan", None, True, False)),
        ({"_id": {"$gt": 1, "$lt": 9}}, (("_id", -1),), 0, ("id_range", None, True, True)),
        ({"_id": {"$in": [1, 2]}, "a": {"$gt": 1}}, (), 0, ("id_range", None, True, False)),
        ({"_id": {"$in": [1, 2]}, "a": 1}, (), 0, ("index", "a_1", True, False)),
        ({"a": 1, "u": 1}, (), 0, ("index", "u_1", True, False)),
        ({"a": {"$gt": 1}, "t": 5}, (), 0, ("index", "t_1", True, False)),
        ({"a": 1}, (("a", -1),), 0, ("index", "a_1", True, False)),
        ({"a": 1}, (("_id", -1),), 0, ("index", "a_1", True, True)),
        ({"a": 1}, (("b", 1),), 0, ("index", "a_1", False, False)),
        ({"a": {"$gte": 1, "$lt": 5}}, (("a", -1), ("_id", -1)), 0, ("index", "a_1", True, True)),
        ({"a": {"$gte": 1}}, (("a", 1), ("_id", -1)), 0, ("index", "a_1", False, False)),
        ({"t": {"$gt": 1}}, (("t", 1),), 0, ("index", "t_1", False, False)),
        ({}, (("a", -1),), 10, ("index", "a_1", True, True)),
        ({}, (("a", -1),), 0, ("scan", None, False, False)),
        ({}, (("t", 1),), 10, ("scan", None, False, False)),
        ({}, (("_id", -1),), 0, ("scan", None, True, True)),
        ({"a": [1, 2]}, (), 0, ("scan", None, True, False)),
        ({"a": {"$in": [1, [2]]}}, (), 0, ("scan", None, True, False)),
        ({"$or": [{"a": 1}, {"b": 1}]}, (), 0, ("scan", None, True, False)),
        ({"$or": [{"a": 1}, {"a": {"$gt": "x"}}]}, (("a", 1),), 0, ("index", "a_1", True, False)),
        ({"a": {"$ne": 1}}, (), 0, ("scan", None, True, False)),
        ({"a.0": 1}, (), 0, ("scan", None, True, False)),
        ({"a": None}, (), 0, ("index", "a_1", True, False)),
    ],
)
def test_choice(
    filter: dict[str, Any], sort: Sort, limit: int, expected: tuple[str, str | None, bool, bool]
) -> None:
    """expected: kind, name of the index, is_sorted, reverse."""
    plan = plan_of(filter, sort, limit)
    explained = plan.explain()
    assert (explained["plan"], explained["index"], plan.is_sorted, plan.reverse) == expected
    assert explained["sort"] == ("order of the keys" if expected[2] else "in memory")


def test_point_read_names_the_value() -> None:
    assert plan_of({"_id": "x"}).id_value == "x"
    assert plan_of({"a": "x"}).id_value is NO_VALUE


def test_intervals() -> None:
    five, nine = key_of(5), key_of(9)
    numbers = (five[:1], bytes((five[0] + 1,)))
    assert intervals({"b": 1}, "a") == [(None, None)]
    assert intervals({"a": 5}, "a") == [(five, successor(five))]
    assert intervals({"a": {"$gt": 5}}, "a") == [(successor(five), numbers[1])]
    assert intervals({"a": {"$lte": 9}}, "a") == [(numbers[0], successor(nine))]
    assert intervals({"a": {"$gte": 5, "$lt": 9}}, "a") == [(five, nine)]
    assert intervals({"a": {"$gte": 9, "$lt": 5}}, "a") == []
    assert intervals({"a": {"$gte": 5, "$lt": 9}}, "a", multikey=True) == [(five, numbers[1])]
    assert intervals({"a": {"$in": [9, 5, 5.0]}}, "a") == [
        (five, successor(five)),
        (nine, successor(nine)),
    ]
    assert intervals({"a": {"$in": []}}, "a") == []
    assert intervals({"a": {"$gt": MaxKey()}}, "a") == []
    assert intervals({"a": {"$lte": MaxKey()}}, "a") == [(None, None)]
    assert intervals({"a": {"$gt": MinKey()}}, "a") == [(None, None)]
    assert intervals({"a": {"$lt": Decimal128("NaN")}}, "a") == []
    assert intervals({"$and": [{"a": {"$in": [5, 7]}}, {"a": {"$gt": 6}}]}, "a") == [
        (key_of(7), successor(key_of(7)))
    ]


def test_successor() -> None:
    assert successor(b"ab") == b"ac"
    assert successor(b"a\xff") == b"b"
    assert successor(b"\xff\xff") is None


def test_long_keys_are_bounded_by_their_prefix() -> None:
    for size in (500, 600, 1_100, 5_000):
        value = "x" * size
        key = key_of(value)
        for filter in ({"a": value}, {"a": {"$gte": value}}, {"a": {"$lte": value}}):
            assert is_inside(intervals(filter, "a"), key + key_of(1)), (size, filter)
        longer = key_of(value + "y")
        assert is_inside(intervals({"a": {"$gt": value}}, "a"), longer + key_of(1))
        assert is_inside(intervals({"a": {"$lt": value + "y"}}, "a"), key + key_of(1))


def is_inside(bounds: list[Interval], key: bytes) -> bool:
    return any(
        (lower is None or lower <= key) and (upper is None or key < upper)
        for lower, upper in bounds
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(DOCUMENTS, min_size=1, max_size=5), filters(2), PATHS)
def test_matching_records_lie_inside_the_bounds(
    documents: list[dict[str, Any]], filter: dict[str, Any], path: str
) -> None:
    check_bounds(documents, filter, path)


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=5), filters(1), st.sampled_from(["a", "a.b"]))
def test_bounds_on_a_path_that_the_filter_names(
    values: list[Any], filter: dict[str, Any], path: str
) -> None:
    # most random filters say nothing about a random path; here each one does
    operand = next(iter(filter.values()))
    if isinstance(operand, list):
        named: dict[str, Any] = {"$or": [{path: {"$in": operand}}, {path: {"$gt": 1, "$lte": 5}}]}
    else:
        named = {path: operand, "$and": [filter]}
    documents = [{"a": value} for value in values] + [{"a": {"b": value}} for value in values]
    check_bounds(documents, named, path)


def check_bounds(documents: list[dict[str, Any]], filter: dict[str, Any], path: str) -> None:
    program = compile_filter(filter)
    if any(part.isdigit() for part in path.split(".")):
        return
    for document in documents:
        if not program.matches(record_of(document)):
            continue
        keys, multikey = index_keys(encode(document), path)
        # an index that is multikey because of another document stays right for this one
        for flag in {multikey, True}:
            bounds = bounds_of(program.normal, path, flag)
            if bounds is not None:
                listed = list(bounds.intervals)
                assert any(is_inside(listed, key + key_of(1)) for key in keys), (document, listed)
                assert listed == sorted(listed, key=lambda each: each[0] or b"")
