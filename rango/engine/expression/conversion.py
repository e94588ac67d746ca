"""Conversions from one kind of value to another, as $convert makes them.

Terms       target: the alias of the kind that is wanted.
Invariants  Numbers are never rounded up into range: a double is cut off, and what does not fit
            fails. Text is read whole or not at all, without spaces around it.
Failure     ExpressionFailed 241 (ConversionFailure), which 'onError' of $convert takes.
Sources     MongoDB manual, "$convert" and its tables of kinds.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from rango.engine.expression.datetext import parse_date
from rango.engine.expression.texts import date_text, number_text
from rango.engine.numbers import DECIMAL, decimal_of, is_nan
from rango.engine.values import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    date_of_ms,
    is_date,
    is_integer,
    is_number,
    ms_of_date,
    shown,
    truth,
    type_name,
)
from rango.errors import ExpressionFailed

CONVERSION_FAILED: Final = 241
INTEGER_TEXT: Final = re.compile(r"[+-]?[0-9]+")
DOUBLE_TEXT: Final = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE
)
OBJECT_ID_TEXT: Final = re.compile(r"[0-9a-fA-F]{24}")
UUID_TEXT: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def failed(why: str, value: Any) -> ExpressionFailed:
    """The error of a conversion; the caller raises it."""
    return ExpressionFailed(
        f"{why} in $convert with no onError value: {shown(value)}", code=CONVERSION_FAILED
    )


def _unsupported(value: Any, target: str) -> ExpressionFailed:
    return failed(f"unsupported conversion from {type_name(value)} to {target}", value)


def _integer(value: Any, target: str, least: int, greatest: int) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        if not INTEGER_TEXT.fullmatch(value) or len(value) > 400:
            raise failed(f"failed to parse number {value!r:.60} as {target}", value)
        whole = int(value)
        if not least <= whole <= greatest:
            raise failed(f"failed to parse number {value!r:.60}: {target} overflows", value)
        return whole
    if is_integer(value):
        whole = int(value)
    elif is_number(value):
        number = value if isinstance(value, float) else value.to_decimal()
        if is_nan(value):
            raise failed("attempt to convert NaN value to integer type", value)
        if abs(number) == math.inf:
            raise failed("attempt to convert infinity value to integer type", value)
        # compared before it is cut off: an exponent of 6,000 would make a huge int
        whole = int(number) if abs(number) < 2**64 else 2**64
    else:
        raise _unsupported(value, target)
    if not least <= whole <= greatest:
        raise failed("conversion would overflow target type", value)
    return whole


def to_int(value: Any) -> Any:
    """An int32."""
    return _integer(value, "int", INT32_MIN, INT32_MAX)


def to_long(value: Any) -> Any:
    """An int64; of a date, its milliseconds."""
    whole = ms_of_date(value) if is_date(value) else None
    if whole is None:
        whole = _integer(value, "long", INT64_MIN, INT64_MAX)
    return Int64(whole) if INT32_MIN <= whole <= INT32_MAX else whole


def to_double(value: Any) -> Any:
    """A double; of a date, its milliseconds."""
    if isinstance(value, Decimal128):
        exact = value.to_decimal()
        number = float(exact)
        if math.isinf(number) and exact.is_finite():
            raise failed("conversion would overflow target type", value)
        return number
    if isinstance(value, (bool, int, float)):
        return float(value)
    if is_date(value):
        return float(ms_of_date(value))
    if isinstance(value, str):
        if not DOUBLE_TEXT.fullmatch(value):
            raise failed(f"failed to parse number {value!r:.60} as double", value)
        number = float(value)
        if math.isinf(number) and "inf" not in value.lower():
            raise failed(f"failed to parse number {value!r:.60}: out of range", value)
        return number
    raise _unsupported(value, "double")


def to_decimal(value: Any) -> Any:
    """A decimal128; of a date, its milliseconds."""
    if isinstance(value, Decimal128):
        return value
    if isinstance(value, bool):
        return Decimal128(str(int(value)))
    if is_number(value):
        return Decimal128(DECIMAL.plus(decimal_of(value)))
    if is_date(value):
        return Decimal128(Decimal(ms_of_date(value)))
    if isinstance(value, str):
        if not DOUBLE_TEXT.fullmatch(value):
            raise failed(f"failed to parse number {value!r:.60} as decimal", value)
        number = DECIMAL.create_decimal(value)
        if number.is_infinite() and "inf" not in value.lower():
            raise failed("conversion from string to decimal would overflow", value)
        return Decimal128(number)
    raise _unsupported(value, "decimal")


def to_bool(value: Any) -> Any:
    """A bool: zero is false, everything else true."""
    return truth(value)


def to_string(value: Any) -> Any:
    """Text."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    text = number_text(value)
    if text is not None:
        return text
    if is_date(value):
        return date_text(ms_of_date(value))
    if isinstance(value, (ObjectId, uuid.UUID)):
        return str(value)
    raise _unsupported(value, "string")


def to_date(value: Any) -> Any:
    """A date: of milliseconds, text, an ObjectId or a timestamp."""
    if is_date(value):
        return value
    if isinstance(value, str):
        return date_of_ms(parse_date(value))
    if isinstance(value, ObjectId):
        return value.generation_time
    if isinstance(value, Timestamp):
        return date_of_ms(value.time * 1000)
    if type_name(value) in ("long", "double", "decimal"):
        return date_of_ms(_integer(value, "date", INT64_MIN, INT64_MAX))
    raise _unsupported(value, "date")


def to_object_id(value: Any) -> Any:
    """An ObjectId: of 24 hexadecimal digits."""
    if isinstance(value, ObjectId):
        return value
    if isinstance(value, str):
        if not OBJECT_ID_TEXT.fullmatch(value):
            raise failed(
                f"failed to parse objectId {value!r:.60}: it needs 24 hexadecimal digits", value
            )
        return ObjectId(value)
    raise _unsupported(value, "objectId")


def to_uuid(value: Any) -> Any:
    """A UUID: of its text."""
    if isinstance(value, uuid.UUID):
        return value
    if isinstance(value, str):
        if not UUID_TEXT.fullmatch(value):
            raise failed(f"failed to parse UUID {value!r:.60}", value)
        return uuid.UUID(value)
    raise _unsupported(value, "binData")


def to_bin_data(value: Any) -> Any:
    """Binary data stays what it is; text is not decoded."""
    if isinstance(value, (bytes, Binary, uuid.UUID)):
        return value
    raise _unsupported(value, "binData")


TARGETS: Final[dict[str, Callable[[Any], Any]]] = {
    "binData": to_bin_data,
    "bool": to_bool,
    "date": to_date,
    "decimal": to_decimal,
    "double": to_double,
    "int": to_int,
    "long": to_long,
    "objectId": to_object_id,
    "string": to_string,
}
