"""BSON dumps taken over by the compiled reader: the same bytes as read and written again."""

from __future__ import annotations

from typing import Any

import pytest
from bson.binary import Binary
from bson.code import Code
from bson.dbref import DBRef
from bson.regex import Regex
from hypothesis import given
from hypothesis import strategies as st

from rango._ext.dump_reader import dump_read
from rango._ext.record import decode, encode
from rango.errors import RangoError
from rango.names import document_check
from tests.conformance.test_bson_corpus import corpus_cases
from tests.corpus import report_cases
from tests.property.test_extended_json import DOCUMENTS
from tests.reference.dump_reader import document_taken
from tests.reference.record import build

SIZE_MAX = 1 << 24


def ready(data: bytes) -> bytes | None:
    """One document; None if it is not ready."""
    datas: list[bytes] = []
    ends: list[int] = []
    end = dump_read(data, 0, 1, SIZE_MAX, SIZE_MAX, datas, ends, [])
    assert (end, ends) == ((len(data), [len(data)]) if datas else (0, []))
    return datas[0] if datas else None


def slow(data: bytes) -> bytes | None:
    """The same, read and written again; None if it is refused."""
    try:
        document = decode(data)
        document_check(document)
        return encode(document, document.get("_id")) if "_id" in document else encode(document)
    except RangoError:
        return None


def is_same(data: bytes) -> bool:
    """True if the document is ready, and everybody agrees about it."""
    found = ready(data)
    assert found == document_taken(data), data
    if found is None:
        return False
    assert found == slow(data), data
    return True


@given(DOCUMENTS, st.booleans())
def test_documents_are_taken_as_they_would_be_written(document: dict[str, Any], ids: bool) -> None:
    is_same(encode({**document, "_id": 7} if ids else document))


@given(DOCUMENTS, st.integers(0, 60), st.integers(0, 255))
def test_damaged_documents_are_judged_as_before(
    document: dict[str, Any], place: int, byte: int
) -> None:
    data = bytearray(encode(document))
    # the length stays: a dump has no other way to find the next document
    data[4 + place % (len(data) - 4)] = byte
    is_same(bytes(data))


def test_the_bson_corpus_is_taken_as_it_would_be_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = ("canonical_bson", "degenerate_bson", "bson")
    datas = [
        bytes.fromhex(case[key])
        for kind in ("valid", "decodeErrors")
        for _, case in corpus_cases(kind)
        for key in keys
        if key in case
    ]
    # a length that is not the document's is a matter of the dump
    count = sum(is_same(each) for each in datas if int.from_bytes(each[:4], "little") == len(each))
    assert count > 200
    report_cases(capsys, "bson-corpus, ready", count)


@pytest.mark.parametrize(
    "document",
    [
        {"a": Binary(b"x", 2)}, {"a": Code("x")}, {"a": Regex("x")}, {"a": DBRef("a", 1)},
        {"_rev": 1}, {"$a": 1}, {"a": {"$b": 1}}, {"_id": [1]}, {str(n): n for n in range(257)},
    ],
)  # fmt: skip
def test_unusual_documents_are_left_to_the_slow_way(document: dict[str, Any]) -> None:
    assert ready(encode(document)) is None
    assert not is_same(encode(document))


@pytest.mark.parametrize(
    "elements",
    [
        [(0x10, "a", 1), (0x10, "a", 2)],
        [(0x04, "a", [(0x10, "1", 1)])],
        [(0x04, "a", [(0x10, "0", 1), (0x10, "01", 1)])],
        [(0x04, "a", [(0x10, "", 1)])],
        [(0x06, "a", None)],
    ],
)
def test_what_no_encoder_writes_is_left_to_the_slow_way(elements: list[Any]) -> None:
    assert ready(build(elements)) is None
    assert not is_same(build(elements))


def test_it_stops_at_its_bounds_and_before_a_document_that_is_cut() -> None:
    first, second = encode({"x": 1, "_id": 1}), encode({"a": list(range(12))})
    text = first + second
    datas: list[bytes] = []
    ends: list[int] = []
    without_id: list[int] = []
    assert dump_read(text, 0, 9, SIZE_MAX, SIZE_MAX, datas, ends, without_id) == len(text)
    assert datas == [encode({"_id": 1, "x": 1}), second]
    assert (ends, without_id) == ([len(first), len(text)], [1])
    assert dump_read(text, 0, 1, SIZE_MAX, SIZE_MAX, [], [], []) == len(first)
    assert dump_read(text, 0, 9, 5, SIZE_MAX, [], [], []) == len(first)
    assert dump_read(text, 0, 9, SIZE_MAX, len(first), [], [], []) == len(first)
    for cut in (1, 3, len(second) - 1):
        assert dump_read(first + second[:cut], 0, 9, SIZE_MAX, SIZE_MAX, [], [], []) == len(first)
