"""Trigonometry: doubles as the C library has them, decimals to 34 digits, and the domains."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

import pytest
from bson.decimal128 import Decimal128

from rango.engine.expression import circle
from tests.unit.expression_case import fails, typed, value_of

FUNCTIONS: dict[str, Callable[[float], float]] = {
    "$sin": math.sin,
    "$cos": math.cos,
    "$tan": math.tan,
    "$asin": math.asin,
    "$acos": math.acos,
    "$atan": math.atan,
    "$sinh": math.sinh,
    "$cosh": math.cosh,
    "$tanh": math.tanh,
    "$asinh": math.asinh,
    "$atanh": math.atanh,
    "$degreesToRadians": math.radians,
    "$radiansToDegrees": math.degrees,
}
OUTSIDE = {"$asin": 1.5, "$acos": -1.5, "$acosh": 0.5, "$atanh": 2, "$sin": math.inf}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("number", ["0", "0.25", "-0.75", "1E-30"])
def test_doubles_and_decimals_agree(name: str, number: str) -> None:
    expected = FUNCTIONS[name](float(number))
    assert value_of({name: float(number)}) == pytest.approx(expected, rel=1e-15)
    kind, value = typed({name: Decimal128(number)})
    assert kind == "decimal"
    assert float(value.to_decimal()) == pytest.approx(expected, rel=1e-14)


def test_decimals_are_right_to_34_digits() -> None:
    assert str(value_of({"$acos": Decimal128("-1")})) == "3.141592653589793238462643383279503"
    assert str(value_of({"$sin": Decimal128("1")})) == "0.8414709848078965066525023216302990"
    assert str(value_of({"$acosh": Decimal128("3")})) == "1.762747174039086050465218649959585"
    assert str(value_of({"$atan2": [Decimal128("1"), 1]})) == "0.7853981633974483096156608458198757"


def test_large_arguments_are_reduced_exactly() -> None:
    # sin(10^22) is the classic of argument reduction
    assert value_of({"$sin": Decimal128("1E+22")}).to_decimal() == Decimal(
        "-0.8522008497671888017727058937530294"
    )


@pytest.mark.parametrize("y", [-2, 0, 3])
@pytest.mark.parametrize("x", [-2, 0, 3])
def test_atan2_knows_the_quadrants(y: int, x: int) -> None:
    assert value_of({"$atan2": [y, x]}) == math.atan2(y, x)
    assert float(circle.atan2(Decimal(y), Decimal(x))) == pytest.approx(math.atan2(y, x))


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_argument_outside_of_the_domain_is_refused(name: str) -> None:
    fails({name: OUTSIDE[name]}, None, 50989)
    fails({name: Decimal128(str(OUTSIDE[name]).replace("inf", "Infinity"))}, None, 50989)


@pytest.mark.parametrize("name", [*FUNCTIONS, "$acosh"])
def test_null_and_nan_are_let_through_and_text_is_not(name: str) -> None:
    assert value_of({name: "$x"}) is None
    assert math.isnan(value_of({name: math.nan}))
    fails({name: "text"}, None, 28765)


def test_infinity_where_it_is_allowed() -> None:
    assert value_of({"$atanh": 1}) == math.inf
    assert value_of({"$cosh": 1000}) == math.inf
    assert value_of({"$sinh": -1000}) == -math.inf
    assert value_of({"$atan": Decimal128("-Infinity")}).to_decimal() < Decimal("-1.57")
    assert value_of({"$tanh": Decimal128("-Infinity")}) == Decimal128("-1")


def test_atan2_takes_numbers() -> None:
    assert value_of({"$atan2": [None, "a"]}) is None
    fails({"$atan2": ["a", 1]}, None, 51044)
    fails({"$atan2": [1, "a"]}, None, 51045)
