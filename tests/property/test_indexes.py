"""Every query gives the same with an index, whichever, as without one (I-8, ADR-0019).

Random documents with arrays, nulls, missing fields and mixed types; random indexes, compound,
sparse, partial, in every direction; random filters, sorts, limits and projections. Each query runs
without an index ({"$natural": 1}), by the planner's choice and with each index as the hint; then
documents are changed and it goes on. A pair is a document that a query was answered about.
"""

from __future__ import annotations

import contextlib
import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

from bson import Int64, Regex
from bson.decimal128 import Decimal128
from hypothesis import given, settings
from hypothesis import strategies as st

import rango
from rango import errors
from rango._ext.key import key_of
from rango._ext.record import encode
from rango.collection import Collection
from rango.engine import query
from rango.engine.filters import program_of
from rango.engine.implication import conjuncts_of, has_one_of, implies

Document = dict[str, Any]
Field = tuple[str, int]

PATHS = ("a", "b", "c", "a.b", "a.c", "c.d")
SCALARS: list[Any] = [
    0, 1, 2, 3, 1.0, 2.5, -1, Int64(2), Decimal128("2.5"), "x", "xy", "y", "", True, False, None,
    math.nan, b"x", Regex("^x"),
]  # fmt: skip
PARTIALS: list[Document] = [
    {"b": {"$gte": 1}}, {"a": {"$exists": True}}, {"c": "x"}, {"b": {"$lt": 3}, "c": {"$gt": 0}},
]  # fmt: skip
POINTS: list[Any] = [0, 1, 2, 2.5, "x", True]
QUERIES_PER_STATE = 12


def value(draw: random.Random, depth: int = 2) -> Any:
    """A value: mostly a scalar, else an array or a document."""
    kind = draw.random()
    if depth and kind < 0.2:
        return [value(draw, depth - 1) for _ in range(draw.randrange(4))]
    if depth and kind < 0.32:
        names = draw.sample("bcd", draw.randrange(3))
        return {name: value(draw, depth - 1) for name in names}
    return draw.choice(SCALARS)


def document(draw: random.Random, number: int) -> Document:
    found = {"_id": number}
    for name in "abc":
        if draw.random() < 0.8:
            found[name] = value(draw, 3)
    if draw.random() < 0.1:
        found["a"] = [{name: value(draw, 1) for name in draw.sample("bc", 2)} for _ in range(2)]
    return found


def condition(draw: random.Random) -> Any:  # noqa: PLR0911 - a table of choices
    """What a filter may say about one field."""
    kind = draw.randrange(12)
    if kind < 3:
        return value(draw, 2)
    if kind < 5:
        return {draw.choice(["$gt", "$gte", "$lt", "$lte"]): value(draw, 1)}
    if kind == 5:
        low, high = sorted((draw.randrange(4), draw.randrange(4)))
        return {"$gte": low, "$lt": high}
    if kind == 6:
        return {"$in": [value(draw, 1) for _ in range(draw.randrange(4))]}
    if kind == 7:
        return {"$exists": draw.random() < 0.7}
    if kind == 8:
        return {draw.choice(["$ne", "$eq"]): value(draw, 1)}
    return draw.choice(MORE)(draw)


def in_element(draw: random.Random) -> Document:
    if draw.random() < 0.5:
        return {"$elemMatch": {name: condition(draw) for name in draw.sample("bc", 2)}}
    return {"$elemMatch": {"$gte": draw.randrange(3), "$lt": draw.randrange(4)}}


def typed(draw: random.Random) -> Document:
    return {"$type": draw.choice(["number", "string", "bool", "int", "object", "array", "null"])}


def matching(draw: random.Random) -> Document:
    return {"$regex": draw.choice(["^x", "^xy?", "y$", "^", "^(x|y)"])}


MORE: list[Callable[[random.Random], Document]] = [in_element, typed, matching]


def filter_of(draw: random.Random, depth: int = 1) -> Document:
    found: Document = {}
    for path in draw.sample(PATHS, draw.randrange(4)):
        found[path] = condition(draw)
    if draw.random() < 0.1:
        found["_id"] = draw.choice([draw.randrange(20), {"$gt": draw.randrange(20)}])
    if depth and draw.random() < 0.25:
        name = draw.choice(["$or", "$or", "$and", "$nor"])
        found[name] = [filter_of(draw, depth - 1) for _ in range(draw.randrange(1, 4))]
    if draw.random() < 0.15:
        found.update(draw.choice(PARTIALS))
    return found


def index_of(draw: random.Random) -> tuple[list[Field], Document]:
    paths = draw.sample((*PATHS, "_id"), draw.choice([1, 1, 2, 2, 3]))
    if paths == ["_id"]:
        paths = ["a"]
    options: Document = {}
    if draw.random() < 0.2:
        options["sparse"] = True
    elif draw.random() < 0.25:
        options["partialFilterExpression"] = draw.choice(PARTIALS)
    return [(path, draw.choice([1, -1])) for path in paths], options


def sort_of(draw: random.Random) -> list[Field]:
    paths = draw.sample((*PATHS, "_id"), draw.choice([0, 1, 1, 2, 3]))
    return [(path, draw.choice([1, -1])) for path in paths]


class Case:
    """A collection under test, and the questions put to it."""

    def __init__(self, collection: Collection, draw: random.Random) -> None:
        self.collection = collection
        self.draw = draw
        self.pairs = 0
        self.has_twins = False
        self.names: dict[str, tuple[list[Field], Document]] = {}

    def fill(self) -> None:
        """Documents, then indexes, then more documents."""
        count = self.draw.randrange(1, 30)
        for number in range(count):
            self.put(number)
        wanted = [index_of(self.draw) for _ in range(self.draw.randrange(1, 4))]
        self.has_twins = self.draw.random() < 0.4
        if self.has_twins:
            wanted = [([(path, self.draw.choice([1, -1]))], {}) for path in "abc"] + wanted[:1]
        for fields, options in wanted:
            try:
                name = self.collection.create_index(fields, **options)
            except (errors.InvalidDocument, errors.IndexConflict):
                continue  # two arrays side by side, or the same fields again
            self.names[name] = (fields, options)
        for number in range(count, count + self.draw.randrange(10)):
            self.put(number)

    def put(self, number: int) -> None:
        # two arrays side by side in a compound index are refused
        with contextlib.suppress(errors.InvalidDocument):
            self.collection.replace_one({"_id": number}, document(self.draw, number), upsert=True)

    def change(self) -> None:
        for _ in range(3):
            number = self.draw.randrange(30)
            if self.draw.random() < 0.5:
                self.collection.delete_one({"_id": number})
            else:
                self.put(number)

    def accepted(self) -> Document:
        """A filter that is one: comparing with a regular expression, for one, is refused."""
        while True:
            filter = filter_of(self.draw)
            if self.has_twins and self.draw.random() < 0.5:
                # points on two paths, for which two indexes are intersected
                filter.update(
                    {path: self.draw.choice(POINTS) for path in self.draw.sample("abc", 2)}
                )
            try:
                program_of(filter)
            except errors.InvalidFilter:
                continue
            return filter

    def ask(self) -> None:
        """One query, in every way."""
        filter, sort = self.accepted(), sort_of(self.draw)
        limit = self.draw.choice([0, 0, 1, 3, 10])
        skip = self.draw.choice([0, 0, 0, 2])
        natural = {"$natural": 1}
        everything = list(self.collection.find(filter, hint=natural))
        expected = {key_of(each["_id"]): each for each in everything}
        try:
            self.ranks(everything, sort)
        except errors.InvalidFilter:
            sort = []  # two arrays side by side have no order
        where = self.collection.name, filter, sort, skip, limit, self.names
        assert self.collection.count_documents(filter) == len(expected), where
        self.compare(filter, sort, skip, limit, None, expected, where)
        conjuncts = conjuncts_of(program_of(filter).normal)
        for name, (fields, options) in self.names.items():
            if options.get("sparse") and not has_one_of(conjuncts, [path for path, _ in fields]):
                continue
            partial = options.get("partialFilterExpression")
            if partial is not None and not implies(conjuncts, program_of(partial).normal):
                continue
            assert self.collection.count_documents(filter, hint=name) == len(expected), (
                name, where,
            )  # fmt: skip
            self.compare(filter, sort, skip, limit, name, expected, where)
        self.pairs += self.collection.estimated_document_count()

    def compare(
        self,
        filter: Document,
        sort: list[Field],
        skip: int,
        limit: int,
        hint: str | None,
        expected: dict[bytes, Document],
        where: object,
    ) -> None:
        found = self.collection.find_many(
            filter, sort=sort or None, skip=skip, limit=limit, hint=hint
        )
        keys = [key_of(each["_id"]) for each in found]
        assert len(set(keys)) == len(keys), (hint, where, found)
        for key, each in zip(keys, found, strict=True):
            assert key in expected, (hint, where, each)
            assert encode(each) == encode(expected[key]), (hint, where)
        left = max(0, len(expected) - skip)
        assert len(found) == (min(left, limit) if limit else left), (hint, where, found)
        if sort:
            ordered = self.collection.find_many(
                filter, sort=sort, skip=skip, limit=limit, hint={"$natural": 1}
            )
            assert self.ranks(found, sort) == self.ranks(ordered, sort), (hint, where)
        self.covered(filter, hint, expected, where)

    def covered(
        self, filter: Document, hint: str | None, expected: dict[bytes, Document], where: object
    ) -> None:
        """Projections that an index may answer by itself."""
        if hint is None:
            return
        names = [path for path, _ in self.names[hint][0] if "." not in path]
        with_id = self.draw.random() < 0.5
        projection: Document = {name: 1 for name in names if name != "_id"}
        if not projection:
            return
        if not with_id:
            projection["_id"] = 0
        found = self.collection.find_many(filter, projection, hint=hint)
        kept = [name for name in [*names, "_id"] if projection.get(name, 1)]
        wanted = [{name: each[name] for name in kept if name in each} for each in expected.values()]
        shown = [sorted(encode({"": item}).hex() + name for name, item in each.items())
                 for each in found]  # fmt: skip
        assert sorted(shown) == sorted(
            sorted(encode({"": item}).hex() + name for name, item in each.items())
            for each in wanted
        ), (hint, projection, where)

    @staticmethod
    def ranks(found: list[Document], sort: list[Field]) -> list[bytes]:
        """What a sort compares, ties apart: the key of each place in the order."""
        from rango._ext.record import record_build
        from rango.engine.sort import sort_key

        if not sort:
            return []
        key = sort_key(tuple(sort))
        return [key(record_build(encode(each), 0, 1, 0, 1, 1, b"n")) for each in found]


def run(draw: random.Random, states: int = 3) -> int:
    """A database from its creation to its end; how many pairs were compared."""
    # so that two indexes are intersected from the first or the third key on
    usual, query.JOIN_AFTER = query.JOIN_AFTER, draw.choice([0, 2])
    folder = tempfile.mkdtemp()
    pairs = 0
    try:
        with rango.open(f"{folder}/db", durability="memory") as db:
            for number in range(states):
                case = Case(db[f"c{number}"], draw)
                case.fill()
                for _ in range(2):
                    for _ in range(QUERIES_PER_STATE):
                        case.ask()
                    case.change()
                pairs += case.pairs
                if draw.random() < 0.2:
                    db.checkpoint()
    finally:
        query.JOIN_AFTER = usual
        shutil.rmtree(folder)
    return pairs


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 32))
def test_an_index_changes_no_answer(seed: int) -> None:
    run(random.Random(seed), states=1)


def test_an_index_changes_no_answer_at_length(
    seed: int, minutes: float, count_cases: Callable[[str, int], None]
) -> None:
    end = time.monotonic() + 60 * minutes
    draw = random.Random(seed)
    while True:
        count_cases("(document, query) pairs", run(draw))
        if time.monotonic() >= end:
            break
