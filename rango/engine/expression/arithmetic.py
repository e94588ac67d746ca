"""Arithmetic: sums, products, quotients, remainders, with dates where MongoDB has them.

Terms       date operand: milliseconds since the epoch; a date and a number give a date, two dates
            subtracted give an int64.
Invariants  A null or missing operand gives null, from the first one on; operands behind it are not
            looked at. Kinds and overflow are those of rango.engine.numbers.
Failure     ExpressionFailed names the operator, the kind and the value.
Sources     MongoDB manual, "Arithmetic Expression Operators".
"""

from __future__ import annotations

import math
from typing import Any, Final

from bson.decimal128 import Decimal128

from rango.engine import numbers
from rango.engine.expression.operands import fixed, operands, refuse_kind
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.values import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    MISSING,
    date_of_ms,
    is_date,
    is_number,
    ms_of_date,
    shown,
    type_name,
)
from rango.errors import ExpressionFailed

TOO_MANY: Final = 2**65
"""Milliseconds that overflow whatever date they are added to."""


def _add(operator: str, operand: Any, scope: Scope) -> Run:
    nodes = operands(operator, operand, scope, 0, -1)
    runs = [node.run for node in nodes]
    if len(runs) == 2:
        first, second = runs

        def run_two(root: Any, variables: dict[str, Any]) -> Any:
            left = first(root, variables)
            right = second(root, variables)
            if type(left) is int and type(right) is int:
                total = left + right
                if (
                    INT32_MIN <= total <= INT32_MAX
                    and INT32_MIN <= left <= INT32_MAX
                    and INT32_MIN <= right <= INT32_MAX
                ):
                    return total
            elif type(left) is float and type(right) is float:
                return left + right
            return _sum((left, right))

        return run_two
    return lambda root, variables: _sum([run(root, variables) for run in runs])


def _sum(values: Any) -> Any:
    total: Any = 0
    has_date = False
    for value in values:
        if value is None or value is MISSING:
            return None
        if is_number(value):
            total = _shifted("$add", total, value) if has_date else numbers.add(total, value)
        elif is_date(value):
            if has_date:
                raise ExpressionFailed(
                    f"only one date is allowed in $add, here is a second one: {shown(value)}",
                    code=16612,
                )
            total = _shifted("$add", ms_of_date(value), total)
            has_date = True
        else:
            raise refuse_kind("$add", "numbers or one date", value, 14)
    return date_of_ms(total) if has_date else total


def _shifted(operator: str, ms: int, by: Any) -> int:
    """Milliseconds of a date, moved by a number."""
    if isinstance(by, float):
        whole = math.floor(abs(by) + 0.5) if math.isfinite(by) else TOO_MANY
        total = ms + (whole if by >= 0 else -whole)
    elif isinstance(by, Decimal128):
        exact = by.to_decimal()
        is_small = exact.is_finite() and exact.adjusted() <= 19
        total = ms + (int(exact.to_integral_value()) if is_small else TOO_MANY)
    else:
        total = ms + int(by)
    if not INT64_MIN <= total <= INT64_MAX:
        raise ExpressionFailed(
            f"date overflow in {operator}: {by!r:.60} milliseconds are too many", code=15
        )
    return total


def _subtract(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        return numbers.subtract(left, right)
    if left is None or left is MISSING or right is None or right is MISSING:
        return None
    if is_date(left):
        ms = ms_of_date(left)
        if is_date(right):
            return numbers.integer(ms - ms_of_date(right), True)
        if is_number(right):
            return date_of_ms(_shifted("$subtract", ms, numbers.subtract(0, right)))
        raise ExpressionFailed(
            f"can't $subtract {type_name(right)} from a date: {shown(right)}", code=14
        )
    raise ExpressionFailed(
        f"can't $subtract {type_name(right)} from {type_name(left)}: "
        f"{shown(right)} from {shown(left)}",
        code=14,
    )


def _multiply(operator: str, operand: Any, scope: Scope) -> Run:
    runs = [node.run for node in operands(operator, operand, scope, 0, -1)]
    if len(runs) == 2:
        first, second = runs

        def run_two(root: Any, variables: dict[str, Any]) -> Any:
            left = first(root, variables)
            right = second(root, variables)
            if type(left) is int and type(right) is int:
                total = left * right
                if (
                    INT32_MIN <= total <= INT32_MAX
                    and INT32_MIN <= left <= INT32_MAX
                    and INT32_MIN <= right <= INT32_MAX
                ):
                    return total
            elif type(left) is float and type(right) is float:
                return left * right
            return _product((left, right))

        return run_two
    return lambda root, variables: _product([run(root, variables) for run in runs])


def _product(values: Any) -> Any:
    total: Any = 1
    for value in values:
        if value is None or value is MISSING:
            return None
        if not is_number(value):
            raise refuse_kind("$multiply", "numbers", value, 14)
        total = numbers.multiply(total, value)
    return total


def _divide(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        return numbers.divide(left, right)
    return _null_or_refuse("$divide", left, right, 14)


def _mod(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        return numbers.modulo(left, right)
    return _null_or_refuse("$mod", left, right, 16611)


def _null_or_refuse(operator: str, left: Any, right: Any, code: int) -> None:
    if left is None or left is MISSING or right is None or right is MISSING:
        return
    raise ExpressionFailed(
        f"{operator} needs numbers, not {type_name(left)} and {type_name(right)}: "
        f"{shown(left)} and {shown(right)}",
        code=code,
    )


OPERATORS: Final[dict[str, Compiler]] = {
    "$add": _add,
    "$divide": fixed(2, _divide),
    "$mod": fixed(2, _mod),
    "$multiply": _multiply,
    "$subtract": fixed(2, _subtract),
}
