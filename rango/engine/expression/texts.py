"""What other kinds of values are as text: the coercion that $toLower, $substr, $toString share.

Invariants  null and missing are the empty string. Doubles have at most 16 significant digits, dates
            are ISO 8601 in UTC with milliseconds.
Failure     ExpressionFailed 16007 for a kind that has no text (documents, arrays, booleans, ...).
Sources     MongoDB manual, "$toString"; MongoDB's Value::coerceToString.
"""

from __future__ import annotations

import math
from typing import Any

from bson.decimal128 import Decimal128
from bson.timestamp import Timestamp

from rango.engine.expression.calendar import parts_of_ms
from rango.engine.values import MISSING, is_date, is_integer, ms_of_date, shown, type_name
from rango.errors import ExpressionFailed


def text_of(operator: str, value: Any) -> str:
    """A value as text, or ExpressionFailed."""
    if isinstance(value, str):
        return str(value)
    if value is None or value is MISSING:
        return ""
    text = number_text(value)
    if text is not None:
        return text
    if is_date(value):
        return date_text(ms_of_date(value))
    if isinstance(value, Timestamp):
        return f"Timestamp({value.time}, {value.inc})"
    raise ExpressionFailed(
        f"{operator} can't convert {type_name(value)} to a string: {shown(value)}", code=16007
    )


def number_text(value: Any) -> str | None:
    """A number as text; None for what is no number."""
    if isinstance(value, float):
        return double_text(value)
    if isinstance(value, Decimal128):
        return str(value)
    return str(int(value)) if is_integer(value) else None


def double_text(value: float) -> str:
    """A double as text: 16 significant digits, no needless zeros."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return f"{value:.16g}"


def date_text(ms: int) -> str:
    """A date as ISO 8601 in UTC: 2026-01-31T23:59:59.999Z."""
    year, month, day, hour, minute, second, rest = parts_of_ms(ms)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{rest:03d}Z"
