"""The engine equals a dictionary, whatever is done in whatever order (I-7, I-8, I-16).

The model is {`_id`: document} and a handful of lines that say what a filter, an update and a sort
mean; it shares nothing with the engine but Python's comparison of numbers. After every step all
documents, every index and the counts agree; the database is reopened in between.
"""

from __future__ import annotations

import copy
import itertools
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import rango
from rango import errors

Document = dict[str, Any]
Test = Callable[[Document], bool]

NAMES = ("a", "b")
IDS = st.integers(0, 12)
NUMBERS = st.integers(-3, 3)
VALUES = st.one_of(NUMBERS, st.sampled_from(["", "x", "y"]), st.none(), st.booleans())
FIELDS = st.sampled_from(["x", "y"])
BODIES = st.dictionaries(FIELDS, st.one_of(VALUES, st.lists(NUMBERS, max_size=3)), max_size=2)
PADS = st.sampled_from([0, 0, 0, 3000, 20_000])
MISSING = object()


class Abort(Exception):
    """Ends a transaction on purpose."""


def kind(value: Any) -> str:
    """Values of different kinds do not compare."""
    if value is None or value is MISSING:
        return "null"
    return (
        "number" if isinstance(value, int) and not isinstance(value, bool) else type(value).__name__
    )


def equal(left: Any, right: Any) -> bool:
    return kind(left) == kind(right) and (kind(left) == "null" or left == right)


def elements(document: Document, field: str) -> list[Any]:
    """The values that a comparison may meet at a field."""
    value = document.get(field, MISSING)
    return [*value, value] if isinstance(value, list) else [value]


def holds(operator: str, left: Any, right: Any) -> bool:
    if operator in ("$gte", "$lte") and equal(left, right):
        return True
    if kind(left) != kind(right) or kind(left) == "null":
        return False
    return bool(left > right if operator.startswith("$gt") else left < right)


@st.composite
def filters(draw: st.DrawFn) -> tuple[Document, Test]:
    """A filter and what it means."""
    field, value = draw(FIELDS), draw(VALUES)
    operator = draw(
        st.sampled_from(["eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "id", "all"])
    )
    if operator == "all":
        return {}, bool
    if operator == "id":
        id_value = draw(IDS)
        return {"_id": id_value}, lambda document: bool(document["_id"] == id_value)
    if operator in ("eq", "$ne"):
        wanted = operator == "eq"
        filter = {field: value} if wanted else {field: {"$ne": value}}
        return (
            filter,
            lambda document: (
                wanted == any(equal(each, value) for each in elements(document, field))
            ),
        )
    if operator == "$in":
        values = draw(st.lists(VALUES, max_size=3))
        return {field: {"$in": values}}, lambda document: any(
            equal(each, value) for each in elements(document, field) for value in values
        )
    return {field: {operator: value}}, lambda document: any(
        holds(operator, each, value) for each in elements(document, field)
    )


class Model(RuleBasedStateMachine):
    """Two collections of one database, and the dictionaries that they should equal."""

    secret: ClassVar[Document] = {}

    @initialize(durability=st.sampled_from(["commit", "memory"]))
    def start(self, durability: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="rango-model-")
        self.durability = durability
        self.ticks = itertools.count(1_700_000_000_000)
        self.model: dict[str, dict[Any, Document]] = {name: {} for name in NAMES}
        self.indexes: dict[str, set[str]] = {name: set() for name in NAMES}
        self.before: dict[str, dict[Any, Document]] | None = None
        self.transaction: AbstractContextManager[object] = nullcontext()
        self.open()

    def open(self) -> None:
        self.db = rango.open(
            f"{self.folder}/db",
            durability=self.durability,  # type: ignore[arg-type]
            clock=lambda: next(self.ticks),
            **self.secret,
        )

    def teardown(self) -> None:
        if hasattr(self, "db"):
            if self.before is not None:
                self.transaction.__exit__(None, None, None)
            self.db.close()
            shutil.rmtree(self.folder)

    @rule(name=st.sampled_from(NAMES), id_value=IDS, body=BODIES, pad=PADS)
    def insert(self, name: str, id_value: int, body: Document, pad: int) -> None:
        document = {"_id": id_value, **body, **({"pad": "p" * pad} if pad else {})}
        if id_value in self.model[name]:
            with pytest.raises(errors.DuplicateKey):
                self.db[name].insert_one(document)
        else:
            self.db[name].insert_one(document)
            self.model[name][id_value] = document

    @rule(name=st.sampled_from(NAMES), ids=st.lists(IDS, min_size=1, max_size=6), body=BODIES)
    def insert_many(self, name: str, ids: list[int], body: Document) -> None:
        model = self.model[name]
        added: list[int] = []
        for id_value in ids:
            if id_value not in model:
                model[id_value] = {"_id": id_value, **copy.deepcopy(body)}
                added.append(id_value)
        documents = [{"_id": id_value, **body} for id_value in ids]
        if len(added) == len(ids):
            assert self.db[name].insert_many(documents).inserted_ids == ids
        else:
            with pytest.raises(errors.BulkWriteError) as caught:
                self.db[name].insert_many(documents, ordered=False)
            assert caught.value.details["nInserted"] == len(added)

    def matching(self, name: str, test: Test) -> list[Any]:
        return sorted(id_value for id_value, each in self.model[name].items() if test(each))

    @rule(
        name=st.sampled_from(NAMES),
        filter=filters(),
        field=FIELDS,
        value=VALUES,
        many=st.booleans(),
    )
    def set_field(
        self, name: str, filter: tuple[Document, Test], field: str, value: Any, many: bool
    ) -> None:
        found = self.matching(name, filter[1])
        update = {"$set": {field: value}}
        if many:
            result = self.db[name].update_many(filter[0], update)
            changed = found
        else:
            # which one is first depends on the index: ask, and check that it is one that matches
            first = self.db[name].find_one(filter[0])
            changed = [] if first is None else [first["_id"]]
            result = self.db[name].update_one(filter[0], update)
        assert result.matched_count == len(changed)
        assert set(changed) <= set(found)
        for id_value in changed:
            self.model[name][id_value][field] = value

    @rule(name=st.sampled_from(NAMES), id_value=IDS, amount=NUMBERS)
    def increment(self, name: str, id_value: int, amount: int) -> None:
        document = self.model[name].get(id_value)
        result = self.db[name].update_one({"_id": id_value}, {"$inc": {"n": amount}}, upsert=True)
        if document is None:
            assert result.upserted_id == id_value
            self.model[name][id_value] = {"_id": id_value, "n": amount}
        else:
            document["n"] = document.get("n", 0) + amount

    @rule(name=st.sampled_from(NAMES), id_value=IDS, body=BODIES, is_stale=st.booleans())
    def compare_and_set(self, name: str, id_value: int, body: Document, is_stale: bool) -> None:
        read = self.db[name].find_one(id_value, meta=True)
        assert (read is None) == (id_value not in self.model[name])
        if read is None:
            return
        if is_stale:
            self.db[name].update_one({"_id": id_value}, {"$inc": {"touched": 1}})
            document = self.model[name][id_value]
            document["touched"] = document.get("touched", 0) + 1
        result = self.db[name].replace_one({"_id": id_value, "_rev": read["_rev"]}, body)
        assert result.matched_count == (0 if is_stale else 1)
        if not is_stale:
            self.model[name][id_value] = {"_id": id_value, **body}

    @rule(name=st.sampled_from(NAMES), filter=filters())
    def delete_many(self, name: str, filter: tuple[Document, Test]) -> None:
        found = self.matching(name, filter[1])
        assert self.db[name].delete_many(filter[0]).deleted_count == len(found)
        for id_value in found:
            del self.model[name][id_value]

    @rule(name=st.sampled_from(NAMES), filter=filters(), limit=st.integers(0, 3))
    def query(self, name: str, filter: tuple[Document, Test], limit: int) -> None:
        found = self.matching(name, filter[1])
        collection = self.db[name]
        assert collection.count_documents(filter[0]) == len(found)
        assert sorted(each["_id"] for each in collection.find(filter[0]).batch_size(2)) == found
        ordered = collection.find_many(filter[0], sort=[("_id", -1)], limit=limit)
        expected = found[::-1][:limit] if limit else found[::-1]
        assert [each["_id"] for each in ordered] == expected
        rising = collection.find_many(filter[0], sort=[("n", 1), ("_id", 1)])
        assert [each["_id"] for each in rising] == sorted(
            found, key=lambda id_value: (self.model[name][id_value].get("n", -1e9), id_value)
        )

    @precondition(lambda self: self.before is None)
    @rule(name=st.sampled_from(NAMES), field=FIELDS)
    def change_index(self, name: str, field: str) -> None:
        if field in self.indexes[name]:
            self.db[name].drop_index(f"{field}_1")
            self.indexes[name].remove(field)
        else:
            self.db[name].create_index(field)
            self.indexes[name].add(field)

    @precondition(lambda self: self.before is None)
    @rule(name=st.sampled_from(NAMES))
    def drop(self, name: str) -> None:
        self.db[name].drop()
        self.model[name] = {}
        self.indexes[name] = set()

    @precondition(lambda self: self.before is None)
    @rule()
    def begin(self) -> None:
        self.before = copy.deepcopy(self.model)
        self.transaction = self.db.transaction()
        self.transaction.__enter__()

    @precondition(lambda self: self.before is not None)
    @rule(is_kept=st.booleans())
    def end(self, is_kept: bool) -> None:
        if is_kept:
            self.transaction.__exit__(None, None, None)
        else:
            assert self.before is not None
            self.transaction.__exit__(Abort, Abort(), None)
            self.model = self.before
        self.before = None

    @precondition(lambda self: self.before is None)
    @rule()
    def checkpoint(self) -> None:
        self.db.checkpoint()

    @precondition(lambda self: self.before is None)
    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.open()

    @precondition(lambda self: self.before is None)
    @rule()
    def check(self) -> None:
        assert list(self.db.check()) == []

    @invariant()
    def equal(self) -> None:
        if not hasattr(self, "db"):
            return
        for name in NAMES:
            expected = [document for _, document in sorted(self.model[name].items())]
            assert self.db[name].find_many() == expected
            assert self.db[name].estimated_document_count() == len(expected)
            for field in self.indexes[name]:
                through = self.db[name].find_many(hint=f"{field}_1")
                assert sorted(through, key=lambda each: each["_id"]) == expected
            for id_value in range(3):
                assert self.db[name].find_one(id_value) == self.model[name].get(id_value)


class EncryptedModel(Model):
    """The same with a key."""

    secret: ClassVar[Document] = {"key": bytes(range(32))}


STEPS = settings(stateful_step_count=40)

TestModel = Model.TestCase
TestModel.settings = STEPS
TestEncryptedModel = EncryptedModel.TestCase
TestEncryptedModel.settings = STEPS
