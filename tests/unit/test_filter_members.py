"""Long $in: what it matches, the intervals that it has in an index, and how the scan goes on."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex

import rango
from rango._ext.filter import compile_filter
from rango._ext.key import key_of
from rango._ext.points import Points
from rango._ext.record import encode
from rango.database import Database
from rango.engine import bounds, planned
from rango.engine.bounds import BOUND_SIZE_BYTES_MAX, PLAIN_TYPES, bounds_of
from rango.engine.filters import program_of
from rango.errors import InvalidFilter, LimitExceeded
from rango.limits import FILTER_VALUES_MAX
from tests.reference import filter as twin
from tests.reference import points as points_twin

COUNT = 300
ODD: list[Any] = [
    None, True, False, 0, -1, 2**53 + 1, Int64(7), 1.5, float("nan"), float("inf"), -0.0,
    Decimal128("2.5"), "", "text", "text2", "t" * 600, b"", b"bytes", ObjectId("5" * 24),
    UUID(int=5), datetime.datetime(2024, 1, 1), [], [1, 2], [[3]], {}, {"a": 1}, MinKey(),
    MaxKey(), bson.Timestamp(3, 4),
]  # fmt: skip


def mixed(rng: random.Random, count: int) -> list[Any]:
    """Values of many types, some of them twice."""
    found = [rng.choice(ODD) for _ in range(count // 3)]
    found += [rng.randrange(400) for _ in range(count // 3)]
    found += [f"k{rng.randrange(400)}" for _ in range(count - len(found))]
    rng.shuffle(found)
    return found


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with rango.open(tmp_path / "db", durability="memory") as database:
        yield database


def test_a_long_in_matches_what_the_twin_says(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(10):
        # the twin has no class for the UUIDs of Python
        values = [each for each in mixed(rng, COUNT) if not isinstance(each, UUID)]
        program = compile_filter({"a": {"$in": values}})
        negated = compile_filter({"a": {"$nin": values}})
        for value in [*ODD, *mixed(rng, 60), *([each] for each in mixed(rng, 30))]:
            if isinstance(value, UUID) or value == [UUID(int=5)]:
                continue
            document = {"a": value}
            expected = twin.matches(document, {"a": {"$in": values}})
            assert program.matches_bson(encode(document)) == expected, value
            assert negated.matches_bson(encode(document)) != expected, value
        missing = twin.matches({}, {"a": {"$in": values}})
        assert program.matches_bson(encode({})) == missing


def test_a_value_that_cannot_be_encoded_is_named_wherever_it_stands() -> None:
    for at in (0, 1500, 1999):
        values: list[Any] = list(range(2000))
        values[at] = object()
        with pytest.raises(InvalidFilter, match=r"'a\.b': an operand cannot be encoded"):
            program_of({"a.b": {"$in": values}})


def test_values_that_are_too_large_together_are_encoded_alone() -> None:
    values = [b"x" * (17_000 + n) for n in range(1100)]
    program = compile_filter({"a": {"$in": values}})
    assert program.matches_bson(encode({"a": values[1030]}))
    assert not program.matches_bson(encode({"a": b"x"}))


@pytest.mark.parametrize("operator", ["$in", "$nin"])
def test_more_values_than_the_limit_are_refused(operator: str) -> None:
    with pytest.raises(LimitExceeded, match=rf"\{operator} has") as raised:
        program_of({"a": {operator: [1] * (FILTER_VALUES_MAX + 1)}})
    assert raised.value.limit == "FILTER_VALUES_MAX"
    assert raised.value.value == FILTER_VALUES_MAX + 1


def test_patterns_in_a_long_in_are_still_patterns() -> None:
    program = program_of({"a": {"$in": [*range(COUNT), Regex("^ab")]}})
    assert program.matches_bson(encode({"a": "abc"}))
    assert program.matches_bson(encode({"a": 299.0}))
    assert not program.matches_bson(encode({"a": "b"}))


# --- intervals


def test_points_are_the_intervals_that_each_value_has(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        values = mixed(rng, COUNT)
        found = bounds_of(("$in", "a", tuple(values)), "a", False)
        with monkeypatch.context() as patch:
            patch.setattr(bounds, "POINTS_COUNT_MIN", 1 << 60)
            expected = bounds_of(("$in", "a", tuple(values)), "a", False)
        assert found is not None and isinstance(found.intervals, Points)
        assert expected is not None and not isinstance(expected.intervals, Points)
        assert [each[:2] for each in found.intervals] == [each[:2] for each in expected.intervals]
        assert (found.is_points, found.is_exact) == (expected.is_points, expected.is_exact)


def points_of(values: list[Any]) -> Points:
    return Points(values, PLAIN_TYPES, bounds._equal, BOUND_SIZE_BYTES_MAX)


def test_points_and_their_twin_go_on_at_the_same_turn(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        values = [rng.choice((rng.randrange(500), f"k{rng.randrange(500)}")) for _ in range(90)]
        expected = points_twin.intervals((key_of(each), each) for each in values)
        found = points_of(values)
        assert [*found] == expected
        assert found[-1] == expected[-1]
        for _ in range(100):
            key = key_of(rng.choice((rng.randrange(600), f"k{rng.randrange(600)}")))
            key = key[: rng.randrange(1, len(key) + 1)] + rng.randbytes(rng.randrange(3))
            turn = rng.randrange(len(expected) + 1)
            for reverse in (False, True):
                wanted = points_twin.turn_of(expected, key, turn, reverse)
                assert found.turn_of(key, turn, reverse) == wanted


def test_points_end_like_a_sequence() -> None:
    found = points_of([1, 2])
    assert len(found) == 2
    for at in (2, -3):
        with pytest.raises(IndexError):
            found[at]


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("is_checkpointed", [False, True, None])
def test_an_index_finds_what_a_scan_finds(
    db: Database, seed: int, way: int, is_checkpointed: bool | None
) -> None:
    rng = random.Random(seed)
    c = db["c"]
    c.insert_many([{"_id": n, "a": rng.choice(mixed(rng, 9)), "b": n % 3} for n in range(400)])
    c.create_index([("a", way)])
    c.create_index([("b", 1), ("a", way)])
    if is_checkpointed is not False:
        db.checkpoint()
    if is_checkpointed is None:  # some in the file, some in memory, some gone
        c.delete_many({"_id": {"$in": list(range(0, 400, 7))}})
        c.insert_many([{"_id": 1000 + n, "a": [n, f"k{n}"], "b": 1} for n in range(100)])
        c.update_many({"b": 2}, {"$set": {"a": 77}})
    for _ in range(8):
        values = mixed(rng, rng.choice((70, 200, 900)))
        query = {"a": {"$in": values}}
        everything = {"hint": {"$natural": 1}}
        expected = sorted(each["_id"] for each in c.find(query, **everything))
        assert sorted(each["_id"] for each in c.find(query)) == expected
        assert sorted(each["_id"] for each in c.find(query, hint=[("a", way)])) == expected
        assert c.count_documents(query, hint=[("a", way)]) == len(expected)
        for direction in (1, -1):
            ordered = {"sort": [("a", direction), ("_id", direction)]}
            known = [each["_id"] for each in c.find(query, **everything, **ordered)]
            assert [each["_id"] for each in c.find(query, **ordered)] == known
        both = {"b": 1, "a": {"$in": values, "$gte": 100}}
        expected = sorted(each["_id"] for each in c.find(both, **everything))
        assert sorted(each["_id"] for each in c.find(both)) == expected


def test_values_without_a_key_cost_no_look_at_the_index(db: Database) -> None:
    db["c"].create_index("a")
    db["c"].insert_many([{"a": 10_000 * n} for n in range(10)])
    query = {"a": {"$in": list(range(50_000))}}
    stats = db["c"].explain(query)["executionStats"]
    assert stats["nReturned"] == 5
    assert stats["totalKeysExamined"] <= 10


def test_ids_of_a_long_in_are_found_both_ways(db: Database) -> None:
    db["c"].insert_many([{"_id": 3 * n} for n in range(200)])
    query = {"_id": {"$in": list(range(301))}}
    assert [each["_id"] for each in db["c"].find(query)] == list(range(0, 301, 3))
    backwards = db["c"].find(query, sort=[("_id", -1)])
    assert [each["_id"] for each in backwards] == list(range(300, -1, -3))


def test_two_long_lists_on_one_field_meet_in_one_pass(db: Database) -> None:
    # each interval of the one with each of the other would be 4 * 10**8 steps
    db["c"].create_index("a")
    db["c"].insert_many([{"a": n} for n in range(50)])
    first, second = list(range(20_000)), list(range(40, 20_040))
    query = {"$and": [{"a": {"$in": first}}, {"a": {"$in": second}}]}
    assert db["c"].count_documents(query) == 10


def test_plans_of_large_filters_are_not_kept(db: Database) -> None:
    db["c"].create_index("a")
    db["c"].insert_one({"a": 1})
    before = planned._kept.cache_info().currsize
    for n in range(5):
        assert db["c"].count_documents({"a": {"$in": [1, *range(n, n + 2000)]}}) == 1
    assert planned._kept.cache_info().currsize == before
    assert db["c"].count_documents({"a": {"$in": [1, 2, before]}}) == 1
    assert planned._kept.cache_info().currsize > before or before == planned.PLANS_KEPT_MAX
