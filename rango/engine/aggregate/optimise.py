"""The optimiser: the same answer with less work.

Terms       one-to-one stage: one that makes exactly one document of each; mover: a stage that says
            which top-level fields it leaves as they are (`passes`).
Invariants  Every rule gives the same documents in the same order. An error that a document would
            have raised may be gone, because the document is never looked at.
              match + match          one filter
              mover + match          the parts of the filter on fields that pass go first
              sort + match           the filter goes first
              one-to-one + limit     the limit goes first; a skip too
              sort + limit           the first few, kept in a heap; sort + skip + limit as well
              limit + limit          the smaller; skip + skip the sum
Sources     MongoDB manual, "Aggregation Pipeline Optimization"; ADR-0016.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

from rango._ext.normal import HEADER_NAMES
from rango.engine.aggregate.lookup import GraphLookup, Lookup
from rango.engine.aggregate.order import Limit, Skip, SortStage
from rango.engine.aggregate.shape import Match, ReplaceRoot, Reshape, filter_names, match_of
from rango.engine.aggregate.stage import Names, Stage

Rule = list[Stage] | None
"""What takes the place of two neighbours; None: they stay."""


@runtime_checkable
class Mover(Protocol):
    """A stage that leaves some fields as they are."""

    def passes(self, names: Names) -> bool:
        """Whether these top-level fields are the same after it as before it."""


def optimised(stages: list[Stage]) -> list[Stage]:
    """The stages after the rules, applied until none applies any more."""
    stages = _matches_joined(stages)
    at = 0
    while at + 1 < len(stages):
        replaced = _neighbours(stages[at], stages[at + 1])
        if replaced is None:
            at += 1
        else:
            stages[at : at + 2] = replaced
            # what moved forward may meet a rule with the stage before it
            at = max(0, at - 1)
    return stages


def _matches_joined(stages: list[Stage]) -> list[Stage]:
    """One $match for neighbouring ones, compiled once: pair by pair, a thousand took seconds."""
    joined: list[Stage] = []
    for _, neighbours in groupby(stages, lambda stage: isinstance(stage, Match)):
        group = list(neighbours)
        matches = [stage for stage in group if isinstance(stage, Match)]
        if len(matches) > 1:
            parts = [part for match in matches for part in match.conjuncts]
            joined.append(match_of(parts, matches[0].collation))
        else:
            joined += group
    return joined


def _neighbours(first: Stage, second: Stage) -> Rule:
    if isinstance(second, Match):
        return _match(first, second)
    if isinstance(second, Limit):
        return _limit(first, second)
    if isinstance(second, Skip):
        return _skip(first, second)
    return None


def _match(first: Stage, match: Match) -> Rule:
    if isinstance(first, Match):
        return [match_of([*first.conjuncts, *match.conjuncts], match.collation)]
    if isinstance(first, SortStage) and not first.limit:
        return _split(match, first, _is_plain)
    if isinstance(first, Mover):
        passes = first.passes
        return _split(match, first, lambda names: _is_plain(names) and passes(names))
    return None


def _is_plain(names: Names) -> bool:
    # a field of the header exists at the front of a pipeline only
    return names is not None and not names & set(HEADER_NAMES)


def _split(match: Match, first: Stage, goes: Any) -> Rule:
    """Put the parts that may go before a stage there."""
    before: list[Mapping[str, Any]] = []
    after: list[Mapping[str, Any]] = []
    for part in match.conjuncts:
        (before if goes(filter_names(part)) else after).append(part)
    if not before:
        return None
    moved: list[Stage] = [match_of(before, match.collation), first]
    return [*moved, match_of(after, match.collation)] if after else moved


def _is_one_to_one(stage: Stage) -> bool:
    return isinstance(stage, (Reshape, ReplaceRoot, Lookup, GraphLookup))


def _limit(first: Stage, limit: Limit) -> Rule:
    if isinstance(first, Limit):
        return [first if first.limit <= limit.limit else limit]
    if _is_one_to_one(first):
        return [limit, first]
    if isinstance(first, SortStage):
        kept = min(first.limit, limit.limit) if first.limit else limit.limit
        return [SortStage(first.spec, first.sort, first.collation, kept)]
    if isinstance(first, Skip) and first.skip + limit.limit < 2**63:
        return [Limit(first.skip + limit.limit), first] if first.skip else [limit]
    return None


def _skip(first: Stage, skip: Skip) -> Rule:
    if not skip.skip:
        return [first]
    if isinstance(first, Skip):
        return [Skip(first.skip + skip.skip)]
    if _is_one_to_one(first):
        return [skip, first]
    return None
