"""Scans that pass over what does not match inside a leaf: beside overlays, bounds, tombstones and
records in overflow pages they give what a loop over all documents gives, and count the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import ExpressionFailed

COUNT = 600
SHARES = (0.0, 0.01, 0.5, 1.0)


class Case:
    """A collection, and what is in it."""

    def __init__(self, db: rango.Database, seed: int) -> None:
        self.db = db
        self.notes = db["notes"]
        self.random = random.Random(seed)
        self.expected: dict[int, dict[str, Any]] = {}

    def put(self, number: int) -> None:
        """Insert or replace a document, some of which do not fit into a leaf."""
        size = 70_000 if self.random.random() < 0.02 else self.random.randrange(300)
        document = {"_id": number, "text": "x" * size, "share": self.random.random()}
        self.notes.replace_one({"_id": number}, document, upsert=True)
        self.expected[number] = document

    def change(self, count: int) -> None:
        """Some of everything."""
        for number in self.random.sample(range(2 * COUNT), count):
            if self.random.random() < 0.3 and number in self.expected:
                self.notes.delete_one({"_id": number})
                del self.expected[number]
            else:
                self.put(number)


@pytest.fixture(params=range(6))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    seed: int = request.param
    with rango.open(tmp_path / "db", durability="memory") as db:
        found = Case(db, seed)
        found.change(COUNT)
        db.checkpoint()
        found.change(COUNT // 2)
        db.checkpoint()
        # what lies in the overlay: nothing, a little at one place, or much
        found.change((0, 1, 3, 40, 300, 0)[seed])
        yield found


@pytest.mark.parametrize("share", SHARES)
def test_a_scan_of_everything(case: Case, share: float) -> None:
    filter = {"share": {"$lt": share}}
    wanted = [
        case.expected[at] for at in sorted(case.expected) if case.expected[at]["share"] < share
    ]
    assert list(case.notes.find_many(filter)) == wanted
    assert case.notes.count_documents(filter) == len(wanted)
    plan = case.notes.find(filter).explain()
    assert (plan["plan"], plan["docs_examined"]) == ("scan", len(case.expected))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("direction", [1, -1])
def test_a_range_of_ids(case: Case, share: float, direction: int) -> None:
    for _ in range(20):
        lower, upper = sorted(case.random.sample(range(2 * COUNT + 1), 2))
        filter = {"_id": {"$gte": lower, "$lt": upper}, "share": {"$lt": share}}
        wanted = [
            case.expected[at]
            for at in sorted(case.expected, reverse=direction < 0)
            if lower <= at < upper and case.expected[at]["share"] < share
        ]
        assert list(case.notes.find(filter).sort("_id", direction)) == wanted


def test_several_scans_of_one_read_share_no_place(case: Case) -> None:
    cursor = case.notes.find({"share": {"$lt": 0.1}}).batch_size(3)
    first = [cursor.next() for _ in range(4)]
    case.change(50)
    rest = list(cursor)
    numbers = [document["_id"] for document in (*first, *rest)]
    assert numbers == sorted(set(numbers))


def test_a_malformed_record_is_found_by_the_scan_itself(case: Case) -> None:
    # what raises inside of the program, here an expression, raises whether it is passed or not
    with pytest.raises(ExpressionFailed):
        list(case.notes.find_many({"$expr": {"$gt": [{"$divide": ["$share", 0]}, 1]}}))
