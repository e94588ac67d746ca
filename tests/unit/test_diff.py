"""Database.diff: kinds of changes, their order, what it costs, and its ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import rango
from rango.aio import AsyncDatabase
from rango.engine.diff import diff_of, pairs
from rango.errors import DatabaseClosed, InvalidArgument, InvalidName, QueryCancelled
from tests.unit.api_case import engine_database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with engine_database(tmp_path / "db") as database:
        database["notes"].insert_many([{"_id": n, "n": n % 3} for n in range(300)])
        yield database


def test_documents_are_inserted_changed_and_deleted(db: rango.Database) -> None:
    past = db.snapshot()
    db["notes"].insert_one({"_id": 1000})
    db["notes"].update_one({"_id": 7}, {"$set": {"a.b": 1}, "$unset": {"n": 1}})
    db["notes"].delete_one({"_id": 3})
    # written, and as it was: no difference
    db["notes"].update_one({"_id": 9}, {"$set": {"n": 5}})
    db["notes"].update_one({"_id": 9}, {"$set": {"n": 0}})
    db["notes"].insert_one({"_id": 2000})
    db["notes"].delete_one({"_id": 2000})
    deleted, changed, inserted = db.diff(past)
    assert deleted.as_dict() == {
        "collection": "notes",
        "kind": "deleted",
        "_id": 3,
        "before": {"_id": 3, "n": 0},
    }
    assert changed.fields() == ({"a": {"b": 1}}, ["n"])
    assert changed.as_dict()["set"] == {"a": {"b": 1}} and changed.id == 7
    assert (changed.before, changed.after) == ({"_id": 7, "n": 1}, {"_id": 7, "a": {"b": 1}})
    assert (inserted.kind, inserted.id, inserted.before) == ("inserted", 1000, None)
    assert [change.kind for change in db.diff(db.snapshot(), past)] == [
        "inserted",
        "changed",
        "deleted",
    ]
    past.close()


def test_collections_and_indexes_come_first(db: rango.Database) -> None:
    for name in ("again", "gone", "old"):
        db[name].insert_many([{"_id": n} for n in range(3)])
    db["old"].create_index("x")
    past = db.snapshot()
    db["again"].drop()
    db["again"].insert_many([{"_id": 1}, {"_id": 2, "x": 1}, {"_id": 7}])
    db["gone"].drop()
    db["old"].rename("other")
    db["other"].drop_indexes()
    db["other"].insert_one({"_id": 5})
    db["made"].create_index("y", unique=True)
    found = [(each.kind, each.collection, each.id) for each in db.diff(past)]
    assert found == [
        ("collection_dropped", "again", None),
        ("collection_dropped", "gone", None),
        ("collection_renamed", "other", None),
        ("collection_created", "again", None),
        ("collection_created", "made", None),
        ("index_created", "made", None),
        ("index_dropped", "other", None),
        ("deleted", "again", 0),
        ("changed", "again", 2),
        ("inserted", "again", 7),
        ("deleted", "gone", 0),
        ("deleted", "gone", 1),
        ("deleted", "gone", 2),
        ("inserted", "other", 5),
    ]
    by_kind = {each.kind: each.as_dict() for each in db.diff(past, collections=["old", "made"])}
    assert by_kind["collection_renamed"]["old_name"] == "old"
    assert by_kind["index_created"]["index"] == {"name": "y_1", "keys": {"y": 1}, "unique": True}
    assert set(by_kind) == {
        *("collection_renamed", "collection_created", "index_created", "index_dropped", "inserted")
    }


def test_an_exchanged_name_is_compared_by_name(db: rango.Database) -> None:
    db["other"].insert_one({"_id": 1, "n": 1})
    past = db.snapshot()
    db["notes"].rename("between")
    db["other"].rename("notes")
    db["between"].rename("other")
    found = list(db.diff(past))
    assert [each.kind for each in found[:4]] == ["collection_dropped"] * 2 + [
        "collection_created"
    ] * 2
    documents = [(each.kind, each.collection) for each in found[4:]]
    # 1 is in both, with the same content; the other 299 went here and came there
    assert documents == [("deleted", "notes")] * 299 + [("inserted", "other")] * 299


def test_an_index_with_another_option_went_and_came(db: rango.Database) -> None:
    db["notes"].create_index("at", expireAfterSeconds=60)
    past = db.snapshot()
    db["notes"].drop_index("at_1")
    db["notes"].create_index("at", expireAfterSeconds=0)
    dropped, created = (each.as_dict() for each in db.diff(past))
    assert dropped["index"]["expire_after_s"] == 60 and created["index"]["expire_after_s"] == 0


def test_the_cost_follows_what_changed(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db") as db:
        notes = db["notes"]
        text = "x" * 200
        notes.insert_many([{"_id": n, "text": text} for n in range(20_000)])
        db.checkpoint()
        past = db.snapshot()
        notes.update_one({"_id": 10_000}, {"$set": {"text": "y"}})
        db.checkpoint()
        before, after = past._handle.core.view(), db._handle.committed()
        (pair,) = pairs(before, after)
        walk = diff_of(before, after, pair, None)
        assert len(walk.next_records(10)) == 1 and walk.next_records(10) == []
        # the paths to one leaf, on both sides; thousands of documents lie below what was passed
        assert walk.pages_read <= 8 and walk.links_skipped >= 20
        whole = diff_of(before, after, pair._replace(before=None), None)
        while whole.next_records(1000):
            pass
        assert whole.pages_read > 50 * walk.pages_read
        # one checkpoint under both: nothing of it is read
        past = db.snapshot()
        notes.delete_one({"_id": 5})
        before, after = past._handle.core.view(), db._handle.committed()
        walk = diff_of(before, after, pairs(before, after)[0], None)
        assert len(walk.next_records(10)) == 1 and walk.pages_read == 0


def test_the_present_is_that_of_the_call(db: rango.Database) -> None:
    past = db.snapshot()
    db["notes"].delete_one({"_id": 1})
    changes = db.diff(past)
    db["notes"].delete_one({"_id": 2})
    assert [each.id for each in changes] == [1]
    with db.transaction():
        db["notes"].delete_one({"_id": 4})
        assert [each.id for each in db.diff(past)] == [1, 2]
    assert list(db.diff(past, past)) == []


def test_moments_are_those_of_at(db: rango.Database) -> None:
    first = db.stats()["ordinal"]
    db["notes"].delete_one({"_id": 1})
    db.create_snapshot("one-gone")
    db.checkpoint()
    db["notes"].update_one({"_id": 2}, {"$set": {"n": 7}})
    revision = db["notes"].find_one({"_id": 2}, meta=True)["_rev"]  # type: ignore[index]
    db["notes"].delete_one({"_id": 3})
    db.checkpoint()
    db["notes"].delete_one({"_id": 4})
    for a, b, ids in (
        (first, None, [1, 2, 3, 4]),
        (first, "one-gone", [1]),
        ("one-gone", revision, [2]),
        (revision, None, [3, 4]),
        (revision, first, [1, 2]),
        (first, first, []),
    ):
        assert [each.id for each in db.diff(a, b)] == ids


def test_it_can_be_closed_and_cancelled(db: rango.Database) -> None:
    past = db.snapshot()
    db["notes"].delete_many({})
    with db.diff(past) as changes:
        assert next(changes).id == 0
    assert list(changes) == []
    changes.close()
    changes = db.diff(past)
    next(changes)
    changes.cancel()
    with pytest.raises(QueryCancelled):
        list(changes)
    with pytest.raises(QueryCancelled), rango.cancel_scope() as scope:
        scope.cancel()
        list(db.diff(past))


def test_what_it_refuses(db: rango.Database, tmp_path: Path) -> None:
    past = db.snapshot()
    for wrong in (None, True, 1.5):
        with pytest.raises(InvalidArgument):
            db.diff(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="list of names"):
        db.diff(past, collections="notes")
    with pytest.raises(InvalidName):
        db.diff(past, collections=["system.purges"])
    with engine_database(tmp_path / "other") as other, pytest.raises(InvalidArgument):
        other.diff(past)
    past.close()
    with pytest.raises(DatabaseClosed):
        db.diff(past)


def test_purged_documents_are_deleted_ones_without_a_fact(db: rango.Database) -> None:
    db.checkpoint()
    before = db.snapshot().ordinal
    db["notes"].purge({"_id": 7})
    assert db.snapshot().ordinal > before
    assert all(each.collection == "notes" for each in db.diff(db.snapshot()))


def test_asynchronously(tmp_path: Path) -> None:
    async def main() -> None:
        async with await rango.aio.open(tmp_path / "db", durability="memory") as db:
            assert isinstance(db, AsyncDatabase)
            past = await db.snapshot()
            await db["notes"].insert_one({"_id": 1})
            assert [each.kind async for each in db.diff(past)] == ["collection_created", "inserted"]
            later = await db.snapshot()
            assert [each.kind async for each in db.diff(later, past)] == [
                *("collection_dropped", "deleted")
            ]

    asyncio.run(main())
