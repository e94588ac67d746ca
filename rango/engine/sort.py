"""Sorting: what a sort asks for, the keys that order records, and the first k of many.

Terms       sort: ((path, 1 | -1), ...), the normal form of everything that PyMongo accepts.
            combination: one value for each field, taken from the same element where fields lead
            through the same array.
Invariants  Two records compare as MongoDB compares the values at the paths: missing is null, an
            empty array comes before null. A record counts as that of its combinations which comes
            first in the order of the sort: an array as its least element going up and its greatest
            going down. Equal records keep the order in which they came. `$natural` is the order of
            `_id`.
Failure     InvalidFilter names what is wrong with the sort, or (code 2) two arrays side by side
            whose elements have no order together. LimitExceeded: SORT_SIZE_BYTES_MAX.
Sources     MongoDB manual, "cursor.sort()"; keys: rango/_ext/key.pyx, rango/_ext/order.pyx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from bson.code import Code

from rango._ext.filter import revision_tag
from rango._ext.key import index_keys, key_whole
from rango._ext.normal import HEADER_NAMES, path_check
from rango._ext.order import Sorter, SortField
from rango._ext.record import encode, record_fields, record_parts
from rango._ext.stop import Stop
from rango.engine.values import fields_of, shown
from rango.errors import InvalidFilter
from rango.limits import SORT_SIZE_BYTES_MAX

if TYPE_CHECKING:
    from rango.engine.collation import Collation

Sort = tuple[tuple[str, int], ...]
SortKey = Callable[[bytes], bytes]


BATCH: Final = 256

SORT_FIELDS_MAX: Final = 32
"""Fields of one sort. MongoDB's limit for compound indexes and sorts."""

INVERTED: Final = bytes(255 - value for value in range(256))
"""Keys are self-delimiting, so inverting every byte inverts their order."""


NATURAL: Final = "$natural"

KEPT_SIZE: Final = 256
"""Longer names than this many characters are not kept for the next sort."""


def sort_of(spec: object, direction: object = None) -> Sort:
    """The normal form of a sort: a name, a list of names or (name, direction) pairs, or a mapping.

    `direction` belongs to a single name, as in PyMongo's sort("a", -1). None and empty specs mean
    no sort.
    """
    if spec is None:
        return ()
    pair: Any = None
    if type(spec) is list and len(spec) == 1 and direction is None:
        pair = spec[0]
    elif direction is not None:
        pair = (spec, direction)
    # exact types: True is 1 as a key of what is kept, and no direction
    if type(pair) is tuple and [*map(type, pair)] == [str, int] and len(pair[0]) < KEPT_SIZE:
        return _sort_of_one(pair)
    return _sort_of(spec, direction)


def _sort_of(spec: object, direction: object) -> Sort:
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
        raise InvalidFilter(f"a sort is a name, a list of pairs or a mapping, not {shown(spec)}")
    fields = dict(_field_of(pair) for pair in pairs)
    if NATURAL in fields:
        if len(fields) > 1:
            raise InvalidFilter("a sort by $natural has no other field", code=2)
        return (("_id", fields[NATURAL]),)
    if len(fields) > SORT_FIELDS_MAX:
        raise InvalidFilter(f"a sort has at most {SORT_FIELDS_MAX} fields, not {len(fields)}")
    return tuple(fields.items())


@lru_cache(maxsize=256)
def _sort_of_one(pair: tuple[str, int]) -> Sort:
    return _sort_of([pair], None)


def _field_of(pair: object) -> tuple[str, int]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise InvalidFilter(f"an entry of a sort is (name, direction), not {shown(pair)}")
    name, direction = pair
    if not isinstance(name, str) or isinstance(name, Code) or not name:
        raise InvalidFilter(f"a sort names fields by non-empty strings, not {shown(name)}")
    name = str.__str__(name)  # the compiled core takes no StrEnum
    if (name.startswith("$") and name != NATURAL) or "" in name.split("."):
        raise InvalidFilter(
            f"a sort cannot use the path {name!r}: a part is empty or it starts with $"
        )
    if isinstance(direction, bool) or direction not in (1, -1):
        raise InvalidFilter(
            f"the direction of {name!r} in a sort is 1 or -1, not {shown(direction)}"
        )
    path_check(name)
    return name, int(direction)


def sorter_of(
    sort: Sort, limit: int = 0, collation: Collation | None = None, stop: Stop | None = None
) -> Sorter:
    """What takes records and gives them in the order of a sort, the first `limit` unless it is 0.

    `collation` is how strings compare; `stop` ends the sort.
    """
    slow = SlowKey(sort, collation)
    first: SortField | None = None
    if collation is None and not any(path in HEADER_NAMES for path, _ in sort):
        for path, direction in reversed(sort):
            first = SortField(path, direction < 0, first)
    sorter = Sorter(first, slow, limit, SORT_SIZE_BYTES_MAX)
    sorter.end_with(stop)
    return sorter


def sort_key(sort: Sort, collation: Collation | None = None) -> SortKey:
    """A function from a record to bytes whose order is that of the sort."""
    return sorter_of(sort, 1, collation).key_of


def sort_records(
    records: Iterable[bytes], sort: Sort, limit: int = 0, collation: Collation | None = None
) -> Sequence[bytes]:
    """The records in the order of the sort; only the first `limit` unless it is 0."""
    if not sort:
        return list(records)[: limit or None]
    sorter = sorter_of(sort, limit, collation)
    rest = iter(records)
    while batch := list(islice(rest, BATCH)):
        sorter.add_records(batch)
    return sorter.records(0, len(sorter))


class SlowKey:
    """The sort key of a record or a document, from decoded values."""

    __slots__ = ("_collation", "_sort")

    def __init__(self, sort: Sort, collation: Collation | None) -> None:
        self._sort = sort
        self._collation = collation

    def __call__(self, record: bytes) -> bytes:
        document = record_fields(record)
        return self._least(
            [
                (_Key(_header_key(path, record)), DONE)
                if path in HEADER_NAMES
                else (document, tuple(path.split(".")))
                for path, _ in self._sort
            ]
        )

    def of(self, document: Any) -> bytes:
        """The key of a document without a record: names of headers are ordinary fields."""
        return self._least([(document, tuple(path.split("."))) for path, _ in self._sort])

    def _least(self, states: Sequence[State]) -> bytes:
        return min(self._key(values) for values in combinations(states))

    def _key(self, values: Sequence[Any]) -> bytes:
        parts = []
        for value, (_, direction) in zip(values, self._sort, strict=True):
            key = self._part(value)
            parts.append(key if direction > 0 else key.translate(INVERTED))
        return b"".join(parts)

    def _part(self, value: Any) -> bytes:
        if type(value) is _Key:
            return value.key
        return key_whole(value if self._collation is None else self._collation.fold_value(value))


class _Key:
    """Stands for a value whose key is known."""

    __slots__ = ("key",)

    def __init__(self, key: bytes) -> None:
        self.key = key


EMPTY_ARRAY: Final = _Key(index_keys(encode({"a": []}), "a")[0][0])
DONE: Final[tuple[str, ...] | None] = None
State = tuple[Any, tuple[str, ...] | None]
"""A value and the path that is left in it; None: it is what the field counts as."""


def combinations(states: Sequence[State]) -> Iterator[tuple[Any, ...]]:
    """The values that fields lead to, one of each, through the same elements of the same arrays."""
    now = [_ahead(value, parts) for value, parts in states]
    met = [value for value, parts in now if parts is not None and type(value) is list]
    if not met:
        yield tuple(value for value, _ in now)
        return
    array = met[0]
    if any(each is not array for each in met):
        raise InvalidFilter(
            "a sort cannot compare two arrays side by side (parallel arrays); sort by one of them",
            code=2,
        )
    if not array:
        yield from combinations([_at(each, array, None) for each in now])
    for position in range(len(array)):
        yield from combinations([_at(each, array, position) for each in now])


def _ahead(value: Any, parts: tuple[str, ...] | None) -> State:
    """Follow a path up to its end or to an array."""
    while parts:
        if type(value) is list:
            return value, parts
        fields = fields_of(value)
        if fields is None or parts[0] not in fields:
            return None, DONE
        value, parts = fields[parts[0]], parts[1:]
    return value, (() if parts is not None and type(value) is list else DONE)


def _at(state: State, array: list[Any], position: int | None) -> State:
    """A field at one element of an array; `position` None: the array is empty."""
    value, parts = state
    if parts is None or value is not array:
        return state
    if position is None:
        return (None if parts else EMPTY_ARRAY), DONE
    if not parts:
        return array[position], DONE
    place = parts[0]
    if place.isdecimal() and place.isascii() and int(place) < len(array):
        # a position means the same element whatever the others are at
        return (array[int(place)], parts[1:] or DONE)
    return (array[position], parts) if fields_of(array[position]) is not None else (None, DONE)


def _header_key(name: str, record: bytes) -> bytes:
    _, ms, counter, updated_at, _, node, _ = record_parts(record)
    if name == "_updated_at":
        return (updated_at + (1 << 63)).to_bytes(8, "big")
    if name == "_source_node":
        # self-delimiting, like every key: a node id is text without NUL
        return node + b"\x00"
    tag = revision_tag(node.decode())
    return ms.to_bytes(8, "big") + counter.to_bytes(2, "big") + tag.encode()
