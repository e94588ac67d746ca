"""Bitwise: $bitAnd $bitOr $bitXor $bitNot, over int32 and int64.

Invariants  The result is an int64 if an operand is one. null or missing gives null. Without
            operands $bitAnd is -1, $bitOr and $bitXor are 0: what changes nothing.
Sources     MongoDB manual, "Bitwise Operators".
"""

from __future__ import annotations

import operator as op
from collections.abc import Callable
from typing import Any, Final

from rango.engine.expression.operands import refuse_kind, unary, variadic
from rango.engine.expression.scope import Compiler
from rango.engine.numbers import integer, is_long
from rango.engine.values import MISSING, is_integer, is_number


def _folded(name: str, start: int, apply: Callable[[int, int], int]) -> Compiler:
    def fold(values: list[Any]) -> Any:
        total = start
        is_wide = False
        for value in values:
            if value is None or value is MISSING:
                return None
            if not is_integer(value):
                raise refuse_kind(name, "int or long operands", value, 14)
            is_wide = is_wide or is_long(value)
            total = apply(total, value)
        return integer(total, is_wide)

    return variadic(fold)


def _not(value: Any) -> Any:
    if not is_integer(value):
        raise refuse_kind("$bitNot", "an int or a long", value, 14 if is_number(value) else 28765)
    return integer(~value, is_long(value))


OPERATORS: Final[dict[str, Compiler]] = {
    "$bitAnd": _folded("$bitAnd", -1, op.and_),
    "$bitNot": unary(_not),
    "$bitOr": _folded("$bitOr", 0, op.or_),
    "$bitXor": _folded("$bitXor", 0, op.xor),
}
