"""What an upsert starts from: the values that its filter says to be equal, at their places.

Terms       equality: `{path: value}`, `$eq`, `$in` or `$all` of one value, also inside of `$and`
            and of an `$or` with one branch. Whatever else the filter says gives nothing.
Failure     InvalidUpdate if two equalities meet at one place, with MongoDB's code.
Sources     MongoDB manual, "Upsert with Operator Expressions", "Upsert with Dotted _id Query".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from bson.regex import Regex

from rango._ext.record import decode, encode
from rango.engine.update.paths import DBREF_NAMES, RESERVED
from rango.engine.update.refusal import NOT_SINGLE_VALUE, refusal
from rango.errors import InvalidFilter, InvalidUpdate

EXPRESSION_NOT_ALLOWED: Final = 224


def upsert_check(filter: Mapping[str, Any]) -> None:
    """Raise InvalidFilter if the filter has $expr, which says nothing that an insert could obey."""
    for name, condition in filter.items():
        if name == "$expr":
            raise InvalidFilter(
                "$expr is not allowed in the filter of an upsert; compare with fields directly, "
                "or leave upsert out",
                code=EXPRESSION_NOT_ALLOWED,
            )
        if name in ("$and", "$or", "$nor"):
            for each in condition:
                upsert_check(each)


def seed_of(filter: Mapping[str, Any], *, is_replacement: bool = False) -> dict[str, Any]:
    """The document to start from; only the `_id` for a replacement."""
    seed: dict[str, Any] = {}
    for path, value in equalities(filter):
        parts = path.split(".")
        if parts[0] in RESERVED or (is_replacement and parts[0] != "_id"):
            continue
        _put(seed, path, parts, value)
    # as it would be read: no mapping, tuple or date of the caller's kind is left in it
    return decode(encode(seed)) if seed else seed


def _put(seed: dict[str, Any], path: str, parts: list[str], value: Any) -> None:
    inner = seed
    for part in parts[:-1]:
        below = inner.setdefault(part, _Made())
        if not isinstance(below, _Made):
            raise _conflict(path)
        inner = below
    if parts[-1] in inner:
        raise _conflict(path)
    inner[parts[-1]] = value


class _Made(dict[str, Any]):
    """A document that dotted paths made, as opposed to one that the filter names whole."""


def _conflict(path: str) -> InvalidUpdate:
    return refusal(
        NOT_SINGLE_VALUE,
        f"upsert: cannot tell which fields to set, the filter matches {path!r} twice; "
        "name each place once",
    )


def equalities(filter: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(path, value) of each equality."""
    for path, condition in filter.items():
        if path == "$and" or (path == "$or" and len(condition) == 1):
            for each in condition:
                yield from equalities(each)
        elif not path.startswith("$"):
            for value in _equal_values(condition):
                yield path, value


def _equal_values(condition: Any) -> Iterator[Any]:
    if not _has_operators(condition):
        if not isinstance(condition, re.Pattern | Regex):
            yield condition
        return
    for operator, operand in condition.items():
        if operator == "$eq":
            yield operand
        elif operator == "$in" and len(operand) == 1:
            yield from (each for each in operand if not isinstance(each, re.Pattern | Regex))
        elif operator == "$all":
            for each in operand:
                is_pattern = isinstance(each, re.Pattern | Regex)
                if not is_pattern and not (isinstance(each, Mapping) and "$elemMatch" in each):
                    yield each


def _has_operators(condition: Any) -> bool:
    if not isinstance(condition, Mapping):
        return False
    first = next(iter(condition), "")
    return first.startswith("$") and first not in DBREF_NAMES
