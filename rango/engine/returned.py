"""Records to the documents that are returned: decoded, projected, with the header's fields.

Terms       returner: a function from a record to what a query returns of it.
Invariants  What a projection does not need is not decoded, where it names top-level fields.
Failure     InvalidFilter: a positional projection whose filter matched no element of an array;
            ExpressionFailed from computed fields.
Sources     rango/engine/projection.py.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from rango._ext.filter import Program
from rango._ext.record import record_bson, record_fields, record_parts
from rango.ids import node_tag

if TYPE_CHECKING:
    from rango._ext.entry_scan import EntryScan
    from rango.engine.projection import Projection

Document = dict[str, Any]
Returner = Callable[[bytes], Document]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


# Loaded with the first query that needs them; an import in the function that does would take 0.5 to
# 1 us of every such query.
@cache
def projecting() -> Callable[..., Projection]:
    """projection_of."""
    from rango.engine.projection import projection_of

    return projection_of


@cache
def scanning_entries() -> type[EntryScan]:
    """EntryScan."""
    from rango._ext.entry_scan import EntryScan

    return EntryScan


def revision_fields(record: bytes) -> Document:
    """The fields that a record's header holds: `_rev`, `_updated_at`, `_source_node`."""
    _, milliseconds, counter, updated_at, _, node, _ = record_parts(record)
    node_id = node.decode()
    return {
        "_rev": f"{milliseconds}-{counter}-{node_tag(node_id)}",
        "_updated_at": _EPOCH + timedelta(milliseconds=updated_at),
        "_source_node": node_id,
    }


def record_document(record: bytes) -> Document:
    """The document in a record."""
    return record_fields(record)


def returner(
    projection: Projection | None,
    program: Program,
    *,
    meta: bool = False,
    variables: dict[str, Any] | None = None,
) -> Returner:
    """How a query returns a record: projected, with the header's fields if asked for.

    `program` is the query's filter, which a positional projection asks for the element;
    `variables` are those of expressions.
    """
    if projection is None or (projection.is_everything and not projection.meta):
        return _whole_with_header if meta else record_document
    names, is_kept = projection.names, projection.is_inclusion
    if projection.is_flat and names is not None and not (projection.meta or meta):
        return lambda record: record_fields(record, names, is_kept)
    has_header = meta or bool(projection.meta)

    def returned(record: bytes) -> Document:
        document = record_fields(record, names, is_kept)
        header = revision_fields(record) if has_header else {}
        for name in projection.meta:
            document[name] = header[name]
        position = None
        if projection.positional is not None:
            position = program.position(record_bson(record))
        document = projection.apply(document, position, variables)
        if meta:
            document.update(header)
        return document

    return returned


def _whole_with_header(record: bytes) -> Document:
    return {**record_fields(record), **revision_fields(record)}
