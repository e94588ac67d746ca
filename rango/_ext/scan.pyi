"""Scans: records or index entries in key order."""

from collections.abc import Sequence
from typing import Any, final

from rango._ext.filter import Program
from rango._ext.points import Points
from rango._ext.stop import Stop
from rango._ext.view import View

@final
class Scan:
    tree: int
    keys_examined: int
    records_examined: int
    matched: int
    stop: Stop | None
    names: frozenset[str] | None
    is_kept: bool
    def __init__(
        self,
        view: View,
        tree: int,
        index_tree: int,
        intervals: Sequence[tuple[Any, ...]] | Points,
        reverse: bool,
        program: Program | None,
        seen: set[bytes] | None,
    ) -> None: ...
    def end_with(self, stop: Stop | None) -> None: ...
    def next_documents(self, limit: int) -> list[dict[str, Any]]: ...
    def next_records(self, limit: int) -> list[bytes]: ...
    def next_entries(self, limit: int) -> list[tuple[bytes, bytes]]: ...
    def count(self) -> int: ...
    def count_keys(self) -> int: ...
    def close(self) -> None: ...
