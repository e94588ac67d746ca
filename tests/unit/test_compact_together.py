"""Giving history up beside other processes, and a data file that gives space back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.vfs import RANGE_LOCKS
from rango.engine import attach, compact, named, shrink
from rango.engine.compact import Keep
from rango.engine.core import Core
from rango.engine.moment import Moment
from rango.engine.past import view_at
from rango.errors import HistoryGone
from tests.unit.engine_case import delete, documents_of, insert, options_of, replace, two_cores

PIECE_SIZE = 64 * 1024


@pytest.fixture(params=[{}, {"key": b"k" * 32}], ids=["plain", "sealed"])
def secret(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


def digest(db: rango.Database) -> str:
    return db._handle.core.digest()


def shrunk(path: Path, secret: dict[str, Any]) -> tuple[int, int]:
    """(size before, size after) of a data file most of whose documents are deleted."""
    data = path / "data.rango"
    with rango.open(path, **secret) as db:
        notes, large = db["notes"], db["large"]
        notes.create_index("k")
        for start in range(0, 6_000, 500):
            texts = [os.urandom(150).hex() for _ in range(500)]
            notes.insert_many(
                [{"_id": start + n, "k": n, "text": text} for n, text in enumerate(texts)]
            )
            large.insert_one({"_id": start, "text": os.urandom(60_000)})
        db.checkpoint()
        notes.delete_many({"k": {"$mod": [10, 1]}})
        notes.delete_many({"_id": {"$lt": 5_400}})
        large.delete_many({"_id": {"$ne": 5_500}})
        db.checkpoint()
        before, expected = data.stat().st_size, digest(db)
        with db.snapshot() as past:
            count = past["notes"].count_documents({})
        done = db.compact("now")
        after = data.stat().st_size
        assert before - after == done["data_bytes"]
        assert digest(db) == expected and list(db.check()) == []
        assert db["notes"].count_documents({}) == count
        db["notes"].insert_one({"_id": "later"})
        db.checkpoint()
        expected = digest(db)
    with rango.open(path, **secret) as db:
        assert digest(db) == expected and list(db.check()) == []
    return before, after


@pytest.mark.parametrize("step", [4_096, 40])
def test_the_data_file_gives_space_back(
    tmp_path: Path, secret: dict[str, Any], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(shrink, "STEP_UNITS", step)
    before, after = shrunk(tmp_path / "db", secret)
    # a tenth of the documents, tombstones of the others, and a mebibyte that is not worth a cut
    assert after < before / 2


def test_pages_that_somebody_reads_stay_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path) as db:
        notes = db["notes"]
        notes.insert_many([{"_id": n, "text": os.urandom(400).hex()} for n in range(4_000)])
        db.checkpoint()
        with db.snapshot() as past:
            cursor = past["notes"].find({})
            first = cursor.next()
            notes.delete_many({"_id": {"$gte": 100}})
            db.compact("now")
            assert first["_id"] == 0 and len(cursor.to_list()) == 3_999
            assert past["notes"].count_documents({}) == 4_000
        assert db.compact("now")["data_bytes"] > 0
        assert notes.count_documents({}) == 100 and list(db.check()) == []


# --- two processes


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Core]]:
    """Two cores on one directory, as two processes have."""
    yield from two_cores(tmp_path / "db", segment_size_max=PIECE_SIZE)


@pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")
@pytest.mark.parametrize("segments", [0, 3])
@pytest.mark.parametrize("is_writer", [False, True])
def test_a_process_that_was_left_behind_goes_on_from_the_newest_slot(
    pair: list[Core], segments: int, is_writer: bool
) -> None:
    one, other = pair
    insert(one, "a", [{"_id": n, "text": "x" * 400} for n in range(20)])
    assert len(documents_of(other, "a")) == 20
    old = other.view()
    insert(one, "a", [{"_id": n, "text": "y" * 4000} for n in range(20, 30 + 20 * segments)])
    delete(one, "a", 3)
    compact.compact(one, Keep(is_now=True))
    replace(one, "a", {"_id": 5, "text": "later"})
    if is_writer:
        insert(other, "a", [{"_id": "other"}])
    assert documents_of(other, "a") == documents_of(one, "a")
    assert old.count(old.catalog.collections["a"].tree_id) == 20
    insert(other, "a", [{"_id": "more"}])
    insert(one, "a", [{"_id": "most"}])
    assert documents_of(other, "a") == documents_of(one, "a")
    assert one.digest() == other.digest()
    assert list(one.check()) == list(other.check()) == []


@pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")
def test_another_process_reads_what_is_left_of_a_history(pair: list[Core]) -> None:
    from rango.engine.history import newest_ordinal, versions

    one, other = pair
    insert(one, "a", [{"_id": n, "text": "x" * 400} for n in range(400)])
    replace(one, "a", {"_id": 5, "text": "later"})
    # its headers are those from before
    assert other.log.commit_of(2)
    compact.compact(one, Keep(is_now=True))
    replace(one, "a", {"_id": 5, "text": "last"})
    found = list(versions(lambda: other, *newest_ordinal(other.view(), "a", 5)))
    assert [each.kind for each in found] == ["replace", "kept"]
    assert list(other.check()) == []
    assert compact.compact(other, Keep(is_now=True))["is_done"]
    assert one.digest() == other.digest()


@pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")
@pytest.mark.parametrize("is_fresh", [False, True])
def test_a_snapshot_that_ended_has_ended_for_another_process(
    pair: list[Core], is_fresh: bool
) -> None:
    one, other = pair
    insert(one, "a", [{"_id": 1}])
    ordinal = named.create(one, "spring", None)["ordinal"]
    insert(one, "a", [{"_id": n, "text": "x" * 4000} for n in range(2, 40)])
    assert view_at(other, other.view(), Moment(name="spring")).ordinal == ordinal
    assert compact.compact(one, Keep(is_now=True))["snapshots"] == ["spring"]
    if is_fresh:
        insert(other, "a", [{"_id": "more"}])
    with pytest.raises(HistoryGone):
        view_at(other, other.view(), Moment(name="spring"))
    with pytest.raises(HistoryGone):
        compact.compact(other, Keep(name="spring"))
    assert compact.compact(other, Keep(is_now=True))["snapshots"] == []


@pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")
def test_opening_beside_one_that_gives_history_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_of(tmp_path / "db", segment_size_max=PIECE_SIZE)
    one = Core(options)
    one.start()
    insert(one, "a", [{"_id": n, "text": "x" * 400} for n in range(400)])
    read_all, calls = attach.read_all, []

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            compact.compact(one, Keep(is_now=True))
        return read_all(*args)

    monkeypatch.setattr(attach, "read_all", interrupted)
    other = Core(options)
    try:
        assert len(calls) == 2
        assert one.digest() == other.digest()
    finally:
        other.release()
        one.release()
