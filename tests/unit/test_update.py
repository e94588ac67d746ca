"""Updates: MongoDB's answers and refusals by example, and the plain twin on random input."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import pytest
from bson import Decimal128, Int64
from hypothesis import given, settings
from hypothesis import strategies as st

from rango._ext.record import encode
from rango.engine.update import ARRAY_PADDING_COUNT_MAX, apply_update, compile_update
from rango.errors import InvalidDocument, InvalidUpdate
from tests.reference import update as twin

EXAMPLES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"a": 1}, {"$set": {"a": 2}}, {"a": 2}),
    ({"a": 1, "b": 2}, {"$set": {"a": 5, "c": 3}}, {"a": 5, "b": 2, "c": 3}),
    ({}, {"$set": {"b": 1, "a": 2, "10": 3, "9": 4}}, {"9": 4, "10": 3, "a": 2, "b": 1}),
    ({}, {"$set": {"a.b.c": 1}}, {"a": {"b": {"c": 1}}}),
    ({}, {"$set": {"a.0": 1}}, {"a": {"0": 1}}),
    ({"a": [1, 2]}, {"$set": {"a.1": 5}}, {"a": [1, 5]}),
    ({"a": [1]}, {"$set": {"a.3": 5}}, {"a": [1, None, None, 5]}),
    ({"a": []}, {"$set": {"a.1.b": 5, "a.1.a": 6}}, {"a": [None, {"a": 6, "b": 5}]}),
    ({"a": [{"b": 1}]}, {"$set": {"a.0.c": 2}}, {"a": [{"b": 1, "c": 2}]}),
    ({"a": {"b": 1, "c": 2}}, {"$unset": {"a.b": ""}}, {"a": {"c": 2}}),
    ({"a": [1, 2, 3]}, {"$unset": {"a.1": 1}}, {"a": [1, None, 3]}),
    ({"a": 1}, {"$unset": {"a": 1}, "$set": {"b": 2}}, {"b": 2}),
    ({"a": 1}, {"$inc": {"a": 2, "b": 5}}, {"a": 3, "b": 5}),
    ({"a": 1}, {"$inc": {"a": 0.5}}, {"a": 1.5}),
    ({"a": Decimal128("1.10")}, {"$inc": {"a": 1}}, {"a": Decimal128("2.10")}),
    ({"a": 0.1}, {"$inc": {"a": Decimal128("0.2")}}, {"a": Decimal128("0.3")}),
    ({"a": 2**31 - 1}, {"$inc": {"a": 1}}, {"a": 2**31}),
    ({"a": [5]}, {"$inc": {"a.0": 1}}, {"a": [6]}),
    ({"a": {"$ref": "c"}}, {"$set": {"a.$id": 1}}, {"a": {"$ref": "c", "$id": 1}}),
]


@pytest.mark.parametrize(("document", "update", "expected"), EXAMPLES, ids=repr)
def test_examples(
    document: dict[str, Any], update: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = copy.deepcopy(document)
    found = apply_update(document, update)
    assert encode(found) == encode(expected)
    assert document == before


UNCHANGED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": 1}, {"$set": {"a": 1}}),
    ({"_id": 1, "a": 1}, {"$set": {"_id": 1}}),
    ({"a": 1}, {"$set": {}}),
    ({"a": {"b": [1, {"c": 2}]}}, {"$set": {"a.b.1.c": 2}}),
    ({"a": 1}, {"$unset": {"b": 1, "b2.c.d": 1, "a.x": 1}}),
    ({"a": [1]}, {"$unset": {"a.5": 1, "a.x": 1, "a.0.y": 1}}),
    ({"a": [None]}, {"$unset": {"a.0": 1}}),
    ({"a": 1}, {"$inc": {"a": 0}}),
    ({"a": float("nan")}, {"$set": {"a": float("nan")}}),
    (
        {"a": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)},
        {"$set": {"a": datetime.datetime(2024, 1, 1, 0, 0, 0, 17)}},
    ),
]


@pytest.mark.parametrize(("document", "update"), UNCHANGED, ids=repr)
def test_nothing_changed(document: dict[str, Any], update: dict[str, Any]) -> None:
    assert apply_update(document, update) is document


@pytest.mark.parametrize(
    ("old", "new"),
    [(1, 1.0), (1, Int64(1)), (1, True), (0.0, -0.0), ({"a": 1, "b": 2}, {"b": 2, "a": 1})],
)
def test_set_sees_types_and_order(old: Any, new: Any) -> None:
    found = apply_update({"v": old}, {"$set": {"v": new}})
    assert encode(found) == encode({"v": new})


def test_integer_width() -> None:
    wide = apply_update({"a": Int64(1)}, {"$inc": {"a": 1}})["a"]
    assert isinstance(wide, Int64)
    back = apply_update({"a": 2**31 - 1}, {"$inc": {"a": 1}})["a"]
    assert isinstance(apply_update({"a": back}, {"$inc": {"a": -5}})["a"], Int64)


REFUSED: list[Any] = [
    5,
    [],
    {},
    {"a": 1},
    {"$set": {"a": 1}, "b": 2},
    {"$foo": {"a": 1}},
    {"$set": 1},
    {"$set": {"": 1}},
    {"$set": {"a..b": 1}},
    {"$set": {"a.": 1}},
    {"$set": {".a": 1}},
    {"$set": {"$a": 1}},
    {"$set": {"a.$b": 1}},
    {"$set": {"a.$": 1}},
    {"$set": {"a.$[].b": 1}},
    {"$set": {"$id": 1}},
    {"$set": {"a\x00": 1}},
    {"$set": {1: 1}},
    {"$set": {"a": 1, "a.b": 2}},
    {"$set": {"a.b": 2, "a": 1}},
    {"$set": {"a": 1}, "$inc": {"a": 1}},
    {"$unset": {"a.b": 1}, "$set": {"a": 1}},
    {"$inc": {"a": "1"}},
    {"$inc": {"a": True}},
    {"$inc": {"a": None}},
    {"$inc": {"a": 2**63}},
    {"$set": {"_rev": 1}},
    {"$unset": {"_updated_at": 1}},
    {"$set": {"_source_node.x": 1}},
    {"$set": {"_deleted": True}},
    {"$inc": {"_conflicts.0": 1}},
    {"$set": {".".join("a" * 101): 1}},
]


@pytest.mark.parametrize("update", REFUSED, ids=lambda value: repr(value)[:60])
def test_refused_before_any_document(update: Any) -> None:
    with pytest.raises(InvalidUpdate):
        compile_update(update)


@pytest.mark.parametrize(
    ("document", "update"),
    [
        ({"_id": 1}, {"$set": {"_id": 2}}),
        ({"_id": 1}, {"$set": {"_id": 1.0}}),
        ({"_id": 1}, {"$unset": {"_id": 1}}),
        ({"_id": 1}, {"$inc": {"_id": 1}}),
        ({"_id": {"a": 1}}, {"$set": {"_id.a": 2}}),
        ({"a": 1}, {"$set": {"a.b": 1}}),
        ({"a": None}, {"$set": {"a.b": 1}}),
        ({"a": [1]}, {"$set": {"a.b": 1}}),
        ({"a": [1]}, {"$set": {"a.00": 1}}),
        ({"a": [1]}, {"$set": {"a.0.b": 1}}),
        ({"a": []}, {"$set": {f"a.{ARRAY_PADDING_COUNT_MAX + 1}": 1}}),
        ({"a": []}, {"$set": {"a." + "9" * 30: 1}}),
        ({"a": "x"}, {"$inc": {"a": 1}}),
        ({"a": None}, {"$inc": {"a": 1}}),
        ({"a": True}, {"$inc": {"a": 1}}),
        ({"a": 2**63 - 1}, {"$inc": {"a": 1}}),
        ({"a": -(2**63)}, {"$inc": {"a": -1}}),
    ],
)
def test_refused_by_a_document(document: dict[str, Any], update: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    with pytest.raises(InvalidUpdate):
        apply_update(document, update)
    assert document == before


def test_unencodable_values_are_named_by_path() -> None:
    with pytest.raises(InvalidDocument, match=r"a\.b"):
        compile_update({"$set": {"a.b": object()}})


NAMES = st.sampled_from(["a", "b", "0", "1", "3", "10", "01"])
SCALARS = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([2**31 - 1, 2**63 - 1]),
    st.sampled_from([0.5, "x", None, True]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
UPDATES = st.fixed_dictionaries(
    {},
    optional={
        "$set": st.dictionaries(PATHS, VALUES, max_size=3),
        "$unset": st.dictionaries(PATHS, st.just(1), max_size=2),
        "$inc": st.dictionaries(PATHS, st.one_of(st.integers(-3, 3), st.just(0.5)), max_size=2),
    },
)


def has_conflict(update: dict[str, dict[str, Any]]) -> bool:
    paths = [path.split(".") for paths in update.values() for path in paths]
    return any(
        i != j and left == right[: len(left)]
        for i, left in enumerate(paths)
        for j, right in enumerate(paths)
    )


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4), UPDATES)
def test_update_equals_its_twin(
    document: dict[str, Any], update: dict[str, dict[str, Any]]
) -> None:
    before = encode(document)
    if not update or has_conflict(update):
        with pytest.raises(InvalidUpdate):
            compile_update(update)
        return
    try:
        expected = encode(twin.apply_update(document, update))
    except twin.Refused:
        with pytest.raises(InvalidUpdate):
            apply_update(document, update)
        return
    found = apply_update(document, update)
    assert encode(found) == expected
    assert encode(document) == before
    assert (found is document) == (expected == before)
