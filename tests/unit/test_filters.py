"""Programs of filters: kept by what they say, whatever becomes of the dictionary."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Int64

from rango._ext.record import encode
from rango.engine.filters import PROGRAMS_KEPT_MAX, program_of
from rango.errors import Corrupted, InvalidFilter, LimitExceeded


def test_equal_filters_share_one_program() -> None:
    assert program_of({"a": {"$gt": 1}}) is program_of({"a": {"$gt": 1}})
    assert program_of({"a": {"$gt": 1}}) is not program_of({"a": {"$gt": Int64(1)}})
    assert program_of({"a": 1, "b": 2}) is not program_of({"b": 2, "a": 1})


def test_a_change_of_the_dictionary_is_harmless() -> None:
    inner: dict[str, Any] = {"x": 1}
    filter: dict[str, Any] = {"a": inner}
    program = program_of(filter)
    inner["x"] = 2
    assert program.normal == ("$eq", "a", {"x": 1})
    assert not program_of(filter).matches_bson(encode({"a": {"x": 1}}))
    assert program_of(filter).matches_bson(encode({"a": {"x": 2}}))
    assert program.matches_bson(encode({"a": {"x": 1}}))


def test_old_programs_are_forgotten() -> None:
    first = program_of({"forgotten": 1})
    for number in range(PROGRAMS_KEPT_MAX):
        program_of({"number": number})
    assert program_of({"forgotten": 1}) is not first


def test_what_cannot_be_encoded_is_named() -> None:
    with pytest.raises(InvalidFilter, match="'a'"):
        program_of({"a": object()})
    with pytest.raises(InvalidFilter, match="mapping"):
        program_of([("a", 1)])  # type: ignore[arg-type]
    deep: dict[str, Any] = {"a": 1}
    for _ in range(120):
        deep = {"$and": [deep]}
    with pytest.raises(LimitExceeded, match="100"):
        program_of(deep)


def test_long_filters_are_compiled_each_time() -> None:
    filter = {"a": {"$in": list(range(5000))}}
    program = program_of(filter)
    assert program is not program_of(filter)
    assert program.matches_bson(encode({"a": 4999}))


def test_documents_without_a_header() -> None:
    program = program_of({"_source_node": "x", "b": {"$gt": 1}})
    assert program.matches_bson(encode({"_source_node": "x", "b": 2}))
    assert not program.matches_bson(encode({"b": 2}))
    assert program_of({"b": 2}).matches_bson(encode({"a": 1, "b": 2}))
    for filter in ({"b": 2}, {"b": 2, "c": 3}):
        with pytest.raises(Corrupted):
            program_of(filter).matches_bson(b"\x10\x00\x00\x00")
