"""Implication: whether every document that a filter matches is in a sparse or partial index.

Terms       conjunct: one of the conditions that a filter joins by $and.
Invariants  "yes" is a proof, "no" is not: what cannot be shown is not used, unless a hint forces
            it. A filter implies a partial filter if for each conjunct of that one it has a
            conjunct that
              - is the same, or
              - bounds the same path to keys that lie inside its bounds, which are exact; or, if
                that conjunct says {$exists: true}, to keys that are not null; or
              - is an $or each of whose branches implies it;
            a partial $or needs one branch that is implied. A sparse index holds the documents that
            have one of its fields at least: a conjunct must rule out null for one of them.
Failure     none.
Sources     MongoDB manual, "Partial Indexes", "Sparse Indexes"; ADR-0011.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rango.engine.bounds import Node, bounds_of, holds_null, is_inside

EFFORT_MAX: Final = 20_000
"""Nodes that the proofs and the unions of one plan may look at: some 50 ms. Without it a filter of
many $or costs minutes: each branch is looked at together with all others, and beside a partial
index it is compared with each branch of the partial filter."""


class Effort:
    """How much of the work of one plan is left."""

    __slots__ = ("left",)

    def __init__(self, left: int = EFFORT_MAX) -> None:
        self.left = left

    def spend(self, *nodes: Node) -> bool:
        """Whether there is enough left to look at these nodes."""
        if self.left >= 0:
            self.left -= sum(map(_size, nodes))
        return self.left >= 0


def _size(node: Node) -> int:
    if node[0] in ("$or", "$and"):
        return 1 + sum(map(_size, node[1]))
    if node[0] == "$not":
        return 1 + _size(node[1])
    # a value of a list is a fraction of a condition
    return 1 + len(node[2]) // 8 if node[0] == "$in" else 1


def conjuncts_of(node: Node) -> tuple[Node, ...]:
    """The conditions that all hold."""
    return node[1] if node[0] == "$and" else (node,)


def implies(conjuncts: Iterable[Node], wanted: Node, effort: Effort | None = None) -> bool:
    """Whether documents that meet all conjuncts meet `wanted`; "no" when the effort is spent."""
    known = tuple(conjuncts)
    effort = Effort() if effort is None else effort
    if wanted[0] == "$and":
        return all(implies(known, part, effort) for part in wanted[1])
    if wanted[0] == "$or" and any(implies(known, part, effort) for part in wanted[1]):
        return True
    return any(_implies(conjunct, wanted, effort) for conjunct in known)


def is_same(left: Node, right: Node) -> bool:
    """Whether two conditions are the same; Python takes 1 and True for equal, so types count."""
    return left == right and repr(left) == repr(right)


def _implies(conjunct: Node, wanted: Node, effort: Effort) -> bool:
    return effort.spend(conjunct, wanted) and _is_proof(conjunct, wanted, effort)


def _is_proof(conjunct: Node, wanted: Node, effort: Effort) -> bool:
    if is_same(conjunct, wanted):
        return True
    if conjunct[0] == "$or":
        return all(implies(conjuncts_of(branch), wanted, effort) for branch in conjunct[1])
    if wanted[0] == "$exists":
        return rules_out_null(conjunct, wanted[1])
    if len(wanted) < 3 or not isinstance(wanted[1], str):
        return False
    outer = bounds_of(wanted, wanted[1], True)
    if outer is None or not outer.is_exact:
        return False
    inner = bounds_of(conjunct, wanted[1], True)
    return inner is not None and is_inside(inner, outer)


def rules_out_null(conjunct: Node, path: str) -> bool:
    """Whether a document that meets the conjunct must have the path."""
    if conjunct == ("$exists", path):
        return True
    bounds = bounds_of(conjunct, path, True)
    return bounds is not None and not holds_null(bounds)


def has_one_of(
    conjuncts: Iterable[Node], paths: Iterable[str], effort: Effort | None = None
) -> bool:
    """Whether documents that meet all conjuncts have one of the paths, as a sparse index asks."""
    known = tuple(conjuncts)
    effort = Effort() if effort is None else effort
    return any(
        effort.spend(conjunct) and rules_out_null(conjunct, path)
        for path in paths
        for conjunct in known
    )
