"""The filter language in plain Python: slow and obvious, over decoded documents.

Twin of rango/_ext/{normal,operands,match,predicate,compare,assemble,filter}.pyx.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.code import Code

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
    (Code,),
    (MaxKey,),
]


def class_of(value: Any) -> int:
    if isinstance(value, bool):
        return 8
    if isinstance(value, Code):
        return 12
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
    if kind in (0, 1, 13):
        return 0
    if kind == 11:
        return sign(regex_order(left), regex_order(right))
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


def regex_order(value: Any) -> tuple[bytes, str]:
    flags = value.flags
    bits = (("i", re.I), ("m", re.M), ("s", re.S), ("u", re.U), ("x", re.X))
    return value.pattern.encode(), "".join(letter for letter, bit in bits if flags & bit)


def reach(value: Any, parts: list[str], opens: bool = True) -> list[Any]:
    """Every value that a path reaches; does it open an array at its end?"""
    if not parts:
        return [*value, value] if isinstance(value, list) and opens else [value]
    if isinstance(value, dict):
        return reach(value[parts[0]], parts[1:], opens) if parts[0] in value else [MISSING]
    if isinstance(value, list):
        return reach_inside(value, parts, opens)
    return [MISSING]


def reach_inside(array: list[Any], parts: list[str], opens: bool) -> list[Any]:
    found: list[Any] = []
    for place, element in enumerate(array):
        if isinstance(element, dict):
            found += reach(element, parts, opens)
        if parts[0] == str(place):
            if len(parts) == 1:
                found.append(element)
            elif isinstance(element, dict):
                found += reach(element, parts[1:], opens)
            elif isinstance(element, list):
                found += reach_inside(element, parts[1:], opens)
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


TYPES: list[tuple[Any, int, str]] = [
    (bool, 8, "bool"),
    (Int64, 18, "long"),
    (float, 1, "double"),
    (Code, 13, "javascript"),
    (str, 2, "string"),
    (dict, 3, "object"),
    (list, 4, "array"),
    (bytes, 5, "binData"),
    (ObjectId, 7, "objectId"),
    (datetime, 9, "date"),
    (type(None), 10, "null"),
    (Regex, 11, "regex"),
    (Timestamp, 17, "timestamp"),
    (Decimal128, 19, "decimal"),
    (MinKey, -1, "minKey"),
    (MaxKey, 127, "maxKey"),
]


def type_names(value: Any) -> set[Any]:
    """All that $type may call a value."""
    number, name = next(
        ((number, name) for kind, number, name in TYPES if isinstance(value, kind)), (16, "int")
    )
    if name == "int" and not -(2**31) <= value < 2**31:
        number, name = 18, "long"
    names: set[Any] = {number, name}
    return names | {"number"} if name in ("double", "int", "long", "decimal") else names


def has_type(value: Any, wanted: Any) -> bool:
    return bool(type_names(value) & set(wanted if isinstance(wanted, list) else [wanted]))


def fraction(value: Any) -> Fraction | None:
    """A finite number, exactly; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal128)):
        return None
    place, number = number_order(value)
    return number if place == 2 else None


def whole(value: Any) -> int | None:
    """A number cut towards zero, if that is an int64."""
    number = fraction(value)
    if number is None or not -(2**63) <= math.trunc(number) < 2**63:
        return None
    return math.trunc(number)


def leaves_remainder(value: Any, operand: list[Any]) -> bool:
    number, (divisor, remainder) = whole(value), (math.trunc(fraction(x) or 0) for x in operand)
    # the remainder has the sign of the dividend
    return number is not None and number - divisor * math.trunc(Fraction(number, divisor)) == (
        remainder
    )


def positions(operand: Any) -> list[int]:
    if isinstance(operand, list):
        return [int(position) for position in operand]
    if isinstance(operand, bytes):
        operand = int.from_bytes(operand, "little")
    return [
        position for position in range(int(operand).bit_length()) if int(operand) >> position & 1
    ]


def bits(value: Any, operand: Any) -> list[bool] | None:
    """Is each of these bits set? None: the value has no bits."""
    if isinstance(value, bytes):
        number = int.from_bytes(value, "little")
    elif whole(value) is None or whole(value) != fraction(value):
        return None
    else:
        number = int(whole(value) or 0)
    return [bool(number >> position & 1) for position in positions(operand)]


def bit_test(decide: Callable[[list[bool]], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, operand: Any) -> bool:
        found = bits(value, operand)
        return found is not None and decide(found)

    return test


def regex_test(value: Any, operand: Any, flags: int = 0) -> bool:
    if isinstance(operand, str):
        operand = Regex(operand, flags)
    if isinstance(value, Regex):
        return regex_order(value) == regex_order(operand)
    if not isinstance(value, str) or isinstance(value, Code):
        return False
    return re.search(operand.pattern, value, operand.flags) is not None


def equals_or_matches(value: Any, operand: Any) -> bool:
    if isinstance(operand, (Regex, re.Pattern)):
        return value is not MISSING and regex_test(value, operand)
    return equals(value, operand)


def element_matches(value: Any, operand: dict[str, Any]) -> bool:
    """$elemMatch of one value."""
    if not isinstance(value, list):
        return False
    first = next(iter(operand), "")
    if first.startswith("$") and first not in ("$and", "$or", "$nor"):
        return any(matches_field([x], [x], operand) for x in value)
    fields = [
        dict(zip(map(str, range(len(x))), x, strict=True)) if isinstance(x, list) else x
        for x in value
        if isinstance(x, (dict, list))
    ]
    return any(matches(x, operand) for x in fields)


TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": equals,
    "$gt": lambda value, operand: in_range(value, operand, False, False),
    "$gte": lambda value, operand: in_range(value, operand, False, True),
    "$lt": lambda value, operand: in_range(value, operand, True, False),
    "$lte": lambda value, operand: in_range(value, operand, True, True),
    "$in": lambda value, operands: any(equals_or_matches(value, operand) for operand in operands),
}
# never true of what is missing
PRESENT_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$type": has_type,
    "$mod": leaves_remainder,
    "$bitsAllSet": bit_test(all),
    "$bitsAnySet": bit_test(any),
    "$bitsAllClear": bit_test(lambda found: not any(found)),
    "$bitsAnyClear": bit_test(lambda found: not all(found)),
    "$regex": regex_test,
}
# of the array itself, which is not opened
ARRAY_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$size": lambda value, size: isinstance(value, list) and len(value) == size,
    "$elemMatch": element_matches,
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
            parts = name.split(".")
            found = matches_field(reach(document, parts), reach(document, parts, False), operand)
        if not found:
            return False
    return True


def matches_field(values: list[Any], unopened: list[Any], operand: Any) -> bool:
    if not (isinstance(operand, dict) and operand and next(iter(operand)).startswith("$")):
        return any(equals_or_matches(value, operand) for value in values)
    return all(
        matches_operator(values, unopened, name, value, operand) for name, value in operand.items()
    )


def matches_operator(  # noqa: PLR0911
    values: list[Any], unopened: list[Any], name: str, operand: Any, beside: dict[str, Any]
) -> bool:
    if name == "$options":
        return True
    if name == "$regex" and "$options" in beside:
        flags = sum({"i": re.I, "m": re.M, "s": re.S, "x": re.X}[x] for x in beside["$options"])
        operand = Regex(operand, flags)
    if name == "$not":
        if isinstance(operand, (Regex, re.Pattern)):
            operand = {"$regex": operand}
        return not matches_field(values, unopened, operand)
    if name in ("$ne", "$nin"):
        name = {"$ne": "$eq", "$nin": "$in"}[name]
        return not matches_operator(values, unopened, name, operand, {})
    if name == "$exists":
        return any(value is not MISSING for value in values) is bool(operand)
    if name == "$all":
        return bool(operand) and all(
            matches_field(values, unopened, entry)
            if isinstance(entry, dict) and "$elemMatch" in entry
            else any(equals_or_matches(value, entry) for value in values)
            for entry in operand
        )
    if name in ARRAY_TESTS:
        return any(ARRAY_TESTS[name](value, operand) for value in unopened)
    if name in PRESENT_TESTS:
        return any(PRESENT_TESTS[name](x, operand) for x in values if x is not MISSING)
    return any(TESTS[name](value, operand) for value in values)
