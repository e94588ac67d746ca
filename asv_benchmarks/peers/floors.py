"""The floors: what the disk and PyMongo's decoder cost without any store around them."""

from __future__ import annotations

import os
from typing import ClassVar

import bson
from bson.codec_options import CodecOptions

from asv_benchmarks.benchmarks.workload import Document
from asv_benchmarks.peers.store import (
    CODEC_WORKS,
    READ_WORKS,
    RELAXED_WORKS,
    WRITE_WORKS,
    Store,
)

OPTIONS: CodecOptions[Document] = CodecOptions(tz_aware=True)
FILE_SIZE = 16 * 1024 * 1024


class LogFloor(Store):
    """pwrite of the same bytes into a file that was written before, and fdatasync: one a commit."""

    name = "pwrite+fdatasync"
    short = "floor-log"
    is_floor: ClassVar[bool] = True
    works = WRITE_WORKS | RELAXED_WORKS | {"encode"}

    def open(self) -> None:
        self._fd = os.open(self.folder / "log", os.O_RDWR | os.O_CREAT, 0o600)
        self._at = 0
        if os.fstat(self._fd).st_size < FILE_SIZE:
            for start in range(0, FILE_SIZE, 1 << 20):
                os.pwrite(self._fd, bytes(1 << 20), start)
            os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, data: bytes) -> None:
        if self._at + len(data) > FILE_SIZE:
            self._at = 0
        os.pwrite(self._fd, data, self._at)
        self._at += len(data)
        if not self.is_relaxed:
            os.fdatasync(self._fd)

    def encode(self, document: Document) -> bytes:
        return bson.encode(document)

    def insert_many(self, documents: list[Document]) -> None:
        self._append(b"".join(map(bson.encode, documents)))

    def insert_one(self, document: Document) -> None:
        self._append(bson.encode(document))

    def update_one(self, identity: str, importance: float) -> None:
        # a store logs the new document: about as many bytes as this
        self._append(bson.encode({"_id": identity, "importance": importance, "rest": bytes(310)}))

    def delete_one(self, identity: str) -> None:
        self._append(identity.encode())


class DictFloor(Store):
    """A dictionary of BSON bytes, indexes as dictionaries and a list; nothing on disk."""

    name = "dict+bson"
    short = "floor-dict"
    is_floor: ClassVar[bool] = True
    works = READ_WORKS | CODEC_WORKS

    def open(self) -> None:
        self._documents: dict[str, bytes] = {}
        self._agents: dict[str, dict[str, None]] = {}
        self._created: list[str] = []

    def close(self) -> None:
        pass

    def encode(self, document: Document) -> bytes:
        return bson.encode(document)

    def decode(self, data: bytes) -> Document:
        return bson.decode(data, OPTIONS)

    def insert_many(self, documents: list[Document]) -> None:
        for document in documents:
            self._documents[document["_id"]] = bson.encode(document)
            self._agents.setdefault(document["agent_id"], {})[document["_id"]] = None
            self._created.append(document["_id"])

    def delete_one(self, identity: str) -> None:
        document = bson.decode(self._documents.pop(identity), OPTIONS)
        del self._agents[document["agent_id"]][identity]
        self._created.remove(identity)

    def find_one(self, identity: str) -> Document | None:
        return bson.decode(self._documents[identity], OPTIONS)

    def find_at_least(self, importance: float) -> list[Document]:
        every = (bson.decode(data, OPTIONS) for data in self._documents.values())
        return [document for document in every if document["importance"] >= importance]

    def find_agent(self, agent: str) -> list[Document]:
        return [
            bson.decode(self._documents[identity], OPTIONS)
            for identity in self._agents.get(agent, ())
        ]

    def top_importance(self, count: int) -> list[Document]:
        every = (bson.decode(data, OPTIONS) for data in self._documents.values())
        return sorted(every, key=lambda document: document["importance"], reverse=True)[:count]

    def top_created(self, count: int) -> list[Document]:
        newest = self._created[: -count - 1 : -1]
        return [bson.decode(self._documents[identity], OPTIONS) for identity in newest]

    def count(self) -> int:
        return len(self._documents)

    def count_between(self, first: int, last: int) -> int:
        return sum(
            first <= int(bson.decode(data, OPTIONS)["created_at"].timestamp() * 1000) <= last
            for data in self._documents.values()
        )

    def group_agents(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        for data in self._documents.values():
            document = bson.decode(data, OPTIONS)
            agent = document["agent_id"]
            sums[agent] = sums.get(agent, 0.0) + document["importance"]
        return sums
