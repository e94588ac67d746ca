"""Change streams for asyncio: in order, without a thread each, and cancelled without a loss."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import rango.aio
from rango.aio import AsyncDatabase
from rango.errors import DatabaseClosed, InvalidPipeline, TokenRejected, TransactionError


def run(path: Path, program: Callable[[AsyncDatabase], Awaitable[None]]) -> None:
    async def main() -> None:
        async with await rango.aio.open(path / "db") as db:
            async with asyncio.timeout(60):
                await program(db)

    asyncio.run(main())


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "rango-watch"]


def test_streams_of_many_tasks_share_one_thread(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        notes = db["notes"]

        async def watch(stream: Any, count: int) -> list[Any]:
            found = []
            async for change in stream:
                found.append(change["documentKey"]["_id"])
                if len(found) == count:
                    break
            return found

        tasks = [asyncio.create_task(watch(notes.watch(), 20)) for _ in range(20)]
        tasks.append(asyncio.create_task(watch(db.watch(), 20)))
        await asyncio.sleep(0)
        for n in range(20):
            await notes.insert_one({"_id": n})
        assert await asyncio.gather(*tasks) == [list(range(20))] * 21
        assert len(threads()) <= 1

    run(tmp_path, program)
    assert not threads()


def test_a_stream_begins_when_watch_is_called(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        stream = db["notes"].watch([{"$match": {"operationType": "insert"}}])
        await db["notes"].insert_many([{"_id": n} for n in range(200)])
        async with stream:
            assert [(await stream.next())["documentKey"]["_id"] for _ in range(200)] == [
                *range(200)
            ]
            assert await stream.try_next() is None and stream.alive
        assert not stream.alive and await stream.try_next() is None
        with pytest.raises(StopAsyncIteration):
            await stream.next()

    run(tmp_path, program)


def test_a_wait_that_is_cancelled_loses_nothing(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        stream = await db["notes"].watch()
        found = []
        writers = [asyncio.create_task(db["notes"].insert_one({})) for _ in range(50)]
        while len(found) < 50:
            waiting = asyncio.create_task(stream.next())
            for _ in range(len(found) % 3):
                await asyncio.sleep(0)
            waiting.cancel()
            try:
                found.append((await waiting)["ordinal"])
            except asyncio.CancelledError:
                found += [each["ordinal"]] if (each := await stream.try_next()) else []
        await asyncio.gather(*writers)
        assert found == sorted(set(found)) and await stream.try_next() is None

    run(tmp_path, program)


def test_the_token_is_behind_what_was_returned_and_not_behind_what_was_read(
    tmp_path: Path,
) -> None:
    async def program(db: AsyncDatabase) -> None:
        stream = db.watch()
        assert stream.resume_token is None
        await stream
        first = stream.resume_token
        await db["notes"].insert_many([{"_id": n} for n in range(5)])
        await stream.next()
        tokens = [stream.resume_token]
        await stream.close()
        for token in (*tokens, stream.resume_token):
            again = db.watch(resume_after=token)
            assert (await again.next())["documentKey"] == {"_id": 1}
        whole = db.watch(start_after=first)
        assert (await whole.next())["documentKey"] == {"_id": 0}

    run(tmp_path, program)


def test_errors_come_where_they_are_awaited(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        with pytest.raises(TokenRejected):
            db.watch(resume_after="x")
        async with db.transaction():
            with pytest.raises(TransactionError):
                db.watch()
        stream = db.watch([{"$unset": "_id"}])
        await db["notes"].insert_one({})
        with pytest.raises(InvalidPipeline):
            await stream.next()
        assert not stream.alive

    run(tmp_path, program)


def test_a_dropped_collection_ends_its_stream(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        stream = db["notes"].watch()
        await db["notes"].insert_one({})
        await db["notes"].drop()
        assert [each["operationType"] async for each in stream] == ["insert", "drop", "invalidate"]

    run(tmp_path, program)


def test_closing_the_database_or_the_stream_ends_the_wait(tmp_path: Path) -> None:
    async def program(db: AsyncDatabase) -> None:
        closed, left = db.watch(), db.watch()
        tasks = [asyncio.create_task(each.next()) for each in (closed, left)]
        await asyncio.sleep(0.01)
        await closed.close()
        await db.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        # a coroutine may not raise StopAsyncIteration's sync twin; it comes as it is
        assert [type(each) for each in results] == [StopAsyncIteration, DatabaseClosed]

    run(tmp_path, program)
    assert not threads()
