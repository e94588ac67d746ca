"""Readable twin of entries: what an index holds of a document.

Works on the elements of reference/record.py; an entry is a list of (element or None for missing,
does an array lie on its path). Written from MongoDB's manual ("Multikey Indexes", "Compound
Indexes", "Sparse Indexes"), not from the kernel.
"""

from __future__ import annotations

import math
from typing import Any

from tests.reference.key import UNDEFINED, field
from tests.reference.record import Element

Value = tuple[Element | None, bool]
Path = list[str]

EXACT = (0x01, 0x02, 0x05, 0x07, 0x08, 0x09, 0x0A, 0x10, 0x11, 0x12)
MISSING, ARRAY, OPAQUE = 0x00, 0xFE, 0xFF


class Parallel(Exception):
    """Two fields meet different arrays."""


def entries(
    document: list[Element], paths: list[str], *, sparse: bool = False
) -> list[list[Value]]:
    """Every entry of the document, with repeats, in no order."""
    found = expand([(document, path.split("."), False) for path in paths])
    if sparse:
        found = [each for each in found if any(element is not None for element, _ in each)]
    return found


def expand(fields: list[Any]) -> list[list[Value]]:
    """A field is either done, (element or None, has array), or under way: (elements of the document
    where it stands, parts left, has array)."""
    walked = [walk(*each) if len(each) == 3 else each for each in fields]
    arrays = [each for each in walked if len(each) == 4]
    if not arrays:
        return [walked]
    if any(each[0] is not arrays[0][0] for each in arrays):
        raise Parallel
    found: list[list[Value]] = []
    for inner in arrays[0][0] or [UNDEFINED]:
        below = inner[2] if inner[0] == 0x03 else []
        one: list[Any] = []
        for each in walked:
            if len(each) != 4:
                one.append(each)
            else:
                one.append((below, each[1], True) if each[1] else (inner, True))
        found += expand(one)
    return found


def walk(elements: list[Element], parts: Path, has_array: bool) -> Any:
    """On from a document: (element or None, has array) at the end, or (elements of an array, parts
    left, True, "array") where one must be expanded."""
    element = field(elements, parts[0])
    if element is None:
        return None, has_array
    rest = parts[1:]
    is_placed = False
    while element[0] == 0x04 and rest and is_place(rest[0]) and int(rest[0]) < len(element[2]):
        element, rest, has_array, is_placed = element[2][int(rest[0])], rest[1:], True, True
    if element[0] == 0x04 and (rest or not is_placed):
        return element[2], rest, True, "array"
    if not rest:
        return element, has_array
    if element[0] != 0x03:
        return None, has_array
    return walk(element[2], rest, has_array)


def is_place(part: str) -> bool:
    """Whether a part of a path is a position: a number without leading zeros."""
    return part.isascii() and part.isdigit() and (part == "0" or part[0] != "0") and len(part) < 9


def type_byte(value: Value, *, shortened: bool) -> int:
    """What the entry says of one field."""
    element, has_array = value
    if has_array:
        return ARRAY
    if element is None:
        return MISSING
    kind, _, content = element
    if shortened or kind not in EXACT:
        return OPAQUE
    if kind == 0x01 and (math.isnan(content) or (content == 0 and math.copysign(1, content) < 0)):
        return OPAQUE
    return kind
