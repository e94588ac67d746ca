"""Plans: the rule of choice by example, and that no matching record lies outside the bounds."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Decimal128, MaxKey, MinKey
from hypothesis import given, settings
from hypothesis import strategies as st

from rango._ext.collection_info import IndexInfo
from rango._ext.filter import NO_VALUE, compile_filter
from rango._ext.key import index_keys, key_of
from rango._ext.record import encode
from rango.engine import bounds, implication
from rango.engine import plan as plan_module
from rango.engine.bounds import AFTER_NAN, EVERYTHING, UNDEFINED, bounds_of, successor
from rango.engine.keyed import Conjuncts
from rango.engine.plan import Plan, best_of, choose
from rango.engine.sort import Sort
from tests.unit.test_filter import DOCUMENTS, PATHS, VALUES, filters, record_of


def index_on(
    *fields: tuple[str, int] | str,
    unique: bool = False,
    sparse: bool = False,
    partial: dict[str, Any] | None = None,
    many: str = "",
) -> IndexInfo:
    """An index; `many` names the fields that met an array."""
    pairs = tuple((field, 1) if isinstance(field, str) else field for field in fields)
    marks = sum(1 << at for at, (path, _) in enumerate(pairs) if path in many.split())
    name = "_".join(f"{path}_{way}" for path, way in pairs)
    return IndexInfo(name, 9, pairs, unique=unique, sparse=sparse, partial=partial, marks=marks)


A = index_on("a")
UNIQUE = index_on("u", unique=True)
MULTI = index_on("t", many="t")
PLACE = index_on("a.0")
INDEXES = [A, UNIQUE, MULTI, PLACE]


def plan_of(filter: dict[str, Any], sort: Sort = (), limit: int = 0) -> Plan:
    return choose(compile_filter(filter), sort, INDEXES, limit)


@pytest.mark.parametrize(
    ("filter", "sort", "limit", "expected"),
    [
        ({}, (), 0, ("scan", None, True, False)),
        ({"b": 1}, (), 0, ("scan", None, True, False)),
        ({"_id": 1, "a": 2}, (("b", 1),), 0, ("id", None, True, False)),
        ({"_id": [1]}, (), 0, ("id_range", None, True, False)),
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
        ({"a": [1, 2]}, (), 0, ("index", "a_1", True, False)),
        ({"a": {"$in": [1, [2]]}}, (), 0, ("index", "a_1", True, False)),
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
    assert (plan.kind, plan.index and plan.index.name, plan.is_sorted, plan.reverse) == expected


AB = index_on("a", "b")
A_DOWN_B = index_on(("a", -1), ("b", 1))
ABC = index_on("a", "b", "c")


def best(
    filter: dict[str, Any], *indexes: IndexInfo, sort: Sort = (), limit: int = 0
) -> tuple[str, str | None, int, bool, bool, bool]:
    plan = choose(compile_filter(filter), sort, indexes, limit)
    name = None if plan.index is None else plan.index.name
    return plan.kind, name, plan.planner_class, plan.is_sorted, plan.reverse, plan.is_exact


def test_more_fields_that_equal_one_value_come_first() -> None:
    assert best({"a": 1, "b": 2}, A, AB) == ("index", "a_1_b_1", 2, True, False, True)
    assert best({"a": 1}, AB, A) == ("index", "a_1", 2, True, False, True)
    assert best({"b": 1}, AB) == ("scan", None, 8, True, False, False)
    assert best({"a": 1, "c": 2}, ABC) == ("index", "a_1_b_1_c_1", 2, True, False, False)
    # the second field has one value, so that much is met whatever the first one's are
    found = best({"a": {"$in": [1, 2]}, "b": 3}, index_on("b"), AB)
    assert found == ("index", "a_1_b_1", 2, True, False, True)


def test_equality_then_sort_then_range() -> None:
    by_time = index_on("a", "t")
    filter = {"a": 1, "b": {"$gt": 2}}
    sort: Sort = (("t", -1),)
    assert best(filter, AB, by_time, sort=sort) == ("index", "a_1_t_1", 2, True, True, False)
    assert best(filter, by_time, AB) == ("index", "a_1_b_1", 2, True, False, True)
    # a field of one value decides nothing in a sort
    sort = (("a", 1), ("t", 1), ("_id", 1))
    assert best({"a": 1}, by_time, sort=sort)[3:5] == (True, False)


@pytest.mark.parametrize(
    ("fields", "sort", "expected"),
    [
        (("a", "b"), (("a", 1), ("b", 1)), (True, False)),
        (("a", "b"), (("a", -1), ("b", -1)), (True, True)),
        (("a", "b"), (("a", 1), ("b", -1)), (False, False)),
        ((("a", -1), ("b", 1)), (("a", -1), ("b", 1)), (True, True)),
        ((("a", -1), ("b", 1)), (("a", 1), ("b", -1)), (True, False)),
        ((("a", -1), ("b", 1)), (("a", 1), ("b", 1)), (False, False)),
        (("a", ("b", -1)), (("a", 1), ("b", -1), ("_id", 1)), (True, False)),
        (("a", ("b", -1)), (("a", 1), ("b", -1), ("_id", -1)), (False, False)),
        (("a", "_id"), (("a", 1), ("_id", 1), ("z", 1)), (True, False)),
        (("a", "b"), (("b", 1),), (False, False)),
        (("a", "b"), (("a", 1), ("b", 1), ("z", 1)), (False, False)),
    ],
)
def test_the_order_of_compound_keys(
    fields: tuple[tuple[str, int] | str, ...], sort: Sort, expected: tuple[bool, bool]
) -> None:
    index = index_on(*fields)
    plan = choose(compile_filter({}), sort, [index], 5)
    assert (plan.is_sorted, plan.reverse) == expected
    assert (plan.index is not None) == expected[0]


def test_some_values_and_a_sort_are_merged_if_there_is_a_limit() -> None:
    filter = {"a": {"$in": [1, 2, 3]}}
    sort: Sort = (("b", -1),)
    plan = choose(compile_filter(filter), sort, [AB], 10)
    assert (plan.kind, plan.is_merged, len(plan.branches)) == ("union", True, 3)
    assert all(branch.reverse for branch in plan.branches)
    assert best(filter, AB, sort=sort) == ("index", "a_1_b_1", 4, False, False, True)


def test_an_or_is_a_union_if_every_branch_has_bounds() -> None:
    filter = {"$or": [{"a": 1}, {"c": {"$gt": 5}}]}
    c = index_on("c")
    assert best(filter, A) == ("scan", None, 8, True, False, False)
    assert best(filter, A, c) == ("union", None, 6, True, False, True)
    # a better class of a single index wins
    assert best({**filter, "u": 1}, A, c, UNIQUE)[:3] == ("index", "u_1", 1)
    both = choose(compile_filter({**filter, "b": 3}), (), [AB, c])
    assert [len(branch.bounds) for branch in both.branches] == [2, 1]
    merged = choose(compile_filter(filter), (("c", 1),), [index_on("a", "c"), c], 3)
    assert (merged.is_merged, merged.is_sorted) == (True, True)


def test_arrays_keep_bounds_apart() -> None:
    many = index_on("a.b", "a.c", many="a.b a.c")
    apart = compile_filter({"a.b": 1, "a.c": 2})
    assert [field.path for field in choose(apart, (), [many]).bounds] == ["a.b"]
    together = ("$elemMatch", "a", ("$and", (("$eq", "b", 1), ("$eq", "c", 2))))
    plan = best_of(Conjuncts((together,)), (), [many], 0)
    assert [field.path for field in plan.bounds] == ["a.b", "a.c"]
    assert not plan.is_exact
    # different fields that hold arrays have nothing in common
    other = index_on("t", "b", many="t")
    assert len(choose(compile_filter({"t": 1, "b": 2}), (), [other]).bounds) == 2
    element = ("$elemMatchValue", "t", ("$and", (("$gte", "", 1), ("$lt", "", 5))))
    value = best_of(Conjuncts((element,)), (), [MULTI], 0)
    ((low, high),) = [interval[2:] for interval in value.intervals]
    assert (low, high) == ((1, True), (5, False))


def test_nested_elements_have_no_keys_of_their_own() -> None:
    inner = ("$elemMatchValue", "", ("$gt", "", 1))
    assert best_of(Conjuncts((("$elemMatchValue", "t", inner),)), (), [MULTI], 0).kind == "scan"


def test_sparse_and_partial_indexes_are_used_if_the_filter_implies_them() -> None:
    sparse = index_on("s", "x", sparse=True)
    assert best({"s": {"$gt": 5}}, sparse)[1] == sparse.name
    assert best({"s": None}, sparse)[0] == "scan"
    assert best({"s": {"$in": [1, None]}}, sparse)[0] == "scan"
    assert best({"x": 5}, sparse)[:3] == ("index", sparse.name, 6)
    assert best({}, sparse, sort=(("s", 1),), limit=3)[0] == "scan"
    only = index_on("p", sparse=True)
    assert best({"p": {"$exists": True}}, only) == ("index", "p_1", 6, True, False, True)
    partial = index_on("p", partial={"state": "open", "n": {"$gte": 5, "$lte": 9}})
    assert best({"p": 1, "state": "open", "n": 7}, partial)[1] == "p_1"
    assert best({"p": 1, "state": "open", "n": {"$in": [5, 9]}}, partial)[1] == "p_1"
    assert best({"p": 1, "state": "open", "n": {"$gt": 5, "$lt": 8}}, partial)[1] == "p_1"
    assert best({"p": 1, "state": "open", "n": {"$gt": 5, "$lt": 10}}, partial)[0] == "scan"
    assert best({"p": 1, "state": "open"}, partial)[0] == "scan"
    assert best({"p": 1, "state": "done", "n": 7}, partial)[0] == "scan"
    assert best({"p": 1, "n": 7, "$or": [{"state": "open"}, {"x": 1}]}, partial)[0] == "scan"
    there = index_on("p", partial={"q": {"$exists": True}})
    assert best({"p": 1, "q": {"$gt": 5}}, there)[1] == "p_1"
    assert best({"p": 1, "q": None}, there)[0] == "scan"
    assert best({"p": 1, "q": {"$exists": True}}, there) == (
        "index", "p_1", 2, True, False, True,
    )  # fmt: skip


def test_the_proofs_that_a_partial_index_may_be_used_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []

    def counted(*arguments: Any) -> bounds.Bounds | None:
        looked.append(1)
        return bounds_of(*arguments)

    monkeypatch.setattr(implication, "bounds_of", counted)
    planned: list[Conjuncts] = []

    def kept(*arguments: Any) -> Conjuncts:
        planned.append(Conjuncts(*arguments))
        return planned[-1]

    monkeypatch.setattr(plan_module, "Conjuncts", kept)
    partial = {"$or": [{"b": i, "z": i} for i in range(200)]}
    several = [index_on("b", partial=partial), index_on("a", sparse=True), index_on("b", "a")]
    asked = {"$and": [{"$or": [{"b": i, "y": j} for i in range(50)]} for j in range(50)]}
    plan = choose(compile_filter(asked), (), several)
    assert plan.index is not several[0]
    assert len(planned) < 100  # not one for each of the 2,500 branches, with all others in it
    assert len(looked) < 3 * implication.EFFORT_MAX  # not some hundred million
    # what is shown at once still is
    plan = choose(compile_filter({"b": 7, "z": 7}), (), several[:1])
    assert plan.index is several[0]


def test_exact_bounds_leave_nothing_to_the_filter() -> None:
    assert best({"a": {"$gte": 1, "$lt": 5}}, A)[5] is True
    assert best({"a": {"$in": ["x", 5]}}, A)[5] is True
    assert best({"a": None}, A)[5] is False
    assert best({"a": {"x": 1}}, A)[5] is False
    assert best({"a": [1]}, A)[5] is False
    assert best({"t": 5}, MULTI)[5] is True
    assert best({"t": {"$gt": 5, "$lt": 9}}, MULTI)[5] is False
    assert best({"a": "x" * 2_000}, A)[5] is False


def test_the_points_of_several_fields_are_multiplied_up_to_a_bound() -> None:
    some = {"$in": list(range(60))}
    plan = choose(compile_filter({"a": some, "b": some}), (), [AB])
    assert len(plan.intervals) == 3_600
    plan = choose(compile_filter({"a": some, "b": {"$in": list(range(100))}}), (), [AB])
    assert (len(plan.intervals), [field.path for field in plan.bounds]) == (60, ["a"])
    assert not plan.is_exact


def test_point_read_names_the_value() -> None:
    assert plan_of({"_id": "x"}).id_value == "x"
    assert plan_of({"a": "x"}).id_value is NO_VALUE


def intervals(
    filter: dict[str, Any], path: str, multikey: bool = False
) -> list[tuple[bytes | None, bytes | None]]:
    bounds = bounds_of(compile_filter(filter).normal, path, multikey)
    return [each[:2] for each in (EVERYTHING if bounds is None else bounds.intervals)]


def test_intervals() -> None:
    five, nine = key_of(5), key_of(9)
    numbers = (five[:1], bytes((five[0] + 1,)))
    assert intervals({"b": 1}, "a") == [(None, None)]
    assert intervals({"a": 5}, "a") == [(five, successor(five))]
    assert intervals({"a": {"$gt": 5}}, "a") == [(successor(five), numbers[1])]
    assert intervals({"a": {"$lte": 9}}, "a") == [(AFTER_NAN, successor(nine))]
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


def test_an_empty_array_has_the_key_of_undefined() -> None:
    assert index_keys(encode({"a": []}), "a")[0] == [UNDEFINED]
    assert (UNDEFINED, successor(UNDEFINED)) in intervals({"a": []}, "a")


def test_two_long_lists_of_values_are_met_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    met = []
    meet = bounds._meet

    def counted(left: bounds.Interval, right: bounds.Interval) -> bounds.Interval | None:
        met.append(1)
        return meet(left, right)

    monkeypatch.setattr(bounds, "_meet", counted)
    asked = {"$and": [{"a": {"$in": [*range(0, 4000, 2)]}}, {"a": {"$in": [*range(0, 4000, 3)]}}]}
    plan = plan_of(asked)
    assert len(plan.intervals) == len(range(0, 4000, 6))
    assert len(met) < 4000  # not 2,000 times 1,334


@given(st.lists(st.integers(0, 40), min_size=2), st.lists(st.integers(0, 40), min_size=2))
def test_what_two_conditions_have_in_common(one: list[int], other: list[int]) -> None:
    listed = {"a": {"$in": one}}
    ranged = {"$or": [{"a": {"$gte": low, "$lt": low + 3}} for low in other]}
    for right, wanted in (
        ({"a": {"$in": other}}, {*one} & {*other}),
        (ranged, {n for n in one if any(low <= n < low + 3 for low in other)}),
    ):
        common = intervals({"$and": [listed, right]}, "a")
        found = {
            n
            for n in range(45)
            if any(
                (low or b"") <= key_of(n) and (up is None or key_of(n) < up) for low, up in common
            )
        }
        assert found == wanted
        assert common == sorted(common, key=lambda each: each[0] or b"")


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


def is_inside(bounds: list[tuple[bytes | None, bytes | None]], key: bytes) -> bool:
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
                listed = [each[:2] for each in bounds.intervals]
                assert any(is_inside(listed, key + key_of(1)) for key in keys), (document, listed)
                assert listed == sorted(listed, key=lambda each: each[0] or b"")


def test_the_classes_of_several_types_are_disjoint() -> None:
    found = bounds_of(("$type", "a", (1, 16, 18, 19, 2)), "a", True)
    assert found is not None
    assert len(found.intervals) == 2
