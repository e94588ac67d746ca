"""$setWindowFields, $fill, $densify."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rango.database import Database
from rango.errors import ExpressionFailed, LimitExceeded
from tests.unit.aggregate_case import db, over, refused

__all__ = ["db"]

SALES = [
    {"s": "x", "t": 3, "q": 5},
    {"s": "y", "t": 1, "q": 7},
    {"s": "x", "t": 1, "q": 2},
    {"s": "x", "t": 2, "q": 4},
    {"s": "x", "t": 2, "q": 1},
]


def window(db: Database, documents: list[Any], output: Any, **spec: Any) -> list[Any]:
    """The values of the field "x" in the order of the answer."""
    stage = {"$setWindowFields": {"sortBy": {"t": 1}, **spec, "output": {"x": output}}}
    return [document["x"] for document in over(db, documents, stage)]


def test_partitions_are_sorted_and_apart(db: Database) -> None:
    stage = {
        "$setWindowFields": {
            "partitionBy": "$s",
            "sortBy": {"t": 1},
            "output": {
                "sum": {"$sum": "$q", "window": {"documents": ["unbounded", "current"]}},
                "all": {"$sum": "$q"},
                "n.n": {"$documentNumber": {}},
            },
        }
    }
    found = over(db, SALES, stage)
    assert [(each["s"], each["t"], each["q"]) for each in found] == [
        ("x", 1, 2), ("x", 2, 4), ("x", 2, 1), ("x", 3, 5), ("y", 1, 7),
    ]  # fmt: skip
    assert [each["sum"] for each in found] == [2, 6, 7, 12, 7]
    assert [each["all"] for each in found] == [12, 12, 12, 12, 7]
    assert [each["n"]["n"] for each in found] == [1, 2, 3, 4, 1]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"$rank": {}}, [1, 1, 3, 3, 5]),
        ({"$denseRank": {}}, [1, 1, 2, 2, 3]),
        ({"$documentNumber": {}}, [1, 2, 3, 4, 5]),
        ({"$shift": {"output": "$q", "by": 1}}, [2, 4, 1, 5, None]),
        ({"$shift": {"output": "$q", "by": -2, "default": 0}}, [0, 0, 7, 2, 4]),
        ({"$push": "$q", "window": {"documents": [-1, 0]}}, [[7], [7, 2], [2, 4], [4, 1], [1, 5]]),
        ({"$max": "$q", "window": {"documents": [1, 2]}}, [4, 4, 5, 5, None]),
        ({"$sum": "$q", "window": {"range": [-1, 0]}}, [9, 9, 14, 14, 10]),
        ({"$sum": "$q", "window": {"range": ["current", "unbounded"]}}, [19, 19, 10, 10, 5]),
        ({"$expMovingAvg": {"input": "$q", "alpha": 0.5}}, [7, 4.5, 4.25, 2.625, 3.8125]),
        ({"$expMovingAvg": {"input": "$q", "N": 3}}, [7, 4.5, 4.25, 2.625, 3.8125]),
        (
            {"$derivative": {"input": "$q"}, "window": {"documents": [-2, 0]}},
            [None, None, -3.0, -1.0, 1.0],
        ),
        (
            {"$integral": {"input": "$q"}, "window": {"documents": ["unbounded", "current"]}},
            [0.0, 0.0, 3.0, 3.0, 6.0],
        ),
        (
            {"$covariancePop": ["$t", "$t"], "window": {"documents": ["unbounded", "unbounded"]}},
            [pytest.approx(0.56)] * 5,
        ),
        ({"$first": "$q", "window": {"documents": ["current", "unbounded"]}}, [7, 2, 4, 1, 5]),
    ],
)
def test_functions(db: Database, output: dict[str, Any], expected: list[Any]) -> None:
    documents = sorted(SALES, key=lambda each: each["t"])
    assert window(db, documents, output) == expected


@given(st.lists(st.integers(-9, 9), max_size=12), st.integers(-4, 4), st.integers(0, 5))
def test_windows_hold_what_a_slice_holds(numbers: list[int], low: int, width: int) -> None:
    from rango.engine.aggregate.memory import Account
    from rango.engine.aggregate.pipeline import compile_pipeline
    from rango.engine.aggregate.stage import Context, Environment, Scope
    from rango.engine.aggregate.window import SetWindowFields

    bounds = [low, low + width]
    spec = {
        "sortBy": {"t": 1},
        "output": {"x": {"$push": "$v", "window": {"documents": bounds}}},
    }
    scope = Scope(None, compile_pipeline, inside="$facet")
    (stage,) = compile_pipeline([{"$setWindowFields": spec}], scope).stages
    assert isinstance(stage, SetWindowFields)
    nothing: Any = None
    context = Context(Environment(nothing, nothing, nothing, nothing, lambda: None), nothing)
    documents = [{"t": at, "v": number} for at, number in enumerate(numbers)]
    found = stage._filled(documents, Account("test", 10_000_000), context)
    assert [each["x"] for each in found] == [
        numbers[max(0, at + low) : max(0, at + low + width + 1)] for at in range(len(numbers))
    ]


def test_a_range_of_time(db: Database) -> None:
    day = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    documents = [{"t": day + datetime.timedelta(hours=hours), "q": 1} for hours in (0, 10, 30)]
    span = {"range": [-1, 0], "unit": "day"}
    assert window(db, documents, {"$sum": "$q", "window": span}) == [1, 2, 2]
    rate = {"$derivative": {"input": "$q", "unit": "hour"}, "window": {"documents": [-1, 0]}}
    assert window(db, documents, rate) == [None, 0.0, 0.0]
    with pytest.raises(ExpressionFailed, match="unit"):
        window(db, documents, {"$sum": "$q", "window": {"range": [-1, 0]}})


@pytest.mark.parametrize(
    ("code", "spec"),
    [
        (9, 1),
        (40414, {}),
        (40415, {"output": {}, "x": 1}),
        (5397901, {"output": {"x": {"$none": 1}}}),
        (9, {"output": {"x": {}}}),
        (5371602, {"output": {"x": {"$rank": {}}}}),
        (5371601, {"sortBy": {"t": 1}, "output": {"x": {"$rank": {}, "window": {}}}}),
        (9, {"sortBy": {"t": 1}, "output": {"x": {"$sum": 1, "window": {}}}}),
        (5339901, {"output": {"x": {"$sum": 1, "window": {"documents": [-1, 0]}}}}),
        (5339900, {
            "sortBy": {"t": 1}, "output": {"x": {"$sum": 1, "window": {"documents": [1, 0]}}}
        }),
        (5339902, {"sortBy": {"t": -1}, "output": {"x": {"$sum": 1, "window": {"range": [0, 1]}}}}),
    ],
)  # fmt: skip
def test_windows_that_are_refused(db: Database, code: int, spec: Any) -> None:
    refused(db, code, {"$setWindowFields": spec})


def test_fill_with_methods(db: Database) -> None:
    documents = [{"t": at, "a": value, "b": value} for at, value in enumerate([1, None, None, 4])]
    del documents[2]["b"]
    stage = {
        "$fill": {
            "sortBy": {"t": 1},
            "output": {"a": {"method": "linear"}, "b": {"method": "locf"}},
        }
    }
    found = over(db, documents, stage)
    assert [each["a"] for each in found] == [1, 2.0, 3.0, 4]
    assert [each["b"] for each in found] == [1, 1, 1, 4]
    refused(db, 6050202, {"$fill": {"output": {"a": {"method": "x"}}}})
    refused(db, 9, {"$fill": {"output": {"a": {"method": "locf"}}}})


def test_densify(db: Database) -> None:
    documents = [{"k": "a", "v": 1, "x": 9}, {"k": "a", "v": 3.5}, {"k": "b", "v": 2}, {"k": "c"}]
    span = {"step": 1, "bounds": "full"}
    assert over(db, documents, {"$densify": {"field": "v", "range": span}}) == [
        {"k": "c"}, {"k": "a", "v": 1, "x": 9}, {"k": "b", "v": 2}, {"v": 3},
        {"k": "a", "v": 3.5},
    ]  # fmt: skip
    by = {"field": "v", "partitionByFields": ["k"], "range": {"step": 2, "bounds": [0, 4]}}
    assert over(db, documents[:3], {"$densify": by}) == [
        {"k": "a", "v": 0}, {"k": "a", "v": 1, "x": 9}, {"k": "a", "v": 2}, {"k": "a", "v": 3.5},
        {"k": "b", "v": 0}, {"k": "b", "v": 2},
    ]  # fmt: skip


def test_densify_fills_a_given_range_without_values(db: Database) -> None:
    given = {"$densify": {"field": "v", "range": {"step": 2, "bounds": [0, 4]}}}
    made = [{"v": 0}, {"v": 2}]
    assert over(db, [], given) == made
    nothing = [{"_id": 1, "v": None}, {"_id": 2}]
    assert over(db, nothing, given) == nothing + made
    given["$densify"]["partitionByFields"] = ["p"]
    assert over(db, nothing, given) == nothing
    full = {"$densify": {"field": "v", "range": {"step": 2, "bounds": "full"}}}
    assert over(db, nothing, full) == nothing


def test_densify_dates_and_its_limit(db: Database) -> None:
    day = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    documents = [{"t": day}, {"t": day + datetime.timedelta(days=3)}]
    span = {"step": 1, "unit": "day", "bounds": "partition"}
    found = over(db, documents, {"$densify": {"field": "t", "range": span}})
    assert [each["t"].day for each in found] == [1, 2, 3, 4]
    span = {"step": 1, "unit": "millisecond", "bounds": "full"}
    with pytest.raises(LimitExceeded, match="500,000"):
        over(db, documents, {"$densify": {"field": "t", "range": span}})
    refused(db, 5733401, {"$densify": {"field": "t", "range": {"step": 0, "bounds": "full"}}})
    refused(db, 5733402, {"$densify": {"field": "t", "range": {"step": 1, "bounds": "x"}}})


def test_units_of_the_calendar(db: Database) -> None:
    days = [
        datetime.datetime(2024, month, day, tzinfo=datetime.UTC)
        for month, day in ((1, 31), (2, 29), (3, 31), (12, 31))
    ]
    documents = [{"t": each, "q": 1} for each in days]
    span = {"range": [-1, 0], "unit": "month"}
    assert window(db, documents, {"$sum": "$q", "window": span}) == [1, 2, 2, 1]
    densify = {"field": "t", "range": {"step": 1, "unit": "month", "bounds": "full"}}
    found = over(db, documents[:1] + documents[2:3], {"$densify": densify})
    assert [(each["t"].month, each["t"].day) for each in found] == [(1, 31), (2, 29), (3, 31)]
    densify["range"] = {"step": 1.5, "unit": "month", "bounds": "full"}
    refused(db, 6586400, {"$densify": densify})
