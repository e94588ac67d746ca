"""Readable twin of rango._ext.overlay: a sorted list that is copied whole for every snapshot."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

CELL_HEADER_SIZE = 24
"""sizeof(Cell): references and flags, key size, value size, ordinal."""


class Found(NamedTuple):
    """One cell as a reader sees it."""

    key: bytes
    value: bytes
    tombstone: bool


class SortedOverlay:
    """The same promises as Overlay, by the simplest means."""

    def __init__(self) -> None:
        self._cells: list[Found] = []

    def __len__(self) -> int:
        return len(self._cells)

    def size(self) -> int:
        """Bytes of all cells."""
        return sum(CELL_HEADER_SIZE + len(cell.key) + len(cell.value) for cell in self._cells)

    def _position(self, key: bytes) -> int:
        return bisect_left(self._cells, key, key=lambda cell: cell.key)

    def put(self, key: bytes, value: bytes, tombstone: bool = False) -> None:
        """Add a cell, or replace the one of an equal key."""
        at = self._position(key)
        is_there = at < len(self._cells) and self._cells[at].key == key
        self._cells[at : at + is_there] = [Found(key, value, tombstone)]

    def get(self, key: bytes) -> tuple[bytes, bool] | None:
        """Value and tombstone flag of a key."""
        at = self._position(key)
        if at < len(self._cells) and self._cells[at].key == key:
            return self._cells[at].value, self._cells[at].tombstone
        return None

    def items(
        self, reverse: bool = False, start: bytes | None = None, limit: int | None = None
    ) -> list[Found]:
        """From the first key >= start on; in reverse from the last key < start on."""
        at = None if start is None else self._position(start)
        found = self._cells[:at][::-1] if reverse else self._cells[at:]
        return found[:limit]

    def snapshot(self) -> SortedOverlay:
        """What is here now; both sides may go on."""
        other = SortedOverlay()
        other._cells = list(self._cells)
        return other
