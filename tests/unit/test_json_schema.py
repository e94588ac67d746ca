"""rango.engine.json_schema: MongoDB's $jsonSchema as a function of a document."""

from __future__ import annotations

from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from rango.engine.json_schema import compile_schema
from rango.errors import InvalidFilter
from rango.limits import FILTER_DEPTH_MAX

NAN, INFINITY = float("nan"), float("inf")


def obeys(schema: dict[str, Any], value: Any) -> bool:
    """Whether a document whose `a` is this value obeys the schema of `a`."""
    return compile_schema({"properties": {"a": schema}})({"_id": 1, "a": value})


def test_an_empty_schema_is_obeyed_by_every_document() -> None:
    assert compile_schema({})({"a": 1})


def test_a_field_that_is_missing_obeys_everything_but_required() -> None:
    assert compile_schema({"properties": {"a": {"type": "string"}}})({})
    assert not compile_schema({"required": ["a"]})({})
    assert compile_schema({"required": ["a"]})({"a": None})


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "string"}, "x", True),
        ({"type": "string"}, 1, False),
        ({"type": "number"}, 1, True),
        ({"type": "number"}, Int64(1), True),
        ({"type": "number"}, 1.5, True),
        ({"type": "number"}, Decimal128("1"), True),
        ({"type": "number"}, True, False),
        ({"type": "boolean"}, True, True),
        ({"type": "null"}, None, True),
        ({"type": ["null", "array"]}, [1], True),
        ({"type": ["null", "array"]}, {}, False),
        ({"bsonType": "int"}, 1, True),
        ({"bsonType": "int"}, Int64(1), False),
        ({"bsonType": "long"}, Int64(1), True),
        ({"bsonType": "long"}, 2**40, True),
        ({"bsonType": "objectId"}, ObjectId(), True),
        ({"bsonType": "binData"}, b"x", True),
        ({"bsonType": ["number", "bool"]}, False, True),
        ({"bsonType": "object"}, {"b": 1}, True),
    ],
)
def test_types(schema: dict[str, Any], value: Any, expected: bool) -> None:
    assert obeys(schema, value) == expected


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"minimum": 2}, 2, True),
        ({"minimum": 2}, 1.9, False),
        ({"minimum": 2, "exclusiveMinimum": True}, 2, False),
        ({"minimum": 2, "exclusiveMinimum": False}, 2.0, True),
        ({"maximum": 2**53}, Int64(2**53 + 1), False),
        ({"maximum": float(2**53)}, Int64(2**53 + 1), False),
        ({"maximum": Decimal128("0.1")}, 0.1, False),
        ({"maximum": 4}, NAN, False),
        ({"minimum": 4}, NAN, False),
        ({"maximum": NAN}, Decimal128("NaN"), True),
        ({"maximum": NAN, "exclusiveMaximum": True}, NAN, False),
        ({"maximum": INFINITY}, INFINITY, True),
        ({"maximum": 4}, "5", True),
        ({"multipleOf": 2}, 4, True),
        ({"multipleOf": 2}, 5, False),
        ({"multipleOf": 1.1}, 11, True),
        ({"multipleOf": 2.2}, 4.4, True),
        ({"multipleOf": Decimal128("0.01")}, Decimal128("1E+6000"), True),
        ({"multipleOf": 2}, INFINITY, False),
        ({"multipleOf": 2}, [5], True),
    ],
)
def test_numbers(schema: dict[str, Any], value: Any, expected: bool) -> None:
    assert obeys(schema, value) == expected


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"minLength": 2}, "\U0001f600x", True),
        ({"minLength": 2}, "\U0001f600", False),
        ({"maxLength": 1.0}, "ab", False),
        ({"maxLength": Int64(1)}, 12, True),
        ({"pattern": "b+"}, "abba", True),
        ({"pattern": "^b"}, "abba", False),
        ({"pattern": "^b"}, 1, True),
        ({"minItems": 1}, [], False),
        ({"maxItems": 1}, [1, 2], False),
        ({"maxItems": 1}, "ab", True),
        ({"minProperties": 1}, {}, False),
        ({"maxProperties": 1}, {"b": 1}, True),
        ({"uniqueItems": True}, [1, 2], True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, [{"b": 1, "c": 2}, {"c": 2, "b": 1}], False),
        ({"uniqueItems": True}, [1, True], True),
        ({"uniqueItems": False}, [1, 1], True),
        ({"items": {"type": "number"}}, [1, "x"], False),
        ({"items": {"type": "number"}}, "x", True),
        ({"items": [{"type": "number"}]}, [1, "x"], True),
        ({"items": [{"type": "number"}], "additionalItems": False}, [1, 2], False),
        ({"items": [{}], "additionalItems": {"type": "string"}}, [1, "x"], True),
        ({"additionalItems": False}, [1], True),
    ],
)
def test_strings_and_arrays(schema: dict[str, Any], value: Any, expected: bool) -> None:
    assert obeys(schema, value) == expected


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"properties": {"b": {"type": "number"}}}, {"b": "x"}, False),
        ({"properties": {"b": {"type": "number"}}}, [1], True),
        ({"additionalProperties": False}, {"b": 1}, False),
        ({"additionalProperties": False, "properties": {"b": {}}}, {"b": 1}, True),
        ({"additionalProperties": {"type": "string"}}, {"b": 1}, False),
        (
            {"additionalProperties": False, "patternProperties": {"^b": {}}},
            {"bc": 1, "x": 1},
            False,
        ),
        ({"patternProperties": {"^b": {"type": "string"}}}, {"bc": 1}, False),
        ({"patternProperties": {"^b": {"type": "string"}}}, {"cb": 1}, True),
        ({"required": ["b", "c"]}, {"b": 1}, False),
        ({"dependencies": {"b": ["c"]}}, {"b": 1}, False),
        ({"dependencies": {"b": ["c"]}}, {"d": 1}, True),
        ({"dependencies": {"b": {"required": ["c"]}}}, {"b": 1, "c": 1}, True),
    ],
)
def test_objects(schema: dict[str, Any], value: Any, expected: bool) -> None:
    assert obeys(schema, value) == expected


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"enum": [1, "x", None]}, 1.0, True),
        ({"enum": [{"b": 1, "c": 2}]}, {"c": 2, "b": 1}, True),
        ({"enum": [1]}, 2, False),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 3, False),
        ({"anyOf": [{"type": "string"}, {"minimum": 2}]}, 2, True),
        ({"oneOf": [{"minimum": 1}, {"maximum": 2}]}, 1, False),
        ({"oneOf": [{"minimum": 1}, {"maximum": 2}]}, 3, True),
        ({"not": {"type": "string"}}, "x", False),
        ({"title": "t", "description": "d"}, 1, True),
    ],
)
def test_combinations(schema: dict[str, Any], value: Any, expected: bool) -> None:
    assert obeys(schema, value) == expected


@pytest.mark.parametrize(
    ("schema", "code", "message"),
    [
        ({"type": 1}, 14, "must be a string or an array of strings"),
        ({"type": "integer"}, 9, "use bsonType"),
        ({"type": "decimal"}, 2, "unknown type name"),
        ({"bsonType": "boolean"}, 2, "unknown type name"),
        ({"type": []}, 9, "empty array"),
        ({"type": ["null", "null"]}, 9, "twice"),
        ({"type": "null", "bsonType": "null"}, 9, "both"),
        ({"required": []}, 9, "empty array"),
        ({"required": ["a", "a"]}, 9, "twice"),
        ({"required": [1]}, 14, "array of strings"),
        ({"required": "a"}, 14, "array"),
        ({"minimum": "1"}, 14, "number"),
        ({"minimum": True}, 14, "number"),
        ({"exclusiveMinimum": True}, 9, "without 'minimum'"),
        ({"maximum": 1, "exclusiveMaximum": 1}, 14, "boolean"),
        ({"multipleOf": 0}, 9, "above 0"),
        ({"multipleOf": NAN}, 9, "above 0"),
        ({"minLength": -1}, 9, "whole number"),
        ({"minLength": 1.5}, 9, "whole number"),
        ({"minItems": "1"}, 14, "number"),
        ({"pattern": 1}, 14, "string"),
        ({"properties": []}, 14, "object"),
        ({"properties": {"a": 1}}, 14, "properties.a must be an object"),
        ({"items": 1}, 14, "object or an array"),
        ({"additionalProperties": 1}, 14, "boolean or an object"),
        ({"dependencies": {"a": []}}, 9, "empty array"),
        ({"uniqueItems": 1}, 14, "boolean"),
        ({"enum": []}, 9, "empty array"),
        ({"enum": [1, 1.0]}, 9, "twice"),
        ({"allOf": [{}, 1]}, 14, "object"),
        ({"not": 1}, 14, "object"),
        ({"title": 1}, 14, "string"),
        ({"colour": "red"}, 9, "unknown $jsonSchema keyword 'colour'"),
        ({"$ref": "#"}, 9, "not supported"),
        ({"encrypt": {}}, 9, "not supported"),
    ],
)
def test_a_schema_that_is_wrong_is_refused_when_it_is_compiled(
    schema: dict[str, Any], code: int, message: str
) -> None:
    with pytest.raises(InvalidFilter) as refused:
        compile_schema({"properties": {"x": schema}})
    assert message in str(refused.value)
    assert refused.value.code == code


def test_a_pattern_that_is_no_expression_is_refused() -> None:
    with pytest.raises(InvalidFilter):
        compile_schema({"pattern": "("})


def test_a_schema_that_nests_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(FILTER_DEPTH_MAX + 1):
        schema = {"not": schema}
    with pytest.raises(InvalidFilter, match="FILTER_DEPTH_MAX"):
        compile_schema(schema)
