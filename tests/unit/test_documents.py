"""rango._ext.documents: many documents encoded in one buffer, as one by one."""

from __future__ import annotations

import re
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from bson import Code, DBRef, Int64, ObjectId
from bson.regex import Regex

import rango
from rango._ext.documents import Documents
from rango._ext.record import decode
from rango.changes import documents_of, encoded_many
from rango.errors import BulkWriteError, InvalidDocument, LimitExceeded, RangoError
from rango.names import RESERVED_NAMES
from rango.statements import encoded


class Listed(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Name(str):
    """A str of another class."""

    __slots__ = ()


@dataclass
class Note:
    """A model."""

    text: str
    id: str | None = None


def handle() -> Any:
    """What encoding needs of one: ids that rise."""
    numbers = iter(range(1000))
    return SimpleNamespace(ids=lambda: f"made-{next(numbers)}")


GIVEN: list[Any] = [
    {"_id": 1, "a": [1, {"b": None}]},
    {"a": 1, "_id": "last"},
    {},
    {"a": 1},
    {"_id": None, "a": 1},
    {"a": 1, "_id": None},
    {"_id": True},
    {"_id": 2.5},
    {"_id": b"x"},
    {"_id": Int64(7)},
    {"_id": ObjectId(b"0123456789ab"), "_x": 1},
    {"_id": uuid.UUID(int=5)},
    {"_id": datetime(2026, 1, 2, tzinfo=UTC)},
    {"_id": {"b": 1, "c": 2}},
    {"_id": DBRef("c", 1)},
    {"_id": Code("x")},
    {Name("_id"): 1, Name("a"): 2},
    {"_": 1, "__": 2, "_identity": 3, "é_": 4, "": 5},
    OrderedDict(a=1, _id=3),
    Listed(_id=4, a=1),
    Note("a", "own"),
    Note("a"),
]

REFUSED: list[Any] = [
    *({name: 1} for name in sorted(RESERVED_NAMES)),
    {"a": object(), "_rev": 1},
    {Name("_rev"): 1},
    Listed(_rev=1),
    {"_id": [1]},
    {"_id": (1,)},
    {"_id": re.compile("a")},
    {"_id": Regex("a")},
    {"_id": {"$a": 1}},
    {"_id": 1 << 70},
    {"_id": 1, "a": object()},
    {"a": {"b": 1 << 70}},
    {1: 2},
    {"a\0": 1},
    {"a": "\ud800"},
    {"a": "x" * (17 << 20)},
    [1],
    None,
    "text",
]


@pytest.mark.parametrize("given", GIVEN, ids=range(len(GIVEN)))
def test_as_one_by_one(given: Any) -> None:
    """The same bytes, and the same `_id`, which is put into the document."""
    twin = given.copy() if isinstance(given, dict) else given
    id_value, data = encoded(handle(), twin)
    ids: list[Any] = []
    fresh = Note(given.text) if isinstance(given, Note) and given.id != "own" else given
    documents = encoded_many(handle(), [{"_id": "before"}, fresh], ids)
    assert documents[1] == data
    assert ids == ["before", id_value]
    assert type(ids[1]) is type(id_value)
    if isinstance(given, dict):
        assert list(given.items()) == list(twin.items())


@pytest.mark.parametrize("given", REFUSED, ids=range(len(REFUSED)))
def test_refused_as_one_by_one(given: Any) -> None:
    """The same error, which says which document it is."""
    with pytest.raises(RangoError) as alone:
        encoded(handle(), given)
    with pytest.raises(RangoError) as together:
        encoded_many(handle(), [{"a": 1}, {"_id": 2}, given, {"_rev": 1}], [])
    assert type(together.value) is type(alone.value)
    assert str(together.value) == str(alone.value)
    assert together.value.__notes__ == ["it is document 2 of insert_many; nothing was written"]
    if isinstance(given, dict):
        assert "_id" not in given or "made" not in str(given["_id"])


def test_every_reserved_name_is_seen() -> None:
    """What the glance of is_plain relies on."""
    assert all(name.startswith("_") and len(name) > len("_id") for name in RESERVED_NAMES)


def test_more_than_one_piece() -> None:
    """They are encoded a thousand at a time."""
    ids: list[Any] = []
    documents = encoded_many(handle(), [{"_id": number} for number in range(2001)], ids)
    assert ids == list(range(2001))
    assert [decode(documents[place])["_id"] for place in (0, 999, 1000, 2000)] == [
        0, 999, 1000, 2000
    ]  # fmt: skip


def test_places() -> None:
    """A number that is not there is an IndexError."""
    documents = documents_of([b"one", b"", b"three"])
    assert [documents[place] for place in range(3)] == [b"one", b"", b"three"]
    for place in (-1, 3):
        with pytest.raises(IndexError):
            documents[place]
    assert len(Documents()) == 0


def test_run_end() -> None:
    """Bounded by number and by size; a document that is too large is a run of its own."""
    documents = documents_of([b"12345", b"1234567890", b"1", b"1", b"1"])
    assert documents.run_end(0, 10, 100) == 5
    assert documents.run_end(0, 2, 100) == 2
    assert documents.run_end(0, 10, 15) == 2
    assert documents.run_end(0, 10, 1) == 1
    assert documents.run_end(1, 10, 3) == 2
    assert documents.run_end(2, 10, 2) == 4
    assert documents.run_end(4, 10, 0) == 5


def test_a_limit_does_not_hide_a_duplicate_before_it(tmp_path: Any) -> None:
    """Documents are refused in their order."""
    with rango.open(tmp_path / "db", key=bytes(32)) as db:
        db.set_limits(document_size_bytes_max=100)
        large = {"_id": 9, "a": "x" * 100}
        db["c"].insert_one({"_id": 2})
        with pytest.raises(BulkWriteError):
            db["c"].insert_many([{"_id": 1}, {"_id": 2}, large])
        assert sorted(each["_id"] for each in db["c"].find()) == [1, 2]
        with pytest.raises(LimitExceeded) as refused:
            db["c"].insert_many([{"_id": 3}, large, {"_id": 2}])
        assert refused.value.limit == "document_size_bytes_max"
        assert sorted(each["_id"] for each in db["c"].find()) == [1, 2]
        with pytest.raises(LimitExceeded):
            db["c"].insert_many([{"_id": 4}, {"_id": 2}, large], ordered=False)
        assert sorted(each["_id"] for each in db["c"].find()) == [1, 2]


def test_what_an_index_refuses(tmp_path: Any) -> None:
    """Nothing of the batch is stored."""
    with rango.open(tmp_path / "db", key=bytes(32)) as db:
        db["c"].create_index([("a", 1), ("b", 1)])
        with pytest.raises(InvalidDocument):
            db["c"].insert_many([{"_id": 1}, {"_id": 2, "a": [1], "b": [2]}])
        assert db["c"].count_documents({}) == 0
