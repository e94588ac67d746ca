"""Scans of an index that ask its entries first."""

from typing import Any, final

from rango._ext.filter import Program
from rango._ext.scan import Scan

@final
class EntryScan:
    def __init__(
        self,
        scan: Scan,
        names: tuple[str | None, ...],
        shown: tuple[str | None, ...],
        with_id: bool,
        program: Program | None,
    ) -> None: ...
    def next_shown(self, limit: int) -> list[dict[str, Any] | bytes]: ...
    def next_documents(self, limit: int) -> list[dict[str, Any]]: ...
    def next_records(self, limit: int) -> list[bytes]: ...
    def count(self) -> int: ...
