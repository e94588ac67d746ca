"""Expressions: folding changes nothing, arithmetic is that of exact fractions, order is one."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from rango.engine.expression import compile_expression
from rango.engine.values import INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, order_key, type_name
from rango.errors import RangoError

INTEGERS = st.one_of(
    st.integers(-5, 5),
    st.integers(INT32_MIN, INT32_MAX),
    st.integers(INT64_MIN, INT64_MAX),
    st.integers(-5, 5).map(Int64),
    st.sampled_from([INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    st.floats(),
    st.text(max_size=5).filter(lambda text: not text.startswith("$")),
    st.sampled_from([Decimal128("1.5"), Decimal128("NaN"), Decimal128("1E+300"), b"x"]),
)
UNARY = ("$abs", "$not", "$toString", "$toInt", "$type", "$isArray", "$size", "$ceil", "$sqrt")
BINARY = ("$subtract", "$divide", "$mod", "$eq", "$lt", "$cmp", "$in", "$pow", "$setUnion")
MANY = ("$add", "$multiply", "$and", "$or", "$concat", "$concatArrays", "$sum", "$max", "$avg")


def _operators(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def operator(names: tuple[str, ...], least: int, most: int) -> st.SearchStrategy[Any]:
        operands = st.lists(inner, min_size=least, max_size=most)
        return st.builds(lambda name, given: {name: given}, st.sampled_from(names), operands)

    return st.one_of(
        operator(UNARY, 1, 1),
        operator(BINARY, 2, 2),
        operator(MANY, 0, 4),
        operator(("$cond",), 3, 3),
        operator(("$ifNull",), 2, 3),
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    )


EXPRESSIONS = st.recursive(SCALARS, _operators, max_leaves=12)


def outcome(spec: Any, fold: bool) -> Any:
    """The kind and order of the value, or the error with its code."""
    try:
        value = compile_expression(spec, fold=fold).evaluate({}, {})
    except RangoError as error:
        return type(error), error.code
    return type_name(value), order_key(value)


@given(EXPRESSIONS)
def test_folding_a_constant_gives_what_evaluating_it_gives(spec: Any) -> None:
    evaluated = outcome(spec, fold=False)
    folded = outcome(spec, fold=True)
    # what is never reached is evaluated by folding only, so that it may fail
    assert folded == evaluated or isinstance(folded[0], type)


@given(EXPRESSIONS, EXPRESSIONS)
def test_a_path_gives_what_a_literal_gives(left: Any, right: Any) -> None:
    for name in ("$eq", "$lt", "$cmp"):
        spec = {name: ["$a", "$b"]}
        literal = {name: [{"$literal": left}, {"$literal": right}]}
        root = compile_expression({"$literal": {"a": left, "b": right}}).value
        assert compile_expression(spec).evaluate(root, {}) == compile_expression(literal).value


@given(st.lists(INTEGERS, min_size=2, max_size=2))
def test_integers_are_exact_and_grow(pair: list[int]) -> None:
    left, right = pair
    is_wide = any(type_name(value) == "long" for value in pair)
    for name, exact in (
        ("$add", left + right),
        ("$subtract", left - right),
        ("$multiply", left * right),
    ):
        value = compile_expression({name: ["$l", "$r"]}).evaluate({"l": left, "r": right}, {})
        if not INT64_MIN <= exact <= INT64_MAX:
            assert type(value) is float
            assert abs(Fraction(value) - exact) <= abs(Fraction(exact)) / 2**51
            continue
        assert value == exact
        fits = INT32_MIN <= exact <= INT32_MAX
        assert type_name(value) == ("int" if fits and not is_wide else "long")


@given(INTEGERS, INTEGERS.filter(bool))
def test_remainders_and_quotients_agree(left: int, right: int) -> None:
    root = {"l": left, "r": right}
    rest = compile_expression({"$mod": ["$l", "$r"]}).evaluate(root, {})
    assert (left - rest) % right == 0
    assert abs(rest) < abs(right)
    assert rest == 0 or (rest < 0) == (left < 0)
    quotient = compile_expression({"$divide": ["$l", "$r"]}).evaluate(root, {})
    assert type(quotient) is float
    exact = Fraction(left, right)
    assert abs(Fraction(quotient) - exact) <= abs(exact) / 2**50


@given(INTEGERS, st.integers(-20, 5))
def test_rounding_is_half_to_even(number: int, places: int) -> None:
    unit = Fraction(10) ** -places
    expected = round(Fraction(number) / unit) * unit if places < 0 else Fraction(number)
    try:
        value = compile_expression({"$round": ["$n", places]}).evaluate({"n": number}, {})
    except RangoError as error:
        assert error.code == 51080
        assert not INT64_MIN <= expected <= INT64_MAX
        return
    assert value == expected
