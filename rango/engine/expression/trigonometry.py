"""Trigonometry: $sin $cos $tan, their inverses and hyperbolic forms, degrees and radians.

Invariants  null and missing give null, NaN gives NaN. A decimal128 gives a decimal128, computed in
            circle.py; everything else a double.
Failure     ExpressionFailed 50989 for an argument outside the domain.
Sources     MongoDB manual, "Trigonometry Expression Operators".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from bson.decimal128 import Decimal128

from rango.engine.expression import circle
from rango.engine.expression.operands import fixed, refuse_kind, unary
from rango.engine.expression.scope import Compiler
from rango.engine.numbers import DECIMAL, decimal_of, is_nan
from rango.engine.values import MISSING, is_number, shown
from rango.errors import ExpressionFailed

EVERY: Final = (-math.inf, math.inf, True)
FINITE: Final = (-math.inf, math.inf, False)
UNIT: Final = (-1, 1, True)
FROM_ONE: Final = (1, math.inf, True)

Domain = tuple[float, float, bool]
"""Least, greatest, and whether these two belong to it."""


def _function(
    name: str,
    double: Callable[[float], float],
    decimal: Callable[[Decimal], Decimal],
    domain: Domain = EVERY,
) -> Compiler:
    least, greatest, is_closed = domain

    def apply(value: Any) -> Any:
        if not is_number(value):
            raise refuse_kind(name, "a number", value, 28765)
        number: Any = value.to_decimal() if isinstance(value, Decimal128) else float(value)
        if is_nan(value):
            return value
        inside = least <= number <= greatest if is_closed else least < number < greatest
        if not inside:
            brackets = "[]" if is_closed else "()"
            raise ExpressionFailed(
                f"cannot apply {name} to {shown(value)}: it must be in "
                f"{brackets[0]}{least}, {greatest}{brackets[1]}",
                code=50989,
            )
        if isinstance(value, Decimal128):
            return Decimal128(DECIMAL.plus(decimal(number)))
        return double(number)

    return unary(apply)


def _unbounded(function: Callable[[float], float]) -> Callable[[float], float]:
    """The function, giving infinity where Python raises; sinh keeps the sign."""

    def apply(value: float) -> float:
        try:
            return function(value)
        except OverflowError:
            return math.copysign(math.inf, value) if function is math.sinh else math.inf

    return apply


def _atanh(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) == 1 else math.atanh(value)


def _atan2(y: Any, x: Any) -> Any:
    if y is None or y is MISSING:
        return None
    if not is_number(y):
        raise refuse_kind("$atan2", "numbers", y, 51044)
    if x is None or x is MISSING:
        return None
    if not is_number(x):
        raise refuse_kind("$atan2", "numbers", x, 51045)
    if isinstance(y, Decimal128) or isinstance(x, Decimal128):
        return Decimal128(DECIMAL.plus(circle.atan2(decimal_of(y), decimal_of(x))))
    return math.atan2(float(y), float(x))


def _to_radians(value: float) -> float:
    return value * (math.pi / 180)


def _to_degrees(value: float) -> float:
    return value * (180 / math.pi)


OPERATORS: Final[dict[str, Compiler]] = {
    "$acos": _function("$acos", math.acos, circle.acos, UNIT),
    "$acosh": _function("$acosh", math.acosh, circle.acosh, FROM_ONE),
    "$asin": _function("$asin", math.asin, circle.asin, UNIT),
    "$asinh": _function("$asinh", math.asinh, circle.asinh),
    "$atan": _function("$atan", math.atan, circle.atan),
    "$atan2": fixed(2, _atan2),
    "$atanh": _function("$atanh", _atanh, circle.atanh, UNIT),
    "$cos": _function("$cos", math.cos, circle.cos, FINITE),
    "$cosh": _function("$cosh", _unbounded(math.cosh), circle.cosh),
    "$degreesToRadians": _function("$degreesToRadians", _to_radians, circle.to_radians),
    "$radiansToDegrees": _function("$radiansToDegrees", _to_degrees, circle.to_degrees),
    "$sin": _function("$sin", math.sin, circle.sin, FINITE),
    "$sinh": _function("$sinh", _unbounded(math.sinh), circle.sinh),
    "$tan": _function("$tan", math.tan, circle.tan, FINITE),
    "$tanh": _function("$tanh", math.tanh, circle.tanh),
}
