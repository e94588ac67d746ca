"""max_time_ms: every operation that has it stops with Timeout, and a write has written nothing.

Method      no clock: the deadline is one millisecond after the start of time, and what looks at it
            is told that it is later from the n-th look on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import DeleteMany, DeleteOne, InsertOne, UpdateMany, UpdateOne
from rango._ext import stop
from rango.collection import Collection
from rango.database import Database
from rango.engine.query import Query
from rango.errors import InvalidArgument, Timeout

COUNT = 3_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with rango.open(tmp_path / "db", durability="memory") as database:
        database["c"].insert_many([{"_id": n, "n": n % 7, "m": n % 5} for n in range(COUNT)])
        yield database


@pytest.fixture
def c(db: Database) -> Collection:
    return db["c"]


class Looks:
    """A clock that passes the deadline at its look number `late`."""

    def __init__(self, late: int) -> None:
        self.late = late
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        return 0 if self.count < self.late else 1 << 62


@pytest.fixture
def late_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Looks]:
    """Makes all clocks one that says at the n-th look that the time is over. The first sets it."""

    def late(number: int) -> Looks:
        looks = Looks(number)
        monkeypatch.setattr(stop, "clock", looks)
        return looks

    return late


Operation = Callable[[Collection], Any]

WRITES: dict[str, Operation] = {
    "update_one": lambda c: c.update_one({"x": 1}, {"$set": {"y": 1}}, max_time_ms=1),
    "update_many": lambda c: c.update_many({}, {"$set": {"y": 1}}, max_time_ms=1),
    "replace_one": lambda c: c.replace_one({"x": 1}, {"y": 1}, max_time_ms=1),
    "delete_one": lambda c: c.delete_one({"x": 1}, max_time_ms=1),
    "delete_many": lambda c: c.delete_many({}, max_time_ms=1),
    "find_one_and_update": lambda c: c.find_one_and_update(
        {"x": 1}, {"$set": {"y": 1}}, max_time_ms=1
    ),
    "find_one_and_replace": lambda c: c.find_one_and_replace({"x": 1}, {"y": 1}, max_time_ms=1),
    "find_one_and_delete": lambda c: c.find_one_and_delete({"x": 1}, max_time_ms=1),
    "bulk of many": lambda c: c.bulk_write([UpdateMany({}, {"$set": {"y": 1}})], max_time_ms=1),
    "bulk of ones": lambda c: c.bulk_write(
        [InsertOne({"_id": -1}), UpdateOne({"_id": 1}, {"$set": {"y": 1}}), DeleteOne({"x": 1})],
        max_time_ms=1,
    ),
    "$out": lambda c: c.aggregate([{"$out": "c"}], max_time_ms=1),
    "$merge": lambda c: c.aggregate([{"$set": {"y": 1}}, {"$merge": {"into": "c"}}], max_time_ms=1),
}

READS: dict[str, Operation] = {
    "find": lambda c: c.find({"x": 1}, max_time_ms=1).to_list(),
    "find, one": lambda c: c.find_one({"x": 1}, max_time_ms=1),
    "find, sorted": lambda c: c.find({}, sort=[("n", 1)], max_time_ms=1).to_list(),
    "find, of several": lambda c: c.find({"_id": {"$in": [1, 2, 3]}}, max_time_ms=1).to_list(),
    "count": lambda c: c.count_documents({"x": 1}, max_time_ms=1),
    "distinct": lambda c: c.distinct("n", max_time_ms=1),
    "aggregate": lambda c: c.aggregate([{"$match": {"x": 1}}], max_time_ms=1).to_list(),
    "explain": lambda c: c.explain({"x": 1}, max_time_ms=1),
}


@pytest.mark.parametrize("late", [2, 3, 4, 5])
@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_takes_too_long_has_changed_nothing(
    db: Database, name: str, late: int, late_at: Callable[[int], Looks]
) -> None:
    db["c"].create_index("m")
    before = db["c"].find().to_list()
    looks = late_at(late)
    with pytest.raises(Timeout, match="max_time_ms") as raised:
        WRITES[name](db["c"])
    assert raised.value.code == 50
    assert looks.count == late
    assert db["c"].find().to_list() == before
    assert list(db.check()) == []


@pytest.mark.parametrize("name", READS)
def test_a_read_that_takes_too_long_is_stopped(
    c: Collection, name: str, late_at: Callable[[int], Looks]
) -> None:
    late_at(2)
    with pytest.raises(Timeout, match="max_time_ms") as raised:
        READS[name](c)
    assert raised.value.code == 50


def test_both_scans_of_an_intersection_have_the_deadline(db: Database) -> None:
    db["c"].create_index("n")
    db["c"].create_index("m")
    query = Query({"n": 3, "m": 4, "x": None}).options(max_time_ms=60_000)
    query.start_clock()
    view = db._handle.core.view()
    assert sum(map(len, query.records(view, view.catalog.collections["c"]))) > 0
    assert query.stop is not None
    assert [each.stop for each in query.scans] == [query.stop] * 2


def test_what_was_committed_of_a_bulk_before_its_time_was_over_stays(
    c: Collection, late_at: Callable[[int], Looks]
) -> None:
    requests = [
        UpdateMany({"n": 1}, {"$set": {"y": 1}}),
        InsertOne({"_id": -1}),
        DeleteMany({"n": 2}),
    ]
    wanted = late_at(1 << 60)
    c.bulk_write([*requests[:1]], max_time_ms=1)
    # the same looks as before, the one of the second request, and one more inside of the third
    late_at(wanted.count + 2)
    with pytest.raises(Timeout) as raised:
        c.bulk_write(requests, max_time_ms=1)
    assert raised.value.__notes__ == ["bulk_write: the requests before number 2 were run"]
    assert c.count_documents({"y": 1}) == c.count_documents({"n": 1})
    assert c.find_one(-1) == {"_id": -1}
    assert c.count_documents({"n": 2}) > 0


def test_a_statement_that_took_too_long_ends_its_transaction(
    db: Database, late_at: Callable[[int], Looks]
) -> None:
    with pytest.raises(Timeout), db.transaction():
        db["c"].insert_one({"_id": -1})
        late_at(3)
        db["c"].update_many({}, {"$set": {"y": 1}}, max_time_ms=1)
    assert db["c"].find_one(-1) is None
    assert db["c"].count_documents({"y": 1}) == 0


@pytest.mark.parametrize("spelling", ["max_time_ms", "maxTimeMS"])
def test_an_index_that_takes_too_long_is_not_there(
    db: Database, spelling: str, late_at: Callable[[int], Looks]
) -> None:
    steps: list[int] = []
    late_at(3)
    with pytest.raises(Timeout, match="max_time_ms") as raised:
        db["c"].create_index("n", progress=lambda done, _: steps.append(done), **{spelling: 1})
    assert raised.value.__notes__ == ["the index is not there; create it again"]
    assert len(steps) == 1
    assert list(db["c"].index_information()) == ["_id_"]
    assert list(db.check()) == []
    db["c"].create_index("n", **{spelling: 60_000})
    assert "n_1" in db["c"].index_information()


@pytest.mark.parametrize("name", ["update_many", "delete_many", "bulk of ones", "$out"])
def test_with_time_enough_a_write_is_done(
    c: Collection, name: str, late_at: Callable[[int], Looks]
) -> None:
    late_at(1 << 60)
    WRITES[name](c)


@pytest.mark.parametrize("value", [-1, 1.5, True, "1", 2**31])
def test_times_are_checked_before_anything_is_written(c: Collection, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="max_time_ms"):
        c.update_many({}, {"$set": {"y": 1}}, max_time_ms=value)
    with pytest.raises(InvalidArgument, match="max_time_ms"):
        c.bulk_write([InsertOne({"_id": -1})], max_time_ms=value)
    with pytest.raises(InvalidArgument, match="max_time_ms"):
        c.create_index("n", max_time_ms=value)
    assert c.count_documents({"y": 1}) == 0
