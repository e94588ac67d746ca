"""Hostile values through every door of the language: a string is never an operator, and whatever is
nested too deep or too long ends in a typed error and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import RangoError

DEEP = 5_000
"""Levels: far more than any limit, and than Python's stack has room for."""

MANY = 50_000
"""Elements: more than anybody writes by hand, and still a document."""

TEXTS = (
    "$where",
    "$gt",
    "$",
    "$$",
    "$$ROOT",
    "$a",
    "$$NOW",
    "a.$[]",
    '{"$gt": ""}',
    "'; return true; //",
    "\x00$ne",
    "$regex",
    "/.*/",
    ".*",
)

Door = Callable[[rango.Collection, str], Any]


@pytest.fixture
def c(tmp_path: Path) -> Iterator[rango.Collection]:
    """A collection of one document."""
    with rango.open(tmp_path / "db", durability="memory") as db:
        db["c"].insert_one({"_id": 1, "a": "secret", "l": ["secret"], "d": [{"a": "secret"}]})
        yield db["c"]


def literal(text: str) -> dict[str, Any]:
    return {"$literal": text}


FILTERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "equality": lambda text: {"a": text},
    "$eq": lambda text: {"a": {"$eq": text}},
    "$in": lambda text: {"a": {"$in": [text]}},
    "$not": lambda text: {"a": {"$not": {"$ne": text}}},
    "$all": lambda text: {"l": {"$all": [text]}},
    "$elemMatch": lambda text: {"l": {"$elemMatch": {"$eq": text}}},
    "$elemMatch of documents": lambda text: {"d": {"$elemMatch": {"a": text}}},
    "$or": lambda text: {"$or": [{"a": text}]},
    "$nor": lambda text: {"$nor": [{"a": {"$ne": text}}]},
    "a document": lambda text: {"d": {"a": text}},
    "an array": lambda text: {"l": [text]},
    "$jsonSchema": lambda text: {"$jsonSchema": {"properties": {"a": {"enum": [text]}}}},
    "$expr": lambda text: {"$expr": {"$eq": ["$a", literal(text)]}},
    "_id": lambda text: {"_id": text},
    "_id $in": lambda text: {"_id": {"$in": [text, text + "x"]}},
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_string_finds_itself_and_nothing_else(c: rango.Collection, text: str) -> None:
    for name, filter_of in FILTERS.items():
        assert c.count_documents(filter_of(text)) == 0, name
        assert c.aggregate([{"$match": filter_of(text)}]).to_list() == [], name
        assert c.delete_many(filter_of(text)).deleted_count == 0, name
        assert c.update_many(filter_of(text), {"$set": {"x": 1}}).matched_count == 0, name
    c.insert_one({"_id": text, "a": text, "l": [text], "d": [{"a": text}]})
    for name, filter_of in FILTERS.items():
        assert [each["_id"] for each in c.find(filter_of(text))] == [text], name
        assert c.count_documents(filter_of(text), let={"v": literal(text)}) == 1, name
    assert c.find_one(text) == {"_id": text, "a": text, "l": [text], "d": [{"a": text}]}
    assert c.count_documents({"$expr": {"$eq": ["$a", "$$v"]}}, let={"v": literal(text)}) == 1
    assert text in c.distinct("a")


UPDATES: dict[str, Callable[[str], dict[str, Any]]] = {
    "$set": lambda text: {"$set": {"new": text}},
    "$setOnInsert": lambda text: {"$setOnInsert": {"new": text}},
    "$max": lambda text: {"$max": {"new": text}},
    "$min": lambda text: {"$min": {"new": text}},
    "a document": lambda text: {"$set": {"new": {"$x": text, "a": text}}},
    "a pipeline": lambda text: [{"$set": {"new": literal(text)}}],
}
ARRAYS: dict[str, Callable[[str], dict[str, Any]]] = {
    "$push": lambda text: {"$push": {"l": text}},
    "$push $each": lambda text: {"$push": {"l": {"$each": [text]}}},
    "$addToSet": lambda text: {"$addToSet": {"l": text}},
    "$addToSet $each": lambda text: {"$addToSet": {"l": {"$each": [text]}}},
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_string_is_written_as_it_is(c: rango.Collection, text: str) -> None:
    for name, update_of in UPDATES.items():
        c.update_one({"_id": "new"}, update_of(text), upsert=True)
        found = c.find_one("new", {"new": 1, "_id": 0})
        written = {"$x": text, "a": text} if name == "a document" else text
        assert found == {"new": written}, name
        c.delete_one({"_id": "new"})
    for name, update_of in ARRAYS.items():
        c.update_one({"_id": 1}, update_of(text))
        assert c.find_one(1)["l"] == ["secret", text], name
        # what is taken away is the string only
        c.update_one({"_id": 1}, {"$pull": {"l": text}})
        assert c.find_one(1)["l"] == ["secret"], name
    c.update_one({"_id": 1}, {"$pullAll": {"l": [text]}})
    c.update_one({"_id": 1}, {"$set": {"l.$[e]": "x"}}, array_filters=[{"e": text}])
    assert c.find_one(1)["l"] == ["secret"]
    c.replace_one({"_id": 1}, {"a": text})
    assert c.find_one(1) == {"_id": 1, "a": text}
    stages: list[dict[str, Any]] = [
        {"$set": {"same": {"$eq": ["$a", literal(text)]}, "b": {"$concat": ["$a", ""]}}},
        {"$group": {"_id": "$a", "b": {"$push": "$b"}, "same": {"$max": "$same"}}},
    ]
    assert c.aggregate(stages).to_list() == [{"_id": text, "b": [text], "same": True}]


def test_names_with_dollars_inside_of_values_are_names(c: rango.Collection) -> None:
    value = {"$gt": "", "b": {"$where": "1"}}
    c.insert_one({"_id": 2, "a": value})
    assert c.find_one({"a": {"$eq": value}}) == {"_id": 2, "a": value}
    assert c.find_one({"a": {"$in": [None, {"x": {"$gt": ""}}]}}) is None
    with pytest.raises(RangoError):  # an operator there would be a mistake, as in MongoDB
        c.find_one({"a": {"$in": [value]}})
    c.update_one({"_id": 1}, {"$set": {"a": value}})
    assert c.count_documents({"a": {"$eq": value}}) == 2
    assert c.distinct("a") == [value]
    assert c.aggregate([{"$group": {"_id": "$a", "n": {"$sum": 1}}}]).to_list() == [
        {"_id": value, "n": 2}
    ]
    for name in ("$set", "$x"):
        with pytest.raises(RangoError):
            c.update_one({"_id": 1}, {"$set": {name: 1}})
    c.update_one({"_id": 1}, {"$set": {"x.$y": "$a"}})
    assert c.find_one({"x.$y": "$a"}, {"x": 1}) == {"_id": 1, "x": {"$y": "$a"}}
    assert c.count_documents({}) == 2


def nested(step: Callable[[Any], Any], value: Any = 1) -> Any:
    for _ in range(DEEP):
        value = step(value)
    return value


PATH = ".".join(["a"] * DEEP)
DOCUMENT = nested(lambda inner: {"a": inner})
LIST = nested(lambda inner: [inner])
AND = nested(lambda inner: {"$and": [inner]}, {"a": 1})
NOT = nested(lambda inner: {"$not": inner}, {"$gt": 1})
ELEMENTS = nested(lambda inner: {"$elemMatch": inner}, {"$gt": 1})
ADD = nested(lambda inner: {"$add": [1, inner]})
COND = nested(lambda inner: {"$cond": [True, inner, 0]})
LET = nested(lambda inner: {"$let": {"vars": {"v": 1}, "in": inner}})
SCHEMA = nested(lambda inner: {"properties": {"a": inner}}, {})
ALL_OF = nested(lambda inner: {"allOf": [inner]}, {})
FACET = nested(lambda inner: {"$facet": {"f": [inner]}}, {"$limit": 1})
LOOKUP = nested(lambda inner: {"$lookup": {"from": "c", "pipeline": [inner], "as": "r"}}, FACET)
UNION = nested(lambda inner: {"$unionWith": {"coll": "c", "pipeline": [inner]}}, {"$limit": 1})

NESTED: dict[str, Callable[[rango.Collection], Any]] = {
    "equality": lambda c: c.find_many({"a": DOCUMENT}),
    "equality with an array": lambda c: c.find_many({"a": LIST}),
    "$in": lambda c: c.find_many({"a": {"$in": [LIST]}}),
    "$and": lambda c: c.find_many(AND),
    "$not": lambda c: c.find_many({"a": NOT}),
    "$elemMatch": lambda c: c.find_many({"a": ELEMENTS}),
    "a wrong operand": lambda c: c.find_many({"a": {"$size": DOCUMENT}}),
    "an unknown operator": lambda c: c.find_many({"a": {"$foo": LIST}}),
    "$expr": lambda c: c.find_many({"$expr": ADD}),
    "$jsonSchema": lambda c: c.find_many({"$jsonSchema": SCHEMA}),
    "$jsonSchema allOf": lambda c: c.find_many({"$jsonSchema": ALL_OF}),
    "$comment": lambda c: c.find_many({"a": 1, "b": {"$comment": DOCUMENT}}),
    "a projection": lambda c: c.find_many({}, DOCUMENT),
    "an expression in a projection": lambda c: c.find_many({}, {"x": COND}),
    "a projected $elemMatch": lambda c: c.find_many({}, {"l": ELEMENTS}),
    "a sort": lambda c: c.find_many({}, sort=DOCUMENT),
    "let": lambda c: c.find_many({}, let={"x": ADD}),
    "a hint": lambda c: c.find_many({}, hint=DOCUMENT),
    "a collation": lambda c: c.find_many({}, collation=DOCUMENT),
    "an _id": lambda c: c.find_one({"_id": DOCUMENT}),
    "distinct": lambda c: c.distinct("a", AND),
    "count": lambda c: c.count_documents(AND),
    "insert": lambda c: c.insert_one({"_id": 2, "x": LIST}),
    "$set": lambda c: c.update_one({}, {"$set": {"x": DOCUMENT}}),
    "$set of a path": lambda c: c.update_one({}, {"$set": {PATH: 1}}),
    "$unset of a value": lambda c: c.update_one({}, {"$inc": {"x": DOCUMENT}}),
    "$push": lambda c: c.update_one({}, {"$push": {"l": {"$each": [LIST]}}}),
    "$addToSet": lambda c: c.update_one({}, {"$addToSet": {"l": LIST}}),
    "$pull": lambda c: c.update_one({}, {"$pull": {"l": AND}}),
    "$pull of a value": lambda c: c.update_one({}, {"$pull": {"l": LIST}}),
    "$pullAll": lambda c: c.update_one({}, {"$pullAll": {"l": [LIST]}}),
    "$bit": lambda c: c.update_one({}, {"$bit": {"x": DOCUMENT}}),
    "array filters": lambda c: c.update_one(
        {}, {"$set": {"l.$[e]": 1}}, array_filters=[{"e": NOT}]
    ),
    "array filters joined": lambda c: c.update_one(
        {}, {"$set": {"l.$[e]": 1}}, array_filters=[AND]
    ),
    "a pipeline update": lambda c: c.update_one({}, [{"$set": {"x": ADD}}]),
    "$replaceWith": lambda c: c.update_one({}, [{"$replaceWith": DOCUMENT}]),
    "an upsert": lambda c: c.update_one({"x": DOCUMENT}, {"$set": {"y": 1}}, upsert=True),
    "an upsert by $and": lambda c: c.update_one(AND, {"$set": {"y": 1}}, upsert=True),
    "replace": lambda c: c.replace_one({}, DOCUMENT),
    "a stage": lambda c: c.aggregate([{"$project": DOCUMENT}]).to_list(),
    "$match": lambda c: c.aggregate([{"$match": AND}]).to_list(),
    "$group": lambda c: c.aggregate([{"$group": {"_id": LET}}]).to_list(),
    "$sort": lambda c: c.aggregate([{"$sort": DOCUMENT}]).to_list(),
    "$facet": lambda c: c.aggregate([FACET]).to_list(),
    "$lookup": lambda c: c.aggregate([LOOKUP]).to_list(),
    "$unionWith": lambda c: c.aggregate([UNION]).to_list(),
    "$documents": lambda c: c.aggregate([{"$documents": LIST}]).to_list(),
    "an unknown stage": lambda c: c.aggregate([{"$foo": LIST}]).to_list(),
    "an index": lambda c: c.create_index("x", partialFilterExpression=AND),
    "the path of an index": lambda c: c.create_index(PATH),
    "bulk_write": lambda c: c.bulk_write([rango.UpdateOne({}, {"$set": {"x": LIST}})]),
    "bulk_write by a filter": lambda c: c.bulk_write([rango.DeleteOne(AND)]),
}


@pytest.mark.parametrize("name", NESTED)
def test_what_is_nested_too_deep_ends_in_a_typed_error(c: rango.Collection, name: str) -> None:
    before = c.find_many({})
    with pytest.raises(RangoError):
        NESTED[name](c)
    assert c.find_many({}) == before
    assert [each["name"] for each in c.list_indexes()] == ["_id_"]


NUMBERS = [*range(MANY)]
LONG: dict[str, tuple[Callable[[rango.Collection], Any], Any]] = {
    "$in": (lambda c: c.count_documents({"l": {"$in": NUMBERS}}), 1),
    "$nin": (lambda c: c.count_documents({"l": {"$nin": NUMBERS}}), 1),
    "$all": (lambda c: c.count_documents({"l": {"$all": NUMBERS[:1000]}}), 1),
    "equality": (lambda c: c.count_documents({"l": NUMBERS}), 1),
    "$elemMatch": (lambda c: c.count_documents({"l": {"$elemMatch": {"$gt": MANY - 2}}}), 1),
    "a position": (lambda c: c.count_documents({f"l.{MANY - 1}": MANY - 1}), 1),
    "a hole": (lambda c: c.count_documents({f"l.{2**62}": {"$exists": True}}), 0),
    "$or": (lambda c: c.count_documents({"$or": [{"l": n} for n in NUMBERS[:5000]]}), 1),
    "_id $in": (lambda c: c.count_documents({"_id": {"$in": NUMBERS}}), 2),
    "$addToSet": (
        lambda c: c.update_one({}, {"$addToSet": {"l": {"$each": NUMBERS}}}).modified_count,
        0,
    ),
    "$pullAll": (lambda c: c.update_one({}, {"$pullAll": {"l": NUMBERS[1:]}}).modified_count, 1),
    "$push $sort": (
        lambda c: (
            c.update_one(
                {}, {"$push": {"l": {"$each": [-1], "$sort": 1, "$slice": 3}}}
            ).modified_count
        ),
        1,
    ),
    "array filters": (
        lambda c: (
            c.update_one(
                {}, {"$inc": {"l.$[e]": 1}}, array_filters=[{"e": {"$gte": 10}}]
            ).modified_count
        ),
        1,
    ),
    "sets": (
        lambda c: next(
            c.aggregate(
                [
                    {"$match": {"_id": 1}},
                    {"$project": {"n": {"$size": {"$setUnion": ["$l", "$l"]}}}},
                ]
            )
        )["n"],
        MANY,
    ),
    "$unwind": (
        lambda c: next(c.aggregate([{"$unwind": "$l"}, {"$count": "n"}]))["n"],
        MANY,
    ),
    "$group": (
        lambda c: next(
            c.aggregate([{"$unwind": "$l"}, {"$group": {"_id": "$l"}}, {"$count": "n"}])
        )["n"],
        MANY,
    ),
    "distinct": (lambda c: len(c.distinct("l")), MANY),
    "an index": (
        lambda c: (c.create_index("l"), c.count_documents({"l": MANY - 1}))[1],
        1,
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_long_arrays_are_answered(tmp_path: Path, name: str) -> None:
    call, wanted = LONG[name]
    with rango.open(tmp_path / "db", durability="memory") as db:
        db["c"].insert_many([{"_id": 1, "l": NUMBERS}, {"_id": 2}])
        assert call(db["c"]) == wanted


@pytest.mark.parametrize(
    "expression",
    [
        {"$range": [0, 2**31 - 1]},
        {
            "$reduce": {
                "input": {"$range": [0, 60]},
                "initialValue": "x",
                "in": {"$concat": ["$$value", "$$value"]},
            }
        },
        {
            "$reduce": {
                "input": {"$range": [0, 60]},
                "initialValue": [1],
                "in": {"$concatArrays": ["$$value", "$$value"]},
            }
        },
    ],
)
def test_no_expression_makes_what_no_document_could_hold(
    c: rango.Collection, expression: Any
) -> None:
    for call in (
        lambda: c.aggregate([{"$set": {"x": expression}}]).to_list(),
        lambda: c.find_many({}, {"x": expression}),
        lambda: c.update_one({}, [{"$set": {"x": expression}}]),
        lambda: c.find_many({"$expr": {"$eq": [expression, 1]}}),
    ):
        with pytest.raises(RangoError):
            call()
