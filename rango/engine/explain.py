"""Explaining a query: which plan was chosen, what it would have competed with, what it looked at.

Terms       stage: a step of a plan under MongoDB's name for it: IDHACK, COLLSCAN, CLUSTERED_IXSCAN
            (a range of `_id`s), IXSCAN, FETCH, COUNT_SCAN, OR, SORT_MERGE, SORT, SKIP, LIMIT,
            PROJECTION_COVERED, PROJECTION, EOF (the collection is not there).
Invariants  The query is run on the snapshot that is given and changes nothing, so the counters are
            those of a run: keys of an index (or of the `_id` tree) that were visited, documents
            that were looked at, documents returned.
Failure     as the query itself.
Sources     MongoDB manual, "Explain Results"; the rule: rango.engine.plan.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, Literal

from rango.engine.bounds import Interval, Label
from rango.engine.implication import conjuncts_of
from rango.engine.keyed import Conjuncts
from rango.engine.plan import Plan, candidates, has_collation
from rango.engine.query import Query, keys_decide

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo
    from rango._ext.view import View

Operation = Literal["find", "count", "update", "delete"]
Document = dict[str, Any]

OPERATIONS: Final = ("find", "count", "update", "delete")


def explained(
    query: Query, view: View, info: CollectionInfo | None, operation: Operation = "find"
) -> Document:
    """Run a query, without changing anything, and tell how; see Cursor.explain."""
    started = perf_counter_ns()
    returned = 0
    if info is not None:
        if operation == "count":
            returned = query.count(view, info)
        elif operation == "find":
            returned = sum(len(batch) for batch in query.batches(view, info))
        else:
            returned = sum(len(batch) for batch in query.records(view, info))
    plan = query.plan
    by_id = plan is not None and plan.kind == "id"
    keys = 1 if by_id else sum(scan.keys_examined for scan in query.scans)
    documents = returned if by_id else sum(scan.records_examined for scan in query.scans)
    winning = {"stage": "EOF"} if info is None else stages(query, plan, operation)
    return {
        **summary(query, plan, operation),
        "keys_examined": keys,
        "docs_examined": documents,
        "returned": returned,
        "queryPlanner": {
            "winningPlan": winning,
            "rejectedPlans": [] if info is None or plan is None else rejected(query, info, plan),
        },
        "executionStats": {
            "nReturned": returned,
            "totalKeysExamined": keys,
            "totalDocsExamined": documents,
            "executionTimeMillis": (perf_counter_ns() - started) // 1_000_000,
        },
    }


def summary(query: Query, plan: Plan | None, operation: Operation) -> Document:
    """The choice in a few words."""
    if plan is None:
        # every document is counted without a plan, or there is no collection
        plan = Plan("scan", is_sorted=True, is_exact=True)
    if not query.sort or plan.kind == "id":
        sort = None
    elif plan.is_sorted:
        sort = "merge" if plan.is_merged else "index"
    else:
        sort = "memory"
    return {
        "plan": plan.kind,
        "index": None if plan.index is None else plan.index.name,
        "intersects": partner_name(plan),
        "class": plan.planner_class,
        "direction": "backward" if plan.reverse else "forward",
        "bounds": bounds_shown(plan),
        "exact": plan.is_exact,
        "covered": is_covered(query, plan, operation),
        "sort": sort,
    }


def partner_name(plan: Plan) -> str | None:
    """The other index that the scan is intersected with."""
    partner = plan.partner
    return None if partner is None or partner.index is None else partner.index.name


def is_covered(query: Query, plan: Plan, operation: Operation) -> bool:
    """Whether the index alone answers, without a document."""
    if operation == "find":
        return plan.is_sorted and not (query.meta or query.skip) and query.is_covered(plan)
    return operation == "count" and all(
        branch.index is not None and (branch.is_exact or keys_decide(query.program, branch.index))
        for branch in plan.branches or (plan,)
    )


def bounds_shown(plan: Plan) -> dict[str, list[str]]:
    """The bounds of each field in readable form; a field without any has them all."""
    fields = (("_id", 1),) if plan.index is None else plan.index.fields
    known = {field.path: field.bounds.intervals for field in plan.bounds}
    if plan.kind == "id":
        return {"_id": [interval_shown((None, None, (plan.id_value, True), (plan.id_value, True)))]}
    if plan.kind == "scan" or (plan.kind == "union" and plan.index is None):
        return {}
    return {
        path: [interval_shown(each) for each in known[path]]
        if path in known
        else ["[MinKey, MaxKey]"]
        for path, _ in fields
    }


def interval_shown(interval: Interval) -> str:
    """Like [1, 5) or ("a", MaxKey]."""
    _, _, low, high = interval
    opening = "[" if low is None or low[1] else "("
    closing = "]" if high is None or high[1] else ")"
    if low is None and high is not None:
        return f"[{_least(high)}, {_end_shown(high)}{closing}"
    if high is None and low is not None:
        return f"{opening}{_end_shown(low)}, {_greatest(low)}]"
    return f"{opening}{_end_shown(low, 'MinKey')}, {_end_shown(high, 'MaxKey')}{closing}"


def _end_shown(end: Label, instead: str = "") -> str:
    if end is None:
        return instead
    value = end[0]
    if isinstance(value, type):
        return f"{value.__name__}s"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _least(high: tuple[Any, bool]) -> str:
    return "-inf" if _is_number(high[0]) else f"least {type(high[0]).__name__}"


def _greatest(low: tuple[Any, bool]) -> str:
    return "inf" if _is_number(low[0]) else f"greatest {type(low[0]).__name__}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def stages(query: Query, plan: Plan | None, operation: Operation) -> Document:
    """The plan as a tree of stages, the last step first."""
    if plan is None:
        return {"stage": "RECORD_STORE_FAST_COUNT"}
    is_covered_here = is_covered(query, plan, operation)
    if plan.branches:
        inputs = [
            access(branch, operation, is_covered_here or operation == "count")
            for branch in plan.branches
        ]
        found: Document = {
            "stage": "SORT_MERGE" if plan.is_merged else "OR",
            "inputStages": inputs,
        }
    else:
        found = access(plan, operation, is_covered_here, query.narrows(plan))
    if operation == "count":
        return found
    if query.sort and not plan.is_sorted:
        found = {"stage": "SORT", "sortPattern": dict(query.sort), "inputStage": found}
        if query.limit:
            found["limitAmount"] = query.skip + query.limit
    if query.skip:
        found = {"stage": "SKIP", "skipAmount": query.skip, "inputStage": found}
    if query.limit:
        found = {"stage": "LIMIT", "limitAmount": query.limit, "inputStage": found}
    if operation == "find" and query.projection is not None:
        name = "PROJECTION_COVERED" if is_covered_here else "PROJECTION"
        found = {"stage": name, "inputStage": found}
    return found


def access(
    plan: Plan, operation: Operation, is_covered_here: bool, is_narrowed: bool = False
) -> Document:
    """The stages that read: an index and then its documents, or documents alone."""
    direction = "backward" if plan.reverse else "forward"
    if plan.kind == "id":
        return {"stage": "IDHACK", "_id": plan.id_value}
    if plan.index is None:
        found: Document = {
            "stage": "COLLSCAN" if plan.kind == "scan" else "CLUSTERED_IXSCAN",
            "direction": direction,
        }
        if plan.kind != "scan":
            found["indexBounds"] = bounds_shown(plan)
        return found if plan.is_exact else {**found, "filter": True}
    is_count = operation == "count" and plan.is_exact
    found = {
        "stage": "COUNT_SCAN" if is_count else "IXSCAN",
        "indexName": plan.index.name,
        "keyPattern": dict(plan.index.fields),
        "isMultiKey": plan.index.multikey,
        "isUnique": plan.index.unique,
        "isSparse": plan.index.sparse,
        "isPartial": plan.index.partial is not None,
        "direction": direction,
        "indexBounds": bounds_shown(plan),
        "intervals": len(plan.intervals),
    }
    if is_count or is_covered_here:
        return found
    if is_narrowed:
        return {"stage": "FETCH", "filter": False, "inputStage": {**found, "filter": True}}
    if plan.partner is not None:
        other = access(plan.partner, operation, True)
        found = {"stage": "AND_SORTED", "inputStages": [found, other]}
    return {"stage": "FETCH", "filter": not plan.is_exact, "inputStage": found}


def rejected(query: Query, info: CollectionInfo, winner: Plan) -> list[Document]:
    """The other candidates, each with its class, best first."""
    if winner.kind == "id" or query.hint is not None:
        return []
    program = query.program
    conjuncts = Conjuncts(conjuncts_of(program.normal), has_collation(program))
    limit = query.skip + query.limit
    others = [*candidates(conjuncts, query.sort, info.indexes, limit)]
    names = {None if plan.index is None else plan.index.name for plan in (winner, *winner.branches)}
    if winner.branches and winner.index is None:
        names = set()
    return [
        {
            "class": plan.planner_class,
            "plan": plan.kind,
            "indexName": None if plan.index is None else plan.index.name,
            "indexBounds": bounds_shown(plan),
        }
        for plan in sorted(others, key=lambda plan: plan.rank)
        if (None if plan.index is None else plan.index.name) not in names
    ]
