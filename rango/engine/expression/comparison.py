"""Comparison: $cmp $eq $ne $gt $gte $lt $lte, over every kind of value in BSON order.

Invariants  Nothing is coerced and nothing fails: values of different kinds have an order, numbers
            of different kinds compare by value, missing comes before null.
Sources     MongoDB manual, "Comparison Expression Operators".
"""

from __future__ import annotations

import operator as op
from collections.abc import Callable
from typing import Any, Final

from rango.engine.expression.operands import operands
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.values import compare, order_key


def _cmp(operator: str, operand: Any, scope: Scope) -> Run:
    first, second = (node.run for node in operands(operator, operand, scope, 2))
    return lambda root, variables: compare(first(root, variables), second(root, variables))


def _relation(test: Callable[[Any, Any], bool]) -> Compiler:
    # `test` runs on the values where Python's order is BSON's, else on their keys
    def compile_relation(operator: str, operand: Any, scope: Scope) -> Run:
        left, right = operands(operator, operand, scope, 2)
        first, second = left.run, right.run
        if right.is_constant and type(right.value) in (int, str):
            return _against(test, first, right.value)

        def run(root: Any, variables: dict[str, Any]) -> bool:
            one = first(root, variables)
            two = second(root, variables)
            kind = type(one)
            if kind is type(two) and (kind is int or kind is str):
                return test(one, two)
            return test(order_key(one), order_key(two))

        return run

    return compile_relation


def _against(test: Callable[[Any, Any], bool], first: Run, value: Any) -> Run:
    kind = type(value)
    key = order_key(value)

    def run(root: Any, variables: dict[str, Any]) -> bool:
        one = first(root, variables)
        if type(one) is kind:
            return test(one, value)
        return test(order_key(one), key)

    return run


OPERATORS: Final[dict[str, Compiler]] = {
    "$cmp": _cmp,
    "$eq": _relation(op.eq),
    "$ne": _relation(op.ne),
    "$gt": _relation(op.gt),
    "$gte": _relation(op.ge),
    "$lt": _relation(op.lt),
    "$lte": _relation(op.le),
}
