"""distinct: the different values at a path.

Terms       value: what a path leads to; an array at its end counts as its elements, one level, and
            arrays on the way are gone through (a number in the path is also a position).
Invariants  Two values are one if BSON comparison says so (1, 1.0 and Decimal128("1")), under the
            collation if there is one; the first that is met is returned. Null counts, a missing
            field does not.
Sources     MongoDB manual, "db.collection.distinct()".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rango._ext.key import key_whole
from rango.engine.projection import projection_of
from rango.engine.query import Query
from rango.engine.values import fields_of

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo
    from rango._ext.view import View


def distinct_values(query: Query, view: View, info: CollectionInfo, path: str) -> list[Any]:
    """The different values at a path in the documents of a query, as they first appear."""
    names = path.split(".")
    query.projection = projection_of(
        {names[0]: 1} if names[0] == "_id" else {names[0]: 1, "_id": 0}
    )
    collation = query.collation
    texts: set[str] = set()
    values: dict[bytes, Any] = {}
    for batch in query.batches(view, info):
        for document in batch:
            for value in values_at(document, names):
                if type(value) is str:
                    # the same text again: most are
                    if value in texts:
                        continue
                    texts.add(value)
                folded = value if collation is None else collation.fold_value(value)
                values.setdefault(key_whole(folded), value)
    return list(values.values())


def values_at(value: Any, names: Sequence[str]) -> Iterator[Any]:
    """The values at a dotted path, arrays met on the way and at the end unwound."""
    if not names:
        if isinstance(value, list):
            yield from value
        else:
            yield value
    elif isinstance(value, list):
        name = names[0]
        if name.isdecimal() and name.isascii() and int(name) < len(value):
            yield from values_at(value[int(name)], names[1:])
        for each in value:
            if fields_of(each) is not None:
                yield from values_at(each, names)
    else:
        fields = fields_of(value)
        if fields is not None and names[0] in fields:
            yield from values_at(fields[names[0]], names[1:])
