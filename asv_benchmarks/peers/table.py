"""The table that is printed, and the same figures as JSON."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from asv_benchmarks.peers.measure import WORKS, Figure, Figures
from asv_benchmarks.peers.store import FILE_WORKS, WRITE_WORKS, Store

PACKAGES = (
    "rango",
    "lmdb",
    "apsw",
    "plyvel",
    "rocksdict",
    "sqlcipher3",
    "mongomock",
    "montydb",
    "tinydb",
    "pymongo",
    "pynacl",
    "cryptography",
    "lz4",
)
NOTE = """\
Microseconds unless the row says otherwise: medians over rounds of the round's median / 99th \
percentile (of few samples the latter is the maximum). \
÷ peer: Rango over the best product, ÷ floor: Rango over the best floor, in the same round, median \
over rounds; below 1 Rango is faster. Cold: after open, nothing read yet (the operating system has \
the files in memory). \
Floors: pwrite of the same bytes into a prewritten file + fdatasync; a dictionary of BSON that \
PyMongo decodes. Memory: what a fresh Python process grows by, imports included. Disk: all files; \
data: without Rango's oplog, which is also its history. Import: of everything that opening needs. \
Only Rango and SQLCipher are encrypted. No flush: SQLite synchronous=OFF, LMDB sync=False, LevelDB \
and RocksDB without sync, Rango durability="memory". \
mongomock and tinydb do not flush: their writes are not compared with; they and montydb do each \
work three times a round."""


def rows(stores: list[Store], figures: Figures) -> list[list[str]]:
    """Header and one row for each work."""
    subject = next((store for store in stores if store.name.startswith("rango")), None)
    table = [["work", *(store.name for store in stores), "÷ peer", "÷ floor"]]
    for work in WORKS:
        cells = figures[work]
        own = cells.get(subject.name) if subject else None
        others = [store for store in stores if store is not subject and store.name in cells]
        peers = [
            cells[store.name]
            for store in others
            if not store.is_floor and (store.is_durable or work not in WRITE_WORKS)
        ]
        floors = [cells[store.name] for store in others if store.is_floor]
        table.append(
            [
                work,
                *(_cell(cells.get(store.name), work) for store in stores),
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


def _cell(figure: Figure | None, work: str) -> str:
    if figure is None:
        return "-"
    if work in FILE_WORKS - {"open"}:
        return _number(figure.value)
    return f"{_number(figure.value)} / {_number(statistics.median(figure.highs))}"


def _number(value: float) -> str:
    for limit, digits in ((10.0, 2), (100.0, 1)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def _ratio(own: Figure | None, others: list[Figure]) -> str:
    # of each round first: what slows one round down slows all that take part in it
    if own is None or not others:
        return "-"
    best = [min(row) for row in zip(*(each.medians for each in others), strict=True)]
    ratios = [mine / theirs for mine, theirs in zip(own.medians, best, strict=True)]
    return f"{statistics.median(ratios):.2f}"
