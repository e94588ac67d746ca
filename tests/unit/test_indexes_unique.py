"""Unique indexes and arrays side by side: what is refused, how it is said, and what is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rango import errors
from rango.collection import Collection
from tests.unit.api_case import engine_database


@pytest.fixture
def things(tmp_path: Path) -> Iterator[Collection]:
    with engine_database(tmp_path / "db") as database:
        yield database["things"]
        assert list(database.check()) == []


def refused(things: Collection, document: dict[str, Any]) -> dict[str, Any]:
    """The details of the DuplicateKey that an insert raises."""
    before = things.find_many()
    with pytest.raises(errors.DuplicateKey) as caught:
        things.insert_one(document)
    assert caught.value.code == 11000
    assert things.find_many() == before
    return caught.value.details


def test_a_duplicate_names_all_fields_and_values(things: Collection) -> None:
    things.create_index([("a", 1), ("b.c", -1)], unique=True, name="pair")
    things.insert_many([{"a": 1, "b": {"c": "x"}}, {"a": 1, "b": {"c": "y"}}, {"a": 2}])
    details = refused(things, {"a": 1, "b": {"c": "x"}, "more": True})
    assert details["index"] == "pair"
    assert details["keyPattern"] == {"a": 1, "b.c": -1}
    assert details["keyValue"] == {"a": 1, "b.c": "x"}
    assert "pair" in details["errmsg"]
    assert refused(things, {"a": 2, "b": 5})["keyValue"] == {"a": 2, "b.c": None}


def test_a_duplicate_in_an_array_names_the_element(things: Collection) -> None:
    things.create_index([("k", 1), ("tags", 1)], unique=True)
    things.insert_one({"k": 1, "tags": ["a", "b", "b"]})
    things.insert_one({"k": 2, "tags": ["a", "b"]})
    details = refused(things, {"k": 1, "tags": ["c", "b"]})
    assert details["keyPattern"] == {"k": 1, "tags": 1}
    assert details["keyValue"] == {"k": 1, "tags": "b"}
    things.insert_one({"k": 1, "tags": ["c"]})


def test_values_are_equal_as_in_filters(things: Collection) -> None:
    things.create_index("a", unique=True)
    things.insert_many([{"a": 1}, {"a": True}, {"a": "1"}, {"a": {"x": 1, "y": 2}}])
    assert refused(things, {"a": 1.0})["keyValue"] == {"a": 1.0}
    refused(things, {"a": {"x": 1, "y": 2}})
    things.insert_one({"a": {"y": 2, "x": 1}})


def test_missing_counts_as_null(things: Collection) -> None:
    things.create_index([("a", 1), ("b", 1)], unique=True)
    things.insert_one({"a": 1})
    refused(things, {"a": 1, "b": None})
    things.insert_one({})
    assert refused(things, {"c": 1})["keyValue"] == {"a": None, "b": None}


def test_sparse_lets_documents_without_the_fields_repeat(things: Collection) -> None:
    things.create_index([("a", 1), ("b", 1)], unique=True, sparse=True)
    things.insert_many([{}, {}, {"a": 1}])
    refused(things, {"a": 1})
    refused(things, {"a": 1, "b": None})
    # null is a value: the field is there
    things.insert_one({"b": None})
    refused(things, {"b": None})
    refused(things, {"a": None, "b": None})


def test_a_partial_index_is_unique_among_what_matches(things: Collection) -> None:
    things.create_index("a", unique=True, partialFilterExpression={"live": True})
    things.insert_many(
        [{"_id": 1, "a": 1, "live": True}, {"_id": 2, "a": 1}, {"_id": 3, "a": 1, "live": False}]
    )
    refused(things, {"a": 1, "live": True})
    with pytest.raises(errors.DuplicateKey):
        things.update_one({"_id": 2}, {"$set": {"live": True}})
    assert things.find_one(2) == {"_id": 2, "a": 1}
    things.update_one({"_id": 1}, {"$unset": {"live": 1}})
    things.update_one({"_id": 2}, {"$set": {"live": True}})
    refused(things, {"a": 1, "live": True})


def test_a_value_is_free_again_when_its_document_goes_or_changes(things: Collection) -> None:
    things.create_index([("a", 1), ("b", 1)], unique=True)
    things.insert_many([{"_id": 1, "a": 1, "b": 1}, {"_id": 2, "a": 1, "b": 2}])
    things.replace_one({"_id": 1}, {"a": 1, "b": 1, "c": 1})
    things.update_one({"_id": 1}, {"$set": {"b": 3}})
    things.update_one({"_id": 2}, {"$set": {"b": 1}})
    things.delete_one({"_id": 2})
    things.insert_one({"_id": 3, "a": 1, "b": 1})


def test_the_second_of_two_indexes_refuses_and_the_first_holds_nothing(things: Collection) -> None:
    things.create_index("a")
    things.create_index("b", unique=True)
    things.insert_one({"_id": 1, "a": 1, "b": 1})
    refused(things, {"_id": 2, "a": 2, "b": 1})
    with pytest.raises(errors.DuplicateKey):
        things.update_many({"_id": 3, "a": 3}, {"$set": {"b": 1}}, upsert=True)
    assert things.find_many({"a": {"$gt": 1}}, hint="a_1") == []


SIDE_BY_SIDE = {"a": [1, 2], "b": [3, 4]}


def test_arrays_side_by_side_write_nothing(things: Collection) -> None:
    things.create_index("first")
    things.create_index([("a", 1), ("b", 1)])
    things.insert_many([{"_id": 1, "a": [1, 2], "b": 3}, {"_id": 2, "a": 1, "b": [3, 4]}])
    before = things.find_many()
    for call in (
        lambda: things.insert_one({"_id": 3, "first": 1, **SIDE_BY_SIDE}),
        lambda: things.replace_one({"_id": 1}, {"first": 1, **SIDE_BY_SIDE}),
        lambda: things.update_one({"_id": 1}, {"$set": {"first": 1, "b": []}}),
        lambda: things.update_one({"_id": 9}, {"$set": {"first": 1, **SIDE_BY_SIDE}}, upsert=True),
    ):
        with pytest.raises(errors.InvalidDocument, match="parallel arrays") as caught:
            call()
        assert caught.value.code == 171
    assert things.find_many() == before
    assert things.find_many({"first": 1}, hint="first_1") == []
    with pytest.raises(errors.RangoError):
        things.insert_many([{"_id": 5}, {"_id": 6, **SIDE_BY_SIDE}, {"_id": 7}])
    assert things.find_one(6) is None


def test_arrays_side_by_side_end_a_build_and_leave_nothing(things: Collection) -> None:
    things.insert_many([{"_id": 1, "a": 1}, {"_id": 2, **SIDE_BY_SIDE}])
    with pytest.raises(errors.InvalidDocument, match="parallel arrays"):
        things.create_index([("a", 1), ("b", 1)])
    assert len(things.list_indexes()) == 1
    things.delete_one({"_id": 2})
    things.create_index([("a", 1), ("b", 1)])


def test_fields_below_one_array_are_of_the_same_element(things: Collection) -> None:
    things.create_index([("i.n", 1), ("i.p", 1)], unique=True)
    things.insert_one({"_id": 1, "i": [{"n": "a", "p": 1}, {"n": "b", "p": 2}]})
    things.insert_one({"_id": 2, "i": [{"n": "a", "p": 2}]})
    assert refused(things, {"i": {"n": "b", "p": 2}})["keyValue"] == {"i.n": "b", "i.p": 2}


def test_an_array_outside_of_a_partial_index_is_free(things: Collection) -> None:
    things.create_index([("a", 1), ("b", 1)], partial_filter={"live": True})
    things.insert_one({"_id": 1, **SIDE_BY_SIDE})
    with pytest.raises(errors.InvalidDocument):
        things.update_one({"_id": 1}, {"$set": {"live": True}})
    assert things.find_one(1) == {"_id": 1, **SIDE_BY_SIDE}
