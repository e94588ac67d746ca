"""Plans: how the records of a filter are found, and in which order.

Terms       interval: encoded keys from `lower` (inclusive) to `upper` (exclusive), None = open;
            point: an interval that holds the keys of exactly one value. Index keys are the value's
            key followed by the `_id`'s key, ascending whatever the direction of the index, so an
            interval of values is one of index keys.
Invariants  Bounds are wide enough, never trusted to be tight: the whole filter runs on every record
            that they let through. The choice depends on the filter, the sort, the limit and the
            indexes only; no statistics, so it is repeatable. The first class that applies wins:
              0  `_id` equals a value           1  equality, unique index
              2  equality, index                3  some values of `_id` ($in)
              4  some values of an index        5  a range closed on both sides
              6  a range closed on one side     7  no bounds, but the index gives the order of the
              8  everything, in `_id` order        sort, and there is a limit
            Inside a class: one that gives the order first, then `_id`, then the indexes as they
            were created.
Failure     none: what cannot be bounded is scanned.
Sources     MongoDB manual, "Multikey Index Bounds"; storage-notes; ADR-0011.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from bson.decimal128 import Decimal128
from bson.max_key import MaxKey
from bson.min_key import MinKey

from rango._ext.filter import NO_VALUE, Program, compile_filter
from rango._ext.key import key_of
from rango.engine.sort import Sort

Interval = tuple[bytes | None, bytes | None]
Kind = Literal["id", "id_range", "index", "scan"]

EVERYTHING: Final[tuple[Interval, ...]] = ((None, None),)

BOUND_SIZE_BYTES_MAX: Final = 512
"""A longer bound is cut to this prefix. Stored keys are shortened to a prefix and a hash
(KEY_SIZE_BYTES_MAX), so an order beyond the prefix does not exist; half of that limit leaves room
for the `_id`."""

NULL_BYTES: Final = (key_of(MinKey())[0] + 1, key_of(None)[0] + 1)
"""Class bytes from after MinKey to null: undefined lies between. It equals null, and in an index it
stands for an empty array."""


class IndexLike(Protocol):
    """What the planner needs to know of an index; engine.core.IndexInfo is one."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def unique(self) -> bool: ...
    @property
    def multikey(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """Disjoint intervals in ascending order; are they all points?"""

    intervals: tuple[Interval, ...]
    is_points: bool

    @property
    def is_one_point(self) -> bool:
        return self.is_points and len(self.intervals) == 1


NOTHING: Final = Bounds((), True)


@dataclass(frozen=True, slots=True)
class Plan:
    """How to find the records. The intervals are of the index's keys, or without one of `_id`s."""

    kind: Kind
    intervals: tuple[Interval, ...] = EVERYTHING
    index: IndexLike | None = None
    id_value: Any = NO_VALUE
    reverse: bool = False
    is_sorted: bool = False

    def explain(self) -> dict[str, Any]:
        """The choice in plain values, for people."""
        return {
            "plan": self.kind,
            "index": self.index.name if self.index is not None else None,
            "intervals": [
                [None if end is None else end.hex() for end in interval]
                for interval in self.intervals
            ],
            "reverse": self.reverse,
            "sort": "order of the keys" if self.is_sorted else "in memory",
        }


def successor(prefix: bytes) -> bytes | None:
    """The least bytes above everything that starts with this prefix; None if there are none."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def intervals(
    filter: Program | Mapping[str, Any], path: str, multikey: bool = False
) -> list[Interval]:
    """The keys that matching records may have at a path; [(None, None)] if it says nothing."""
    program = filter if isinstance(filter, Program) else compile_filter(filter)
    bounds = bounds_of(program.normal, path, multikey)
    return list(EVERYTHING if bounds is None else bounds.intervals)


def bounds_of(node: tuple[Any, ...], path: str, multikey: bool) -> Bounds | None:
    """Bounds of one node of a normal form, or None when it does not bound the path."""
    match node:
        case ("$and", nodes):
            found = [bounds_of(part, path, multikey) for part in nodes]
            known = [bounds for bounds in found if bounds is not None]
            return _both(known, multikey) if known else None
        case ("$or", nodes):
            found = [bounds_of(part, path, multikey) for part in nodes]
            known = [bounds for bounds in found if bounds is not None]
            return _either(known) if len(known) == len(found) else None
        case ("$in", named, values) if named == path:
            points = [_equal(value) for value in values]
            known = [bounds for bounds in points if bounds is not None]
            return _either(known) if len(known) == len(points) else None
        case ("$eq", named, value) if named == path:
            return _equal(value)
        case (("$gt" | "$gte" | "$lt" | "$lte") as operator, named, value) if named == path:
            return _range(operator, value)
    return None


def _both(known: Sequence[Bounds], multikey: bool) -> Bounds:
    """All of them hold. In a multikey index each may be met by another element of the array, so
    only one of them may be used."""
    if multikey:
        return min(known, key=_width)
    bounds = known[0]
    for other in known[1:]:
        met = [
            interval
            for left in bounds.intervals
            for right in other.intervals
            if (interval := _meet(left, right)) is not None
        ]
        bounds = Bounds(tuple(met), bounds.is_points or other.is_points)
    return bounds


def _either(known: Iterable[Bounds]) -> Bounds:
    """One of them holds: the union, ascending."""
    listed = list(known)
    merged: list[Interval] = []
    for lower, upper in sorted(
        (interval for bounds in listed for interval in bounds.intervals),
        key=lambda each: each[0] or b"",
    ):
        if merged and (merged[-1][1] is None or (lower or b"") < merged[-1][1]):
            last_lower, last_upper = merged[-1]
            if last_upper is not None and (upper is None or upper > last_upper):
                merged[-1] = (last_lower, upper)
        else:
            merged.append((lower, upper))
    return Bounds(tuple(merged), all(bounds.is_points for bounds in listed))


def _meet(left: Interval, right: Interval) -> Interval | None:
    lower = max(left[0] or b"", right[0] or b"")
    uppers = [upper for upper in (left[1], right[1]) if upper is not None]
    upper = min(uppers) if uppers else None
    if upper is not None and lower >= upper:
        return None
    return (lower or None, upper)


def _width(bounds: Bounds) -> tuple[int, int]:
    """Points before closed ranges before open ones; fewer before more."""
    return _range_class(bounds), len(bounds.intervals)


def _is_array(value: object) -> bool:
    # an index holds the elements of an array, not the array: equality with one says nothing about
    # single keys
    return isinstance(value, (list, tuple))


def _equal(value: Any) -> Bounds | None:
    if _is_array(value):
        return None
    if value is None:
        return Bounds(((bytes(NULL_BYTES[:1]), bytes(NULL_BYTES[1:])),), False)
    key = key_of(value)
    if len(key) > BOUND_SIZE_BYTES_MAX:
        prefix = key[:BOUND_SIZE_BYTES_MAX]
        return Bounds(((prefix, successor(prefix)),), False)
    return Bounds(((key, successor(key)),), True)


def _range(operator: str, value: Any) -> Bounds | None:
    """From the value to the end of its class, because other classes do not compare."""
    if _is_array(value):
        return None
    is_inclusive = operator in ("$gte", "$lte")
    if isinstance(value, (MinKey, MaxKey)):
        # the ends of the order compare with everything: either all lies on that side, or only the
        # end itself does
        if isinstance(value, MaxKey) == operator.startswith("$lt"):
            return None
        return _equal(value) if is_inclusive else NOTHING
    if value is None or _is_nan(value):
        return _equal(value) if is_inclusive else NOTHING
    key = key_of(value)
    first, end = key[:1], successor(key[:1])
    prefix = key[:BOUND_SIZE_BYTES_MAX]
    is_cut = prefix != key
    if operator.startswith("$gt"):
        return Bounds(((prefix if is_inclusive or is_cut else successor(prefix), end),), False)
    return Bounds(((first, successor(prefix) if is_inclusive or is_cut else prefix),), False)


def _is_nan(value: Any) -> bool:
    if isinstance(value, Decimal128):
        return bool(value.to_decimal().is_nan())
    return isinstance(value, float) and math.isnan(value)


def _range_class(bounds: Bounds) -> int:
    """3 or 4 (points), 5 or 6 of the rule above, as far as it depends on the bounds."""
    if bounds.is_points:
        return 4
    return 5 if all(_is_closed(interval) for interval in bounds.intervals) else 6


def _is_closed(interval: Interval) -> bool:
    # the end of a class is one byte: that side was not given
    lower, upper = interval
    return lower is not None and upper is not None and (len(lower) > 1) == (len(upper) > 1)


def choose(
    program: Program, sort: Sort = (), indexes: Sequence[IndexLike] = (), limit: int = 0
) -> Plan:
    """The plan of a filter and a sort, by the rule above; `indexes` in order of creation."""
    if program.id_equals is not NO_VALUE and not _is_array(program.id_equals):
        return Plan("id", id_value=program.id_equals, is_sorted=True)
    best = _id_plan(program, sort)
    for index in indexes:
        found = _index_plan(program, sort, index, limit)
        if found is not None and found[0] < best[0]:
            best = found
    return best[1]


def _id_plan(program: Program, sort: Sort) -> tuple[tuple[int, bool], Plan]:
    bounds = bounds_of(program.normal, "_id", False)
    is_sorted, reverse = _order(sort, "_id", bounds)
    if bounds is None:
        return (8, not is_sorted), Plan("scan", reverse=reverse, is_sorted=is_sorted)
    rank = 3 if bounds.is_points else _range_class(bounds)
    plan = Plan("id_range", bounds.intervals, reverse=reverse, is_sorted=is_sorted)
    return (rank, not is_sorted), plan


def _index_plan(
    program: Program, sort: Sort, index: IndexLike, limit: int
) -> tuple[tuple[int, bool], Plan] | None:
    if any(part.isdigit() for part in index.path.split(".")):
        # a number is a name and a position at once; what an index holds for it is not what a filter
        # may meet
        return None
    bounds = bounds_of(program.normal, index.path, index.multikey)
    is_sorted, reverse = not sort, False
    if not index.multikey:
        is_sorted, reverse = _order(sort, index.path, bounds)
    if bounds is None:
        if not (is_sorted and sort and limit):
            return None
        return (7, False), Plan("index", EVERYTHING, index, reverse=reverse, is_sorted=True)
    rank = _range_class(bounds)
    if bounds.is_one_point:
        rank = 1 if index.unique else 2
    plan = Plan("index", bounds.intervals, index, reverse=reverse, is_sorted=is_sorted)
    return (rank, not is_sorted), plan


def _order(sort: Sort, path: str, bounds: Bounds | None) -> tuple[bool, bool]:
    """Do the keys of a path (each followed by the `_id`) come sorted already, and backwards?"""
    left = list(sort)
    if bounds is not None and bounds.is_one_point:
        # all records have the same value there, so that field of the sort decides nothing
        left = [field for field in left if field[0] != path]
        if not left:
            return True, False
        is_sorted = len(left) == 1 and left[0][0] == "_id"
        return is_sorted, is_sorted and left[0][1] < 0
    if not left:
        return True, False
    if left[0][0] != path:
        return False, False
    directions = {direction for _, direction in left}
    is_sorted = len(directions) == 1 and (
        path == "_id" or [name for name, _ in left[1:]] in ([], ["_id"])
    )
    return is_sorted, is_sorted and left[0][1] < 0
