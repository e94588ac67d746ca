"""Honest databases with signed heads, for those who attack them."""

from __future__ import annotations

from pathlib import Path

import rango
from rango.proof import Anchor

KEY = bytes(range(32))


def grow(db: rango.Database, count: int) -> None:
    """Commits of different sizes."""
    for number in range(count):
        db["notes"].insert_one({"n": number, "text": "tea " * (number % 40)})


def roll(db: rango.Database) -> None:
    """Go on in a new segment."""
    core = db._handle.core
    try:
        core.append_lock_take()
        core.store.appender.roll_over()
    finally:
        core.append_lock.drop()


def made(path: Path, key: bytes | None = KEY) -> list[Anchor]:
    """A database of three segments with heads signed at about 20, 40, 60 and the end."""
    anchors = []
    with rango.open(path, key=key, node_id="here") as db:
        for at in range(3):
            grow(db, 20)
            anchors.append(db.anchor())
            if at < 2:
                roll(db)
        grow(db, 5)
    return [*anchors, rango.read_anchor(path)]
