"""Keys of values: what makes two values one group, and what orders documents.

Terms       group key: a hashable that is equal for values that compare equal as BSON; sort key:
            bytes whose order is that of a sort.
Invariants  Numbers of all types have one key if they are equal: 1, 1.0 and Decimal128("1") are one
            group. A boolean is no number. Arrays and documents are compared whole, the order of
            fields included. In a sort, an array counts as its least element going up and its
            greatest going down, missing as null, an empty array as less than null.
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
from rango.engine.sort import INVERTED, Sort
from rango.engine.values import MISSING

Key = Callable[[Any], Any]

PLAIN: Final = frozenset((str, int, Int64, ObjectId, type(None)))
"""Types whose values are their own group keys: of them, only numbers equal one another."""

NAN_KEY: Final = ("NaN",)
"""Of all that is no number, whichever type it has."""

EMPTY_ARRAY_KEY: Final = bytes((key_whole(None)[0] - 1,))
"""The class of undefined, which an empty array counts as."""


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
    """A function from a document to bytes whose order is that of the sort."""
    fields = [_field_key(path, direction, order_keys(collation)) for path, direction in sort]
    if len(fields) == 1:
        return fields[0]
    return lambda document: b"".join([field(document) for field in fields])


def _field_key(path: str, direction: int, key_of: Key) -> Callable[[Any], bytes]:
    parts = path.split(".")
    is_rising = direction > 0

    def key(document: Any) -> bytes:
        value = document.get(parts[0]) if len(parts) == 1 else None
        if len(parts) == 1 and type(value) is not list:
            found: bytes = key_of(value)
        else:
            keys = [_element_keys(value, key_of) for value in path_values(document, parts)]
            every = [each for some in keys for each in some] or [key_of(None)]
            found = min(every) if is_rising else max(every)
        return found if is_rising else found.translate(INVERTED)

    return key


def _element_keys(value: Any, key_of: Key) -> list[bytes]:
    if isinstance(value, list):
        return [key_of(each) for each in value] or [EMPTY_ARRAY_KEY]
    return [key_of(value)]
