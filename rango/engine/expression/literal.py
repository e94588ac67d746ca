"""$literal, $let, and what chance or the store would decide: $rand, $meta; no JavaScript.

Failure     $meta, $function and $accumulator are refused while compiling, with the reason.
Sources     MongoDB manual, "$literal", "$let", "$rand", "$meta", "$function".
"""

from __future__ import annotations

import random
from typing import Any, Final

from rango.engine.expression.operands import named
from rango.engine.expression.scope import Compiler, Run, Scope, check_variable_written
from rango.engine.values import shown, type_name
from rango.errors import InvalidExpression

REFUSED: Final = {
    "$accumulator": "JavaScript is not run here; use the accumulators of $group",
    "$function": "JavaScript is not run here; write the computation with operators",
    "$where": "JavaScript is not run here; use $expr",
    "$meta": "there is no text or vector search that would have metadata",
}


def _literal(_operator: str, operand: Any, _scope: Scope) -> Run:
    return lambda _root, _variables: operand


def _let(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(operator, operand, ("vars", "in"), codes=(16874, 16875, 16876))
    if type(given["vars"]) is not dict:
        raise InvalidExpression(
            f"$let needs a document of variables in 'vars', not {type_name(given['vars'])}: "
            f"{shown(given['vars'])}",
            code=16874,
        )
    bound = [
        (check_variable_written(operator, name), scope.run(spec))
        for name, spec in given["vars"].items()
    ]
    body = scope.within(given["vars"], given["in"])

    def run(root: Any, variables: dict[str, Any]) -> Any:
        inner = dict(variables)
        for name, each in bound:
            # in terms of the outer variables: the definitions do not see one another
            inner[name] = each(root, variables)
        return body(root, inner)

    return run


def _rand(operator: str, operand: Any, scope: Scope) -> Run:
    if operand not in ({}, []):
        raise InvalidExpression(f"{operator} takes no argument, not {shown(operand)}", code=3040501)
    scope.read()
    return lambda _root, _variables: random.random()


def _refuse(operator: str, operand: Any, _scope: Scope) -> Run:
    raise InvalidExpression(
        f"{operator} is not supported: {REFUSED[operator]} (operand: {shown(operand)})", code=168
    )


OPERATORS: Final[dict[str, Compiler]] = {
    "$literal": _literal,
    "$const": _literal,
    "$let": _let,
    "$rand": _rand,
    **dict.fromkeys(REFUSED, _refuse),
}
