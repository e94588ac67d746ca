"""Values: kinds, truth, order, and what comes from outside."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from rango.engine.values import (
    MISSING,
    compare,
    date_of_ms,
    equal,
    fields_of,
    ms_of_date,
    normalised,
    now,
    order_key,
    truth,
    type_name,
)
from rango.errors import InvalidDocument

IN_ORDER: list[Any] = [
    MinKey(),
    MISSING,
    None,
    float("nan"),
    Decimal128("-1E+400"),
    -1,
    0.5,
    Int64(1),
    2**53,
    2**53 + 1,
    "",
    "a",
    {},
    {"a": 1},
    [],
    [1],
    b"",
    ObjectId("000000000000000000000000"),
    False,
    True,
    datetime(1970, 1, 1, tzinfo=UTC),
    Timestamp(1, 1),
    Regex("a"),
    MaxKey(),
]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (MISSING, "missing"),
        (1, "int"),
        (2**31, "long"),
        (-(2**31), "int"),
        (Int64(1), "long"),
        (1.0, "double"),
        (Decimal128("1"), "decimal"),
        ("", "string"),
        ({}, "object"),
        (DBRef("c", 1), "object"),
        ([], "array"),
        (b"", "binData"),
        (uuid.UUID(int=0), "binData"),
        (ObjectId(), "objectId"),
        (True, "bool"),
        (datetime.now(UTC), "date"),
        (DatetimeMS(2**60), "date"),
        (None, "null"),
        (Regex("a"), "regex"),
        (re.compile("a"), "regex"),
        (Timestamp(1, 1), "timestamp"),
        (Code("x"), "javascript"),
        (Code("x", {}), "javascriptWithScope"),
        (MinKey(), "minKey"),
        (MaxKey(), "maxKey"),
    ],
)
def test_each_kind_has_the_alias_of_bson(value: Any, name: str) -> None:
    assert type_name(value) == name


def test_kinds_and_numbers_are_ordered_as_bson_orders_them() -> None:
    keys = [order_key(value) for value in IN_ORDER]
    assert keys == sorted(set(keys))
    for place, value in enumerate(IN_ORDER):
        assert [compare(value, other) for other in IN_ORDER] == [
            (place > at) - (place < at) for at in range(len(IN_ORDER))
        ]


def test_equal_numbers_of_different_kinds_are_equal() -> None:
    assert equal(2, 2.0)
    assert equal(Int64(2), Decimal128("2.00"))
    assert not equal(2**53 + 1, float(2**53))
    assert not equal(None, MISSING)
    assert not equal(True, 1)


@pytest.mark.parametrize("value", [None, MISSING, False, 0, 0.0, -0.0, Int64(0), Decimal128("0E3")])
def test_nothing_and_zero_are_false(value: Any) -> None:
    assert not truth(value)


@pytest.mark.parametrize(
    "value", [True, 1, -0.5, float("nan"), "", [], {}, Decimal128("0.1"), datetime.now(UTC)]
)
def test_everything_else_is_true(value: Any) -> None:
    assert truth(value)


def test_values_from_outside_become_what_is_stored() -> None:
    assert normalised((1, datetime(2020, 1, 1, 0, 0, 0, 1999))) == [
        1,
        datetime(2020, 1, 1, 0, 0, 0, 1000, tzinfo=UTC),
    ]
    assert type(normalised(re.compile("a"))) is Regex
    with pytest.raises(InvalidDocument):
        normalised(2**64)


def test_dates_are_milliseconds_also_beyond_the_years_of_datetime() -> None:
    assert ms_of_date(datetime(1970, 1, 1, 0, 0, 1)) == 1000
    assert date_of_ms(-1) == datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
    far = date_of_ms(2**60)
    assert type(far) is DatetimeMS
    assert ms_of_date(far) == 2**60
    assert now().microsecond % 1000 == 0


def test_a_dbref_has_the_fields_of_its_document() -> None:
    assert fields_of(DBRef("c", 1)) == {"$ref": "c", "$id": 1}
    assert fields_of([]) is None
