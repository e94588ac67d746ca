"""What the keywords of $jsonSchema get as arguments, checked, and values as those rules see them.

Failure     InvalidFilter with MongoDB's code: FAILED_TO_PARSE, TYPE_MISMATCH or BAD_VALUE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from typing import Any, Final

from bson.code import Code
from bson.decimal128 import Decimal128

from rango._ext.key import key_whole
from rango.engine.regex import compile_regex
from rango.engine.values import shown, type_name
from rango.errors import InvalidFilter

FAILED_TO_PARSE: Final = 9
TYPE_MISMATCH: Final = 14
BAD_VALUE: Final = 2
# A double counts with the 15 digits that it surely has: 4.4 is a multiple of 1.1
_DOUBLE_DIGITS: Final = Context(prec=15)


def refused(message: str, code: int) -> InvalidFilter:
    """The error for a schema that is wrong."""
    return InvalidFilter(message, code=code)


# --- arguments of keywords


def object_argument(schema: Mapping[str, Any], keyword: str, where: str) -> Mapping[str, Any]:
    given = schema[keyword]
    if not isinstance(given, Mapping):
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} must be an object, not {type_name(given)}",
            TYPE_MISMATCH,
        )
    return given


def filled_array(given: object, keyword: str, where: str) -> list[Any]:
    if not isinstance(given, list | tuple):
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} must be an array, not {type_name(given)}",
            TYPE_MISMATCH,
        )
    if not given:
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} cannot be an empty array",
            FAILED_TO_PARSE,
        )
    return list(given)


def names_argument(given: object, keyword: str, where: str) -> list[str]:
    """An array of different strings."""
    names = filled_array(given, keyword, where)
    for name in names:
        if not isinstance(name, str) or isinstance(name, Code):
            raise refused(
                f"$jsonSchema keyword {keyword!r} in {where} must be an array of strings, "
                f"but it has a {type_name(name)}",
                TYPE_MISMATCH,
            )
    if len(set(names)) < len(names):
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} cannot name a value twice: {names!r}",
            FAILED_TO_PARSE,
        )
    return names


def text_argument(schema: Mapping[str, Any], keyword: str, where: str) -> str:
    given = schema[keyword]
    if not isinstance(given, str):
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} must be a string, not {type_name(given)}",
            TYPE_MISMATCH,
        )
    return given


def flag_argument(schema: Mapping[str, Any], keyword: str, where: str) -> bool:
    given = schema[keyword]
    if not isinstance(given, bool):
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} must be a boolean, not {type_name(given)}",
            TYPE_MISMATCH,
        )
    return given


def number_argument(schema: Mapping[str, Any], keyword: str, where: str) -> Any:
    given = schema[keyword]
    if not is_number(given):
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} must be a number, not {type_name(given)}",
            TYPE_MISMATCH,
        )
    return given


def count_argument(schema: Mapping[str, Any], keyword: str, where: str) -> int:
    """A whole number that is not negative; 3.0 counts as 3."""
    given = decimal_of(number_argument(schema, keyword, where))
    if not given.is_finite() or given != given.to_integral_value() or not 0 <= given < 2**63:
        raise refused(
            f"$jsonSchema keyword {keyword!r} in {where} must be a whole number, 0 or more, "
            f"not {schema[keyword]!r}",
            FAILED_TO_PARSE,
        )
    return int(given)


# --- values


def searcher(pattern: object, where: str) -> Callable[[str], bool]:
    """Whether a string has a match, for a regular expression in a schema."""
    if not isinstance(pattern, str):
        raise refused(f"a pattern in {where} must be a string, not {shown(pattern)}", TYPE_MISMATCH)
    kind, text, test = compile_regex(where, pattern, "")

    def search(subject: str) -> bool:
        data = subject.encode()
        if kind == "prefix":
            return data.startswith(text)
        return text in data and (test is None or test(data))

    return search


def is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal128) and not isinstance(value, bool)


def decimal_of(value: Any) -> Decimal:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    if isinstance(value, float):
        return _DOUBLE_DIGITS.create_decimal_from_float(value)
    return Decimal(int(value))


def is_nan(value: Any) -> bool:
    if isinstance(value, Decimal128):
        return value.to_decimal().is_nan()
    return isinstance(value, float) and math.isnan(value)


def _unordered(value: Any) -> Any:
    """The value with the fields of every object in one order."""
    if isinstance(value, Mapping):
        return {name: _unordered(value[name]) for name in sorted(value)}
    if isinstance(value, list | tuple):
        return [_unordered(entry) for entry in value]
    return value


def identity(value: Any) -> bytes:
    """Equal bytes for values that are equal but for the order of fields."""
    return key_whole(_unordered(value))
