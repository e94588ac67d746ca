"""Several transactions of one thread, as tasks of one event loop have them: one that has no append
lock never lets go that of another.
"""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import TransactionError

Notes = rango.Collection[Any]


def elsewhere(call: Callable[[], Any]) -> Any:
    """Run something outside of the transaction that is running, in the same thread."""
    return contextvars.Context().run(call)


def read_in_a_transaction(db: rango.Database) -> None:
    with db.transaction():
        db["notes"].find_one({"_id": 1})


def read_and_give_up(db: rango.Database) -> None:
    with pytest.raises(ZeroDivisionError), db.transaction():
        db["notes"].find_one({"_id": 1})
        raise ZeroDivisionError


def refused(*writes: Callable[[Notes], Any]) -> Callable[[rango.Database], None]:
    def run(db: rango.Database) -> None:
        for write in writes:
            with pytest.raises(TransactionError):
                write(db["notes"])

    return run


def refused_in_a_transaction(db: rango.Database) -> None:
    with pytest.raises(TransactionError), db.transaction():
        db["notes"].find_one({"_id": 1})
        db["notes"].insert_one({"_id": 9})


OTHERS: list[Callable[[rango.Database], None]] = [
    read_in_a_transaction,
    read_and_give_up,
    refused(lambda notes: notes.update_many({}, {"$set": {"b": 1}})),
    refused(lambda notes: notes.update_one({"_id": 1}, {"$set": {"b": 1}})),
    refused(lambda notes: notes.insert_one({"_id": 9})),
    refused(lambda notes: notes.delete_many({}), lambda notes: notes.insert_many([{"_id": 9}])),
    refused_in_a_transaction,
]


@pytest.mark.parametrize("other", OTHERS)
def test_the_append_lock_stays_with_who_has_it(
    tmp_path: Path, other: Callable[[rango.Database], None]
) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": 1})
        lock = db._handle.core.append_lock
        with db.transaction():
            db["notes"].update_one({"_id": 1}, {"$set": {"a": 1}})
            for _ in range(2):
                elsewhere(lambda: other(db))
                assert lock.is_mine
        assert not lock.is_mine
        assert list(db["notes"].find()) == [{"_id": 1, "a": 1}]


WRITER = """
import sys, rango
with rango.open(sys.argv[1]) as db:
    db["notes"].insert_one({"_id": "other"})
"""


def test_another_process_waits_for_the_transaction_whatever_its_thread_does(
    tmp_path: Path,
) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": 1})
        with db.transaction():
            db["notes"].update_one({"_id": 1}, {"$set": {"a": 1}})
            elsewhere(lambda: read_in_a_transaction(db))
            other = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "db")])
            with pytest.raises(subprocess.TimeoutExpired):
                other.wait(timeout=1.5)
        assert other.wait(timeout=60) == 0
    with rango.open(tmp_path / "db") as db:
        assert {each["_id"] for each in db["notes"].find()} == {1, "other"}
        assert list(db.check()) == []


def test_tasks_of_one_loop(tmp_path: Path) -> None:
    async def writes(db: rango.Database) -> None:
        with db.transaction():
            db["notes"].update_one({"_id": 1}, {"$inc": {"n": 1}})
            await asyncio.sleep(0.02)
            assert db._handle.core.append_lock.is_mine

    async def reads(db: rango.Database) -> None:
        for _ in range(5):
            await asyncio.sleep(0.002)
            read_in_a_transaction(db)

    async def both(db: rango.Database) -> None:
        await asyncio.gather(writes(db), reads(db))

    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": 1, "n": 0})
        asyncio.run(both(db))
        assert db["notes"].find_one({"_id": 1}) == {"_id": 1, "n": 1}
