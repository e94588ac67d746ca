"""Whatever a model holds comes back as it was: written as a document, and made of it again."""

from __future__ import annotations

import dataclasses
import enum
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rango
from rango.collection import Collection
from rango.models import document_of


class Kind(enum.Enum):
    NOTE = "note"
    TASK = 2


@dataclasses.dataclass
class Part:
    name: str
    at: datetime
    parts: list[Part] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Whole:
    id: uuid.UUID | int | str
    kind: Kind
    part: Part | None
    tags: frozenset[str]
    pairs: list[tuple[int, float]]
    by_name: dict[str, Part | int]
    price: Decimal
    anything: Any


class PartModel(pydantic.BaseModel):
    name: str
    at: datetime
    parts: list[PartModel] = []


class WholeModel(pydantic.BaseModel):
    id: uuid.UUID | int | str = pydantic.Field(alias="_id")
    kind: Kind
    part: PartModel | None
    tags: frozenset[str]
    pairs: list[tuple[int, float]]
    by_name: dict[str, PartModel | int]
    price: Decimal
    anything: Any


words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
names = st.text("abcXYZ äß", min_size=1, max_size=5)
whole_numbers = st.integers(-(2**63), 2**63 - 1)
# milliseconds, as they are stored
dates = st.integers(0, 2**41).map(lambda ms: datetime.fromtimestamp(ms // 1000, UTC))
decimals = st.integers(-(10**12), 10**12).map(lambda number: Decimal(number) / 1000)
plain = st.recursive(
    st.none() | st.booleans() | whole_numbers | words | st.binary(max_size=5) | dates,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(names, each, max_size=3),
    max_leaves=6,
)


def parts(kind: Any) -> st.SearchStrategy[Any]:
    """Objects of a class that contain others of it."""
    return st.recursive(
        st.builds(kind, name=words, at=dates),
        lambda each: st.builds(kind, name=words, at=dates, parts=st.lists(each, max_size=2)),
        max_leaves=4,
    )


def wholes(kind: Any, part: Any, id_name: str) -> st.SearchStrategy[Any]:
    """Objects of a class with every kind of field."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        id_name: st.uuids() | whole_numbers | words,
        "kind": st.sampled_from(Kind),
        "part": st.none() | parts(part),
        "tags": st.frozensets(words, max_size=3),
        "pairs": st.lists(st.tuples(whole_numbers, st.floats(allow_nan=False)), max_size=3),
        "by_name": st.dictionaries(names, parts(part) | whole_numbers, max_size=3),
        "price": decimals,
        "anything": plain,
    }
    return st.builds(kind, **fields)


@pytest.fixture(scope="module")
def database() -> Iterator[rango.Database]:
    with (
        tempfile.TemporaryDirectory() as place,
        rango.open(f"{place}/db", durability="memory") as db,
    ):
        yield db


def comes_back(collection: Collection[Any], model: Any) -> None:
    """Writing and reading are inverse."""
    stored = document_of(model)
    collection.replace_one({"_id": model.id}, model, upsert=True)
    found = collection.find_one({"_id": model.id})
    assert found == model
    assert type(found.id) is type(model.id)
    assert document_of(found)["_id"] == stored["_id"]


@given(wholes(Whole, Part, "id"))
def test_a_dataclass_comes_back(database: rango.Database, model: Whole) -> None:
    comes_back(database.collection("dataclass", model=Whole), model)


@given(wholes(WholeModel, PartModel, "_id"))
def test_a_pydantic_model_comes_back(database: rango.Database, model: WholeModel) -> None:
    comes_back(database.collection("pydantic", model=WholeModel), model)
