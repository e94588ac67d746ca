"""Window functions that are no accumulators: ranks, shifts, rates, moving averages, fills.

Terms       part: a partition, sorted, with the sort key of each document (see window.py).
Invariants  A function gives one value for each place of the partition. Equal sort keys are one
            rank. Rates are per unit if the sort is by dates, else per 1.
Failure     InvalidPipeline for a bad specification; ExpressionFailed for a value of a bad type.
Sources     MongoDB manual, "Window Operators".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from bson.decimal128 import Decimal128

from rango.engine.aggregate.memory import Account
from rango.engine.aggregate.spec import expression_of, invalid, known_fields, whole_of
from rango.engine.aggregate.stage import Context, Document, Scope
from rango.engine.aggregate.unwind import value_at
from rango.engine.expression.calendar import add_months
from rango.engine.sort import Sort
from rango.engine.values import MISSING, is_date, is_number, ms_of_date, shown
from rango.errors import ExpressionFailed

UNITS_MS: Final = {
    "week": 604_800_000,
    "day": 86_400_000,
    "hour": 3_600_000,
    "minute": 60_000,
    "second": 1000,
    "millisecond": 1,
}
"""Units of fixed length: those that a rate may have."""

UNITS_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
UNITS: Final = (*UNITS_MONTHS, *UNITS_MS)


def moved(place: Any, amount: Any, unit: str | None) -> Any:
    """A place on the axis of a sort, so many units on; with a unit places are milliseconds."""
    if unit is None:
        return place + amount
    months = UNITS_MONTHS.get(unit)
    if months is None:
        return place + amount * UNITS_MS[unit]
    return add_months(int(place), int(amount) * months)


class Part:
    """A sorted partition."""

    __slots__ = ("by", "documents", "keys")

    def __init__(self, documents: list[Document], keys: list[bytes], by: list[str] | None) -> None:
        self.documents = documents
        self.keys = keys
        self.by = by


Function = Callable[..., list[Any]]
Make = Callable[[str, Any, Sort, Scope], Function]


def _sorted(operator: str, sort: Sort, is_single: bool = False) -> None:
    if not sort or (is_single and len(sort) != 1):
        wanted = "sortBy with just one field" if is_single else "sortBy"
        raise invalid(5371602, f"{operator} needs {wanted}")


def _ranks(operator: str, operand: Any, sort: Sort, scope: Scope) -> Function:
    """$rank, $denseRank, $documentNumber"""
    if operand != {}:
        raise invalid(5371603, f"{operator} takes an empty document, not {shown(operand)}")
    _sorted(operator, sort, operator != "$documentNumber")

    def function(part: Part, account: Account, context: Context) -> list[Any]:
        if operator == "$documentNumber":
            return list(range(1, len(part.documents) + 1))
        found: list[Any] = []
        dense = 0
        for at, key in enumerate(part.keys):
            if at and key == part.keys[at - 1]:
                found.append(found[-1])
            else:
                dense += 1
                found.append(dense if operator == "$denseRank" else at + 1)
        return found

    return function


def _shift(operator: str, operand: Any, sort: Sort, scope: Scope) -> Function:
    """$shift"""
    _sorted(operator, sort)
    if not isinstance(operand, Mapping):
        raise invalid(9, f"{operator} takes a document, not {shown(operand)}")
    known_fields(operator, operand, ("output", "by", "default"), 9)
    by = whole_of(operand.get("by"))
    if by is None or "output" not in operand:
        raise invalid(9, f"{operator} needs output and by, a whole number")
    output = expression_of(operand["output"], scope)
    default = expression_of(operand.get("default"), scope)
    if not default.is_constant:
        raise invalid(5433105, f"{operator}: the default is a constant")

    def function(part: Part, account: Account, context: Context) -> list[Any]:
        values = _values(output, part, context)
        return [
            values[at + by] if 0 <= at + by < len(values) else default.value
            for at in range(len(values))
        ]

    return function


def _values(expression: Any, part: Part, context: Context) -> list[Any]:
    evaluate, variables = expression.evaluate, context.variables
    return [
        None if value is MISSING else value
        for value in (evaluate(document, variables) for document in part.documents)
    ]


def _double(value: Any) -> float | None:
    if not is_number(value):
        return None
    return float(value.to_decimal()) if isinstance(value, Decimal128) else float(value)


def _places(operator: str, part: Part, unit: str | None) -> list[float]:
    """Where each document lies on the axis of the sort."""
    found = []
    for document in part.documents:
        value = value_at(document, part.by or [])
        if unit is not None and is_date(value):
            found.append(ms_of_date(value) / UNITS_MS[unit])
        elif unit is None and is_number(value):
            found.append(_double(value) or 0.0)
        else:
            wanted = "a number" if unit is None else "a date"
            raise ExpressionFailed(
                f"{operator}: the sort value must be {wanted}, not {shown(value)}", code=5624901
            )
    return found


def _rate(operator: str, operand: Any, sort: Sort, scope: Scope) -> Function:
    """$derivative, $integral"""
    _sorted(operator, sort, True)
    if not isinstance(operand, Mapping) or "input" not in operand:
        raise invalid(9, f"{operator} takes a document with input, not {shown(operand)}")
    known_fields(operator, operand, ("input", "unit"), 9)
    unit = operand.get("unit")
    if unit is not None and unit not in UNITS_MS:
        raise invalid(5490704, f"{operator}: the unit is one of {', '.join(UNITS_MS)}")
    expression = expression_of(operand["input"], scope)

    def function(
        part: Part, account: Account, context: Context, spans: Sequence[tuple[int, int]]
    ) -> list[Any]:
        values = [_double(value) for value in _values(expression, part, context)]
        places = _places(operator, part, unit)
        of = _derivative if operator == "$derivative" else _integral
        return [of(values, places, start, end) for start, end in spans]

    return function


def _derivative(
    values: list[float | None], places: list[float], start: int, end: int
) -> float | None:
    if end - start < 2:
        return None
    first, last = values[start], values[end - 1]
    width = places[end - 1] - places[start]
    return None if first is None or last is None or not width else (last - first) / width


def _integral(values: list[float | None], places: list[float], start: int, end: int) -> Any:
    """By trapezoids between neighbours that are numbers."""
    known = [(places[at], value) for at in range(start, end) if (value := values[at]) is not None]
    if not known:
        return None
    return math.fsum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(known))


def _moving(operator: str, operand: Any, sort: Sort, scope: Scope) -> Function:
    """$expMovingAvg"""
    _sorted(operator, sort)
    if not isinstance(operand, Mapping) or "input" not in operand:
        raise invalid(9, f"{operator} takes a document with input, not {shown(operand)}")
    known_fields(operator, operand, ("input", "N", "alpha"), 9)
    if ("N" in operand) == ("alpha" in operand):
        raise invalid(9, f"{operator} needs either N or alpha")
    count = whole_of(operand.get("N"))
    alpha = _double(operand.get("alpha"))
    if "N" in operand:
        if count is None or count < 1:
            raise invalid(9, f"{operator}: N is a positive whole number")
        alpha = 2 / (count + 1)
    if alpha is None or not 0 < alpha < 1 + ("N" in operand):
        raise invalid(9, f"{operator}: alpha lies between 0 and 1")
    factor = alpha
    expression = expression_of(operand["input"], scope)

    def function(part: Part, account: Account, context: Context) -> list[Any]:
        found: list[float | None] = []
        average: float | None = None
        for value in _values(expression, part, context):
            number = _double(value)
            if number is not None:
                average = number if average is None else number * factor + average * (1 - factor)
            found.append(average)
        return found

    return function


def _covariance(operator: str, operand: Any, sort: Sort, scope: Scope) -> Function:
    """$covariancePop, $covarianceSamp"""
    if not isinstance(operand, list) or len(operand) != 2:
        raise invalid(9, f"{operator} takes two expressions, not {shown(operand)}")
    first, second = (expression_of(each, scope) for each in operand)
    least = 1 if operator == "$covariancePop" else 2

    def function(
        part: Part, account: Account, context: Context, spans: Sequence[tuple[int, int]]
    ) -> list[Any]:
        pairs = [
            (_double(a), _double(b))
            for a, b in zip(
                _values(first, part, context), _values(second, part, context), strict=True
            )
        ]
        return [_covariance_of(pairs[start:end], least) for start, end in spans]

    return function


def _covariance_of(pairs: list[tuple[float | None, float | None]], least: int) -> float | None:
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if len(known) < least:
        return None
    mean_a = math.fsum(a for a, _ in known) / len(known)
    mean_b = math.fsum(b for _, b in known) / len(known)
    return math.fsum((a - mean_a) * (b - mean_b) for a, b in known) / (len(known) - least + 1)


def _carried(operator: str, operand: Any, sort: Sort, scope: Scope) -> Function:
    """$locf: the last value that was not null."""
    expression = expression_of(operand, scope)

    def function(part: Part, account: Account, context: Context) -> list[Any]:
        found: list[Any] = []
        last = None
        for value in _values(expression, part, context):
            last = last if value is None else value
            found.append(last)
        return found

    return function


def _linear(operator: str, operand: Any, sort: Sort, scope: Scope) -> Function:
    """$linearFill: on the line between the neighbours that are known."""
    _sorted(operator, sort, True)
    expression = expression_of(operand, scope)

    def function(part: Part, account: Account, context: Context) -> list[Any]:
        values = _values(expression, part, context)
        is_dated = bool(part.documents) and is_date(value_at(part.documents[0], part.by or []))
        places = _places(operator, part, "millisecond" if is_dated else None)
        last: int | None = None
        for at, value in enumerate(values):
            if value is None:
                continue
            end = _double(value)
            if end is None:
                raise ExpressionFailed(
                    f"{operator} takes numbers and nulls, not {shown(value)}", code=6050201
                )
            if last is not None and at - last > 1:
                start = _double(values[last]) or 0.0
                width = places[at] - places[last]
                for between in range(last + 1, at):
                    share = (places[between] - places[last]) / width if width else 0.0
                    values[between] = start + (end - start) * share
            last = at
        return values

    return function


FUNCTIONS: Final[Mapping[str, Make]] = {
    "$rank": _ranks,
    "$denseRank": _ranks,
    "$documentNumber": _ranks,
    "$shift": _shift,
    "$derivative": _rate,
    "$integral": _rate,
    "$expMovingAvg": _moving,
    "$covariancePop": _covariance,
    "$covarianceSamp": _covariance,
    "$locf": _carried,
    "$linearFill": _linear,
}
