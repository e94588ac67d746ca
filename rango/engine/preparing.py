"""What a query that has run leaves behind, so that the next one like it is one compiled call.

Terms       prepared, key: see rango/_ext/prepared.pyx.
Invariants  The plan is made of the key: what the caller gave may have changed since it was read.
            A plan is prepared if it is one scan that gives just the documents to return in their
            order. Under the path of an equality it must be the plan of every value: the bounds are
            one interval on one field, which decides the filter, and no index is partial (which
            looks at values), nor has it met arrays (see rango.engine.planned).
Failure     none: what does not fit is planned again.
Sources     ADR-0045.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rango._ext.record import decode_trusted
from rango.engine.plan import Plan, is_single
from rango.engine.query import SCANNED, Query
from rango.engine.sort import sort_of
from rango.errors import RangoError

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo, IndexInfo
    from rango._ext.prepared import Unprepared


def prepare(unprepared: Unprepared, catalog: object, info: CollectionInfo) -> None:
    """Keep the plan of what was asked for, or that it cannot be kept."""
    try:
        query = _query_of(unprepared)
    except RangoError:
        # the caller changed the filter after it was read here, and ran another one
        return
    # before the plan is made, which may be made for more than these
    marks = tuple([index.marks for index in info.indexes])
    plan = query.choose(info)
    index: IndexInfo | None = plan.index  # type: ignore[assignment]
    if not _is_one_scan(query, plan) or (
        unprepared.by_path and not _is_of_every_value(plan, index, info)
    ):
        unprepared.refuse(catalog)
        return
    projection = query.projection
    unprepared.prepare(
        catalog,
        info,
        marks,
        index_tree=0 if index is None else index.tree_id,
        intervals=plan.intervals,
        reverse=plan.reverse,
        is_unique=index is not None and index.multikey and not is_single(plan),
        program=None if plan.is_exact else query.program,
        names=None if projection is None else projection.names,
        is_kept=projection is not None and projection.is_inclusion,
    )


def _query_of(unprepared: Unprepared) -> Query:
    filter, sort = unprepared.filter, unprepared.sort
    query = Query(decode_trusted(filter) if isinstance(filter, bytes) else filter)
    if isinstance(sort, tuple):
        is_pair = bool(sort) and isinstance(sort[0], str)
        sort = [sort] if is_pair else list(sort)
    query.sort = sort_of(sort)
    query.limit = int(unprepared.has_limit)
    query.project(unprepared.projection)
    return query


def _is_one_scan(query: Query, plan: Plan) -> bool:
    projection = query.projection
    if plan.kind not in SCANNED or plan.partner is not None or not plan.is_sorted:
        return False
    if not query.program.is_kept or query.narrows(plan):
        return False
    if projection is None:
        return True
    is_plain = projection.is_flat and projection.names is not None and not projection.meta
    return is_plain and not query.is_covered(plan)


def _is_of_every_value(plan: Plan, index: IndexInfo | None, info: CollectionInfo) -> bool:
    return (
        index is not None
        and plan.kind == "index"
        and plan.is_exact
        and len(plan.bounds) == 1
        and plan.bounds[0].bounds.is_one_point
        and not index.multikey
        and not any(each.partial is not None for each in info.indexes)
    )
