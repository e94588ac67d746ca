"""Sets: arrays whose order and repetitions do not count.

Invariants  Elements are compared as whole values in BSON order, so 1 and 1.0 are one element.
            $setUnion and $setIntersection give their elements in that order, $setDifference in the
            order of its first operand.
Sources     MongoDB manual, "Set Expression Operators".
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from rango.engine.expression.operands import fixed, operands, ordered, refuse_kind
from rango.engine.expression.scope import Compiler, Key, Run, Scope
from rango.engine.values import MISSING, shown, truth
from rango.errors import InvalidExpression


def _elements(key_of: Key, operator: str, value: Any, code: int) -> dict[bytes, Any]:
    """The elements by their keys; the first of equal ones."""
    if type(value) is not list:
        raise refuse_kind(operator, "arrays", value, code)
    made: dict[bytes, Any] = {}
    for element in value:
        made.setdefault(key_of(element), element)
    return made


def _in_order(elements: dict[bytes, Any]) -> list[Any]:
    return [elements[key] for key in sorted(elements)]


def _union(operator: str, operand: Any, scope: Scope) -> Run:
    runs = [node.run for node in operands(operator, operand, scope, 0, -1)]

    def run(root: Any, variables: dict[str, Any]) -> Any:
        made: dict[bytes, Any] = {}
        for value in [each(root, variables) for each in runs]:
            if value is None or value is MISSING:
                return None
            for key, element in _elements(scope.key_of, operator, value, 17043).items():
                made.setdefault(key, element)
        return _in_order(made)

    return run


def _intersection(operator: str, operand: Any, scope: Scope) -> Run:
    runs = [node.run for node in operands(operator, operand, scope, 0, -1)]

    def run(root: Any, variables: dict[str, Any]) -> Any:
        made: dict[bytes, Any] | None = None
        for each in runs:
            value = each(root, variables)
            if value is None or value is MISSING:
                return None
            elements = _elements(scope.key_of, operator, value, 17047)
            if made is None:
                made = elements
            else:
                made = {key: element for key, element in made.items() if key in elements}
            if not made:
                break
        return _in_order(made or {})

    return run


def _difference(key_of: Key, left: Any, right: Any) -> Any:
    if left is None or left is MISSING or right is None or right is MISSING:
        return None
    elements = _elements(key_of, "$setDifference", left, 17048)
    others = _elements(key_of, "$setDifference", right, 17049)
    return [element for key, element in elements.items() if key not in others]


def _equals(operator: str, operand: Any, scope: Scope) -> Run:
    count = len(operand) if isinstance(operand, list) else 1
    if count < 2:
        raise InvalidExpression(
            f"{operator} needs at least two arguments, it was given {count}: {shown(operand)}",
            code=17045,
        )
    runs = [node.run for node in operands(operator, operand, scope, 2, -1)]

    def run(root: Any, variables: dict[str, Any]) -> bool:
        first: Any = None
        is_equal = True
        for each in runs:
            keys = _elements(scope.key_of, operator, each(root, variables), 17044).keys()
            if first is None:
                first = keys
            is_equal = is_equal and first == keys
        return is_equal

    return run


def _is_subset(key_of: Key, left: Any, right: Any) -> bool:
    elements = _elements(key_of, "$setIsSubset", left, 17046)
    others = _elements(key_of, "$setIsSubset", right, 17042)
    return elements.keys() <= others.keys()


def _all(value: Any) -> bool:
    if type(value) is not list:
        raise refuse_kind("$allElementsTrue", "an array", value, 17040)
    return all(truth(element) for element in value)


def _any(value: Any) -> bool:
    if type(value) is not list:
        raise refuse_kind("$anyElementTrue", "an array", value, 17041)
    return any(truth(element) for element in value)


OPERATORS: Final[dict[str, Compiler]] = {
    "$allElementsTrue": fixed(1, _all),
    "$anyElementTrue": fixed(1, _any),
    "$setDifference": ordered(lambda key_of: fixed(2, partial(_difference, key_of))),
    "$setEquals": _equals,
    "$setIntersection": _intersection,
    "$setIsSubset": ordered(lambda key_of: fixed(2, partial(_is_subset, key_of))),
    "$setUnion": _union,
}
