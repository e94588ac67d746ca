"""Dataclasses and pydantic models as documents: what is stored of one, and one made of a document.

Terms       model: a dataclass, or a subclass of pydantic.BaseModel. plain: made of the types that
            BSON has. misfit: a value that the model does not allow.
Invariants  pydantic is never imported: who has a model of it has imported it. A dataclass is read
            in the same way with and without it.
            `_id` is the field `_id` of a dataclass, or else its field `id`; the field of a pydantic
            model whose alias is `_id`. If its value is None the document has none yet.
            Writing: enums by their values, tuples and sets as arrays, Decimal as Decimal128; what
            BSON does not have (date, timedelta, Path ...) is refused by the encoder, which names
            the path. Reading is strict: nothing but int to float is converted for a dataclass, and
            a pydantic model converts what it says. Fields that the model does not have are left
            out.
Failure     ModelMismatch says which document does not fit, where and why; InvalidArgument: no
            model, or one whose hints cannot be resolved.
Sources     ADR-0026; docs/howto/models.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from bson.decimal128 import Decimal128

from rango.errors import InvalidDocument

if TYPE_CHECKING:
    # its default makes a plain `Collection` one of dictionaries; type checkers have it built in
    from typing_extensions import TypeVar

    D = TypeVar("D", default=dict[str, Any])
    M = TypeVar("M")
else:
    from typing import TypeVar

    D = TypeVar("D")
    M = TypeVar("M")


class DataclassInstance(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class PydanticInstance(Protocol):
    """Any model of pydantic 2."""

    def model_dump(self, *, by_alias: bool = ...) -> dict[str, Any]:
        """Its values by name."""


Storable = Mapping[str, Any] | DataclassInstance | PydanticInstance
"""What can be inserted: a mapping, a dataclass, a pydantic model."""

KEPT_BY_RANGO: Final = ("_rev", "_updated_at", "_source_node")
"""A model may have them, to be read with meta=True; they are not written."""

_PLAIN: Final = frozenset((str, int, float, bool, bytes, type(None)))


def is_dataclass(kind: type) -> bool:
    """Whether a class is a dataclass."""
    return hasattr(kind, "__dataclass_fields__")


def is_pydantic(kind: type) -> bool:
    """Whether a class is a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def is_model(value: object) -> bool:
    """Whether a value is one of a model, not a class."""
    return not isinstance(value, type) and (is_dataclass(type(value)) or is_pydantic(type(value)))


def document_of(model: Any) -> dict[str, Any]:
    """The document of a model. Raises InvalidDocument for one that contains itself."""
    try:
        if is_pydantic(type(model)):
            document = _plain(model.model_dump(by_alias=True))
        else:
            from rango.model_fields import id_field_of

            name = id_field_of(type(model))
            values = _fields(model)
            document = {"_id" if key == name else key: value for key, value in values}
    except RecursionError:
        raise InvalidDocument(
            f"a {type(model).__name__} is nested too deep, or contains itself; store its parts"
        ) from None
    if document.get("_id", model) is None:
        del document["_id"]
    for key in KEPT_BY_RANGO:
        document.pop(key, None)
    return dict(document)


def id_put(model: Any, id_value: Any) -> None:
    """Put the `_id` that was made into the model, as into a dict; not if it cannot be changed."""
    kind = type(model)
    if is_pydantic(kind):
        fields = kind.model_fields.items()
        aliases = {field.serialization_alias or field.alias: name for name, field in fields}
        name = aliases.get("_id")
    else:
        from rango.model_fields import id_field_of

        name = id_field_of(kind)
    if name is not None:
        try:
            setattr(model, name, id_value)
        except (AttributeError, ValueError, TypeError):
            return  # frozen, or of another type; the result of the insert has it


def _fields(model: Any) -> Iterator[tuple[str, Any]]:
    from rango.model_fields import fields_of

    for field in fields_of(model):
        yield field.name, _plain(getattr(model, field.name))


def _plain(value: Any) -> Any:
    if type(value) in _PLAIN:
        found = value
    elif isinstance(value, Enum):
        found = _plain(value.value)
    elif isinstance(value, Mapping):
        found = {_plain(name): _plain(each) for name, each in value.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        found = [_plain(each) for each in value]
    elif type(value) is Decimal:
        found = Decimal128(value)
    elif not is_model(value):
        found = value
    elif is_pydantic(type(value)):
        found = _plain(value.model_dump(by_alias=True))
    else:
        found = dict(_fields(value))
    return found
