"""Reads: snapshots, and point reads from them."""

from collections.abc import Sequence
from typing import Any, final

from rango._ext.filter import Program
from rango._ext.points import Points
from rango._ext.scan import Scan

@final
class Generation:
    number: int
    ordinal: int
    tree_count: int
    roots_link: bytes
    def __init__(self, number: int, ordinal: int) -> None: ...

@final
class Counts: ...

@final
class View:
    ordinal: int
    catalog: Any
    def leased(self, lease: object) -> View: ...
    def get(self, tree: int, key: bytes) -> bytes | None: ...
    def find_id(self, tree: int, id_value: object) -> dict[str, Any] | None: ...
    def find_named(self, name: str, id_value: object) -> dict[str, Any] | None: ...
    def recount(self, tree: int, documents: int) -> None: ...
    def count(self, tree: int) -> int: ...
    def scan(
        self,
        tree: int,
        lower: bytes | None,
        upper: bytes | None,
        reverse: bool,
        program: Program | None,
    ) -> Scan: ...
    def index_scan(
        self,
        index_tree: int,
        tree: int,
        lower: bytes | None,
        upper: bytes | None,
        reverse: bool,
        program: Program | None,
        is_multikey: bool = True,
    ) -> Scan: ...
    def scan_intervals(
        self,
        tree: int,
        index_tree: int,
        intervals: Sequence[tuple[Any, ...]] | Points,
        reverse: bool,
        program: Program | None,
        seen: set[bytes] | None,
    ) -> Scan: ...
    @property
    def generation_number(self) -> int: ...
    @property
    def generation_ordinal(self) -> int: ...
    @property
    def overlay_entries(self) -> int: ...
    def close(self) -> None: ...
