"""Foreign bytes: what validate accepts and refuses, and that no bytes at all can hurt decode."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rango._ext import record
from rango.errors import InvalidDocument, LimitExceeded
from tests.reference import record as twin


def hostile_nesting(depth: int, kind: int = 3) -> bytes:
    data = b"\x05\0\0\0\0"
    for _ in range(depth):
        data = struct.pack("<iB", len(data) + 7, kind) + b"\0" + data + b"\0"
    return data


def test_hostile_depth_ends_in_an_error_and_not_in_a_crash() -> None:
    for kind in (3, 4):
        data = hostile_nesting(20_000, kind)
        with pytest.raises(LimitExceeded):
            record.validate(data)
        with pytest.raises(LimitExceeded):
            record.decode(data)
        with pytest.raises(InvalidDocument):
            record.decode_trusted(data)
    record.validate(hostile_nesting(99))
    with pytest.raises(LimitExceeded):
        record.validate(hostile_nesting(100))
    scope = b"\x05\0\0\0\0"
    for _ in range(2000):
        inner = struct.pack("<ii", len(scope) + 9, 1) + b"\0" + scope
        scope = struct.pack("<iB", len(inner) + 7, 0x0F) + b"\0" + inner + b"\0"
    with pytest.raises(LimitExceeded):
        record.validate(scope)
    with pytest.raises(InvalidDocument):
        record.decode_trusted(scope)


@pytest.mark.parametrize(
    "text",
    [
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xff",
        b"\x80",
        b"abcdefgh\xc3",
        b"\xe2\x98",
        b"\xf0\x9f\x98",
        b"\xc3\x28",
        b"\xe2\x28\xa1",
        b"\xf0\x28\x8c\xbc",
    ],
)
def test_utf8_is_strict_in_every_place(text: bytes) -> None:
    string = struct.pack("<i", len(text) + 1) + text + b"\0"
    for body in (
        b"\x02a\0" + string,
        b"\x0da\0" + string,
        b"\x0ea\0" + string,
        b"\x0a" + text + b"\0",
        b"\x0ba\0" + text + b"\0\0",
        b"\x0ba\0\0" + text + b"\0",
        b"\x0ca\0" + string + bytes(12),
        b"\x0fa\0" + struct.pack("<i", len(string) + 9) + string + b"\x05\0\0\0\0",
        b"\x04a\0" + struct.pack("<i", len(text) + 7) + b"\x0a" + text + b"\0\0",
    ):
        with pytest.raises(InvalidDocument, match="UTF-8"):
            record.validate(struct.pack("<i", len(body) + 5) + body + b"\0")


ROUND = twin.build(
    [
        (0x01, "d", 1.5),
        (0x02, "s", "a\xe9\u2606\U0001f600"),
        (0x03, "o", [(0x10, "x", 1)]),
        (0x04, "l", [(0x08, "0", True)]),
        (0x05, "b", (2, b"\x01\0\0\0z")),
        (0x06, "u", None),
        (0x07, "i", bytes(12)),
        (0x09, "t", -1),
        (0x0A, "n", None),
        (0x0B, "r", ("p", "i")),
        (0x0C, "p", ("c", bytes(12))),
        (0x0D, "c", "f"),
        (0x0E, "y", "sym"),
        (0x0F, "w", ("g", [(0x02, "v", "q")])),
        (0x11, "ts", 2**33),
        (0x12, "w", 2**40),
        (0x13, "dec", bytes(16)),
        (0x7F, "max", None),
        (0xFF, "min", None),
    ]
)


@given(
    st.lists(st.tuples(st.integers(0, len(ROUND) - 1), st.integers(0, 255)), min_size=1, max_size=4)
)
@example([(4, 0)])
def test_damaged_bytes_are_judged_as_the_twin_judges_them(changes: list[tuple[int, int]]) -> None:
    data = bytearray(ROUND)
    for at, value in changes:
        data[at] = value
    damaged = bytes(data)
    try:
        twin.parse(damaged)
    except twin.Malformed:
        with pytest.raises(InvalidDocument):
            record.validate(damaged)
        try:
            record.decode_trusted(damaged)
        except InvalidDocument:
            return
    else:
        record.validate(damaged)
        record.decode(damaged)


def test_every_cut_is_refused() -> None:
    record.validate(ROUND)
    for size in range(len(ROUND)):
        with pytest.raises(InvalidDocument):
            record.validate(ROUND[:size])
        with pytest.raises(InvalidDocument):
            record.decode_trusted(ROUND[:size])
    with pytest.raises(InvalidDocument):
        record.validate(ROUND + b"\0")
