"""What the page cache keeps when not everything fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import rango

COUNT = 12_000
CACHE_SIZE = 1 << 20
"""About a third of what the documents need."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of 250 bytes, checkpointed."""
    place = tmp_path_factory.mktemp("cache") / "db"
    with rango.open(place, durability="memory") as db:
        rows = db["rows"]
        rows.insert_many([{"_id": n, "n": n, "text": f"{n:06d}" * 35} for n in range(COUNT)])
        rows.create_index("n")
        db.checkpoint()
    return place


@pytest.fixture
def db(folder: Path) -> Iterator[rango.Database]:
    with rango.open(folder, cache_size=CACHE_SIZE) as opened:
        yield opened


def reads(db: rango.Database) -> int:
    count: int = db.stats()["pages"]["reads"]
    return count


def warm(db: rango.Database) -> None:
    """Fill the cache with pages that were all read twice or more."""
    for _ in range(5):
        for n in range(0, COUNT // 5):
            db["rows"].find_one(n)


def test_what_is_read_again_and_again_stays_in_a_cache_that_was_full(db: rango.Database) -> None:
    for n in range(COUNT):
        db["rows"].find_one(n)
    places = range(0, COUNT, COUNT // 24)

    def ask() -> None:
        for n in places:
            assert db["rows"].find_one({"n": n}) is not None

    for _ in range(10):
        ask()
    before = reads(db)
    for _ in range(50):
        ask()
    # with the page that came last as the next to go it was 40 for each time
    assert reads(db) - before <= 50


def test_a_walk_over_more_than_the_cache_holds_leaves_what_is_read_often(
    db: rango.Database,
) -> None:
    warm(db)
    hot = range(0, COUNT // 5, 10)
    for n in hot:
        db["rows"].find_one(n)
    before = reads(db)
    for n in hot:
        db["rows"].find_one(n)
    alone = reads(db) - before
    assert db["rows"].count_documents({"text": "no"}) == 0
    assert reads(db) - before > alone + 50
    before = reads(db)
    for n in hot:
        db["rows"].find_one(n)
    assert reads(db) - before <= alone + 20


def test_walks_over_more_than_the_cache_holds_find_a_part_of_it_there(db: rango.Database) -> None:
    spent = []
    for _ in range(4):
        before = reads(db)
        db["rows"].count_documents({"text": "no"})
        spent.append(reads(db) - before)
    assert spent[-1] < spent[0] * 0.9


def test_the_cache_stays_within_its_size(db: rango.Database) -> None:
    warm(db)
    for n in range(COUNT):
        db["rows"].find_one(n)
    pages = db.stats()["pages"]
    assert 0.8 * CACHE_SIZE < pages["cache_bytes"] <= CACHE_SIZE
