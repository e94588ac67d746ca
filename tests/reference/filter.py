"""The filter language in plain Python: slow and obvious, over decoded documents.

Twin of rango/_ext/{normal,match,compare,filter}.pyx.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

MISSING = object()

CLASSES: list[tuple[Any, ...]] = [
    (MinKey,),
    (type(None),),
    (int, float, Decimal128, Int64),
    (str,),
    (dict,),
    (list,),
    (bytes, Binary),
    (ObjectId,),
    (bool,),
    (datetime,),
    (Timestamp,),
    (Regex, re.Pattern),
    (MaxKey,),
]


def class_of(value: Any) -> int:
    if isinstance(value, bool):
        return 8
    return next(rank for rank, types in enumerate(CLASSES) if isinstance(value, types))


def is_nan(value: Any) -> bool:
    if isinstance(value, Decimal128):
        return value.to_decimal().is_nan()
    return isinstance(value, float) and math.isnan(value)


def number_order(value: Any) -> tuple[int, Fraction]:
    """NaN, minus infinity, finite numbers, infinity."""
    if is_nan(value):
        return (0, Fraction(0))
    plain = value.to_decimal() if isinstance(value, Decimal128) else value
    if isinstance(value, (float, Decimal128)) and math.isinf(plain):
        return (1 if plain < 0 else 3, Fraction(0))
    return (2, Fraction(plain))


def sign(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def compare(left: Any, right: Any) -> int:  # noqa: PLR0911
    """MongoDB's order of all values."""
    kind = class_of(left)
    if kind != class_of(right):
        return sign(kind, class_of(right))
    if kind in (0, 1, 12):
        return 0
    if kind == 2:
        return sign(number_order(left), number_order(right))
    if kind == 3:
        return sign(left.encode(), right.encode())
    if kind == 4:
        return compare_pairs(list(left.items()), list(right.items()))
    if kind == 5:
        return compare_pairs([("", x) for x in left], [("", x) for x in right])
    if kind == 6:
        return sign(binary_order(left), binary_order(right))
    if kind == 7:
        return sign(left.binary, right.binary)
    if kind == 10:
        return sign((left.time, left.inc), (right.time, right.inc))
    return sign(left, right)


def compare_pairs(left: list[tuple[str, Any]], right: list[tuple[str, Any]]) -> int:
    for (left_name, left_value), (right_name, right_value) in zip(left, right, strict=False):
        order = (
            sign(class_of(left_value), class_of(right_value))
            or sign(left_name.encode(), right_name.encode())
            or compare(left_value, right_value)
        )
        if order:
            return order
    return sign(len(left), len(right))


def binary_order(value: bytes) -> tuple[int, int, bytes]:
    return (len(value), getattr(value, "subtype", 0), bytes(value))


def reach(value: Any, parts: list[str]) -> list[Any]:
    """Every value that a path reaches."""
    if not parts:
        return [*value, value] if isinstance(value, list) else [value]
    if isinstance(value, dict):
        return reach(value[parts[0]], parts[1:]) if parts[0] in value else [MISSING]
    if isinstance(value, list):
        return reach_inside(value, parts)
    return [MISSING]


def reach_inside(array: list[Any], parts: list[str]) -> list[Any]:
    found: list[Any] = []
    for place, element in enumerate(array):
        if isinstance(element, dict):
            found += reach(element, parts)
        if parts[0] == str(place):
            if len(parts) == 1:
                found.append(element)
            elif isinstance(element, dict):
                found += reach(element, parts[1:])
            elif isinstance(element, list):
                found += reach_inside(element, parts[1:])
    return found


def equals(value: Any, operand: Any) -> bool:
    return operand is None if value is MISSING else compare(value, operand) == 0


def in_range(value: Any, operand: Any, below: bool, inclusive: bool) -> bool:
    end = MaxKey if below else MinKey
    if isinstance(operand, end) and (value is MISSING or not isinstance(value, end)):
        return True
    if value is MISSING:
        return operand is None and inclusive
    if class_of(value) != class_of(operand):
        return False
    if is_nan(value) or is_nan(operand):
        return inclusive and is_nan(value) and is_nan(operand)
    order = compare(value, operand)
    return (inclusive and order == 0) or (order < 0 if below else order > 0)


TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": equals,
    "$gt": lambda value, operand: in_range(value, operand, False, False),
    "$gte": lambda value, operand: in_range(value, operand, False, True),
    "$lt": lambda value, operand: in_range(value, operand, True, False),
    "$lte": lambda value, operand: in_range(value, operand, True, True),
    "$in": lambda value, operands: any(equals(value, operand) for operand in operands),
}


def matches(document: dict[str, Any], filter: Mapping[str, Any]) -> bool:
    for name, operand in filter.items():
        if name == "$and":
            found = all(matches(document, branch) for branch in operand)
        elif name == "$or":
            found = any(matches(document, branch) for branch in operand)
        elif name == "$nor":
            found = not any(matches(document, branch) for branch in operand)
        else:
            found = matches_field(reach(document, name.split(".")), operand)
        if not found:
            return False
    return True


def matches_field(values: list[Any], operand: Any) -> bool:
    if not (isinstance(operand, dict) and operand and next(iter(operand)).startswith("$")):
        return any(equals(value, operand) for value in values)
    return all(matches_operator(values, name, value) for name, value in operand.items())


def matches_operator(values: list[Any], name: str, operand: Any) -> bool:
    if name == "$not":
        return not matches_field(values, operand)
    if name in ("$ne", "$nin"):
        return not matches_operator(values, {"$ne": "$eq", "$nin": "$in"}[name], operand)
    if name == "$exists":
        return any(value is not MISSING for value in values) is bool(operand)
    return any(TESTS[name](value, operand) for value in values)
