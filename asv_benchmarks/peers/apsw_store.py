"""SQLite by apsw, with JSONB and indexes on expressions. Not encrypted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import apsw

from asv_benchmarks.benchmarks.workload import Document
from asv_benchmarks.peers.sqlite_store import dumped, loaded
from asv_benchmarks.peers.store import (
    FILE_WORKS,
    READ_WORKS,
    RELAXED_WORKS,
    WRITE_WORKS,
    Store,
)

SCHEMA = """
    CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS agents ON documents (body ->> '$.agent_id');
    CREATE INDEX IF NOT EXISTS created ON documents (body ->> '$.created_at');
"""


class ApswStore(Store):
    """Write-ahead log, synchronous=FULL: a commit is durable, as it is in the others."""

    name = "apsw-jsonb"
    short = "apsw"
    module = "apsw"
    works = READ_WORKS | WRITE_WORKS | RELAXED_WORKS | FILE_WORKS

    def open(self) -> None:
        self._db = apsw.Connection(str(self.folder / "db.sqlite"))
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={'OFF' if self.is_relaxed else 'FULL'}")
        self._db.execute(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def settle(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _found(self, rest: str, *values: Any) -> list[Document]:
        lines: Iterable[Any] = self._db.execute(f"SELECT json(body) FROM documents {rest}", values)
        return [loaded(text) for (text,) in lines]

    def find_one(self, identity: str) -> Document | None:
        found = self._found("WHERE id = ?", identity)
        return found[0] if found else None

    def find_at_least(self, importance: float) -> list[Document]:
        return self._found("WHERE body ->> '$.importance' >= ?", importance)

    def find_agent(self, agent: str) -> list[Document]:
        return self._found("WHERE body ->> '$.agent_id' = ?", agent)

    def top_importance(self, count: int) -> list[Document]:
        return self._found("ORDER BY body ->> '$.importance' DESC LIMIT ?", count)

    def top_created(self, count: int) -> list[Document]:
        return self._found("ORDER BY body ->> '$.created_at' DESC LIMIT ?", count)

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM documents").fetchall()[0][0])

    def count_between(self, first: int, last: int) -> int:
        query = "SELECT count(*) FROM documents WHERE body ->> '$.created_at' BETWEEN ? AND ?"
        return int(self._db.execute(query, (first, last)).fetchall()[0][0])

    def group_agents(self) -> dict[str, float]:
        query = (
            "SELECT body ->> '$.agent_id', sum(body ->> '$.importance') FROM documents GROUP BY 1"
        )
        return dict(self._db.execute(query).fetchall())

    def insert_many(self, documents: list[Document]) -> None:
        with self._db:
            self._db.executemany(
                "INSERT INTO documents VALUES (?, jsonb(?))",
                [(document["_id"], dumped(document)) for document in documents],
            )

    def insert_one(self, document: Document) -> None:
        self._db.execute(
            "INSERT INTO documents VALUES (?, jsonb(?))", (document["_id"], dumped(document))
        )

    def update_one(self, identity: str, importance: float) -> None:
        self._db.execute(
            "UPDATE documents SET body = jsonb_set(body, '$.importance', json(?)) WHERE id = ?",
            (json.dumps(importance), identity),
        )

    def delete_one(self, identity: str) -> None:
        self._db.execute("DELETE FROM documents WHERE id = ?", (identity,))
