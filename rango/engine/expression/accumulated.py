"""Accumulators as expressions: $sum $avg $min $max $stdDevPop $stdDevSamp $median $percentile.

Terms       values: of one operand that is an array, its elements; else the operands as they are.
Invariants  What is no number is not counted; $min and $max leave null and missing out. Of nothing,
            $sum is 0 and every other one null.
Sources     MongoDB manual, "Accumulators (in Other Stages)", "$percentile".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from bson.decimal128 import Decimal128

from rango.engine.expression.operands import named, operands, ordered, refuse_kind
from rango.engine.expression.scope import Compiler, Key, Run, Scope
from rango.engine.numbers import DECIMAL, Total, decimal_of, double_of
from rango.engine.values import MISSING, is_number, shown
from rango.errors import InvalidExpression

Apply = Callable[[list[Any]], Any]


def _over(apply: Apply) -> Compiler:
    def compile_over(operator: str, operand: Any, scope: Scope) -> Run:
        runs = [node.run for node in operands(operator, operand, scope, 0, -1)]
        if len(runs) == 1:
            first = runs[0]

            def run_one(root: Any, variables: dict[str, Any]) -> Any:
                value = first(root, variables)
                return apply(value if type(value) is list else [value])

            return run_one
        return lambda root, variables: apply([run(root, variables) for run in runs])

    return compile_over


def _sum(values: list[Any]) -> Any:
    total = Total()
    for value in values:
        total.add(value)
    return total.result()


def _avg(values: list[Any]) -> Any:
    total = Total()
    count = 0
    for value in values:
        if is_number(value):
            total.add(value)
            count += 1
    if not count:
        return None
    if total.widest == 3:
        return Decimal128(DECIMAL.divide(total.as_decimal(), decimal_of(count)))
    return total.as_double() / count


def _held(values: list[Any]) -> list[Any]:
    return [value for value in values if value is not None and value is not MISSING]


def _min(key_of: Key, values: list[Any]) -> Any:
    return min(_held(values), key=key_of, default=None)


def _max(key_of: Key, values: list[Any]) -> Any:
    return max(_held(values), key=key_of, default=None)


def _deviation(values: list[Any], fewer: int) -> float | None:
    count = 0
    mean = squares = 0.0
    for value in values:
        if is_number(value):
            count += 1
            number = double_of(value)
            delta = number - mean
            mean += delta / count
            squares += delta * (number - mean)
    if count <= fewer:
        return None
    return math.sqrt(squares / (count - fewer)) if not math.isnan(squares) else math.nan


def _percentile(operator: str, operand: Any, scope: Scope) -> Run:
    needed = ("input", "method") if operator == "$median" else ("input", "p", "method")
    given = named(operator, operand, needed, codes=(7436200, 40415, 40414))
    if given["method"] != "approximate":
        raise InvalidExpression(
            f"{operator} knows the method 'approximate' only, not {shown(given['method'])}", code=2
        )
    source = scope.run(given["input"])
    if operator == "$median":
        return lambda root, variables: _ranked(source(root, variables), [0.5])[0]
    ranks = scope.compile(given["p"])
    if ranks.is_constant:
        wanted = _ranks(ranks.value)
        return lambda root, variables: _ranked(source(root, variables), wanted)
    ranks_run = ranks.run
    return lambda root, variables: _ranked(
        source(root, variables), _ranks(ranks_run(root, variables))
    )


def _ranks(value: Any) -> list[float]:
    if type(value) is not list or not value:
        raise refuse_kind("$percentile", "an array of numbers in 'p'", value, 7750300)
    for rank in value:
        if not is_number(rank):
            raise refuse_kind("$percentile", "numbers in 'p'", rank, 7750302)
        if not 0 <= double_of(rank) <= 1:
            raise refuse_kind("$percentile", "numbers from 0 to 1 in 'p'", rank, 7750303)
    return [double_of(rank) for rank in value]


def _ranked(value: Any, ranks: list[float]) -> list[float | None]:
    values = value if type(value) is list else [value]
    numbers = [double_of(each) for each in values if is_number(each)]
    held = sorted(number for number in numbers if not math.isnan(number))
    if not held:
        return [None] * len(ranks)
    last = len(held) - 1
    return [held[min(last, max(0, math.ceil(len(held) * rank) - 1))] for rank in ranks]


OPERATORS: Final[dict[str, Compiler]] = {
    "$avg": _over(_avg),
    "$max": ordered(lambda key_of: _over(partial(_max, key_of))),
    "$median": _percentile,
    "$min": ordered(lambda key_of: _over(partial(_min, key_of))),
    "$percentile": _percentile,
    "$stdDevPop": _over(lambda values: _deviation(values, 0)),
    "$stdDevSamp": _over(lambda values: _deviation(values, 1)),
    "$sum": _over(_sum),
}
