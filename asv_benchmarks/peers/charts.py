"""One chart for each row of the table, as SVG: bars on a logarithmic scale, Rango's in a colour.

Plain text that a browser draws; no library.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Final

from asv_benchmarks.peers.measure import WORKS, Figures
from asv_benchmarks.peers.store import FILE_WORKS, Store

WIDTH: Final = 720
LABEL: Final = 170
ROOM_OF_NUMBER: Final = 90
ROW: Final = 24
TOP: Final = 34
OWN, PEER, FLOOR = "#c2410c", "#64748b", "#cbd5e1"


def unit(work: str) -> str:
    """Of a row."""
    if work not in FILE_WORKS or work == "open":
        return "µs"
    return next((each for each in ("ms", "MB") if each in work.split()), "bytes")


def name_of(work: str, count: int) -> str:
    """A file name: letters, digits and hyphens."""
    words = "".join(each if each.isalnum() else " " for each in work).split()
    return f"{'-'.join(words)}-{count}.svg"


def chart(work: str, count: int, bars: list[tuple[str, float, str]]) -> str:
    """The bars (name, value, colour), the shortest first."""
    values = [max(value, 1e-3) for _, value, _ in bars]
    low, high = math.log10(min(values)) - 0.3, math.log10(max(values))
    scale = (WIDTH - LABEL - ROOM_OF_NUMBER) / max(high - low, 0.1)
    height = TOP + ROW * len(bars) + 8
    found = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="20" font-weight="bold">{escape(work)}, {count:,} documents '
        f"({unit(work)}, logarithmic; shorter is better)</text>",
    ]
    for at, (name, value, colour) in enumerate(sorted(bars, key=lambda bar: bar[1])):
        y = TOP + at * ROW
        length = max((math.log10(max(value, 1e-3)) - low) * scale, 2)
        found += [
            f'<text x="{LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y + 2}" width="{length:.1f}" height="{ROW - 6}" '
            f'fill="{colour}"/>',
            f'<text x="{LABEL + length + 6:.1f}" y="{y + 15}">{value:,.4g}</text>',
        ]
    return "\n".join([*found, "</svg>\n"])


def write(folder: Path, stores: list[Store], figures: Figures, count: int) -> int:
    """A file for each row that two stores share; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for work in WORKS:
        cells = figures[work]
        bars = [
            (
                store.name,
                cells[store.name].value,
                OWN if store.short == "rango" else FLOOR if store.is_floor else PEER,
            )
            for store in stores
            if store.name in cells
        ]
        if len(bars) > 1:
            (folder / name_of(work, count)).write_text(chart(work, count, bars), encoding="utf-8")
            written += 1
    return written
