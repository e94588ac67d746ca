"""Log-structured key-value stores holding BSON, two indexes kept by hand: LevelDB by plyvel and
RocksDB by rocksdict. Neither is encrypted.

Layout      d + _id -> BSON; a + agent + NUL + _id -> nothing; c + milliseconds + _id -> nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import bson
import plyvel
import rocksdict
from bson.codec_options import CodecOptions

from asv_benchmarks.benchmarks.workload import Document
from asv_benchmarks.peers.store import (
    FILE_WORKS,
    READ_WORKS,
    RELAXED_WORKS,
    THREAD_WORKS,
    WRITE_WORKS,
    Store,
)

OPTIONS: CodecOptions[Document] = CodecOptions(tz_aware=True)
ID_SIZE = 24
AFTER = b"\xff"
Pairs = Iterable[tuple[bytes, bytes]]


class KeyValueStore(Store):
    """What both have in common: an ordered map with atomic batches."""

    works = READ_WORKS | WRITE_WORKS | FILE_WORKS | THREAD_WORKS | RELAXED_WORKS

    @abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    @abstractmethod
    def put(self, pairs: Pairs) -> None:
        """In one commit."""

    @abstractmethod
    def delete(self, keys: Iterable[bytes]) -> None:
        """In one commit."""

    @abstractmethod
    def range(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The pairs from `first` on, before `end`."""

    @abstractmethod
    def backwards(self, end: bytes) -> Iterator[bytes]:
        """The keys before `end`, downwards."""

    def find_one(self, identity: str) -> Document | None:
        data = self.get(b"d" + identity.encode())
        return None if data is None else bson.decode(data, OPTIONS)

    def _every(self) -> Iterator[Document]:
        for _, data in self.range(b"d", b"e"):
            yield bson.decode(data, OPTIONS)

    def _of(self, key: bytes) -> Document:
        data = self.get(b"d" + key[-ID_SIZE:])
        return bson.decode(data, OPTIONS) if data is not None else {}

    def find_at_least(self, importance: float) -> list[Document]:
        return [each for each in self._every() if each["importance"] >= importance]

    def find_agent(self, agent: str) -> list[Document]:
        name = b"a" + agent.encode()
        return [self._of(key) for key, _ in self.range(name + b"\0", name + b"\1")]

    def top_importance(self, count: int) -> list[Document]:
        return sorted(self._every(), key=lambda each: each["importance"], reverse=True)[:count]

    def top_created(self, count: int) -> list[Document]:
        found = []
        for key in self.backwards(b"d"):
            found.append(self._of(key))
            if len(found) == count:
                break
        return found

    def count(self) -> int:
        return sum(1 for _ in self.range(b"d", b"e"))

    def count_between(self, first: int, last: int) -> int:
        low, high = first.to_bytes(8, "big"), (last + 1).to_bytes(8, "big")
        return sum(1 for _ in self.range(b"c" + low, b"c" + high))

    def group_agents(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        for each in self._every():
            agent = each["agent_id"]
            sums[agent] = sums.get(agent, 0.0) + each["importance"]
        return sums

    def insert_many(self, documents: list[Document]) -> None:
        self.put(pair for document in documents for pair in _pairs(document))

    def insert_one(self, document: Document) -> None:
        self.put(_pairs(document))

    def update_one(self, identity: str, importance: float) -> None:
        document = self._of(identity.encode())
        document["importance"] = importance
        self.put([(b"d" + identity.encode(), bson.encode(document))])

    def delete_one(self, identity: str) -> None:
        self.delete(key for key, _ in _pairs(self._of(identity.encode())))


def _pairs(document: Document) -> Pairs:
    identity = document["_id"].encode()
    milliseconds = int(document["created_at"].timestamp() * 1000)
    return [
        (b"d" + identity, bson.encode(document)),
        (b"a" + document["agent_id"].encode() + b"\0" + identity, b""),
        (b"c" + milliseconds.to_bytes(8, "big") + identity, b""),
    ]


class PlyvelStore(KeyValueStore):
    """LevelDB, sync=True."""

    name = "leveldb+bson"
    short = "plyvel"
    module = "plyvel"

    def open(self) -> None:
        self._db: Any = plyvel.DB(str(self.folder / "db"), create_if_missing=True)

    def close(self) -> None:
        self._db.close()

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._db.get(key)
        return found

    def put(self, pairs: Pairs) -> None:
        with self._db.write_batch(sync=not self.is_relaxed) as batch:
            for key, value in pairs:
                batch.put(key, value)

    def delete(self, keys: Iterable[bytes]) -> None:
        with self._db.write_batch(sync=not self.is_relaxed) as batch:
            for key in keys:
                batch.delete(key)

    def range(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._db.iterator(start=first, stop=end) as pairs:
            yield from pairs

    def backwards(self, end: bytes) -> Iterator[bytes]:
        with self._db.iterator(stop=end, reverse=True, include_value=False) as keys:
            yield from keys


class RocksdictStore(KeyValueStore):
    """RocksDB, set_sync(True)."""

    name = "rocksdb+bson"
    short = "rocksdict"
    module = "rocksdict"

    def open(self) -> None:
        self._db: Any = rocksdict.Rdict(str(self.folder / "db"), rocksdict.Options(raw_mode=True))
        self._write: Any = rocksdict.WriteOptions()
        self._write.sync = not self.is_relaxed

    def close(self) -> None:
        self._db.close()

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._db.get(key)
        return found

    def put(self, pairs: Pairs) -> None:
        batch: Any = rocksdict.WriteBatch(raw_mode=True)
        for key, value in pairs:
            batch.put(key, value)
        self._db.write(batch, self._write)

    def delete(self, keys: Iterable[bytes]) -> None:
        batch: Any = rocksdict.WriteBatch(raw_mode=True)
        for key in keys:
            batch.delete(key)
        self._db.write(batch, self._write)

    def range(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._db.items(from_key=first):
            if key >= end:
                return
            yield key, value

    def backwards(self, end: bytes) -> Iterator[bytes]:
        for key in self._db.keys(backwards=True, from_key=end):
            if key < end:
                yield key
