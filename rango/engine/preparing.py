"""What a query that has run leaves behind, so that the next one like it is one compiled call.

Terms       prepared, key: see rango/_ext/prepared.pyx.
Invariants  A plan is prepared if it is one scan that gives just the documents to return in their
            order. Under the path of an equality it must be the plan of every value: the bounds are
            one interval on one field, which decides the filter, and no index is partial (which
            looks at values), nor has it met arrays (see rango.engine.planned).
Failure     none: what does not fit is planned again.
Sources     ADR-0045.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rango.engine.plan import Plan, is_single
from rango.engine.query import SCANNED

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo, IndexInfo
    from rango._ext.prepared import Unprepared
    from rango.engine.query import Query


def prepare(unprepared: Unprepared, query: Query, info: CollectionInfo) -> None:
    """Keep the plan of a query that has filter, sort, limit and projection only, if it can be."""
    plan = query.plan
    if plan is None or plan.kind not in SCANNED or plan.partner is not None:
        return
    if not plan.is_sorted or not query.program.is_kept or query.narrows(plan):
        return
    projection = query.projection
    if projection is not None and (projection.meta or not projection.is_flat):
        return
    if projection is not None and (projection.names is None or query.is_covered(plan)):
        return
    index: IndexInfo | None = plan.index  # type: ignore[assignment]
    if unprepared.by_path and not _is_of_every_value(plan, index, info):
        return
    unprepared.prepare(
        info,
        index_tree=0 if index is None else index.tree_id,
        intervals=plan.intervals,
        reverse=plan.reverse,
        is_unique=index is not None and index.multikey and not is_single(plan),
        program=None if plan.is_exact else query.program,
        names=None if projection is None else projection.names,
        is_kept=projection is not None and projection.is_inclusion,
    )


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
