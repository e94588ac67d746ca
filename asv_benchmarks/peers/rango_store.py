"""Rango, encrypted, through its public API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import rango
from asv_benchmarks.benchmarks.workload import COLLECTION, KEY, Document
from asv_benchmarks.peers.store import ALL_WORKS, Store
from rango._ext import record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RangoStore(Store):
    """Every commit is sealed, chained and flushed before it is acknowledged."""

    name = "rango (encrypted)"
    short = "rango"
    module = "rango.database"
    works = ALL_WORKS

    def open(self) -> None:
        durability: Literal["memory", "commit"] = "memory" if self.is_relaxed else "commit"
        self._db = rango.open(self.folder / "db", key=KEY, durability=durability)
        self._memory = self._db[COLLECTION]
        if COLLECTION not in self._db.list_collection_names():
            self._memory.create_index("agent_id")
            self._memory.create_index("created_at")

    def close(self) -> None:
        self._db.close()

    def settle(self) -> None:
        self._db.checkpoint()

    def data_bytes_on_disk(self) -> int:
        return self.bytes_on_disk("data.rango")

    def encode(self, document: Document) -> bytes:
        return record.encode(document)

    def decode(self, data: bytes) -> Document:
        return dict(record.decode(data))

    def find_one(self, identity: str) -> Document | None:
        return self._memory.find_one({"_id": identity})

    def find_at_least(self, importance: float) -> list[Document]:
        return list(self._memory.find_many({"importance": {"$gte": importance}}))

    def find_agent(self, agent: str) -> list[Document]:
        return list(self._memory.find_many({"agent_id": agent}))

    def top_importance(self, count: int) -> list[Document]:
        return list(self._memory.find_many({}, sort=[("importance", -1)], limit=count))

    def top_created(self, count: int) -> list[Document]:
        return list(self._memory.find_many({}, sort=[("created_at", -1)], limit=count))

    def count(self) -> int:
        return int(self._memory.count_documents({}))

    def count_between(self, first: int, last: int) -> int:
        low, high = (EPOCH + timedelta(milliseconds=each) for each in (first, last))
        return int(self._memory.count_documents({"created_at": {"$gte": low, "$lte": high}}))

    def group_agents(self) -> dict[str, float]:
        stages = [{"$group": {"_id": "$agent_id", "sum": {"$sum": "$importance"}}}]
        return {group["_id"]: group["sum"] for group in self._memory.aggregate(stages)}

    def insert_many(self, documents: list[Document]) -> None:
        self._memory.insert_many(documents)

    def insert_one(self, document: Document) -> None:
        self._memory.insert_one(document)

    def update_one(self, identity: str, importance: float) -> None:
        self._memory.update_one({"_id": identity}, {"$set": {"importance": importance}})

    def delete_one(self, identity: str) -> None:
        self._memory.delete_one({"_id": identity})
