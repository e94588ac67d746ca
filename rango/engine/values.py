"""Values: what a document may hold, told apart and ordered as MongoDB does.

Terms       value: what rango._ext.record.decode returns (int32 is int, int64 is bson.Int64 or an
            int beyond 32 bits); MISSING: no value, which is not null; nullish: null or MISSING.
Invariants  order_key(a) < order_key(b) exactly if a comes before b in BSON comparison order; equal
            values (2, 2.0, Decimal128("2.00")) have equal keys. MISSING lies between MinKey and
            null, as in MongoDB.
Failure     normalised() raises InvalidDocument for what BSON cannot hold; nothing else fails.
Sources     MongoDB manual, "Comparison/Sort Order", "$type"; rango/_ext/key.pyx.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

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

from rango._ext.key import key_of, key_whole
from rango._ext.record import decode, encode


class Missing(Enum):
    """The type of MISSING."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING
"""No value: the field is not there."""

INT32_MIN: Final = -(2**31)
INT32_MAX: Final = 2**31 - 1
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
DATE_MS_MIN: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MILLISECOND
DATE_MS_MAX: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MILLISECOND

MISSING_KEY: Final = bytes([key_of(MinKey())[0] + 1])

TYPE_NAMES: Final[dict[type, str]] = {
    Missing: "missing",
    float: "double",
    str: "string",
    dict: "object",
    DBRef: "object",
    list: "array",
    tuple: "array",
    bytes: "binData",
    uuid.UUID: "binData",
    ObjectId: "objectId",
    bool: "bool",
    datetime: "date",
    DatetimeMS: "date",
    type(None): "null",
    Regex: "regex",
    re.Pattern: "regex",
    Timestamp: "timestamp",
    Int64: "long",
    Decimal128: "decimal",
    MinKey: "minKey",
    MaxKey: "maxKey",
}


def type_name(value: Any) -> str:
    """The alias that `$type` gives: "int", "long", "double", "string", ..., "missing"."""
    if type(value) is int:
        return "int" if INT32_MIN <= value <= INT32_MAX else "long"
    found = TYPE_NAMES.get(type(value))
    if found is not None:
        return found
    if isinstance(value, Code):
        return "javascript" if value.scope is None else "javascriptWithScope"
    for kind, name in TYPE_NAMES.items():
        if isinstance(value, kind):
            return name
    return "object" if isinstance(value, Mapping) else "unknown"


def truth(value: Any) -> bool:
    """What a condition makes of a value: false, null, missing and zero are false, all else true."""
    if value is True:
        return True
    if value is None or value is False or value is MISSING:
        return False
    if isinstance(value, (int, float)):
        return value != 0
    if isinstance(value, Decimal128):
        return value.to_decimal() != 0
    return True


def order_key(value: Any) -> bytes:
    """Bytes that order values as BSON comparison does; equal values have equal keys."""
    if value is MISSING:
        return MISSING_KEY
    return key_whole(value)


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1: the order of two values, either of which may be MISSING."""
    kind = type(left)
    if kind is type(right) and (kind is int or kind is str):
        return -1 if left < right else int(left > right)
    first = order_key(left)
    second = order_key(right)
    return -1 if first < second else int(first > second)


def equal(left: Any, right: Any) -> bool:
    """True if two values are equal in BSON comparison: 1 and 1.0 are, null and MISSING are not."""
    kind = type(left)
    if kind is type(right) and (kind is int or kind is str):
        return bool(left == right)
    return order_key(left) == order_key(right)


def normalised(value: Any) -> Any:
    """A value from outside as decode would return it: naive dates are UTC, tuples are lists, ...

    InvalidDocument says what BSON cannot hold.
    """
    return decode(encode({"value": value}))["value"]


def is_integer(value: Any) -> bool:
    """True for int32 and int64 (bool is neither)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """True for int32, int64, double and decimal128."""
    kind = type(value)
    return kind is int or kind is float or kind is Int64 or kind is Decimal128


def is_date(value: Any) -> bool:
    """True for dates, also those that datetime cannot hold."""
    return isinstance(value, (datetime, DatetimeMS))


def ms_of_date(value: Any) -> int:
    """Milliseconds since 1970-01-01 UTC of a date."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return (moment - EPOCH) // MILLISECOND
    return int(value)


def date_of_ms(ms: int) -> datetime | DatetimeMS:
    """The date of these milliseconds: a datetime in UTC, or DatetimeMS outside its years."""
    if DATE_MS_MIN <= ms <= DATE_MS_MAX:
        return EPOCH + timedelta(milliseconds=ms)
    return DatetimeMS(ms)


def now() -> Any:
    """The current time as a date: UTC, whole milliseconds."""
    return date_of_ms(ms_of_date(datetime.now(UTC)))


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of an embedded document (a DBRef is one), or None for every other value."""
    if type(value) is dict:
        return value
    if isinstance(value, DBRef):
        return dict(value.as_doc())
    if isinstance(value, Mapping):
        return dict(value)
    return None


def shown(value: Any) -> str:
    """A value as messages show it: cut, so that a message stays readable."""
    try:
        return f"{value!r:.100}"
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep to be shown"
