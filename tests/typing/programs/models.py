"""Collections of dataclasses and pydantic models."""

from __future__ import annotations

import dataclasses
from typing import reveal_type
from uuid import UUID

import pydantic

import rango
from rango import Collection, Cursor, InsertOne, ReturnDocument


@dataclasses.dataclass
class Memory:
    """A dataclass."""

    text: str
    id: UUID | None = None


class Fact(pydantic.BaseModel):
    """A pydantic model."""

    id: UUID | None = pydantic.Field(default=None, alias="_id")
    text: str


with rango.open("./db") as db:
    memories = db.collection("memories", model=Memory)
    facts = db.collection("facts", model=Fact)
    reveal_type(memories)  # R: rango.collection.Collection[models.Memory]
    reveal_type(facts)  # R: rango.collection.Collection[models.Fact]
    reveal_type(memories.find_one("x"))  # R: models.Memory | None
    reveal_type(facts.find_one({"text": "a"}, sort=[("text", 1)]))  # R: models.Fact | None
    reveal_type(memories.find_many())  # R: list[models.Memory]
    reveal_type(memories.find())  # R: rango.cursor.Cursor[models.Memory]
    reveal_type(memories.find().sort("text").skip(1).to_list(3))  # R: list[models.Memory]
    reveal_type(next(memories.find()).text)  # R: str
    reveal_type(memories.find()[0])  # R: models.Memory
    reveal_type(memories.find().clone().rewind())  # R: rango.cursor.Cursor[models.Memory]
    # with a projection a document is a dictionary
    reveal_type(memories.find_one({}, {"text": 1}))  # R: dict[str, Any] | None
    reveal_type(memories.find_one(projection={"text": 1}))  # R: dict[str, Any] | None
    reveal_type(memories.find({}, ["text"]))  # R: rango.cursor.Cursor[dict[str, Any]]
    reveal_type(memories.find_many({}, ["text"]))  # R: list[dict[str, Any]]
    reveal_type(memories.find().projection(["text"]))  # R: rango.cursor.Cursor[dict[str, Any]]
    reveal_type(memories.aggregate([]).to_list())  # R: list[dict[str, Any]]
    reveal_type(memories.find_one_and_delete({}))  # R: models.Memory | None
    reveal_type(memories.find_one_and_delete({}, {"text": 1}))  # R: dict[str, Any] | None
    replaced = memories.find_one_and_replace({}, Memory("a"), return_document=ReturnDocument.AFTER)
    reveal_type(replaced)  # R: models.Memory | None
    reveal_type(facts.find_one_and_update({}, {"$set": {"text": "a"}}))  # R: models.Fact | None
    memories.insert_one(Memory("a"))
    memories.insert_one({"text": "a"})
    facts.insert_many([Fact(text="a"), Fact(text="b")])
    db["plain"].insert_one(Memory("a"))
    db["plain"].replace_one({}, Fact(text="a"), upsert=True)
    memories.bulk_write([InsertOne(Memory("a")), InsertOne({})])
    for memory in memories.find():
        reveal_type(memory)  # R: models.Memory
        memory.txt  # E: "Memory" has no attribute "txt"

    found = memories.find_one("x")
    found.text  # E: Item "None" of "Memory | None" has no attribute "text"
    memories.insert_one(object())  # E: Argument 1 to "insert_one" of "CollectionWrites" has incomp
    db.collection("x", model=Memory("a"))  # E: No overload variant of "collection" of "Database"


def recall(collection: Collection[Memory], cursor: Cursor[Fact]) -> list[Memory]:
    """Annotations that users write."""
    reveal_type(next(cursor).id)  # R: uuid.UUID | None
    return collection.find_many({"text": {"$regex": "^a"}})


recall(memories, facts.find())
recall(facts, facts.find())  # E: Argument 1 to "recall" has incompatible type "Collection[Fact]"
