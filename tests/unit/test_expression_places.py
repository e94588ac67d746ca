"""$in and $indexOfArray of long arrays: a table instead of a walk, with the same answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64

import rango
from rango.database import Database
from rango.engine.collation import Collation
from rango.engine.expression import compile_expression, places
from rango.engine.expression.places import ARRAYS_MAX, ASKED_MAX, Places, Table
from rango.engine.expression.scope import Scope
from rango.engine.values import equal, order_key

VALUES: list[Any] = [
    1, 1.0, Int64(1), Decimal128("1.00"), True, "1", "a", "A", None, [1], [1.0], {"a": 1},
    {"b": 1, "a": 2}, {"a": 2, "b": 1}, float("nan"), 2, 3, 4, 5,
]  # fmt: skip


def array(rng: random.Random, count: int = 60) -> list[Any]:
    return [rng.choice(VALUES) for _ in range(count)]


def first(values: list[Any], wanted: Any, start: int, end: int) -> int:
    """The readable twin."""
    for place, value in enumerate(values[:end]):
        if place >= start and equal(value, wanted):
            return place
    return -1


def test_a_table_says_what_a_walk_says(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        values = array(rng)
        table = Table(order_key, values)
        for wanted in VALUES:
            start, end = rng.randrange(80), rng.randrange(80)
            expected = first(values, wanted, start, end)
            assert table.find(order_key(wanted), start, end) == expected


@pytest.mark.parametrize("operator", ["$in", "$indexOfArray"])
@pytest.mark.parametrize("collation", [None, {"locale": "en", "strength": 2}])
def test_constants_fields_and_variables_give_the_same(
    operator: str, collation: Any, seed: int
) -> None:
    values = array(random.Random(seed))
    folding = None if collation is None else Collation("en", 2)
    answers = []
    for source in ({"$literal": values}, "$values", "$$let"):
        pair = ["$$this", source] if operator == "$in" else [source, "$$this"]
        expression = compile_expression(
            {"$map": {"input": "$asked", "in": {operator: pair}}}, {"let"}, collation=folding
        )
        root = {"asked": VALUES, "values": values}
        answers.append(expression.evaluate(root, {"let": values}))
    one_by_one = [
        compile_expression(
            {operator: ["$v", "$a"] if operator == "$in" else ["$a", "$v"]}, collation=folding
        ).evaluate({"v": each, "a": values}, {})
        for each in VALUES
    ]
    assert answers == [one_by_one] * 3


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the arrays that tables are made of."""
    lengths: list[int] = []

    class Counted(Table):
        def __init__(self, key_of: Any, values: list[Any]) -> None:
            lengths.append(len(values))
            super().__init__(key_of, values)

    monkeypatch.setattr(places, "Table", Counted)
    return lengths


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with rango.open(tmp_path / "db", durability="memory") as database:
        yield database


def test_an_array_gets_one_table_however_often_it_is_asked(made: list[int]) -> None:
    root = {"asked": list(range(500)), "values": list(range(250, 750))}
    for loop in ("$filter", "$map"):
        made.clear()
        inner = {"$in": ["$$this", "$values"]}
        spec = {loop: {"input": "$asked", ("cond" if loop == "$filter" else "in"): inner}}
        value = compile_expression(spec).evaluate(root, {})
        assert value == (
            list(range(250, 500)) if loop == "$filter" else [False] * 250 + [True] * 250
        )
        assert made == [500]
    made.clear()
    counted = {"$cond": [{"$in": ["$$this", "$values"]}, {"$add": ["$$value", 1]}, "$$value"]}
    spec = {"$reduce": {"input": "$asked", "initialValue": 0, "in": counted}}
    assert compile_expression(spec).evaluate(root, {}) == 250
    assert made == [500]


def test_an_array_that_is_asked_seldom_is_walked(made: list[int]) -> None:
    root = {"asked": list(range(ASKED_MAX)), "values": list(range(500))}
    spec = {"$map": {"input": "$asked", "in": {"$in": ["$$this", "$values"]}}}
    assert compile_expression(spec).evaluate(root, {}) == [True] * ASKED_MAX
    assert made == []


def test_a_long_list_has_one_table_for_all_documents(db: Database, made: list[int]) -> None:
    db["c"].insert_many([{"_id": number} for number in range(100)])
    many = list(range(50, 1050))
    isin = {"$in": ["$_id", "$$many"]}
    assert len(list(db["c"].find({"$expr": {"$in": ["$_id", many]}}))) == 50
    assert made == [1000]
    assert len(list(db["c"].find({"$expr": isin}, let={"many": many}))) == 50
    assert made == [1000] * 2
    found = list(db["c"].aggregate([{"$set": {"x": isin}}], let={"many": many}))
    assert sum(each["x"] for each in found) == 50
    assert made == [1000] * 3
    db["c"].update_many({}, [{"$set": {"x": isin}}], let={"many": many})
    assert db["c"].count_documents({"x": True}) == 50
    assert made == [1000] * 4


def test_the_arrays_that_are_kept_in_mind_are_few() -> None:
    scope, kept = Scope(()), Places()
    asked = list(range(100))
    for _ in range(ASKED_MAX):
        assert kept.table(scope, asked) is None
    table = kept.table(scope, asked)
    for number in range(5 * ARRAYS_MAX):
        assert kept.table(scope, [number] * 20) is None
        if number % 4 == 0:
            assert kept.table(scope, asked) is table
    assert len(kept._asked) == ARRAYS_MAX
