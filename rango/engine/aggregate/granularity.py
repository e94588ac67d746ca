"""Granularities of $bucketAuto: boundaries from a series of preferred numbers.

Terms       series: numbers of one decade, from 1 up; every power of ten times them belongs to it.
Invariants  `above(x)` is the least number of the series greater than x, `below(x)` the greatest one
            less than x; both are 0 for 0.
Sources     MongoDB manual, "$bucketAuto: Granularity"; ISO 3 (Renard), IEC 60063 (E series).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

R5: Final = (100, 160, 250, 400, 630)
R10: Final = (100, 125, 160, 200, 250, 315, 400, 500, 630, 800)
R20: Final = (
    100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800,
    900,
)  # fmt: skip
R40: Final = (
    100, 106, 112, 118, 125, 132, 140, 150, 160, 170, 180, 190, 200, 212, 224, 236, 250, 265, 280,
    300, 315, 335, 355, 375, 400, 425, 450, 475, 500, 530, 560, 600, 630, 670, 710, 750, 800, 850,
    900, 950,
)  # fmt: skip
R80: Final = (
    100, 103, 106, 109, 112, 115, 118, 122, 125, 128, 132, 136, 140, 145, 150, 155, 160, 165, 170,
    175, 180, 185, 190, 195, 200, 206, 212, 218, 224, 230, 236, 243, 250, 258, 265, 272, 280, 290,
    300, 307, 315, 325, 335, 345, 355, 365, 375, 387, 400, 412, 425, 437, 450, 462, 475, 487, 500,
    515, 530, 545, 560, 580, 600, 615, 630, 650, 670, 690, 710, 730, 750, 775, 800, 825, 850, 875,
    900, 925, 950, 975,
)  # fmt: skip
E24: Final = (
    100, 110, 120, 130, 150, 160, 180, 200, 220, 240, 270, 300, 330, 360, 390, 430, 470, 510, 560,
    620, 680, 750, 820, 910,
)  # fmt: skip


def e_series(count: int) -> tuple[int, ...]:
    """E48, E96 and E192: three digits of a geometric series, but for one value that differs."""
    rounded = [round(100 * 10 ** (at / count)) for at in range(count)]
    return tuple(920 if value == 919 else value for value in rounded)


SERIES: Final[dict[str, Sequence[int]]] = {
    "R5": R5,
    "R10": R10,
    "R20": R20,
    "R40": R40,
    "R80": R80,
    "1-2-5": (100, 200, 500),
    "E6": E24[::4],
    "E12": E24[::2],
    "E24": E24,
    "E48": e_series(48),
    "E96": e_series(96),
    "E192": e_series(192),
}
POWERS_OF_TWO: Final = "POWERSOF2"
NAMES: Final = (*SERIES, POWERS_OF_TWO)


class Granularity:
    """One granularity."""

    __slots__ = ("series",)

    def __init__(self, name: str) -> None:
        self.series = SERIES.get(name)

    def above(self, value: float) -> float:
        """The least number of the series that is greater."""
        if value == 0 or math.isinf(value):
            return value
        if self.series is None:
            return 2.0 ** (math.floor(_log2(value)) + 1)
        around = _around(self.series, value)
        return around[bisect_right(around, value)]

    def below(self, value: float) -> float:
        """The greatest number of the series that is less."""
        if value == 0 or math.isinf(value):
            return value
        if self.series is None:
            return 2.0 ** (math.ceil(_log2(value)) - 1)
        around = _around(self.series, value)
        return around[bisect_left(around, value) - 1]


def _log2(value: float) -> float:
    mantissa, exponent = math.frexp(value)
    return exponent - 1.0 if mantissa == 0.5 else exponent - 0.5


def _around(series: Sequence[int], value: float) -> list[float]:
    """The numbers of a series in the decade of a number, and in those beside it."""
    scale = int(f"{value:.15e}".partition("e")[2])
    # read as text, so that each is the double that its decimals say
    return [float(f"{of}e{scale + add - 2}") for add in (-1, 0, 1) for of in series]
