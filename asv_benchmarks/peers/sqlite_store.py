"""SQLite of the standard library: JSON text and indexes on its fields. Not encrypted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from asv_benchmarks.benchmarks.workload import Document
from asv_benchmarks.peers.store import ALL_WORKS, Store

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
SCHEMA = """
    CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS agents ON documents (json_extract(body, '$.agent_id'));
    CREATE INDEX IF NOT EXISTS created ON documents (json_extract(body, '$.created_at'));
"""


class SqliteStore(Store):
    """Write-ahead log, synchronous=FULL: a commit is durable, as it is in the others."""

    name = "sqlite3-json"
    short = "sqlite"
    module = "sqlite3"
    works = ALL_WORKS

    def connected(self) -> Any:
        return sqlite3.connect(self.folder / "db.sqlite", isolation_level=None, timeout=30)

    def _configured(self) -> Any:
        connection = self.connected()
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'OFF' if self.is_relaxed else 'FULL'}")
        return connection

    def open(self) -> None:
        self._db = self._configured()
        self._db.executescript(SCHEMA)

    @contextmanager
    def in_thread(self) -> Iterator[SqliteStore]:
        # a connection belongs to the thread that made it
        other = type(self)(self.folder)
        other._db = self._configured()
        try:
            yield other
        finally:
            other.close()

    def close(self) -> None:
        self._db.close()

    def settle(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def encode(self, document: Document) -> bytes:
        return dumped(document).encode()

    def decode(self, data: bytes) -> Document:
        return loaded(data)

    def find_one(self, identity: str) -> Document | None:
        found = self._db.execute("SELECT body FROM documents WHERE id = ?", (identity,)).fetchone()
        return None if found is None else loaded(found[0])

    def find_at_least(self, importance: float) -> list[Document]:
        query = "SELECT body FROM documents WHERE json_extract(body, '$.importance') >= ?"
        return loaded_all(self._db.execute(query, (importance,)))

    def find_agent(self, agent: str) -> list[Document]:
        query = "SELECT body FROM documents WHERE json_extract(body, '$.agent_id') = ?"
        return loaded_all(self._db.execute(query, (agent,)))

    def top_importance(self, count: int) -> list[Document]:
        query = (
            "SELECT body FROM documents ORDER BY json_extract(body, '$.importance') DESC LIMIT ?"
        )
        return loaded_all(self._db.execute(query, (count,)))

    def top_created(self, count: int) -> list[Document]:
        query = (
            "SELECT body FROM documents ORDER BY json_extract(body, '$.created_at') DESC LIMIT ?"
        )
        return loaded_all(self._db.execute(query, (count,)))

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM documents").fetchone()[0])

    def count_between(self, first: int, last: int) -> int:
        query = (
            "SELECT count(*) FROM documents "
            "WHERE json_extract(body, '$.created_at') BETWEEN ? AND ?"
        )
        return int(self._db.execute(query, (first, last)).fetchone()[0])

    def group_agents(self) -> dict[str, float]:
        query = (
            "SELECT json_extract(body, '$.agent_id'), sum(json_extract(body, '$.importance')) "
            "FROM documents GROUP BY 1"
        )
        return dict(self._db.execute(query).fetchall())

    def insert_many(self, documents: list[Document]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT INTO documents VALUES (?, ?)",
            [(document["_id"], dumped(document)) for document in documents],
        )
        self._db.execute("COMMIT")

    def insert_one(self, document: Document) -> None:
        self._db.execute("INSERT INTO documents VALUES (?, ?)", (document["_id"], dumped(document)))

    def update_one(self, identity: str, importance: float) -> None:
        self._db.execute(
            "UPDATE documents SET body = json_set(body, '$.importance', ?) WHERE id = ?",
            (importance, identity),
        )

    def delete_one(self, identity: str) -> None:
        self._db.execute("DELETE FROM documents WHERE id = ?", (identity,))


def dumped(document: Document) -> str:
    """The document as JSON, its date in milliseconds."""
    milliseconds = (document["created_at"] - EPOCH) // MILLISECOND
    return json.dumps(document | {"created_at": milliseconds}, separators=(",", ":"))


def loaded(text: str | bytes) -> Document:
    """And back."""
    document: Document = json.loads(text)
    document["created_at"] = EPOCH + document["created_at"] * MILLISECOND
    return document


def loaded_all(rows: Iterable[tuple[str]]) -> list[Document]:
    """The documents of a query's answer."""
    return [loaded(body) for (body,) in rows]
