"""Filters that follow from $expr, for the sake of an index and of fewer expressions.

Terms       following: a filter that holds wherever the given one does.
Invariants  {$expr: {$eq: ["$a", v]}} holds only where {a: v} does, as long as v is a plain scalar:
            an array in the path makes the expression false. The $expr itself is still run. A
            comparison other than $eq says nothing: those of expressions have no type bracketing.
Failure     InvalidExpression from a constant that is none.
Sources     MongoDB manual, "$expr"; ADR-0019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from rango._ext.normal import HEADER_NAMES
from rango.engine.values import MISSING

if TYPE_CHECKING:
    from rango.engine.collation import Collation

Filter = dict[str, Any]

_SCALARS: Final = frozenset((str, int, Int64, bool, ObjectId))


def following(
    spec: Mapping[str, Any], variables: Mapping[str, Any], collation: Collation | None
) -> list[Filter]:
    """Filters that follow from the $expr equalities of a filter, for the sake of an index.

    {$expr: {$eq: ["$a", v]}} holds only where {a: v} does, as long as v is a plain scalar; the
    $expr itself is still run.
    """
    found: list[Filter] = []
    for name, value in spec.items():
        if name == "$and" and isinstance(value, list):
            for each in value:
                found += following(each, variables, collation)
        elif name == "$expr":
            found += _equalities(value, variables, collation)
    return found


def _equalities(
    expression: Any, variables: Mapping[str, Any], collation: Collation | None
) -> list[Filter]:
    if not isinstance(expression, Mapping) or len(expression) != 1:
        return []
    operator, operands = next(iter(expression.items()))
    if not isinstance(operands, list):
        return []
    if operator == "$and":
        return [part for each in operands for part in _equalities(each, variables, collation)]
    if operator != "$eq" or len(operands) != 2:
        return []
    for path, other in (operands, operands[::-1]):
        if isinstance(path, str) and path[:1] == "$" and path[1:2] != "$" and len(path) > 1:
            value = _value_of(other, variables, collation)
            is_scalar = type(value) in _SCALARS or (
                isinstance(value, (float, Decimal128)) and str(value).lower() != "nan"
            )
            names = path[1:].split(".")
            if is_scalar and names[0] not in HEADER_NAMES and not any(map(str.isdecimal, names)):
                return [{path[1:]: {"$eq": value}}]
    return []


def _value_of(spec: Any, variables: Mapping[str, Any], collation: Collation | None) -> Any:
    """The value of a variable or a constant, else MISSING."""
    if isinstance(spec, str) and spec.startswith("$$"):
        name = spec[2:]
        return variables.get(name, MISSING) if "." not in name else MISSING
    from rango.engine.expression import compile_expression

    expression = compile_expression(spec, frozenset(variables), collation=collation)
    return expression.value if expression.is_constant else MISSING
