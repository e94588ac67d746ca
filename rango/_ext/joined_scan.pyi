"""Scans of two indexes at once: of documents that have a key in both."""

from typing import Any, final

from rango._ext.filter import Program
from rango._ext.scan import Scan

@final
class JoinedScan:
    def __init__(
        self, own: Scan, other: Scan, program: Program, reverse: bool, join_after: int
    ) -> None: ...
    def next_documents(self, limit: int) -> list[dict[str, Any]]: ...
    def next_records(self, limit: int) -> list[bytes]: ...
    def count(self) -> int: ...
