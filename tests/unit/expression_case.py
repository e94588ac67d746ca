"""What the tests of expressions share: compile, evaluate, and compare with the kinds of numbers."""

from __future__ import annotations

from typing import Any

import pytest

from rango.engine.expression import compile_expression
from rango.engine.values import type_name
from rango.errors import ExpressionFailed, InvalidExpression


def value_of(spec: Any, root: Any = None, **variables: Any) -> Any:
    """The value of an expression for a document."""
    expression = compile_expression(spec, frozenset(variables))
    return expression.evaluate({} if root is None else root, variables)


def typed(spec: Any, root: Any = None, **variables: Any) -> tuple[str, Any]:
    """The kind of the value, and the value."""
    value = value_of(spec, root, **variables)
    return type_name(value), value


def refused(spec: Any, code: int | None = None, text: str = "") -> None:
    """Assert that an expression is refused while compiling, with this code."""
    with pytest.raises(InvalidExpression) as raised:
        compile_expression(spec)
    assert text in str(raised.value)
    if code is not None:
        assert raised.value.code == code, raised.value


def fails(spec: Any, root: Any = None, code: int | None = None, text: str = "") -> None:
    """Assert that an expression cannot be evaluated, with this code."""
    with pytest.raises(ExpressionFailed) as raised:
        compile_expression(spec).evaluate({} if root is None else root, {})
    assert text in str(raised.value)
    if code is not None:
        assert raised.value.code == code, raised.value
