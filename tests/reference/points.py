"""The twin of rango/_ext/points.pyx: the intervals of some values, and where a scan goes on."""

from __future__ import annotations

from collections.abc import Iterable

from rango.engine.bounds import Interval, successor


def intervals(keys: Iterable[tuple[bytes, object]]) -> list[Interval]:
    """The intervals of (key, value) pairs: ascending, none inside of another."""
    found: list[Interval] = []
    for key, value in sorted(keys, key=lambda pair: pair[0]):
        if not any(key.startswith(each[0] or b"") for each in found):
            found.append((key, successor(key), (value, True), (value, True)))
    return found


def turn_of(found: list[Interval], key: bytes, turn: int, reverse: bool) -> int:
    """The first turn whose interval holds the key, or lies behind it in the scan's direction."""
    order = found[::-1] if reverse else found
    while turn < len(order):
        lower, upper, _, _ = order[turn]
        if (lower or b"") <= key if reverse else upper is None or key < upper:
            return turn
        turn += 1
    return turn
