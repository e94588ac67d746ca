"""Comparison, boolean and conditional operators."""

from __future__ import annotations

from typing import Any

import pytest
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey

from rango.engine.values import MISSING
from tests.unit.expression_case import fails, refused, value_of

ROOT = {"a": 1, "b": 1.0, "s": "x", "n": None, "l": [1, 2], "d": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"$eq": ["$a", "$b"]}, True),
        ({"$eq": ["$a", Int64(1)]}, True),
        ({"$eq": ["$a", "1"]}, False),
        ({"$eq": ["$n", "$x"]}, False),
        ({"$eq": ["$l", [1, 2.0]]}, True),
        ({"$eq": ["$d", {"y": 2, "x": 1}]}, False),
        ({"$eq": [2**53 + 1, float(2**53)]}, False),
        ({"$ne": ["$x", None]}, True),
        ({"$ne": ["$s", "x"]}, False),
        ({"$gt": ["$s", 10**18]}, True),
        ({"$gt": ["$n", "$x"]}, True),
        ({"$gt": ["$x", MinKey()]}, True),
        ({"$gte": ["$a", 1]}, True),
        ({"$lt": ["$a", MaxKey()]}, True),
        ({"$lt": [float("nan"), float("-inf")]}, True),
        ({"$lte": ["$l", [1, 2]]}, True),
        ({"$cmp": ["$a", 2]}, -1),
        ({"$cmp": ["$a", "$b"]}, 0),
        ({"$cmp": ["$s", "$a"]}, 1),
        ({"$and": []}, True),
        ({"$and": ["$a", "$s", {}]}, True),
        ({"$and": ["$a", "$x"]}, False),
        ({"$and": 1}, True),
        ({"$or": []}, False),
        ({"$or": ["$x", None, 0, "$a"]}, True),
        ({"$or": [0, False]}, False),
        ({"$not": ["$x"]}, True),
        ({"$not": "$s"}, False),
        ({"$not": [[]]}, False),
        ({"$cond": ["$a", "yes", "no"]}, "yes"),
        ({"$cond": {"if": "$n", "then": "yes", "else": "no"}}, "no"),
        ({"$cond": [True, "$x", 1]}, MISSING),
        ({"$ifNull": ["$n", "$a"]}, 1),
        ({"$ifNull": ["$x", "$n", "last"]}, "last"),
        ({"$ifNull": ["$x", "$y"]}, MISSING),
        ({"$ifNull": [0, 1]}, 0),
        ({"$switch": {"branches": [{"case": "$n", "then": 1}, {"case": "$a", "then": 2}]}}, 2),
        ({"$switch": {"branches": [{"case": "$n", "then": 1}], "default": 3}}, 3),
    ],
)
def test_value(spec: Any, value: Any) -> None:
    assert value_of(spec, ROOT) == value


def test_only_the_branch_that_is_chosen_is_evaluated() -> None:
    bad = {"$divide": ["$a", "$zero"]}
    root = {"a": 1, "zero": 0}
    assert value_of({"$cond": ["$a", 1, bad]}, root) == 1
    assert value_of({"$ifNull": ["$a", bad]}, root) == 1
    assert value_of({"$and": ["$zero", bad]}, root) is False
    assert value_of({"$or": ["$a", bad]}, root) is True
    spec = {"$switch": {"branches": [{"case": "$a", "then": 1}, {"case": bad, "then": bad}]}}
    assert value_of(spec, root) == 1


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"$eq": [1]}, 16020),
        ({"$cmp": [1, 2, 3]}, 16020),
        ({"$not": [1, 2]}, 16020),
        ({"$cond": [1, 2]}, 16020),
        ({"$cond": {"then": 1, "else": 2}}, 17080),
        ({"$cond": {"if": 1, "else": 2}}, 17081),
        ({"$cond": {"if": 1, "then": 2}}, 17082),
        ({"$cond": {"if": 1, "then": 2, "else": 3, "x": 4}}, 17083),
        ({"$ifNull": [1]}, 1257300),
        ({"$ifNull": 1}, 1257300),
        ({"$switch": []}, 40060),
        ({"$switch": {"branches": 1}}, 40061),
        ({"$switch": {"branches": [1]}}, 40062),
        ({"$switch": {"branches": [{"case": 1, "then": 1, "x": 1}]}}, 40063),
        ({"$switch": {"branches": [{"then": 1}]}}, 40064),
        ({"$switch": {"branches": [{"case": 1}]}}, 40065),
        ({"$switch": {"branches": [], "x": 1}}, 40067),
        ({"$switch": {"branches": []}}, 40068),
        ({"$switch": {"default": 1}}, 40068),
    ],
)
def test_what_is_malformed_is_refused(spec: Any, code: int) -> None:
    refused(spec, code)


def test_a_switch_without_a_match_and_a_default_fails() -> None:
    fails({"$switch": {"branches": [{"case": "$x", "then": 1}]}}, ROOT, 40066, "default")
