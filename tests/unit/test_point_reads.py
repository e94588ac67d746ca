"""Reads by `_id`: what goes the short way, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import rango
from rango.errors import DatabaseClosed, InvalidFilter


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with rango.open(tmp_path / "db", durability="memory") as db:
        db["n"].insert_many([{"_id": 1, "a": 1}, {"_id": "x", "a": 2}])
        yield db


def test_a_value_and_a_filter_of_one_id_go_the_short_way(db: rango.Database) -> None:
    reads = db._handle.point_reads
    assert reads is not None
    assert reads.find("n", 1) == reads.find("n", {"_id": 1}) == {"_id": 1, "a": 1}
    assert reads.find("n", 1.0) == {"_id": 1, "a": 1}
    assert reads.find("n", "y") is None
    assert reads.find("nothing", 1) is None


@pytest.mark.parametrize(
    "given", [{}, {"a": 1}, {"_id": 1, "a": 1}, {"_id": {"$gt": 0}}, {"_id": [1]}, [1], object()]
)
def test_what_says_more_or_something_else_does_not(db: rango.Database, given: object) -> None:
    reads = db._handle.point_reads
    assert reads is not None
    assert reads.find("n", given) is NotImplemented


def test_a_transaction_reads_what_it_wrote(db: rango.Database) -> None:
    reads = db._handle.point_reads
    assert reads is not None
    with db.transaction():
        db["n"].update_one({"_id": 1}, {"$set": {"a": 5}})
        assert reads.find("n", 1) is NotImplemented
        assert db["n"].find_one(1) == {"_id": 1, "a": 5}
    assert db["n"].find_one({"_id": 1}) == {"_id": 1, "a": 5}


def test_a_snapshot_reads_its_own_moment(db: rango.Database) -> None:
    with db.snapshot() as past:
        db["n"].update_one({"_id": 1}, {"$set": {"a": 5}})
        assert past["n"].find_one(1) == {"_id": 1, "a": 1}
        assert db["n"].find_one(1) == {"_id": 1, "a": 5}


def test_errors_are_those_of_the_general_way(db: rango.Database) -> None:
    with pytest.raises(InvalidFilter):
        db["n"].find_one({"_id": {"$nothing": 1}})
    rows = db["n"]
    db.close()
    with pytest.raises(DatabaseClosed):
        rows.find_one(1)


def test_a_closed_handle_reads_nothing_while_another_is_open(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["n"].insert_one({"_id": 1})
        other = rango.open(tmp_path / "db")
        rows = other["n"]
        assert rows.find_one({"_id": 1}) == {"_id": 1}
        other.close()
        for given in ({"_id": 1}, 1, {}):
            with pytest.raises(DatabaseClosed):
                rows.find_one(given)
        assert db["n"].find_one({"_id": 1}) == {"_id": 1}
