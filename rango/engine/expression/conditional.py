"""Conditional: $cond $ifNull $switch. Only the branch that is chosen is evaluated.

Sources     MongoDB manual, "Conditional Expression Operators".
"""

from __future__ import annotations

from typing import Any, Final

from rango.engine.expression.operands import named, operands
from rango.engine.expression.scope import Compiler, Run, Scope
from rango.engine.values import MISSING, shown, truth, type_name
from rango.errors import ExpressionFailed, InvalidExpression


def _cond(operator: str, operand: Any, scope: Scope) -> Run:
    if type(operand) is dict:
        _check_cond(operand)
        condition, chosen, other = (scope.run(operand[name]) for name in ("if", "then", "else"))
    else:
        condition, chosen, other = (node.run for node in operands(operator, operand, scope, 3))

    def run(root: Any, variables: dict[str, Any]) -> Any:
        if truth(condition(root, variables)):
            return chosen(root, variables)
        return other(root, variables)

    return run


def _check_cond(operand: dict[str, Any]) -> None:
    for name in operand:
        if name not in ("if", "then", "else"):
            raise InvalidExpression(
                f"$cond has no argument {name!r}; it takes 'if', 'then' and 'else'", code=17083
            )
    for name, code in (("if", 17080), ("then", 17081), ("else", 17082)):
        if name not in operand:
            raise InvalidExpression(
                f"$cond lacks its argument {name!r}: {shown(operand)}", code=code
            )


def _if_null(operator: str, operand: Any, scope: Scope) -> Run:
    given = operand if isinstance(operand, list) else [operand]
    if len(given) < 2:
        raise InvalidExpression(
            f"{operator} needs at least two arguments, it was given {len(given)}: {shown(operand)}",
            code=1257300,
        )
    *tried, last = [scope.run(each) for each in given]

    def run(root: Any, variables: dict[str, Any]) -> Any:
        for each in tried:
            value = each(root, variables)
            if value is not None and value is not MISSING:
                return value
        return last(root, variables)

    return run


def _switch(operator: str, operand: Any, scope: Scope) -> Run:
    given = named(operator, operand, (), ("branches", "default"), codes=(40060, 40067, 40068))
    branches = given.get("branches", [])
    if type(branches) is not list:
        raise InvalidExpression(
            f"$switch needs an array in 'branches', not {type_name(branches)}: {shown(branches)}",
            code=40061,
        )
    if not branches:
        raise InvalidExpression("$switch needs at least one branch", code=40068)
    tried = [_branch(branch, scope) for branch in branches]
    default = scope.run(given["default"]) if "default" in given else None

    def run(root: Any, variables: dict[str, Any]) -> Any:
        for case, then in tried:
            if truth(case(root, variables)):
                return then(root, variables)
        if default is None:
            raise ExpressionFailed(
                "$switch could not find a matching branch for an input, and no default was given; "
                "add 'default'",
                code=40066,
            )
        return default(root, variables)

    return run


def _branch(branch: Any, scope: Scope) -> tuple[Run, Run]:
    if type(branch) is not dict:
        raise InvalidExpression(
            f"$switch needs each branch to be a document, not {type_name(branch)}: {shown(branch)}",
            code=40062,
        )
    for name in branch:
        if name not in ("case", "then"):
            raise InvalidExpression(
                f"a branch of $switch has no argument {name!r}; it takes 'case' and 'then'",
                code=40063,
            )
    for name, code in (("case", 40064), ("then", 40065)):
        if name not in branch:
            raise InvalidExpression(
                f"$switch needs {name!r} in each branch, but there is {shown(branch)}", code=code
            )
    return scope.run(branch["case"]), scope.run(branch["then"])


OPERATORS: Final[dict[str, Compiler]] = {"$cond": _cond, "$ifNull": _if_null, "$switch": _switch}
