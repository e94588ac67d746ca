"""Plans that are known already: what rango.engine.plan chooses, with less of its work.

Terms       shape: a filter without its values, if those decide nothing about the choice: conditions
            $eq, $gt, $gte, $lt, $lte on different paths (or one closed range on a path) with plain
            values. Marks: see rango/_ext/collection_info.pyx.
Invariants  The plan is the one that `choose` gives. It depends on the program, the sort, whether
            there is a limit, the indexes and their marks, so recent plans of kept programs are
            kept under these; a plan is not changed once it is made, and threads share it. Which
            candidate wins depends on the shape only (every such condition is one interval that
            holds no null, and all together are shorter than a bound may be), so the plan of a new
            program of a known shape is that of the first one with other bounds: everything else
            is a matter of the shape, too. An index with a partial filter looks at values: no shape
            then. Where arrays were met or directions differ the winner is built from the start.
Failure     none.
Sources     rango.engine.plan; ADR-0019.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from math import isnan
from typing import TYPE_CHECKING, Final
from uuid import UUID

from bson.int64 import Int64
from bson.objectid import ObjectId

from rango._ext.filter import NO_VALUE, Program
from rango.engine.bounds import EVERYTHING, Interval, Node, both, bounds_of
from rango.engine.implication import conjuncts_of
from rango.engine.keyed import Conjuncts, FieldBounds
from rango.engine.plan import Plan, choose, id_plan, index_plan
from rango.engine.sort import Sort

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo, IndexInfo

Shape = tuple[str, ...]
ShapeKey = tuple[Shape, Sort, bool, tuple["IndexInfo", ...], tuple[int, ...]]

PLANS_KEPT_MAX: Final = 256
"""Recent plans that are kept, one for each of the programs that are (PROGRAMS_KEPT_MAX)."""

SHAPES_KEPT_MAX: Final = 256

SHAPE_NODES_MAX: Final = 8
SHAPE_TEXT_MAX: Final = 60
"""Characters of all texts together: a key has up to four bytes for each, so that eight fields stay
within BOUND_SIZE_BYTES_MAX."""

SIDES: Final = {"$eq": "=", "$gt": ">", "$gte": ">", "$lt": "<", "$lte": "<"}
PLAIN: Final = frozenset((int, Int64, bool, datetime, ObjectId, UUID))

_winners: dict[ShapeKey, Plan] = {}
"""The plan of the first program of a shape."""


def planned(program: Program, sort: Sort, info: CollectionInfo, limit: int) -> Plan:
    """The plan of a filter and a sort for this collection."""
    indexes = info.indexes
    if program.id_equals is not NO_VALUE:
        return choose(program, sort, indexes, limit)
    marks = tuple([index.marks for index in indexes])
    if not program.is_kept:
        # nobody would ask for its plan again, which may be large
        return _planned(program, sort, limit > 0, indexes, marks)
    return _kept(program, sort, limit > 0, indexes, marks)


def _planned(
    program: Program,
    sort: Sort,
    has_limit: bool,
    indexes: tuple[IndexInfo, ...],
    marks: tuple[int, ...],
) -> Plan:
    nodes = conjuncts_of(program.normal)
    shape = shape_of(nodes) if nodes and program.collation is None else None
    if shape is None or any([index.partial is not None for index in indexes]):
        return choose(program, sort, indexes, int(has_limit))
    key = (shape, sort, has_limit, indexes, marks)
    known = _winners.get(key)
    if known is None:
        plan = choose(program, sort, indexes, int(has_limit))
        if len(_winners) >= SHAPES_KEPT_MAX:
            _winners.clear()
        _winners[key] = plan
        return plan
    found = rebuilt(known, nodes, sort, has_limit)
    if known.partner is not None:
        found.partner = rebuilt(known.partner, nodes, sort, has_limit)
    return found


def rebuilt(known: Plan, nodes: tuple[Node, ...], sort: Sort, has_limit: bool) -> Plan:
    """The plan of other values of the same shape, without its partner."""
    index = known.index
    if index is None:
        return id_plan(Conjuncts(nodes), sort)
    found = None if index.multikey or known.kind != "index" else refilled(known, nodes)
    if found is None:
        number = known.rank[-1]
        found = index_plan(Conjuncts(nodes), sort, index, int(has_limit), number)
        assert found is not None
    return found


def refilled(known: Plan, nodes: tuple[Node, ...]) -> Plan | None:
    """The same plan with the bounds of other values; None if its keys are not simply joined."""
    index = known.index
    assert index is not None
    way = index.fields[0][1]
    start = b""
    fields: list[FieldBounds] = []
    intervals: tuple[Interval, ...] = EVERYTHING
    for field, (path, direction) in zip(known.bounds, index.fields, strict=False):
        bounds = [bounds_of(node, path, False) for node in nodes if node[1] == path]
        met = both([each for each in bounds if each is not None])
        fields.append(FieldBounds(path, met, field.decided, field.chain))
        if direction != way or len(met.intervals) != 1:
            return None
        lower, upper, low, high = met.intervals[0]
        if lower is None or upper is None:
            return None
        intervals = ((start + lower, start + upper, low, high),)
        start += lower
    return Plan(
        "index",
        intervals,
        index,
        reverse=known.reverse,
        is_sorted=known.is_sorted,
        is_exact=known.is_exact,
        bounds=tuple(fields),
        rank=known.rank,
    )


_kept = lru_cache(maxsize=PLANS_KEPT_MAX)(_planned)


def shape_of(nodes: tuple[Node, ...]) -> Shape | None:
    """The shape of conjuncts; None if their values count."""
    if len(nodes) > SHAPE_NODES_MAX:
        return None
    shape: list[str] = []
    text = 0
    for node in nodes:
        side = SIDES.get(node[0])
        if side is None:
            return None
        value = node[2]
        kind = type(value)
        if kind is str:
            text += len(value)
        elif kind not in PLAIN and (kind is not float or isnan(value)):
            return None
        shape.append(side + node[1])
    return tuple(shape) if text <= SHAPE_TEXT_MAX and _is_apart(shape) else None


def _is_apart(shape: list[str]) -> bool:
    """Whether each path has one condition, or the two sides of a range."""
    if len(shape) < 2:
        return True
    known = set(shape)
    return len(known) == len(shape) and not any(
        each[0] == "=" and not known.isdisjoint(("<" + each[1:], ">" + each[1:])) for each in shape
    )
