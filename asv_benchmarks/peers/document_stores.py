"""Stores that speak MongoDB's language in Python: mongomock and montydb. Neither is encrypted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import mongomock
import montydb

from asv_benchmarks.benchmarks.workload import COLLECTION, Document
from asv_benchmarks.peers.store import READ_WORKS, WRITE_WORKS, Store

WORKS = (READ_WORKS | WRITE_WORKS) - {"group", "count range"}


class PymongoStore(Store):
    """Any object with PyMongo's methods."""

    works = WORKS
    _memory: Any

    def find_one(self, identity: str) -> Document | None:
        found: Document | None = self._memory.find_one({"_id": identity})
        return found

    def find_at_least(self, importance: float) -> list[Document]:
        return list(self._memory.find({"importance": {"$gte": importance}}))

    def find_agent(self, agent: str) -> list[Document]:
        return list(self._memory.find({"agent_id": agent}))

    def top_importance(self, count: int) -> list[Document]:
        return list(self._memory.find({}).sort("importance", -1).limit(count))

    def top_created(self, count: int) -> list[Document]:
        return list(self._memory.find({}).sort("created_at", -1).limit(count))

    def count(self) -> int:
        return int(self._memory.count_documents({}))

    def insert_many(self, documents: list[Document]) -> None:
        self._memory.insert_many(documents)

    def insert_one(self, document: Document) -> None:
        self._memory.insert_one(document)

    def update_one(self, identity: str, importance: float) -> None:
        self._memory.update_one({"_id": identity}, {"$set": {"importance": importance}})

    def delete_one(self, identity: str) -> None:
        self._memory.delete_one({"_id": identity})


class MongomockStore(PymongoStore):
    """Nothing on disk; its indexes refuse duplicates and find nothing faster."""

    name = "mongomock"
    short = "mongomock"
    is_durable: ClassVar[bool] = False
    samples_max: ClassVar[int | None] = 3
    works = WORKS | {"group"}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        client: Any = mongomock.MongoClient(tz_aware=True)
        self._memory = client["benchmark"][COLLECTION]
        self._memory.create_index("agent_id")
        self._memory.create_index("created_at")

    def open(self) -> None:
        """It lives as long as the object."""

    def close(self) -> None:
        """As open()."""

    def group_agents(self) -> dict[str, float]:
        stages = [{"$group": {"_id": "$agent_id", "sum": {"$sum": "$importance"}}}]
        return {group["_id"]: group["sum"] for group in self._memory.aggregate(stages)}


class MontyStore(PymongoStore):
    """Its SQLite storage, with that storage's own synchronous=FULL; it has no indexes."""

    name = "montydb"
    short = "montydb"
    samples_max: ClassVar[int | None] = 3
    documents_max: ClassVar[int | None] = 10_000

    def open(self) -> None:
        repository = str(self.folder / "monty")
        montydb.set_storage(repository, storage="sqlite", use_bson=True, synchronous="FULL")
        self._client: Any = montydb.MontyClient(repository, synchronous="FULL", tz_aware=True)
        self._memory = self._client["benchmark"][COLLECTION]

    def close(self) -> None:
        self._client.close()
