"""Cancelling what runs: from another thread, by a scope around it, and under asyncio.

Method      the test of $expr is a function of the test, so that it knows how far a scan is: it
            cancels at some document, or holds the scan there until another thread has cancelled it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import aio, cancel_scope
from rango._ext import stop
from rango._ext.record import decode, record_parts
from rango.collection import Collection
from rango.cursor import Cursor
from rango.database import Database
from rango.engine.filters import Hooks, program_of
from rango.engine.sort import sorter_of
from rango.errors import InvalidArgument, QueryCancelled, Timeout
from tests.unit.test_filter import record_of

COUNT = 3_000
NEAR = 64
"""Documents between two looks of a scan."""

LONG_S = 60
numbers = itertools.count()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with rango.open(tmp_path / "db", durability="memory") as database:
        database["c"].insert_many([{"_id": n, "n": n % 7, "s": str(n)} for n in range(COUNT)])
        yield database


class Probe:
    """What $expr calls for each document: all of them match."""

    def __init__(self) -> None:
        self.calls = 0
        self.action: Callable[[], object] = lambda: None

    def __call__(self, document: dict[str, Any]) -> bool:
        self.calls += 1
        if self.calls == 1:
            self.action()
        return True

    @property
    def filter(self) -> dict[str, Any]:
        """A filter that asks it, and that was compiled for nobody else."""
        return {"$expr": {"$eq": [next(numbers), -1]}}


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    made = Probe()
    monkeypatch.setattr(Hooks, "expression", lambda *_: made)
    return made


Operation = Callable[[Collection, Probe], Any]

OPERATIONS: dict[str, Operation] = {
    "find": lambda c, probe: c.find(probe.filter).to_list(),
    "find_many": lambda c, probe: c.find_many(probe.filter),
    "find, sorted": lambda c, probe: c.find_many(probe.filter, sort=[("n", 1)]),
    "count": lambda c, probe: c.count_documents(probe.filter),
    "distinct": lambda c, probe: c.distinct("n", probe.filter),
    "explain": lambda c, probe: c.explain(probe.filter),
    "aggregate": lambda c, probe: c.aggregate([{"$match": probe.filter}]).to_list(),
    "$group": lambda c, probe: c.aggregate(
        [{"$match": probe.filter}, {"$group": {"_id": "$n", "s": {"$max": "$s"}}}]
    ).to_list(),
    "$lookup": lambda c, probe: c.aggregate(
        [
            {"$limit": 1},
            {"$lookup": {"from": "c", "as": "x", "pipeline": [{"$match": probe.filter}]}},
        ]
    ).to_list(),
    "$out": lambda c, probe: c.aggregate([{"$match": probe.filter}, {"$out": "c"}]),
    "update_many": lambda c, probe: c.update_many(probe.filter, {"$set": {"y": 1}}),
    "delete_many": lambda c, probe: c.delete_many(probe.filter),
    "bulk_write": lambda c, probe: c.bulk_write([rango.DeleteMany(probe.filter)]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_scope_ends_what_runs_in_it_within_a_few_documents(
    db: Database, probe: Probe, name: str
) -> None:
    before = db["c"].find_many()
    with cancel_scope() as scope, pytest.raises(QueryCancelled) as raised:
        probe.action = scope.cancel
        OPERATIONS[name](db["c"], probe)
    assert raised.value.code == 11601
    assert 1 <= probe.calls <= NEAR
    assert db["c"].find_many() == before
    assert list(db.check()) == []
    db["c"].insert_one({"_id": -1})  # the append lock is free again


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_begins_in_a_cancelled_scope(db: Database, probe: Probe, name: str) -> None:
    with cancel_scope() as scope:
        scope.cancel()
        with pytest.raises(QueryCancelled):
            OPERATIONS[name](db["c"], probe)
    assert probe.calls == 0
    assert OPERATIONS["count"](db["c"], probe) == COUNT


def held(probe: Probe, work: Callable[[], Any], cancel: Callable[[], object]) -> Any:
    """What `work` raises in a thread if it is cancelled here while a scan of it runs."""
    is_inside, may_go_on = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def action() -> None:
        is_inside.set()
        may_go_on.wait(LONG_S)

    def run() -> None:
        try:
            work()
        except QueryCancelled as error:
            raised.append(error)

    probe.action = action
    thread = threading.Thread(target=run)
    thread.start()
    is_inside.wait(LONG_S)
    cancel()
    may_go_on.set()
    thread.join(LONG_S)
    return raised


def test_another_thread_cancels_a_running_cursor(db: Database, probe: Probe) -> None:
    cursor = db["c"].find(probe.filter)
    assert len(held(probe, cursor.to_list, cursor.cancel)) == 1
    assert probe.calls <= NEAR
    assert not cursor.alive
    assert len(cursor.rewind().to_list()) == COUNT


def test_another_thread_cancels_a_running_pipeline(db: Database, probe: Probe) -> None:
    cursor = db["c"].aggregate([{"$match": probe.filter}, {"$sort": {"s": 1}}])
    assert len(held(probe, cursor.to_list, cursor.cancel)) == 1
    assert probe.calls <= NEAR
    assert not cursor.alive


def test_another_thread_cancels_a_scope(db: Database, probe: Probe) -> None:
    scope = cancel_scope()

    def work() -> None:
        with scope:
            db["c"].delete_many(probe.filter)

    assert len(held(probe, work, scope.cancel)) == 1
    assert db["c"].count_documents({}) == COUNT


def test_a_cursor_that_is_cancelled_between_two_fetches_gives_no_more(db: Database) -> None:
    cursor = db["c"].find(batch_size=10)
    next(cursor)
    cursor.cancel()
    with pytest.raises(QueryCancelled):
        next(cursor)
    assert not cursor.alive
    fresh = db["c"].find()
    fresh.cancel()
    with pytest.raises(QueryCancelled):
        fresh.to_list()
    pipeline = db["c"].aggregate([{"$match": {"n": 1}}])
    next(pipeline)
    pipeline.cancel()
    with pytest.raises(QueryCancelled):
        next(pipeline)


def test_cancelling_a_cursor_that_is_over_changes_nothing(db: Database) -> None:
    cursor = db["c"].find({"_id": 1})
    assert len(cursor.to_list()) == 1
    cursor.cancel()
    assert cursor.to_list() == []
    pipeline = db["c"].aggregate([{"$match": {"_id": 1}}])
    assert len(pipeline.to_list()) == 1
    pipeline.cancel()
    assert pipeline.to_list() == []


def test_a_clone_is_not_cancelled(db: Database) -> None:
    cursor = db["c"].find({"_id": 1})
    cursor.cancel()
    assert isinstance(cursor.clone(), Cursor)
    assert len(cursor.clone().to_list()) == 1


def test_scopes_nest(db: Database) -> None:
    with cancel_scope() as outer, cancel_scope() as inner:
        outer.cancel()
        assert inner.is_cancelled
        with pytest.raises(QueryCancelled):
            db["c"].find_many()
    with cancel_scope() as outer:
        with cancel_scope() as inner:
            inner.cancel()
        assert not outer.is_cancelled
        assert len(db["c"].find_many()) == COUNT


def test_a_scope_is_entered_once(db: Database) -> None:
    with cancel_scope() as scope:
        pass
    with pytest.raises(InvalidArgument, match="used once"), scope:
        pass


def test_inserts_and_reads_by_id_do_not_look_at_a_scope(db: Database) -> None:
    with cancel_scope() as scope:
        scope.cancel()
        db["c"].insert_one({"_id": -1})
        assert db["c"].find_one(-1) == {"_id": -1}


def test_building_an_index_is_cancelled_and_leaves_none(db: Database) -> None:
    with cancel_scope() as scope, pytest.raises(QueryCancelled) as raised:
        db["c"].create_index("n", progress=lambda *_: scope.cancel())
    assert raised.value.__notes__ == ["the index is not there; create it again"]
    assert list(db["c"].index_information()) == ["_id_"]
    assert list(db.check()) == []


def test_a_long_sort_is_stopped_and_a_finished_one_is_in_order() -> None:
    count = 3 * 4096 + 5
    values = [(n * 7919) % 1000 for n in range(count)]
    records = [record_of({"_id": n, "a": value}) for n, value in enumerate(values)]
    expected = sorted(range(count), key=lambda n: -values[n])
    sorter = sorter_of((("a", -1),))
    sorter.add_records(records)
    assert sorter.records(0, count) == [records[n] for n in expected]
    ended = stop.Stop()
    sorter = sorter_of((("a", -1),), stop=ended)
    sorter.add_records(records)
    ended.cancel()
    with pytest.raises(QueryCancelled):
        sorter.records(0, 1)


def test_a_sort_may_be_stopped_at_each_of_its_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * 4096 + 5
    records = [record_of({"_id": n, "a": (n * 7919) % 1000}) for n in range(count)]
    late = 1
    while True:
        late += 1
        times = itertools.chain(itertools.repeat(0, late), itertools.repeat(1 << 62))
        monkeypatch.setattr(stop, "clock", lambda times=times: next(times))
        ended = stop.Stop()
        ended.start(1, None)
        sorter = sorter_of((("a", 1),), stop=ended)
        sorter.add_records(records)
        try:
            found = sorter.records(0, count)
        except Timeout:
            continue
        break
    # four runs, two merges of two and one of all, each looks every 4,096 items
    assert late == 1 + 4 + 4 + 4
    assert found == sorted(records, key=lambda each: decode(record_parts(each)[6])["a"])


def test_a_scan_looks_at_the_clock_among_deleted_documents_too(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.checkpoint()
    db["c"].delete_many({})
    times = itertools.chain([0, 0], itertools.repeat(1 << 62))
    monkeypatch.setattr(stop, "clock", lambda: next(times))
    with pytest.raises(Timeout):
        db["c"].count_documents({"n": 1}, max_time_ms=1)


def test_an_unwinding_that_makes_many_of_few_looks_at_the_clock(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    db["a"].insert_one({"_id": 0, "x": list(range(1000))})
    copies: dict[str, Any] = {"$set": {"y": "$x", "z": "$x"}}
    unwinds = [copies, *({"$unwind": f"${name}"} for name in "xyz")]
    times = itertools.chain(itertools.repeat(0, 20), itertools.repeat(1 << 62))
    monkeypatch.setattr(stop, "clock", lambda: next(times))
    cursor = db["a"].aggregate([*unwinds, {"$skip": 10**9}], max_time_ms=1)
    with pytest.raises(Timeout):  # 10^9 documents: it does not end by itself
        cursor.to_list()


def test_a_signal_is_handled_while_the_main_thread_scans(db: Database) -> None:
    """Ctrl-C, which waited for the end of a scan that holds no GIL."""
    text = "x" * 2000
    db["c"].insert_many([{"_id": -n, "text": text} for n in range(1, 20_000)])
    view = db._handle.core.view()
    tree = view.catalog.collections["c"].tree_id
    # some seconds, if it is not interrupted
    slow = {"$or": [{"text": {"$regex": f"x+{n}"}} for n in range(60)]}
    scan = view.scan(tree, None, None, False, program_of(slow))
    total = view.count(tree)

    def interrupt() -> None:
        # the GIL is free as long as it scans
        while scan.keys_examined < 100:
            time.sleep(0.0005)
        os.kill(os.getpid(), signal.SIGUSR1)

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            scan.count()
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert 100 <= scan.keys_examined < total
    assert scan.next_records(1) == []


# --- asyncio


Program = Callable[[aio.AsyncDatabase], Any]


def run(path: Path, program: Program) -> None:
    """The program on a database of COUNT documents."""

    async def main() -> None:
        async with await aio.open(path / "db", durability="memory") as database:
            await database["c"].insert_many([{"_id": n, "n": n % 7} for n in range(COUNT)])
            await program(database)

    asyncio.run(main())


ASYNC_OPERATIONS: dict[str, Callable[[aio.AsyncCollection, Probe], Any]] = {
    "find_many": lambda c, probe: c.find_many(probe.filter),
    "cursor": lambda c, probe: c.find(probe.filter).to_list(),
    "count": lambda c, probe: c.count_documents(probe.filter),
    "update_many": lambda c, probe: c.update_many(probe.filter, {"$set": {"y": 1}}),
    "delete_many": lambda c, probe: c.delete_many(probe.filter),
    "$out": lambda c, probe: c.aggregate([{"$match": probe.filter}, {"$out": "c"}]),
}


async def cancelled(probe: Probe, work: Any) -> asyncio.CancelledError:
    """The error of a task that is cancelled while the scan of its statement is held."""
    is_inside, may_go_on = threading.Event(), threading.Event()

    def action() -> None:
        is_inside.set()
        may_go_on.wait(LONG_S)

    probe.action = action
    task = asyncio.ensure_future(work)
    await asyncio.to_thread(is_inside.wait, LONG_S)
    task.cancel()
    for _ in range(3):  # so many turns of the loop are enough for the task to hear of it
        await asyncio.sleep(0)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    return raised.value


@pytest.mark.parametrize("name", ASYNC_OPERATIONS)
def test_cancelling_a_task_stops_the_scan_of_its_statement(
    tmp_path: Path, probe: Probe, name: str
) -> None:
    async def program(db: aio.AsyncDatabase) -> None:
        error = await cancelled(probe, ASYNC_OPERATIONS[name](db["c"], probe))
        assert aio.outcome_of(error) == "absent"
        assert probe.calls <= NEAR
        assert await db["c"].count_documents({"y": None}) == COUNT

    run(tmp_path, program)


def test_a_cursor_whose_fetch_was_cancelled_does_not_pretend_to_be_at_its_end(
    tmp_path: Path, probe: Probe
) -> None:
    async def program(db: aio.AsyncDatabase) -> None:
        cursor = db["c"].find(probe.filter)
        await cancelled(probe, anext(cursor))
        for fetch in (cursor.next, cursor.to_list):
            with pytest.raises(QueryCancelled, match="rewind"):
                await fetch()
        assert len(await cursor.rewind().to_list()) == COUNT
        await cancelled_before_it_began(db)
        pipeline = await db["c"].aggregate([{"$match": probe.filter}])
        probe.calls = 0
        await cancelled(probe, anext(pipeline))
        with pytest.raises(QueryCancelled):
            await pipeline.try_next()
        await pipeline.close()
        assert await pipeline.try_next() is None

    async def cancelled_before_it_began(db: aio.AsyncDatabase) -> None:
        cursor = db["c"].find(batch_size=5)
        assert (await anext(cursor))["_id"] == 0
        task = asyncio.ensure_future(cursor.to_list())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(QueryCancelled):
            await anext(cursor)

    run(tmp_path, program)


def test_an_asynchronous_cursor_is_cancelled_from_another_task(
    tmp_path: Path, probe: Probe
) -> None:
    async def program(db: aio.AsyncDatabase) -> None:
        cursor = db["c"].find(probe.filter)
        probe.action = cursor.cancel
        with pytest.raises(QueryCancelled):
            await cursor.to_list()
        assert probe.calls <= NEAR
        pipeline = await db["c"].aggregate([])
        pipeline.cancel()
        with pytest.raises(QueryCancelled):
            await pipeline.to_list()

    run(tmp_path, program)


def test_a_scope_reaches_the_worker_threads(tmp_path: Path, probe: Probe) -> None:
    async def program(db: aio.AsyncDatabase) -> None:
        with cancel_scope() as scope:
            probe.action = scope.cancel
            with pytest.raises(QueryCancelled):
                await db["c"].update_many(probe.filter, {"$set": {"y": 1}})
        assert 1 <= probe.calls <= NEAR
        with cancel_scope() as scope:
            cursor = db["c"].find(batch_size=10)
            await anext(cursor)
            scope.cancel()
            with pytest.raises(QueryCancelled):
                await cursor.to_list()
        assert await db["c"].count_documents({"y": 1}) == 0

    run(tmp_path, program)
