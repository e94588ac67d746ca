"""Keys of values: what makes two values one group, and what orders documents.

Terms       group key: a hashable that is equal for values that compare equal as BSON; sort key:
            bytes whose order is that of a sort.
Invariants  Numbers of all types have one key if they are equal: 1, 1.0 and Decimal128("1") are one
            group. A boolean is no number. Arrays and documents are compared whole, the order of
            fields included. What arrays count as in a sort: see rango/engine/sort.py.
Sources     rango/_ext/key.pyx; MongoDB manual, "Comparison/Sort Order", "$sort (aggregation)".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from rango._ext.key import key_whole
from rango.engine.collation import Collation, order_keys
from rango.engine.sort import INVERTED, SlowKey, Sort
from rango.engine.values import MISSING, fields_of

Key = Callable[[Any], Any]

PLAIN: Final = frozenset((str, int, Int64, ObjectId, type(None)))
"""Types whose values are their own group keys: of them, only numbers equal one another."""

NAN_KEY: Final = ("NaN",)
"""Of all that is no number, whichever type it has."""


def group_key(value: Any) -> Any:
    """A hashable that equal values share."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is float:
        return NAN_KEY if math.isnan(value) else value
    if kind is Decimal128:
        decimal = value.to_decimal()
        return NAN_KEY if decimal.is_nan() else decimal
    if value is MISSING:
        return MISSING
    return key_whole(value)


def group_keys(collation: Collation | None) -> Key:
    """group_key, under a collation: strings that it does not tell apart share a key."""
    if collation is None:
        return group_key
    fold = collation.fold_value
    return lambda value: group_key(fold(value))


def path_values(value: Any, parts: Sequence[str]) -> Iterator[Any]:
    """What a path leads to, documents of arrays fanned out; nothing where it leads nowhere.

    An array at the end is one value. A number is a position where an array stands.
    """
    if not parts:
        yield value
    elif isinstance(value, dict):
        if parts[0] in value:
            yield from path_values(value[parts[0]], parts[1:])
    elif isinstance(value, list):
        if parts[0].isdecimal() and int(parts[0]) < len(value):
            yield from path_values(value[int(parts[0])], parts[1:])
        for each in value:
            if isinstance(each, dict):
                yield from path_values(each, parts)


def sort_key(sort: Sort, collation: Collation | None = None) -> Callable[[Any], bytes]:
    """A function from a document to bytes whose order is that of the sort, as find() has it.

    The function raises InvalidFilter for two arrays side by side.
    """
    key_of = order_keys(collation)
    fields = [(path.split("."), direction > 0) for path, direction in sort]
    slow = SlowKey(sort, collation)

    def key(document: Any) -> bytes:
        parts = []
        for names, is_rising in fields:
            value = document
            for name in names:
                if type(value) is list:
                    return slow.of(document)
                inner = value if type(value) is dict else fields_of(value)
                value = None if inner is None else inner.get(name)
            if type(value) is list:
                return slow.of(document)
            found = key_of(value)
            parts.append(found if is_rising else found.translate(INVERTED))
        return b"".join(parts)

    return key
