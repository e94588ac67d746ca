"""Numbers: arithmetic over int32, int64, double and decimal128 as MongoDB does it.

Terms       widest: the result has the wider kind of the operands, int32 < int64 < double <
            decimal128.
Invariants  An int32 that does not fit becomes an int64, an int64 that does not fit a double; no
            operation wraps. Integers are exact. An int64 that would fit 32 bits is a bson.Int64, so
            the kind of a result is that of rango._ext.record.decode.
Failure     Operands are numbers (values.is_number), which the caller has checked; dividing by zero
            is ExpressionFailed.
Sources     MongoDB manual, arithmetic operators; IEEE 754-2008 decimal128.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from bson.decimal128 import Decimal128, create_decimal128_context
from bson.int64 import Int64

from rango.engine.values import INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN
from rango.errors import ExpressionFailed

DECIMAL: Final = create_decimal128_context()
"""Rounds to 34 digits, half to even; overflow is infinity, invalid operations are NaN."""

EXACT: Final = Context(prec=13_000, Emax=999_999, Emin=-999_999, traps=[])
"""Holds the quotient of any two decimal128 values in full, so that a remainder is exact."""

DOUBLE_DIGITS: Final = 15
"""Significant digits of a double that becomes a decimal128, as in MongoDB."""


def is_long(value: int) -> bool:
    """True if an integer is an int64."""
    return type(value) is Int64 or not INT32_MIN <= value <= INT32_MAX


def integer(value: int, is_wide: bool) -> int | float:
    """An integer result: int64 if `is_wide` or if 32 bits are too few, a double beyond 64 bits."""
    if INT32_MIN <= value <= INT32_MAX:
        return Int64(value) if is_wide else int(value)
    if INT64_MIN <= value <= INT64_MAX:
        return int(value)
    return float(value)


def is_nan(value: Any) -> bool:
    """True for NaN, double or decimal128."""
    if isinstance(value, Decimal128):
        return value.to_decimal().is_nan()
    return isinstance(value, float) and math.isnan(value)


def decimal_of(value: Any) -> Decimal:
    """A number as a decimal of at most 34 digits; a double is rounded to 15."""
    if isinstance(value, Decimal128):
        return value.to_decimal()
    if isinstance(value, float):
        return decimal_of_double(value)
    return Decimal(value)


def decimal_of_double(value: float) -> Decimal:
    """A double as decimal128: exactly 15 significant digits, so 2.5 is 2.50000000000000."""
    exact = Decimal(value)
    if value == 0 or not exact.is_finite():
        return exact
    quantum = Decimal((0, (1,), exact.adjusted() - DOUBLE_DIGITS + 1))
    rounded = exact.quantize(quantum, ROUND_HALF_EVEN, EXACT)
    if len(rounded.as_tuple().digits) > DOUBLE_DIGITS:
        quantum = Decimal((0, (1,), exact.adjusted() - DOUBLE_DIGITS + 2))
        rounded = exact.quantize(quantum, ROUND_HALF_EVEN, EXACT)
    return rounded


def double_of(value: Any) -> float:
    """A number as a double."""
    return float(value.to_decimal()) if isinstance(value, Decimal128) else float(value)


def decimal_value(value: Decimal) -> Decimal128:
    """A decimal as a value, rounded to 34 digits."""
    return Decimal128(DECIMAL.plus(value))


def add(left: Any, right: Any) -> Any:
    """left + right."""
    if type(left) is int and type(right) is int:
        total = left + right
        if (
            INT32_MIN <= total <= INT32_MAX
            and INT32_MIN <= left <= INT32_MAX
            and INT32_MIN <= right <= INT32_MAX
        ):
            return total
        return integer(total, is_long(left) or is_long(right))
    if type(left) is float and type(right) is float:
        return left + right
    if isinstance(left, Decimal128) or isinstance(right, Decimal128):
        return Decimal128(DECIMAL.add(decimal_of(left), decimal_of(right)))
    if isinstance(left, float) or isinstance(right, float):
        return float(left) + float(right)
    return integer(left + right, is_long(left) or is_long(right))


def subtract(left: Any, right: Any) -> Any:
    """left - right."""
    if type(left) is int and type(right) is int:
        total = left - right
        if (
            INT32_MIN <= total <= INT32_MAX
            and INT32_MIN <= left <= INT32_MAX
            and INT32_MIN <= right <= INT32_MAX
        ):
            return total
        return integer(total, is_long(left) or is_long(right))
    if type(left) is float and type(right) is float:
        return left - right
    if isinstance(left, Decimal128) or isinstance(right, Decimal128):
        return Decimal128(DECIMAL.subtract(decimal_of(left), decimal_of(right)))
    if isinstance(left, float) or isinstance(right, float):
        return float(left) - float(right)
    return integer(left - right, is_long(left) or is_long(right))


def multiply(left: Any, right: Any) -> Any:
    """left * right."""
    if type(left) is int and type(right) is int:
        total = left * right
        if (
            INT32_MIN <= total <= INT32_MAX
            and INT32_MIN <= left <= INT32_MAX
            and INT32_MIN <= right <= INT32_MAX
        ):
            return total
        return _product(left, right)
    if type(left) is float and type(right) is float:
        return left * right
    if isinstance(left, Decimal128) or isinstance(right, Decimal128):
        return Decimal128(DECIMAL.multiply(decimal_of(left), decimal_of(right)))
    if isinstance(left, float) or isinstance(right, float):
        return float(left) * float(right)
    return _product(left, right)


def _product(left: int, right: int) -> int | float:
    total = left * right
    if INT64_MIN <= total <= INT64_MAX:
        return integer(total, is_long(left) or is_long(right))
    return float(left) * float(right)


def divide(left: Any, right: Any) -> Any:
    """left / right: a double, or a decimal128 if either is one."""
    if isinstance(left, Decimal128) or isinstance(right, Decimal128):
        divisor = decimal_of(right)
        if divisor.is_zero():
            raise ExpressionFailed(_by_zero("$divide", left), code=2)
        return Decimal128(DECIMAL.divide(decimal_of(left), divisor))
    if right == 0:
        raise ExpressionFailed(_by_zero("$divide", left), code=2)
    return float(left) / float(right)


def modulo(left: Any, right: Any) -> Any:
    """The remainder of a division that truncates: it has the sign of `left`."""
    if isinstance(left, Decimal128) or isinstance(right, Decimal128):
        divisor = decimal_of(right)
        if divisor.is_zero():
            raise ExpressionFailed(_by_zero("$mod", left), code=5733415)
        return Decimal128(EXACT.remainder(decimal_of(left), divisor))
    if right == 0:
        raise ExpressionFailed(_by_zero("$mod", left), code=16610)
    if isinstance(right, float) and not isinstance(left, float) and is_int32(right):
        right = int(right)
    if isinstance(left, float) or isinstance(right, float):
        try:
            return math.fmod(left, right)
        except ValueError:
            return math.nan
    rest = abs(left) % abs(right)
    return integer(-rest if left < 0 else rest, is_long(left) or is_long(right))


def _by_zero(operator: str, left: Any) -> str:
    return (
        f"can't {operator} by zero ({left!r:.60} is the dividend); guard it with "
        "$cond, or leave documents out whose divisor is zero"
    )


def is_int32(value: Any) -> bool:
    """True if a number has an integral value that fits into 32 bits."""
    return is_integral(value) and INT32_MIN <= value <= INT32_MAX


def is_integral(value: Any) -> bool:
    """True if an int, or a double without a fraction (no decimal128: see whole_of)."""
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def whole_of(value: Any) -> int | None:
    """The int64 that a number is equal to, or None if there is none."""
    if isinstance(value, float):
        if not value.is_integer():
            return None
        whole = int(value)
    elif isinstance(value, Decimal128):
        exact = value.to_decimal()
        # a large exponent would make the int huge
        if not exact.is_finite() or exact.adjusted() > 19 or exact != exact.to_integral_value():
            return None
        whole = int(exact)
    else:
        whole = int(value)
    return whole if INT64_MIN <= whole <= INT64_MAX else None


EXACT_COUNT_MIN: Final = 4
"""Fewer doubles are added one by one."""


class Total:
    """A sum of many numbers, as the accumulators $sum and $avg make it: integers are exact, doubles
    are added with the error kept, so the order hardly matters.
    """

    __slots__ = ("carry", "decimal", "double", "special", "whole", "widest")

    def __init__(self) -> None:
        self.whole = 0
        self.double = 0.0
        self.carry = 0.0
        self.special = 0.0
        self.decimal = Decimal(0)
        self.widest = 0

    def add(self, value: Any) -> None:
        """Take a number in; what is no number is not counted."""
        if type(value) is int or type(value) is Int64:
            self.whole += value
            if self.widest < 1 and is_long(value):
                self.widest = 1
        elif type(value) is float:
            self._add_double(value)
            self.widest = max(self.widest, 2)
        elif isinstance(value, Decimal128):
            self.decimal = DECIMAL.add(self.decimal, value.to_decimal())
            self.widest = 3

    def add_doubles(self, values: Sequence[float]) -> None:
        """Take doubles in, as add() does but quicker for many: their exact sum, in two doubles."""
        self.widest = max(self.widest, 2)
        if len(values) >= EXACT_COUNT_MIN:
            try:
                high = math.fsum((self.double, self.carry, *values))
                low = math.fsum((self.double, self.carry, *values, -high))
            except (OverflowError, ValueError):
                pass  # an infinity, or a sum on the way to one
            else:
                if math.isfinite(high):
                    self.double, self.carry = high, low
                    return
        for value in values:
            self._add_double(value)

    def _add_double(self, value: float) -> None:
        if not math.isfinite(value):
            self.special += value
            return
        total = self.double + value
        if abs(self.double) >= abs(value):
            self.carry += (self.double - total) + value
        else:
            self.carry += (value - total) + self.double
        self.double = total

    def result(self) -> Any:
        """The sum, in the widest kind that was added; 0 if nothing was."""
        if self.widest < 2:
            return integer(self.whole, self.widest == 1)
        return self.as_double() if self.widest == 2 else Decimal128(self.as_decimal())

    def as_double(self) -> float:
        """The sum as a double."""
        if self.special != 0:
            return self.special
        if not math.isfinite(self.double):
            return self.double
        high = float(self.whole)
        return math.fsum((high, float(self.whole - int(high)), self.double, self.carry))

    def as_decimal(self) -> Decimal:
        """The sum as a decimal."""
        total = DECIMAL.add(self.decimal, Decimal(self.whole))
        if self.widest == 3 and self.special == 0:
            total = DECIMAL.add(total, DECIMAL.plus(Decimal(self.double)))
            return DECIMAL.add(total, DECIMAL.plus(Decimal(self.carry)))
        return DECIMAL.add(total, Decimal(self.special))
