"""close(), and handles and transactions that end where they did not begin, while others work.

Invariants  I-1, I-2, I-16. Choices follow the seed; the schedule is the operating system's.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.vfs import PythonVfs
from rango.database import Database
from rango.errors import DatabaseClosed, TransactionError
from tests.engine_case import FOLDER, KEY, open_tiny
from tests.race.model import Step, balances_hold, begin, move, together
from tests.unit.memory_disk import MemoryDisk


@pytest.mark.parametrize("durability", ["commit", "group", "memory"])
def test_close_while_others_work_gives_them_a_typed_error(
    tmp_path: Path, seed: int, durability: Any
) -> None:
    """Reads, cursors, writes, transactions, checkpoints and index builds run while the last handle
    is closed: each ends with DatabaseClosed, none with a crash, and the next open finds every
    acknowledged document. Defends I-1 and I-2."""
    chance = random.Random(seed)
    for number in range(8):
        path = tmp_path / f"db-{number}"
        db = open_tiny(path, key=KEY, durability=durability)
        begin(db)
        acknowledged: list[int] = []

        def inserts(db: Database = db, acknowledged: list[int] = acknowledged) -> None:
            for each in range(1_000_000):
                db["things"].insert_one({"_id": each})
                acknowledged.append(each)

        steps = [
            inserts,
            lambda db=db: move(db, chance),
            lambda db=db: balances_hold(db["accounts"].find_many({})),
            lambda db=db: balances_hold(db["accounts"].find({}).batch_size(1).to_list()),
            lambda db=db: db.checkpoint(),
            lambda db=db: list(db.check()),
            lambda db=db: db["accounts"].drop_index(db["accounts"].create_index("x")),
        ]

        def until_closed(step: Any) -> Step:
            def work() -> None:
                with pytest.raises(DatabaseClosed):
                    while True:
                        step()

            return work

        def closer(db: Database = db) -> None:
            time.sleep(chance.random() * 0.05)
            db.close()

        together(closer, *(until_closed(step) for step in steps))
        with open_tiny(path, key=KEY) as again:
            balances_hold(again["accounts"].find_many({}))
            assert again["things"].count_documents({}) >= len(acknowledged)
            assert not list(again.check())


def test_close_does_not_wait_for_a_flusher_that_missed_its_end() -> None:
    """In "group" mode close() ends the flushing thread at whatever point of its round it is.
    A wake-up that it cleared unseen made close() wait for ever, and with it every later open."""
    vfs = PythonVfs(MemoryDisk())

    def cycles() -> None:
        for number in range(150):
            with rango.open(FOLDER, vfs=vfs, durability="group", group_delay_ms=1) as db:
                db["things"].insert_one({"_id": number})
                time.sleep(number % 7 * 0.0003)

    together(cycles)


def test_two_handles_of_one_database_are_closed_in_any_order(tmp_path: Path) -> None:
    """Threads that open, use and close handles of their own share one core; the last one closes it.
    Defends I-16."""

    def work(at: int) -> Step:
        def use() -> None:
            for number in range(12):
                with rango.open(tmp_path / "db", key=KEY, durability="memory") as db:
                    db["things"].insert_one({"_id": f"{at}-{number}"})
                    assert db["things"].find_one(f"{at}-{number}") is not None

        return use

    together(*(work(at) for at in range(5)))
    with rango.open(tmp_path / "db", key=KEY) as db:
        assert db["things"].count_documents({}) == 60
        assert not list(db.check())


def test_a_transaction_that_is_ended_by_another_thread_lets_the_next_writer_in(
    tmp_path: Path,
) -> None:
    """A generator with a transaction inside is started in a thread that ends, and collected in
    another: the append lock must not stay taken for ever."""
    with rango.open(tmp_path / "db", durability="memory") as db:

        def paused() -> Generator[None]:
            with db.transaction():
                db["things"].insert_one({"_id": 1})
                yield

        held = paused()
        together(lambda: next(held))
        with suppress(TransactionError):
            held.close()
        done = threading.Event()

        def writer() -> None:
            db["things"].insert_one({"_id": 2})
            done.set()

        threading.Thread(target=writer, daemon=True).start()
        assert done.wait(5), "the append lock stayed taken"
        assert db["things"].find_one(1) is None


def test_close_does_not_wait_for_ever_for_a_thread_that_sits_in_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon thread calls a model inside a transaction while the program ends: close() gives it a
    moment, then closes without an error; the thread's commit hears DatabaseClosed, and what was
    acknowledged before is there. Defends I-1."""
    monkeypatch.setattr("rango.engine.core.CLOSE_WAIT_S", 0.05)
    db = rango.open(tmp_path / "db", durability="group")
    db["things"].insert_one({"_id": 1})
    entered, go_on = threading.Event(), threading.Event()

    def sit() -> None:
        with pytest.raises(DatabaseClosed), db.transaction():
            db["things"].insert_one({"_id": 2})
            entered.set()
            go_on.wait()

    def close() -> None:
        entered.wait()
        started = time.monotonic()
        db.close()
        assert time.monotonic() - started < 5
        go_on.set()

    together(sit, close)
    with rango.open(tmp_path / "db") as again:
        assert [each["_id"] for each in again["things"].find({})] == [1]
        assert not list(again.check())
