"""The time that operations take: into the histograms, and into the log if they are slow.

Terms       shape: a filter, an update or a pipeline without the values in it: {"a": {"$gt": "?"}}.
Invariants  A shape holds names of fields and of operators, never a value or a part of one. What is
            not understood becomes "?".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from rango.events import WARNING, emit

if TYPE_CHECKING:
    from rango.engine.query import Query
    from rango.transaction import Handle

PLACEHOLDER: Final = "?"
LISTS_OF_FILTERS: Final = frozenset({"$and", "$or", "$nor"})
FILTERS: Final = frozenset({"$not", "$elemMatch"})

__all__ = ["noted", "perf_counter_ns", "shape_of"]


def noted(
    handle: Handle,
    operation: str,
    spent_ns: int,
    collection: str | None,
    query: Query | None = None,
    *,
    weight: int = 1,
    **fields: Any,
) -> None:
    """An operation took so long. `fields` are figures that the slow-query log shows as well."""
    metrics = handle.metrics
    metrics.times[operation].observe(spent_ns, weight)
    if spent_ns >= metrics.slow_ns:
        slow(operation, spent_ns, collection, query, fields)


def slow(
    operation: str,
    spent_ns: int,
    collection: str | None,
    query: Query | None,
    fields: dict[str, Any],
) -> None:
    """Log an operation that was slow."""
    if query is not None:
        fields = {**shown_query(query), **fields}
    emit(
        "query",
        WARNING,
        "slow",
        f"a slow {operation}",
        operation=operation,
        collection=collection,
        duration_ms=spent_ns / 1e6,
        **fields,
    )


def shown_query(query: Query) -> dict[str, Any]:
    """What may be said of a query, and of its plan if it has run."""
    shown: dict[str, Any] = {
        "filter": shape_of(query.filter),
        "sort": [[path, direction] for path, direction in query.sort],
        "skip": query.skip,
        "limit": query.limit,
    }
    plan = query.plan
    if plan is not None:
        shown["plan"] = plan.kind
        shown["index"] = None if plan.index is None else plan.index.name
        is_point = plan.kind == "id"
        shown["keys_examined"] = 1 if is_point else sum(s.keys_examined for s in query.scans)
        shown["docs_examined"] = 1 if is_point else sum(s.records_examined for s in query.scans)
    return shown


def shape_of(filter: object) -> Any:
    """A filter without its values."""
    if not isinstance(filter, Mapping):
        return PLACEHOLDER
    return {str(name): shape_of_condition(str(name), value) for name, value in filter.items()}


def shape_of_condition(name: str, value: object) -> Any:
    """What stands behind a name in a filter."""
    if name in LISTS_OF_FILTERS and isinstance(value, Sequence) and not isinstance(value, str):
        return [shape_of(each) for each in value]
    if name in FILTERS:
        return shape_of(value)
    if name.startswith("$") or not isinstance(value, Mapping):
        return PLACEHOLDER
    # {"a": {"b": 1}} is a document that is compared with, and its names are a part of the value
    if value and all(isinstance(key, str) and key.startswith("$") for key in value):
        return shape_of(value)
    return PLACEHOLDER
