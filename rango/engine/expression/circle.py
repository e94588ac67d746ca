"""Trigonometric functions of decimals, which Python's decimal module does not have.

Terms       WORK: the context that everything is computed in; callers round to 34 digits.
Invariants  No operator of Decimal is used on values (-x and abs(x) round to the thread's context).
            Results are right to more than 34 digits: series are summed in WORK until a term no
            longer changes the sum, arguments are reduced with as many digits of pi as they need.
Failure     none for arguments inside the domain, which the caller has checked; NaN stays NaN.
Sources     Python documentation, decimal, "Recipes"; J. Machin's formula for pi.
"""

from __future__ import annotations

from decimal import Context, Decimal
from functools import lru_cache
from typing import Final

WORK: Final = Context(prec=60, Emax=999_999, Emin=-999_999, traps=[])
GUARD_DIGITS: Final = 10
ONE: Final = Decimal(1)
TWO: Final = Decimal(2)
INFINITY: Final = Decimal("Infinity")


@lru_cache(maxsize=64)
def pi(digits: int) -> Decimal:
    """Pi to this many digits."""
    scale = 10 ** (digits + GUARD_DIGITS)
    total = 4 * (4 * _inverse_atan(5, scale) - _inverse_atan(239, scale))
    return Decimal(total).scaleb(-(digits + GUARD_DIGITS), _context(digits + GUARD_DIGITS + 2))


def _context(digits: int) -> Context:
    return Context(prec=digits, Emax=999_999, Emin=-999_999, traps=[])


def _inverse_atan(number: int, scale: int) -> int:
    """atan(1 / number) * scale."""
    term = scale // number
    total = term
    square = number * number
    divisor = 1
    while term:
        term //= -square
        divisor += 2
        total += term // divisor
        if term == -1:
            break
    return total


def _reduced(value: Decimal) -> Decimal:
    """The argument less a multiple of 2 pi: between -pi and pi."""
    if value.adjusted() < 0:
        return value
    digits = WORK.prec + value.adjusted() + GUARD_DIGITS
    # in steps, so that arguments of about the same size share their pi
    digits = (digits + 99) // 100 * 100
    context = _context(digits + GUARD_DIGITS)
    return context.remainder_near(value, context.multiply(TWO, pi(digits)))


def sin(value: Decimal) -> Decimal:
    """The sine of radians."""
    value = WORK.plus(_reduced(value))
    return _alternating(value, value, 1)


def cos(value: Decimal) -> Decimal:
    """The cosine of radians."""
    return _alternating(WORK.plus(_reduced(value)), ONE, 0)


def _alternating(value: Decimal, first: Decimal, power: int) -> Decimal:
    square = WORK.multiply(value, value)
    term = total = first
    while term:
        power += 2
        term = WORK.divide(WORK.multiply(term.copy_negate(), square), Decimal(power * (power - 1)))
        added = WORK.add(total, term)
        if added == total:
            break
        total = added
    return total


def tan(value: Decimal) -> Decimal:
    """The tangent of radians."""
    return WORK.divide(sin(value), cos(value))


def atan(value: Decimal) -> Decimal:
    """The angle, in radians, whose tangent this is."""
    if value.is_infinite():
        return WORK.divide(pi(WORK.prec), TWO).copy_sign(value)
    if value.copy_abs() > 1:
        quarter = WORK.divide(pi(WORK.prec), TWO).copy_sign(value)
        return WORK.subtract(quarter, atan(WORK.divide(ONE, value)))
    value = WORK.plus(value)
    halvings = 0
    while value.adjusted() >= -1 and halvings < 6:
        # atan(x) = 2 atan(x / (1 + sqrt(1 + x * x)))
        root = WORK.sqrt(WORK.add(ONE, WORK.multiply(value, value)))
        value = WORK.divide(value, WORK.add(ONE, root))
        halvings += 1
    square = WORK.multiply(value, value)
    total = power = value
    divisor = 1
    while power:
        power = WORK.multiply(power.copy_negate(), square)
        divisor += 2
        added = WORK.add(total, WORK.divide(power, Decimal(divisor)))
        if added == total:
            break
        total = added
    return WORK.multiply(total, Decimal(2**halvings))


def atan2(y: Decimal, x: Decimal) -> Decimal:
    """The angle of the point (x, y), between -pi and pi."""
    whole = pi(WORK.prec)
    if y.is_nan() or x.is_nan():
        return Decimal("NaN")
    if y.is_infinite() and x.is_infinite():
        quarters = Decimal("0.75") if x.is_signed() else Decimal("0.25")
        return WORK.multiply(whole, quarters).copy_sign(y)
    if x.is_infinite() or y.is_zero():
        return (whole if x.is_signed() else Decimal(0)).copy_sign(y)
    if x.is_zero() or y.is_infinite():
        return WORK.divide(whole, TWO).copy_sign(y)
    angle = atan(WORK.divide(y.copy_abs(), x.copy_abs()))
    return (WORK.subtract(whole, angle) if x.is_signed() else angle).copy_sign(y)


def asin(value: Decimal) -> Decimal:
    """The angle whose sine this is."""
    return atan2(value, WORK.sqrt(_one_minus_square(value)))


def acos(value: Decimal) -> Decimal:
    """The angle whose cosine this is."""
    return atan2(WORK.sqrt(_one_minus_square(value)), value)


def _one_minus_square(value: Decimal) -> Decimal:
    return WORK.multiply(WORK.subtract(ONE, value), WORK.add(ONE, value))


def sinh(value: Decimal) -> Decimal:
    """The hyperbolic sine."""
    if value.adjusted() < -20:
        # the difference of two numbers near 1 would lose the digits
        return WORK.plus(value)
    up, down = WORK.exp(value), WORK.exp(value.copy_negate())
    return WORK.divide(WORK.subtract(up, down), TWO)


def cosh(value: Decimal) -> Decimal:
    """The hyperbolic cosine."""
    return WORK.divide(WORK.add(WORK.exp(value), WORK.exp(value.copy_negate())), TWO)


def tanh(value: Decimal) -> Decimal:
    """The hyperbolic tangent."""
    if value.copy_abs() > 100:
        return ONE.copy_sign(value)
    return WORK.divide(sinh(value), cosh(value))


def asinh(value: Decimal) -> Decimal:
    """The number whose hyperbolic sine this is."""
    if value.is_infinite() or value.is_zero() or value.adjusted() < -20:
        return value
    size = value.copy_abs()
    root = WORK.sqrt(WORK.add(WORK.multiply(size, size), ONE))
    return WORK.ln(WORK.add(size, root)).copy_sign(value)


def acosh(value: Decimal) -> Decimal:
    """The number whose hyperbolic cosine this is."""
    if value.is_infinite():
        return value
    root = WORK.sqrt(WORK.subtract(WORK.multiply(value, value), ONE))
    return WORK.ln(WORK.add(value, root))


def atanh(value: Decimal) -> Decimal:
    """The number whose hyperbolic tangent this is."""
    if value.copy_abs() == 1:
        return INFINITY.copy_sign(value)
    if value.is_zero() or value.adjusted() < -20:
        return value
    ratio = WORK.divide(WORK.add(ONE, value), WORK.subtract(ONE, value))
    return WORK.divide(WORK.ln(ratio), TWO)


def to_radians(value: Decimal) -> Decimal:
    """Degrees as radians."""
    return WORK.divide(WORK.multiply(value, pi(WORK.prec)), Decimal(180))


def to_degrees(value: Decimal) -> Decimal:
    """Radians as degrees."""
    return WORK.divide(WORK.multiply(value, Decimal(180)), pi(WORK.prec))
