"""$group and its accumulators, $sortByCount, $bucket, $bucketAuto."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from rango.database import Database
from rango.engine.aggregate.accumulators import Sum
from rango.engine.aggregate.granularity import NAMES, SERIES, Granularity
from rango.engine.aggregate.memory import Account
from rango.engine.values import type_name
from rango.errors import ExpressionFailed
from tests.unit.aggregate_case import db, filled, over, refused, run, typed

__all__ = ["db"]


def grouped(db: Database, values: list[Any], **accumulators: Any) -> dict[str, Any]:
    """The one group of documents {"v": value}; ... is a document without the field."""
    documents = [{} if value is ... else {"v": value} for value in values]
    (found,) = over(db, documents, {"$group": {"_id": None, **accumulators}})
    del found["_id"]
    return found


def value(db: Database, values: list[Any], operator: str, operand: Any = "$v") -> Any:
    """What one accumulator makes of some values."""
    return grouped(db, values, x={operator: operand})["x"]


def test_groups_come_in_the_order_of_their_first_document(db: Database) -> None:
    documents = [{"a": each, "n": at} for at, each in enumerate("baabc")]
    assert over(db, documents, {"$group": {"_id": "$a", "n": {"$sum": "$n"}}}) == [
        {"_id": "b", "n": 3},
        {"_id": "a", "n": 3},
        {"_id": "c", "n": 4},
    ]


def test_equal_numbers_of_all_types_are_one_group_with_the_first_value(db: Database) -> None:
    values = [1, 1.0, Int64(1), Decimal128("1.00"), True, "1", 2**53, 2**53 + 1, float(2**53)]
    found = over(db, [{"a": each} for each in values], {"$group": {"_id": "$a", "n": {"$sum": 1}}})
    assert [(typed(each["_id"]), each["n"]) for each in found] == [
        (("int", 1), 4),
        (("bool", True), 1),
        (("string", "1"), 1),
        (("long", 2**53), 2),
        (("long", 2**53 + 1), 1),
    ]


def test_missing_and_null_are_one_group(db: Database) -> None:
    found = over(db, [{"a": None}, {}, {"a": 0}], {"$group": {"_id": "$a", "n": {"$count": {}}}})
    assert found == [{"_id": None, "n": 2}, {"_id": 0, "n": 1}]


def test_nan_infinity_and_negative_zero(db: Database) -> None:
    values = [math.nan, Decimal128("NaN"), math.inf, Decimal128("Infinity"), 0.0, -0.0, -math.inf]
    found = over(db, [{"a": each} for each in values], {"$group": {"_id": "$a", "n": {"$sum": 1}}})
    assert [each["n"] for each in found] == [2, 2, 2, 1]


def test_documents_and_arrays_are_grouped_whole(db: Database) -> None:
    values = [[1, 2], [1.0, 2], [2, 1], {"x": 1, "y": 2}, {"y": 2, "x": 1}, {"x": 1.0, "y": 2}, []]
    found = over(db, [{"a": each} for each in values], {"$group": {"_id": "$a", "n": {"$sum": 1}}})
    assert [each["n"] for each in found] == [2, 1, 2, 1, 1]


def test_a_document_of_expressions_as_id(db: Database) -> None:
    documents = [{"a": 1, "b": "x"}, {"a": 1.0, "b": "x"}, {"a": 1}, {"a": 1, "b": None}]
    found = over(db, documents, {"$group": {"_id": {"a": "$a", "b": "$b"}, "n": {"$sum": 1}}})
    assert found == [
        {"_id": {"a": 1, "b": "x"}, "n": 2},
        {"_id": {"a": 1}, "n": 1},
        {"_id": {"a": 1, "b": None}, "n": 1},
    ]


def test_an_empty_source_makes_no_group(db: Database) -> None:
    assert over(db, [], {"$group": {"_id": None, "n": {"$sum": 1}}}) == []
    assert run(db, {"$group": {"_id": None, "n": {"$sum": 1}}}) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], ("int", 3)),
        ([1, Int64(2)], ("long", 3)),
        ([2**31 - 1, 1], ("long", 2**31)),
        ([2**62, 2**62, 2**62], ("double", 3.0 * 2**62)),
        ([1, 2.5], ("double", 3.5)),
        ([1, "a", None, True, ..., [5]], ("int", 1)),
        (["a"], ("int", 0)),
        ([0.1] * 10, ("double", 1.0)),
        ([Decimal128("0.1"), Decimal128("0.2")], ("decimal", Decimal128("0.3"))),
        ([Decimal128("1.5"), 1, Int64(2)], ("decimal", Decimal128("4.5"))),
        ([2**53, 1.0, 1], ("double", float(2**53 + 2))),
        ([math.inf, 1], ("double", math.inf)),
    ],
)
def test_sum(db: Database, values: list[Any], expected: tuple[str, Any]) -> None:
    assert typed(value(db, values, "$sum")) == expected


def test_sum_of_infinities_of_both_signs_is_no_number(db: Database) -> None:
    assert math.isnan(value(db, [math.inf, 1, -math.inf], "$sum"))


def test_a_sum_does_not_depend_on_the_order_of_types(db: Database) -> None:
    values = [1, 2.5, Int64(3), Decimal128("4.25")]
    for at in range(4):
        rotated = values[at:] + values[:at]
        assert str(value(db, rotated, "$sum").to_decimal().normalize()) == "10.75"


@given(
    st.lists(st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**62), 2**62)), max_size=30)
)
def test_a_sum_of_integers_is_exact_while_it_fits(numbers: list[int]) -> None:
    values: list[Any] = [each if -(2**31) <= each < 2**31 else Int64(each) for each in numbers]
    column = Sum(Account("$group", 1000))
    column.grow(1)
    column.add([0] * len(values), values)
    total = sum(numbers)
    if -(2**63) <= total < 2**63:
        assert int(column.result(0)) == total
        is_long = any(type(each) is Int64 for each in values) or not -(2**31) <= total < 2**31
        assert type_name(column.result(0)) == ("long" if is_long else "int")
    else:
        assert column.result(0) == pytest.approx(float(total))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], ("double", 1.5)),
        ([1, None, "a", ..., 5], ("double", 3.0)),
        ([1, Decimal128("2")], ("decimal", Decimal128("1.5"))),
        ([Int64(2**62), Int64(2**62), Int64(2**62)], ("double", float(2**62))),
    ],
)
def test_avg(db: Database, values: list[Any], expected: tuple[str, Any]) -> None:
    assert typed(value(db, values, "$avg")) == expected


def test_an_average_of_no_numbers_is_null(db: Database) -> None:
    assert value(db, ["a", None, ...], "$avg") is None


def test_min_and_max_compare_across_types(db: Database) -> None:
    values = [3, None, "a", ..., 1.5, Decimal128("1.25"), [1], {"x": 1}, True]
    found = grouped(db, values, low={"$min": "$v"}, high={"$max": "$v"})
    assert found == {"low": Decimal128("1.25"), "high": True}
    found = grouped(db, [None, ...], low={"$min": "$v"}, high={"$max": "$v"})
    assert found == {"low": None, "high": None}


def test_min_and_max_keep_the_first_of_equal_values(db: Database) -> None:
    assert typed(value(db, [1.0, 1, Int64(1)], "$min")) == ("double", 1.0)
    assert typed(value(db, [Int64(1), 1.0], "$max")) == ("long", 1)
    assert value(db, [5, 3, 4, 3.5], "$min") == 3
    assert value(db, [5, 3, 7, 6.5], "$max") == 7


def test_first_and_last_are_null_where_there_is_nothing(db: Database) -> None:
    found = grouped(db, [..., 1, 2], first={"$first": "$v"}, last={"$last": "$v"})
    assert found == {"first": None, "last": 2}
    found = grouped(db, [1, 2, ...], first={"$first": "$v"}, last={"$last": "$v"})
    assert found == {"first": 1, "last": None}


def test_push_and_add_to_set(db: Database) -> None:
    values = [1, 1.0, ..., None, [1], [1], "a", {"x": 1}, {"x": 1.0}]
    found = grouped(db, values, all={"$push": "$v"}, some={"$addToSet": "$v"})
    assert found["all"] == [each for each in values if each is not ...]
    assert found["some"] == [1, None, [1], "a", {"x": 1}]


def test_push_of_a_document_of_expressions(db: Database) -> None:
    documents = [{"a": 1, "b": 2}, {"a": 3}]
    (found,) = over(db, documents, {"$group": {"_id": 0, "x": {"$push": {"p": "$a", "q": "$b"}}}})
    assert found == {"_id": 0, "x": [{"p": 1, "q": 2}, {"p": 3}]}


def test_merge_objects(db: Database) -> None:
    assert value(db, [{"a": 1, "b": 1}, None, ..., {"b": 2}], "$mergeObjects") == {"a": 1, "b": 2}
    assert value(db, [None], "$mergeObjects") == {}
    with pytest.raises(ExpressionFailed, match="mergeObjects") as raised:
        value(db, [1], "$mergeObjects")
    assert raised.value.code == 40400


def test_standard_deviations(db: Database) -> None:
    values = [2, 4.0, 4, "x", None, Decimal128("4"), 5, 5, 7, 9]
    found = grouped(db, values, p={"$stdDevPop": "$v"}, s={"$stdDevSamp": "$v"})
    assert found["p"] == pytest.approx(2.0)
    assert found["s"] == pytest.approx(2.138089935)
    assert grouped(db, [3], p={"$stdDevPop": "$v"}, s={"$stdDevSamp": "$v"}) == {"p": 0, "s": None}
    assert grouped(db, ["x"], p={"$stdDevPop": "$v"}) == {"p": None}


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("$firstN", [5, None]),
        ("$lastN", [9, 1]),
        ("$minN", [1, 3]),
        ("$maxN", [9, 5]),
    ],
)
def test_n_of(db: Database, operator: str, expected: list[Any]) -> None:
    values = [5, None, 3, ..., 9, 1]
    assert value(db, values, operator, {"input": "$v", "n": 2}) == expected


def test_n_of_keeps_what_there_is(db: Database) -> None:
    assert value(db, [2, 1], "$maxN", {"input": "$v", "n": 5}) == [2, 1]
    assert value(db, [...], "$firstN", {"input": "$v", "n": 5}) == [None]


def test_top_and_bottom(db: Database) -> None:
    documents = [{"a": each, "n": at} for at, each in enumerate([3, 1, 2, 1, 3])]
    spec = {"sortBy": {"a": 1}, "output": ["$a", "$n"]}
    (found,) = over(
        db,
        documents,
        {
            "$group": {
                "_id": None,
                "top": {"$top": spec},
                "bottom": {"$bottom": spec},
                "tops": {"$topN": {**spec, "n": 3}},
                "bottoms": {"$bottomN": {**spec, "n": 3}},
                "missing": {"$top": {"sortBy": {"a": -1}, "output": "$none"}},
            }
        },
    )
    assert found == {
        "_id": None,
        "top": [1, 1],
        "bottom": [3, 4],
        "tops": [[1, 1], [1, 3], [2, 2]],
        "bottoms": [[2, 2], [3, 0], [3, 4]],
        "missing": None,
    }


def test_median_and_percentile(db: Database) -> None:
    values = [62, 60, 67, 64, 60, "x", None]
    found = grouped(
        db,
        values,
        m={"$median": {"input": "$v", "method": "approximate"}},
        p={"$percentile": {"input": "$v", "p": [0, 0.5, 0.75, 0.95, 1], "method": "approximate"}},
    )
    assert found == {"m": 62.0, "p": [60.0, 62.0, 64.0, 67.0, 67.0]}
    assert value(db, ["x"], "$median", {"input": "$v", "method": "approximate"}) is None


@pytest.mark.parametrize(
    ("code", "spec"),
    [
        (15947, "a"),
        (15955, {"n": {"$sum": 1}}),
        (40234, {"_id": 1, "n": 1}),
        (40234, {"_id": 1, "n": "$a"}),
        (40235, {"_id": 1, "a.b": {"$sum": 1}}),
        (40236, {"_id": 1, "$a": {"$sum": 1}}),
        (40238, {"_id": 1, "a": {"$sum": 1, "$avg": 1}}),
        (40238, {"_id": 1, "a": {}}),
        (15952, {"_id": 1, "a": {"$total": 1}}),
        (40237, {"_id": 1, "a": {"$sum": [1, 2]}}),
        (5787801, {"_id": 1, "a": {"$firstN": {"input": "$a"}}}),
    ],
)
def test_groups_that_are_refused(db: Database, code: int, spec: Any) -> None:
    refused(db, code, {"$group": spec})


def test_n_must_be_positive(db: Database) -> None:
    for n in (0, -1, 1.5, "a", None):
        with pytest.raises(ExpressionFailed, match="positive") as raised:
            value(db, [1], "$firstN", {"input": "$v", "n": n})
        assert raised.value.code == 5787908


def test_sort_by_count(db: Database) -> None:
    documents = [{"a": each} for each in "abbcbc"]
    assert over(db, documents, {"$sortByCount": "$a"}) == [
        {"_id": "b", "count": 3},
        {"_id": "c", "count": 2},
        {"_id": "a", "count": 1},
    ]
    refused(db, 40149, {"$sortByCount": "a"})
    refused(db, 40148, {"$sortByCount": 1})
    refused(db, 40147, {"$sortByCount": {}})


def test_a_group_that_counts_does_not_decode(db: Database) -> None:
    filled(db, [{"_id": each, "a": each % 3} for each in range(10)])
    stage = {"$group": {"_id": None, "n": {"$sum": 1}, "m": {"$sum": 2}}}
    assert run(db, stage) == [{"_id": None, "n": 10, "m": 20}]
    assert run(db, {"$match": {"a": 1}}, stage) == [{"_id": None, "n": 3, "m": 6}]
    assert run(db, {"$match": {"a": 9}}, stage) == []
    assert run(db, {"$skip": 4}, {"$limit": 3}, {"$count": "n"}) == [{"n": 3}]
    assert run(db, {"$limit": 4}, {"$skip": 3}, {"$count": "n"}) == [{"n": 1}]


def test_bucket(db: Database) -> None:
    documents = [{"_id": at, "v": each} for at, each in enumerate([0, 5, 10, 15.5, 20, 99, "x"])]
    stage = {"$bucket": {"groupBy": "$v", "boundaries": [0, 10, 20], "default": "other"}}
    assert over(db, documents, stage) == [
        {"_id": 0, "count": 2},
        {"_id": 10, "count": 2},
        {"_id": "other", "count": 3},
    ]
    stage["$bucket"]["output"] = {"ids": {"$push": "$_id"}}
    assert over(db, documents[:2], stage) == [{"_id": 0, "ids": [0, 1]}]
    stage["$bucket"]["default"] = -1
    assert [each["_id"] for each in over(db, documents, stage)] == [-1, 0, 10]


def test_a_value_without_a_bucket_is_an_error(db: Database) -> None:
    with pytest.raises(ExpressionFailed, match="default") as raised:
        over(db, [{"v": 20}], {"$bucket": {"groupBy": "$v", "boundaries": [0, 10, 20]}})
    assert raised.value.code == 40066


@pytest.mark.parametrize(
    ("code", "spec"),
    [
        (40201, 1),
        (40197, {"groupBy": "$a", "boundaries": [1, 2], "x": 1}),
        (40198, {"groupBy": "$a"}),
        (40198, {"boundaries": [1, 2]}),
        (40202, {"groupBy": "a", "boundaries": [1, 2]}),
        (40200, {"groupBy": "$a", "boundaries": 1}),
        (40191, {"groupBy": "$a", "boundaries": [1, "$b"]}),
        (40192, {"groupBy": "$a", "boundaries": [1]}),
        (40193, {"groupBy": "$a", "boundaries": [1, "a"]}),
        (40194, {"groupBy": "$a", "boundaries": [2, 1]}),
        (40194, {"groupBy": "$a", "boundaries": [1, 1.0]}),
        (40195, {"groupBy": "$a", "boundaries": [1, 2], "default": "$b"}),
        (40196, {"groupBy": "$a", "boundaries": [1, 2], "output": 1}),
        (40199, {"groupBy": "$a", "boundaries": [1, 3], "default": 2}),
    ],
)
def test_buckets_that_are_refused(db: Database, code: int, spec: Any) -> None:
    refused(db, code, {"$bucket": spec})


def test_bucket_auto(db: Database) -> None:
    documents = [{"v": each} for each in [1, 2, 2, 2, 3, 4, 5]]
    stage = {"$bucketAuto": {"groupBy": "$v", "buckets": 3}}
    assert over(db, documents, stage) == [
        {"_id": {"min": 1, "max": 3}, "count": 4},
        {"_id": {"min": 3, "max": 5}, "count": 2},
        {"_id": {"min": 5, "max": 5}, "count": 1},
    ]
    stage = {"$bucketAuto": {"groupBy": "$v", "buckets": 5, "output": {"s": {"$sum": "$v"}}}}
    assert over(db, documents[:1], stage) == [{"_id": {"min": 1, "max": 1}, "s": 1}]
    assert over(db, [], stage) == []
    refused(db, 40243, {"$bucketAuto": {"groupBy": "$v", "buckets": 0}})
    refused(db, 40246, {"$bucketAuto": {"groupBy": "$v"}})


@pytest.mark.parametrize("name", NAMES)
@given(value=st.floats(1e-9, 1e12))
def test_granularities_enclose_a_number_by_neighbours(name: str, value: float) -> None:
    series = Granularity(name)
    above, below = series.above(value), series.below(value)
    assert below < value < above
    assert series.below(above) <= value
    assert series.above(below) >= value


def test_granularities() -> None:
    assert [len(SERIES[name]) for name in ("R5", "R10", "R20", "R40", "R80")] == [5, 10, 20, 40, 80]
    assert [SERIES["E6"][at] for at in range(6)] == [100, 150, 220, 330, 470, 680]
    assert (Granularity("R5").above(10), Granularity("R5").below(10)) == (16.0, 6.3)
    assert (Granularity("POWERSOF2").above(8), Granularity("POWERSOF2").below(8)) == (16.0, 4.0)
    assert (Granularity("1-2-5").above(5), Granularity("1-2-5").below(0.1)) == (10.0, 0.05)


def test_bucket_auto_with_a_granularity(db: Database) -> None:
    documents = [{"v": each} for each in range(1, 101)]
    stage = {"$bucketAuto": {"groupBy": "$v", "buckets": 5, "granularity": "R20"}}
    found = over(db, documents, stage)
    assert [(each["_id"]["min"], each["_id"]["max"]) for each in found] == [
        (0.9, 22.4), (22.4, 45.0), (45.0, 71.0), (71.0, 100.0), (100.0, 112.0),
    ]  # fmt: skip
    assert [each["count"] for each in found] == [22, 22, 26, 29, 1]
    found = over(
        db,
        [{"v": 0}, {"v": 0}, {"v": 5}],
        {"$bucketAuto": {"groupBy": "$v", "buckets": 2, "granularity": "POWERSOF2"}},
    )
    assert [each["_id"] for each in found] == [{"min": 0, "max": 4.0}, {"min": 4.0, "max": 8.0}]
    for bad, code in (("x", 40258), (math.nan, 40259), (-1, 40260)):
        with pytest.raises(ExpressionFailed) as raised:
            over(db, [{"v": bad}], stage)
        assert raised.value.code == code
    refused(db, 40257, {"$bucketAuto": {"groupBy": "$v", "buckets": 2, "granularity": "R3"}})
