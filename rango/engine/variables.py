"""The variables of `let`: what a caller hands to the expressions of a filter or an update.

Failure     InvalidArgument if it is no mapping; InvalidExpression and ExpressionFailed from a name
            or a value.
Sources     MongoDB manual, "let" of find, update, delete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rango.engine.values import MISSING, now
from rango.errors import InvalidArgument


def variables_of(let: object, collation: Any = None) -> dict[str, Any]:
    """The values by name; each is an expression that sees no document."""
    if let is None:
        return {}
    if not isinstance(let, Mapping):
        raise InvalidArgument(f"let must be a dict of variables, not {type(let).__name__}")
    from rango.engine.expression import compile_expression
    from rango.engine.expression.scope import check_variable_written

    time = {"NOW": now()}
    values = {
        check_variable_written("let", name): compile_expression(
            value, collation=collation
        ).evaluate({}, time)
        for name, value in let.items()
    }
    return {name: None if value is MISSING else value for name, value in values.items()}
