"""Powers: $exp $ln $log $log10 $pow $sqrt $sigmoid.

Invariants  A decimal128 gives a decimal128; everything else a double, but for $pow of integers,
            whose result is an integer while it fits into 64 bits.
Sources     MongoDB manual, "Arithmetic Expression Operators".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from bson.decimal128 import Decimal128

from rango.engine.expression.operands import fixed, refuse_kind, unary
from rango.engine.expression.scope import Compiler
from rango.engine.numbers import DECIMAL, decimal_of, double_of, integer, is_long, is_nan
from rango.engine.values import INT64_MAX, INT64_MIN, MISSING, is_number, shown
from rango.errors import ExpressionFailed

INT64_BITS: Final = 63


def exp_of(value: float) -> float:
    """e ** value; infinity where that is too large."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _function(
    name: str,
    double: Callable[[float], float],
    decimal: Callable[[Decimal], Decimal],
    least: tuple[bool, str, int] | None = None,
) -> Compiler:
    # `least`: is 0 allowed, the words for it, the code of the error
    def apply(value: Any) -> Any:
        if not is_number(value):
            raise refuse_kind(name, "a number", value, 28765)
        if least is not None and (
            value_sign(value) < 0 or (value_sign(value) == 0 and not least[0])
        ):
            raise ExpressionFailed(
                f"the argument of {name} must be {least[1]}, but it is {shown(value)}",
                code=least[2],
            )
        if isinstance(value, Decimal128):
            return Decimal128(decimal(value.to_decimal()))
        return double(float(value))

    return unary(apply)


def value_sign(value: Any) -> int:
    """-1, 0 or 1; NaN counts as positive."""
    if is_nan(value):
        return 1
    number = value.to_decimal() if isinstance(value, Decimal128) else value
    return (number > 0) - (number < 0)


def _log(value: Any, base: Any) -> Any:
    if value is None or value is MISSING or base is None or base is MISSING:
        return None
    if not is_number(value):
        raise refuse_kind("$log", "a number as its argument", value, 28756)
    if not is_number(base):
        raise refuse_kind("$log", "a number as its base", base, 28757)
    if value_sign(value) <= 0:
        raise ExpressionFailed(
            f"the argument of $log must be a positive number, but it is {shown(value)}", code=28758
        )
    if value_sign(base) <= 0 or double_of(base) == 1:
        raise ExpressionFailed(
            f"the base of $log must be a positive number other than 1, but it is {shown(base)}",
            code=28759,
        )
    if isinstance(value, Decimal128) or isinstance(base, Decimal128):
        over = DECIMAL.ln(decimal_of(value))
        return Decimal128(DECIMAL.divide(over, DECIMAL.ln(decimal_of(base))))
    return math.log(float(value)) / math.log(float(base))


def _pow(base: Any, exponent: Any) -> Any:
    if base is None or base is MISSING or exponent is None or exponent is MISSING:
        return None
    if not is_number(base):
        raise refuse_kind("$pow", "a number as its base", base, 28762)
    if not is_number(exponent):
        raise refuse_kind("$pow", "a number as its exponent", exponent, 28763)
    if value_sign(base) == 0 and value_sign(exponent) < 0:
        raise ExpressionFailed(
            f"$pow cannot take a base of 0 and a negative exponent: {shown(exponent)}", code=28764
        )
    if isinstance(base, Decimal128) or isinstance(exponent, Decimal128):
        return Decimal128(_decimal_power(decimal_of(base), decimal_of(exponent)))
    if isinstance(base, float) or isinstance(exponent, float):
        return double_power(float(base), float(exponent))
    return _integer_power(base, exponent)


def _integer_power(base: int, exponent: int) -> int | float:
    is_wide = is_long(base) or is_long(exponent)
    if base in (0, 1, -1):
        is_one = exponent == 0 or base == 1 or (base == -1 and exponent % 2 == 0)
        return integer(1 if is_one else base, is_wide)
    if 0 <= exponent <= INT64_BITS:
        total = int(base) ** int(exponent)
        if INT64_MIN <= total <= INT64_MAX:
            return integer(total, is_wide)
    return double_power(float(base), float(exponent))


def _decimal_power(base: Decimal, exponent: Decimal) -> Decimal:
    if base.is_zero() and exponent.is_zero():
        return Decimal(1)
    return DECIMAL.power(base, exponent)


def double_power(base: float, exponent: float) -> float:
    """base ** exponent as C gives it: infinity where it is too large, NaN where it is not real."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf
    except ValueError:
        return math.nan


def _ln(value: float) -> float:
    return math.log(value)


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + exp_of(-value))


def _decimal_sigmoid(value: Decimal) -> Decimal:
    return DECIMAL.divide(Decimal(1), DECIMAL.add(Decimal(1), DECIMAL.exp(value.copy_negate())))


OPERATORS: Final[dict[str, Compiler]] = {
    "$exp": _function("$exp", exp_of, DECIMAL.exp),
    "$ln": _function("$ln", _ln, DECIMAL.ln, (False, "a positive number", 28766)),
    "$log": fixed(2, _log),
    "$log10": _function("$log10", math.log10, DECIMAL.log10, (False, "a positive number", 28761)),
    "$pow": fixed(2, _pow),
    "$sigmoid": _function("$sigmoid", _sigmoid, _decimal_sigmoid),
    "$sqrt": _function(
        "$sqrt", math.sqrt, DECIMAL.sqrt, (True, "greater than or equal to 0", 28714)
    ),
}
