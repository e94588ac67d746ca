"""A database with some history, in small segments, and what tests of compact() look at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import database

PIECE_SIZE = 64 * 1024


def segments_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several segments, so that there are places to cut at."""
    made = database.options_of

    def options(*args: Any, **more: Any) -> Any:
        return made(*args, **more)._replace(segment_size_max=PIECE_SIZE)

    monkeypatch.setattr(database, "options_of", options)


def fill(db: rango.Database, count: int = 300) -> None:
    """Inserts, updates, deletes, several indexes, a dropped collection, settings."""
    notes = db["notes"]
    notes.create_index("k")
    notes.create_index("tags", sparse=True)
    db["gone"].insert_one({"_id": 1})
    db.drop_collection("gone")
    for n in range(count):
        notes.insert_one({"_id": n, "k": n % 7, "tags": ["a", "b"] * (n % 3), "text": f"{n} " * 90})
    notes.update_many({"k": 3}, {"$set": {"k": "three"}})
    notes.delete_many({"_id": {"$gte": count - 20}})
    db["large"].insert_one({"_id": 1, "text": "x" * 300_000})
    db.set_limits(document_size_bytes_max=5_000_000)


def digest(db: rango.Database) -> str:
    return db._handle.core.digest()


def files(path: Path) -> list[str]:
    return sorted(each for each in os.listdir(path / "oplog") if each.endswith(".rgo"))
