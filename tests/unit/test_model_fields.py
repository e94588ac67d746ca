"""The hints of dataclasses: what they take of a document, and what they refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict, Union

import pytest
from bson.objectid import ObjectId

from rango.database import Database
from rango.errors import InvalidArgument, InvalidDocument, ModelMismatch
from tests.unit.test_models import Kind, MemoryModel, db  # noqa: F401 - db is the fixture

Text = NewType("Text", str)


class Shape(TypedDict):
    a: int


@dataclasses.dataclass
class Inner:
    a: int
    id: int = 0


@dataclasses.dataclass
class Hints:
    anything: Any = None
    either: int | str = 0
    old: Optional[int] = None  # noqa: UP045
    union: Union[list[int], Inner, None] = None  # noqa: UP007
    literal: Literal["a", 1, Kind.NOTE] = "a"
    new: Text = Text("")
    noted: Annotated[int, "of what"] = 0
    sequence: Sequence[int] = ()
    mapping: Mapping[str, Inner] = dataclasses.field(default_factory=dict)
    frozen: frozenset[int] = frozenset()
    many: tuple[int, ...] = ()
    shape: Shape = dataclasses.field(default_factory=lambda: Shape(a=1))
    bare: list = dataclasses.field(default_factory=list)  # type: ignore[type-arg]
    nothing: None = None
    number: float = 0
    flag: bool = False
    data: bytes = b""
    oid: ObjectId = dataclasses.field(default_factory=lambda: ObjectId("1" * 24))
    nested: MemoryModel | None = None
    again: Hints | None = None
    computed: int = dataclasses.field(default=0, init=False)


@pytest.mark.parametrize(
    ("field", "stored", "expected"),
    [
        ("anything", {"a": [1]}, {"a": [1]}),
        ("either", "a", "a"),
        ("either", 5, 5),
        ("old", None, None),
        ("union", [1], [1]),
        ("union", {"a": 1, "id": 3}, Inner(1, 3)),
        ("literal", 1, 1),
        ("literal", "note", Kind.NOTE),
        ("new", "x", "x"),
        ("noted", 3, 3),
        ("sequence", [1, 2], [1, 2]),
        ("mapping", {"x": {"a": 1}}, {"x": Inner(1)}),
        ("frozen", [1, 1, 2], frozenset({1, 2})),
        ("many", [1, 2], (1, 2)),
        ("shape", {"a": 2}, {"a": 2}),
        ("bare", [1, "a"], [1, "a"]),
        ("nothing", None, None),
        ("number", 3, 3.0),
        ("flag", True, True),
        ("data", b"x", b"x"),
        ("oid", ObjectId("2" * 24), ObjectId("2" * 24)),
        ("nested", {"text": "a"}, MemoryModel(text="a")),
        ("again", {"number": 1}, Hints(number=1.0)),
        ("computed", 5, 0),
        ("unknown", 5, None),
    ],
)
def test_hints(
    db: Database,  # noqa: F811
    field: str,
    stored: Any,
    expected: Any,
) -> None:
    db["h"].insert_one({"_id": 1, field: stored})
    found = db.collection("h", model=Hints).find_one(1)
    assert found == (Hints() if field == "unknown" else dataclasses.replace(Hints(), **(
        {} if field == "computed" else {field: expected}
    )))  # fmt: skip
    value = getattr(found, field, None)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("field", "stored", "path", "reason"),
    [
        ("either", 1.5, "either", "not float"),
        ("either", True, "either", "not bool"),
        ("union", {"a": "x"}, "union.a", "int is wanted"),
        ("literal", True, "literal", "one of"),
        ("many", 1, "many", "an array is wanted"),
        ("nothing", 1, "nothing", "null is wanted"),
        ("number", True, "number", "a number is wanted"),
        ("flag", 1, "flag", "bool is wanted"),
        ("nested", {"text": 1}, "nested.text", "valid string"),
        ("again", {"again": {"flag": 1}}, "again.again.flag", "bool"),
    ],
)
def test_hints_are_strict(
    db: Database,  # noqa: F811
    field: str,
    stored: Any,
    path: str,
    reason: str,
) -> None:
    db["h"].insert_one({"_id": 1, field: stored})
    with pytest.raises(ModelMismatch, match=reason) as raised:
        db.collection("h", model=Hints).find_one(1)
    assert raised.value.path == path


def test_a_model_that_contains_itself_is_refused(db: Database) -> None:  # noqa: F811
    endless = Hints()
    endless.again = endless
    with pytest.raises(InvalidDocument, match="contains itself"):
        db["d"].insert_one(endless)


def test_hints_that_cannot_be_resolved_are_named(db: Database) -> None:  # noqa: F811
    @dataclasses.dataclass
    class Local:
        other: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidArgument, match="Nowhere"):
        db.collection("m", model=Local)
