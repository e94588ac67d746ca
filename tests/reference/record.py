"""Readable twin of bson_check: BSON bytes as a tree of elements, and back.

An element is (type, name, value). Values: float, int, str, bool or None as one expects; a document
or an array is a list of elements; binary (subtype, stored bytes); regex (pattern, options);
DBPointer (name, 12 bytes); code with scope (code, elements); ObjectId and decimal128 their bytes; a
date its milliseconds; a timestamp its 64 bits. Written from bsonspec.org, not from the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

Element = tuple[int, str, Any]
DEPTH_MAX = 100

NUMBERS = {0x01: "<d", 0x09: "<q", 0x10: "<i", 0x11: "<Q", 0x12: "<q"}
EMPTY = (0x06, 0x0A, 0x7F, 0xFF)


class Malformed(ValueError):
    """These bytes are not a BSON document."""


class Reader:
    """Takes bytes from the front; everything it hands out was there."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        if size < 0 or size > len(self.data):
            raise Malformed("not enough bytes")
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def cstring(self) -> str:
        end = self.data.find(0)
        if end < 0:
            raise Malformed("no NUL")
        return text(self.take(end + 1)[:-1])

    def string(self) -> str:
        stored = self.take(self.number("<i"))
        if not stored.endswith(b"\0"):
            raise Malformed("a string does not end with NUL")
        return text(stored[:-1])


def text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise Malformed("not UTF-8") from error


def parse(data: bytes, depth: int = 1) -> list[Element]:
    """The elements of a document; Malformed if it is not one."""
    if depth > DEPTH_MAX:
        raise Malformed("too deep")
    reader = Reader(data)
    if reader.number("<i") != len(data) or data[-1] != 0 or len(data) < 5:
        raise Malformed("frame")
    reader.data = reader.data[:-1]
    elements = []
    while reader.data:
        kind = reader.take(1)[0]
        name = reader.cstring()
        elements.append((kind, name, parse_value(reader, kind, depth)))
    return elements


def parse_value(reader: Reader, kind: int, depth: int) -> Any:
    if kind in NUMBERS:
        return reader.number(NUMBERS[kind])
    if kind in EMPTY:
        return None
    if kind not in READERS:
        raise Malformed(f"type {kind:#x}")
    return READERS[kind](reader, depth)


def parse_nested(reader: Reader, depth: int) -> list[Element]:
    size = struct.unpack("<i", (reader.data + bytes(4))[:4])[0]
    return parse(reader.take(max(size, 5)), depth + 1)


def parse_binary(reader: Reader, _depth: int) -> tuple[int, bytes]:
    size, subtype = reader.number("<i"), reader.number("<B")
    stored = reader.take(size)
    if subtype == 2 and (size < 4 or struct.unpack("<i", stored[:4])[0] != size - 4):
        raise Malformed("inner size")
    return subtype, stored


def parse_bool(reader: Reader, _depth: int) -> bool:
    if (flag := reader.number("<B")) > 1:
        raise Malformed("boolean")
    return bool(flag)


def parse_scope(reader: Reader, depth: int) -> tuple[str, list[Element]]:
    inner = Reader(reader.take(reader.number("<i") - 4))
    return inner.string(), parse(inner.data, depth + 1)


READERS: dict[int, Callable[[Reader, int], Any]] = {
    **dict.fromkeys((0x02, 0x0D, 0x0E), lambda reader, _: reader.string()),
    **dict.fromkeys((0x03, 0x04), parse_nested),
    0x05: parse_binary,
    0x07: lambda reader, _: reader.take(12),
    0x08: parse_bool,
    0x0B: lambda reader, _: (reader.cstring(), reader.cstring()),
    0x0C: lambda reader, _: (reader.string(), reader.take(12)),
    0x0F: parse_scope,
    0x13: lambda reader, _: reader.take(16),
}


def build(elements: list[Element]) -> bytes:
    """The document that has these elements."""
    body = b"".join(
        bytes([kind]) + name.encode() + b"\0" + build_value(kind, value)
        for kind, name, value in elements
    )
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def build_string(value: str) -> bytes:
    stored = value.encode() + b"\0"
    return struct.pack("<i", len(stored)) + stored


def build_scope(value: tuple[str, list[Element]]) -> bytes:
    inner = build_string(value[0]) + build(value[1])
    return struct.pack("<i", len(inner) + 4) + inner


WRITERS: dict[int, Callable[[Any], bytes]] = {
    **dict.fromkeys((0x02, 0x0D, 0x0E), build_string),
    **dict.fromkeys((0x03, 0x04), build),
    **dict.fromkeys((0x07, 0x13), bytes),
    0x05: lambda value: struct.pack("<iB", len(value[1]), value[0]) + bytes(value[1]),
    0x08: lambda value: bytes([value]),
    0x0B: lambda value: b"".join(part.encode() + b"\0" for part in value),
    0x0C: lambda value: build_string(value[0]) + bytes(value[1]),
    0x0F: build_scope,
}


def build_value(kind: int, value: Any) -> bytes:
    if kind in NUMBERS:
        return struct.pack(NUMBERS[kind], value)
    return b"" if kind in EMPTY else WRITERS[kind](value)
