"""Kinds: conversions with their overflows, $type, sizes, hashes."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from rango.engine.expression.hashed import hashed_key
from tests.unit.expression_case import fails, refused, typed, value_of

DAY = datetime(2018, 3, 20, tzinfo=UTC)
DAY_MS = 1521504000000
OID = ObjectId("5ab9c3da31c2ab715d421285")


@pytest.mark.parametrize(
    ("operator", "value", "kind", "result"),
    [
        ("$toInt", 5.9, "int", 5),
        ("$toInt", -5.9, "int", -5),
        ("$toInt", "-12", "int", -12),
        ("$toInt", True, "int", 1),
        ("$toInt", Decimal128("7.9"), "int", 7),
        ("$toLong", 5, "long", Int64(5)),
        ("$toLong", "9223372036854775807", "long", 2**63 - 1),
        ("$toLong", DAY, "long", DAY_MS),
        ("$toDouble", "1e3", "double", 1000.0),
        ("$toDouble", "-.5", "double", -0.5),
        ("$toDouble", True, "double", 1.0),
        ("$toDouble", Decimal128("2.5"), "double", 2.5),
        ("$toDouble", DAY, "double", float(DAY_MS)),
        ("$toDecimal", 2.5, "decimal", Decimal128("2.50000000000000")),
        ("$toDecimal", 5, "decimal", Decimal128("5")),
        ("$toDecimal", "1.50", "decimal", Decimal128("1.50")),
        ("$toDecimal", False, "decimal", Decimal128("0")),
        ("$toDecimal", DAY, "decimal", Decimal128(str(DAY_MS))),
        ("$toBool", 0.0, "bool", False),
        ("$toBool", "false", "bool", True),
        ("$toBool", OID, "bool", True),
        ("$toBool", DAY, "bool", True),
        ("$toString", True, "string", "true"),
        ("$toString", 2.5, "string", "2.5"),
        ("$toString", 3.0, "string", "3"),
        ("$toString", math.inf, "string", "Infinity"),
        ("$toString", Int64(7), "string", "7"),
        ("$toString", Decimal128("1.50"), "string", "1.50"),
        ("$toString", OID, "string", "5ab9c3da31c2ab715d421285"),
        ("$toString", DAY, "string", "2018-03-20T00:00:00.000Z"),
        ("$toDate", Int64(DAY_MS), "date", DAY),
        ("$toDate", DAY_MS + 0.5, "date", DAY),
        ("$toDate", "2018-03-20", "date", DAY),
        ("$toDate", "2018-03-20 01:00:00 +0100", "date", DAY),
        ("$toDate", OID, "date", OID.generation_time),
        ("$toDate", Timestamp(DAY_MS // 1000, 1), "date", DAY),
        ("$toObjectId", str(OID), "objectId", OID),
        ("$toUUID", str(uuid.UUID(int=5)), "binData", uuid.UUID(int=5)),
    ],
)
def test_conversions(operator: str, value: Any, kind: str, result: Any) -> None:
    spec = {operator: {"$literal": value}}
    assert typed(spec) == (kind, result)
    assert str(value_of(spec)) == str(result)
    assert value_of({operator: "$x"}) is None


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("$toInt", 2**31),
        ("$toInt", math.nan),
        ("$toInt", math.inf),
        ("$toInt", "5.5"),
        ("$toInt", " 5"),
        ("$toInt", "0x5"),
        ("$toInt", ""),
        ("$toInt", "9" * 500),
        ("$toInt", DAY),
        ("$toInt", Decimal128("1E+6000")),
        ("$toLong", 2.0**63),
        ("$toLong", "9223372036854775808"),
        ("$toDouble", "abc"),
        ("$toDouble", "1e999"),
        ("$toDouble", Decimal128("1E+6000")),
        ("$toDecimal", "1,5"),
        ("$toDecimal", "1E+7000"),
        ("$toString", [1]),
        ("$toDate", 5),
        ("$toDate", "yesterday"),
        ("$toObjectId", "abc"),
        ("$toObjectId", 5),
        ("$toUUID", "abc"),
    ],
)
def test_conversions_that_fail(operator: str, value: Any) -> None:
    fails({operator: {"$literal": value}}, None, 241)


def test_convert_has_answers_for_errors_and_null() -> None:
    assert value_of({"$convert": {"input": "x", "to": "int", "onError": "bad"}}) == "bad"
    assert value_of({"$convert": {"input": "$x", "to": "int", "onNull": "none"}}) == "none"
    assert value_of({"$convert": {"input": "$x", "to": "int"}}) is None
    assert value_of({"$convert": {"input": 1, "to": None}}) is None
    assert value_of({"$convert": {"input": "1", "to": 16}}) == 1
    assert typed({"$convert": {"input": "1", "to": {"type": 18.0}}}) == ("long", 1)
    assert value_of({"$convert": {"input": [1], "to": "object", "onError": 0}}) == 0


def test_errors_of_the_input_are_no_conversion_errors() -> None:
    spec = {"$convert": {"input": {"$divide": [1, "$z"]}, "to": "int", "onError": 0}}
    fails(spec, {"z": 0}, 2)
    fails({"$convert": {"input": 1, "to": "nope", "onError": 0}}, None, 2)
    fails({"$convert": {"input": 1, "to": 99, "onError": 0}}, None, 9)
    fails({"$convert": {"input": 1, "to": True}}, None, 9)
    refused({"$convert": {"input": 1}}, 9)
    refused({"$convert": {"input": 1, "to": 1, "x": 1}}, 9)


def test_type_knows_missing_from_null() -> None:
    assert value_of({"$type": "$x"}) == "missing"
    assert value_of({"$type": "$n"}, {"n": None}) == "null"
    assert value_of({"$type": [[1]]}) == "array"
    assert value_of({"$isNumber": Decimal128("NaN")}) is True
    assert value_of({"$isNumber": [True]}) is False


def test_sizes() -> None:
    assert value_of({"$binarySize": "\u00e9"}) == 2
    assert value_of({"$binarySize": b"abc"}) == 3
    assert value_of({"$bsonSize": {"a": 1}}) == 12
    assert value_of({"$bsonSize": "$x"}) is None
    fails({"$binarySize": 5}, None, 51276)
    fails({"$bsonSize": 5}, None, 31393)


def test_parts_of_timestamps() -> None:
    assert typed({"$tsSecond": Timestamp(7, 3)}) == ("long", 7)
    assert typed({"$tsIncrement": Timestamp(7, 3)}) == ("long", 3)
    fails({"$tsSecond": 5}, None, 5687301)
    fails({"$tsIncrement": 5}, None, 5687302)


def test_hashes_are_those_of_hashed_indexes() -> None:
    # the first is in MongoDB's manual, "hashBSONElement"
    assert hashed_key(datetime(2013, 2, 12, 22, 12, 57, 211000, tzinfo=UTC)) == -4185544074338741873
    assert hashed_key(1) == hashed_key(1.5) == hashed_key(Int64(1)) == 5902408780260971510
    assert typed({"$toHashedIndexKey": [1, {"a": None}]})[0] == "long"
