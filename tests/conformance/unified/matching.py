"""Whether a result matches what a unified test expects.

Terms       root document: an expected document that may leave fields out; below it every field
            counts. Special operators begin with `$$`.
Sources     unified-test-format.md, "Evaluating Matches".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import json_util
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from rango.engine.values import type_name

ABSENT: Any = object()
_ALIASES = {"number": ("int", "long", "double", "decimal")}


def mismatch(expected: Any, actual: Any, where: str = "result", *, is_root: bool = True) -> str:
    """Empty if `actual` matches; otherwise where it does not."""
    if isinstance(expected, Mapping):
        operator = next(iter(expected), "")
        if len(expected) == 1 and operator.startswith("$$"):
            return _special(operator, expected[operator], actual, where, is_root)
        return _document(expected, actual, where, is_root)
    if actual is ABSENT:
        return f"{where} is missing"
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            return f"{where}: expected {expected!r}, found {actual!r}"
        return next(
            (
                found
                for place, (left, right) in enumerate(zip(expected, actual, strict=True))
                if (found := mismatch(left, right, f"{where}.{place}", is_root=is_root))
            ),
            "",
        )
    return "" if equal(expected, actual) else f"{where}: expected {expected!r}, found {actual!r}"


def equal(left: Any, right: Any) -> bool:
    """Equal values; a number may be of another type, everything else may not."""
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return set(left) == set(right) and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and bool(left == right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Int64 | Decimal128) and not isinstance(value, bool)


def _document(expected: Mapping[str, Any], actual: Any, where: str, is_root: bool) -> str:
    if not isinstance(actual, Mapping):
        return f"{where}: expected {expected!r}, found {actual!r}"
    for name, value in expected.items():
        found = mismatch(value, actual.get(name, ABSENT), f"{where}.{name}", is_root=False)
        if found:
            return found
    extra = [name for name in actual if name not in expected]
    return f"{where} has {extra} as well" if extra and not is_root else ""


def _special(operator: str, operand: Any, actual: Any, where: str, is_root: bool) -> str:
    if operator == "$$exists":
        return "" if (actual is not ABSENT) == operand else f"{where}: {operator} {operand}"
    if operator == "$$unsetOrMatches":
        return "" if actual is ABSENT else mismatch(operand, actual, where, is_root=is_root)
    if operator in ("$$matchAsDocument", "$$matchAsRoot"):
        parsed = json_util.loads(actual) if isinstance(actual, str) else actual
        return mismatch(operand, parsed, where, is_root=is_root or operator == "$$matchAsRoot")
    if actual is ABSENT:
        return f"{where} is missing"
    if operator == "$$type":
        wanted = [operand] if isinstance(operand, str) else operand
        names = {name for each in wanted for name in _ALIASES.get(each, (each,))}
        is_right = type_name(actual) in names
    elif operator == "$$lte":
        is_right = actual <= operand
    elif operator in ("$$matchesHexBytes",):
        is_right = bytes(actual) == bytes.fromhex(operand)
    else:
        return f"{where}: no reading of {operator}"
    return "" if is_right else f"{where}: {operator} {operand!r}, found {actual!r}"
