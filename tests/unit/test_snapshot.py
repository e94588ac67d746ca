"""Database.snapshot: one commit for all reads, whatever is written; itself it writes nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import DatabaseBusy, DatabaseClosed, ForkedHandle, ReadOnly
from tests.unit.api_case import engine_database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with engine_database(tmp_path / "db") as database:
        database["notes"].insert_many([{"_id": n, "n": n % 3} for n in range(300)])
        database["notes"].create_index("n")
        database["gone"].insert_one({"_id": 1})
        yield database


def change_everything(db: rango.Database) -> None:
    """Every kind of change, and checkpoints that would reuse the pages of the old state."""
    db["notes"].update_many({}, {"$set": {"n": 7, "text": "x" * 100}})
    db["notes"].delete_many({"_id": {"$gte": 100}})
    db["notes"].drop_indexes()
    db.drop_collection("gone")
    db["new"].insert_one({"_id": 1})
    for n in range(4):
        db["new"].insert_one({"n": n})
        db.checkpoint()


def test_every_read_sees_the_commit_of_the_snapshot(db: rango.Database) -> None:
    with db.snapshot() as past:
        assert past.ordinal == db.stats()["ordinal"]
        change_everything(db)
        notes = past["notes"]
        assert notes.find_one(5) == notes.find_one({"_id": 5}) == {"_id": 5, "n": 2}
        assert notes.find_one({"n": 1}) == {"_id": 1, "n": 1}
        assert [each["_id"] for each in notes.find({"n": 2}).sort("_id", -1).limit(1)] == [299]
        assert notes.count_documents({}) == 300 and notes.count_documents({"n": 0}) == 100
        assert notes.distinct("n") == [0, 1, 2]
        assert notes.aggregate([{"$match": {"n": 1}}, {"$count": "c"}]).to_list() == [{"c": 100}]
        assert notes.explain({"n": 1})["index"] == "n_1"
        assert set(notes.index_information()) == {"_id_", "n_1"}
        assert [each["kind"] for each in notes.history(200)] == ["insert"]
        assert past.list_collection_names() == ["gone", "notes"]
        assert past["gone"].find_one(1) == {"_id": 1} and past["new"].find_one(1) is None
        joined = [{"$match": {"_id": 1}}, {"$lookup": {"from": "gone", "as": "g", "pipeline": []}}]
        assert past["notes"].aggregate(joined).next()["g"] == [{"_id": 1}]
        assert past.aggregate([{"$documents": [{"a": 1}]}]).to_list() == [{"a": 1}]
        assert past.ordinal < db.stats()["ordinal"]
    assert db["notes"].count_documents({}) == 100


WRITES: list[Callable[[Any], Any]] = [
    lambda notes: notes.insert_one({"_id": "new"}),
    lambda notes: notes.insert_many([{"_id": "new"}]),
    lambda notes: notes.update_one({}, {"$set": {"n": 1}}),
    lambda notes: notes.update_many({"_id": "none"}, {"$set": {"n": 1}}),
    lambda notes: notes.replace_one({}, {}),
    lambda notes: notes.update_one({"_id": 1}, {"$set": {"n": 1}}),
    lambda notes: notes.replace_one({"_id": 1}, {"n": 1}),
    lambda notes: notes.delete_one({"_id": "none"}),
    lambda notes: notes.delete_one({"_id": 1}),
    lambda notes: notes.delete_many({}),
    lambda notes: notes.find_one_and_delete({}),
    lambda notes: notes.bulk_write([rango.DeleteOne({})]),
    lambda notes: notes.aggregate([{"$out": "other"}]),
    lambda notes: notes.aggregate([{"$merge": {"into": "other"}}]),
    lambda notes: notes.create_index("a"),
    lambda notes: notes.create_indexes([rango.IndexModel("a")]),
    lambda notes: notes.modify_index("n_1", hidden=True),
    lambda notes: notes.drop_index("n_1"),
    lambda notes: notes.drop_indexes(),
    lambda notes: notes.drop(),
    lambda notes: notes.rename("other"),
    lambda notes: notes.purge({"_id": 1}),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("name", ["notes", "none"])
def test_whatever_writes_is_refused(
    db: rango.Database, write: Callable[[Any], Any], name: str
) -> None:
    before = db.stats()["ordinal"]
    with db.snapshot() as past, pytest.raises(ReadOnly):
        write(past[name])
    assert db.stats()["ordinal"] == before


def test_closing_ends_its_collections_and_cursors(db: rango.Database) -> None:
    past = db.snapshot()
    notes = past["notes"]
    cursor = notes.find({})
    cursor.next()
    past.close()
    past.close()
    assert past.is_closed and "closed" in repr(past)
    uses: list[Callable[[], Any]] = [
        *(lambda: notes.find_one(1), lambda: notes.find_one({"n": 1}), lambda: notes.find().next()),
        *(lambda: notes.count_documents({}), lambda: past.ordinal, past.list_collection_names),
        *(cursor.to_list, lambda: notes.history(1)),
    ]
    for use in uses:
        with pytest.raises(DatabaseClosed):
            use()
    assert db["notes"].find_one(1) == {"_id": 1, "n": 1}


def test_closing_the_database_ends_it(tmp_path: Path) -> None:
    db = engine_database(tmp_path / "db")
    db["notes"].insert_one({"_id": 1})
    past = db.snapshot()
    db.close()
    with pytest.raises(DatabaseClosed):
        past["notes"].find_one(1)
    past.close()


@pytest.mark.parametrize("how", ["closed", "collected"])
def test_it_pins_its_pages_until_it_goes(db: rango.Database, how: str) -> None:
    builder = db._handle.core.store.builder
    db.checkpoint()
    past = db.snapshot()
    change_everything(db)
    assert builder.pinned
    past["notes"].count_documents({"n": 1})
    assert builder.pinned
    if how == "closed":
        past.close()
    del past
    gc.collect()
    assert not builder.pinned


def test_it_sees_no_write_of_a_transaction_around_it(db: rango.Database) -> None:
    with db.transaction():
        db["notes"].insert_one({"_id": "mine"})
        with db.snapshot() as past:
            assert past["notes"].find_one("mine") is None
            assert past["notes"].count_documents({}) == 300
        before = db["notes"].count_documents({})
    assert before == 301
    with db.snapshot() as past, db.transaction():
        db["notes"].delete_many({})
        assert past["notes"].find_one(1) == {"_id": 1, "n": 1}
        assert past["notes"].find({}).to_list()[0]["_id"] == 0


def test_a_purge_waits_for_it(db: rango.Database) -> None:
    with db.snapshot() as past:
        with pytest.raises(DatabaseBusy):
            db["notes"].purge({"_id": 1})
        assert past["notes"].find_one(1) == {"_id": 1, "n": 1}
    assert db["notes"].purge({"_id": 1}).purged_count == 0  # forgotten before, now complete
    assert db.purges()[0]["is_complete"]


CODE = """
import rango, sys
with rango.open(sys.argv[1]) as db:
    db["notes"].update_many({}, {"$set": {"n": 9}})
    for n in range(4):
        db["new"].insert_one({"n": n})
        db.checkpoint()
"""


@pytest.mark.parametrize("read_only", [False, True])
def test_another_process_writes_and_checkpoints_meanwhile(tmp_path: Path, read_only: bool) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_many([{"_id": n, "n": n % 3} for n in range(300)])
    with rango.open(tmp_path / "db", read_only=read_only) as db, db.snapshot() as past:
        subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "db")], check=True)
        assert past["notes"].count_documents({"n": {"$lt": 3}}) == 300
        assert past["notes"].find_one(4) == {"_id": 4, "n": 1}
        assert past.list_collection_names() == ["notes"]
        assert db["notes"].count_documents({"n": 9}) == 300


def test_a_child_of_a_fork_is_told(db: rango.Database) -> None:
    past = db.snapshot()
    child = os.fork()
    if child == 0:
        try:
            past["notes"].find_one(1)
        except ForkedHandle:
            os._exit(17)
        finally:
            os._exit(18)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
    assert past["notes"].find_one(1) is not None


def test_asyncio(tmp_path: Path) -> None:
    async def use() -> None:
        async with await rango.aio.open(tmp_path / "db") as db:
            await db["notes"].insert_many([{"_id": n} for n in range(10)])
            async with await db.snapshot() as past:
                await db["notes"].delete_many({})
                assert await past["notes"].find_one(3) == {"_id": 3}
                assert [each["_id"] async for each in past["notes"].find({})] == [*range(10)]
                counted = await past["notes"].aggregate([{"$count": "n"}])
                assert await counted.to_list() == [{"n": 10}]
                with pytest.raises(ReadOnly):
                    await past["notes"].insert_one({})
            assert past.is_closed
            with pytest.raises(DatabaseClosed):
                await past["notes"].find_one(3)

    asyncio.run(use())
