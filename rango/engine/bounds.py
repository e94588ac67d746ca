"""Bounds: the keys that a condition of a filter lets a path have.

Terms       interval: (lower, upper, low, high): encoded keys from `lower` (inclusive) to `upper`
            (exclusive), None = open; low and high say the same for people: (value, is inclusive),
            or None. point: an interval that holds the keys of exactly one value.
            many: whether an array lies on the path in some document, so that a document has
            several keys there.
Invariants  Bounds are wide enough: a document that matches has a key inside (I: the planner may
            trust it). `is_exact` bounds are tight as well: a document with a key inside matches, so
            nothing is left to be looked at. Intervals are disjoint and ascending. No complete key
            is the beginning of another one, so an interval stays one behind any prefix, and with
            all its bytes inverted.
Failure     none: what cannot be bounded has no bounds (None).
Sources     MongoDB manual, "Multikey Index Bounds"; keys: rango/_ext/key.pyx.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from rango._ext.key import key_of
from rango._ext.points import Points

Label = tuple[Any, bool] | None
Interval = tuple[bytes | None, bytes | None, Label, Label]
Node = tuple[Any, ...]

Intervals = Sequence[Interval] | Points

EVERYTHING: Final[tuple[Interval, ...]] = ((None, None, None, None),)

BOUND_SIZE_BYTES_MAX: Final = 512
"""A longer bound is cut to this prefix. Stored keys are shortened to a prefix and a hash
(KEY_SIZE_BYTES_MAX), so an order beyond the prefix does not exist; half of that limit leaves room
for the `_id`."""

NULL: Final = key_of(None)
UNDEFINED: Final = b"\x08"
"""The key of undefined (key.pxd), which equals null; in an index it stands for an empty array."""

INVERTED: Final = bytes(255 - value for value in range(256))

EXACT_TYPES: Final = (int, float, str, bytes, bool, datetime, ObjectId, Decimal128, Timestamp, UUID)
"""Values whose order and equality are those of their keys, and of nothing inside them."""

PLAIN_TYPES: Final = frozenset((*EXACT_TYPES, Int64))
"""The same as types of their own."""

POINTS_COUNT_MIN: Final = 64
"""Values of a $in from which on their intervals are made only when they are needed."""

CLASS_OF_CODE: Final = {
    1: 1.0,
    2: "",
    3: {},
    5: b"",
    7: ObjectId("0" * 24),
    8: False,
    9: datetime(2000, 1, 1),
    11: Regex(""),
    16: 1,
    17: Timestamp(0, 0),
    18: 1,
    19: Decimal128("1"),
}
"""A value of the class of a BSON type code; codes that are not here are not bounded."""

NUMBER_CODES: Final = frozenset((1, 16, 18, 19))
CODES_EXACT: Final = frozenset((7, 8, 9, 17))
"""Types that have a class of their own."""

LITERAL_STOPS: Final = frozenset(".^$*+?()[]{}|\\")


class Bounds:
    """Disjoint intervals in ascending order; are they all points, and do they decide?"""

    __slots__ = ("intervals", "is_exact", "is_points")

    intervals: Intervals
    is_points: bool
    is_exact: bool

    def __init__(self, intervals: Intervals, is_points: bool, is_exact: bool = False) -> None:
        self.intervals = intervals
        self.is_points = is_points
        self.is_exact = is_exact

    @property
    def is_one_point(self) -> bool:
        return self.is_points and len(self.intervals) == 1


NOTHING: Final = Bounds((), True, True)


def successor(prefix: bytes) -> bytes | None:
    """The least bytes above everything that starts with this prefix; None if there are none."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes((stripped[-1] + 1,))


AFTER_NAN: Final = successor(key_of(math.nan))


def bounds_of(node: Node, path: str, many: bool, has_collation: bool = False) -> Bounds | None:
    """Bounds of one node of a normal form, or None when it does not bound the path.

    With a collation, texts are bounded by their type only: keys are in binary order.
    """
    found: Bounds | None = None
    if node[0] == "$eq" and not has_collation:
        return _equal(node[2]) if node[1] == path else None
    match node:
        case ("$and", nodes):
            found = _all_of(nodes, path, many, has_collation)
        case ("$or", nodes):
            parts = [bounds_of(part, path, many, has_collation) for part in nodes]
            known = [bounds for bounds in parts if bounds is not None]
            found = either(known) if len(known) == len(parts) else None
        case ("$elemMatch", named, inner):
            if path.startswith(f"{named}."):
                found = _loose(bounds_of(inner, path[len(named) + 1 :], many, has_collation))
        case ("$elemMatchValue", named, inner):
            # one element meets all of it, and each element has its key, unless it is an array
            if named == path and path:
                found = _loose(bounds_of(inner, "", False, has_collation))
        case (operator, named, value, *more) if named == path:
            if not (has_collation and operator in _VALUED and _holds_text(value)):
                found = _of_field(operator, value, more)
    return found


def _all_of(nodes: Sequence[Node], path: str, many: bool, has_collation: bool) -> Bounds | None:
    """Bounds of conditions that all hold."""
    parts = [bounds_of(part, path, many, has_collation) for part in nodes]
    known = [bounds for bounds in parts if bounds is not None]
    if not known:
        return None
    met = narrowest(known) if many else both(known)
    is_whole = len(known) == len(nodes) and (not many or len(known) == 1)
    return met if is_whole else _loose(met)


def _of_field(operator: str, value: Any, more: Sequence[Any]) -> Bounds | None:
    """Bounds of an operator and its operand."""
    found: Bounds | None = None
    match operator:
        case "$eq":
            found = _equal(value)
        case "$in":
            found = _members(value)
        case "$gt" | "$gte" | "$lt" | "$lte":
            found = _range(operator, value)
        case "$regex":
            found = _regex(value, more[0])
        case "$type":
            found = _types(value)
    return found


_VALUED: Final = frozenset(("$eq", "$in", "$gt", "$gte", "$lt", "$lte"))


def _holds_text(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_text(each) for each in value)
    return isinstance(value, (str, dict)) or hasattr(value, "items")


def _loose(bounds: Bounds | None) -> Bounds | None:
    """The same, but no longer exact."""
    if bounds is None or not bounds.is_exact:
        return bounds
    return Bounds(bounds.intervals, bounds.is_points)


def both(known: Sequence[Bounds]) -> Bounds:
    """All of them hold for one key: the intersection."""
    bounds = known[0]
    for other in known[1:]:
        bounds = Bounds(
            tuple(_common(bounds.intervals, other.intervals)),
            bounds.is_points or other.is_points,
            bounds.is_exact and other.is_exact,
        )
    return bounds


def _common(left: Intervals, right: Intervals) -> Iterator[Interval]:
    """What two ascending lists of intervals share; each is gone through once."""
    at, other = 0, 0
    while at < len(left) and other < len(right):
        first, second = left[at], right[other]
        met = _meet(first, second)
        if met is not None:
            yield met
        if second[1] is None or (first[1] is not None and first[1] <= second[1]):
            at += 1
        else:
            other += 1


def narrowest(known: Sequence[Bounds]) -> Bounds:
    """The one to use where each may be met by another element of an array."""
    return min(known, key=width)


def either(listed: Sequence[Bounds]) -> Bounds:
    """One of them holds: the union, ascending."""
    if len(listed) == 1:
        return listed[0]
    merged: list[Interval] = []
    for interval in sorted(
        (interval for bounds in listed for interval in bounds.intervals),
        key=lambda each: each[0] or b"",
    ):
        last = merged[-1] if merged else None
        if last is not None and (last[1] is None or (interval[0] or b"") < last[1]):
            if last[1] is not None and (interval[1] is None or interval[1] > last[1]):
                merged[-1] = (last[0], interval[1], last[2], interval[3])
        else:
            merged.append(interval)
    return Bounds(
        tuple(merged),
        all(bounds.is_points for bounds in listed),
        all(bounds.is_exact for bounds in listed),
    )


def _meet(left: Interval, right: Interval) -> Interval | None:
    low = right if (right[0] or b"") > (left[0] or b"") else left
    high = left
    if right[1] is not None and (left[1] is None or right[1] < left[1]):
        high = right
    if high[1] is not None and (low[0] or b"") >= high[1]:
        return None
    return (low[0], high[1], low[2], high[3])


def is_inside(inner: Bounds, outer: Bounds) -> bool:
    """Whether every key of the one is a key of the other."""
    others = iter(outer.intervals)
    right = next(others, None)
    for left in inner.intervals:
        # those that end before it ends can hold nothing of what follows either
        while (
            right is not None and right[1] is not None and (left[1] is None or left[1] > right[1])
        ):
            right = next(others, None)
        if right is None or (left[0] or b"") < (right[0] or b""):
            return False
    return True


def holds_null(bounds: Bounds) -> bool:
    """Whether a document without the field can have a key inside."""
    return any(
        (lower or b"") <= NULL and (upper is None or upper > NULL)
        for lower, upper, _, _ in bounds.intervals
    )


def width(bounds: Bounds) -> tuple[int, int]:
    """Points before closed ranges before open ones; fewer before more."""
    return range_class(bounds), len(bounds.intervals)


def range_class(bounds: Bounds) -> int:
    """4 (points), 5 or 6 of the planner's rule, as far as it depends on the bounds."""
    if bounds.is_points:
        return 4
    return 5 if all(_is_closed(interval) for interval in bounds.intervals) else 6


def _is_closed(interval: Interval) -> bool:
    return interval[2] is not None and interval[3] is not None


def inverted(interval: Interval) -> Interval:
    """The interval of the same keys with all their bytes inverted."""
    lower, upper, low, high = interval
    return (
        None if upper is None else successor(upper.translate(INVERTED)),
        None if lower is None else successor(lower.translate(INVERTED)),
        high,
        low,
    )


def point(key: bytes, value: Any, is_exact: bool) -> Bounds:
    """Bounds of the keys that start with this one."""
    label = (value, True)
    if len(key) > BOUND_SIZE_BYTES_MAX:
        key = key[:BOUND_SIZE_BYTES_MAX]
        return Bounds(((key, successor(key), label, label),), False)
    return Bounds(((key, successor(key), label, label),), True, is_exact)


def _equal(value: Any) -> Bounds:
    if isinstance(value, (list, tuple)):
        # an index holds the elements of an array, not the array: it is found by its first one, or
        # as an element of an outer array
        inner = _equal(value[0]) if value and not isinstance(value[0], (list, tuple)) else None
        if inner is None:
            key = key_of(value[0]) if value else UNDEFINED
            inner = point(key, value[0] if value else [], False)
        return either([inner, point(key_of(value), value, False)])
    if value is None:
        label = (None, True)
        ends = [(key, successor(key), label, label) for key in (UNDEFINED, NULL)]
        return Bounds(tuple(ends), True)
    return point(key_of(value), value, isinstance(value, EXACT_TYPES))


def _members(values: Sequence[Any]) -> Bounds:
    """One of them. Many are kept as keys: see rango/_ext/points.pyx."""
    if len(values) < POINTS_COUNT_MIN:
        return either([_equal(each) for each in values])
    points = Points(values, PLAIN_TYPES, _equal, BOUND_SIZE_BYTES_MAX)
    return Bounds(points, points.is_points, points.is_exact)


def _range(operator: str, value: Any) -> Bounds | None:
    """From the value to the end of its class, because other classes do not compare."""
    if isinstance(value, (list, tuple)):
        # arrays compare with arrays: with inner ones by their key, with outer ones by what no
        # single key tells
        return None
    is_inclusive = operator in ("$gte", "$lte")
    if isinstance(value, (MinKey, MaxKey)):
        # the ends of the order compare with everything: either all lies on that side, or only the
        # end itself does
        if isinstance(value, MaxKey) == operator.startswith("$lt"):
            return None
        return _loose(_equal(value)) if is_inclusive else NOTHING
    if value is None or _is_nan(value):
        return _equal(value) if is_inclusive else NOTHING
    key = key_of(value)
    is_number = isinstance(value, (int, float, Decimal128)) and not isinstance(value, bool)
    first: bytes | None = AFTER_NAN if is_number else key[:1]
    end = successor(key[:1])
    prefix = key[:BOUND_SIZE_BYTES_MAX]
    is_cut = prefix != key
    is_exact = not is_cut and isinstance(value, EXACT_TYPES)
    label = (value, is_inclusive)
    if operator.startswith("$gt"):
        lower = prefix if is_inclusive or is_cut else successor(prefix)
        return Bounds(((lower, end, label, None),), False, is_exact)
    upper = successor(prefix) if is_inclusive or is_cut else prefix
    return Bounds(((first, upper, None, label),), False, is_exact)


def _is_nan(value: Any) -> bool:
    if isinstance(value, Decimal128):
        return bool(value.to_decimal().is_nan())
    return isinstance(value, float) and math.isnan(value)


def class_interval(value: Any) -> Interval:
    """The keys of everything that compares with the value."""
    first = key_of(value)[:1]
    label = (type(value), True)
    return (first, successor(first), label, label)


def _types(codes: Iterable[int]) -> Bounds | None:
    """The classes of some BSON types."""
    wanted = frozenset(codes)
    if not wanted or not wanted <= CLASS_OF_CODE.keys():
        return None
    # one for each class, as all numbers are one: a key that is read twice would count twice
    classes = [class_interval(CLASS_OF_CODE[code]) for code in sorted(wanted)]
    found = {interval[0]: interval for interval in classes}
    is_exact = (wanted - NUMBER_CODES) <= CODES_EXACT and wanted & NUMBER_CODES in (
        frozenset(),
        NUMBER_CODES,
    )
    return Bounds(tuple(sorted(found.values(), key=lambda each: each[0] or b"")), False, is_exact)


def _regex(pattern: Any, options: Any) -> Bounds | None:
    """Texts that start with the literal beginning of the pattern, and patterns stored as values,
    which match when they are the same."""
    prefix = literal_prefix(pattern, options)
    if not prefix:
        return None
    start = key_of(prefix)[:-2][:BOUND_SIZE_BYTES_MAX]
    end = (f"{prefix[:-1]}{chr(ord(prefix[-1]) + 1)}", False)
    return Bounds(
        ((start, successor(start), (prefix, True), end), class_interval(Regex(""))), False
    )


def literal_prefix(pattern: Any, options: Any) -> str:
    """What every text that the pattern matches starts with, as far as that is plain to see."""
    if not isinstance(pattern, str) or "|" in pattern or not set(options) <= set("su"):
        return ""
    if pattern.startswith("^"):
        left = pattern[1:]
    elif pattern.startswith("\\A"):
        left = pattern[2:]
    else:
        return ""
    found: list[str] = []
    at = 0
    while at < len(left):
        letter = left[at]
        if letter == "\\" and at + 1 < len(left) and not left[at + 1].isalnum():
            letter = left[at + 1]
            at += 1
        elif letter in LITERAL_STOPS:
            break
        if letter == "\0":
            break
        found.append(letter)
        at += 1
    if found and at < len(left) and left[at] in "*?{":
        found.pop()
    return "".join(found)
