"""Projections: what is kept, in which order, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from bson.dbref import DBRef

from rango.engine.projection import projection_of
from rango.errors import InvalidExpression, InvalidFilter, LimitExceeded

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


GRADES: dict[str, Any] = {
    "_id": 1,
    "n": 5,
    "g": [{"s": 1, "t": "a"}, {"s": 7, "t": "b"}, {"s": 9, "t": "c"}],
    "deep": {"v": [1, 2, 3], "w": 0},
    "many": [{"v": [1, 2]}, 7, {"v": [3, 4]}],
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        # $slice decides for neither: alone it leaves everything, with an inclusion it is one more
        ({"g": {"$slice": 1}}, {**GRADES, "g": GRADES["g"][:1]}),
        ({"g": {"$slice": -2}, "n": 1}, {"_id": 1, "n": 5, "g": GRADES["g"][1:]}),
        ({"g": {"$slice": [1, 1]}, "n": 0, "deep": 0, "many": 0},
         {"_id": 1, "g": GRADES["g"][1:2]}),
        ({"g": {"$slice": [-1, 5]}, "_id": 1}, {"_id": 1, "g": GRADES["g"][2:]}),
        ({"g": {"$slice": [-9, 1]}, "_id": 1}, {"_id": 1, "g": GRADES["g"][:1]}),
        ({"g": {"$slice": 0}, "_id": 1}, {"_id": 1, "g": []}),
        ({"g": {"$slice": 1.9}, "_id": 1}, {"_id": 1, "g": GRADES["g"][:1]}),
        ({"g": {"$slice": 10**12}, "_id": 1}, {"_id": 1, "g": GRADES["g"]}),
        ({"deep.v": {"$slice": 1}, "_id": 1}, {"_id": 1, "deep": {"v": [1]}}),
        ({"deep": {"v": {"$slice": 1}}, "n": 0, "g": 0, "many": 0},
         {"_id": 1, "deep": {"v": [1], "w": 0}}),
        ({"many.v": {"$slice": 1}, "_id": 1}, {"_id": 1, "many": [{"v": [1]}, {"v": [3]}]}),
        ({"n": {"$slice": 1}, "_id": 1}, {"_id": 1, "n": 5}),
        # computed
        ({"m": "$n"}, {"_id": 1, "m": 5}),
        ({"m": "text", "n": 1}, {"_id": 1, "n": 5, "m": "text"}),
        ({"m": None, "_id": 0}, {"m": None}),
        ({"m": ["$n", 2], "_id": 0}, {"m": [5, 2]}),
        ({"m": {"$add": ["$n", 1]}, "_id": 0}, {"m": 6}),
        ({"m": "$missing"}, {"_id": 1}),
        ({"m": {"$literal": 1}, "_id": 0}, {"m": 1}),
        ({"_id": "$n"}, {"_id": 5}),
        ({"deep.x": "$n", "_id": 0}, {"deep": {"x": 5}}),
        ({"deep.x": "$n", "deep.w": 1, "_id": 0}, {"deep": {"w": 0, "x": 5}}),
        ({"n.x": "$n", "_id": 0}, {"n": {"x": 5}}),
        ({"new.x": "$missing", "_id": 0}, {"new": {}}),
        ({"many.x": "$n", "many.v": 1, "_id": 0},
         {"many": [{"v": [1, 2], "x": 5}, {"v": [3, 4], "x": 5}]}),
        ({"n": "$_id", "_id": 0}, {"n": 1}),
    ],
)  # fmt: skip
def test_operators(spec: Any, expected: dict[str, Any]) -> None:
    before = copy.deepcopy(GRADES)
    found = projection_of(spec).apply(GRADES)
    assert found == expected
    assert list(found) == list(expected)
    assert before == GRADES


@pytest.mark.parametrize(
    ("spec", "position", "expected"),
    [
        ({"g.$": 1}, 1, {"_id": 1, "g": [GRADES["g"][1]]}),
        ({"g.$": 1, "n": 1}, 0, {"_id": 1, "n": 5, "g": [GRADES["g"][0]]}),
        ({"deep.v.$": 1, "_id": 0}, 2, {"deep": {"v": [3]}}),
        ({"many.v.$": 1, "_id": 0}, 1, {"many": [{"v": [3, 4]}]}),
        ({"n.$": 1}, None, {"_id": 1, "n": 5}),
        ({"missing.$": 1}, None, {"_id": 1}),
    ],
)
def test_the_positional_field_is_the_element_that_matched(
    spec: Any, position: int | None, expected: dict[str, Any]
) -> None:
    before = copy.deepcopy(GRADES)
    assert projection_of(spec).apply(GRADES, position) == expected
    assert before == GRADES


@pytest.mark.parametrize(("position", "code"), [(None, 51246), (3, 51247)])
def test_a_positional_field_needs_a_matched_element(position: int | None, code: int) -> None:
    with pytest.raises(InvalidFilter) as caught:
        projection_of({"g.$": 1}).apply(GRADES, position)
    assert caught.value.code == code


def test_variables_reach_expressions() -> None:
    projection = projection_of({"m": "$$v"}, ["v"])
    assert projection.apply(GRADES, None, {"v": 3}) == {"_id": 1, "m": 3}
    with pytest.raises(InvalidExpression):
        projection_of({"m": "$$v"})


def test_references_are_documents() -> None:
    document = {"_id": 1, "r": DBRef("c", 5)}
    assert projection_of({"r.$id": 1}).apply(document) == {"_id": 1, "r": {"$id": 5}}
    assert projection_of({"r.$id": 0}).apply(document) == {"_id": 1, "r": {"$ref": "c"}}


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"a": 1, "b": 0}, 31254),
        ({"a": 0, "b": 1}, 31253),
        ({"a": 0, "b": "$x"}, 31252),
        ({"a": 0, "b.$": 1}, 31395),
        ({"b.$": 0}, 31395),
        ({"a.b": 1, "a": 1}, 31250),
        ({"a": 1, "a.b": 1}, 31249),
        ({"a.b": 1, "a": {"b": 1}}, 31250),
        ({"a": {"$slice": 1}, "a.b": 1}, 31249),
        ({"a.$": 1, "b.$": 1}, 31276),
        ({"a.$.b": 1}, 31394),
        ({"a.$": "x"}, 31271),
        ({"a": {"$elemMatch": 1}}, 31274),
        ({"a.b": {"$elemMatch": {"x": 1}}}, 31255),
        ({"a": {"$meta": "textScore"}}, 17308),
        ({"a": {}}, 51270),
        ({"a": {"$slice": "x"}}, 28667),
        ({"a": {"$slice": [1]}}, 28667),
        ({"a": {"$slice": [1, 0]}}, 28724),
        ({"a": {"$slice": [1, "x"]}}, 28724),
        ({"a": {"$slice": 1, "$elemMatch": {}}}, 31325),
        ({"$a": 1}, 16410),
        ({"": 1}, 40352),
        ({"a.": 1}, 40353),
        ({"a..b": 1}, 15998),
    ],
    ids=repr,
)
def test_refused_with_the_code_that_mongodb_gives(spec: Any, code: int) -> None:
    with pytest.raises(InvalidFilter) as caught:
        projection_of(spec)
    assert caught.value.code == code


@pytest.mark.parametrize("spec", [{"a": {"$no": 1}}, {"a": "$$no"}, {"a": {"$add": 1, "$eq": 2}}])
def test_expressions_are_checked(spec: Any) -> None:
    with pytest.raises(InvalidExpression):
        projection_of(spec)


def test_only_what_is_needed_is_decoded() -> None:
    assert projection_of({"a": 1, "b.c": 1}).names == frozenset(("_id", "a", "b"))
    assert projection_of({"a": 0, "b.c": 0}).names == frozenset(("a",))
    assert projection_of({"a": "$b"}).names is None
    assert projection_of({"a": 1}).is_flat
    assert projection_of({"a": 0, "_id": 0}).is_flat
    assert not projection_of({"a.b": 1}).is_flat
    assert not projection_of({"a": {"$slice": 1}}).is_flat


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
        {"a": {}},
        {"a": 1, "a.b": 1},
        {"a.b": 0, "a": 0},
        {"": 1},
        {"a..b": 1},
        {"a.": 1},
        {"$a": 1},
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
