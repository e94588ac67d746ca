"""Reading the specifications of stages: what every stage asks of its argument.

Failure     InvalidPipeline with MongoDB's code, naming the stage, the field and what was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from bson.code import Code
from bson.int64 import Int64

from rango.engine.expression import Expression, compile_expression
from rango.engine.numbers import whole_of as number_value
from rango.engine.values import is_number, shown, type_name
from rango.errors import InvalidPipeline


def invalid(code: int, message: str) -> InvalidPipeline:
    """The error of a pipeline that is not understood, with MongoDB's code for it."""
    return InvalidPipeline(message, code=code)


def whole_of(value: object) -> int | None:
    """The whole number that a value of any numeric type is; None if it is none."""
    return number_value(value) if is_number(value) else None


def mapping_of(name: str, spec: object, code: int = 9) -> Mapping[str, Any]:
    """A specification that is a document."""
    if not isinstance(spec, Mapping):
        raise invalid(code, f"{name} takes a document, not {shown(spec)} ({type_name(spec)})")
    for key in spec:
        if not isinstance(key, str):
            raise invalid(code, f"{name} names its fields by strings, not {shown(key)}")
    return spec


def known_fields(name: str, spec: Mapping[str, Any], known: Sequence[str], code: int) -> None:
    """Refuse a field that the stage does not know."""
    for key in spec:
        if key not in known:
            raise invalid(code, f"{name} has no field {key!r}; it has {', '.join(known)}")


def text_of(name: str, value: object, code: int) -> str:
    """A value that is a string and not empty."""
    if not isinstance(value, str) or isinstance(value, Code) or not value:
        raise invalid(code, f"{name} is a string that is not empty, not {shown(value)}")
    return value


def flag_of(name: str, value: object, code: int) -> bool:
    """A value that is a boolean."""
    if not isinstance(value, bool):
        raise invalid(code, f"{name} is true or false, not {shown(value)} ({type_name(value)})")
    return value


def count_of(name: str, value: object, code: int, minimum: int = 0) -> int:
    """A value that is a whole number, of any numeric type."""
    number = whole_of(value)
    if number is None or number < minimum or number > 2**63 - 1:
        raise invalid(code, f"{name} is a whole number from {minimum} on, not {shown(value)}")
    return number


def path_of(name: str, value: object, code: int = 16872) -> str:
    """A field path with its dollar, without it: "$a.b" is "a.b"."""
    if not isinstance(value, str) or not value.startswith("$") or len(value) < 2:
        raise invalid(code, f"{name} is a path such as '$a.b', not {shown(value)}")
    return field_path(name, value[1:])


def field_path(name: str, path: object) -> str:
    """A field path without a dollar: no empty part, no part that is an operator."""
    if not isinstance(path, str) or not path:
        raise invalid(40352, f"{name}: a field path is a string that is not empty, {shown(path)}")
    if path.endswith("."):
        raise invalid(40353, f"{name}: the field path {path!r} must not end with a dot")
    for part in path.split("."):
        if not part:
            raise invalid(15998, f"{name}: the field path {path!r} has an empty part")
        if part.startswith("$") and part not in ("$ref", "$id", "$db"):
            raise invalid(16410, f"{name}: a part of the field path {path!r} starts with $")
        if "\0" in part:
            raise invalid(16411, f"{name}: the field path {path!r} holds a NUL")
    if path.count(".") >= 200:
        raise invalid(40352, f"{name}: the field path has more than 200 parts")
    return path


class Known(Protocol):
    """What an expression needs of the place where it stands; a stage's Scope has it."""

    @property
    def variables(self) -> frozenset[str]:
        """The variables that it may use."""

    @property
    def collation(self) -> Any:
        """How strings compare."""


def expression_of(spec: object, scope: Known, more: Iterable[str] = ()) -> Expression:
    """A compiled expression, which may use `more` variables. Raises InvalidExpression."""
    names = scope.variables.union(more) if more else scope.variables
    return compile_expression(spec, names, collation=scope.collation)


READ_ANYTHING = frozenset(("$getField", "$setField", "$unsetField"))
"""Operators that name fields by strings without a dollar."""


def names_in(spec: object) -> frozenset[str] | None:
    """The top-level fields that an expression may read; None if it may read all of them.

    Every string that could be a path counts as one, so that a literal only makes it read more.
    """
    names: set[str] = set()
    return frozenset(names) if _names_in(spec, names) else None


def _names_in(spec: object, names: set[str]) -> bool:
    """Add the fields of a part; False if it may read all of them."""
    if isinstance(spec, str):
        return not spec.startswith("$") or _path_names(spec, names)
    if isinstance(spec, Mapping):
        if not READ_ANYTHING.isdisjoint(spec):
            return False
        spec = list(spec.values())
    return not isinstance(spec, list) or all(_names_in(value, names) for value in spec)


def _path_names(path: str, names: set[str]) -> bool:
    if not path.startswith("$$"):
        names.add(path[1:].split(".", 1)[0])
        return True
    variable, _, rest = path[2:].partition(".")
    if variable in ("ROOT", "CURRENT"):
        names.add(rest.split(".", 1)[0])
        return bool(rest)
    return True


def number_as(number: int) -> int:
    """A whole number in the narrowest type that MongoDB would give it: int32, or else int64."""
    return number if -(2**31) <= number < 2**31 else Int64(number)
