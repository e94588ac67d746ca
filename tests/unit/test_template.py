"""Templates of documents in the cache: when there are any, what they take, and how they go."""

from __future__ import annotations

import gc
import random
import tracemalloc
import uuid
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Int64, ObjectId

import rango
from rango._ext.record import encode
from rango.collection import Collection
from tests.race.model import together

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = 300
LARGE = 12_000
"""Documents whose leaves are more than those of which templates are made at once."""


def note(number: int) -> dict[str, Any]:
    return {
        "_id": number,
        "text": f"note {number} " + "x" * (number % 200),
        "share": number / 7,
        "at": MOMENT,
        "tags": [f"tag {number}", f"tag {number + 1}", "é" * 9],
        "meta": {"step": number * 1000, "deep": {"list": [{"n": Int64(number)}]}},
        "owner": uuid.UUID(int=number),
        "ref": ObjectId(f"{number:024x}"),
    }


def template_bytes(db: rango.Database) -> int:
    return int(db.stats()["pages"]["template_bytes"])


def filled(path: Path, count: int, **options: Any) -> rango.Database:
    """A database whose documents all lie in leaves, none of which was read yet."""
    db = rango.open(path, durability="memory", **options)
    for first in range(0, count, 1000):
        db["notes"].insert_many([note(each) for each in range(first, min(first + 1000, count))])
    db.checkpoint()
    db._handle.core.store.pager.forget_cache()
    return db


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with filled(tmp_path / "db", SMALL) as db:
        yield db


def containers(value: Any) -> Iterator[Any]:
    """Everything in a document that can be changed."""
    if type(value) in (dict, list):
        yield value
        for each in value.values() if type(value) is dict else value:
            yield from containers(each)


def read_all(notes: Collection) -> list[dict[str, Any]]:
    return notes.find_many({"share": {"$gte": 0}})


def one(notes: Collection, number: int) -> dict[str, Any]:
    """A document by a scan: a read by `_id` makes no template."""
    (found,) = notes.find_many({"_id": {"$in": [number]}})
    return found


def test_copies_share_nothing_that_can_be_changed(db: rango.Database) -> None:
    notes = db["notes"]
    found = [each for _ in range(4) for each in [*read_all(notes), notes.find_one({"_id": 5})]]
    assert template_bytes(db) > 0
    assert found[:SMALL] == [note(each) for each in range(SMALL)]
    everything = [id(part) for each in found for part in containers(each)]
    assert len(everything) == len(set(everything))
    # what has one is copied: the same strings, and not another decoding
    assert found[-1]["text"] is found[-1 - (SMALL + 1)]["text"]


def test_what_can_be_changed_in_another_way_is_decoded_each_time(db: rango.Database) -> None:
    notes = db["notes"]
    notes.insert_one({"_id": -1, "tags": ["a"], "data": Binary(b"data", 5)})
    db.checkpoint()
    first, second, third = (one(notes, -1) for _ in range(3))
    assert first == second == third
    assert second["data"] is not third["data"]


def test_the_collector_never_shows_a_template(db: rango.Database) -> None:
    for _ in range(3):
        read_all(db["notes"])
    assert template_bytes(db) > 0
    gc.collect()
    shown = [
        each
        for each in gc.get_objects()
        if (type(each) is dict and "_id" in each and "owner" in each)
        or (type(each) is list and "tag 7" in each)
    ]
    assert shown == []
    # a copy is as visible as any dict
    kept = db["notes"].find_one({"_id": 7})
    kept["itself"] = kept
    assert gc.is_tracked(kept)
    there = weakref.ref(kept["owner"])
    db._handle.core.store.pager.forget_cache()
    del kept
    gc.collect()
    assert there() is None


def test_templates_go_with_their_pages(db: rango.Database) -> None:
    notes = db["notes"]
    for _ in range(2):
        read_all(notes)
    values = [weakref.ref(each["owner"]) for each in read_all(notes)]
    assert all(each() is not None for each in values)
    db._handle.core.store.pager.forget_cache()
    assert [each() for each in values] == [None] * SMALL
    assert template_bytes(db) == 0

    for _ in range(2):
        read_all(notes)
    values = [weakref.ref(each["owner"]) for each in read_all(notes)]
    pager = db._handle.core.store.pager
    together(pager.forget_cache)
    assert [each() for each in values] == [None] * SMALL


def test_what_is_written_takes_the_place_of_a_template(db: rango.Database) -> None:
    notes = db["notes"]
    for _ in range(2):
        read_all(notes)
    notes.update_one({"_id": 5}, {"$set": {"meta": {"step": "changed"}}})
    notes.delete_one({"_id": 6})
    with db.transaction():
        notes.update_one({"_id": 7}, {"$push": {"tags": "pushed"}})
        assert notes.find_one({"_id": 7})["tags"][-1] == "pushed"
    for _ in range(2):
        assert notes.find_one({"_id": 5})["meta"] == {"step": "changed"}
        assert notes.find_one({"_id": 6}) is None
        assert notes.find_one({"_id": 7})["tags"] == [*note(7)["tags"], "pushed"]
        assert notes.find_one({"_id": 8}) == note(8)
        assert len(read_all(notes)) == SMALL - 1
        db.checkpoint()
    there = weakref.ref(notes.find_one({"_id": 8})["owner"])
    assert there() is not None
    notes.purge({"_id": 8})
    assert notes.find_one({"_id": 8}) is None
    assert there() is None


def test_a_snapshot_keeps_what_it_saw(db: rango.Database) -> None:
    notes = db["notes"]
    read_all(notes)
    with db.snapshot() as snapshot:
        for step in range(3):
            notes.update_one({"_id": 5}, {"$set": {"meta": step}})
            db.checkpoint()
            assert notes.find_one({"_id": 5})["meta"] == step
            assert snapshot["notes"].find_one({"_id": 5}) == note(5)


def shapes(number: int) -> tuple[dict[str, Any], ...]:
    return (
        {"_id": number, "n": number},
        note(number),
        {"_id": number, **{f"field {at}": at * 1000 + number for at in range(number % 40)}},
        {"_id": number, "values": [number * 1.5 + at for at in range(number % 50)]},
        {"_id": number, "texts": {"a": "x" * (number % 300), "b": "é" * 60, "c": "語" * 30}},
        {"_id": f"{number:030x}", "data": bytes(number % 100), "maps": [{"a": 1}, {}, []]},
    )


@pytest.mark.parametrize("shape", range(6))
def test_their_memory_is_counted(tmp_path: Path, shape: int) -> None:
    with rango.open(tmp_path / "db", durability="memory") as db:
        whole = [shapes(1000 + number)[shape] for number in range(600)]
        db["notes"].insert_many(whole)
        db.checkpoint()
        for _ in range(20):
            # names that are met often are interned
            db["notes"].find_many({}, limit=1)
        db["notes"].find_many({"nothing": 1})
        db._handle.core.store.pager.forget_cache()
        db["notes"].find_many({"nothing": 1})
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for each in db["notes"].find_many({}):
                # it leaves the UTF-8 of strings with them, and templates share them
                encode(each, each["_id"])
            del each
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        counted = template_bytes(db)
        # what it asks Python for, and the few bytes that Python rounds up
        assert grown * 0.95 <= counted <= grown * 1.25, (grown, counted)
        assert db["notes"].find_many({}) == whole


def test_a_pass_over_many_makes_none_and_what_is_read_again_gets_one(tmp_path: Path) -> None:
    with filled(tmp_path / "db", LARGE) as db:
        notes = db["notes"]
        for _ in range(3):
            assert len(read_all(notes)) == LARGE
        few = template_bytes(db)
        assert few < 200_000
        for _ in range(3):
            for number in range(100):
                assert one(notes, number) == note(number)
        assert template_bytes(db) > few + 100 * 1000
        assert one(notes, 5)["text"] is one(notes, 5)["text"]


def test_a_small_cache_stays_small(tmp_path: Path) -> None:
    size = 1 << 20
    with filled(tmp_path / "db", LARGE, cache_size=size) as db:
        chance = random.Random(2)
        for _ in range(40):
            hot = chance.sample(range(LARGE), 100)
            for number in hot * 4:
                assert one(db["notes"], number) == note(number)
            pages = db.stats()["pages"]
            assert pages["cache_bytes"] <= size * 1.1
            assert pages["template_bytes"] <= size // 8
        read_all(db["notes"])
        assert db.stats()["pages"]["cache_bytes"] <= size * 1.1


def test_those_that_nobody_reads_make_room(tmp_path: Path) -> None:
    with filled(tmp_path / "db", SMALL) as db:
        db._handle.core.store.pager.cache_resize(2 << 20)
        notes = db["notes"]
        for first in (0, SMALL // 2):
            for _ in range(300):
                for number in range(first, first + 40):
                    one(notes, number)
            assert 0 < template_bytes(db) <= (2 << 20) // 8
            assert one(notes, first + 39)["text"] is one(notes, first + 39)["text"]


def test_a_cache_that_gets_smaller_gives_them_up(db: rango.Database) -> None:
    for _ in range(2):
        read_all(db["notes"])
    pager = db._handle.core.store.pager
    size = template_bytes(db)
    pager.cache_resize(2 * size)
    assert 0 < template_bytes(db) <= size // 4
    pager.cache_resize(0)
    assert template_bytes(db) == 0
    assert read_all(db["notes"]) == [note(each) for each in range(SMALL)]


def reading(db: rango.Database, chance: random.Random) -> None:
    for turn in range(400):
        number = chance.randrange(SMALL)
        found = db["notes"].find_one({"_id": number})
        assert found == note(number)
        found["tags"].append("mine")
        found["meta"]["deep"]["list"][0]["n"] = None
        del found["meta"]["step"]
        if turn % 40 == 0:
            for each in read_all(db["notes"]):
                assert each == note(each["_id"])
                each["meta"]["deep"].clear()


def test_threads_that_copy_while_pages_go(db: rango.Database) -> None:
    def forgetting() -> None:
        for turn in range(200):
            pager = db._handle.core.store.pager
            pager.cache_resize((1 << 20) if turn % 2 else (64 << 20))
            if turn % 5 == 0:
                pager.forget_cache()
            db["notes"].count_documents({"share": {"$lt": turn}})

    together(forgetting, *[partial(reading, db, random.Random(at)) for at in range(4)])
