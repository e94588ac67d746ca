"""Dataclasses and pydantic models: written as documents, and made of them."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydantic
import pytest
from bson.decimal128 import Decimal128

import rango
from rango import InsertOne, ReplaceOne, ReturnDocument, aio
from rango.collection import Collection
from rango.database import Database
from rango.errors import InvalidArgument, InvalidDocument, ModelMismatch

AT = datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
NAME = uuid.UUID(int=7)


class Kind(enum.Enum):
    NOTE = "note"
    TASK = "task"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Source:
    agent: str
    at: datetime


@dataclasses.dataclass
class Memory:
    text: str
    kind: Kind = Kind.NOTE
    level: Level = Level.LOW
    source: Source | None = None
    sources: list[Source] = dataclasses.field(default_factory=list)
    tags: set[str] = dataclasses.field(default_factory=set)
    place: tuple[float, float] = (0.0, 0.0)
    price: Decimal = Decimal("1.50")
    by_name: dict[str, Source] = dataclasses.field(default_factory=dict)
    related: uuid.UUID | None = None
    id: uuid.UUID | str | None = None


class SourceModel(pydantic.BaseModel):
    agent: str
    at: datetime


class MemoryModel(pydantic.BaseModel):
    id: uuid.UUID | str | None = pydantic.Field(default=None, alias="_id")
    text: str
    kind: Kind = Kind.NOTE
    level: Level = Level.LOW
    source: SourceModel | None = None
    sources: list[SourceModel] = []
    tags: set[str] = set()
    place: tuple[float, float] = (0.0, 0.0)
    price: Decimal = Decimal("1.50")
    by_name: dict[str, SourceModel] = {}
    related: uuid.UUID | None = None


SOURCES = {Memory: Source, MemoryModel: SourceModel}


def full(model: Any) -> Any:
    """A memory with something in every field."""
    source = SOURCES[model]
    one = source(agent="ada", at=AT)
    return model(
        text="tea",
        kind=Kind.TASK,
        level=Level.HIGH,
        source=one,
        sources=[one, source(agent="eve", at=AT)],
        tags={"a", "b"},
        place=(1.5, 2.5),
        price=Decimal("19.90"),
        by_name={"ada": one},
        related=NAME,
    )


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with rango.open(tmp_path / "db", durability="memory") as database:
        yield database


@pytest.fixture(params=[Memory, MemoryModel])
def model(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_what_is_written_comes_back(db: Database, model: Any) -> None:
    memories = db.collection("m", model=model)
    memory = full(model)
    result = memories.insert_one(memory)
    assert memory.id == result.inserted_id
    assert memories.find_one(memory.id) == memory
    assert memories.find_one({"text": "tea"}) == memory
    assert memories.find_many({}, sort="text") == [memory]
    assert list(memories.find()) == memories.find().to_list() == [memory]
    assert memories.find()[0] == memories.find().clone().next() == memory
    assert memories.find_one("none") is None
    stored = db["m"].find_one({})
    assert stored is not None
    assert {name: stored[name] for name in ("_id", "kind", "level", "place", "price")} == {
        "_id": memory.id,
        "kind": "task",
        "level": 2,
        "place": [1.5, 2.5],
        "price": Decimal128("19.90"),
    }
    assert sorted(stored["tags"]) == ["a", "b"]
    assert stored["source"] == {"agent": "ada", "at": AT}
    assert "id" not in stored


def test_every_write_takes_models(db: Database, model: Any) -> None:
    plain, memories = db["m"], db.collection("m", model=model)
    some = [model(text=str(n)) for n in range(3)]
    assert plain.insert_many(some).inserted_ids == [each.id for each in some]
    changed = model(text="new")
    assert plain.replace_one({"text": "0"}, changed).modified_count == 1
    assert changed.id is None
    plain.bulk_write([InsertOne(model(text="bulk")), ReplaceOne({"text": "1"}, model(text="one"))])
    found = memories.find_many({}, sort="text")
    assert [each.text for each in found] == ["2", "bulk", "new", "one"]
    assert {each.id for each in found} >= {each.id for each in some}
    # what was read may be written again as it is
    found[0].text = "changed"
    assert memories.replace_one({"_id": found[0].id}, found[0]).modified_count == 1
    before = memories.find_one_and_replace({"text": "new"}, model(text="newer"))
    assert before is not None and before.text == "new"


def test_find_one_and_its_kin_return_models(db: Database, model: Any) -> None:
    memories = db.collection("m", model=model)
    memories.insert_one(model(text="a", level=Level.LOW))
    after = memories.find_one_and_update(
        {"text": "a"}, {"$inc": {"level": 1}}, return_document=ReturnDocument.AFTER
    )
    assert isinstance(after, model) and after.level is Level.HIGH
    found = memories.find_one_and_update({"text": "a"}, {"$set": {"x": 1}}, {"level": 1, "_id": 0})
    assert found == {"level": 2}
    assert isinstance(memories.find_one_and_delete({"text": "a"}), model)
    assert memories.find_one_and_delete({"text": "a"}) is None


def test_with_a_projection_documents_stay_dictionaries(db: Database, model: Any) -> None:
    memories = db.collection("m", model=model)
    memories.insert_one(model(text="a"))
    wanted = {"text": "a"}
    assert memories.find_one({}, {"text": 1, "_id": 0}) == wanted
    assert memories.find_many({}, {"text": 1, "_id": 0}) == [wanted]
    assert memories.find({}, {"text": 1, "_id": 0}).to_list() == [wanted]
    assert list(memories.find().projection({"text": 1, "_id": 0})) == [wanted]
    assert memories.find({}, {"text": 1, "_id": 0})[0] == wanted
    assert memories.aggregate([{"$project": {"text": 1, "_id": 0}}]).to_list() == [wanted]


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "text"),
    ({"text": 1}, "text"),
    ({"text": "a", "kind": "other"}, "kind"),
    ({"text": "a", "level": "high"}, "level"),
    ({"text": "a", "source": {"agent": "ada"}}, "source.at"),
    ({"text": "a", "sources": [{"agent": 1, "at": AT}]}, "sources.0.agent"),
    ({"text": "a", "sources": {}}, "sources"),
    ({"text": "a", "tags": "b"}, "tags"),
    ({"text": "a", "tags": ["b", 1]}, "tags.1"),
    ({"text": "a", "place": [1.0]}, "place"),
    ({"text": "a", "by_name": {"ada": {"agent": "ada", "at": "today"}}}, "by_name.ada.at"),
    ({"text": "a", "by_name": 1}, "by_name"),
    ({"text": "a", "price": "much"}, "price"),
    ({"text": "a", "related": 7}, "related"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "path"), BAD, ids=[path for _, path in BAD])
def test_a_document_that_does_not_fit_is_named_with_its_field(
    db: Database, model: Any, document: dict[str, Any], path: str
) -> None:
    db["m"].insert_one({"_id": "bad", **document})
    memories = db.collection("m", model=model)
    for read in (lambda: memories.find_one("bad"), memories.find_many, memories.find().next):
        with pytest.raises(ModelMismatch) as raised:
            read()  # type: ignore[no-untyped-call]
        error = raised.value
        assert (error.collection, error.id) == ("m", "bad")
        assert error.path == path or error.path.startswith(f"{path}.")
        for word in ("'m'", "'bad'", path, model.__name__):
            assert word in str(error)
    assert memories.find_one("bad", {"_id": 1}) == {"_id": "bad"}


def test_an_iteration_may_go_on_behind_a_document_that_does_not_fit(db: Database) -> None:
    db["m"].insert_many([{"_id": n, "text": "a" if n != 2 else 0} for n in range(4)])
    cursor = db.collection("m", model=Plain).find()
    found: list[Any] = []
    while cursor.alive:
        try:
            found.append(next(cursor).id)
        except ModelMismatch as error:
            found.append(error.path)
        except StopIteration:
            break
    assert found == [0, 1, "text", 3]


@dataclasses.dataclass
class Plain:
    id: int
    text: str


@dataclasses.dataclass
class Underscore:
    _id: int
    id: str = "kept"


@dataclasses.dataclass(frozen=True)
class Frozen:
    text: str
    id: Any = None


class FrozenModel(pydantic.BaseModel, frozen=True):
    text: str
    id: Any = pydantic.Field(default=None, alias="_id")


class NoId(pydantic.BaseModel):
    id: int
    text: str = "x"


def test_the_field_that_is_the_id(db: Database) -> None:
    named = db.collection("u", model=Underscore)
    named.insert_one(Underscore(1))
    assert db["u"].find_one(1) == {"_id": 1, "id": "kept"}
    assert named.find_one(1) == Underscore(1)
    # without the alias, pydantic's `id` is a field like any other
    plain = db.collection("p", model=NoId)
    made = plain.insert_one(NoId(id=5)).inserted_id
    assert db["p"].find_one(made) == {"_id": made, "id": 5, "text": "x"}
    assert plain.find_one(made) == NoId(id=5)
    # a frozen one is stored, and stays without
    for frozen in (Frozen("a"), FrozenModel(text="a")):
        made = db["f"].insert_one(frozen).inserted_id
        assert frozen.id is None
        assert db["f"].find_one(made) == {"_id": made, "text": "a"}
        kind: Any = type(frozen)
        assert db.collection("f", model=kind).find_one(made).id == made


@dataclasses.dataclass
class Revised:
    id: int
    n: int = 0
    _rev: str | None = None


def test_a_model_may_have_the_revision_and_write_itself_if_nobody_else_did(db: Database) -> None:
    revised = db.collection("r", model=Revised)
    revised.insert_one(Revised(1))
    found = revised.find_one(1, meta=True)
    assert found is not None and found._rev is not None
    found.n += 1
    wanted = {"_id": 1, "_rev": found._rev}
    assert revised.replace_one(wanted, found).matched_count == 1
    assert revised.replace_one(wanted, found).matched_count == 0


@dataclasses.dataclass
class Checked:
    id: int
    n: int = 0

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError("n must not be negative")


def test_what_a_class_refuses_itself_does_not_fit(db: Database) -> None:
    db["c"].insert_one({"_id": 1, "n": -1})
    with pytest.raises(ModelMismatch, match="n must not be negative") as raised:
        db.collection("c", model=Checked).find_one(1)
    assert isinstance(raised.value.__cause__, ValueError)


class ManyErrors(pydantic.BaseModel):
    a: int
    b: int


def test_all_that_pydantic_found_is_told_without_the_values(db: Database) -> None:
    db["e"].insert_one({"_id": 1, "a": "secret", "b": "secret"})
    with pytest.raises(ModelMismatch) as raised:
        db.collection("e", model=ManyErrors).find_one(1)
    assert [path for path, _ in raised.value.findings] == ["a", "b"]
    assert "secret" not in str(raised.value)
    assert "1 more" in str(raised.value)


def test_what_bson_does_not_have_is_refused_with_its_path(db: Database) -> None:
    @dataclasses.dataclass
    class Dated:
        files: list[Path]

    with pytest.raises(InvalidDocument, match=r"'files\[0\]'"):
        db["d"].insert_one(Dated([Path("x")]))
    assert db["d"].find_many() == []


@pytest.mark.parametrize("value", [dict, int, "Memory", Memory("x"), None.__class__])
def test_what_is_no_model_is_refused(db: Database, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="a model is"):
        db.collection("m", model=value)


@pytest.mark.parametrize("value", [Memory, MemoryModel, 5, object()])
def test_what_is_no_document_is_refused(db: Database, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="dataclass"):
        db["m"].insert_one(value)


def test_a_model_collection_is_the_collection(db: Database) -> None:
    typed = db.collection("m", model=Memory)
    assert isinstance(typed, Collection)
    assert typed == db["m"]
    assert "Memory" in repr(typed)
    assert db.collection("m") is db["m"]
    typed.insert_one({"_id": "x", "text": "from a dict"})
    assert typed.find_one("x") == Memory("from a dict", id="x")


def test_rango_never_imports_pydantic() -> None:
    program = """
import dataclasses, sys, tempfile, rango
@dataclasses.dataclass
class A:
    id: int
with tempfile.TemporaryDirectory() as place, rango.open(place + "/db") as db:
    db["a"].insert_one(A(1))
    assert db.collection("a", model=A).find_one(1) == A(1)
assert "pydantic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_asyncio(tmp_path: Path, model: Any) -> None:
    async def main() -> None:
        async with await aio.open(tmp_path / "db", durability="memory") as db:
            memories = db.collection("m", model=model)
            memory = full(model)
            await memories.insert_one(memory)
            await memories.insert_many([model(text="b"), model(text="c")])
            assert await memories.find_one(memory.id) == memory
            assert [each.text for each in await memories.find_many({}, sort="text")] == [
                "b",
                "c",
                "tea",
            ]
            cursor = memories.find().sort("text").batch_size(1)
            assert (await anext(cursor)).text == "b"
            assert [each.text for each in await cursor.to_list(1)] == ["c"]
            assert [each async for each in cursor] == [memory]
            assert await memories.find({}, {"text": 1, "_id": 0}).sort("text").to_list(1) == [
                {"text": "b"}
            ]
            assert [each async for each in memories.find().projection(["text"]).limit(1)] != []
            found = await memories.find_one_and_update(
                {"text": "b"}, {"$set": {"text": "d"}}, return_document=ReturnDocument.AFTER
            )
            assert isinstance(found, model) and found.text == "d"
            replaced = await memories.find_one_and_replace({"text": "d"}, model(text="e"))
            assert isinstance(replaced, model)
            assert isinstance(await memories.find_one_and_delete({"text": "e"}), model)
            await db["m"].insert_one({"_id": "bad"})
            with pytest.raises(ModelMismatch):
                await memories.find_one("bad")
            with pytest.raises(ModelMismatch):
                _ = [each async for each in memories.find({"_id": "bad"})]
            assert await db["m"].find_one("bad") == {"_id": "bad"}

    asyncio.run(main())
