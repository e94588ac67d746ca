"""Rounding: $abs $ceil $floor $round $trunc.

Invariants  The kind stays what it is, but for an int32 or int64 that grows out of it. $round is
            half to even, on the exact value of a double: 2.675 is below the half, so it is 2.67.
Sources     MongoDB manual, "$round", "$trunc".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from bson.decimal128 import Decimal128

from rango.engine.expression.operands import operands, refuse_kind, unary
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.numbers import DECIMAL, EXACT, integer, is_long, whole_of
from rango.engine.values import INT64_MAX, INT64_MIN, MISSING, is_integer, is_number, shown
from rango.errors import ExpressionFailed

PLACES_MIN: Final = -20
PLACES_MAX: Final = 100
DIGITS_MAX: Final = 34


def _abs(value: Any) -> Any:
    if is_integer(value):
        if value == INT64_MIN:
            raise ExpressionFailed("can't take $abs of the least int64: it has none", code=28680)
        return integer(abs(value), is_long(value))
    if isinstance(value, float):
        return abs(value)
    if isinstance(value, Decimal128):
        return Decimal128(value.to_decimal().copy_abs())
    raise refuse_kind("$abs", "a number", value, 28765)


def _whole(name: str, rounding: str, whole: Callable[[float], int]) -> Compiler:
    def apply(value: Any) -> Any:
        if is_integer(value):
            return value
        if isinstance(value, float):
            return math.copysign(whole(value), value) if math.isfinite(value) else value
        if isinstance(value, Decimal128):
            return Decimal128(value.to_decimal().to_integral_value(rounding, DECIMAL))
        raise refuse_kind(name, "a number", value, 28765)

    return unary(apply)


def _to_places(rounding: str) -> Compiler:
    def compile_to_places(operator: str, operand: Any, scope: Scope) -> Run:
        first, *rest = [node.run for node in operands(operator, operand, scope, 1, 2)]

        def run(root: Any, variables: dict[str, Any]) -> Any:
            value = first(root, variables)
            if value is None or value is MISSING:
                return None
            if not is_number(value):
                raise refuse_kind(operator, "a number", value, 51081)
            places: Any = 0
            if rest:
                places = rest[0](root, variables)
                if places is None or places is MISSING:
                    return None
                places = _places(operator, places)
            return _rounded(operator, value, places, rounding)

        return run

    return compile_to_places


def _places(operator: str, value: Any) -> int:
    whole = whole_of(value) if is_number(value) else None
    if whole is None:
        raise refuse_kind(operator, "an integral number of places", value, 51082)
    if not PLACES_MIN <= whole <= PLACES_MAX:
        raise ExpressionFailed(
            f"cannot apply {operator} with {shown(value)} places: "
            f"they must be in [{PLACES_MIN}, {PLACES_MAX}]",
            code=51083,
        )
    return whole


def _rounded(operator: str, value: Any, places: int, rounding: str) -> Any:
    if is_integer(value):
        if places >= 0:
            return value
        whole = int(_quantized(Decimal(value), places, rounding))
        if not INT64_MIN <= whole <= INT64_MAX:
            raise ExpressionFailed(
                f"{operator} of {value} to {places} places does not fit into 64 bits", code=51080
            )
        return integer(whole, is_long(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            return value
        return float(_quantized(DECIMAL.plus(Decimal(value)), places, rounding))
    exact = value.to_decimal()
    return Decimal128(_quantized(exact, places, rounding)) if exact.is_finite() else value


def _quantized(value: Decimal, places: int, rounding: str) -> Decimal:
    if value.adjusted() + places >= DIGITS_MAX:
        # more places than 34 digits hold: it is as precise as it gets
        return value
    return value.quantize(Decimal((0, (1,), -places)), rounding, EXACT)


OPERATORS: Final[dict[str, Compiler]] = {
    "$abs": unary(_abs),
    "$ceil": _whole("$ceil", ROUND_CEILING, math.ceil),
    "$floor": _whole("$floor", ROUND_FLOOR, math.floor),
    "$round": _to_places(ROUND_HALF_EVEN),
    "$trunc": _to_places(ROUND_DOWN),
}
