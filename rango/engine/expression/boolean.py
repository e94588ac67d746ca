"""Boolean: $and $or $not. Operands count by their truth: null, missing, false and 0 are false.

Invariants  $and and $or stop at the first operand that decides; with none, $and is true, $or false.
Sources     MongoDB manual, "Boolean Expression Operators".
"""

from __future__ import annotations

from typing import Any, Final

from rango.engine.expression.operands import fixed, operands
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.values import truth


def _and(operator: str, operand: Any, scope: Scope) -> Run:
    runs = [node.run for node in operands(operator, operand, scope, 0, -1)]

    def run(root: Any, variables: dict[str, Any]) -> bool:
        for each in runs:  # noqa: SIM110 - a generator costs as much as an operand
            if not truth(each(root, variables)):
                return False
        return True

    return run


def _or(operator: str, operand: Any, scope: Scope) -> Run:
    runs = [node.run for node in operands(operator, operand, scope, 0, -1)]

    def run(root: Any, variables: dict[str, Any]) -> bool:
        for each in runs:  # noqa: SIM110 - as in $and
            if truth(each(root, variables)):
                return True
        return False

    return run


OPERATORS: Final[dict[str, Compiler]] = {
    "$and": _and,
    "$or": _or,
    "$not": fixed(1, lambda value: not truth(value)),
}
