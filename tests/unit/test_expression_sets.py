"""Sets, documents, and accumulators as expressions."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from rango.engine.values import MISSING
from tests.unit.expression_case import fails, refused, typed, value_of

ROOT: dict[str, Any] = {
    "a": [1, 2, 2, "x"],
    "b": [2.0, 3],
    "e": [],
    "n": None,
    "i": 5,
    "d": {"a.b": 1, "$c": 2, "x": {"y": 3}},
}


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"$setUnion": ["$a", "$b"]}, [1, 2, 3, "x"]),
        ({"$setUnion": []}, []),
        ({"$setUnion": ["$a", "$n"]}, None),
        ({"$setIntersection": ["$a", "$b"]}, [2]),
        ({"$setIntersection": ["$e", "$a"]}, []),
        ({"$setIntersection": []}, []),
        ({"$setDifference": [[3, 1, 3, 2], [2.0]]}, [3, 1]),
        ({"$setDifference": ["$a", "$x"]}, None),
        ({"$setEquals": [[1, 2], [2.0, 1, 1]]}, True),
        ({"$setEquals": [[1], [[1]], [1]]}, False),
        ({"$setIsSubset": ["$e", "$a"]}, True),
        ({"$setIsSubset": [[2], "$b"]}, True),
        ({"$setIsSubset": ["$a", "$b"]}, False),
        ({"$allElementsTrue": ["$a"]}, True),
        ({"$allElementsTrue": [[1, None]]}, False),
        ({"$allElementsTrue": [[]]}, True),
        ({"$anyElementTrue": [[0, None]]}, False),
        ({"$anyElementTrue": ["$a"]}, True),
        ({"$getField": {"field": "a.b", "input": "$d"}}, 1),
        ({"$getField": {"field": {"$literal": "$c"}, "input": "$d"}}, 2),
        ({"$getField": "i"}, 5),
        ({"$getField": {"$concat": ["i", ""]}}, 5),
        ({"$getField": {"field": "x", "input": "$n"}}, None),
        ({"$getField": {"field": "x", "input": "$nope"}}, MISSING),
        ({"$getField": {"field": "x", "input": "$i"}}, MISSING),
        (
            {"$setField": {"field": "a.b", "input": {"k": 1}, "value": "$i"}},
            {"k": 1, "a.b": 5},
        ),
        ({"$setField": {"field": "k", "input": {"k": 1}, "value": "$$REMOVE"}}, {}),
        ({"$setField": {"field": "k", "input": "$n", "value": 1}}, None),
        ({"$unsetField": {"field": "x", "input": "$d"}}, {"a.b": 1, "$c": 2}),
        ({"$mergeObjects": [{"a": 1, "b": 2}, "$n", "$nope", {"b": 3}]}, {"a": 1, "b": 3}),
        ({"$mergeObjects": "$d.x"}, {"y": 3}),
        ({"$mergeObjects": []}, {}),
    ],
)
def test_value(spec: Any, value: Any) -> None:
    assert value_of(spec, ROOT) == value


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$setUnion": ["$i"]}, 17043),
        ({"$setIntersection": ["$i"]}, 17047),
        ({"$setDifference": ["$i", "$a"]}, 17048),
        ({"$setDifference": ["$a", "$i"]}, 17049),
        ({"$setEquals": ["$a", "$x"]}, 17044),
        ({"$setIsSubset": ["$x", "$a"]}, 17046),
        ({"$setIsSubset": ["$a", "$i"]}, 17042),
        ({"$allElementsTrue": ["$i"]}, 17040),
        ({"$anyElementTrue": ["$x"]}, 17041),
        ({"$getField": "$i"}, 3041704),
        ({"$setField": {"field": "a", "input": "$i", "value": 1}}, 4161105),
        ({"$mergeObjects": ["$i"]}, 40400),
        ({"$mergeObjects": "$a"}, 40400),
    ],
)
def test_errors_have_the_code_of_mongodb(spec: Any, code: int) -> None:
    fails(spec, ROOT, code)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$setEquals": ["$a"]}, 17045),
        ({"$setDifference": ["$a"]}, 16020),
        ({"$allElementsTrue": ["$a", 1]}, 16020),
        ({"$getField": 1}, 5654602),
        ({"$getField": {"field": "a", "x": 1}}, 3041701),
        ({"$getField": {"input": "a"}}, 3041702),
        ({"$getField": {"field": "a"}}, 3041703),
        ({"$setField": 1}, 4161100),
        ({"$setField": {"field": "a", "input": {}, "value": 1, "x": 1}}, 4161101),
        ({"$setField": {"field": "a", "input": {}}}, 4161102),
        ({"$setField": {"field": "$a", "input": {}, "value": 1}}, 4161106),
        ({"$setField": {"field": 1, "input": {}, "value": 1}}, 4161107),
    ],
)
def test_what_is_malformed_is_refused(spec: Any, code: int) -> None:
    refused(spec, code)


@pytest.mark.parametrize(
    ("spec", "kind", "value"),
    [
        ({"$sum": "$a"}, "int", 5),
        ({"$sum": ["$a", 1, "x", 2.5]}, "double", 3.5),
        ({"$sum": "$x"}, "int", 0),
        ({"$sum": [Int64(1), 1]}, "long", 2),
        ({"$sum": [Decimal128("0.1"), 1]}, "decimal", Decimal128("1.1")),
        ({"$avg": "$b"}, "double", 2.5),
        ({"$avg": [1, 2]}, "double", 1.5),
        ({"$avg": ["a"]}, "null", None),
        ({"$avg": [Decimal128("1"), 2]}, "decimal", Decimal128("1.5")),
        ({"$min": "$a"}, "int", 1),
        ({"$max": "$a"}, "string", "x"),
        ({"$min": ["$n", "$x", 3]}, "int", 3),
        ({"$max": "$e"}, "null", None),
        ({"$stdDevPop": [2, 4, 4, 4, 5, 5, 7, 9]}, "double", 2.0),
        ({"$stdDevPop": "$i"}, "double", 0.0),
        ({"$stdDevPop": "$e"}, "null", None),
        ({"$stdDevSamp": [1, 3]}, "double", math.sqrt(2)),
        ({"$stdDevSamp": 1}, "null", None),
        ({"$median": {"input": [3, 1, 2], "method": "approximate"}}, "double", 2.0),
        ({"$median": {"input": "$x", "method": "approximate"}}, "null", None),
    ],
)
def test_accumulators(spec: Any, kind: str, value: Any) -> None:
    assert typed(spec, ROOT) == (kind, value)


def test_percentiles_are_values_of_the_input() -> None:
    spec = {"input": [1, 2, 3, 4, 5, "x"], "p": [0, 0.5, 0.9, 1], "method": "approximate"}
    assert value_of({"$percentile": spec}) == [1.0, 3.0, 5.0, 5.0]
    assert value_of({"$percentile": {**spec, "input": "$x"}}) == [None] * 4
    refused({"$percentile": {**spec, "method": "exact"}}, 2)
    fails({"$percentile": {**spec, "p": [2]}}, None, 7750303)
    fails({"$percentile": {**spec, "p": ["a"]}}, None, 7750302)
    fails({"$percentile": {**spec, "p": []}}, None, 7750300)
