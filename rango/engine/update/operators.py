"""Update operators of single values: what each of them makes of the value at its path.

Terms       maker: checks an operand once and gives the Change of one path.
Invariants  Operands are checked when the update is compiled; a Change only fails on what it finds
            in a document. A value that would be stored as the same bytes stays the same object.
Failure     InvalidUpdate names the operator, the path and the operand, with MongoDB's code.
Sources     MongoDB manual, "Field Update Operators", "Bitwise Update Operator".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bson.int64 import Int64
from bson.timestamp import Timestamp

from rango._ext.record import encode
from rango.engine.numbers import add, is_long, multiply
from rango.engine.update.comparison import PLAIN, Comparison
from rango.engine.update.paths import is_dynamic, parts_of
from rango.engine.update.refusal import BAD_VALUE, TYPE_MISMATCH, refusal
from rango.engine.update.tree import MISSING, Change, Context
from rango.engine.values import INT64_MAX, INT64_MIN, is_number, shown

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def same(old: Any, new: Any) -> bool:
    """Would both be stored as the same bytes?"""
    if old is MISSING or new is MISSING:
        return old is new
    if type(old) is type(new) and type(old) in (str, bool, int):
        return bool(old == new)
    if type(old) is type(new) is float and (old < new or old > new):
        # the others may be stored as different bytes or not: two zeros, two NaN
        return False
    return encode({"": old}) == encode({"": new})


def set_(path: str, operand: Any) -> Change:
    """`$set`: this value."""
    # encoding it now refuses what cannot be stored, with the path in the message
    encode({path: operand})

    def make(old: Any, _at: str, _context: Context) -> Any:
        return old if same(old, operand) else operand

    return Change(path, make)


def set_on_insert(path: str, operand: Any) -> Change:
    """`$setOnInsert`: this value, if an upsert inserts."""
    return Change(path, set_(path, operand).make, is_insert_only=True)


def unset(path: str, _operand: Any) -> Change:
    """`$unset`: nothing."""
    return Change(path, _nothing, creates=False, is_lenient=True)


def _nothing(_old: Any, _at: str, _context: Context) -> Any:
    return MISSING


def _number(operator: str, path: str, operand: Any) -> Any:
    if not is_number(operand):
        raise refusal(TYPE_MISMATCH, f"{operator}: {path!r} needs a number, not {shown(operand)}")
    if isinstance(operand, int) and not INT64_MIN <= operand <= INT64_MAX:
        raise refusal(BAD_VALUE, f"{operator}: {path!r} has {operand}, which is outside 64 bits")
    return operand


def _arithmetic(
    operator: str, path: str, operand: Any, compute: Callable[[Any, Any], Any], start: Any
) -> Change:
    def make(old: Any, at: str, _context: Context) -> Any:
        if old is MISSING:
            return start
        if not is_number(old):
            raise refusal(
                TYPE_MISMATCH,
                f"{operator}: {at!r} is {shown(old)}, which is not a number; $set it first",
            )
        new = compute(old, operand)
        if isinstance(new, float) and isinstance(old, int) and isinstance(operand, int):
            raise refusal(
                BAD_VALUE, f"{operator}: {at!r} is {old} and would leave 64 bits with {operand}"
            )
        return old if same(old, new) else new

    return Change(path, make)


def inc(path: str, operand: Any) -> Change:
    """`$inc`: the sum."""
    return _arithmetic("$inc", path, _number("$inc", path, operand), add, operand)


def mul(path: str, operand: Any) -> Change:
    """`$mul`: the product; zero of the operand's type where there is nothing."""
    number = _number("$mul", path, operand)
    return _arithmetic("$mul", path, number, multiply, multiply(number, 0))


def _bound(path: str, operand: Any, comparison: Comparison, is_least: bool) -> Change:
    encode({path: operand})
    key = comparison.key
    bound = key(operand)

    def make(old: Any, _at: str, _context: Context) -> Any:
        if old is MISSING:
            return operand
        other = key(old)
        return operand if (bound < other if is_least else bound > other) else old

    return Change(path, make)


def min_(path: str, operand: Any, comparison: Comparison = PLAIN) -> Change:
    """`$min`: the lesser of both in BSON order."""
    return _bound(path, operand, comparison, is_least=True)


def max_(path: str, operand: Any, comparison: Comparison = PLAIN) -> Change:
    """`$max`: the greater of both in BSON order."""
    return _bound(path, operand, comparison, is_least=False)


def current_date(path: str, operand: Any) -> Change:
    """`$currentDate`: the time now, as a date or a timestamp."""
    is_date = isinstance(operand, bool)
    if isinstance(operand, Mapping):
        unknown = [name for name in operand if name != "$type"]
        if unknown:
            raise refusal(BAD_VALUE, f"$currentDate: {path!r} has the unknown {unknown[0]!r}")
        kind = operand.get("$type")
        if kind not in ("date", "timestamp"):
            raise refusal(
                BAD_VALUE,
                f"$currentDate: the $type of {path!r} is 'date' or 'timestamp', not {shown(kind)}",
            )
        is_date = kind == "date"
    elif not is_date:
        raise refusal(
            BAD_VALUE,
            f"$currentDate: {path!r} needs true or {{'$type': 'date' or 'timestamp'}}, "
            f"not {shown(operand)}",
        )

    def make(_old: Any, _at: str, context: Context) -> Any:
        now_ms = 0 if context.now_ms is None else context.now_ms()
        if is_date:
            return _EPOCH + timedelta(milliseconds=now_ms)
        return Timestamp(now_ms // 1000, now_ms % 1000 + 1)

    return Change(path, make)


_BITWISE: Final[dict[str, Callable[[int, int], int]]] = {
    "and": int.__and__,
    "or": int.__or__,
    "xor": int.__xor__,
}


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def bit(path: str, operand: Any) -> Change:
    """`$bit`: and, or, xor with integers, one after the other."""
    if not isinstance(operand, Mapping):
        raise refusal(
            BAD_VALUE,
            f"$bit: {path!r} needs {{'and', 'or' or 'xor': an integer}}, not {shown(operand)}",
        )
    if not operand:
        raise refusal(BAD_VALUE, f"$bit: {path!r} needs at least one of 'and', 'or', 'xor'")
    for name, value in operand.items():
        if name not in _BITWISE:
            raise refusal(BAD_VALUE, f"$bit: {path!r} knows 'and', 'or', 'xor', not {shown(name)}")
        if not _is_integer(value) or not INT64_MIN <= value <= INT64_MAX:
            raise refusal(
                BAD_VALUE, f"$bit: {name!r} of {path!r} needs an int32 or int64, not {shown(value)}"
            )
    steps = [(_BITWISE[name], value) for name, value in operand.items()]

    def make(old: Any, at: str, _context: Context) -> Any:
        value = 0 if old is MISSING else old
        if not _is_integer(value):
            raise refusal(
                BAD_VALUE, f"$bit: {at!r} is {shown(value)}, which is not an int32 or int64"
            )
        is_wide = is_long(value)
        number = int(value)
        for step, other in steps:
            is_wide = is_wide or is_long(other)
            number = step(number, int(other))
        new = Int64(number) if is_wide else number
        return old if same(old, new) else new

    return Change(path, make)


def rename(path: str, operand: Any) -> Iterator[tuple[Change, list[str]]]:
    """`$rename`: what both of its paths get."""
    if not isinstance(operand, str):
        raise refusal(
            BAD_VALUE, f"$rename: the new name of {path!r} is no string: {shown(operand)}"
        )
    source, destination = parts_of("$rename", path), parts_of("$rename", operand)
    for parts, what in ((source, "source"), (destination, "destination")):
        if any(is_dynamic(part) for part in parts):
            raise refusal(
                BAD_VALUE, f"$rename: the {what} {'.'.join(parts)!r} cannot have positional parts"
            )
    shorter = min(len(source), len(destination))
    if source[:shorter] == destination[:shorter]:
        raise refusal(
            BAD_VALUE,
            f"$rename: source {path!r} and destination {operand!r} must not be on the same path",
        )

    def make(old: Any, _at: str, context: Context) -> Any:
        value = context.sources[operand]
        return old if value is MISSING or same(old, value) else value

    yield Change(path, _nothing, creates=False, is_lenient=True), source
    yield Change(operand, make, source=tuple(source)), destination
