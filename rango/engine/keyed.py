"""Index bounds: what the conjuncts of a filter say about the keys of an index.

Terms       chain: the $elemMatch nodes around a condition, outermost first, as (identity, number of
            parts of its path). Conditions whose chains start alike are met by the same element.
            used: the fields of an index that have bounds, from the first on.
Invariants  On a path with an array in some document (many), two conditions may be met by different
            elements, so only one of them bounds it, unless both stand in an $elemMatch on that
            very path. Two fields that share the beginning of their paths and are both many have
            a key for each element: their bounds are joined only if they come from one $elemMatch
            that is at least as long as what they share. A numeric part of a path is a name and a
            position at once, so such a field is not bounded.
            The intervals of all fields are joined while there are no more than
            COMBINATIONS_MAX and they are no longer than BOUND_SIZE_BYTES_MAX.
Failure     none.
Sources     MongoDB manual, "Multikey Index Bounds"; ADR-0019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from rango.engine.bounds import (
    BOUND_SIZE_BYTES_MAX,
    EVERYTHING,
    Bounds,
    Interval,
    Intervals,
    Node,
    both,
    bounds_of,
    inverted,
    width,
)
from rango.engine.filters import program_of
from rango.engine.implication import Effort, conjuncts_of, has_one_of, implies, is_same

Chain = tuple[tuple[int, int], ...]

NONE: Final[frozenset[str]] = frozenset()
NONE_DECIDED: Final[frozenset[int]] = frozenset()

COMBINATIONS_MAX: Final = 4096
"""Intervals that the points of several fields may be multiplied to."""


class IndexLike(Protocol):
    """What the planner needs to know of an index; IndexInfo is one."""

    @property
    def name(self) -> str: ...
    @property
    def fields(self) -> tuple[tuple[str, int], ...]: ...
    @property
    def unique(self) -> bool: ...
    @property
    def sparse(self) -> bool: ...
    @property
    def partial(self) -> Mapping[str, Any] | None: ...
    @property
    def multikey(self) -> bool: ...
    @property
    def shortened(self) -> bool: ...
    @property
    def multikey_paths(self) -> frozenset[str]: ...


class FieldBounds:
    """The bounds of one field of an index, and the conjuncts that they decide by themselves."""

    __slots__ = ("bounds", "chain", "decided", "path")

    path: str
    bounds: Bounds
    decided: frozenset[int]
    chain: Chain | None

    def __init__(
        self, path: str, bounds: Bounds, decided: frozenset[int], chain: Chain | None = None
    ) -> None:
        self.path = path
        self.bounds = bounds
        self.decided = decided
        self.chain = chain


class Keyed:
    """The intervals of an index's keys, the fields that made them, and do they decide it all?"""

    __slots__ = ("intervals", "is_exact", "used")

    intervals: Intervals
    used: tuple[FieldBounds, ...]
    is_exact: bool

    def __init__(self, intervals: Intervals, used: tuple[FieldBounds, ...], is_exact: bool) -> None:
        self.intervals = intervals
        self.used = used
        self.is_exact = is_exact


class Conjuncts:
    """The conjuncts of a filter; what they say about a path is worked out once."""

    __slots__ = ("_known", "effort", "has_collation", "nodes", "paths")

    def __init__(
        self,
        nodes: tuple[Node, ...],
        has_collation: bool = False,
        effort: Effort | None = None,
    ) -> None:
        self.nodes = nodes
        self.effort = Effort() if effort is None else effort
        self.has_collation = has_collation
        self.paths: set[str] = set()
        for node in nodes:
            _add_paths(node, "", self.paths)
        self._known: dict[tuple[str, bool], list[FieldBounds]] = {}

    def on(self, path: str, many: bool) -> list[FieldBounds]:
        """The bounds of each conjunct on a path, conditions in $elemMatch apart."""
        known = self._known.get((path, many))
        if known is None:
            known = []
            for number, node in enumerate(self.nodes):
                for bounds, chain in self._within(node, path, many, ()):
                    is_decided = bounds.is_exact and not chain
                    decided = frozenset((number,)) if is_decided else NONE_DECIDED
                    known.append(FieldBounds(path, bounds, decided, chain))
            self._known[path, many] = known
        return known

    def _within(
        self, node: Node, path: str, many: bool, chain: Chain
    ) -> Iterator[tuple[Bounds, Chain]]:
        if node[0] == "$elemMatch" and path.startswith(f"{node[1]}."):
            inner, rest = node[2], path[len(node[1]) + 1 :]
        elif node[0] == "$elemMatchValue" and node[1] == path and path:
            inner, rest = node[2], ""
        else:
            bounds = bounds_of(node, path, many, self.has_collation)
            if bounds is not None:
                yield bounds, chain
            return
        depth = (chain[-1][1] if chain else 0) + node[1].count(".") + 1
        for part in conjuncts_of(inner):
            # one element is met: a value has one key
            yield from self._within(part, rest, many and rest != "", (*chain, (id(node), depth)))


def _add_paths(node: Node, before: str, paths: set[str]) -> None:
    """Add the paths that a node may bound."""
    operator = node[0]
    if operator in ("$and", "$or"):
        for part in node[1]:
            _add_paths(part, before, paths)
    elif operator in ("$elemMatch", "$elemMatchValue"):
        path = before + node[1]
        paths.add(path)
        _add_paths(node[2], f"{path}.", paths)
    elif len(node) > 2:
        paths.add(before + node[1] if node[1] else before[:-1])


def is_usable(conjuncts: Conjuncts, index: IndexLike) -> bool:
    """Whether the index holds every document that matches."""
    if index.sparse and not has_one_of(
        conjuncts.nodes, [path for path, _ in index.fields], conjuncts.effort
    ):
        return False
    if index.partial is None:
        return True
    return implies(conjuncts.nodes, program_of(index.partial).normal, conjuncts.effort)


def has_position(path: str) -> bool:
    """Whether a part of the path is a number."""
    return any(part.isdigit() for part in path.split("."))


def keyed_by(conjuncts: Conjuncts, index: IndexLike) -> Keyed:
    """What the conjuncts say about the keys of the index."""
    many: frozenset[str] = index.multikey_paths if index.multikey else NONE
    direction = index.fields[0][1]
    used: list[FieldBounds] = []
    intervals: Intervals = EVERYTHING
    for path, way in index.fields:
        found = _bounded(conjuncts, path, many, used)
        if found is None:
            break
        joined = _joined(intervals if used else None, found.bounds, way != direction)
        if joined is None:
            break
        intervals = joined
        used.append(found)
        if not found.bounds.is_points:
            break
    decided: set[int] = set()
    if index.sparse or index.partial is not None:
        decided.update(_held(conjuncts, index))
    for field in used:
        decided.update(field.decided)
    return Keyed(intervals, tuple(used), len(decided) == len(conjuncts.nodes))


def _held(conjuncts: Conjuncts, index: IndexLike) -> frozenset[int]:
    """The conjuncts that every document in a sparse or partial index meets."""
    known: tuple[Node, ...] = ()
    if index.partial is not None:
        known = conjuncts_of(program_of(index.partial).normal)
    if index.sparse and len(index.fields) == 1:
        known = (*known, ("$exists", index.fields[0][0]))
    if not known:
        return frozenset()
    return frozenset(
        number
        for number, node in enumerate(conjuncts.nodes)
        if any(is_same(node, other) for other in known)
    )


def _bounded(
    conjuncts: Conjuncts, path: str, many: frozenset[str], used: Sequence[FieldBounds]
) -> FieldBounds | None:
    """The bounds of one field, given those of the fields before it."""
    if path not in conjuncts.paths or has_position(path):
        return None
    if path not in many:
        known = conjuncts.on(path, False)
        if len(known) < 2:
            return known[0] if known else None
        decided = frozenset[int]().union(*(field.decided for field in known))
        return FieldBounds(path, both([field.bounds for field in known]), decided)
    known = [
        field
        for field in _met(conjuncts.on(path, True))
        if all(_may_join(field, other) for other in used if other.path in many)
    ]
    return min(known, key=lambda field: (*width(field.bounds), not field.chain), default=None)


def _met(known: Sequence[FieldBounds]) -> list[FieldBounds]:
    """Conditions on one path with arrays; those that one element meets are intersected."""
    found: dict[Chain, FieldBounds] = {}
    alone: list[FieldBounds] = []
    for field in known:
        chain = field.chain or ()
        if not chain or chain[-1][1] < field.path.count(".") + 1:
            alone.append(field)
        elif chain in found:
            met = both([found[chain].bounds, field.bounds])
            found[chain] = FieldBounds(field.path, met, frozenset(), chain)
        else:
            found[chain] = field
    return [*alone, *found.values()]


def _may_join(field: FieldBounds, other: FieldBounds) -> bool:
    """Whether one key of a document meets both, not one key each."""
    shared = _shared(field.path.split("."), other.path.split("."))
    if not shared:
        return True
    chains = field.chain or (), other.chain or ()
    common = _shared(*chains)
    return bool(common) and chains[0][common - 1][1] >= shared


def _shared(left: Sequence[object], right: Sequence[object]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _joined(intervals: Intervals | None, bounds: Bounds, is_inverted: bool) -> Intervals | None:
    """Every interval followed by every one of the bounds; None if that is too much."""
    added = bounds.intervals
    if is_inverted:
        added = tuple(inverted(interval) for interval in added)[::-1]
    if intervals is None:
        return added
    if len(intervals) * len(added) > COMBINATIONS_MAX:
        return None
    joined: list[Interval] = []
    for start, end, _, _ in intervals:
        assert start is not None
        for lower, upper, low, high in added:
            first = start + (lower or b"")
            last = end if upper is None else start + upper
            if len(first) > BOUND_SIZE_BYTES_MAX:
                return None
            joined.append((first, last, low, high))
    return tuple(joined)
