"""Database.at: the whole database as of any commit, revision or time (I-16)."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import os
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import errors
from rango.engine import kept as engine_kept
from rango.engine import past as engine_past
from tests.unit.api_case import START_MS, engine_database, ticking

State = dict[str, dict[Any, dict[str, Any]]]


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


def time_of(ms: int) -> datetime:
    """Milliseconds as a datetime."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def state_of(db: Any) -> State:
    """Everything that a database or a snapshot holds."""
    return {
        name: {each["_id"]: each for each in db[name].find({})}
        for name in db.list_collection_names()
    }


def step(db: rango.Database, rng: random.Random, number: int) -> None:
    """One random commit or so."""
    names = ["a", "b", "c"]
    collection = db[rng.choice(names)]
    act = rng.random()
    if act < 0.5:
        collection.insert_many(
            [{"_id": f"{number}-{n}", "n": rng.randrange(9)} for n in range(rng.randrange(1, 9))]
        )
    elif act < 0.7:
        collection.update_many({"n": rng.randrange(9)}, {"$inc": {"n": 1}})
    elif act < 0.85:
        collection.delete_many({"n": rng.randrange(9)})
    elif act < 0.88:
        collection.create_index("n")
    elif act < 0.9:
        db.drop_collection(rng.choice(names))
    elif act < 0.92 and collection.name in db.list_collection_names():
        db.drop_collection("d")
        db.rename_collection(collection.name, "d")
    elif act < 0.95:
        # several frames in one commit
        collection.insert_many([{"_id": f"{number}-{n}", "x": "y" * 900} for n in range(90)])
    else:
        db.checkpoint()


def look(db: rango.Database, states: dict[int, State], ordinals: list[int]) -> None:
    """Compare the state at some ordinals with what was true then."""
    for ordinal in ordinals:
        with db.at(ordinal) as past:
            assert state_of(past) == states[ordinal], ordinal
            for name, documents in states[ordinal].items():
                assert past[name].count_documents({}) == len(documents)
                found = sum(each.get("n") == 3 for each in documents.values())
                assert past[name].count_documents({"n": 3}) == found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("private", [False, True])
def test_the_state_at_every_ordinal_is_what_it_was_then(
    tmp_path: Path, seed: int, private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if private:
        # every replay has a private file, and writes it often
        monkeypatch.setattr(engine_past, "MEMORY_SPAN_MAX", 0)
        monkeypatch.setattr(engine_past, "OVERLAY_ENTRIES_MAX", 40)
    rng = random.Random(seed)
    states: dict[int, State] = {0: {}}
    db = engine_database(tmp_path / "db")
    states[db.stats()["ordinal"]] = {}
    for number in range(120):
        step(db, rng, number)
        states[db.stats()["ordinal"]] = state_of(db)
        if number % 30 == 29:
            look(db, states, rng.sample(sorted(states), 10))
            db.close()
            db = engine_database(tmp_path / "db")
            # a closed frame has a number of its own
            states[db.stats()["ordinal"]] = state_of(db)
    look(db, states, [*states])
    assert [*db.check()] == []
    db.close()
    assert sorted(each.name for each in (tmp_path / "db").iterdir() if "past" in each.name) == []
    with engine_database(tmp_path / "db", read_only=True) as reader:
        look(reader, states, rng.sample(sorted(states), 20))


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with engine_database(tmp_path / "db", clock=ticking()) as database:
        yield database


def test_a_revision_means_the_commit_that_wrote_it(db: rango.Database) -> None:
    revisions = []
    for n in range(60):
        if n % 10 == 5:
            with db.transaction():
                db["a"].insert_many([{"_id": f"{n}-{m}"} for m in range(3)])
                db["a"].update_one({"_id": f"{n}-0"}, {"$set": {"n": 1}})
            db.checkpoint()
        db["a"].insert_one({"_id": n})
        if n % 10 == 7:
            db["a"].create_index(f"f{n}")
    for version in db["a"].find({}, meta=True):
        revisions.append((version["_rev"], version["_id"]))
    for revision, id_value in revisions:
        with db.at(revision) as past:
            assert past["a"].find_one(id_value, meta=True)["_rev"] == revision
            written = next(db["a"].history(id_value))
            assert past.ordinal == written["ordinal"]
    ms, counter, tag = max(each[0] for each in revisions).split("-")
    with pytest.raises(errors.NotFound, match="later than every commit"):
        db.at(f"{int(ms) + 5}-{counter}-{tag}")
    with db.at("1-0-0000") as past:
        assert past.ordinal == 0 and past.list_collection_names() == []
    for text in ("1-2", "yesterday", ""):
        with pytest.raises(errors.RangoError):
            db.at(text)


def test_a_time_means_the_last_commit_until_then(tmp_path: Path) -> None:
    clock = Clock()
    with engine_database(tmp_path / "db", clock=clock) as db:
        ordinals = []
        for n in range(50):
            clock.ms = START_MS + 1000 * n
            db["a"].insert_one({"_id": n})
            ordinals.append(db.stats()["ordinal"])
        for n in range(50):
            for plus in (0, 1, 999):
                if n == 49 and plus:
                    continue
                moment = time_of(START_MS + 1000 * n + plus)
                with db.at(moment) as past:
                    assert past.ordinal == ordinals[n]
                    assert past["a"].count_documents({}) == n + 1
        with db.at(time_of(START_MS + 3000).replace(tzinfo=None)) as past:
            assert past.ordinal == ordinals[3]
        with db.at(time_of(START_MS - 1)) as past:
            assert past["a"].count_documents({}) == 0
        with pytest.raises(errors.NotFound, match="ahead of this machine's clock"):
            db.at(time_of(clock.ms + 1))


def test_a_clock_that_goes_back_counts_as_standing_still(tmp_path: Path) -> None:
    clock = Clock()
    with engine_database(tmp_path / "db", clock=clock) as db:
        db["a"].insert_one({"_id": 0})
        clock.ms -= 60_000
        for n in range(1, 5):
            db["a"].insert_one({"_id": n})
        clock.ms += 120_000
        db["a"].insert_one({"_id": 5})
        with db.at(time_of(START_MS - 1)) as past:
            assert past["a"].count_documents({}) == 0
        with db.at(time_of(START_MS)) as past:
            assert past["a"].count_documents({}) == 5


def test_a_transaction_is_there_at_its_end_not_before(tmp_path: Path) -> None:
    clock = Clock()
    with engine_database(tmp_path / "db", clock=clock) as db:
        db["a"].insert_one({"_id": 0})
        clock.ms += 1000
        with db.transaction():
            db["a"].insert_one({"_id": 1})
            clock.ms += 1000
            db["a"].insert_one({"_id": 2})
        with db.at(time_of(START_MS + 1500)) as past:
            assert past["a"].count_documents({}) == 1
        with db.at(time_of(START_MS + 2000)) as past:
            assert past["a"].count_documents({}) == 3
        # what has no revision counts with the next that has one
        clock.ms += 1000
        db.drop_collection("a")
        with db.at(time_of(clock.ms)) as past:
            assert past["a"].count_documents({}) == 3
        db["b"].insert_one({})
        with db.at(time_of(clock.ms)) as past:
            assert past.list_collection_names() == ["b"]


def test_it_is_a_snapshot_with_all_its_reads(db: rango.Database) -> None:
    notes = db["notes"]
    notes.insert_many([{"_id": n, "n": n % 3} for n in range(90)])
    notes.create_index("n")
    then = db.stats()["ordinal"]
    db.checkpoint()
    notes.update_many({}, {"$set": {"n": 9}})
    notes.drop_indexes()
    db["other"].insert_one({"_id": 1})
    with db.at(then) as past:
        assert isinstance(past, rango.Snapshot) and past.ordinal == then
        assert past["notes"].find_one({"_id": 4}) == {"_id": 4, "n": 1}
        assert [each["_id"] for each in past["notes"].find({"n": 2}).sort("_id", -1).limit(2)] == [
            89,
            86,
        ]
        assert past["notes"].distinct("n") == [0, 1, 2]
        assert past["notes"].explain({"n": 1})["index"] == "n_1"
        assert past["notes"].aggregate([{"$match": {"n": 1}}, {"$count": "c"}]).next() == {"c": 30}
        assert [each["kind"] for each in past["notes"].history(3)] == ["insert"]
        assert past["other"].find_one(1) is None
        with pytest.raises(errors.ReadOnly):
            past["notes"].insert_one({})
    assert past.is_closed
    with db.at(db.stats()["ordinal"]) as past:
        assert past["other"].find_one(1) == {"_id": 1}


def test_its_pages_stay_while_checkpoints_go_on(db: rango.Database) -> None:
    db["a"].insert_many([{"_id": n, "x": "y" * 300} for n in range(500)])
    then = db.stats()["ordinal"]
    db.checkpoint()
    db["a"].update_many({}, {"$set": {"x": "z"}})
    db.checkpoint()
    # the older slot's generation
    past = db.at(then + 0)
    for n in range(6):
        db["a"].update_many({}, {"$set": {"x": str(n) * 300}})
        db.checkpoint()
    db._handle.core.store.pager.forget_cache()
    assert {each["x"] for each in past["a"].find({})} == {"y" * 300}
    past.close()


def test_what_was_purged_is_absent_from_every_moment(db: rango.Database) -> None:
    db["a"].insert_many([{"_id": n, "n": n} for n in range(20)])
    first = db.stats()["ordinal"]
    db["a"].delete_one({"_id": 3})
    second = db.stats()["ordinal"]
    db["b"].insert_one({"_id": 1})
    db["a"].purge({"_id": {"$in": [3, 4, 5]}})
    for ordinal in (first, second):
        with db.at(ordinal) as past:
            assert len([*past["a"].find({})]) == past["a"].count_documents({}) == 17
            assert past["a"].find_one(4) is None


def test_moments_that_are_none(db: rango.Database) -> None:
    db["a"].insert_one({})
    newest = db.stats()["ordinal"]
    with pytest.raises(errors.NotFound, match=f"no commit {newest + 1} yet"):
        db.at(newest + 1)
    for moment in (-1, True, 1.5, None, b"1-2-3"):
        with pytest.raises(errors.InvalidArgument):
            db.at(moment)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument):
        db.at(1, progress=3)  # type: ignore[arg-type]
    db.close()
    with pytest.raises(errors.DatabaseClosed):
        db.at(1)


def test_progress_and_cancelling(db: rango.Database) -> None:
    for n in range(300):
        db["a"].insert_one({"_id": n, "x": "y" * 9000})
    seen: list[tuple[int, int]] = []
    with db.at(280, progress=lambda done, total: seen.append((done, total))) as past:
        assert past.ordinal == 280
    assert seen[-1] == (280, 280) and seen == sorted(seen) and len(seen) > 2
    with rango.cancel_scope() as scope:

        def stop(done: int, total: int) -> None:
            scope.cancel()

        with pytest.raises(errors.QueryCancelled):
            db.at(280, progress=stop)


def test_the_middle_of_a_commit_of_several_frames_is_before_it(db: rango.Database) -> None:
    db["a"].insert_one({"_id": 0})
    before = db.stats()["ordinal"]
    db["a"].insert_many([{"_id": f"k{n}", "x": "y" * 900} for n in range(200)])
    after = db.stats()["ordinal"]
    db["a"].insert_one({"_id": 1})
    assert after > before + 2
    for ordinal in range(before, after):
        with db.at(ordinal) as past:
            assert past.ordinal == before and past["a"].count_documents({}) == 1
    with db.at(after) as past:
        assert past["a"].count_documents({}) == 201


def test_in_a_transaction_it_does_not_wait_for_a_checkpoint_that_waits_for_it(
    db: rango.Database,
) -> None:
    db["a"].insert_one({"_id": 0})
    first = db.stats()["ordinal"]
    for n in range(3):
        db["a"].insert_one({"_id": f"more-{n}"})
        db.checkpoint()
    core = db._handle.core
    held, let_go = threading.Event(), threading.Event()

    def checkpointer() -> None:
        with core.checkpoint_lock:
            held.set()
            let_go.wait(60)

    thread = threading.Thread(target=checkpointer)
    with db.transaction():
        db["a"].insert_one({"_id": 1})
        thread.start()
        held.wait(60)
        try:
            # it would hang here for as long as the other one does
            with db.at(first) as past:
                assert past["a"].count_documents({}) == 1
        finally:
            let_go.set()
            thread.join()


def test_the_private_file_of_a_process_that_died_is_passed_over(
    db: rango.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_past, "MEMORY_SPAN_MAX", 0)
    monkeypatch.setattr(engine_past, "_numbers", itertools.count(1))
    db["a"].insert_many([{"_id": n} for n in range(9)])
    first = db.stats()["ordinal"]
    db["a"].delete_many({})
    left = Path(db.path, f"past-{os.getpid()}-1.tmp")
    left.touch()
    with db.at(first) as past:
        assert past["a"].count_documents({}) == 9
    left.unlink()


def test_a_forgotten_one_gives_its_private_file_back(
    db: rango.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_past, "MEMORY_SPAN_MAX", 0)
    monkeypatch.setattr(engine_past, "OVERLAY_ENTRIES_MAX", 10)
    for n in range(40):
        db["a"].insert_many([{"_id": f"{n}-{m}"} for m in range(9)])
    before = descriptors()
    past = db.at(30)
    cursor = past["a"].find({}).batch_size(5)
    next(cursor)
    assert descriptors() > before
    del past
    gc.collect()
    assert len([*cursor]) > 100
    del cursor
    gc.collect()
    assert descriptors() == before


def descriptors() -> int:
    """How many files this process has open."""
    return len([*Path("/proc/self/fd").iterdir()])


def test_asyncio_has_it_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with await rango.aio.open(tmp_path / "db") as db:
            await db["a"].insert_one({"_id": 1})
            await db["a"].insert_one({"_id": 2})
            version = await anext(db["a"].history(1))
            async with await db.at(version["ordinal"]) as past:
                assert await past["a"].count_documents({}) == 1
            async with await db.at(datetime.now(UTC) - timedelta(days=1)) as past:
                assert await past["a"].count_documents({}) == 0
            await db["a"].insert_many([{"_id": f"k{n}", "x": "y" * 9000} for n in range(300)])
            version = await anext(db["a"].history("k299"))
            await db["a"].delete_many({})
            with rango.cancel_scope() as scope, pytest.raises(errors.QueryCancelled):
                # cancelled by its first report at the latest, so that the second raises at once
                for _ in range(2):
                    await db.at(version["ordinal"], progress=lambda _done, _total: scope.cancel())

    asyncio.run(main())


def test_a_slot_that_cannot_be_read_is_io_failed(
    db: rango.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # found by the crash workload's faults: the error of the operating system came through
    db["a"].insert_one({"_id": 1})
    first = db.stats()["ordinal"]
    for n in range(3):
        db["a"].insert_one({"n": n})
        db.checkpoint()

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(engine_kept, "slots_read", fails)
    with pytest.raises(errors.IoFailed):
        db.at(first)
