"""Operands: how many there are, what they are called, and what kind their values have.

Failure     InvalidExpression names the operator and what it was given.
Sources     MongoDB manual, "Aggregation Pipeline Operators".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rango.engine.expression.scope import Compiler, Key, Node, Run, Scope
from rango.engine.values import MISSING, shown, type_name
from rango.errors import ExpressionFailed, InvalidExpression, LimitExceeded
from rango.limits import DOCUMENT_SIZE_BYTES_MAX


def operands(
    operator: str, operand: Any, scope: Scope, least: int, most: int | None = None
) -> list[Node]:
    """The nodes of a list of operands (a single one needs no list), at least and at most so many.

    `most` None means exactly `least`; -1 means any number.
    """
    given = operand if isinstance(operand, list) else [operand]
    count = len(given)
    most = least if most is None else most
    if count < least or (most >= 0 and count > most):
        if least == most:
            raise InvalidExpression(
                f"expression {operator} takes exactly {least} arguments, {count} were passed in: "
                f"{shown(operand)}",
                code=16020,
            )
        limits = f"at least {least}" + (f" and at most {most}" if most >= 0 else "")
        raise InvalidExpression(
            f"expression {operator} takes {limits} arguments, {count} were passed in: "
            f"{shown(operand)}",
            code=28667,
        )
    return [scope.compile(each) for each in given]


def named(
    operator: str,
    operand: Any,
    needed: tuple[str, ...],
    optional: tuple[str, ...] = (),
    codes: tuple[int, int, int] = (9, 9, 9),
) -> dict[str, Any]:
    """An operand with named arguments, checked: (not a document, unknown one, absent one) codes."""
    if type(operand) is not dict:
        raise InvalidExpression(
            f"{operator} needs a document of named arguments ({', '.join(needed + optional)}), "
            f"not {type_name(operand)}: {shown(operand)}",
            code=codes[0],
        )
    for name in operand:
        if name not in needed and name not in optional:
            raise InvalidExpression(
                f"{operator} has no argument {name!r}; it takes {', '.join(needed + optional)}",
                code=codes[1],
            )
    for name in needed:
        if name not in operand:
            raise InvalidExpression(
                f"{operator} lacks its argument {name!r}: {shown(operand)}", code=codes[2]
            )
    return operand


def unary(apply: Callable[[Any], Any]) -> Compiler:
    """An operator with one operand; null and missing give null and never reach `apply`."""

    def compile_unary(operator: str, operand: Any, scope: Scope) -> Run:
        first = operands(operator, operand, scope, 1)[0].run

        def run(root: Any, variables: dict[str, Any]) -> Any:
            value = first(root, variables)
            if value is None or value is MISSING:
                return None
            return apply(value)

        return run

    return compile_unary


def fixed(count: int, apply: Callable[..., Any]) -> Compiler:
    """An operator with so many operands, whose values `apply` is given as they are."""

    def compile_fixed(operator: str, operand: Any, scope: Scope) -> Run:
        runs = [node.run for node in operands(operator, operand, scope, count)]
        if count == 1:
            one = runs[0]
            return lambda root, variables: apply(one(root, variables))
        if count == 2:
            first, second = runs
            return lambda root, variables: apply(first(root, variables), second(root, variables))
        return lambda root, variables: apply(*[run(root, variables) for run in runs])

    return compile_fixed


def variadic(apply: Callable[[list[Any]], Any], least: int = 0, most: int = -1) -> Compiler:
    """An operator with any number of operands, whose values `apply` is given as a list."""

    def compile_variadic(operator: str, operand: Any, scope: Scope) -> Run:
        runs = [node.run for node in operands(operator, operand, scope, least, most)]
        return lambda root, variables: apply([run(root, variables) for run in runs])

    return compile_variadic


def ordered(make: Callable[[Key], Compiler]) -> Compiler:
    """An operator that compares values: `make` is given the function of their order."""
    return lambda operator, operand, scope: make(scope.key_of)(operator, operand, scope)


def refuse_kind(operator: str, wanted: str, value: Any, code: int) -> ExpressionFailed:
    """The error for a value of the wrong kind; the caller raises it."""
    return ExpressionFailed(
        f"{operator} needs {wanted}, not {type_name(value)}: {shown(value)}", code=code
    )


def size_check(operator: str, size: int) -> None:
    """LimitExceeded if a value of this many bytes (at the least) could never be stored.

    Without it forty doublings of a short string would take all memory there is.
    """
    if size > DOCUMENT_SIZE_BYTES_MAX:
        raise LimitExceeded(
            "DOCUMENT_SIZE_BYTES_MAX",
            size,
            f"{operator} would make a value of at least {size} bytes; a document has at most "
            f"{DOCUMENT_SIZE_BYTES_MAX}",
            code=10334,
        )
