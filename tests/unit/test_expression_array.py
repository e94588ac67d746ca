"""Arrays: elements, parts, order, $map, $filter, $reduce, $zip, pairs."""

from __future__ import annotations

from typing import Any

import pytest
from bson.int64 import Int64

from rango.engine.values import MISSING
from tests.unit.expression_case import fails, refused, value_of

ROOT: dict[str, Any] = {
    "l": [1, 2, 3],
    "e": [],
    "n": None,
    "i": 5,
    "d": [{"a": 3, "b": {"c": 1}}, {"a": 1}, {"a": 2, "b": {"c": 0}}],
}


def some(name: str, count: Any, array: Any) -> dict[str, Any]:
    """An operator that takes n and input."""
    return {name: {"n": count, "input": array}}


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"$arrayElemAt": ["$l", 0]}, 1),
        ({"$arrayElemAt": ["$l", -1]}, 3),
        ({"$arrayElemAt": ["$l", 3]}, MISSING),
        ({"$arrayElemAt": ["$l", 1.0]}, 2),
        ({"$arrayElemAt": ["$x", 0]}, None),
        ({"$arrayElemAt": ["$l", "$n"]}, None),
        ({"$first": "$l"}, 1),
        ({"$first": "$e"}, MISSING),
        ({"$last": "$l"}, 3),
        ({"$last": "$n"}, None),
        (some("$firstN", 2, "$l"), [1, 2]),
        (some("$lastN", 2, "$l"), [2, 3]),
        (some("$lastN", 9, "$l"), [1, 2, 3]),
        (some("$maxN", 2, [3, None, "a", 5]), ["a", 5]),
        (some("$minN", Int64(2), [3, None, 1, 2]), [1, 2]),
        ({"$concatArrays": ["$l", ["a"], "$e"]}, [1, 2, 3, "a"]),
        ({"$concatArrays": ["$l", "$x"]}, None),
        ({"$concatArrays": []}, []),
        ({"$filter": {"input": "$l", "cond": {"$gt": ["$$this", 1]}}}, [2, 3]),
        ({"$filter": {"input": "$l", "as": "v", "cond": "$$v", "limit": 2}}, [1, 2]),
        ({"$filter": {"input": "$l", "cond": True, "limit": None}}, [1, 2, 3]),
        ({"$filter": {"input": "$n", "cond": True}}, None),
        ({"$map": {"input": "$l", "in": {"$add": ["$$this", "$i"]}}}, [6, 7, 8]),
        ({"$map": {"input": "$d", "as": "v", "in": "$$v.b.c"}}, [1, None, 0]),
        ({"$map": {"input": "$x", "in": 1}}, None),
        (
            {
                "$reduce": {
                    "input": "$l",
                    "initialValue": {"s": 0, "p": 1},
                    "in": {
                        "s": {"$add": ["$$value.s", "$$this"]},
                        "p": {"$multiply": ["$$value.p", "$$this"]},
                    },
                }
            },
            {"s": 6, "p": 6},
        ),
        ({"$reduce": {"input": "$e", "initialValue": "$i", "in": "$$this"}}, 5),
        ({"$reduce": {"input": "$n", "initialValue": 1, "in": 1}}, None),
        ({"$in": [2.0, "$l"]}, True),
        ({"$in": ["$x", [None]]}, False),
        ({"$in": [[1], [[1]]]}, True),
        ({"$indexOfArray": ["$l", 3]}, 2),
        ({"$indexOfArray": ["$l", 3, 0, 2]}, -1),
        ({"$indexOfArray": ["$l", 1.0, 0]}, 0),
        ({"$indexOfArray": ["$l", 1, 5]}, -1),
        ({"$indexOfArray": ["$n", 1]}, None),
        ({"$isArray": "$l"}, True),
        ({"$isArray": ["$i"]}, False),
        ({"$isArray": "$x"}, False),
        ({"$range": [0, 10, 3]}, [0, 3, 6, 9]),
        ({"$range": [5, 0, -2]}, [5, 3, 1]),
        ({"$range": [0, 3.0]}, [0, 1, 2]),
        ({"$range": [3, 0]}, []),
        ({"$reverseArray": "$l"}, [3, 2, 1]),
        ({"$reverseArray": "$x"}, None),
        ({"$size": "$l"}, 3),
        ({"$size": [[1, 2]]}, 2),
        ({"$slice": ["$l", 2]}, [1, 2]),
        ({"$slice": ["$l", -2]}, [2, 3]),
        ({"$slice": ["$l", 1, 5]}, [2, 3]),
        ({"$slice": ["$l", -5, 2]}, [1, 2]),
        ({"$slice": ["$l", 9, 2]}, []),
        ({"$slice": ["$n", 1]}, None),
        ({"$sortArray": {"input": [3, "a", 1, None], "sortBy": 1}}, [None, 1, 3, "a"]),
        ({"$sortArray": {"input": "$l", "sortBy": -1}}, [3, 2, 1]),
        ({"$sortArray": {"input": "$x", "sortBy": 1}}, None),
        (
            {
                "$map": {
                    "input": {"$sortArray": {"input": "$d", "sortBy": {"b.c": 1, "a": -1}}},
                    "in": "$$this.a",
                }
            },
            [1, 2, 3],
        ),
        ({"$zip": {"inputs": [["a", "b"], "$l"]}}, [["a", 1], ["b", 2]]),
        (
            {"$zip": {"inputs": [["a"], "$l"], "useLongestLength": True, "defaults": ["z", 0]}},
            [["a", 1], ["z", 2], ["z", 3]],
        ),
        ({"$zip": {"inputs": [["a"], [1, 2]], "useLongestLength": True}}, [["a", 1], [None, 2]]),
        ({"$zip": {"inputs": [["a"], "$x"]}}, None),
        ({"$objectToArray": {"a": 1, "b": [2]}}, [{"k": "a", "v": 1}, {"k": "b", "v": [2]}]),
        ({"$objectToArray": "$x"}, None),
        ({"$arrayToObject": {"$literal": [["a", 1], ["b", 2], ["a", 3]]}}, {"a": 3, "b": 2}),
        ({"$arrayToObject": [[{"k": "a", "v": 1}, {"v": 2, "k": "b"}]]}, {"a": 1, "b": 2}),
        ({"$arrayToObject": "$e"}, {}),
        ({"$arrayToObject": "$n"}, None),
    ],
)
def test_value(spec: Any, value: Any) -> None:
    assert value_of(spec, ROOT) == value


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$arrayElemAt": ["$i", 0]}, 28689),
        ({"$arrayElemAt": ["$l", "a"]}, 28690),
        ({"$arrayElemAt": ["$l", 0.5]}, 28691),
        ({"$first": "$i"}, 28689),
        ({"$last": "$i"}, 28689),
        (some("$firstN", 0, "$l"), 5787908),
        (some("$firstN", 1.5, "$l"), 5787902),
        (some("$maxN", 1, "$x"), 5788200),
        ({"$concatArrays": ["$i"]}, 28664),
        ({"$filter": {"input": "$i", "cond": 1}}, 28651),
        ({"$filter": {"input": "$l", "cond": 1, "limit": 0}}, 327392),
        ({"$filter": {"input": "$l", "cond": 1, "limit": 0.5}}, 327391),
        ({"$map": {"input": "$i", "in": 1}}, 16883),
        ({"$reduce": {"input": "$i", "initialValue": 1, "in": 1}}, 40080),
        ({"$in": [1, "$x"]}, 40081),
        ({"$indexOfArray": ["$i", 1]}, 40090),
        ({"$indexOfArray": ["$l", 1, "a"]}, 40096),
        ({"$indexOfArray": ["$l", 1, -1]}, 40097),
        ({"$range": ["a", 1]}, 34443),
        ({"$range": [0.5, 1]}, 34444),
        ({"$range": [0, None]}, 34445),
        ({"$range": [0, 2**40]}, 34446),
        ({"$range": [0, 1, "a"]}, 34447),
        ({"$range": [0, 1, 0.5]}, 34448),
        ({"$range": [0, 1, 0]}, 34449),
        ({"$range": [0, 2**31 - 1]}, 146),
        ({"$reverseArray": "$i"}, 34435),
        ({"$size": "$x"}, 17124),
        ({"$slice": ["$i", 1]}, 28724),
        ({"$slice": ["$l", "a"]}, 28725),
        ({"$slice": ["$l", 0.5]}, 28726),
        ({"$slice": ["$l", 0, "a"]}, 28727),
        ({"$slice": ["$l", 0, 0.5]}, 28728),
        ({"$slice": ["$l", 0, 0]}, 28729),
        ({"$sortArray": {"input": "$i", "sortBy": 1}}, 2942504),
        ({"$zip": {"inputs": ["$l", "$i"]}}, 34468),
        ({"$zip": {"inputs": "$i"}}, 34461),
        ({"$zip": {"inputs": "$e"}}, 34465),
        ({"$zip": {"inputs": ["$l"], "defaults": "$i", "useLongestLength": True}}, 34462),
        ({"$zip": {"inputs": ["$l"], "defaults": "$l", "useLongestLength": True}}, 34467),
        ({"$objectToArray": "$i"}, 40390),
        ({"$arrayToObject": "$i"}, 40386),
        ({"$arrayToObject": "$l"}, 40398),
        ({"$arrayToObject": [[["a", 1], {"k": "b", "v": 1}]]}, 40396),
        ({"$arrayToObject": [[{"k": "b", "v": 1}, ["a", 1]]]}, 40391),
        ({"$arrayToObject": [[["a"]]]}, 40397),
        ({"$arrayToObject": [[[1, 2]]]}, 40395),
        ({"$arrayToObject": [[{"k": "a"}]]}, 40392),
        ({"$arrayToObject": [[{"k": "a", "x": 1}]]}, 40393),
        ({"$arrayToObject": [[{"k": 1, "v": 1}]]}, 40394),
        ({"$arrayToObject": [[["a\0", 1]]]}, 4940400),
    ],
)
def test_errors_have_the_code_of_mongodb(spec: Any, code: int) -> None:
    fails(spec, ROOT, code)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$filter": []}, 28646),
        ({"$filter": {"input": 1, "cond": 1, "x": 1}}, 28647),
        ({"$filter": {"cond": 1}}, 28648),
        ({"$filter": {"input": [], "cond": 1, "as": "X"}}, 16867),
        ({"$map": 1}, 16878),
        ({"$map": {"input": 1, "in": 1, "x": 1}}, 16879),
        ({"$map": {"in": 1}}, 16880),
        ({"$map": {"input": [], "as": "v", "in": "$$this"}}, 17276),
        ({"$reduce": 1}, 40075),
        ({"$reduce": {"x": 1}}, 40076),
        ({"$reduce": {"in": 1}}, 40077),
        ({"$slice": [1]}, 28667),
        ({"$range": [1]}, 28667),
        ({"$firstN": 1}, 5787900),
        ({"$firstN": {"n": 1, "input": [], "x": 1}}, 5787901),
        ({"$firstN": {"input": []}}, 5787906),
        ({"$sortArray": 1}, 2942500),
        ({"$sortArray": {"input": [], "sortBy": 2}}, 15975),
        ({"$sortArray": {"input": [], "sortBy": {}}}, 15976),
        ({"$sortArray": {"input": [], "sortBy": "a"}}, 2942505),
        ({"$zip": 1}, 34460),
        ({"$zip": {"inputs": []}}, 34465),
        ({"$zip": {"inputs": [[]], "x": 1}}, 34464),
        ({"$zip": {"inputs": [[]], "useLongestLength": 1}}, 34463),
        ({"$zip": {"inputs": [[]], "defaults": [1]}}, 34466),
    ],
)
def test_what_is_malformed_is_refused(spec: Any, code: int) -> None:
    refused(spec, code)


def test_map_does_not_change_what_it_is_given() -> None:
    variables = {"v": 1}
    root = {"l": [1, 2]}
    from rango.engine.expression import compile_expression

    spec = {"$map": {"input": "$l", "in": {"$add": ["$$this", "$$v"]}}}
    assert compile_expression(spec, {"v"}).evaluate(root, variables) == [2, 3]
    assert variables == {"v": 1}
    assert root == {"l": [1, 2]}
