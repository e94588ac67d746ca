"""Filters that are decided by the columns of a leaf: they match what the twin matches, whatever
lies in the field, however often they are asked, and what the columns take is counted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

import rango
from rango.errors import InvalidFilter
from tests.race.model import together
from tests.reference.filter import matches

COUNT = 400
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
OID = ObjectId("65000000000000000000000a")
VALUES: tuple[Any, ...] = (
    0, 1, -1, 2, 1.5, -0.0, 1e308, math.inf, -math.inf, math.nan, 2**31, Int64(1), Int64(2**53),
    Int64(2**53 + 1), Int64(-(2**63)), Int64(2**63 - 1), Decimal128("1"), Decimal128("1.5"),
    Decimal128("NaN"), True, False, None, "", "a", "b", "1", "a" * 40, "a" * 39 + "b", MOMENT,
    datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), OID,
    ObjectId("65000000000000000000000b"), Binary(b"a"), Timestamp(1, 1), MinKey(), MaxKey(),
    Regex("a"), {}, {"a": 1}, [], [1], ["a", 2], [[1]], [None], [MOMENT], [True], [{"v": 1}],
)  # fmt: skip
OPERATORS = ("$eq", "$gt", "$gte", "$lt", "$lte", "$ne", "$in", "$not")


def document(chance: random.Random, number: int) -> dict[str, Any]:
    """Any values in two fields, or none, behind others of any length."""
    found: dict[str, Any] = {"_id": number, "pad": "x" * chance.randrange(60)}
    if chance.random() < 0.01:
        # not in a leaf
        found["pad"] = "x" * 70_000
    for name in chance.sample(("v", "w", "a longer name than most"), chance.randrange(4)):
        found[name] = chance.choice(VALUES)
    return found


def condition(chance: random.Random) -> Any:
    operator = chance.choice(OPERATORS)
    value = chance.choice([each for each in VALUES if not isinstance(each, (Regex, list, dict))])
    if operator == "$in":
        return {"$in": [value, chance.choice(VALUES[:20])]}
    if operator == "$not":
        return {"$not": {chance.choice(OPERATORS[:5]): value}}
    return value if operator == "$eq" and chance.random() < 0.5 else {operator: value}


def filters(chance: random.Random) -> dict[str, Any]:
    """One field or two, in conditions that may decide alone."""
    names = chance.sample(("v", "w", "a longer name than most", "v.a", "nothing"), 2)
    first, second = {names[0]: condition(chance)}, {names[1]: condition(chance)}
    return chance.choice(
        ({**first}, {**first, **second}, {"$or": [first, second]}, {"$nor": [first]})
    )


def filled(path: Path, seed: int) -> tuple[rango.Database, dict[int, dict[str, Any]]]:
    chance = random.Random(seed)
    db = rango.open(path, durability="memory")
    expected = {number: document(chance, number) for number in range(COUNT)}
    db["a"].insert_many(list(expected.values()))
    for number in chance.sample(range(COUNT), 60):
        db["a"].delete_one({"_id": number})
        del expected[number]
    db.checkpoint()
    return db, expected


def compare(db: rango.Database, expected: dict[int, dict[str, Any]], asked: dict[str, Any]) -> None:
    found = [each["_id"] for each in db["a"].find_many(asked)]
    wanted = [number for number, each in sorted(expected.items()) if matches(each, asked)]
    assert found == wanted, asked
    assert db["a"].count_documents(asked) == len(wanted), asked


@pytest.mark.parametrize("turn", range(4))
def test_what_matches_is_what_matches_without_columns(
    tmp_path: Path, seed: int, turn: int, count_cases: Callable[[str, int], None]
) -> None:
    chance = random.Random(seed + turn)
    db, expected = filled(tmp_path / "db", seed + turn)
    with db:
        asked = [filters(chance) for _ in range(150)]
        for each in asked:
            compare(db, expected, each)
        # once more, from what is there now
        for each in asked:
            compare(db, expected, each)
        for number in chance.sample(sorted(expected), 50):
            expected[number] = document(chance, number)
            db["a"].replace_one({"_id": number}, expected[number])
        for each in asked[:60]:
            compare(db, expected, each)
        db.checkpoint()
        for each in asked[:60]:
            compare(db, expected, each)
    count_cases("filters over columns", 420)


@pytest.mark.parametrize("turn", range(4))
def test_the_first_of_a_sort_are_the_first_of_all(tmp_path: Path, seed: int, turn: int) -> None:
    """With a limit what comes behind all that are held is passed over by its column."""
    chance = random.Random(seed + turn)
    db, expected = filled(tmp_path / "db", seed + turn)
    with db:
        for again in range(2):
            for _ in range(40):
                # arrays side by side have no order
                names = [chance.choice(("v", "w", "pad", "v.a")), "_id"]
                sort = [(name, chance.choice((1, -1))) for name in names][: chance.randrange(1, 3)]
                limit = chance.choice((1, 3, 20, 100, COUNT))
                every = db["a"].find_many({}, sort=sort)
                # NaN does not equal itself
                assert [each["_id"] for each in db["a"].find_many({}, sort=sort, limit=limit)] == [
                    each["_id"] for each in every[:limit]
                ], (sort, limit, again)
                told = db["a"].find({}).sort(sort).limit(limit).explain()
                assert told["docs_examined"] == len(expected) or told["sort"] == "index"


def test_the_same_is_examined_as_before(tmp_path: Path) -> None:
    """A tombstone is a key and no document, with a column or without."""
    db, expected = filled(tmp_path / "db", 1)
    with db:
        for asked in ({"v": {"$gt": 1}}, {"v": "a"}, {"v": {"$gt": 1}, "w": 3}):
            told = db["a"].find(asked).explain()
            assert told["keys_examined"] == COUNT
            assert told["docs_examined"] == len(expected)


def test_columns_are_part_of_the_cache(tmp_path: Path) -> None:
    db, _expected = filled(tmp_path / "db", 2)
    with db:
        pager = db._handle.core.store.pager
        db["a"].find_many({"nothing": 1})
        db["a"].find_many({})
        sizes = [pager.stats()["cache_bytes"]]
        for name in ("v", "w", "x", "y", "z", "v", "w"):
            db["a"].find_many({name: 17.25})
            db["a"].find_many({})
            sizes.append(pager.stats()["cache_bytes"])
        steps = [after - before for before, after in pairwise(sizes)]
        # nine bytes a record and some of each leaf; the fifth field has no room
        assert all(9 * COUNT * 0.9 < step < 30 * COUNT for step in steps[:3]), steps
        assert steps[3:] == [0, 0, 0, 0]
        pager.forget_cache()
        assert pager.stats()["cache_bytes"] == 0
        compare(db, _expected, {"v": {"$gte": 1}})


def test_a_small_cache_stays_small(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", durability="memory", cache_size=1 << 20) as db:
        db["a"].insert_many([{"_id": n, "n": n, "text": "x" * 80} for n in range(20_000)])
        db.checkpoint()
        pager = db._handle.core.store.pager
        for number in range(12):
            asked = {f"{'nmklop'[number % 6]}": {"$gt": 19_990}}
            found = db["a"].find_many(asked)
            assert len(found) == (9 if "n" in asked else 0)
            assert pager.stats()["cache_bytes"] <= (1 << 20) * 1.1


def compare_some(
    db: rango.Database, expected: dict[int, dict[str, Any]], chance: random.Random
) -> None:
    for _ in range(40):
        compare(db, expected, filters(chance))


def test_threads_that_need_a_column_at_once(tmp_path: Path) -> None:
    db, expected = filled(tmp_path / "db", 3)
    with db:
        chances = [random.Random(at) for at in range(4)]
        for _ in range(5):
            db._handle.core.store.pager.forget_cache()

            together(*[partial(compare_some, db, expected, each) for each in chances])


def test_decimals_are_compared_as_numbers(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["a"].insert_many([{"_id": n, "v": Decimal128(Decimal(n) / 4)} for n in range(100)])
        db.checkpoint()
        for _ in range(2):
            assert len(db["a"].find_many({"v": {"$gte": 20}})) == 20
            assert len(db["a"].find_many({"v": Decimal128("2.50")})) == 1


def test_a_sort_sees_two_arrays_side_by_side_behind_the_last_that_is_held(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["a"].insert_many([{"_id": n, "v": n, "a": 1, "b": 1} for n in range(20)])
        db["a"].insert_one({"_id": 20, "v": 20, "a": [1, 2], "b": [1, 2]})
        db["a"].insert_one({"_id": 21, "v": 21})
        db.checkpoint()
        for sort in ([("v", 1), ("a", 1), ("b", 1)], [("a", 1), ("b", 1)]):
            with pytest.raises(InvalidFilter, match="side by side"):
                db["a"].find_many({}, sort=sort, limit=3)


def test_a_long_name_has_no_column(tmp_path: Path) -> None:
    name = "n" * 10_000
    with rango.open(tmp_path / "db", durability="memory") as db:
        db["a"].insert_many([{"_id": n, "pad": "x" * 300, name: n} for n in range(50)])
        db.checkpoint()
        pager = db._handle.core.store.pager
        db["a"].find_many({})
        before = pager.stats()["cache_bytes"]
        for _ in range(2):
            assert len(db["a"].find_many({name: {"$gte": 40}})) == 10
            assert [each["_id"] for each in db["a"].find_many({}, sort=[(name, -1)], limit=2)] == [
                49,
                48,
            ]
        assert pager.stats()["cache_bytes"] == before
