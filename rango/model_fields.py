"""Values of documents as the fields of dataclasses want them: one function for each type hint.

Terms       fitting: a function from a plain value to what a hint says, or Misfit.
Invariants  A value fits if it is of the type itself; only int becomes float, an array tuple, set or
            list, a value its enum, a mapping its dataclass, and Decimal128 Decimal. Of a union the
            first member that fits counts, one of the very type before all others.
Failure     Misfit names the path and the reason; InvalidArgument: a hint that cannot be resolved.
Sources     ADR-0026; rango/models.py.
"""

from __future__ import annotations

import sys
import types
from collections import abc
from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from bson.decimal128 import Decimal128

from rango.errors import InvalidArgument
from rango.models import is_dataclass

if TYPE_CHECKING:
    from dataclasses import Field

Fitting = Callable[[Any], Any]

_EXACT: Final = (str, int, float, bool, bytes)
"""Hints whose very type needs no function: most fields have one."""


class Misfit(ValueError):
    """A value that its hint does not allow. Seen only inside: ModelMismatch is made of it."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path

    def within(self, name: object) -> Misfit:
        """The same, seen from one level above."""
        other = Misfit(self.reason, f"{name}.{self.path}" if self.path else str(name))
        other.__cause__ = self.__cause__
        return other


def fields_of(model: Any) -> tuple[Field[Any], ...]:
    """The fields of a dataclass, or of an object of one."""
    # imported here: most programs have no dataclass, and the module costs milliseconds
    from dataclasses import fields

    return fields(model)


def id_field_of(kind: type) -> str | None:
    """The field of a dataclass that is the `_id` of its document."""
    names = {field.name for field in fields_of(kind)}
    return next((name for name in ("_id", "id") if name in names), None)


@lru_cache(maxsize=512)
def fitting_of(kind: Any, is_top: bool = False) -> Fitting:
    """The fitting of a dataclass. `is_top`: it is a whole document, so it has an `_id`."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise InvalidArgument(
            f"the hints of {kind.__name__} cannot be resolved ({error}); define what they name in "
            "its module"
        ) from None
    id_name = id_field_of(kind) if is_top else None
    fields: list[tuple[str, str, Any, Fitting, bool]] | None = None

    def resolved() -> list[tuple[str, str, Any, Fitting, bool]]:
        made = []
        for field in fields_of(kind):
            if field.init:
                hint = hints[field.name]
                stored = "_id" if field.name == id_name else field.name
                exact = hint if hint in _EXACT else None
                made.append((field.name, stored, exact, _of(hint), _is_needed(field)))
        return made

    def fit(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Misfit(f"a document is wanted, not {_kind(value)}")
        nonlocal fields
        if fields is None:
            fields = resolved()  # not before: a class may contain itself
        found = {}
        for name, stored, exact, fitting, is_needed in fields:
            if stored in value:
                each = value[stored]
                if type(each) is exact:
                    found[name] = each
                    continue
                try:
                    found[name] = fitting(each)
                except Misfit as misfit:
                    raise misfit.within(stored)  # noqa: B904 - it has its own cause
            elif is_needed:
                raise Misfit("it is missing", stored)
        try:
            return kind(**found)
        except (ValueError, TypeError) as error:
            raise Misfit(f"{kind.__name__} refuses it: {error}") from error

    return fit


def _is_needed(field: Field[Any]) -> bool:
    from dataclasses import MISSING as missing

    return field.default is missing and field.default_factory is missing


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _as_is(value: Any) -> Any:
    return value


def _of(hint: Any) -> Fitting:
    """The fitting of any hint."""
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _of(arguments[0])
    if origin is Union or origin is types.UnionType:
        return _union(arguments)
    if origin is Literal:
        return _literal(arguments)
    if hint is Any or hint is object or isinstance(hint, TypeVar):
        return _as_is
    return _container(origin or hint, arguments) or _single(origin or hint)


def _union(members: Sequence[Any]) -> Fitting:
    fittings = [(member, _of(member)) for member in members]

    def fit(value: Any) -> Any:
        reasons = []
        # stable: those whose very type it is come first, the others as they are declared
        for _, fitting in sorted(fittings, key=lambda each: type(value) is not each[0]):
            try:
                return fitting(value)
            except Misfit as misfit:
                reasons.append(misfit)
        # one that got further into the value says more
        raise max(reasons, key=lambda misfit: misfit.path.count(".") + bool(misfit.path))

    return fit


def _literal(values: Sequence[Any]) -> Fitting:
    def fit(value: Any) -> Any:
        for each in values:
            plain = each.value if isinstance(each, Enum) else each
            if type(plain) is type(value) and plain == value:
                return each
        raise Misfit(f"it must be one of {values!r:.200}")

    return fit


ARRAYS: Final[dict[Any, type]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Iterable: list,
    abc.Collection: list,
    abc.Set: frozenset,
    abc.MutableSet: set,
}
MAPPINGS: Final = (dict, abc.Mapping, abc.MutableMapping)


def _container(kind: Any, arguments: Sequence[Any]) -> Fitting | None:
    """The fitting of an array or a mapping; None for what is neither."""
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return _tuple([_of(each) for each in arguments])
    if kind in MAPPINGS:
        return _mapping(_of(arguments[1] if arguments else Any))
    made = tuple if kind is tuple else ARRAYS.get(kind)
    if made is None:
        return None
    hint = arguments[0] if arguments else Any
    return _array(made, _of(hint), hint if hint in _EXACT else None)


def _elements(value: Any, fittings: Any) -> list[Any]:
    found = []
    for at, (fitting, each) in enumerate(zip(fittings, value, strict=False)):
        try:
            found.append(fitting(each))
        except Misfit as misfit:
            raise misfit.within(at)  # noqa: B904
    return found


def _array(made: type, fitting: Fitting, exact: Any) -> Fitting:
    def fit(value: Any) -> Any:
        if not isinstance(value, list):
            raise Misfit(f"an array is wanted, not {_kind(value)}")
        if exact is not None and {*map(type, value)} <= {exact}:
            return made(value)
        return made(_elements(value, [fitting] * len(value)))

    return fit


def _tuple(fittings: Sequence[Fitting]) -> Fitting:
    def fit(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(fittings):
            raise Misfit(f"an array of {len(fittings)} elements is wanted, not {_kind(value)}")
        return tuple(_elements(value, fittings))

    return fit


def _mapping(fitting: Fitting) -> Fitting:
    def fit(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Misfit(f"a document is wanted, not {_kind(value)}")
        found = {}
        for name, each in value.items():
            try:
                found[name] = fitting(each)
            except Misfit as misfit:
                raise misfit.within(name)  # noqa: B904
        return found

    return fit


def _single(kind: Any) -> Fitting:
    """The fitting of a class."""
    if is_typeddict(kind):
        return _mapping(_as_is)
    if kind is not None and not isinstance(kind, type):
        raise InvalidArgument(f"a model cannot have the hint {kind!r:.100}; use a class, or Any")
    known: dict[Any, Fitting] = {float: _float, Decimal: _decimal, None: _exactly(type(None))}
    return known[kind] if kind in known else _of_class(kind)


def _of_class(kind: Any) -> Fitting:
    made: Any = kind  # narrowed by nothing
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(kind, pydantic.BaseModel):
        return _converted(kind, kind.model_validate)
    if is_dataclass(kind):
        return fitting_of(made)
    return _converted(kind, kind) if issubclass(kind, Enum) else _exactly(kind)


def _exactly(kind: type) -> Fitting:
    name = "null" if kind is type(None) else kind.__name__

    def fit(value: Any) -> Any:
        if isinstance(value, kind) and (type(value) is not bool or kind is bool):
            return value
        raise Misfit(f"{name} is wanted, not {_kind(value)}")

    return fit


def _float(value: Any) -> float:
    if isinstance(value, int | float) and type(value) is not bool:
        return float(value)
    raise Misfit(f"a number is wanted, not {_kind(value)}")


def _decimal(value: Any) -> Decimal:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    raise Misfit(f"Decimal128 is wanted, not {_kind(value)}")


def _converted(kind: type, convert: Fitting) -> Fitting:
    def fit(value: Any) -> Any:
        try:
            return convert(value)
        except ValueError as error:
            reason = f"it is no {kind.__name__}"
            errors = getattr(error, "errors", None)
            if not callable(errors):
                raise Misfit(reason) from None
            first = errors(include_input=False)[0]
            raise Misfit(str(first["msg"]), ".".join(map(str, first["loc"]))) from None

    return fit
