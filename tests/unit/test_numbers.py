"""Numbers: kinds of results, overflow, decimals, remainders, and long sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from rango.engine.numbers import (
    Total,
    add,
    decimal_value,
    divide,
    integer,
    modulo,
    multiply,
    subtract,
    whole_of,
)
from rango.engine.values import type_name
from rango.errors import ExpressionFailed

MAX32 = 2**31 - 1
MAX64 = 2**63 - 1


@pytest.mark.parametrize(
    ("operation", "left", "right", "kind", "value"),
    [
        (add, 1, 2, "int", 3),
        (add, MAX32, 1, "long", 2**31),
        (add, Int64(1), 2, "long", 3),
        (add, 2**31, -1, "long", MAX32),
        (add, MAX64, 1, "double", 2.0**63),
        (add, 1, 0.5, "double", 1.5),
        (add, 1, Decimal128("0.5"), "decimal", Decimal128("1.5")),
        (subtract, -(2**31), 1, "long", -(2**31) - 1),
        (subtract, -(2**63), 1, "double", -(2.0**63)),
        (subtract, Int64(3), Int64(1), "long", 2),
        (multiply, 2**20, 2**20, "long", 2**40),
        (multiply, 2**40, 2**40, "double", 2.0**80),
        (multiply, Int64(2), 3, "long", 6),
        (multiply, 2, Decimal128("1.50"), "decimal", Decimal128("3.00")),
        (divide, 6, 3, "double", 2.0),
        (divide, 1, Decimal128("4"), "decimal", Decimal128("0.25")),
        (modulo, 7, 3, "int", 1),
        (modulo, -7, 3, "int", -1),
        (modulo, 7, -3, "int", 1),
        (modulo, Int64(7), 3, "long", 1),
        (modulo, 7, 3.0, "int", 1),
        (modulo, 7.5, 2, "double", 1.5),
        (modulo, -7, 2.5, "double", -2.0),
        (modulo, Decimal128("-7.5"), 2, "decimal", Decimal128("-1.5")),
        (modulo, Decimal128("1E+6000"), 7, "decimal", Decimal128("1")),
    ],
)
def test_results_have_the_widest_kind_and_grow_when_they_must(
    operation: Callable[[Any, Any], Any], left: Any, right: Any, kind: str, value: Any
) -> None:
    found = operation(left, right)
    assert (type_name(found), found) == (kind, value)


def test_remainders_of_infinity_are_no_number() -> None:
    assert math.isnan(modulo(math.inf, 2))
    assert modulo(5, math.inf) == 5


@pytest.mark.parametrize(
    ("operation", "zero", "code"),
    [(divide, 0, 2), (divide, Decimal128("0"), 2), (modulo, 0.0, 16610)],
)
def test_dividing_by_zero_is_refused(
    operation: Callable[[Any, Any], Any], zero: Any, code: int
) -> None:
    with pytest.raises(ExpressionFailed) as raised:
        operation(1, zero)
    assert raised.value.code == code


def test_a_double_becomes_a_decimal_of_15_digits() -> None:
    assert str(add(Decimal128("0"), 2.5)) == "2.50000000000000"
    assert str(add(Decimal128("0"), 0.1)) == "0.100000000000000"
    assert str(add(Decimal128("0"), 9.9999999999999999)) == "10.0000000000000"
    assert str(multiply(Decimal128("1"), 123456789012345678.0)) == "1.23456789012346E+17"


def test_decimals_are_rounded_to_34_digits_and_overflow_to_infinity() -> None:
    third = divide(Decimal128("1"), 3)
    assert str(third) == "0." + "3" * 34
    assert str(multiply(Decimal128("9E+6144"), 10)) == "Infinity"
    assert str(decimal_value(third.to_decimal())) == str(third)


def test_integers_are_as_wide_as_they_must_be() -> None:
    assert type_name(integer(1, True)) == "long"
    assert type_name(integer(1, False)) == "int"
    assert type_name(integer(2**63, False)) == "double"


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (3, 3),
        (3.0, 3),
        (3.5, None),
        (math.nan, None),
        (math.inf, None),
        (2.0**63, None),
        (Decimal128("3.0"), 3),
        (Decimal128("1E+6000"), None),
        (Decimal128("NaN"), None),
    ],
)
def test_whole_of_is_the_integer_that_a_number_equals(value: Any, whole: int | None) -> None:
    assert whole_of(value) == whole


def total_of(values: list[Any]) -> Any:
    """The sum of an accumulator."""
    total = Total()
    for value in values:
        total.add(value)
    return total.result()


def test_totals_keep_the_kind_and_count_numbers_only() -> None:
    assert total_of([]) == 0
    assert total_of([1, "a", None, 2]) == 3
    assert type_name(total_of([MAX32, MAX32])) == "long"
    assert type_name(total_of([Int64(1), 1])) == "long"
    assert type_name(total_of([MAX64, MAX64])) == "double"
    assert total_of([MAX64, 5, -5, -MAX64]) == 0
    assert total_of([1, Decimal128("0.5")]) == Decimal128("1.5")


def test_totals_of_doubles_do_not_depend_on_small_errors() -> None:
    assert total_of([0.1] * 10) == 1.0
    assert total_of([1e16, 1.0, -1e16]) == 1.0
    assert total_of([2**53 + 1, 0.0]) == float(2**53 + 1)
    assert total_of([math.inf, 1.0]) == math.inf
    assert math.isnan(total_of([math.inf, -math.inf]))


@given(
    st.lists(st.floats(), max_size=30),
    st.lists(st.floats(), max_size=30),
    st.integers(-(2**63), 2**63 - 1),
)
def test_many_doubles_add_up_as_one_by_one(
    first: list[float], more: list[float], whole: int
) -> None:
    many, ones = Total(), Total()
    for total in (many, ones):
        total.add(whole)
    many.add_doubles(first)
    many.add_doubles(more)
    for each in first + more:
        ones.add(each)
    found, expected = many.as_double(), ones.as_double()
    assert many.widest == 2
    if math.isfinite(expected) and math.isfinite(found):
        values = [Fraction(each) for each in (whole, *first, *more)]
        exact, size = sum(values), sum(map(abs, values))
        # two doubles hold a sum to some 106 bits
        assert abs(Fraction(found) - exact) <= abs(exact) / 2**52 + size / 2**100
    elif not all(map(math.isfinite, first + more)):
        assert found == expected or math.isnan(found) is math.isnan(expected) is True


def test_the_sum_of_many_doubles_is_exact() -> None:
    total = Total()
    total.add_doubles([1e16, 1.0, -1e16, 2.0**-60] * 1000)
    total.add_doubles([0.1] * 10)
    assert total.as_double() == math.fsum([1.0] * 1000 + [2.0**-60] * 1000 + [0.1] * 10)
