"""TinyDB: one JSON file, which every write writes anew. Not encrypted, not flushed, no indexes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from tinydb import Query, TinyDB

from asv_benchmarks.benchmarks.workload import Document
from asv_benchmarks.peers.store import READ_WORKS, WRITE_WORKS, Store

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


class TinyStore(Store):
    """Queries are Python's; sorting is the caller's work."""

    name = "tinydb"
    short = "tinydb"
    works = (READ_WORKS | WRITE_WORKS) - {"count range"}
    is_durable: ClassVar[bool] = False
    samples_max: ClassVar[int | None] = 3
    documents_max: ClassVar[int | None] = 10_000

    def open(self) -> None:
        self._db = TinyDB(self.folder / "db.json")
        # a query that is repeated would be answered without looking
        self._db.default_query_cache_capacity = 0

    def close(self) -> None:
        self._db.close()

    def _found(self, query: Any) -> list[Document]:
        self._db.table("_default").clear_cache()
        return [_loaded(each) for each in self._db.search(query)]

    def find_one(self, identity: str) -> Document | None:
        found = self._db.get(Query()["_id"] == identity)
        return _loaded(found) if isinstance(found, dict) else None

    def find_at_least(self, importance: float) -> list[Document]:
        return self._found(Query()["importance"] >= importance)

    def find_agent(self, agent: str) -> list[Document]:
        return self._found(Query()["agent_id"] == agent)

    def top_importance(self, count: int) -> list[Document]:
        return self._top("importance", count)

    def top_created(self, count: int) -> list[Document]:
        return self._top("created_at", count)

    def _top(self, name: str, count: int) -> list[Document]:
        every = sorted(self._db.all(), key=lambda each: each[name], reverse=True)
        return [_loaded(each) for each in every[:count]]

    def count(self) -> int:
        return len(self._db)

    def group_agents(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        for each in self._db:
            sums[each["agent_id"]] = sums.get(each["agent_id"], 0.0) + each["importance"]
        return sums

    def insert_many(self, documents: list[Document]) -> None:
        self._db.insert_multiple(_dumped(each) for each in documents)

    def insert_one(self, document: Document) -> None:
        self._db.insert(_dumped(document))

    def update_one(self, identity: str, importance: float) -> None:
        self._db.update({"importance": importance}, Query()["_id"] == identity)

    def delete_one(self, identity: str) -> None:
        self._db.remove(Query()["_id"] == identity)


def _dumped(document: Document) -> Document:
    return document | {"created_at": (document["created_at"] - EPOCH) // MILLISECOND}


def _loaded(document: Any) -> Document:
    return dict(document) | {"created_at": EPOCH + document["created_at"] * MILLISECOND}
