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
from rango.engine.expression.scope import Compiler, Key, Run, Scope
from rango.engine.values import compare


def _cmp(operator: str, operand: Any, scope: Scope) -> Run:
    first, second = (node.run for node in operands(operator, operand, scope, 2))
    if scope.collation is None:
        return lambda root, variables: compare(first(root, variables), second(root, variables))
    key_of = scope.key_of

    def run(root: Any, variables: dict[str, Any]) -> int:
        one, two = key_of(first(root, variables)), key_of(second(root, variables))
        return (one > two) - (one < two)

    return run


def _relation(test: Callable[[Any, Any], bool]) -> Compiler:
    # `test` runs on the values where Python's order is BSON's, else on their keys
    def compile_relation(operator: str, operand: Any, scope: Scope) -> Run:
        left, right = operands(operator, operand, scope, 2)
        first, second = left.run, right.run
        plain, key_of = scope.plain, scope.key_of
        if right.is_constant and type(right.value) in plain:
            return _against(test, first, right.value, key_of)

        def run(root: Any, variables: dict[str, Any]) -> bool:
            one = first(root, variables)
            two = second(root, variables)
            kind = type(one)
            if kind is type(two) and kind in plain:
                return test(one, two)
            return test(key_of(one), key_of(two))

        return run

    return compile_relation


def _against(test: Callable[[Any, Any], bool], first: Run, value: Any, key_of: Key) -> Run:
    kind = type(value)
    key = key_of(value)

    def run(root: Any, variables: dict[str, Any]) -> bool:
        one = first(root, variables)
        if type(one) is kind:
            return test(one, value)
        return test(key_of(one), key)

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
