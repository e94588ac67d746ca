"""Calls that once ended in an error from inside: each found by test_language.py or by hand."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.code import Code

import rango
from rango.errors import (
    InvalidArgument,
    InvalidFilter,
    InvalidPipeline,
    InvalidUpdate,
    LimitExceeded,
    RangoError,
)


class Name(enum.StrEnum):
    """Names as many programs keep them: strings that are not exactly a str."""

    A = "a"
    SET = "$set"
    MORE = "$gt"


@pytest.fixture
def items(tmp_path: Path) -> Iterator[rango.Collection]:
    """A collection of one document."""
    with rango.open(tmp_path / "db") as db:
        db["items"].insert_one({"_id": 1, "a": 1, "arr": [{"x": 1}]})
        yield db["items"]


def nested(levels: int) -> dict[str, Any]:
    """A filter inside that many $and."""
    filter: dict[str, Any] = {"a": 1}
    for _ in range(levels):
        filter = {"$and": [filter]}
    return filter


CODE = Code("x")
LONG = 2**63


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda it: it.find_many({"a": {"$type": CODE}}), InvalidFilter),
        (lambda it: it.find_many({"_rev": CODE}), InvalidFilter),
        (lambda it: it.find_many({}, [["a"]]), InvalidFilter),
        (lambda it: it.find_many({}, [CODE]), InvalidFilter),
        (lambda it: it.find_many({}, sort=[(CODE, 1)]), InvalidFilter),
        (lambda it: it.find_many({"a": 1}, max_time_ms=LONG), InvalidArgument),
        (lambda it: list(it.aggregate([], max_time_ms=LONG)), InvalidArgument),
        (lambda it: it.aggregate([{"$fill": {"output": {"a": {"method": []}}}}]), InvalidPipeline),
        (
            lambda it: it.find_many({"$jsonSchema": {"patternProperties": {b"a": {}}}}),
            InvalidFilter,
        ),
        (lambda it: it.find_many({"$jsonSchema": {"type": CODE}}), InvalidFilter),
        (lambda it: list(it.aggregate([{"$count": CODE}])), InvalidPipeline),
        (lambda it: it.find_many({"$jsonSchema": {"required": [CODE]}}), InvalidFilter),
        (lambda it: it.update_one({}, {"$pull": {"arr": {1: 2}}}), RangoError),
        (lambda it: it.update_one({}, {"$pull": {"$[]": {"$gt": 1}}}), InvalidUpdate),
        (lambda it: it.create_index("b", partialFilterExpression={1: 2}), InvalidFilter),
        (lambda it: it.create_index("b", partialFilterExpression=nested(5000)), LimitExceeded),
        (lambda it: list(it.aggregate([{"$set": {"b": "$a"}}] * 1000)), LimitExceeded),
    ],
)
def test_a_bad_argument_ends_in_its_typed_error(
    items: rango.Collection, call: Callable[[rango.Collection], object], error: type[RangoError]
) -> None:
    before = items.find_many()
    with pytest.raises(error):
        call(items)
    assert items.find_many() == before


def test_members_of_a_str_enum_are_names_everywhere(items: rango.Collection) -> None:
    assert items.find_many({"_id": 1, Name.A: {Name.MORE: 0}, "z": {"$ne": "z" * 2000}})
    assert items.find_many({}, [Name.A], sort=[(Name.A, 1)])[0]["a"] == 1
    assert items.find_many({}, sort={Name.A: -1})
    assert items.create_index([(Name.A, 1)], partialFilterExpression={Name.A: {"$gt": 0}})
    assert items.update_one({Name.A: 1}, {Name.SET: {Name.A: Name.A}}).modified_count == 1
    assert items.find_many({Name.A: Name.A})[0]["a"] == "a"


def test_a_thousand_filters_in_a_row_are_compiled_once(items: rango.Collection) -> None:
    start = time.perf_counter()
    assert len(list(items.aggregate([{"$match": {"a": 1}}] * 1000))) == 1
    assert time.perf_counter() - start < 2
