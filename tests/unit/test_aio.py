"""rango.aio: the same API for asyncio, off the event loop, whole or absent under cancellation."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import aio
from rango._ext.vfs import PythonVfs
from rango.aio.database import AsyncDatabase, AsyncKeys
from rango.aio.offload import WRITERS_MAX
from rango.engine.core import Core
from rango.errors import Conflict, DatabaseClosed, DuplicateKey, TransactionError
from rango.keys import Keys
from tests.unit.memory_disk import MemoryDisk

LONG_S = 60
Program = Callable[[AsyncDatabase], Coroutine[Any, Any, None]]


def run(path: Path, program: Program, **options: Any) -> None:
    """The program on a new database, which is checked afterwards, as are the threads."""

    async def main() -> None:
        async with await aio.open(path / "db", **options) as db:
            await program(db)

    asyncio.run(main())
    assert not [each for each in threading.enumerate() if each.name.startswith("rango-aio")]
    with rango.open(path / "db") as db:
        assert not list(db.check())


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that others bring about."""
    async with asyncio.timeout(LONG_S):
        while not holds():
            await asyncio.sleep(0.001)


def test_import_rango_does_not_load_asyncio() -> None:
    program = "import rango, sys; assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (rango.Collection, aio.AsyncCollection),
        (rango.Database, aio.AsyncDatabase),
    ],
)
def test_has_every_name_of_the_synchronous_class(source: type, target: type) -> None:
    names = {name for name in dir(source) if not name.startswith("_")}
    assert names <= set(dir(target))


def test_documents_go_in_and_out(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        notes = db["notes"]
        await notes.insert_many([{"_id": n, "even": n % 2 == 0} for n in range(1000)])
        await notes.create_index("even")
        assert await notes.count_documents({"even": True}) == 500
        assert await notes.find_one(7) == {"_id": 7, "even": False}
        assert [each["_id"] async for each in notes.find().sort("_id", -1).limit(3)] == [
            999,
            998,
            997,
        ]
        cursor = await notes.aggregate([{"$group": {"_id": "$even", "n": {"$sum": 1}}}])
        assert len(await cursor.to_list()) == 2
        assert await db.list_collection_names() == ["notes"]
        assert [finding async for finding in db.check()] == []
        with pytest.raises(DuplicateKey):
            await notes.insert_one({"_id": 1})

    run(tmp_path, program)


def test_a_cursor_gives_every_document_in_batches(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        await db["n"].insert_many([{"_id": n} for n in range(600)])
        cursor = db["n"].find(batch_size=7)
        first = [await anext(cursor) for _ in range(10)]
        rest = await cursor.to_list(100)
        assert [each["_id"] for each in first + rest] == list(range(110))
        assert [each["_id"] async for each in cursor] == list(range(110, 600))
        assert not cursor.alive

    run(tmp_path, program, durability="memory")


class HeldDisk(MemoryDisk):
    """A disk whose flush, once it is told to, waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = False
        self.is_inside, self.may_go_on = threading.Event(), threading.Event()

    def flush(self, fd: int) -> None:
        if self.is_held:
            self.is_held = False
            self.is_inside.set()
            self.may_go_on.wait(LONG_S)
        super().flush(fd)


def test_commits_of_tasks_share_a_flush() -> None:
    """Those that are appended while the disk flushes for the first one need one more together."""

    async def main() -> None:
        disk = HeldDisk()
        async with await aio.open("/db", vfs=PythonVfs(disk)) as db:
            await db["n"].insert_one({"_id": -1})
            appender = db._target._handle.core.store.appender
            before, start = appender.flush_count, appender.ordinal
            disk.is_held = True
            first = asyncio.create_task(db["n"].insert_one({"_id": 0}))
            await asyncio.to_thread(disk.is_inside.wait, LONG_S)
            others = [asyncio.create_task(db["n"].insert_one({"_id": n})) for n in range(1, 11)]
            await until(lambda: appender.ordinal == start + 11)
            disk.may_go_on.set()
            await asyncio.gather(first, *others)
            assert appender.flush_count == before + 2

    asyncio.run(main())


def test_the_event_loop_goes_on_while_a_writer_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = threading.Event()
    take = Core.append_lock_take

    def taking(core: Core) -> None:
        waits.set()
        take(core)

    async def program(db: AsyncDatabase) -> None:
        async with db.transaction():
            await db["n"].insert_one({"_id": "mine"})
            monkeypatch.setattr(Core, "append_lock_take", taking)
            loop = asyncio.get_running_loop()
            other = loop.create_task(delete(db), context=contextvars.Context())
            await asyncio.to_thread(waits.wait, LONG_S)
            # a reader is not held up by the writer that waits
            assert await db["n"].find_one("mine") is not None
            assert not other.done()
        await other
        assert await db["n"].count_documents({}) == 0

    async def delete(db: AsyncDatabase) -> None:
        await db["n"].delete_many({})

    run(tmp_path, program)


def test_a_transaction_is_one_commit_and_sees_its_own_writes(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        commits = (await db.stats())["commits"]
        async with db.transaction() as transaction:
            await db["n"].insert_one({"_id": 1})
            await db["n"].update_one({"_id": 1}, {"$set": {"a": 2}})
            assert await db["n"].find_one(1) == {"_id": 1, "a": 2}
        assert transaction.is_over
        assert (await db.stats())["commits"] == commits + 1

    run(tmp_path, program, durability="memory")


def test_an_error_in_a_transaction_aborts_it(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        with pytest.raises(ZeroDivisionError):
            async with db.transaction():
                await db["n"].insert_one({"_id": 1})
                raise ZeroDivisionError
        assert await db["n"].find_one(1) is None

    run(tmp_path, program, durability="memory")


def test_a_transaction_belongs_to_its_task(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        async with db.transaction():
            with pytest.raises(TransactionError):
                await asyncio.create_task(db["n"].insert_one({"_id": 1}))
            with pytest.raises(TransactionError):
                async with db.transaction():
                    pass
            with pytest.raises(TransactionError):
                await db.close()
            await db["n"].insert_one({"_id": 2})
        assert await db["n"].distinct("_id") == [2]

    run(tmp_path, program, durability="memory")


def test_tasks_that_transact_lose_no_update(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        counters = db["counters"]
        await counters.insert_one({"_id": "c", "value": 0})

        async def increment() -> None:
            done = 0
            while done < 5:
                try:
                    async with db.transaction():
                        found = await counters.find_one("c")
                        assert found is not None
                        value = found["value"] + 1
                        await counters.replace_one({"_id": "c"}, {"value": value})
                    done += 1
                except Conflict:
                    pass

        await asyncio.gather(*(increment() for _ in range(6)))
        assert await counters.find_one("c") == {"_id": "c", "value": 30}

    run(tmp_path, program, durability="memory")


def test_a_cancelled_insert_is_whole_or_absent_and_says_which(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        early = [asyncio.create_task(insert(db, n)) for n in range(100)]
        await asyncio.sleep(0)
        for turn, task in enumerate(early):
            if turn % 3 == 0:
                await asyncio.wait(early[turn : turn + 1], timeout=0)
            task.cancel()
        outcomes = await asyncio.gather(*early)
        # how far each of those came is luck; these wait for a lock that is held, or for nothing
        with rango.open(db.path) as other, other.transaction():
            other["n"].insert_one({"_id": "holds the lock"})
            late = [asyncio.create_task(insert(db, n)) for n in range(100, 140)]
            await asyncio.wait(late, timeout=0.05)
            for task in late:
                task.cancel()
            await asyncio.sleep(0)
        late.append(asyncio.create_task(insert(db, 140)))
        await asyncio.wait(late)
        late[-1].cancel()
        outcomes += await asyncio.gather(*late)
        for n, outcome in enumerate(outcomes):
            found = await db["n"].find_one(n)
            assert found == ({"_id": n, "text": "x" * 1000} if outcome == "whole" else None)
        assert set(outcomes) == {"whole", "absent"}

    async def insert(db: AsyncDatabase, n: int) -> str | None:
        try:
            await db["n"].insert_one({"_id": n, "text": "x" * 1000})
        except asyncio.CancelledError as error:
            return aio.outcome_of(error)
        return "whole"

    run(tmp_path, program)


def test_a_time_out_says_what_became_of_the_statement(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        limits: list[asyncio.Timeout] = []
        with rango.open(db.path) as other, other.transaction():
            other["n"].insert_one({"_id": "holds the lock"})
            tasks = [asyncio.create_task(late(db, n, limits)) for n in range(40)]
            await until(lambda: begun(db) == WRITERS_MAX and len(limits) == len(tasks))
            for limit in limits:
                limit.reschedule(0)
            # those that no worker has begun are taken back; the others wait for the lock
            await until(lambda: sum(each.done() for each in tasks) == len(tasks) - WRITERS_MAX)
        outcomes = await asyncio.gather(*tasks)
        found = set(await db["n"].distinct("_id"))
        assert {n for n, outcome in enumerate(outcomes) if outcome == "whole"} == found - {
            "holds the lock"
        }
        assert outcomes.count("absent") == 40 - WRITERS_MAX
        assert outcomes.count("whole") == WRITERS_MAX

    def begun(db: AsyncDatabase) -> int:
        return sum(each.running() for each in db._pool._pending)

    async def late(db: AsyncDatabase, n: int, limits: list[asyncio.Timeout]) -> str | None:
        try:
            async with asyncio.timeout(None) as limit:
                limits.append(limit)
                await db["n"].insert_one({"_id": n})
        except TimeoutError as error:
            return aio.outcome_of(error)
        return "in time"

    run(tmp_path, program)


def test_a_cancelled_transaction_aborts(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        is_in = asyncio.Event()

        async def block() -> None:
            async with db.transaction():
                await db["n"].insert_one({"_id": 1})
                is_in.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        await is_in.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await db["n"].count_documents({}) == 0
        await db["n"].insert_one({"_id": 2})  # the append lock is free again

    run(tmp_path, program)


def test_close_waits_for_what_runs_and_refuses_the_rest(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        tasks = [asyncio.create_task(db["n"].insert_one({"_id": n})) for n in range(50)]
        await asyncio.sleep(0)
        await db.close()
        assert all(each.inserted_id is not None for each in await asyncio.gather(*tasks))
        await db.close()
        with pytest.raises(DatabaseClosed):
            await db["n"].find_one(1)

    run(tmp_path, program)
    with rango.open(tmp_path / "db") as db:
        assert db["n"].count_documents({}) == 50


def test_closing_aborts_a_transaction_of_another_task(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        is_in, is_closed = asyncio.Event(), asyncio.Event()

        async def block() -> None:
            async with db.transaction():
                await db["n"].insert_one({"_id": 1})
                is_in.set()
                await is_closed.wait()

        task = asyncio.create_task(block())
        await is_in.wait()
        waiting = asyncio.create_task(db["n"].insert_one({"_id": 2}))
        await asyncio.sleep(0)
        await db.close()
        await waiting
        is_closed.set()
        with pytest.raises(DatabaseClosed):
            await task

    run(tmp_path, program)
    with rango.open(tmp_path / "db") as db:
        assert db["n"].distinct("_id") == [2]


def test_a_cancelled_open_leaves_the_database_closed(tmp_path: Path) -> None:
    async def main() -> None:
        task = asyncio.create_task(aio.open(tmp_path / "db"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not [each for each in threading.enumerate() if each.name.startswith("rango-aio")]
    with rango.open(tmp_path / "db") as db:
        assert db.list_collection_names() == []


def test_methods_keep_the_signature_and_the_help_of_the_synchronous_ones() -> None:
    assert aio.AsyncCollection.insert_one.__doc__ == rango.Collection.insert_one.__doc__
    assert aio.open.__doc__ == rango.open.__doc__


def test_keys_are_awaited(tmp_path: Path) -> None:
    async def main() -> None:
        async with await aio.open(tmp_path / "db", key=b"k" * 32) as db:
            await db["a"].insert_one({"_id": 1})
            number = await db.keys.add(key=b"n" * 32)
            assert len(await db.keys.list()) == 2
            epoch = db.keys.epoch
            assert await db.keys.rotate() == epoch + 1
            await db.keys.remove(0 if number else 1)
        async with await aio.open(tmp_path / "db", key=b"n" * 32) as db:
            assert await db["a"].find_one(1) == {"_id": 1}

    asyncio.run(main())


def test_keys_have_every_name_of_the_synchronous_class() -> None:
    names = {name for name in dir(Keys) if not name.startswith("_")}
    assert names == {name for name in dir(AsyncKeys) if not name.startswith("_")}


def test_rekey_is_awaited(tmp_path: Path) -> None:
    async def seal() -> None:
        path = tmp_path / "db"
        async with await rango.aio.open(path) as db:
            await db["notes"].insert_one({"_id": 1})
        done = await rango.aio.rekey(path, new_key=bytes(32), remove_old=True)
        assert done["kept"] is None
        async with await rango.aio.open(path, key=bytes(32)) as db:
            assert await db["notes"].count_documents({}) == 1

    asyncio.run(seal())
