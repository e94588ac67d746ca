"""Columns and fields of a scan: the same values as those of the whole documents."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from rango._ext.columns import NAMES_COUNT_MAX, next_columns, next_fields
from rango._ext.filter import compile_filter
from rango._ext.scan import Scan
from rango._ext.sizes import size_of, sizes_of
from rango.database import Database
from tests.unit.aggregate_case import db, filled

__all__ = ["db"]

VALUES: list[Any] = [
    1, 2**40, Int64(5), 1.5, "text", "\u00fc", None, True, [1, [2]], {"x": {"y": 1}}, b"b",
    uuid.UUID(int=5), ObjectId(b"123456789012"), Decimal128("1.50"),
    datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), {}, [],
]  # fmt: skip


def scanned(db: Database, filter: dict[str, Any] | None = None) -> Scan:
    """A scan of the collection "c"."""
    view = db._handle.core.view()
    info = view.catalog.collections["c"]
    return view.scan(info.tree_id, None, None, False, compile_filter(filter) if filter else None)


def documents() -> list[dict[str, Any]]:
    """Documents that have one, two or none of the fields, in different orders."""
    made = []
    for at in range(600):
        value, other = VALUES[at % len(VALUES)], VALUES[at * 7 % len(VALUES)]
        fields = [("v", value), ("w", other), ("pad", "x" * (at % 50))]
        made.append({"_id": at, **dict(fields[at % 3 :] + fields[: at % 2])})
    return made


@pytest.mark.parametrize("names", [("v",), ("w", "_id"), ("none", "v", "w"), ("_id", "va")])
def test_columns_hold_what_the_documents_hold(db: Database, names: tuple[str, ...]) -> None:
    filled(db, documents())
    whole = db["c"].find_many({})
    scan = scanned(db)
    columns: list[list[Any]] = [[] for _ in names]
    while (batch := next_columns(scan, 250, names, ...))[0]:
        assert len({len(column) for column in batch}) == 1
        for column, values in zip(columns, batch, strict=True):
            column.extend(values)
    expected = [[document.get(name, ...) for document in whole] for name in names]
    assert repr(columns) == repr(expected)
    assert next_columns(scan, 10, names, ...) == [[] for _ in names]


@pytest.mark.parametrize("names", [(), ("v",), ("w", "_id"), ("none", "pad")])
def test_fields_are_those_of_the_documents_in_their_order(
    db: Database, names: tuple[str, ...]
) -> None:
    filled(db, documents())
    whole = db["c"].find_many({"_id": {"$gte": 300}})
    scan = scanned(db, {"_id": {"$gte": 300}})
    found: list[dict[str, Any]] = []
    while batch := next_fields(scan, 70, names):
        assert len(batch) <= 70
        found += batch
    expected = [{key: each[key] for key in each if key in names} for each in whole]
    assert repr(found) == repr(expected)


def test_too_many_names_are_refused(db: Database) -> None:
    filled(db, [{"_id": 1}])
    names = tuple(f"n{at}" for at in range(NAMES_COUNT_MAX + 1))
    with pytest.raises(ValueError, match="at most"):
        next_columns(scanned(db), 1, names, None)
    with pytest.raises(ValueError, match="at most"):
        next_fields(scanned(db), 1, names)


def test_a_scan_that_is_left_half_way_is_released(db: Database) -> None:
    filled(db, documents())
    scan = scanned(db)
    assert len(next_columns(scan, 3, ("v",), None)[0]) == 3
    scan.close()
    assert next_columns(scan, 3, ("v",), None) == [[]]


def test_sizes_add_up() -> None:
    assert sizes_of(VALUES) == sum(map(size_of, VALUES))
    assert size_of({"a": "x" * 1000}) > 1000
    assert size_of([{"a": [1.0] * 100}]) > 800
