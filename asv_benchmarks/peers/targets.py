"""What Rango has to reach beside the others: the targets of issue 6, held to one run's figures.

Terms       factor: how many times the peer's time Rango's must fit in, of the same round, median
            over rounds. "best": the fastest product; "floor": the fastest floor.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from asv_benchmarks.peers.measure import Figure, Figures
from asv_benchmarks.peers.store import Store

SMALL, LARGE = 1_000, 100_000
ANY: Final = 0


@dataclass(frozen=True)
class Target:
    """`work` on `count` documents (ANY: on however many), `factor` times faster than `peer`."""

    work: str
    peer: str
    factor: float
    count: int = ANY


@dataclass(frozen=True)
class Limit:
    """`work` costs at most this, in the unit of its row."""

    work: str
    most: float


TARGETS: Final = (
    Target("find_one", "lmdb", 2.5, SMALL),
    Target("find_one", "lmdb", 1.8, LARGE),
    Target("find_one", "sqlcipher", 5, SMALL),
    Target("find_one", "sqlcipher", 3.5, LARGE),
    Target("find_one", "floor-dict", 1),
    Target("filter 1 %", "sqlcipher", 15, SMALL),
    Target("filter 1 %", "sqlcipher", 6, LARGE),
    Target("filter 1 %", "best", 4, SMALL),
    Target("filter 1 %", "best", 3, LARGE),
    Target("filter 20 %", "sqlcipher", 5, SMALL),
    Target("filter 20 %", "best", 2, SMALL),
    Target("find by index", "best", 2.5, SMALL),
    Target("find by index", "best", 2, LARGE),
    Target("sort+limit index", "best", 3.5),
    Target("sort+limit", "best", 3, LARGE),
    Target("count", "lmdb", 1),
    Target("count range", "lmdb", 1),
    Target("insert_one", "floor-log", 1 / 1.1),
    Target("insert_one", "sqlcipher", 1.8),
    Target("insert_one", "lmdb", 2.5),
    *(
        Target(f"insert_one {threads} threads", peer, factor)
        for threads in (4, 16)
        for peer, factor in (("sqlite", 3), ("lmdb", 5), ("plyvel", 1))
    ),
    Target("insert_many/doc", "sqlcipher", 5, LARGE),
    Target("insert_many/doc", "lmdb", 3, LARGE),
    Target("insert_many/doc", "plyvel", 1.5, LARGE),
    Target("update_one no flush", "sqlcipher", 12),
    Target("delete_one no flush", "sqlcipher", 10),
    Target("data bytes/doc", "sqlcipher", 1),
)
LIMITS: Final = (Limit("open", 1000), Limit("import ms", 60))


def ratio(own: Figure, others: list[Figure]) -> float:
    """How many times the best of the others Rango's figure fits in, round by round."""
    best = [min(row) for row in zip(*(each.medians for each in others), strict=True)]
    return statistics.median(theirs / mine for mine, theirs in zip(own.medians, best, strict=True))


def lines(stores: list[Store], figures: Figures, count: int) -> Iterator[str]:
    """One line for each target that this run can judge."""
    subject = next((store for store in stores if store.short == "rango"), None)
    if subject is None:
        return
    for target in TARGETS:
        cells = figures[target.work]
        if target.count not in {ANY, count} or subject.name not in cells:
            continue
        chosen = [
            cells[store.name]
            for store in stores
            if store.name in cells
            and store is not subject
            and (target.peer == store.short or (target.peer == "best" and not store.is_floor))
        ]
        if chosen:
            found = ratio(cells[subject.name], chosen)
            mark = "met    " if found >= target.factor else "NOT met"
            yield (
                f"{mark}  {target.work:22} {found:8.2f} x {target.peer:10} "
                f"(target {target.factor:.2f})"
            )
    for limit in LIMITS:
        if subject.name in figures[limit.work]:
            value = figures[limit.work][subject.name].value
            mark = "met    " if value <= limit.most else "NOT met"
            yield f"{mark}  {limit.work:22} {value:8,.1f} (target at most {limit.most:,.0f})"
