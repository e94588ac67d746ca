"""Many equalities of one path: $all, $or, $nor and $and of $ne, walked once."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bson import Decimal128, Int64

from rango._ext.record import encode
from rango.engine.collation import Collation
from rango.engine.filters import program_of
from tests.reference import filter as twin

COUNT = 100


def value(rng: random.Random) -> Any:
    """Few different values of many types, so that lists share most of them."""
    number = rng.randrange(80)
    return rng.choice(
        [
            number, float(number), Int64(number), Decimal128(str(number)), f"k{number}", [number],
            {"a": number}, None, True, float("nan"), Decimal128("NaN"),
        ]
    )  # fmt: skip


def document(rng: random.Random, values: list[Any]) -> dict[str, Any]:
    """A document with all of the values, or all but a few, within reach of some of PATHS."""
    held = rng.sample(values, len(values) - rng.choice([0, 0, 1, 2]))
    half = len(held) // 2
    return rng.choice(
        [
            {"a": held},
            {"a": {"b": held}},
            {"a": [{"b": each} for each in held]},
            {"a": [{"b": held[:half]}, {"b": held[half:]}, {}]},
            {"a": [held, 5]},
            {"a": held[0]},
            {},
        ]
    )


PATHS = ("a", "a.b", "a.0", "a.0.b")


@pytest.mark.parametrize(
    "make",
    [
        lambda path, values: {path: {"$all": values}},
        lambda path, values: {path: {"$not": {"$all": values}}},
        lambda path, values: {path: {"$elemMatch": {"$all": values}}},
        lambda path, values: {path: {"$all": values[:1] * COUNT}},
        lambda path, values: {"$and": [{path: each} for each in values]},
        lambda path, values: {"$or": [{path: each} for each in values]},
        lambda path, values: {"$nor": [{path: each} for each in values]},
        lambda path, values: {"$and": [{path: {"$ne": each}} for each in values]},
        lambda path, values: {"$or": [{path: {"$ne": each}} for each in values]},
    ],
)
def test_many_equalities_match_what_the_twin_says(make: Any, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(25):
        values = [value(rng) for _ in range(COUNT)]
        filter = make(rng.choice(PATHS), values)
        program = program_of(filter)
        for _ in range(6):
            found = document(rng, values)
            assert program.matches_bson(encode(found)) == twin.matches(found, filter), found


def test_all_in_an_element_has_room_of_its_own() -> None:
    values = list(range(COUNT))
    program = program_of({"x": {"$elemMatch": {"a": {"$all": values}}}})
    halves = [{"a": values[:50]}, {"a": values[50:]}]
    assert not program.matches_bson(encode({"x": halves}))
    assert program.matches_bson(encode({"x": [*halves, {"a": values}]}))
    assert not program.matches_bson(encode({"x": halves}))


def test_the_last_value_of_all_chooses_the_place() -> None:
    values = list(range(COUNT))
    for last in ([7], [7, values], [7, [3]]):
        few = program_of({"a": {"$all": [1, *last]}})
        many = program_of({"a": {"$all": [*values, *last]}})
        data = encode({"a": [values, *reversed(values), [3]]})
        assert many.position(data) == few.position(data), last


def test_the_first_of_many_alternatives_chooses_the_place() -> None:
    program = program_of({"$or": [{"a": each} for each in range(COUNT)]})
    assert program.position(encode({"a": [-1, -2, 50, 3]})) == 2


def test_a_long_array_is_walked_once_for_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    # strings that are not ASCII are folded in Python, each time that one is looked at
    texts = [f"é{number}" for number in range(1000)]
    data = encode({"a": texts})
    folded: list[str] = []
    fold = Collation.fold

    def counted(self: Collation, text: str) -> str:
        folded.append(text)
        return fold(self, text)

    monkeypatch.setattr(Collation, "fold", counted)
    for filter, expected in (
        ({"a": {"$all": texts[::2]}}, True),
        ({"$or": [{"a": f"{each}x"} for each in texts]}, False),
        ({"$and": [{"a": {"$ne": f"{each}x"}} for each in texts]}, True),
    ):
        program = program_of(filter, collation=Collation("en", 2))
        folded.clear()
        assert program.matches_bson(data) is expected
        # the array itself is a value too
        assert len(folded) <= 2 * len(texts) + 10
