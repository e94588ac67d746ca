"""Collections under PyMongo's conventions, on the engine and on its twin."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex

from rango import errors
from rango.collection import Collection
from rango.database import Database
from rango.limits import INSERT_BATCH_COUNT_MAX, INSERT_BATCH_SIZE_BYTES_MAX
from tests.unit.api_case import db  # noqa: F401 - the fixture

RESERVED = ["_rev", "_updated_at", "_source_node", "_deleted", "_conflicts"]


@pytest.fixture
def things(db: Database) -> Collection:  # noqa: F811
    return db["things"]


def test_insert_one_makes_an_id_and_puts_it_into_the_document(things: Collection) -> None:
    document = {"a": 1}
    result = things.insert_one(document)
    assert isinstance(result.inserted_id, uuid.UUID)
    assert result.inserted_id.version == 7
    assert result.acknowledged
    assert document == {"a": 1, "_id": result.inserted_id}
    assert things.find_one(result.inserted_id) == document
    assert list(things.find_one(result.inserted_id) or {}) == ["_id", "a"]


@pytest.mark.parametrize(
    "id_value", [5, "x", 2.5, b"b", None, True, ObjectId(), uuid.uuid4(), {"a": 1}, 2**40]
)
def test_a_given_id_is_kept(things: Collection, id_value: object) -> None:
    assert things.insert_one({"a": 1, "_id": id_value}).inserted_id == id_value
    assert things.find_one({"_id": id_value}) == {"_id": id_value, "a": 1}
    if not isinstance(id_value, dict) and id_value is not None:
        assert things.find_one(id_value) == {"_id": id_value, "a": 1}
    with pytest.raises(errors.DuplicateKey) as caught:
        things.insert_one({"_id": id_value})
    assert caught.value.index == "_id_"
    assert caught.value.details["code"] == 11000
    assert things.count_documents({}) == 1


def test_numbers_that_are_equal_are_one_id(things: Collection) -> None:
    things.insert_one({"_id": 1})
    assert things.find_one(1.0) == {"_id": 1}
    with pytest.raises(errors.DuplicateKey):
        things.insert_one({"_id": 1.0})


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_names_are_refused(things: Collection, name: str) -> None:
    things.insert_one({"_id": 1})
    for call in (
        lambda: things.insert_one({name: 1}),
        lambda: things.insert_many([{name: 1}]),
        lambda: things.replace_one({"_id": 1}, {name: 1}),
    ):
        with pytest.raises(errors.InvalidDocument, match=name):
            call()
    for update in ({"$set": {name: 1}}, {"$unset": {name: 1}}, {"$set": {f"{name}.a": 1}}):
        with pytest.raises(errors.InvalidUpdate, match=name):
            things.update_one({"_id": 1}, update)
    assert things.find_many() == [{"_id": 1}]
    things.insert_one({"_id": 2, "a": {name: 1}})  # only the top is reserved


@pytest.mark.parametrize("bad", [[1], (1,), Regex("a")])
def test_ids_that_are_not_one_value_are_refused(things: Collection, bad: object) -> None:
    with pytest.raises(errors.InvalidDocument, match="_id"):
        things.insert_one({"_id": bad})


@pytest.mark.parametrize("bad", [None, 5, "x", [{"a": 1}]])
def test_documents_must_be_mappings(things: Collection, bad: Any) -> None:
    for call in (
        lambda: things.insert_one(bad),
        lambda: things.insert_many([bad]),
        lambda: things.replace_one({}, bad),
    ):
        with pytest.raises(errors.InvalidArgument):
            call()


def test_a_document_that_cannot_be_encoded_is_left_alone(things: Collection) -> None:
    document = {"a": {"b": object()}}
    with pytest.raises(errors.InvalidDocument, match=r"a\.b"):
        things.insert_one(document)
    assert list(document) == ["a"]
    assert things.estimated_document_count() == 0


def test_raw_documents_are_stored(things: Collection) -> None:
    import bson

    result = things.insert_one(RawBSONDocument(bson.encode({"_id": 4, "a": 1})))
    assert result.inserted_id == 4
    made = things.insert_one(RawBSONDocument(bson.encode({"a": 2}))).inserted_id
    assert things.find_one(made) == {"_id": made, "a": 2}


def test_find_one_takes_filters_ids_and_nothing(things: Collection) -> None:
    assert things.find_one() is None
    assert things.find_one(1) is None
    things.insert_many([{"_id": 1, "a": 2}, {"_id": 2, "a": 1}])
    assert things.find_one() == {"_id": 1, "a": 2}
    assert things.find_one({}) == {"_id": 1, "a": 2}
    assert things.find_one({"a": 1}) == {"_id": 2, "a": 1}
    assert things.find_one({"_id": {"$gt": 1}}) == {"_id": 2, "a": 1}
    assert things.find_one({"_id": 1, "a": 1}) is None
    assert things.find_one({"_id": 3}) is None
    assert things.find_one(sort=[("a", 1)]) == {"_id": 2, "a": 1}
    assert things.find_one(skip=1) == {"_id": 2, "a": 1}
    assert things.find_one(1, {"a": 0}) == {"_id": 1}
    assert things.find_one(1, skip=1) is None


def test_meta_is_returned_when_asked_for(things: Collection) -> None:
    things.insert_one({"_id": 1, "a": 1})
    found = things.find_one(1, meta=True)
    assert found is not None
    assert found["_source_node"] == "node-a"
    assert found["_rev"].endswith("-9239")
    assert isinstance(found["_updated_at"], datetime.datetime)
    assert found["_updated_at"].tzinfo is datetime.UTC
    assert int(found["_rev"].split("-")[0]) == found["_updated_at"].timestamp() * 1000
    assert things.find_many({"_rev": found["_rev"]}, ["_rev"]) == [
        {"_id": 1, "_rev": found["_rev"]}
    ]
    assert things.find_one(1, {"_id": 0, "_source_node": 1}) == {"_source_node": "node-a"}
    assert things.find_one(1) == {"_id": 1, "a": 1}


def test_revisions_rise_and_a_stale_one_loses(things: Collection) -> None:
    things.insert_one({"_id": 1, "a": 0})
    read = things.find_one(1, meta=True) or {}
    stale = {"_id": 1, "_rev": read["_rev"]}
    assert things.update_one(stale, {"$inc": {"a": 1}}).matched_count == 1
    assert things.update_one(stale, {"$inc": {"a": 1}}).matched_count == 0
    assert things.replace_one(stale, {"a": 9}).matched_count == 0
    assert things.delete_one(stale).deleted_count == 0
    new = things.find_one(1, meta=True) or {}
    assert (new["a"], new["_rev"] > read["_rev"]) == (1, True)
    assert things.count_documents({"_rev": {"$gt": read["_rev"]}}) == 1


def test_update_one_and_many(things: Collection) -> None:
    things.insert_many([{"_id": i, "a": i % 2} for i in range(6)])
    result = things.update_one({"a": 1}, {"$set": {"b": 1}})
    assert (result.matched_count, result.modified_count, result.upserted_id) == (1, 1, None)
    result = things.update_many({"a": 1}, {"$set": {"b": 1}})
    assert (result.matched_count, result.modified_count) == (3, 2)
    result = things.update_many({"a": 7}, {"$set": {"b": 1}})
    assert (result.matched_count, result.modified_count) == (0, 0)
    assert things.count_documents({"b": 1}) == 3


def test_updates_that_change_nothing_keep_the_revision(things: Collection) -> None:
    things.insert_one({"_id": 1, "a": 1})
    before = things.find_one(1, meta=True)
    assert things.update_one({"_id": 1}, {"$set": {"a": 1}}).modified_count == 0
    assert things.replace_one({"_id": 1}, {"a": 1}).modified_count == 0
    assert things.find_one(1, meta=True) == before


def test_an_update_does_not_meet_its_own_changes(things: Collection) -> None:
    things.create_index("a")
    things.insert_many([{"_id": i, "a": i} for i in range(300)])
    assert things.update_many({"a": {"$gte": 0}}, {"$inc": {"a": 1000}}).modified_count == 300
    assert things.count_documents({"a": {"$gte": 2000}}) == 0


def test_update_many_is_all_or_nothing(things: Collection) -> None:
    things.insert_many([{"_id": 1, "a": 1}, {"_id": 2, "a": "text"}])
    with pytest.raises(errors.InvalidUpdate):
        things.update_many({}, {"$inc": {"a": 1}})
    assert things.find_one(1) == {"_id": 1, "a": 1}


@pytest.mark.parametrize("call", ["update_one", "update_many"])
def test_upsert_starts_from_the_equalities(things: Collection, call: str) -> None:
    method: Callable[..., Any] = getattr(things, call)
    result = method({"k": 1, "x.y": {"$eq": 2}, "z": {"$gt": 3}}, {"$set": {"w": 4}}, upsert=True)
    assert (result.matched_count, result.modified_count) == (0, 0)
    assert isinstance(result.upserted_id, uuid.UUID)
    assert things.find_one(result.upserted_id) == {
        "_id": result.upserted_id,
        "k": 1,
        "x": {"y": 2},
        "w": 4,
    }
    result = method({"k": 1}, {"$inc": {"w": 1}}, upsert=True)
    assert (result.matched_count, result.upserted_id) == (1, None)
    assert method({"_id": "mine"}, {"$set": {"a": 1}}, True).upserted_id == "mine"


def test_upsert_refuses_two_values_for_one_path(things: Collection) -> None:
    for filter in ({"$and": [{"a": 1}, {"a": 2}]}, {"$and": [{"a": 1}, {"a.b": 2}]}):
        with pytest.raises(errors.InvalidUpdate, match="upsert"):
            things.update_one(filter, {"$set": {"b": 1}}, upsert=True)


def test_replace_one(things: Collection) -> None:
    things.insert_many([{"_id": 1, "a": 1, "b": 1}, {"_id": 2, "a": 1}])
    result = things.replace_one({"a": 1}, {"c": 1})
    assert (result.matched_count, result.modified_count) == (1, 1)
    assert things.find_one(1) == {"_id": 1, "c": 1}
    assert things.replace_one({"_id": 1}, {"c": 2, "_id": 1}).modified_count == 1
    with pytest.raises(errors.InvalidUpdate, match="_id"):
        things.replace_one({"_id": 1}, {"_id": 2})
    with pytest.raises(errors.InvalidUpdate, match="update_one"):
        things.replace_one({"_id": 1}, {"$set": {"a": 1}})
    assert things.replace_one({"_id": 7}, {"c": 1}).matched_count == 0
    assert things.replace_one({"_id": 7}, {"c": 1}, upsert=True).upserted_id == 7
    made = things.replace_one({"q": 1}, {"c": 3}, upsert=True).upserted_id
    assert things.find_one(made) == {"_id": made, "c": 3}
    assert things.find_one(1) == {"_id": 1, "c": 2}


def test_delete_one_and_many(things: Collection) -> None:
    things.insert_many([{"_id": i, "a": i % 2} for i in range(6)])
    assert things.delete_one({"a": 1}).deleted_count == 1
    assert things.delete_one({"a": 7}).deleted_count == 0
    assert things.delete_many({"a": 1}).deleted_count == 2
    assert things.delete_many({}).deleted_count == 3
    assert things.find_many() == []
    things.insert_one({"_id": 1})  # a deleted `_id` is free again
    assert things.count_documents({}) == 1


@pytest.mark.parametrize("bad", [None, 5, "x", [("a", 1)]])
def test_writes_want_a_filter(things: Collection, bad: Any) -> None:
    for call in (
        lambda: things.delete_many(bad),
        lambda: things.update_one(bad, {"$set": {"a": 1}}),
        lambda: things.replace_one(bad, {}),
    ):
        with pytest.raises(errors.InvalidArgument, match="filter"):
            call()


def test_unknown_operators_are_refused(things: Collection) -> None:
    for call in (
        lambda: things.find({"a": {"$near": 1}}),
        lambda: things.count_documents({"$foo": []}),
        lambda: things.delete_many({"a": {"$gtt": 1}}),
    ):
        with pytest.raises(errors.InvalidFilter):
            call()
    with pytest.raises(errors.InvalidUpdate):
        things.update_one({}, {"$shove": {"a": 1}})
    with pytest.raises(errors.InvalidUpdate):
        things.update_one({}, {"a": 1})


def test_insert_many(things: Collection) -> None:
    given = [{"a": i} for i in range(5)]
    result = things.insert_many(given)
    assert result.inserted_ids == [document["_id"] for document in given]
    assert result.inserted_ids == sorted(result.inserted_ids)
    assert things.find_many() == [{"_id": each["_id"], "a": each["a"]} for each in given]
    assert things.insert_many(iter([{"_id": 1}])).inserted_ids == [1]


@pytest.mark.parametrize("bad", [[], {}, "ab", 5, {"a": 1}])
def test_insert_many_wants_documents(things: Collection, bad: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        things.insert_many(bad)


def test_insert_many_names_the_document_and_writes_nothing(things: Collection) -> None:
    with pytest.raises(errors.InvalidDocument) as caught:
        things.insert_many([{"_id": 1}, {"_id": 2, "a": object()}])
    assert any("document 1" in note for note in caught.value.__notes__)
    assert things.count_documents({}) == 0


def test_insert_many_ordered_stops_at_a_duplicate(things: Collection) -> None:
    things.insert_one({"_id": 3})
    with pytest.raises(errors.BulkWriteError) as caught:
        things.insert_many([{"_id": i} for i in range(6)])
    details = caught.value.details
    assert details["nInserted"] == 3
    assert [(each["index"], each["code"]) for each in details["writeErrors"]] == [(3, 11000)]
    assert details["writeErrors"][0]["op"] == {"_id": 3}
    assert things.count_documents({}) == 4


def test_insert_many_unordered_goes_on(things: Collection) -> None:
    things.insert_many([{"_id": 1}, {"_id": 4}])
    with pytest.raises(errors.BulkWriteError) as caught:
        things.insert_many([{"_id": i} for i in range(6)], ordered=False)
    assert caught.value.details["nInserted"] == 4
    assert [each["index"] for each in caught.value.details["writeErrors"]] == [1, 4]
    assert things.count_documents({}) == 6


def test_insert_many_over_several_commits(things: Collection) -> None:
    count = INSERT_BATCH_COUNT_MAX + 10
    things.insert_many([{"_id": i} for i in range(count)])
    with pytest.raises(errors.BulkWriteError) as caught:
        things.insert_many([{"_id": i} for i in range(count, 2 * count)] + [{"_id": 0}])
    assert caught.value.details["nInserted"] == count
    assert things.estimated_document_count() == 2 * count
    size = INSERT_BATCH_SIZE_BYTES_MAX // 2
    assert len(things.insert_many([{"a": "x" * size} for _ in range(3)]).inserted_ids) == 3


def test_count_documents(things: Collection) -> None:
    assert things.count_documents({}) == 0
    things.insert_many([{"_id": i, "a": i % 3} for i in range(9)])
    assert things.count_documents({}) == 9
    assert things.count_documents({"a": 1}) == 3
    assert things.count_documents({"_id": 4}) == 1
    assert things.count_documents({"_id": 4, "a": 0}) == 0
    assert things.count_documents({}, skip=2, limit=3) == 3
    assert things.count_documents({"a": 1}, skip=2) == 1
    assert things.count_documents({"a": 1}, skip=5) == 0
    assert things.estimated_document_count() == 9


def test_distinct(things: Collection) -> None:
    assert things.distinct("a") == []
    things.insert_many(
        [
            {"a": 1, "b": {"c": 1}},
            {"a": [1, 2, [3]], "b": [{"c": 2}, {"c": [1, 4]}, 5]},
            {"a": 2.0},
            {"a": None},
            {"x": 1},
        ]
    )
    assert things.distinct("a") == [1, 2, [3], None]
    assert things.distinct("b.c") == [1, 2, 4]
    assert things.distinct("b.1.c") == [1, 4]
    assert things.distinct("a", {"x": 1}) == []
    for bad in ("", "a..b", 5):
        with pytest.raises(errors.RangoError):
            things.distinct(bad)  # type: ignore[arg-type]


def test_indexes_are_made_listed_and_dropped(things: Collection) -> None:
    assert things.list_indexes() == []
    things.insert_many([{"_id": i, "a": i % 3, "b": {"c": i}} for i in range(9)])
    assert things.create_index("a") == "a_1"
    assert things.create_index([("b.c", -1)], unique=True, name="deep") == "deep"
    assert things.create_index({"a": 1}) == "a_1"
    assert things.create_index("_id") == "_id_"
    assert things.list_indexes() == [
        {"v": 2, "key": {"_id": 1}, "name": "_id_"},
        {"v": 2, "key": {"a": 1}, "name": "a_1"},
        {"v": 2, "key": {"b.c": -1}, "name": "deep", "unique": True},
    ]
    assert things.find({"a": 1}).explain()["index"] == "a_1"
    assert [each["_id"] for each in things.find({"a": 1})] == [1, 4, 7]
    things.drop_index([("b.c", -1)])
    things.drop_index("a_1")
    assert things.find({"a": 1}).explain()["plan"] == "scan"
    with pytest.raises(errors.NotFound):
        things.drop_index("a_1")
    with pytest.raises(errors.InvalidArgument):
        things.drop_index("_id_")


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ("", errors.InvalidName),
        ("$a", errors.InvalidName),
        ("a..b", errors.InvalidName),
        ("_rev", errors.InvalidName),
        ([("a", 2)], errors.InvalidArgument),
        ([("a", 1), ("a", -1)], errors.InvalidArgument),
        ([("a", 1, 1)], errors.InvalidArgument),
        ([], errors.InvalidArgument),
        ([(5, 1)], errors.InvalidArgument),
    ],
)
def test_index_keys_are_checked(things: Collection, keys: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        things.create_index(keys)


def test_an_index_with_other_options_is_refused(things: Collection) -> None:
    things.create_index("a")
    for arguments in ({"unique": True}, {"name": "other"}, {"expireAfterSeconds": 1}):
        with pytest.raises(errors.IndexConflict, match="a_1"):
            things.create_index("a", **arguments)
    with pytest.raises(errors.IndexConflict):
        things.create_index("b", name="a_1")


def test_unique_indexes_refuse_a_second_value(things: Collection) -> None:
    things.create_index("a", unique=True)
    things.insert_many([{"_id": 1, "a": 1}, {"_id": 2, "a": 2}])
    for call in (
        lambda: things.insert_one({"a": 1}),
        lambda: things.update_one({"_id": 2}, {"$set": {"a": 1}}),
        lambda: things.replace_one({"_id": 2}, {"a": 1}),
        lambda: things.update_one({"a": 1, "_id": 9}, {"$set": {"b": 1}}, upsert=True),
    ):
        with pytest.raises(errors.DuplicateKey) as caught:
            call()
        assert caught.value.index == "a_1"
    assert things.find_many() == [{"_id": 1, "a": 1}, {"_id": 2, "a": 2}]
    things.insert_one({"_id": 3})  # a missing field counts as null, once
    with pytest.raises(errors.DuplicateKey):
        things.insert_one({"_id": 4})
    things.delete_one({"_id": 1})
    things.insert_one({"_id": 5, "a": 1})


def test_a_unique_index_over_duplicates_is_refused(things: Collection) -> None:
    things.insert_many([{"_id": 1, "a": 1}, {"_id": 2, "a": 1}])
    with pytest.raises(errors.DuplicateKey):
        things.create_index("a", unique=True)
    assert len(things.list_indexes()) == 1
    assert things.count_documents({"a": 1}) == 2


def test_arrays_in_indexes_give_each_document_once(things: Collection) -> None:
    things.create_index("t")
    things.insert_many([{"_id": i, "t": [i, i + 1, i + 2]} for i in range(5)])
    filter = {"t": {"$in": [2, 3, 4]}}
    cursor = things.find(filter)
    assert cursor.explain()["index"] == "t_1"
    assert sorted(each["_id"] for each in cursor) == [0, 1, 2, 3, 4]
    assert things.count_documents(filter) == 5
    assert len(things.find_many(filter, limit=2)) == 2
    assert things.update_many(filter, {"$set": {"t": [3]}}).modified_count == 5
    assert things.find_many({"t": 4}) == []


def test_drop_and_rename(things: Collection, db: Database) -> None:  # noqa: F811
    things.drop()  # nothing there: nothing happens
    with pytest.raises(errors.NotFound):
        things.rename("other")
    things.insert_one({"_id": 1})
    db["other"].insert_one({"_id": 2})
    with pytest.raises(errors.InvalidName):
        things.rename("other")
    with pytest.raises(errors.InvalidName):
        things.rename("a$b")
    db["other"].drop()
    things.rename("other")
    assert db.list_collection_names() == ["other"]
    assert db["other"].find_many() == [{"_id": 1}]
    assert things.find_many() == []
    things.insert_one({"_id": 3})
    assert db.list_collection_names() == ["other", "things"]


def test_collections_compare_by_database_and_name(db: Database) -> None:  # noqa: F811
    assert db["a"] == Collection(db["a"]._handle, "a")
    assert db["a"] != db["b"]
    assert db["a"] != "a"
    assert len({db["a"], db["a"], db["b"]}) == 2
    assert "a" in repr(db["a"])
    assert db["a"].name == "a"


def test_results_say_what_they_are(things: Collection) -> None:
    assert repr(things.insert_one({"_id": 1})) == "InsertOneResult(inserted_id=1)"
    text = "UpdateResult(matched_count=1, modified_count=1, upserted_id=None)"
    assert repr(things.update_one({}, {"$set": {"a": 1}})) == text
    assert repr(things.delete_many({})) == "DeleteResult(deleted_count=1)"


def test_results_that_are_alike_may_be_one_and_do_not_change(things: Collection) -> None:
    things.insert_many([{"_id": 1, "a": 0}, {"_id": 2}])
    updates = [things.update_one({"_id": key}, {"$set": {"a": 1}}) for key in (1, 1, 9, 2)]
    deletes = [things.delete_one({"_id": key}) for key in (1, 1, 2)]
    assert [(each.matched_count, each.modified_count) for each in updates] == [
        (1, 1),
        (1, 0),
        (0, 0),
        (1, 1),
    ]
    assert [each.deleted_count for each in deletes] == [1, 0, 1]
    for result in (*updates, *deletes):
        with pytest.raises(AttributeError):
            result.matched_count = 5  # type: ignore[misc, union-attr]
        assert not hasattr(result, "__dict__")
