"""The table that is printed, and the same figures as JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from asv_benchmarks.peers.measure import WORKS, Figures
from asv_benchmarks.peers.store import Store

PACKAGES = ("rango", "lmdb", "pymongo", "pynacl", "cryptography", "lz4")
NOTE = """\
Microseconds unless the row says otherwise: median over rounds of the round's median. \
÷ peer: Rango over the best product, ÷ floor: Rango over the best floor; below 1 Rango is faster. \
Floors: pwrite of the same bytes into a prewritten file + fdatasync; a dictionary of BSON that \
PyMongo decodes. Memory: what a fresh Python process grows by, imports included. Disk: all files; \
data: without Rango's oplog, which is also its history. Only Rango is encrypted."""


def rows(stores: list[Store], figures: Figures) -> list[list[str]]:
    """Header and one row for each work."""
    subject = next((store for store in stores if store.name.startswith("rango")), None)
    table = [["work", *(store.name for store in stores), "÷ peer", "÷ floor"]]
    for work in WORKS:
        cells = {name: figure.value for name, figure in figures[work].items()}
        own = cells.get(subject.name) if subject else None
        others = [store for store in stores if store is not subject and store.name in cells]
        peers = [cells[store.name] for store in others if not store.is_floor]
        floors = [cells[store.name] for store in others if store.is_floor]
        table.append(
            [
                work,
                *(_number(cells.get(store.name)) for store in stores),
                _ratio(own, peers),
                _ratio(own, floors),
            ]
        )
    return table


def text(table: list[list[str]]) -> str:
    """As lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def as_json(count: int, rounds: int, figures: Figures) -> dict[str, Any]:
    """What was measured, with every round."""
    return {
        "documents": count,
        "rounds": rounds,
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "versions": dict(_versions(PACKAGES)),
        "figures": {
            work: {
                name: {"value": figure.value, "medians": figure.medians, "p99": figure.highs}
                for name, figure in cells.items()
            }
            for work, cells in figures.items()
        },
    }


def _versions(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "from the source tree"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    for limit, digits in ((10.0, 2), (100.0, 1)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def _ratio(own: float | None, others: list[float]) -> str:
    if own is None or not others or min(others) <= 0:
        return "-"
    return f"{own / min(others):.2f}"
