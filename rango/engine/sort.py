"""Sorting: what a sort asks for, the keys that order records, and the first k of many.

Terms       sort: ((path, 1 | -1), ...), the normal form of everything that PyMongo accepts.
Invariants  Two records compare as MongoDB compares the values at the paths: missing is null, an
            array counts as its least element going up and its greatest going down. Equal records
            keep the order in which they came.
Failure     InvalidFilter names what is wrong with the sort.
Sources     MongoDB manual, "cursor.sort()"; keys: rango/_ext/key.pyx.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rango._ext.filter import revision_tag
from rango._ext.key import IndexPath, index_keys, key_whole
from rango._ext.normal import HEADER_NAMES, path_check
from rango._ext.record import decode, record_parts
from rango.errors import InvalidFilter
from rango.limits import KEY_SIZE_BYTES_MAX

Sort = tuple[tuple[str, int], ...]
SortKey = Callable[[bytes], bytes]

SORT_FIELDS_MAX: Final = 32
"""Fields of one sort. MongoDB's limit for compound indexes and sorts."""

INVERTED: Final = bytes(255 - value for value in range(256))
"""Keys are self-delimiting, so inverting every byte inverts their order."""


def sort_of(spec: object, direction: object = None) -> Sort:
    """The normal form of a sort: a name, a list of names or (name, direction) pairs, or a mapping.

    `direction` belongs to a single name, as in PyMongo's sort("a", -1). None and empty specs mean
    no sort.
    """
    if spec is None:
        return ()
    pairs: Iterable[Any]
    if isinstance(spec, str):
        pairs = [(spec, 1 if direction is None else direction)]
    elif direction is not None:
        raise InvalidFilter(
            "a direction is given apart only for a single field name: sort('a', -1)"
        )
    elif isinstance(spec, Mapping):
        pairs = spec.items()
    elif isinstance(spec, (list, tuple)):
        pairs = [(entry, 1) if isinstance(entry, str) else entry for entry in spec]
    else:
        raise InvalidFilter(f"a sort is a name, a list of pairs or a mapping, not {spec!r:.100}")
    fields = dict(_field_of(pair) for pair in pairs)
    if len(fields) > SORT_FIELDS_MAX:
        raise InvalidFilter(f"a sort has at most {SORT_FIELDS_MAX} fields, not {len(fields)}")
    return tuple(fields.items())


def _field_of(pair: object) -> tuple[str, int]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise InvalidFilter(f"an entry of a sort is (name, direction), not {pair!r:.100}")
    name, direction = pair
    if not isinstance(name, str) or not name:
        raise InvalidFilter(f"a sort names fields by non-empty strings, not {name!r:.100}")
    if name.startswith("$") or "" in name.split("."):
        raise InvalidFilter(
            f"a sort cannot use the path {name!r}: a part is empty or it starts with $"
        )
    if isinstance(direction, bool) or direction not in (1, -1):
        raise InvalidFilter(
            f"the direction of {name!r} in a sort is 1 or -1, not {direction!r:.100}"
        )
    path_check(name)
    return name, int(direction)


def sort_key(sort: Sort) -> SortKey:
    """A function from a record to bytes whose order is that of the sort."""
    fields = [_part_key(path, direction) for path, direction in sort]
    if len(fields) == 1:
        return fields[0]
    return lambda record: b"".join([field(record) for field in fields])


def _part_key(path: str, direction: int) -> SortKey:
    if path in HEADER_NAMES:
        return _header_key(path, direction)
    # a top-level name is split once here, not for every record
    split = IndexPath(path)
    end = 0 if direction > 0 else -1

    def key(record: bytes) -> bytes:
        keys = index_keys(_bson_of(record), split)[0]
        if any(len(each) == KEY_SIZE_BYTES_MAX for each in keys):
            # shortened: its order is that of the value only up to the cut
            keys = sorted(key_whole(each) for each in _values(_bson_of(record), path))
        return keys[end] if direction > 0 else keys[end].translate(INVERTED)

    return key


def _values(bson: bytes, path: str) -> list[Any]:
    """What a path leads to in a document, arrays fanned out: for the rare values with long keys."""

    def walk(value: Any, parts: list[str]) -> Iterator[Any]:
        if not parts:
            yield from value if isinstance(value, list) and value else [value]
        elif isinstance(value, dict):
            yield from walk(value.get(parts[0]), parts[1:])
        elif isinstance(value, list):
            if parts[0].isdecimal() and int(parts[0]) < len(value):
                yield from walk(value[int(parts[0])], parts[1:])
            for each in value:
                if isinstance(each, dict):
                    yield from walk(each, parts)
        else:
            yield None

    return list(walk(decode(bson), path.split("."))) or [None]


def _header_key(name: str, direction: int) -> SortKey:
    def key(record: bytes) -> bytes:
        _, ms, counter, updated_at, _, node, _ = record_parts(record)
        if name == "_updated_at":
            value = (updated_at + (1 << 63)).to_bytes(8, "big")
        elif name == "_source_node":
            # self-delimiting, like every key: a node id is text without NUL
            value = node + b"\x00"
        else:
            tag = revision_tag(node.decode())
            value = ms.to_bytes(8, "big") + counter.to_bytes(2, "big") + tag.encode()
        return value if direction > 0 else value.translate(INVERTED)

    return key


def _bson_of(record: bytes) -> bytes:
    return record_parts(record)[6]


def sort_records(records: Iterable[bytes], sort: Sort, limit: int = 0) -> Sequence[bytes]:
    """The records in the order of the sort; only the first `limit` unless it is 0."""
    if not sort:
        return list(records)[: limit or None]
    if limit:
        return heapq.nsmallest(limit, records, key=sort_key(sort))
    return sorted(records, key=sort_key(sort))
