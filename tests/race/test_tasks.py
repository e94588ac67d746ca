"""Transactions belong to the task or thread that entered them (context variables, asyncio).

Invariants  I-16: what one task has not committed, no other sees.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import rango
from rango.database import Database
from rango.errors import Conflict, TransactionError
from tests.engine_case import present


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A database with one counter."""
    with rango.open(tmp_path / "db", durability="memory") as database:
        database["counters"].insert_one({"_id": "c", "value": 0})
        yield database
        assert not list(database.check())


def value_of(db: Database) -> int:
    """The counter."""
    return int(present(db["counters"].find_one("c"))["value"])


def test_tasks_that_transact_between_awaits_lose_nothing(db: Database) -> None:
    """Many tasks: each reads in a transaction, lets others run, writes; after Conflict again."""

    async def increment() -> int:
        conflicts = 0
        done = 0
        while done < 5:
            try:
                with db.transaction():
                    value = value_of(db)
                    await asyncio.sleep(0)
                    db["counters"].replace_one({"_id": "c"}, {"value": value + 1})
                done += 1
            except Conflict:
                conflicts += 1
        return conflicts

    async def main() -> list[int]:
        return await asyncio.gather(*(increment() for _ in range(10)))

    conflicts = asyncio.run(main())
    assert value_of(db) == 50
    assert sum(conflicts) > 0


def test_a_second_writer_in_one_event_loop_is_refused_instead_of_waiting_for_itself(
    db: Database,
) -> None:
    """One task holds the append lock over an await; another one writes. To wait would stop the
    loop, and with it the task that is waited for."""
    order: list[str] = []

    async def holder(entered: asyncio.Event, go_on: asyncio.Event) -> None:
        with db.transaction():
            db["counters"].update_one({"_id": "c"}, {"$inc": {"value": 1}})
            entered.set()
            await go_on.wait()
        order.append("holder committed")

    async def main() -> None:
        entered, go_on = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(holder(entered, go_on))
        await entered.wait()
        assert value_of(db) == 0
        with pytest.raises(TransactionError):
            db["counters"].update_one({"_id": "c"}, {"$inc": {"value": 10}})
        order.append("refused")
        go_on.set()
        await task
        db["counters"].update_one({"_id": "c"}, {"$inc": {"value": 100}})

    asyncio.run(asyncio.wait_for(main(), 10))
    assert order == ["refused", "holder committed"]
    assert value_of(db) == 101


def test_a_task_or_thread_that_inherited_a_transaction_may_not_use_it(db: Database) -> None:
    """create_task and to_thread copy the context, and with it the mark of the transaction."""

    async def main() -> None:
        async def child() -> None:
            with pytest.raises(TransactionError):
                db["counters"].find_many({})
            with pytest.raises(TransactionError):
                db["counters"].insert_one({})

        def in_thread() -> None:
            with pytest.raises(TransactionError):
                db["counters"].insert_one({})

        with db.transaction():
            db["counters"].update_one({"_id": "c"}, {"$inc": {"value": 1}})
            await asyncio.create_task(child())
            await asyncio.to_thread(in_thread)
        assert value_of(db) == 1

    asyncio.run(main())


def test_an_empty_context_and_a_new_thread_see_only_what_is_committed(db: Database) -> None:
    """Outside the context of a transaction there is none."""
    seen: list[int] = []
    with db.transaction():
        db["counters"].update_one({"_id": "c"}, {"$inc": {"value": 1}})
        assert value_of(db) == 1
        contextvars.Context().run(lambda: seen.append(value_of(db)))
        thread = threading.Thread(target=lambda: seen.append(value_of(db)))
        thread.start()
        thread.join()
    assert seen == [0, 0]
    assert value_of(db) == 1


def test_a_cancelled_task_aborts_its_transaction(db: Database) -> None:
    """CancelledError leaves the block like any other exception: nothing was written, and the next
    writer gets in at once."""

    async def main() -> None:
        entered = asyncio.Event()

        async def stuck() -> None:
            with db.transaction():
                db["counters"].update_one({"_id": "c"}, {"$inc": {"value": 1}})
                entered.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(stuck())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        db["counters"].update_one({"_id": "c"}, {"$inc": {"value": 10}})

    asyncio.run(main())
    assert value_of(db) == 10
