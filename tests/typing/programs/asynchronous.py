"""The same for asyncio."""

from __future__ import annotations

import dataclasses
from typing import reveal_type

import rango
from rango import ReturnDocument, aio


@dataclasses.dataclass
class Memory:
    """A dataclass."""

    id: int
    text: str


async def main() -> None:
    """What users write."""
    async with await rango.aio.open("./db") as db:
        reveal_type(db)  # R: rango.aio.database.AsyncDatabase
        notes = db["notes"]
        memories = db.collection("memories", model=Memory)
        reveal_type(notes)  # R: rango.aio.collection.AsyncCollection[dict[str, Any]]
        reveal_type(memories)  # R: rango.aio.collection.AsyncCollection[asynchronous.Memory]
        reveal_type(await notes.find_one("x"))  # R: dict[str, Any] | None
        reveal_type(await memories.find_one("x"))  # R: asynchronous.Memory | None
        reveal_type(await memories.find_one({}, {"text": 1}))  # R: dict[str, Any] | None
        reveal_type(await memories.find_many())  # R: list[asynchronous.Memory]
        reveal_type(await memories.find_many({}, ["text"]))  # R: list[dict[str, Any]]
        cursor = memories.find({"text": "a"}).sort("text").limit(3)
        reveal_type(cursor)  # R: rango.aio.cursor.AsyncCursor[asynchronous.Memory]
        reveal_type(await anext(cursor))  # R: asynchronous.Memory
        reveal_type(await cursor.to_list())  # R: list[asynchronous.Memory]
        reveal_type(cursor.clone())  # R: rango.aio.cursor.AsyncCursor[asynchronous.Memory]
        projected = memories.find({}, {"text": 1})
        reveal_type(projected)  # R: rango.aio.cursor.AsyncCursor[dict[str, Any]]
        async for memory in memories.find():
            reveal_type(memory)  # R: asynchronous.Memory
        async for note in notes.find():
            reveal_type(note)  # R: dict[str, Any]
        deleted = await memories.find_one_and_delete({"text": "a"})
        reveal_type(deleted)  # R: asynchronous.Memory | None
        changed = await memories.find_one_and_update(
            {}, {"$set": {"text": "b"}}, return_document=ReturnDocument.AFTER
        )
        reveal_type(changed)  # R: asynchronous.Memory | None
        only = await memories.find_one_and_update({}, {"$set": {"text": "b"}}, ["text"])
        reveal_type(only)  # R: dict[str, Any] | None
        reveal_type((await memories.insert_one(Memory(1, "a"))).inserted_id)  # R: Any
        reveal_type((await notes.update_many({}, {"$set": {"a": 1}})).matched_count)  # R: int
        pipeline = await notes.aggregate([{"$count": "n"}])
        reveal_type(await pipeline.to_list())  # R: list[dict[str, Any]]
        async with db.transaction():
            await notes.insert_one({})

        await notes.insert_one(5)  # E: Argument 1 has incompatible type "int"; expected
        for _ in memories.find():  # E: "AsyncCursor[Memory]" has no attribute "__iter__"
            pass
        memories.find_one("x").text  # E: "Coroutine[Any, Any, Memory | None]" has no attribute


async def texts(collection: aio.AsyncCollection) -> list[str]:
    """A plain `AsyncCollection` is one of dictionaries."""
    return [note["text"] async for note in collection.find()]
