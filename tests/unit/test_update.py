"""Updates: MongoDB's answers and refusals by example; tests/property holds them to their twin."""

from __future__ import annotations

import copy
import datetime
import re
from typing import Any

import pytest
from bson import DBRef, Decimal128, Int64, Timestamp

from rango._ext.record import encode
from rango.engine.update import ARRAY_PADDING_COUNT_MAX, apply_update, compile_update
from rango.engine.update.upsert import seed_of
from rango.errors import InvalidDocument, InvalidUpdate, LimitExceeded

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
    ({"a": 0.1}, {"$inc": {"a": Decimal128("0.2")}}, {"a": Decimal128("0.300000000000000")}),
    ({"a": 2**31 - 1}, {"$inc": {"a": 1}}, {"a": 2**31}),
    ({"a": [5]}, {"$inc": {"a.0": 1}}, {"a": [6]}),
    ({"a": {"$ref": "c"}}, {"$set": {"a.$id": 1}}, {"a": {"$ref": "c", "$id": 1}}),
    ({"a": DBRef("c", 1)}, {"$set": {"a.$id": 2}}, {"a": DBRef("c", 2)}),
    ({"a": {"$b": 1}}, {"$inc": {"a.$b": 1}, "$set": {"a.$c": 2}}, {"a": {"$b": 2, "$c": 2}}),
    ({"$a": 1}, {"$inc": {"$a": 1}}, {"$a": 2}),
    ({"_id": 1, "a": 1}, {"$set": {"_id": 1.0, "a": 2}}, {"_id": 1, "a": 2}),
    (
        {"a": 2, "b": 3},
        {"$mul": {"a": 2.5, "b": 3, "c": Int64(7)}},
        {"a": 5.0, "b": 9, "c": Int64(0)},
    ),
    ({}, {"$mul": {"a": Decimal128("2")}}, {"a": Decimal128("0")}),
    ({"a": 2**31 - 1}, {"$mul": {"a": 2**31 - 1}}, {"a": Int64((2**31 - 1) ** 2)}),
    ({"a": Decimal128("10")}, {"$mul": {"a": 2.0}}, {"a": Decimal128("20.00000000000000")}),
    (
        {"a": 2, "b": 2},
        {"$min": {"a": 1, "c": [1]}, "$max": {"b": "x"}},
        {"a": 1, "b": "x", "c": [1]},
    ),
    ({"a": {"b": 2}}, {"$rename": {"a.b": "a.c"}}, {"a": {"c": 2}}),
    ({"a": 1, "b": 2, "c": 3}, {"$rename": {"c": "a"}}, {"a": 3, "b": 2}),
    ({"a": 1}, {"$rename": {"a": "b.c"}}, {"b": {"c": 1}}),
    ({"a": 13}, {"$bit": {"a": {"and": 10}}}, {"a": 8}),
    (
        {"a": 13},
        {"$bit": {"a": {"and": 0, "or": 10}, "b": {"or": Int64(1)}}},
        {"a": 10, "b": Int64(1)},
    ),
    ({"a": [1]}, {"$push": {"a": [2, 3], "b": 1}}, {"a": [1, [2, 3]], "b": [1]}),
    ({"a": [1, 2]}, {"$push": {"a": {"$each": [8, 9], "$position": 1}}}, {"a": [1, 8, 9, 2]}),
    ({"a": [1, 2]}, {"$push": {"a": {"$each": [9], "$position": -1}}}, {"a": [1, 9, 2]}),
    ({"a": [1, 2]}, {"$push": {"a": {"$each": [9], "$position": -5}}}, {"a": [9, 1, 2]}),
    ({"a": [3, 1]}, {"$push": {"a": {"$each": [2], "$sort": -1, "$slice": 2}}}, {"a": [3, 2]}),
    ({"a": [3, 1]}, {"$push": {"a": {"$each": [], "$slice": -1}}}, {"a": [1]}),
    ({"a": [3, 1]}, {"$push": {"a": {"$each": [], "$slice": 0}}}, {"a": []}),
    (
        {"a": [{"b": 1, "c": 2}, {"c": 1}, {"b": 1, "c": 1}]},
        {"$push": {"a": {"$each": [5], "$sort": {"b": -1, "c": 1}}}},
        {"a": [{"b": 1, "c": 1}, {"b": 1, "c": 2}, 5, {"c": 1}]},
    ),
    ({}, {"$push": {"a": {"$each": []}}, "$addToSet": {"b": {"$each": []}}}, {"a": [], "b": []}),
    ({"a": [1]}, {"$push": {"a": {"$slice": 1}}}, {"a": [1, {"$slice": 1}]}),
    ({"a": [1]}, {"$addToSet": {"a": {"$each": [2, 1, 2, 3]}}}, {"a": [1, 2, 3]}),
    (
        {"a": [{"x": 1}]},
        {"$addToSet": {"a": {"x": 1, "y": 2}}},
        {"a": [{"x": 1}, {"x": 1, "y": 2}]},
    ),
    ({"a": [1, 2, 3]}, {"$pop": {"a": 1}}, {"a": [1, 2]}),
    ({"a": [1, 2, 3]}, {"$pop": {"a": -1.0}}, {"a": [2, 3]}),
    ({"a": [1, 5, [5]]}, {"$pull": {"a": 5}}, {"a": [1, [5]]}),
    ({"a": [1, 5, [5]]}, {"$pull": {"a": {"$gte": 5}}}, {"a": [1]}),
    (
        {"a": [{"b": 1}, {"b": 2, "c": 1}, 7]},
        {"$pull": {"a": {"b": {"$gt": 1}}}},
        {"a": [{"b": 1}, 7]},
    ),
    ({"a": [{"b": [1, 2]}]}, {"$pull": {"a.0.b": 1}}, {"a": [{"b": [2]}]}),
    ({"a": [1, 1.0, 2, "1"]}, {"$pullAll": {"a": [1, "1"]}}, {"a": [2]}),
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
    ({"a": [1, 2]}, {"$addToSet": {"a": {"$each": [2.0, Decimal128("1")]}}}),
    ({"a": [1, 2]}, {"$pull": {"a": 3}, "$pullAll": {"b": [1]}, "$pop": {"c": 1}}),
    ({"a": 5}, {"$min": {"a": 5.0}, "$setOnInsert": {"b": 1}, "$rename": {"x": "y"}}),
    ({"a": 5}, {"$rename": {"x": "a.y"}}),
    ({"a": 0}, {"$mul": {"a": 7}}),
    ({"a": 6}, {"$bit": {"a": {"and": 6}}}),
    ({"a": []}, {"$pop": {"a": -1}}),
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


CODES: list[tuple[Any, int]] = [
    ({"$foo": {"a": 1}}, 9),
    ({"$set": 1}, 9),
    ({"$set": {"": 1}}, 56),
    ({"$set": {"a.": 1}}, 56),
    ({"$set": {"$": 1}}, 2),
    ({"$set": {"$[]": 1}}, 2),
    ({"$set": {"a.$.b.$": 1}}, 2),
    ({"$set": {"a": 1}, "$inc": {"a.b": 1}}, 40),
    ({"$set": {"a.$[]": 1, "a.0": 1}}, 40),
    ({"$rename": {"a": "b"}, "$set": {"a": 1}}, 40),
    ({"$inc": {"a": "1"}}, 14),
    ({"$rename": {"a": 5}}, 2),
    ({"$rename": {"a": "a"}}, 2),
    ({"$rename": {"a": "a.b"}}, 2),
    ({"$rename": {"a.$": "b"}}, 2),
    ({"$rename": {"a": "b.$[]"}}, 2),
    ({"$currentDate": {"a": 1}}, 2),
    ({"$currentDate": {"a": {"$type": "day"}}}, 2),
    ({"$currentDate": {"a": {"type": "date"}}}, 2),
    ({"$bit": {"a": {}}}, 2),
    ({"$bit": {"a": 1}}, 2),
    ({"$bit": {"a": {"not": 1}}}, 2),
    ({"$bit": {"a": {"or": 1.0}}}, 2),
    ({"$push": {"a": {"$each": 1}}}, 2),
    ({"$push": {"a": {"$each": [], "x": 1}}}, 2),
    ({"$push": {"a": {"$each": [], "$slice": 1.5}}}, 2),
    ({"$push": {"a": {"$each": [], "$position": "1"}}}, 2),
    ({"$push": {"a": {"$each": [], "$sort": 2}}}, 2),
    ({"$push": {"a": {"$each": [], "$sort": {}}}}, 2),
    ({"$push": {"a": {"$each": [], "$sort": {"b.": 1}}}}, 2),
    ({"$push": {"a": {"$each": [], "$sort": {"b": 0}}}}, 2),
    ({"$addToSet": {"a": {"$each": 1}}}, 14),
    ({"$addToSet": {"a": {"$each": [1], "$slice": 1}}}, 2),
    ({"$pop": {"a": 2}}, 9),
    ({"$pop": {"a": "1"}}, 9),
    ({"$pop": {"a": float("nan")}}, 9),
    ({"$pullAll": {"a": 1}}, 2),
    ({"$set": {"a.$[x]": 1}}, 2),
]


@pytest.mark.parametrize(("update", "code"), CODES, ids=repr)
def test_a_refused_update_has_the_code_of_mongodb(update: Any, code: int) -> None:
    with pytest.raises(InvalidUpdate) as caught:
        compile_update(update)
    assert caught.value.code == code


DOCUMENT_CODES: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    ({"_id": 1}, {"$set": {"_id": 2}}, 66),
    ({"a": 1}, {"$set": {"a.b": 1}}, 28),
    ({"a": [1]}, {"$set": {"a.b": 1}}, 28),
    ({"a": 1}, {"$pull": {"a.b": 1}}, 28),
    ({"a": 1}, {"$pop": {"a.b": 1}}, 28),
    ({"a": []}, {"$set": {f"a.{ARRAY_PADDING_COUNT_MAX + 1}": 1}}, 15891),
    ({"b": 1}, {"$set": {"$a": 1}}, 52),
    ({"b": 1}, {"$rename": {"b": "$a"}}, 52),
    ({"a": "x"}, {"$inc": {"a": 1}}, 14),
    ({"a": "x"}, {"$mul": {"a": 1}}, 14),
    ({"a": 2**63 - 1}, {"$inc": {"a": 1}}, 2),
    ({"a": 2**62}, {"$mul": {"a": 2}}, 2),
    ({"a": 1.0}, {"$bit": {"a": {"or": 1}}}, 2),
    ({"a": 1}, {"$push": {"a": 1}}, 2),
    ({"a": 1}, {"$addToSet": {"a": 1}}, 2),
    ({"a": 1}, {"$pop": {"a": 1}}, 14),
    ({"a": 1}, {"$pull": {"a": 1}}, 2),
    ({"a": 1}, {"$pullAll": {"a": [1]}}, 2),
    ({}, {"$set": {"a.$[]": 1}}, 2),
    ({"a": {}}, {"$set": {"a.$[]": 1}}, 2),
    ({"a": [1]}, {"$set": {"a.$": 1}}, 2),
    ({"a": [1]}, {"$rename": {"a.0": "b"}}, 2),
    ({"a": [1], "b": 1}, {"$rename": {"b": "a.0"}}, 2),
    ({"a": [{"b": 1}]}, {"$rename": {"a.b": "c"}}, 28),
]


@pytest.mark.parametrize(("document", "update", "code"), DOCUMENT_CODES, ids=repr)
def test_a_document_that_refuses_has_the_code_of_mongodb(
    document: dict[str, Any], update: dict[str, Any], code: int
) -> None:
    with pytest.raises(InvalidUpdate) as caught:
        apply_update(document, update)
    assert caught.value.code == code


ELEMENTS: list[tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = [
    ({"a": [1, 2]}, {"$inc": {"a.$[]": 1}}, [], {"a": [2, 3]}),
    ({"a": [1, 2]}, {"$set": {"a.$[x]": 9}}, [{"x": {"$gt": 1}}], {"a": [1, 9]}),
    ({"a": [1, 2]}, {"$unset": {"a.$[x]": 1}}, [{"x": 1}], {"a": [None, 2]}),
    (
        {"a": [{"b": [1, 5]}, {"b": [7]}]},
        {"$set": {"a.$[].b.$[x]": 0}},
        [{"x": {"$gte": 5}}],
        {"a": [{"b": [1, 0]}, {"b": [0]}]},
    ),
    (
        {"a": [{"k": 1, "b": [1, 5]}, {"k": 2, "b": [5]}]},
        {"$inc": {"a.$[i].b.$[j]": 1}},
        [{"i.k": 1}, {"j": 5}],
        {"a": [{"k": 1, "b": [1, 6]}, {"k": 2, "b": [5]}]},
    ),
    (
        {"a": [{"k": 1}, {"k": 2}]},
        {"$set": {"a.$[i].x": 1, "a.$[].y": 2}},
        [{"i.k": 2}],
        {"a": [{"k": 1, "y": 2}, {"k": 2, "x": 1, "y": 2}]},
    ),
    (
        {"a": [1, 2, 3]},
        {"$mul": {"a.$[i]": 10}},
        [{"$or": [{"i": 1}, {"i": 3}]}],
        {"a": [10, 2, 30]},
    ),
]


@pytest.mark.parametrize(("document", "update", "filters", "expected"), ELEMENTS, ids=repr)
def test_elements_that_filters_choose(
    document: dict[str, Any],
    update: dict[str, Any],
    filters: list[dict[str, Any]],
    expected: dict[str, Any],
) -> None:
    before = copy.deepcopy(document)
    assert compile_update(update, array_filters=filters).apply(document) == expected
    assert document == before


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        (5, 14),
        ({"x": 1}, 14),
        ([2], 14),
        ([{}], 9),
        ([{"": 3}], 2),
        ([{"X": 3}], 2),
        ([{"x": 1, "y": 2}], 9),
        ([{"x": 1}, {"x": 2}], 9),
        ([{"x": 1}, {"y": 2}], 9),
        ([], 2),
    ],
    ids=repr,
)
def test_array_filters_that_are_refused(filters: Any, code: int) -> None:
    with pytest.raises(InvalidUpdate) as caught:
        compile_update({"$set": {"a.$[x]": 1}}, array_filters=filters)
    assert caught.value.code == code


def test_two_filters_may_not_change_one_element() -> None:
    update = compile_update({"$set": {"a.$[x]": 1, "a.$[]": 2}}, array_filters=[{"x": 1}])
    assert update.apply({"a": [5]}) == {"a": [2]}
    with pytest.raises(InvalidUpdate, match="conflict") as caught:
        update.apply({"a": [1]})
    assert caught.value.code == 40


def test_the_element_that_the_filter_matched() -> None:
    update = compile_update({"$set": {"a.$.b": 1, "a.0.c": 2}})
    assert update.needs_position
    assert update.apply({"a": [{}, {}]}, position=1) == {"a": [{"c": 2}, {"b": 1}]}
    assert update.apply({"a": [{}, {}]}, position=0) == {"a": [{"b": 1, "c": 2}, {}]}
    with pytest.raises(InvalidUpdate, match="conflict"):
        compile_update({"$set": {"a.$": 1, "a.0": 2}}).apply({"a": [3]}, position=0)


def test_the_current_date_is_that_of_the_clock() -> None:
    update = {"$currentDate": {"a": True, "b": {"$type": "timestamp"}, "c": {"$type": "date"}}}
    found = compile_update(update).apply({}, now_ms=lambda: 1_500)
    time = datetime.datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=datetime.UTC)
    assert (found["a"], found["c"]) == (time, time)
    assert isinstance(found["b"], Timestamp) and found["b"].time == 1


def test_elements_that_are_references_are_pulled() -> None:
    document = {"a": [DBRef("c", 1), DBRef("c", 2), 1]}
    for operand in (DBRef("c", 1), {"$ref": "c", "$id": 1}):
        assert apply_update(document, {"$pull": {"a": operand}}) == {"a": [DBRef("c", 2), 1]}
    assert apply_update(document, {"$pull": {"a": {}}}) == {"a": [1]}
    assert apply_update({"a": ["xy", "z"]}, {"$pull": {"a": re.compile("x")}}) == {"a": ["z"]}


def test_the_nulls_of_an_update_are_bounded_in_all() -> None:
    document: dict[str, Any] = {str(n): [] for n in range(5)}
    update = {"$set": {f"{n}.{ARRAY_PADDING_COUNT_MAX}": 1 for n in range(5)}}
    with pytest.raises(InvalidUpdate) as caught:
        apply_update(document, update)
    assert caught.value.code == 15891


def test_deep_array_filters_are_refused() -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(5_000):
        deep = {"$and": [deep]}
    with pytest.raises((LimitExceeded, InvalidUpdate)):
        compile_update({"$set": {"a.$[x]": 1}}, array_filters=[deep])


def test_only_an_insert_sets_on_insert() -> None:
    update = compile_update({"$setOnInsert": {"a": 1}, "$set": {"b": 2, "$c": 3}})
    assert update.apply({}, is_insert=True) == {"$c": 3, "a": 1, "b": 2}
    assert compile_update({"$setOnInsert": {"a": 1}}).apply({}) == {}


@pytest.mark.parametrize(
    ("filter", "seed"),
    [
        ({"a": 1, "b": {"$eq": 2}, "c": {"$gt": 3}}, {"a": 1, "b": 2}),
        ({"$and": [{"a": 1}, {"$and": [{"b": 2}]}], "c": 3}, {"a": 1, "b": 2, "c": 3}),
        ({"a.b": 1, "a.c": 2}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"$in": [5]}, "b": {"$in": [1, 2]}, "c": {"$all": [[3]]}}, {"a": 5, "c": [3]}),
        ({"$or": [{"a": 1, "b": 2}]}, {"a": 1, "b": 2}),
        ({"$or": [{"a": 1}, {"b": 2}], "$nor": [{"c": 1}]}, {}),
        ({"a": {"$not": {"$eq": 1}}, "b": {"$ne": 1}, "_rev": "x"}, {}),
        ({"a": re.compile("x"), "b": {"$in": [re.compile("y")]}}, {}),
        ({"a": {"$all": [{"$elemMatch": {"b": 1}}]}}, {}),
        ({"a": None, "b": {"x": 1}, "c": {}}, {"a": None, "b": {"x": 1}, "c": {}}),
        ({"_id.x": 1, "_id.y": 2}, {"_id": {"x": 1, "y": 2}}),
    ],
    ids=repr,
)
def test_what_an_upsert_starts_from(filter: dict[str, Any], seed: dict[str, Any]) -> None:
    assert seed_of(filter) == seed


@pytest.mark.parametrize(
    "filter",
    [
        {"$and": [{"a": 1}, {"a": 1}]},
        {"a": {"$eq": 1, "$all": [1]}},
        {"a": {"$all": [1, 2]}},
        {"a": 1, "a.b": 2},
        {"a.b": 1, "a": 2},
        {"a": {"b": 1}, "a.c": 2},
    ],
    ids=repr,
)
def test_an_upsert_needs_one_value_for_each_place(filter: dict[str, Any]) -> None:
    with pytest.raises(InvalidUpdate) as caught:
        seed_of(filter)
    assert caught.value.code == 54


def test_a_replacement_starts_from_the_id_alone() -> None:
    assert seed_of({"_id": 1, "a": 2}, is_replacement=True) == {"_id": 1}


def test_unencodable_values_are_named_by_path() -> None:
    with pytest.raises(InvalidDocument, match=r"a\.b"):
        compile_update({"$set": {"a.b": object()}})
