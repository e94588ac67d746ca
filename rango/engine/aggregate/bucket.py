"""$bucket and $bucketAuto: groups of neighbouring values.

Invariants  A bucket holds its lower boundary and not its upper one; the last automatic bucket holds
            both. Buckets without documents are left out; the answer is sorted by `_id`.
            Equal values are never in two automatic buckets.
Failure     InvalidPipeline for a bad specification; ExpressionFailed for a value that falls into no
            bucket when there is no default.
Sources     MongoDB manual, "$bucket (aggregation)", "$bucketAuto (aggregation)".
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from bson.decimal128 import Decimal128

from rango.engine.aggregate.columns import Column, columns_of
from rango.engine.aggregate.granularity import NAMES, Granularity
from rango.engine.aggregate.group import Groups, answers
from rango.engine.aggregate.memory import KEPT_SIZE_BYTES, size_of
from rango.engine.aggregate.spec import count_of, expression_of, invalid, names_in
from rango.engine.aggregate.stage import BATCH_COUNT, Batch, Batches, Context, Names, Scope, Stage
from rango.engine.collation import order_keys
from rango.engine.values import MISSING, is_number, shown, type_name
from rango.errors import ExpressionFailed

Kept = list[tuple[bytes, Any, Any]]
"""(key, value, document), sorted."""

Span = tuple[int, int, Any, Any]
"""Where a bucket starts and ends, and its boundaries."""

_COUNT = {"count": {"$sum": 1}}


class Bucket(Stage):
    """$bucket"""

    name = "$bucket"

    def __init__(
        self, spec: Mapping[str, Any], boundaries: list[Any], columns: list[Column], scope: Scope
    ) -> None:
        self.spec = spec
        self.boundaries = boundaries
        self.columns = columns
        self.key_of = order_keys(scope.collation)
        self.keys = [self.key_of(each) for each in boundaries]
        self.expression = expression_of(spec["groupBy"], scope)
        self.has_default = "default" in spec
        self.default: Any = None
        if self.has_default:
            self.default = expression_of(spec["default"], scope).value

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account(self.name)
        columns = [column.open(account, context) for column in self.columns]
        groups = Groups(account, KEPT_SIZE_BYTES * (1 + len(columns)))
        for batch in source:
            if not batch:
                yield batch
                continue
            context.environment.check()
            numbers = self._numbers(groups, batch, context)
            for accumulator, inputs in columns:
                accumulator.grow(len(groups.ids))
                accumulator.add(numbers, inputs(batch))
        ids = groups.ids
        yield from answers(
            sorted(range(len(ids)), key=lambda number: self.key_of(ids[number])),
            ids,
            [column.name for column in self.columns],
            [accumulator.result for accumulator, _ in columns],
        )

    def _numbers(self, groups: Groups, batch: Batch, context: Context) -> list[int]:
        evaluate, key_of, keys = self.expression.evaluate, self.key_of, self.keys
        found = []
        for document in batch:
            value = evaluate(document, context.variables)
            value = None if value is MISSING else value
            at = bisect_right(keys, key_of(value)) - 1
            if at < 0 or at == len(keys) - 1:
                if not self.has_default:
                    raise ExpressionFailed(
                        f"$bucket: {shown(value)} lies in no bucket; give it a default", code=40066
                    )
                at = -1
            number = groups.numbers.get(at)
            if number is None:
                number = groups.new(at, self.default if at < 0 else self.boundaries[at])
            found.append(number)
        return found

    def reads(self, wanted: Names) -> Names:
        return reads_of(self.spec["groupBy"], self.columns)


def reads_of(spec: object, columns: Sequence[Column]) -> Names:
    """What an expression and the columns read."""
    found = names_in(spec)
    for column in columns:
        if found is None or column.reads is None:
            return None
        found |= column.reads
    return found


def _group_by_check(stage: str, spec: Any, code: int) -> None:
    is_path = isinstance(spec, str) and spec.startswith("$")
    if not is_path and not (isinstance(spec, Mapping) and spec):
        raise invalid(
            code, f"{stage}: groupBy is a path such as '$a' or an expression, not {shown(spec)}"
        )


def _columns(stage: str, output: Any, scope: Scope, code: int) -> list[Column]:
    if not isinstance(output, Mapping):
        raise invalid(
            code, f"{stage}: output is a document, not {shown(output)} ({type_name(output)})"
        )
    return columns_of(stage, output, scope)


def bucket_stage(spec: object, scope: Scope) -> Stage:
    """$bucket"""
    if not isinstance(spec, Mapping):
        raise invalid(40201, f"$bucket takes a document, not {shown(spec)}")
    known = ("groupBy", "boundaries", "default", "output")
    for name in spec:
        if name not in known:
            raise invalid(40197, f"$bucket has no field {name!r}; it has {', '.join(known)}")
    if "groupBy" not in spec or "boundaries" not in spec:
        raise invalid(40198, "$bucket needs groupBy and boundaries")
    _group_by_check("$bucket", spec["groupBy"], 40202)
    boundaries = _boundaries(spec["boundaries"], scope)
    columns = _columns("$bucket", spec.get("output", _COUNT), scope, 40196)
    if "default" in spec and _constant(spec["default"], scope) is MISSING:
        raise invalid(40195, f"$bucket: default is a constant, not {shown(spec['default'])}")
    stage = Bucket(spec, boundaries, columns, scope)
    if stage.has_default:
        at = stage.key_of(stage.default)
        if stage.keys[0] <= at < stage.keys[-1]:
            raise invalid(
                40199,
                f"$bucket: default {shown(stage.default)} lies between the boundaries; it must be "
                "less than the first or not less than the last of them",
            )
    return stage


def _constant(spec: object, scope: Scope) -> Any:
    """The value of an expression that reads no field and no variable; else MISSING."""
    expression = expression_of(spec, scope)
    return expression.value if expression.is_constant else MISSING


def _boundaries(spec: object, scope: Scope) -> list[Any]:
    if not isinstance(spec, list):
        raise invalid(40200, f"$bucket: boundaries are an array, not {shown(spec)}")
    if len(spec) < 2:
        raise invalid(40192, f"$bucket needs at least two boundaries, not {len(spec)}")
    values = [_constant(each, scope) for each in spec]
    for given, value in zip(spec, values, strict=True):
        if value is MISSING:
            raise invalid(40191, f"$bucket: boundaries are constants, not {shown(given)}")
    key_of = order_keys(scope.collation)
    for lower, upper in pairwise(values):
        if _class_of(lower) != _class_of(upper):
            raise invalid(
                40193,
                f"$bucket: boundaries are of one type; {shown(lower)} is {type_name(lower)}, "
                f"{shown(upper)} is {type_name(upper)}",
            )
        if key_of(lower) >= key_of(upper):
            raise invalid(
                40194, f"$bucket: boundaries rise; {shown(upper)} comes after {shown(lower)}"
            )
    return values


def _class_of(value: Any) -> str:
    return "number" if is_number(value) else type_name(value)


class BucketAuto(Stage):
    """$bucketAuto"""

    name = "$bucketAuto"

    def __init__(
        self, spec: Mapping[str, Any], count: int, columns: list[Column], scope: Scope
    ) -> None:
        self.spec = spec
        self.count = count
        self.columns = columns
        self.key_of = order_keys(scope.collation)
        self.expression = expression_of(spec["groupBy"], scope)
        name = spec.get("granularity")
        self.granularity = None if name is None else Granularity(name)

    def run(self, source: Batches, context: Context) -> Batches:
        account = context.memory.account(self.name)
        kept: Kept = []
        for batch in source:
            if not batch:
                yield batch
                continue
            context.environment.check()
            for document in batch:
                value = self.expression.evaluate(document, context.variables)
                value = None if value is MISSING else value
                if self.granularity is not None:
                    rounded_check(value)
                key = self.key_of(value)
                account.charge(size_of(document) + len(key) + 2 * KEPT_SIZE_BYTES)
                kept.append((key, value, document))
        kept.sort(key=lambda each: each[0])
        columns = [column.open(account, context) for column in self.columns]
        ids: list[Any] = []
        spans = self._spans(kept) if self.granularity is None else self._rounded(kept)
        for number, (start, end, lower, upper) in enumerate(spans):
            ids.append({"min": lower, "max": upper})
            for accumulator, inputs in columns:
                accumulator.grow(number + 1)
                for at in range(start, end, BATCH_COUNT):
                    batch = [each[2] for each in kept[at : min(at + BATCH_COUNT, end)]]
                    accumulator.add([number] * len(batch), inputs(batch))
        names = [column.name for column in self.columns]
        results = [accumulator.result for accumulator, _ in columns]
        yield from answers(range(len(ids)), ids, names, results)

    def _spans(self, kept: Kept) -> list[Span]:
        """Where each bucket starts and ends: about equal parts, equal values never apart."""
        size = self._size(kept)
        spans: list[Span] = []
        start = 0
        while start < len(kept):
            end = min(start + size, len(kept))
            if len(spans) == self.count - 1:
                end = len(kept)
            while end < len(kept) and kept[end][0] == kept[end - 1][0]:
                end += 1
            upper = kept[end if end < len(kept) else end - 1][1]
            spans.append((start, end, kept[start][1], upper))
            start = end
        return spans

    def _rounded(self, kept: Kept) -> list[Span]:
        """The same with boundaries of the granularity, the upper one of a bucket rounded up."""
        series = self.granularity
        assert series is not None
        values = [number_of(value) for _, value, _ in kept]
        size = self._size(kept)
        spans: list[Span] = []
        start = 0
        lower = series.below(values[0]) if values else 0.0
        while start < len(kept):
            end = min(start + size, len(kept))
            if len(spans) == self.count - 1:
                end = len(kept)
            upper = series.above(values[end - 1])
            while end < len(kept) and values[end] < upper:
                end += 1
            if upper == 0 and end < len(kept):
                while end < len(kept) and values[end] == 0:
                    end += 1
                # a bucket of zeros ends where the next one begins
                upper = series.below(values[end]) if end < len(kept) else 0.0
            spans.append((start, end, lower, upper))
            start, lower = end, upper
        return spans

    def _size(self, kept: Kept) -> int:
        # halves round up, as in C
        return max(1, int(len(kept) / self.count + 0.5))

    def reads(self, wanted: Names) -> Names:
        return reads_of(self.spec["groupBy"], self.columns)


def number_of(value: Any) -> float:
    """A number as a double."""
    return float(value.to_decimal()) if isinstance(value, Decimal128) else float(value)


def rounded_check(value: Any) -> None:
    """Refuse what has no place in a series of preferred numbers."""
    if not is_number(value):
        code = 40258
    elif math.isnan(number_of(value)):
        code = 40259
    elif number_of(value) < 0:
        code = 40260
    else:
        return
    raise ExpressionFailed(
        f"$bucketAuto: with a granularity groupBy gives numbers from 0 on, not {shown(value)}",
        code=code,
    )


def bucket_auto_stage(spec: object, scope: Scope) -> Stage:
    """$bucketAuto"""
    if not isinstance(spec, Mapping):
        raise invalid(40240, f"$bucketAuto takes a document, not {shown(spec)}")
    known = ("groupBy", "buckets", "output", "granularity")
    for name in spec:
        if name not in known:
            raise invalid(40245, f"$bucketAuto has no field {name!r}; it has {', '.join(known)}")
    if "groupBy" not in spec or "buckets" not in spec:
        raise invalid(40246, "$bucketAuto needs groupBy and buckets")
    _group_by_check("$bucketAuto", spec["groupBy"], 40239)
    count = count_of("$bucketAuto: buckets", spec["buckets"], 40243, 1)
    if count > 2**31 - 1:
        raise invalid(40242, f"$bucketAuto: buckets is an int32, not {shown(spec['buckets'])}")
    granularity = spec.get("granularity", "R5")
    if granularity not in NAMES:
        code = 40257 if isinstance(granularity, str) else 40261
        raise invalid(
            code,
            f"$bucketAuto: the granularity is one of {', '.join(NAMES)}, not {shown(granularity)}",
        )
    columns = _columns("$bucketAuto", spec.get("output", _COUNT), scope, 40244)
    return BucketAuto(spec, count, columns, scope)
