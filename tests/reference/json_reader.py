"""Readable twin of json_reader: the BSON of a line of JSON, or None if the line is not ready.

Written from the specification of Extended JSON and bsonspec.org. It is a little more generous than
the kernel (an escape within a wrapper, the members of a wrapper in any order), so: where both have
an answer, it is the same, and where the kernel has one, so has the twin.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

RESERVED = ("_rev", "_updated_at", "_source_node", "_deleted", "_conflicts")
DEPTH_MAX = 100
NAMES_MAX = 256
DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?Z", re.ASCII)
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Pairs = list[tuple[str, Any]]


class Unusual(ValueError):
    """The slow way reads it."""


class Digits(str):
    """A number as it is written."""


class Members(tuple[tuple[str, Any], ...]):
    """An object: its names and values, repeated names included."""


def line_bson(line: bytes) -> bytes | None:
    """The document of a line."""
    try:
        found = json.loads(
            line.decode(),
            object_pairs_hook=Members,
            parse_int=Digits,
            parse_float=Digits,
            parse_constant=refuse,
        )
        if type(found) is not Members or any(name in RESERVED for name, _ in found):
            raise Unusual
        first = [each for each in found if each[0] == "_id"]
        if first and type(first[0][1]) is list:
            raise Unusual
        return document([*first, *(each for each in found if each[0] != "_id")], 1)
    except (ValueError, RecursionError):
        return None


def refuse(what: object) -> Any:
    raise Unusual(what)


def document(pairs: Pairs, depth: int) -> bytes:
    names = [name for name, _ in pairs]
    if depth > DEPTH_MAX or len(names) != len(set(names)) or len(names) > NAMES_MAX:
        raise Unusual
    return framed(pairs, depth)


def framed(pairs: Pairs, depth: int) -> bytes:
    inside = b""
    for name, value in pairs:
        if "\0" in name or name.startswith("$"):
            raise Unusual
        kind, data = element(value, depth)
        inside += bytes([kind]) + name.encode() + b"\0" + data
    return struct.pack("<i", len(inside) + 5) + inside + b"\0"


def element(value: Any, depth: int) -> tuple[int, bytes]:
    if value is None or type(value) is bool:
        return (0x0A, b"") if value is None else (0x08, bytes([value]))
    if type(value) is Digits:
        return number(value)
    if type(value) is str:
        return 0x02, struct.pack("<i", len(value.encode()) + 1) + value.encode() + b"\0"
    if type(value) is list:
        if depth == DEPTH_MAX:
            raise Unusual
        return 0x04, framed([(str(at), each) for at, each in enumerate(value)], depth + 1)
    if value and value[0][0].startswith("$"):
        return wrapper(*value[0]) if len(value) == 1 else refuse(value)
    return 0x03, document(list(value), depth + 1)


def number(digits: str) -> tuple[int, bytes]:
    if not digits.lstrip("-").isdigit():
        return 0x01, struct.pack("<d", float(digits))
    value = int(digits) if len(digits) <= 20 else refuse(digits)
    if -(1 << 31) <= value < 1 << 31:
        return 0x10, struct.pack("<i", value)
    return 0x12, packed("<q", value)


def packed(layout: str, value: Any) -> bytes:
    try:
        return struct.pack(layout, value)
    except struct.error:
        raise Unusual(value) from None


def wrapper(name: str, value: Any) -> tuple[int, bytes]:
    if name in PARTS:
        return PARTS[name](value)
    given = text(value)
    pattern = PATTERNS.get(name)
    if pattern is None or not pattern.fullmatch(given):
        raise Unusual(name)
    return TEXTS[name](given)


def members(value: Any, *names: str) -> list[Any]:
    """The values of an object that has exactly these names."""
    found = dict(value) if type(value) is Members and len(value) == len(names) else refuse(value)
    return [found[name] if name in found else refuse(name) for name in names]


def timestamp(value: Any) -> tuple[int, bytes]:
    time, place = members(value, "t", "i")
    if type(time) is not Digits or type(place) is not Digits:
        raise Unusual
    return 0x11, packed("<I", int(place)) + packed("<I", int(time))


def binary(value: Any) -> tuple[int, bytes]:
    packed_data, subtype = map(text, members(value, "base64", "subType"))
    data = base64.b64decode(packed_data, validate=True)
    if not re.fullmatch("[0-9a-fA-F]{1,2}", subtype) or int(subtype, 16) == 2:
        raise Unusual
    return 0x05, struct.pack("<iB", len(data), int(subtype, 16)) + data


def text(value: Any) -> str:
    return value if type(value) is str else refuse(value)


def milliseconds(value: Any) -> int:
    if type(value) is Members and len(value) == 1 and value[0][0] == "$numberLong":
        given = text(value[0][1])
        return int(given) if NUMBER.fullmatch(given) else refuse(given)
    found = DATE.fullmatch(text(value)) or refuse(value)
    fraction = (found[7] or ".")[1:].ljust(3, "0")[:3]
    at = datetime(*map(int, found.groups()[:6]), tzinfo=UTC)  # type: ignore[misc,arg-type]
    return (at - EPOCH) // timedelta(milliseconds=1) + int(fraction)


PARTS: dict[str, Any] = {
    "$date": lambda value: (0x09, packed("<q", milliseconds(value))),
    "$timestamp": timestamp,
    "$binary": binary,
}
PATTERNS = {
    "$oid": re.compile("[0-9a-fA-F]{24}"),
    "$uuid": re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "$numberInt": NUMBER,
    "$numberLong": NUMBER,
    "$numberDouble": re.compile(NUMBER.pattern + "|-?Infinity|NaN", re.ASCII),
}
TEXTS: dict[str, Any] = {
    "$oid": lambda given: (0x07, bytes.fromhex(given)),
    "$uuid": lambda given: (0x05, struct.pack("<iB", 16, 4) + uuid.UUID(given).bytes),
    "$numberInt": lambda given: (0x10, packed("<i", int(given))),
    "$numberLong": lambda given: (0x12, packed("<q", int(given))),
    "$numberDouble": lambda given: (0x01, struct.pack("<d", float(given))),
}
