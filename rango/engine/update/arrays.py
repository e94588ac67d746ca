"""Update operators of arrays: `$push`, `$addToSet`, `$pop`, `$pull`, `$pullAll`.

Invariants  Operands are checked when the update is compiled. Values are equal when their keys in
            BSON order are: 1, 1.0 and decimal128 1 are the same element of a set, documents with
            another order of fields are not.
Failure     InvalidUpdate names the operator, the path and the operand, with MongoDB's code.
Sources     MongoDB manual, "Array Update Operators", "Update Operator Modifiers".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bson.dbref import DBRef
from bson.regex import Regex

from rango._ext.record import encode
from rango.engine.filters import program_of
from rango.engine.numbers import whole_of
from rango.engine.update.comparison import PLAIN, Comparison
from rango.engine.update.paths import DBREF_NAMES, is_index
from rango.engine.update.refusal import BAD_VALUE, FAILED_TO_PARSE, TYPE_MISMATCH, refusal
from rango.engine.update.tree import MISSING, Change, Context
from rango.engine.values import is_number, shown

_MODIFIERS: Final = ("$each", "$position", "$slice", "$sort")
_COMBINING: Final = ("$and", "$or", "$nor", "$jsonSchema", "$comment")


def _whole(value: object) -> int | None:
    """The integer that a value is, if it is one."""
    return whole_of(value) if is_number(value) else None


def _array(operator: str, path: str, old: Any) -> list[Any]:
    if not isinstance(old, list):
        raise refusal(BAD_VALUE, f"{operator}: {path!r} is {shown(old)}, which is not an array")
    return old


def push(path: str, operand: Any, comparison: Comparison = PLAIN) -> Change:
    """`$push`: one value, or those of `$each` at a position, sorted and sliced."""
    if not isinstance(operand, Mapping) or "$each" not in operand:
        encode({path: operand})
        return _push(path, [operand], len, None, None)
    for name in operand:
        if name not in _MODIFIERS:
            raise refusal(
                BAD_VALUE, f"$push: {path!r} has the unknown clause {name!r} beside $each"
            )
    values = _each("$push", path, operand, BAD_VALUE)
    whole = {
        name: _integer_clause(path, name, operand[name])
        for name in ("$position", "$slice")
        if name in operand
    }
    position = whole.get("$position")
    order = _order(path, operand["$sort"], comparison) if "$sort" in operand else None
    return _push(path, values, _place(position), order, whole.get("$slice"))


def _each(operator: str, path: str, operand: Mapping[str, Any], code: int) -> list[Any]:
    values = operand["$each"]
    if not isinstance(values, (list, tuple)):
        raise refusal(code, f"{operator}: $each of {path!r} needs an array, not {shown(values)}")
    encode({path: values})
    return list(values)


def _integer_clause(path: str, name: str, value: Any) -> int:
    whole = _whole(value)
    if whole is None:
        raise refusal(BAD_VALUE, f"$push: {name} of {path!r} needs an integer, not {shown(value)}")
    return whole


def _place(position: int | None) -> Callable[[list[Any]], int]:
    """Where new values go: counted from the end if negative, never outside of the array."""
    if position is None:
        return len
    return lambda array: (
        min(position, len(array)) if position >= 0 else max(0, len(array) + position)
    )


def _push(
    path: str,
    values: list[Any],
    place: Callable[[list[Any]], int],
    order: Callable[[list[Any]], list[Any]] | None,
    slice_: int | None,
) -> Change:
    def make(old: Any, at: str, _context: Context) -> Any:
        array = [] if old is MISSING else _array("$push", at, old)
        if old is not MISSING and not values and order is None and slice_ is None:
            return old
        where = place(array)
        new = [*array[:where], *values, *array[where:]]
        if order is not None:
            new = order(new)
        if slice_ is not None:
            new = new[:slice_] if slice_ >= 0 else new[slice_:]
        return new

    return Change(path, make)


def _order(path: str, spec: Any, comparison: Comparison) -> Callable[[list[Any]], list[Any]]:
    """What sorts an array: whole elements by 1 or -1, or by fields of documents; stable."""
    if isinstance(spec, Mapping):
        if not spec:
            raise refusal(BAD_VALUE, f"$push: $sort of {path!r} is empty; name a field")
        fields = [_sort_field(path, name, way) for name, way in spec.items()]
    elif _whole(spec) in (1, -1):
        fields = [((), _whole(spec) == -1)]
    else:
        raise refusal(
            BAD_VALUE,
            f"$push: $sort of {path!r} is 1 or -1 for whole elements, or {{field: 1 or -1}}, "
            f"not {shown(spec)}",
        )

    key = comparison.key

    def order(array: list[Any]) -> list[Any]:
        found = list(array)
        for parts, is_falling in reversed(fields):
            found.sort(key=lambda value: key(_sort_value(value, parts)), reverse=is_falling)
        return found

    return order


def _sort_field(path: str, name: Any, way: Any) -> tuple[tuple[str, ...], bool]:
    if not isinstance(name, str) or "" in name.split("."):
        raise refusal(BAD_VALUE, f"$push: $sort of {path!r} has the empty name {shown(name)}")
    if _whole(way) not in (1, -1):
        raise refusal(BAD_VALUE, f"$push: $sort of {path!r} needs 1 or -1, not {shown(way)}")
    return tuple(name.split(".")), _whole(way) == -1


def _sort_value(value: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and value and is_index(part) and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def add_to_set(path: str, operand: Any, comparison: Comparison = PLAIN) -> Change:
    """`$addToSet`: what is not in the array yet."""
    values = [operand]
    if isinstance(operand, Mapping) and next(iter(operand), None) == "$each":
        values = _each("$addToSet", path, operand, TYPE_MISMATCH)
        if len(operand) > 1:
            raise refusal(
                BAD_VALUE,
                f"$addToSet: {path!r} has {list(operand)[1]!r:.60} beside $each; only $push "
                "knows more clauses",
            )
    else:
        encode({path: operand})
    key = comparison.key
    unique: dict[bytes, Any] = {}
    for value in values:
        unique.setdefault(key(value), value)

    def make(old: Any, at: str, _context: Context) -> Any:
        array = [] if old is MISSING else _array("$addToSet", at, old)
        there = {key(value) for value in array}
        new = [value for each, value in unique.items() if each not in there]
        return [*array, *new] if new or old is MISSING else old

    return Change(path, make)


def pop(path: str, operand: Any) -> Change:
    """`$pop`: without its first (-1) or last (1) element."""
    if not is_number(operand):
        raise refusal(FAILED_TO_PARSE, f"$pop: {path!r} needs the number 1 or -1, not {operand!r}")
    end = _whole(operand)
    if end not in (1, -1):
        raise refusal(FAILED_TO_PARSE, f"$pop: {path!r} needs 1 or -1, not {shown(operand)}")

    def make(old: Any, at: str, _context: Context) -> Any:
        if not isinstance(old, list):
            raise refusal(TYPE_MISMATCH, f"$pop: {at!r} is {shown(old)}, which is not an array")
        if not old:
            return old
        return old[:-1] if end == 1 else old[1:]

    return Change(path, make, creates=False)


def pull(path: str, operand: Any, comparison: Comparison = PLAIN) -> Change:
    """`$pull`: without the elements that match a value, operators or a condition on documents."""
    return _without("$pull", path, _matcher(path, operand, comparison))


def _matcher(path: str, operand: Any, comparison: Comparison) -> Callable[[Any], bool]:
    first = next(iter(operand), "") if isinstance(operand, Mapping) else ""
    if isinstance(operand, Mapping) and first not in DBREF_NAMES and not _is_operator(first):
        condition = program_of(operand, collation=comparison.collation)
        return lambda value: _is_document(value) and condition.matches_bson(_encoded(value))
    if isinstance(operand, re.Pattern | Regex) or _is_operator(first):
        # an element has no name of its own: what is wrong is told of the array's
        parts = [part for part in path.split(".") if not part.startswith("$")]
        name = parts[-1] if parts else "value"  # such a path is refused later
        program = program_of({name: operand}, collation=comparison.collation)
        return lambda value: program.matches_bson(encode({name: value}))
    key = comparison.key
    wanted = key(operand)
    return lambda value: key(value) == wanted


def _is_document(value: object) -> bool:
    return isinstance(value, dict | DBRef)


def _encoded(value: Any) -> bytes:
    return encode(value.as_doc() if isinstance(value, DBRef) else value)


def _is_operator(name: object) -> bool:
    """Whether it is an operator on a value, rather than one that combines conditions."""
    if not isinstance(name, str):
        return False  # the filter that it then is refuses it
    return name.startswith("$") and name not in DBREF_NAMES and name not in _COMBINING


def pull_all(path: str, operand: Any, comparison: Comparison = PLAIN) -> Change:
    """`$pullAll`: without the elements that are equal to one of these."""
    if not isinstance(operand, (list, tuple)):
        raise refusal(BAD_VALUE, f"$pullAll: {path!r} needs an array, not {shown(operand)}")
    key = comparison.key
    keys = {key(value) for value in operand}
    return _without("$pullAll", path, lambda value: key(value) in keys)


def _without(operator: str, path: str, is_taken: Callable[[Any], bool]) -> Change:
    def make(old: Any, at: str, _context: Context) -> Any:
        array = _array(operator, at, old)
        new = [value for value in array if not is_taken(value)]
        return old if len(new) == len(array) else new

    return Change(path, make, creates=False)
