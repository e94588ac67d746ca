"""Database.rollback: one commit back to an earlier state, and back again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import rango
from rango.errors import Conflict, DatabaseBusy, InvalidArgument, LimitExceeded, TransactionError
from rango.snapshot import Snapshot
from tests.property.test_diff import one_step, open_small, state_of
from tests.unit.api_case import engine_database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with engine_database(tmp_path / "db") as database:
        database["notes"].insert_many([{"_id": n, "n": n} for n in range(50)])
        yield database


def ordinal_of(db: rango.Database) -> int:
    ordinal: int = db.stats()["ordinal"]
    return ordinal


@pytest.mark.parametrize("seed", range(10))
def test_back_and_back_again_in_random_histories(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    db = open_small(tmp_path / "db")
    try:
        moments = []
        for step in range(40):
            one_step(db, dice)
            if step % 10 == 0:
                moments.append((ordinal_of(db), state_at(db, ordinal_of(db))))
            if step == 20:
                db.close()
                db = open_small(tmp_path / "db")
        for _ in range(4):
            ordinal, state = dice.choice(moments)
            now = state_at(db, ordinal_of(db))
            dry = db.rollback(ordinal, dry_run=True)
            assert state_at(db, ordinal_of(db)) == now and dry.is_dry_run
            done = db.rollback(ordinal)
            assert (done.collections, done.structure) == (dry.collections, dry.structure)
            assert state_at(db, ordinal_of(db)) == state
            assert list(db.check()) == []
            agree(db)
            if dice.random() < 0.5:
                db.rollback(done.before)
                assert state_at(db, ordinal_of(db)) == now
            one_step(db, dice)
        assert list(db.check()) == []
    finally:
        db.close()


def state_at(db: rango.Database, ordinal: int) -> object:
    with db.at(ordinal) as past:
        assert isinstance(past, Snapshot)
        return state_of(past)


def agree(db: rango.Database) -> None:
    """Queries find the same with an index and without."""
    for name in db.list_collection_names():
        for index in db[name].index_information():
            if index == "n_1":
                by_index = sorted(each["_id"] for each in db[name].find({"n": {"$lt": 9}}))
                scanned = db[name].find({"n": {"$lt": 9}}).hint([("$natural", 1)])
                assert by_index == sorted(each["_id"] for each in scanned)


def test_it_is_one_commit_that_history_shows(db: rango.Database) -> None:
    before = ordinal_of(db)
    db["notes"].update_many({}, {"$set": {"n": -1}})
    db["notes"].delete_one({"_id": 3})
    db["notes"].insert_one({"_id": 100})
    db["other"].insert_one({"_id": 1})
    last = ordinal_of(db)
    done = db.rollback(before)
    assert ordinal_of(db) == last + 1 and done.before == last
    assert done.collections == {
        "notes": {"inserted": 1, "changed": 49, "deleted": 1},
        "other": {"inserted": 0, "changed": 0, "deleted": 1},
    }
    assert [(each.kind, each.collection) for each in done.structure] == [
        ("collection_dropped", "other")
    ]
    assert done.documents == 52 and done.as_dict()["documents"] == 52
    kinds = [each["kind"] for each in db["notes"].history(3)]
    assert kinds == ["insert", "delete", "replace", "insert"]
    # nothing to do: no commit
    assert db.rollback(before).documents == 0 and ordinal_of(db) == last + 1
    db.rollback(to=done.before)
    assert db["notes"].find_one(4) == {"_id": 4, "n": -1} and db["other"].find_one(1)


def test_unique_values_that_changed_places(db: rango.Database) -> None:
    db["notes"].create_index("n", unique=True)
    before = ordinal_of(db)
    for one, n in ((1, -1), (2, 1), (3, 2), (1, 3)):
        db["notes"].update_one({"_id": one}, {"$set": {"n": n}})
    db["notes"].delete_one({"_id": 4})
    db["notes"].insert_one({"_id": 90, "n": 4})
    db.rollback(before)
    assert [each["n"] for each in db["notes"].find({"_id": {"$lt": 6}})] == [0, 1, 2, 3, 4, 5]
    assert db["notes"].find_one({"n": 2}) == {"_id": 2, "n": 2} and list(db.check()) == []


def test_indexes_go_come_and_keep_their_options(db: rango.Database) -> None:
    db["notes"].create_index("n", unique=True)
    db["notes"].create_index("at", expireAfterSeconds=60)
    before = ordinal_of(db)
    db["notes"].drop_index("n_1")
    db["notes"].drop_index("at_1")
    db["notes"].create_index("at", expireAfterSeconds=10**6)
    db["notes"].update_many({"_id": {"$lt": 4}}, {"$set": {"n": [7, 8], "m": [1, 2]}})
    db["notes"].delete_many({"_id": {"$gt": 10}})
    db["notes"].create_index("x", unique=True, sparse=True)
    db.rollback(before)
    found = db["notes"].index_information()
    assert set(found) == {"_id_", "n_1", "at_1"} and found["at_1"]["expireAfterSeconds"] == 60
    assert db["notes"].explain({"n": 5})["index"] == "n_1" and list(db.check()) == []
    db["notes"].drop()
    db.rollback(before)
    assert set(db["notes"].index_information()) == {"_id_", "n_1", "at_1"}
    assert db["notes"].count_documents({"n": {"$gte": 0}}) == 50 and list(db.check()) == []


def test_some_collections(db: rango.Database) -> None:
    db["other"].insert_one({"_id": 1})
    with db.snapshot() as past:
        db["other"].delete_one({"_id": 1})
        db["notes"].rename("moved")
        assert set(db.rollback(past, collections=["other"]).collections) == {"other"}
        assert db.list_collection_names() == ["moved", "other"] and db["other"].find_one(1)
        (renamed,) = db.rollback(past, collections=["notes"]).structure
        assert renamed.kind == "collection_renamed" and db["notes"].count_documents({}) == 50


def test_it_refuses_and_writes_nothing(db: rango.Database) -> None:
    before = ordinal_of(db)
    db["notes"].delete_many({})
    last = ordinal_of(db)
    with pytest.raises(LimitExceeded) as caught:
        db.rollback(before, limit=49)
    assert (caught.value.limit, caught.value.value) == ("ROLLBACK_CHANGES_MAX", 50)
    with pytest.raises(InvalidArgument):
        db.rollback(before, limit=-1)
    with db.transaction(), pytest.raises(TransactionError):
        db.rollback(before)
    assert ordinal_of(db) == last and db["notes"].count_documents({}) == 0
    assert db.rollback(before, limit=50).documents == 50


def test_what_was_purged_does_not_come_back(db: rango.Database) -> None:
    with db.snapshot() as past:
        with pytest.raises(DatabaseBusy):
            # the snapshot reads old pages: the purge is not complete
            db["notes"].insert_one({"_id": 60})
            db.checkpoint()
            db["notes"].purge({"_id": 7})
        with pytest.raises((DatabaseBusy, Conflict)):
            db.rollback(past)
    db["notes"].purge({"_id": 7})
    db.rollback(1)
    assert db["notes"].find_one(7) is None and len(db.purges()) == 1
    assert db["notes"].count_documents({}) in (0, 49)


def test_asynchronously(tmp_path: Path) -> None:
    async def main() -> None:
        async with await rango.aio.open(tmp_path / "db", durability="memory") as db:
            await db["notes"].insert_one({"_id": 1})
            past = await db.snapshot()
            await db["notes"].delete_one({"_id": 1})
            assert (await db.rollback(past, dry_run=True)).documents == 1
            assert (await db.rollback(past)).documents == 1
            assert await db["notes"].find_one(1) == {"_id": 1}

    asyncio.run(main())
