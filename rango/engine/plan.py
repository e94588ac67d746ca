"""Plans: how the records of a filter are found, and in which order.

Terms       interval, point, many: see rango.engine.bounds; conjunct: one of the conditions that a
            filter joins by $and. Index keys are the keys of the fields one behind the other, those
            of a field whose direction differs from the first one's with all bytes inverted, then
            the `_id`'s key; a scan backwards gives the opposite of every direction.
Invariants  Bounds are wide enough; the whole filter runs on every record that they let through,
            unless they are exact and decide every conjunct (`is_exact`). The choice depends on the
            filter, the sort, the limit and the indexes only; no statistics, so it is repeatable.
            The first class that applies wins:
              0  `_id` equals a value           1  equality on all fields of a unique index
              2  equality on a field of an      3  some values of `_id` ($in)
                 index that is used             4  some values of the fields of an index
              5  a range closed on both sides   6  a range closed on one side; a sparse index
              7  no bounds, but the index gives    that the filter implies
                 the order of the sort, and     8  everything, in `_id` order
                 there is a limit
            Inside a class: more fields that equal one value, then more that have some values, then
            one that gives the order, then a closed range before an open one before none, then
            `_id`, then fewer fields, then the indexes as they were created. A field of an index is
            used if all fields before it are points. An $or is a union, in the class of its worst
            branch, if that is a better class than any single index has; one that would take more
            than EFFORT_MAX to find is not looked for. A plan of class 2 that has
            one value for each field of its index and does not decide all may be intersected with
            the best other plan of that kind that bounds another field: see joined_scan.pyx.
Failure     none: what cannot be bounded is scanned.
Sources     MongoDB manual, "The ESR Rule", "Multikey Index Bounds"; storage-notes; ADR-0019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, Final, Literal, NamedTuple

from rango._ext.filter import NO_VALUE, Program
from rango.engine.bounds import EVERYTHING, Intervals, Node, range_class
from rango.engine.implication import conjuncts_of
from rango.engine.keyed import Conjuncts, FieldBounds, IndexLike, Keyed, is_usable, keyed_by
from rango.engine.sort import Sort

__all__ = ["IndexLike", "Plan", "candidates", "choose", "index_plan", "scan_everything"]

Kind = Literal["id", "id_range", "index", "scan", "union"]
Rank = tuple[int, ...]

MERGES_MAX: Final = 200
"""Intervals or branches that are merged in the order of a sort. MongoDB's bound for exploding a
scan for a sort."""

BRANCHES_MAX: Final = 64
"""Branches of an $or that a union takes: each is planned by itself."""


class IdIndex(NamedTuple):
    """The tree of the documents, read as an index on `_id`."""

    name: str = "_id_"
    fields: tuple[tuple[str, int], ...] = (("_id", 1),)
    unique: bool = True
    sparse: bool = False
    partial: None = None
    multikey: bool = False
    shortened: bool = False
    multikey_paths: frozenset[str] = frozenset()


ID_INDEX: Final = IdIndex()


class Plan:
    """How to find the records. The intervals are of the index's keys, or without one of `_id`s.

    `branches` are plans whose results are united, each document once; merged in the order of the
    sort if `is_merged`. `bounds` are those of the fields, for people. `partner`: another index that
    the scan may be intersected with.
    """

    __slots__ = (
        "bounds",
        "branches",
        "id_value",
        "index",
        "intervals",
        "is_exact",
        "is_merged",
        "is_sorted",
        "kind",
        "partner",
        "rank",
        "reverse",
    )

    kind: Kind
    intervals: Intervals
    index: IndexLike | None
    id_value: Any
    reverse: bool
    is_sorted: bool
    is_exact: bool
    bounds: tuple[FieldBounds, ...]
    branches: tuple[Plan, ...]
    is_merged: bool
    rank: Rank
    partner: Plan | None

    def __init__(
        self,
        kind: Kind,
        intervals: Intervals = EVERYTHING,
        index: IndexLike | None = None,
        id_value: Any = NO_VALUE,
        reverse: bool = False,
        is_sorted: bool = False,
        is_exact: bool = False,
        bounds: tuple[FieldBounds, ...] = (),
        branches: tuple[Plan, ...] = (),
        is_merged: bool = False,
        rank: Rank = (8,),
        partner: Plan | None = None,
    ) -> None:
        self.kind = kind
        self.intervals = intervals
        self.index = index
        self.id_value = id_value
        self.reverse = reverse
        self.is_sorted = is_sorted
        self.is_exact = is_exact
        self.bounds = bounds
        self.branches = branches
        self.is_merged = is_merged
        self.rank = rank
        self.partner = partner

    @property
    def planner_class(self) -> int:
        """Its class in the rule above."""
        return self.rank[0]


def choose(
    program: Program, sort: Sort = (), indexes: Sequence[IndexLike] = (), limit: int = 0
) -> Plan:
    """The plan of a filter and a sort, by the rule above; `indexes` in order of creation."""
    if program.id_equals is not NO_VALUE and not isinstance(program.id_equals, (list, tuple)):
        return Plan("id", id_value=program.id_equals, is_sorted=True, rank=(0,))
    wanted = conjuncts_of(program.normal)
    conjuncts = Conjuncts(wanted, has_collation(program))
    if not wanted and not sort:
        return Plan("scan", is_sorted=True, is_exact=True)
    plans = [*candidates(conjuncts, sort, indexes, limit)]
    best = min(plans, key=lambda plan: plan.rank)
    if best.planner_class > 3:
        united = union_of(conjuncts, sort, indexes, limit)
        if united is not None and united.planner_class < best.planner_class:
            return united
    if best.planner_class == 2 and len(plans) > 2:
        best.partner = partner_of(best, plans)
    return best


def partner_of(plan: Plan, plans: Sequence[Plan]) -> Plan | None:
    """The best other plan of one value for each field of its index, so that both come in the order
    of `_id`, and of a field that the plan does not bound.
    """
    if plan.is_exact or not _is_one_value(plan):
        return None
    bounded = {field.path for field in plan.bounds}
    others = [
        other
        for other in plans
        if _is_one_value(other) and any(field.path not in bounded for field in other.bounds)
    ]
    return min(others, key=lambda other: other.rank, default=None)


def _is_one_value(plan: Plan) -> bool:
    return plan.kind == "index" and is_single(plan) and not (plan.index and plan.index.shortened)


def is_single(plan: Plan) -> bool:
    """Whether no document has two keys in the intervals: one point has one key of each document."""
    index = plan.index
    return (
        index is not None
        and len(plan.bounds) == len(index.fields)
        and all(field.bounds.is_one_point for field in plan.bounds)
    )


def has_collation(program: Program) -> bool:
    """Whether texts are compared otherwise than their keys are."""
    return getattr(program, "collation", None) is not None


def best_of(conjuncts: Conjuncts, sort: Sort, indexes: Sequence[IndexLike], limit: int) -> Plan:
    """The best plan that reads one tree."""
    return min(candidates(conjuncts, sort, indexes, limit), key=lambda plan: plan.rank)


def candidates(
    conjuncts: Conjuncts, sort: Sort, indexes: Sequence[IndexLike], limit: int
) -> Iterator[Plan]:
    """Every plan that reads one tree."""
    yield id_plan(conjuncts, sort)
    paths = conjuncts.paths
    first = sort[0][0] if sort else None
    for number, index in enumerate(indexes):
        path = index.fields[0][0]
        if not (path in paths or path == first or index.sparse or index.partial is not None):
            continue
        found = index_plan(conjuncts, sort, index, limit, number)
        if found is not None:
            yield found


def scan_everything(conjuncts: Conjuncts, sort: Sort, reverse: bool = False) -> Plan:
    """All documents in the order of `_id`, whatever the filter says."""
    is_sorted, backwards = order(sort, ID_INDEX, (), conjuncts.has_collation)
    return Plan(
        "scan",
        reverse=reverse if not sort else is_sorted and backwards,
        is_sorted=is_sorted,
        is_exact=not conjuncts.nodes,
    )


def id_plan(conjuncts: Conjuncts, sort: Sort) -> Plan:
    """The plan that reads the documents by `_id`, all of them if nothing bounds it."""
    keyed = keyed_by(conjuncts, ID_INDEX) if "_id" in conjuncts.paths else None
    if keyed is None or not keyed.used:
        plan = scan_everything(conjuncts, sort)
        plan.rank = (8, 0, 0, not plan.is_sorted, 2, 0, 1, -1)
        return plan
    is_sorted, reverse = order(sort, ID_INDEX, keyed.used, conjuncts.has_collation)
    bounds = keyed.used[0].bounds
    kind_class = 3 if bounds.is_points else range_class(bounds)
    return Plan(
        "id_range",
        keyed.intervals,
        reverse=reverse,
        is_sorted=is_sorted,
        is_exact=keyed.is_exact,
        bounds=keyed.used,
        rank=(kind_class, 0, 0, not is_sorted, kind_class == 6, 0, 1, -1),
    )


def index_plan(
    conjuncts: Conjuncts,
    sort: Sort,
    index: IndexLike,
    limit: int,
    number: int = 0,
    *,
    is_forced: bool = False,
) -> Plan | None:
    """The plan that an index allows; None if it does not help or may miss documents.

    A hint forces one: all that the index holds, if nothing bounds it.
    """
    keyed = keyed_by(conjuncts, index)
    is_sorted, reverse = order(sort, index, keyed.used, conjuncts.has_collation)
    if not is_forced:
        is_partial = index.sparse or index.partial is not None
        helps = keyed.used or is_partial or (is_sorted and sort and limit)
        if not helps or (is_partial and not is_usable(conjuncts, index)):
            return None
    plan = Plan(
        "index",
        keyed.intervals,
        index,
        reverse=reverse,
        is_sorted=is_sorted,
        is_exact=keyed.is_exact,
        bounds=keyed.used,
    )
    if not is_sorted and limit and 1 < len(keyed.intervals) <= MERGES_MAX:
        plan = merged(plan, sort, conjuncts.has_collation)
    plan.rank = rank_of(plan, keyed, number)
    return plan


def rank_of(plan: Plan, keyed: Keyed, number: int) -> Rank:
    """What compares plans: the class, then what is preferred inside it."""
    index = plan.index or ID_INDEX
    ones = sum(field.bounds.is_one_point for field in keyed.used)
    points = sum(field.bounds.is_points for field in keyed.used)
    last = range_class(keyed.used[-1].bounds) if keyed.used else 7
    if index.unique and ones == len(index.fields):
        found = 1
    elif ones:
        found = 2
    elif points:
        found = 4
    elif keyed.used:
        found = last
    else:
        found = 6 if index.sparse or index.partial is not None else 7
    closed = {5: 0, 6: 1}.get(last, 2)
    return (found, -ones, -points, not plan.is_sorted, closed, 1, len(index.fields), number)


def merged(plan: Plan, sort: Sort, collated: bool) -> Plan:
    """The plan split into one for each interval, if each of them gives the order of the sort."""
    assert plan.index is not None
    if not all(field.bounds.is_points for field in plan.bounds[:-1]):
        return plan
    is_sorted, reverse = order(sort, plan.index, plan.bounds, collated, is_split=True)
    if not is_sorted:
        return plan
    branches = []
    for interval in plan.intervals:
        branch = copy(plan)
        branch.reverse, branch.is_sorted, branch.intervals = reverse, True, (interval,)
        branches.append(branch)
    united = copy(plan)
    united.kind, united.branches = "union", tuple(branches)
    united.is_sorted = united.is_merged = True
    return united


def union_of(
    conjuncts: Conjuncts, sort: Sort, indexes: Sequence[IndexLike], limit: int
) -> Plan | None:
    """The union of a plan for each branch of an $or, if each has bounds."""
    found: Plan | None = None
    for number, node in enumerate(conjuncts.nodes):
        if node[0] == "$or" and len(node[1]) <= BRANCHES_MAX:
            others = conjuncts.nodes[:number] + conjuncts.nodes[number + 1 :]
            united = _united(node[1], others, conjuncts, sort, indexes, limit)
            if united is not None and (found is None or united.rank < found.rank):
                found = united
    return found


def _united(
    nodes: Sequence[Node],
    others: tuple[Node, ...],
    conjuncts: Conjuncts,
    sort: Sort,
    indexes: Sequence[IndexLike],
    limit: int,
) -> Plan | None:
    branches: list[Plan] = []
    for node in nodes:
        if not conjuncts.effort.spend(node, *others):
            return None
        part = Conjuncts((*conjuncts_of(node), *others), conjuncts.has_collation, conjuncts.effort)
        plan = best_of(part, sort, indexes, limit)
        if plan.planner_class > 6:
            return None
        branches.extend(plan.branches if plan.kind == "union" else (plan,))
    is_sorted = not sort or (bool(limit) and all(plan.is_sorted for plan in branches))
    worst = max(plan.planner_class for plan in branches)
    return Plan(
        "union",
        (),
        branches=tuple(branches),
        is_sorted=is_sorted,
        is_merged=bool(sort) and is_sorted,
        is_exact=all(plan.is_exact for plan in branches),
        rank=(worst, 0, 0, not is_sorted, 2, 2, len(branches), 0),
    )


def order(
    sort: Sort,
    index: IndexLike,
    used: Sequence[FieldBounds],
    collated: bool,
    is_split: bool = False,
) -> tuple[bool, bool]:
    """Do the keys come in the order of the sort, and backwards?

    With `is_split` each interval is looked at by itself, so that a field of points has one value.
    """
    if not sort:
        return True, False
    if collated or index.shortened:
        return False, False
    many = index.multikey_paths if index.multikey else frozenset()
    fixed = {
        field.path
        for field in used
        if field.bounds.is_one_point or (is_split and field.bounds.is_points)
    }
    left = [field for field in sort if field[0] not in fixed or field[0] in many]
    direction = index.fields[0][1]
    keys = [(path, way * direction) for path, way in index.fields if path not in fixed]
    if all(path != "_id" for path, _ in keys):
        keys.append(("_id", 1))
    if not left:
        return True, False
    backwards = left[0][1] != keys[0][1]
    for (path, way), key in zip(left, keys, strict=False):
        if path in many or (path, -way if backwards else way) != key:
            return False, False
        if path == "_id":
            # no two documents have the same, so what follows decides nothing
            return True, backwards
    return len(left) <= len(keys), backwards
