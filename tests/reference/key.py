"""Readable twin of key: MongoDB's comparison of values, and what an index of a path holds.

Works on the elements of reference/record.py. Numbers are compared as fractions, so exactly. Written
from MongoDB's manual ("Comparison/Sort Order", "Multikey Indexes"), not from the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from bson.decimal128 import Decimal128

from tests.reference.record import Element

NUMBERS = (0x01, 0x10, 0x12, 0x13)
ORDER = (
    (0xFF,),
    (0x06,),
    (0x0A,),
    NUMBERS,
    (0x02, 0x0E),
    (0x03,),
    (0x04,),
    (0x05,),
    (0x07,),
    (0x08,),
    (0x09,),
    (0x11,),
    (0x0B,),
    (0x0C,),
    (0x0D,),
    (0x0F,),
    (0x7F,),
)
RANK = {kind: rank for rank, kinds in enumerate(ORDER) for kind in kinds}
UNDEFINED: Element = (0x06, "", None)
NULL: Element = (0x0A, "", None)
INFINITY = Fraction(10) ** 7000
NAN = -INFINITY - 1


def sign(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def number(kind: int, value: Any) -> Fraction:
    """A number of any type, exactly; infinities and NaN as numbers that lie beyond all others."""
    if kind in (0x10, 0x12):
        return Fraction(value)
    decimal = Decimal128.from_bid(value).to_decimal() if kind == 0x13 else Decimal(value)
    if decimal.is_nan():
        return NAN
    if decimal.is_infinite():
        return INFINITY if decimal > 0 else -INFINITY
    return Fraction(decimal)


def sized(data: bytes, *rest: Any) -> tuple[Any, ...]:
    """Shorter before longer, whatever the bytes."""
    return (len(data), *rest, data)


# what to compare of two values of one class; documents are compared field by field
COMPARED: dict[int, Callable[[Any], Any]] = {
    **dict.fromkeys((0x02, 0x0D, 0x0E), str.encode),
    0x05: lambda value: sized(value[1], value[0]),
    0x0B: lambda value: [part.encode() for part in value],
    0x0C: lambda value: (sized(value[0].encode()), value[1]),
    **dict.fromkeys((0xFF, 0x06, 0x0A, 0x7F), bool),
}


def compare(left: Element, right: Element) -> int:
    """-1, 0 or 1: the order of two values; names do not count at the top."""
    (kind, _, a), (other, _, b) = left, right
    if RANK[kind] != RANK[other]:
        return sign(RANK[kind], RANK[other])
    if kind in NUMBERS:
        return sign(number(kind, a), number(other, b))
    if kind in (0x03, 0x04):
        return compare_elements(a, b)
    if kind == 0x0F:
        return sign(a[0].encode(), b[0].encode()) or compare_elements(a[1], b[1])
    of = COMPARED.get(kind, lambda value: value)
    return sign(of(a), of(b))


def compare_elements(left: list[Element], right: list[Element]) -> int:
    """Field by field: class, then name, then value; the shorter one is smaller."""
    for a, b in zip(left, right, strict=False):
        found = sign(RANK[a[0]], RANK[b[0]]) or sign(a[1].encode(), b[1].encode()) or compare(a, b)
        if found:
            return found
    return sign(len(left), len(right))


def field(elements: list[Element], name: str) -> Element | None:
    return next((element for element in elements if element[1] == name), None)


def indexed(element: Element | None, parts: list[str]) -> list[Element]:
    """The values that an index has for what lies at `parts` below this element, with repeats."""
    if element is None:
        return [NULL]
    kind, _, value = element
    if not parts:
        return (list(value) or [UNDEFINED]) if kind == 0x04 else [element]
    if kind == 0x03:
        return indexed(field(value, parts[0]), parts[1:])
    if kind != 0x04:
        return [NULL]
    values: list[Element] = []
    lacking = not value
    for inner in value:
        found = field(inner[2], parts[0]) if inner[0] == 0x03 else None
        lacking = lacking or found is None
        values += indexed(found, parts[1:]) if found else []
    is_position = parts[0].isascii() and parts[0].isdigit() and str(int(parts[0])) == parts[0]
    if is_position and int(parts[0]) < len(value):
        standing = value[int(parts[0])]
        return values + (indexed(standing, parts[1:]) if parts[1:] else [standing])
    return values + ([NULL] if lacking else [])
