"""The specification of a projection: its fields one by one, checked.

Terms       entry: one path and what is to be done with it.
Invariants  No path of the entries is another one's prefix. `{"a": {"b": 1}}` is `{"a.b": 1}`.
Failure     InvalidFilter with MongoDB's code; InvalidExpression; LimitExceeded (nesting).
Sources     MongoDB manual, "Project Fields to Return from Query", "Path Collision Errors".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from bson.code import Code

from rango._ext.normal import HEADER_NAMES, path_check
from rango.engine.filters import program_of
from rango.engine.values import is_integer, is_number, shown, truth
from rango.errors import InvalidFilter

if TYPE_CHECKING:
    from rango.engine.expression import Expression

Kind = Literal["include", "exclude", "compute", "slice", "match", "position"]

_INT32_MAX: Final = (1 << 31) - 1
_REFERENCE_NAMES: Final = ("$ref", "$id", "$db")


class Entry(NamedTuple):
    """One field of a projection."""

    path: str
    kind: Kind
    value: Any = None
    """compute: an Expression; slice: (skip, count); match: a Program."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The path in its parts."""
        return tuple(self.path.split("."))

    @property
    def is_id_flag(self) -> bool:
        """Does it say only whether `_id` is returned?"""
        return self.path == "_id" and self.kind in {"include", "exclude"}


def entries_of(
    spec: object, variables: frozenset[str], collation: Any
) -> tuple[list[Entry], tuple[str, ...]]:
    """The entries of a projection, and the fields of the header that it asks for."""
    if isinstance(spec, (list, tuple, set, frozenset)):
        for name in spec:
            if not isinstance(name, str) or isinstance(name, Code):
                raise InvalidFilter(
                    f"a list as projection holds names of fields, not {shown(name)}"
                )
        named: Mapping[Any, Any] = dict.fromkeys(spec, True) or {"_id": True}
    elif isinstance(spec, Mapping):
        named = spec
    else:
        raise InvalidFilter(f"a projection is a mapping or a list of names, not {shown(spec)}")
    reader = _Reader(variables, collation)
    entries: list[Entry] = []
    meta: list[str] = []
    for entry in reader.entries(named, ""):
        if entry.path in HEADER_NAMES and entry.kind in {"include", "exclude"}:
            if entry.kind == "include":
                meta.append(entry.path)
        else:
            entries.append(entry)
    _collisions_check(entries)
    places = [each for each in entries if each.kind == "position"]
    if len(places) > 1:
        raise InvalidFilter(
            f"the projection has two positional fields, {places[0].path!r} and "
            f"{places[1].path!r}; the filter matches one element only",
            code=31276,
        )
    if places and any(each.kind == "match" for each in entries):
        raise InvalidFilter(
            "a projection has either a positional field or $elemMatch, not both", code=31256
        )
    return entries, tuple(meta)


def _collisions_check(entries: list[Entry]) -> None:
    tree: dict[str, Any] = {}
    for entry in entries:
        at = tree
        *parents, last = entry.parts
        for name in parents:
            below = at.setdefault(name, {})
            if below is True:
                raise InvalidFilter(
                    f"the projection names {entry.path!r} and a part of that path as well; keep "
                    "one of them",
                    code=31249,
                )
            at = below
        if last in at:
            raise InvalidFilter(
                f"the projection names {entry.path!r} twice, or a longer path through it; keep one "
                "of them",
                code=31250,
            )
        at[last] = True


class _Reader:
    """Reads one specification."""

    def __init__(self, variables: frozenset[str], collation: Any) -> None:
        self._variables = variables
        self._collation = collation

    def entries(self, spec: Mapping[Any, Any], prefix: str) -> Iterator[Entry]:
        for name, value in spec.items():
            if not isinstance(name, str):
                raise InvalidFilter(f"a projection names fields by strings, not {shown(name)}")
            path = prefix + name
            if path == "$" or path.endswith(".$"):
                yield _positional(path, value)
                continue
            _path_check(path)
            if isinstance(value, (bool, int, float)) or is_number(value):
                yield Entry(path, "include" if truth(value) else "exclude")
            elif isinstance(value, Mapping):
                yield from self._nested(path, value)
            else:
                yield Entry(path, "compute", self._expression(value))

    def _nested(self, path: str, value: Mapping[Any, Any]) -> Iterator[Entry]:
        first = next(iter(value), None)
        if first is None:
            raise InvalidFilter(
                f"the projection of {path!r} is an empty document; use 0 or 1", code=51270
            )
        if not (isinstance(first, str) and first.startswith("$")):
            yield from self.entries(value, path + ".")
        elif first in {"$slice", "$elemMatch", "$meta"} and len(value) > 1:
            raise InvalidFilter(
                f"the projection of {path!r} has {first} and something else; one operator alone",
                code=31325,
            )
        elif first == "$slice" and (slice := _slice(path, value[first])) is not None:
            yield Entry(path, "slice", slice)
        elif first == "$elemMatch":
            yield self._match(path, value)
        elif first == "$meta":
            raise InvalidFilter(
                f"the projection of {path!r}: there is no $meta here (it is for text search); name "
                "_rev, _updated_at or _source_node instead",
                code=17308,
            )
        else:
            yield Entry(path, "compute", self._expression(value))

    def _expression(self, value: Any) -> Expression:
        from rango.engine.expression import compile_expression

        return compile_expression(value, self._variables, collation=self._collation)

    def _match(self, path: str, value: Mapping[str, Any]) -> Entry:
        condition = value["$elemMatch"]
        if not isinstance(condition, Mapping):
            raise InvalidFilter(
                f"the projection of {path!r}: $elemMatch needs an object, not {shown(condition)}",
                code=31274,
            )
        if "." in path:
            raise InvalidFilter(
                f"the projection of {path!r}: $elemMatch cannot be used on a nested field; project "
                "the outer one, or use $filter",
                code=31255,
            )
        program = program_of({path: {"$elemMatch": condition}}, collation=self._collation)
        return Entry(path, "match", program)


def _positional(path: str, value: object) -> Entry:
    if path == "$":
        raise InvalidFilter("a positional projection names an array: 'a.$'", code=31277)
    _path_check(path[:-2])
    if not isinstance(value, (bool, int, float)) and not is_number(value):
        raise InvalidFilter(
            f"the projection of {path!r} is 1, not {shown(value)}; the element cannot be computed",
            code=31271,
        )
    if not truth(value):
        raise InvalidFilter(
            f"the projection of {path!r} is 1: an element cannot be left out", code=31395
        )
    return Entry(path[:-2], "position")


def _path_check(path: str) -> None:
    path_check(path)
    parts = path.split(".")
    if "" in parts:
        raise InvalidFilter(
            f"a projection cannot use the path {path!r}: a part of it is empty",
            code=40353 if parts[-1] == "" and len(parts) > 1 else 40352 if path == "" else 15998,
        )
    if "$" in parts:
        raise InvalidFilter(
            f"a projection cannot use the path {path!r}: $ stands only at its end; the fields "
            "behind it are left out: 'a.$'",
            code=31394,
        )
    if any(part.startswith("$") and part not in _REFERENCE_NAMES for part in parts):
        raise InvalidFilter(
            f"a projection cannot use the path {path!r}: a part of it starts with $", code=16410
        )


def _slice(path: str, operand: object) -> tuple[int | None, int] | None:
    """(skip, count) of a `$slice`; None if it is the expression of that name."""
    if is_number(operand):
        return None, _whole(operand)
    if not isinstance(operand, (list, tuple)):
        raise InvalidFilter(
            f"the projection of {path!r}: $slice needs a number or [skip, limit], not "
            f"{shown(operand)}",
            code=28667,
        )
    if len(operand) not in {2, 3}:
        raise InvalidFilter(
            f"the projection of {path!r}: $slice takes [skip, limit], not {shown(operand)}",
            code=28667,
        )
    if len(operand) == 3 or not is_number(operand[0]):
        return None
    if not is_number(operand[1]) or (count := _whole(operand[1])) <= 0:
        raise InvalidFilter(
            f"the projection of {path!r}: the limit of $slice is a number above 0, not "
            f"{shown(operand[1])}",
            code=28724,
        )
    return _whole(operand[0]), count


def _whole(value: Any) -> int:
    """A number of elements, as MongoDB reads it: cut to a whole one within 32 bits."""
    number = value if is_integer(value) else float(str(value))
    if math.isnan(number):
        return 0
    return int(min(max(number, -_INT32_MAX), _INT32_MAX))
