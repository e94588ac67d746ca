"""$setWindowFields: values over the neighbours of each document.

Terms       partition: the documents with an equal `partitionBy`, sorted; window: the places of a
            partition that one document looks at, from `start` to `end` (exclusive); function: what
            makes the values of one field for all places of a partition.
Invariants  The answer is sorted by partition and then by `sortBy`; equal documents keep their
            order. A window by range holds the documents whose sort value lies so far from this
            one's; by documents, those so many places away.
Failure     InvalidPipeline for a bad specification; ExpressionFailed where a value that a range
            or a rate needs is neither a number nor a date; LimitExceeded beyond the bound.
Sources     MongoDB manual, "$setWindowFields (aggregation)".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bson.decimal128 import Decimal128

from rango.engine.aggregate.columns import ACCUMULATORS, Column, column_of
from rango.engine.aggregate.keys import group_keys, sort_key
from rango.engine.aggregate.memory import Account
from rango.engine.aggregate.order import sort_spec
from rango.engine.aggregate.spec import expression_of, field_path, invalid, known_fields, whole_of
from rango.engine.aggregate.stage import Batches, Context, Document, Scope, Stage, in_batches
from rango.engine.aggregate.unwind import value_at, with_value
from rango.engine.aggregate.window_functions import FUNCTIONS, UNITS, Part, moved
from rango.engine.collation import order_keys
from rango.engine.sort import Sort
from rango.engine.values import MISSING, is_date, is_number, ms_of_date, shown
from rango.errors import ExpressionFailed

Spans = Callable[[Part], Sequence[tuple[int, int]]]
Field = tuple[list[str], Callable[[Part, Account, Context], list[Any]]]

WINDOWLESS: Final = frozenset(
    ("$rank", "$denseRank", "$documentNumber", "$shift", "$expMovingAvg", "$linearFill", "$locf")
)


class SetWindowFields(Stage):
    """$setWindowFields"""

    name = "$setWindowFields"

    def __init__(self, spec: Any, sort: Sort, fields: list[Field], scope: Scope) -> None:
        self.spec = spec
        self.fields = fields
        self.partition = expression_of(spec.get("partitionBy"), scope)
        self.group_of = group_keys(scope.collation)
        self.order_of = order_keys(scope.collation)
        self.key_of = sort_key(sort, scope.collation) if sort else None
        self.by = sort[0][0].split(".") if len(sort) == 1 else None

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account(self.name)
        parts: dict[Any, tuple[Any, list[Document]]] = {}
        for batch in source:
            if not batch:
                yield batch
                continue
            context.environment.check()
            account.charge_documents(batch)
            for document in batch:
                value = self.partition.evaluate(document, context.variables)
                if isinstance(value, list):
                    raise ExpressionFailed(
                        f"$setWindowFields: partitionBy gives the array {shown(value)}; it must "
                        "give a value of another type",
                        code=5951300,
                    )
                value = None if value is MISSING else value
                parts.setdefault(self.group_of(value), (value, []))[1].append(document)
        for _, documents in sorted(parts.values(), key=lambda each: self.order_of(each[0])):
            yield from in_batches(self._filled(documents, account, context))

    def _filled(
        self, documents: list[Document], account: Account, context: Context
    ) -> list[Document]:
        """A partition with its new fields."""
        keys: list[bytes] = []
        if self.key_of is not None:
            pairs = sorted(
                ((self.key_of(document), document) for document in documents),
                key=lambda pair: pair[0],
            )
            keys = [key for key, _ in pairs]
            documents = [document for _, document in pairs]
        part = Part(documents, keys, self.by)
        columns = [(path, values(part, account, context)) for path, values in self.fields]
        for path, values in columns:
            context.environment.check()
            documents = [
                with_value(document, path, value)
                for document, value in zip(documents, values, strict=True)
            ]
        return documents


def window_stage(spec: object, scope: Scope) -> Stage:
    """$setWindowFields"""
    if not isinstance(spec, Mapping):
        raise invalid(9, f"$setWindowFields takes a document, not {shown(spec)}")
    known_fields("$setWindowFields", spec, ("partitionBy", "sortBy", "output"), 40415)
    output = spec.get("output")
    if not isinstance(output, Mapping):
        raise invalid(40414, f"$setWindowFields needs output, a document, not {shown(output)}")
    sort = sort_spec("$setWindowFields: sortBy", spec["sortBy"]) if "sortBy" in spec else ()
    fields = [
        (field_path("$setWindowFields: output", path).split("."), _field(path, each, sort, scope))
        for path, each in output.items()
    ]
    return SetWindowFields(spec, sort, fields, scope)


def _field(
    path: str, spec: object, sort: Sort, scope: Scope
) -> Callable[[Part, Account, Context], list[Any]]:
    """The function of one field of `output`."""
    if not isinstance(spec, Mapping):
        raise invalid(9, f"$setWindowFields: {path!r} takes a document, not {shown(spec)}")
    operators = [name for name in spec if name != "window"]
    if len(operators) != 1:
        raise invalid(9, f"$setWindowFields: {path!r} has one function, not {shown(spec)}")
    operator = operators[0]
    window = spec.get("window")
    if operator in WINDOWLESS:
        if "window" in spec:
            raise invalid(5371601, f"{operator} has no window")
        return FUNCTIONS[operator](operator, spec[operator], sort, scope)
    spans = _spans(window, sort)
    if operator in FUNCTIONS:
        if "window" not in spec and operator == "$derivative":
            raise invalid(5490710, f"{operator} needs a window")
        function = FUNCTIONS[operator](operator, spec[operator], sort, scope)
        return lambda part, account, context: function(part, account, context, spans(part))
    if operator not in ACCUMULATORS:
        known = ", ".join(sorted({*ACCUMULATORS, *FUNCTIONS}))
        raise invalid(5397901, f"unknown window function {operator!r}; known are {known}")
    column = column_of("$setWindowFields", "x", {operator: spec[operator]}, scope)
    is_whole = window is None or list(window.get("documents", ())) == ["unbounded", "unbounded"]
    return lambda part, account, context: _accumulated(
        column, part, account, context, None if is_whole else spans(part)
    )


def _accumulated(
    column: Column,
    part: Part,
    account: Account,
    context: Context,
    spans: Sequence[tuple[int, int]] | None,
) -> list[Any]:
    """The values of an accumulator for each window; the last state serves while windows grow."""
    documents = part.documents
    if spans is None:
        spans = [(0, len(documents))] * len(documents)
    values: list[Any] = []
    scratch = Account(account.name, account.limit_bytes)
    accumulator, inputs = column.open(scratch, context)
    accumulator.grow(1)
    known = inputs(documents)
    last = (0, 0)
    for start, end in spans:
        if start != last[0] or end < last[1]:
            context.environment.check()
            scratch = Account(account.name, account.limit_bytes)
            accumulator, _ = column.open(scratch, context)
            accumulator.grow(1)
            last = (start, start)
        if end > last[1]:
            accumulator.add([0] * (end - last[1]), known[last[1] : end])
        last = (start, max(end, last[1]))
        value = accumulator.result(0)
        if isinstance(value, (list, dict)):
            value = value.copy()
            account.charge(8 * len(value))
        values.append(None if value is MISSING else value)
    return values


def _spans(window: object, sort: Sort) -> Spans:
    """The function from a partition to the window of each of its places."""
    if window is None:
        return lambda part: [(0, len(part.documents))] * len(part.documents)
    if not isinstance(window, Mapping):
        raise invalid(9, f"$setWindowFields: the window is a document, not {shown(window)}")
    known_fields("$setWindowFields: window", window, ("documents", "range", "unit"), 9)
    if ("documents" in window) == ("range" in window):
        raise invalid(9, "$setWindowFields: a window has either documents or range")
    name = "documents" if "documents" in window else "range"
    bounds = window[name]
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise invalid(9, f"$setWindowFields: {name} has two bounds, not {shown(bounds)}")
    if name == "documents":
        if "unit" in window:
            raise invalid(9, "$setWindowFields: a unit belongs to a range")
        return _by_documents(bounds, sort)
    return _by_range(bounds, window.get("unit"), sort)


def _by_documents(bounds: list[Any], sort: Sort) -> Spans:
    places = []
    for bound in bounds:
        place = 0 if bound == "current" else None if bound == "unbounded" else whole_of(bound)
        if place is None and bound != "unbounded":
            raise invalid(5339900, f"$setWindowFields: {shown(bound)} is no bound of documents")
        places.append(place)
    if not sort and places != [None, None]:
        raise invalid(5339901, "$setWindowFields: a window of documents needs sortBy")
    low, high = places
    if low is not None and high is not None and low > high:
        raise invalid(5339900, f"$setWindowFields: the bounds {shown(bounds)} fall")

    def spans(part: Part) -> list[tuple[int, int]]:
        count = len(part.documents)
        found = []
        for at in range(count):
            start = 0 if low is None else min(max(0, at + low), count)
            end = count if high is None else min(max(0, at + high + 1), count)
            found.append((start, max(start, end)))
        return found

    return spans


def _by_range(bounds: list[Any], unit: object, sort: Sort) -> Spans:
    if len(sort) != 1 or sort[0][1] != 1:
        raise invalid(5339902, "$setWindowFields: a range needs sortBy with one rising field")
    if unit is not None and unit not in UNITS:
        raise invalid(
            5339903, f"$setWindowFields: the unit is one of {', '.join(UNITS)}, not {shown(unit)}"
        )
    of = None if unit is None else str(unit)
    for bound in bounds:
        if bound not in ("current", "unbounded") and not is_number(bound):
            raise invalid(5339904, f"$setWindowFields: {shown(bound)} is no bound of a range")
    low, high = [
        None if each == "unbounded" else 0 if each == "current" else plain(each) for each in bounds
    ]

    def spans(part: Part) -> list[tuple[int, int]]:
        values = [ranged(document, part.by or [], unit) for document in part.documents]
        found = []
        for value in values:
            start = 0 if low is None else bisect_left(values, moved(value, low, of))
            end = len(values) if high is None else bisect_right(values, moved(value, high, of))
            found.append((start, max(start, end)))
        return found

    return spans


def plain(value: Any) -> Any:
    """A number that Python computes with."""
    return float(value.to_decimal()) if isinstance(value, Decimal128) else value


def ranged(document: Document, path: list[str], unit: object) -> Any:
    """The sort value of a document as a number; of a date, milliseconds."""
    value = value_at(document, path)
    if unit is None and is_number(value):
        return plain(value)
    if unit is not None and is_date(value):
        return ms_of_date(value)
    wanted = "a number" if unit is None else "a date"
    raise ExpressionFailed(
        f"$setWindowFields: a range {'with' if unit else 'without'} a unit needs {wanted} in "
        f"{'.'.join(path)!r}, not {shown(value)}",
        code=5429513 if unit is not None else 5429413,
    )
