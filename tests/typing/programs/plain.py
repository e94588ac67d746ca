"""Collections of dictionaries."""

from __future__ import annotations

from typing import Any, reveal_type

import rango
from rango import Collection, Cursor, InsertOne, ReplaceOne, ReturnDocument, UpdateOne
from rango.aggregation import CommandCursor
from rango.results import InsertOneResult

with rango.open("./db", passphrase="correct horse") as db:
    notes = db["notes"]
    reveal_type(notes)  # R: rango.collection.Collection[dict[str, Any]]
    reveal_type(db.collection("notes"))  # R: rango.collection.Collection[dict[str, Any]]
    reveal_type(notes.find_one("x"))  # R: dict[str, Any] | None
    reveal_type(notes.find_one({}, {"a": 1}))  # R: dict[str, Any] | None
    reveal_type(notes.find_one(projection=["a"]))  # R: dict[str, Any] | None
    reveal_type(notes.find({"a": 1}, sort=[("a", 1)]))  # R: rango.cursor.Cursor[dict[str, Any]]
    reveal_type(notes.find_many())  # R: list[dict[str, Any]]
    reveal_type(notes.find().sort("a").limit(3).to_list())  # R: list[dict[str, Any]]
    reveal_type(notes.find()[0])  # R: dict[str, Any]
    reveal_type(notes.find()[1:3])  # R: rango.cursor.Cursor[dict[str, Any]]
    reveal_type(notes.count_documents({}))  # R: int
    reveal_type(notes.aggregate([{"$match": {}}]))  # R: rango.aggregation.CommandCursor
    reveal_type(notes.insert_one({"a": 1}))  # R: rango.results.InsertOneResult
    reveal_type(notes.update_many({}, {"$set": {"a": 1}}).modified_count)  # R: int
    reveal_type(notes.find_one_and_delete({}))  # R: dict[str, Any] | None
    changed = notes.find_one_and_update(
        {}, {"$inc": {"n": 1}}, return_document=ReturnDocument.AFTER, upsert=True, max_time_ms=50
    )
    reveal_type(changed)  # R: dict[str, Any] | None
    notes.bulk_write([InsertOne({}), UpdateOne({}, {"$set": {"a": 1}}), ReplaceOne({}, {})])
    for note in notes.find():
        reveal_type(note)  # R: dict[str, Any]
    with rango.cancel_scope() as scope:
        reveal_type(scope.is_cancelled)  # R: bool
    with db.transaction():
        notes.insert_many([{"a": 1}, {"b": 2}])

    notes.find(sort=1)  # E: No overload variant of "find" of "CollectionReads" matches argument
    notes.find(order="a")  # E: Unexpected keyword argument "order"
    notes.insert_one(5)  # E: Argument 1 to "insert_one" of "CollectionWrites" has incompatible type
    notes.insert_one([{}])  # E: Argument 1 to "insert_one" of "CollectionWrites" has incompatible
    notes.update_one({})  # E: Missing positional argument "update" in call to "update_one"
    notes.fnd({})  # E: "Collection[dict[str, Any]]" has no attribute "fnd"
    rango.open("./db", durability="fast")  # E: Argument "durability" to "open" has


def texts(collection: Collection) -> list[str]:
    """A plain `Collection` is one of dictionaries."""
    reveal_type(collection.find_one())  # R: dict[str, Any] | None
    return [note["text"] for note in collection.find()]


def first(cursor: Cursor[dict[str, Any]], pipeline: CommandCursor) -> InsertOneResult:
    """Annotations that users write."""
    reveal_type(next(cursor))  # R: dict[str, Any]
    reveal_type(pipeline.next())  # R: dict[str, Any]
    return notes.insert_one(next(cursor))
