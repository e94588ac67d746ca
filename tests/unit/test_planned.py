"""Known plans: the plan that is kept or built from a shape is the one that the rule chooses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64
from bson.objectid import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from rango._ext.collection_info import CollectionInfo, IndexInfo
from rango._ext.filter import compile_filter
from rango.engine import planned as planned_module
from rango.engine.bounds import Bounds
from rango.engine.filters import program_of
from rango.engine.implication import conjuncts_of
from rango.engine.keyed import FieldBounds
from rango.engine.plan import Plan, choose
from rango.engine.planned import SHAPE_NODES_MAX, SHAPE_TEXT_MAX, planned, shape_of
from tests.unit.test_plan import index_on

PATHS = ("a", "b", "c", "a.b", "_id")
VALUES: list[Any] = [
    0, 1, -1, 2.5, float("nan"), float("inf"), Int64(7), True, "", "x", "\0" * 20, "\U0001f600" * 7,
    "y" * 61, "y" * 600, None, [], [1], {"b": 1}, b"x", ObjectId("0" * 24),
    datetime(2020, 1, 1, tzinfo=UTC),
]  # fmt: skip
COLLECTIONS = [
    (index_on("a"), index_on("b"), index_on("c", unique=True)),
    (index_on("a", "b"), index_on("b", ("a", -1)), index_on("c", many="c")),
    (index_on("a", sparse=True), index_on("a.b", "a", many="a.b"), index_on(("b", -1), "c", "a")),
    (index_on("a", partial={"b": {"$gte": 1}}), index_on("b", "a", unique=True), index_on("b")),
    (index_on("a", "b", many="a b"), index_on("a", many="a"), index_on("_id", "a")),
]
conditions = st.one_of(
    st.sampled_from(VALUES),
    st.builds(
        lambda one, low, other, high: {one: low, other: high},
        st.sampled_from(["$gt", "$gte", "$eq"]),
        st.sampled_from(VALUES),
        st.sampled_from(["$lt", "$lte", "$gt", "$eq"]),
        st.sampled_from(VALUES),
    ),
    st.builds(
        lambda one, low: {one: low},
        st.sampled_from(["$gt", "$lte", "$lt", "$gte"]),
        st.sampled_from(VALUES),
    ),
)
filters = st.dictionaries(st.sampled_from(PATHS), conditions, max_size=3)
sorts = st.lists(
    st.tuples(st.sampled_from(PATHS), st.sampled_from([1, -1])),
    max_size=2,
    unique_by=lambda field: field[0],
)


def parts(value: Any) -> Any:
    """What a plan consists of, to be compared."""
    if isinstance(value, tuple):
        return [parts(each) for each in value]
    names = getattr(type(value), "__slots__", ())
    if isinstance(value, Plan | FieldBounds | Bounds):
        return {name: parts(getattr(value, name)) for name in names}
    return value


@settings(max_examples=400, deadline=None)
@given(filters, sorts, st.integers(0, 1), st.sampled_from(COLLECTIONS))
def test_a_known_plan_is_the_one_that_the_rule_chooses(
    filter: dict[str, Any],
    sort: list[tuple[str, int]],
    limit: int,
    indexes: tuple[IndexInfo, ...],
) -> None:
    program = compile_filter(filter)
    info = CollectionInfo("c", 5, indexes)
    known = planned(program, tuple(sort), info, limit)
    assert parts(known) == parts(choose(program, tuple(sort), indexes, limit))


def test_a_plan_is_kept_for_its_program() -> None:
    info = CollectionInfo("c", 5, COLLECTIONS[0])
    program = program_of({"a": 1})
    assert planned(program, (), info, 0) is planned(program, (), info, 0)
    once = compile_filter({"a": 1})
    assert planned(once, (), info, 0) is not planned(once, (), info, 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": 1}, {"a": "x"}),
        ({"a": 1, "b": 2}, {"a": True, "b": 2.5}),
        ({"a": {"$gt": 1}}, {"a": {"$gte": "x"}}),
        ({"a": {"$gt": 1, "$lt": 5}}, {"a": {"$gte": 2, "$lte": 3}}),
        ({"a": 1, "b": {"$gt": 1, "$lt": 5}}, {"a": 0, "b": {"$gte": 2, "$lte": 3}}),
    ],
)
def test_other_values_of_a_known_shape_only_change_the_bounds(
    first: dict[str, Any], second: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = (index_on("a", "b"), index_on("b"))
    info = CollectionInfo("c", 5, indexes)
    planned(compile_filter(first), (), info, 0)
    program = compile_filter(second)
    expected = parts(choose(program, (), indexes))
    monkeypatch.delattr(planned_module, "index_plan")
    monkeypatch.delattr(planned_module, "choose")
    assert parts(planned(program, (), info, 0)) == expected


def test_an_empty_range_of_a_known_shape_has_no_interval() -> None:
    indexes = (index_on("a"),)
    info = CollectionInfo("c", 5, indexes)
    planned(compile_filter({"a": {"$gt": 1, "$lt": 5}}), (), info, 0)
    program = compile_filter({"a": {"$gt": 5, "$lt": 1}})
    assert parts(planned(program, (), info, 0)) == parts(choose(program, (), indexes))
    assert len(planned(program, (), info, 0).intervals) == 0


def test_an_array_that_appears_makes_another_plan() -> None:
    index = index_on("a")
    info = CollectionInfo("c", 5, (index,))
    program = compile_filter({"a": {"$gt": 1, "$lt": 9}})
    assert planned(program, (), info, 0).planner_class == 5
    index.marks = 1
    assert planned(program, (), info, 0).planner_class == 6


@pytest.mark.parametrize(
    "filter",
    [
        {"a": None},
        {"a": [1]},
        {"a": float("nan")},
        {"a": {"$in": [1, 2]}},
        {"a": {"$gt": 1, "$gte": 2}},
        {"a": {"$gt": 1, "$eq": 2}},
        {"a": "y" * (SHAPE_TEXT_MAX + 1)},
        {f"a{number}": number for number in range(SHAPE_NODES_MAX + 1)},
    ],
)
def test_a_filter_whose_values_count_has_no_shape(filter: dict[str, Any]) -> None:
    assert shape_of(conjuncts_of(compile_filter(filter).normal)) is None


def test_filters_that_differ_in_values_have_one_shape() -> None:
    one = compile_filter({"a": 1, "b": {"$gte": 3, "$lt": 5}})
    other = compile_filter({"a": "x", "b": {"$gt": 9, "$lte": 7}})
    assert shape_of(conjuncts_of(one.normal)) == shape_of(conjuncts_of(other.normal))
    assert shape_of(conjuncts_of(one.normal)) == ("=a", ">b", "<b")
