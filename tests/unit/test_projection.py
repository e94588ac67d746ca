"""Projections: what is kept, in which order, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rango.engine.projection import projection_of
from rango.errors import InvalidFilter, LimitExceeded

DOCUMENT: dict[str, Any] = {
    "_id": 7,
    "a": 1,
    "b": {"c": 2, "d": {"e": 3, "f": 4}},
    "list": [1, {"x": 5, "y": 6}, [{"x": 7}, 8], {"z": 9}],
    "_rev": "1-0-abcd",
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, DOCUMENT),
        ({}, DOCUMENT),
        ([], {"_id": 7}),
        (["a"], {"_id": 7, "a": 1}),
        (("b.c", "a"), {"_id": 7, "a": 1, "b": {"c": 2}}),
        ({"a": 1}, {"_id": 7, "a": 1}),
        ({"a": True, "_id": False}, {"a": 1}),
        ({"_id": 1}, {"_id": 7}),
        ({"b.d.e": 1.0, "_id": 0}, {"b": {"d": {"e": 3}}}),
        ({"b": {"d": {"e": 1}}, "_id": 0}, {"b": {"d": {"e": 3}}}),
        ({"a.x": 1}, {"_id": 7}),
        ({"list.x": 1}, {"_id": 7, "list": [{"x": 5}, [{"x": 7}], {}]}),
        ({"list.0": 1}, {"_id": 7, "list": [{}, [{}], {}]}),
        ({"missing": 1}, {"_id": 7}),
        ({"a": 1, "_rev": 1}, {"_id": 7, "a": 1, "_rev": "1-0-abcd"}),
        ({"_rev": 1}, {"_id": 7, "_rev": "1-0-abcd"}),
        ({"_id.x": 1, "a": 1}, {"a": 1}),
        (
            {"list": 0, "b.d": 0},
            {"_id": 7, "a": 1, "b": {"c": 2}, "_rev": "1-0-abcd"},
        ),
        (
            {"_id": 0, "b": 0, "a": 0, "_rev": 1},
            {"list": DOCUMENT["list"], "_rev": "1-0-abcd"},
        ),
        (
            {"list.x": 0, "b": 0, "_id": 0},
            {"a": 1, "list": [1, {"y": 6}, [{}, 8], {"z": 9}], "_rev": "1-0-abcd"},
        ),
        ({"a.x": 0, "list": 0, "b": 0}, {"_id": 7, "a": 1, "_rev": "1-0-abcd"}),
    ],
)
def test_what_is_kept(spec: Any, expected: dict[str, Any]) -> None:
    before = copy.deepcopy(DOCUMENT)
    found = projection_of(spec).apply(DOCUMENT)
    assert found == expected
    assert list(found) == list(expected)
    assert before == DOCUMENT


def test_meta_is_asked_for_by_name() -> None:
    assert projection_of({"a": 1}).meta == ()
    assert projection_of(["_rev", "_source_node"]).meta == ("_rev", "_source_node")
    assert projection_of({"a": 0, "_updated_at": 1}).meta == ("_updated_at",)
    assert projection_of({"_rev": 0}).meta == ()
    assert projection_of({"_rev": 0}).is_everything


@pytest.mark.parametrize(
    "spec",
    [
        5,
        "a",
        {"a": 1, "b": 0},
        {"a": 0, "b": 1},
        {"a": "x"},
        {"a": None},
        {"a": {}},
        {"a": {"$slice": 1}},
        {"a": 1, "a.b": 1},
        {"a.b": 0, "a": 0},
        {"": 1},
        {"a..b": 1},
        {"a.": 1},
        {"$a": 1},
        {"a.$": 1},
        {1: 1},
        [1],
        ["a\x00"],
        {"_id": 1, "_id.x": 1},
    ],
    ids=repr,
)
def test_refused(spec: Any) -> None:
    with pytest.raises(InvalidFilter):
        projection_of(spec)


def test_nesting_is_limited() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = {"a": deep}
    with pytest.raises(LimitExceeded):
        projection_of(deep)
