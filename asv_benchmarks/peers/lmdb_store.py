"""LMDB holding BSON by PyMongo's C extension, two indexes kept by hand. Not encrypted."""

from __future__ import annotations

from typing import Any

import bson
import lmdb
from bson.codec_options import CodecOptions

from asv_benchmarks.benchmarks.workload import Document
from asv_benchmarks.peers.store import ALL_WORKS, Store

OPTIONS: CodecOptions[Document] = CodecOptions(tz_aware=True)
MAP_SIZE = 4 << 30


class LmdbStore(Store):
    """Documents by _id; agent -> ids and date+id -> id beside them, in one write transaction."""

    name = "lmdb+bson"
    short = "lmdb"
    module = "lmdb"
    works = ALL_WORKS

    def open(self) -> None:
        self._env: Any = lmdb.open(
            str(self.folder), map_size=MAP_SIZE, max_dbs=3, sync=not self.is_relaxed
        )
        self._documents: Any = self._env.open_db(b"documents")
        self._agents: Any = self._env.open_db(b"agents", dupsort=True)
        self._created: Any = self._env.open_db(b"created")

    def close(self) -> None:
        self._env.close()

    def encode(self, document: Document) -> bytes:
        return bson.encode(document)

    def decode(self, data: bytes) -> Document:
        return bson.decode(data, OPTIONS)

    def find_one(self, identity: str) -> Document | None:
        with self._env.begin(db=self._documents) as txn:
            data = txn.get(identity.encode())
            return None if data is None else bson.decode(data, OPTIONS)

    def find_at_least(self, importance: float) -> list[Document]:
        found = []
        with self._env.begin(db=self._documents, buffers=True) as txn, txn.cursor() as cursor:
            for data in cursor.iternext(keys=False):
                document = bson.decode(data, OPTIONS)
                if document["importance"] >= importance:
                    found.append(document)
        return found

    def find_agent(self, agent: str) -> list[Document]:
        with self._env.begin(buffers=True) as txn, txn.cursor(self._agents) as cursor:
            if not cursor.set_key(agent.encode()):
                return []
            return [
                bson.decode(txn.get(identity, db=self._documents), OPTIONS)
                for identity in cursor.iternext_dup()
            ]

    def top_importance(self, count: int) -> list[Document]:
        every = self.find_at_least(0.0)
        return sorted(every, key=lambda document: document["importance"], reverse=True)[:count]

    def top_created(self, count: int) -> list[Document]:
        found = []
        with self._env.begin(buffers=True) as txn, txn.cursor(self._created) as cursor:
            for identity in cursor.iterprev(keys=False):
                found.append(bson.decode(txn.get(identity, db=self._documents), OPTIONS))
                if len(found) == count:
                    break
        return found

    def count(self) -> int:
        with self._env.begin() as txn:
            return int(txn.stat(self._documents)["entries"])

    def count_between(self, first: int, last: int) -> int:
        end, found = (last + 1).to_bytes(8, "big"), 0
        with self._env.begin() as txn, txn.cursor(self._created) as cursor:
            if cursor.set_range(first.to_bytes(8, "big")):
                for key in cursor.iternext(values=False):
                    if key >= end:
                        break
                    found += 1
        return found

    def group_agents(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        with self._env.begin(db=self._documents, buffers=True) as txn, txn.cursor() as cursor:
            for data in cursor.iternext(keys=False):
                document = bson.decode(data, OPTIONS)
                agent = document["agent_id"]
                sums[agent] = sums.get(agent, 0.0) + document["importance"]
        return sums

    def insert_many(self, documents: list[Document]) -> None:
        with self._env.begin(write=True) as txn:
            for document in documents:
                identity = document["_id"].encode()
                txn.put(identity, bson.encode(document), db=self._documents, overwrite=False)
                txn.put(document["agent_id"].encode(), identity, db=self._agents)
                txn.put(_created_key(document), identity, db=self._created)

    def insert_one(self, document: Document) -> None:
        self.insert_many([document])

    def update_one(self, identity: str, importance: float) -> None:
        with self._env.begin(write=True, db=self._documents) as txn:
            document = bson.decode(txn.get(identity.encode()), OPTIONS)
            document["importance"] = importance
            txn.put(identity.encode(), bson.encode(document))

    def delete_one(self, identity: str) -> None:
        with self._env.begin(write=True) as txn:
            name = identity.encode()
            document = bson.decode(txn.get(name, db=self._documents), OPTIONS)
            txn.delete(name, db=self._documents)
            txn.delete(document["agent_id"].encode(), name, db=self._agents)
            txn.delete(_created_key(document), db=self._created)


def _created_key(document: Document) -> bytes:
    milliseconds = int(document["created_at"].timestamp() * 1000)
    return milliseconds.to_bytes(8, "big") + bytes(document["_id"].encode())
