"""Expressions: MongoDB's aggregation expression language.

Terms       root: the document that field paths are read from ("$a.b", "$$ROOT"); variables: what
            "$$name" reads. `$$NOW` is a variable that the caller gives (values.now()), so that one
            command sees one time; without it, it is the time of each evaluation.
Invariants  A specification is compiled once into closures and evaluated for many documents; an
            Expression is immutable and may be used by several threads. Evaluation changes neither
            the root nor the variables, and its results may share parts with both.
Failure     InvalidExpression while compiling, ExpressionFailed while evaluating (or compiling, for
            a constant part that cannot be evaluated).
Sources     MongoDB manual, "Expressions"; docs/reference/expressions.md; ADR-0015.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rango.engine.collation import Collation
from rango.engine.expression import (
    accumulated,
    arithmetic,
    array,
    bitwise,
    boolean,
    comparison,
    conditional,
    datemath,
    dateparts,
    documents,
    hashed,
    literal,
    powers,
    regexes,
    rounding,
    sets,
    string,
    trigonometry,
    types,
)
from rango.engine.expression.scope import NO_VALUE, OPERATORS, Run, Scope, register
from rango.engine.values import MISSING, normalised
from rango.errors import InvalidDocument, InvalidExpression

__all__ = ["MISSING", "OPERATORS", "Expression", "compile_expression"]

FAMILIES: Final = (
    accumulated,
    arithmetic,
    array,
    bitwise,
    boolean,
    comparison,
    conditional,
    datemath,
    dateparts,
    documents,
    hashed,
    literal,
    powers,
    regexes,
    rounding,
    sets,
    string,
    trigonometry,
    types,
)
for family in FAMILIES:
    register(family.OPERATORS)


class Expression:
    """A compiled expression.

    `evaluate(root, variables)` gives its value for a document, or MISSING. `is_constant` says that
    it depends on neither; `value` is then its value.
    """

    __slots__ = ("evaluate", "is_constant", "value")

    def __init__(self, evaluate: Run, value: Any = NO_VALUE) -> None:
        self.evaluate = evaluate
        self.is_constant = value is not NO_VALUE
        self.value = value if self.is_constant else None


def compile_expression(
    spec: Any,
    variables: Iterable[str] = frozenset(),
    *,
    collation: Collation | None = None,
    fold: bool = True,
) -> Expression:
    """Check and compile an expression.

    `variables` are the names that "$$name" may use besides ROOT, CURRENT, REMOVE and NOW; a caller
    gives their values to `evaluate`. InvalidExpression names the operator that is not understood.
    `collation` is how strings compare, wherever two values are compared.
    `fold` False leaves constant parts to be evaluated every time (for tests).
    """
    if spec is not MISSING:
        try:
            spec = normalised(spec)
        except InvalidDocument as error:
            raise InvalidExpression(f"an expression holds what BSON cannot: {error}") from None
    scope = Scope(variables, is_folding=fold, collation=collation)
    node = scope.compile(spec)
    return Expression(node.run, node.value)
