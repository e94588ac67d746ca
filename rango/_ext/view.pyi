"""Reads: snapshots and scans."""

from typing import Any, final

from rango._ext.filter import Program

@final
class Generation:
    number: int
    ordinal: int
    tree_count: int
    def __init__(self, number: int, ordinal: int) -> None: ...

@final
class Counts: ...

@final
class View:
    ordinal: int
    catalog: Any
    def get(self, tree: int, key: bytes) -> bytes | None: ...
    def find_id(self, tree: int, id_value: object) -> dict[str, Any] | None: ...
    def find_named(self, name: str, id_value: object) -> dict[str, Any] | None: ...
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
    @property
    def generation_number(self) -> int: ...
    @property
    def generation_ordinal(self) -> int: ...
    @property
    def overlay_entries(self) -> int: ...
    def close(self) -> None: ...

@final
class Scan:
    tree: int
    keys_examined: int
    records_examined: int
    matched: int
    def __init__(
        self,
        view: View,
        tree: int,
        index_tree: int,
        lower: bytes | None,
        upper: bytes | None,
        reverse: bool,
        program: Program | None,
        is_multikey: bool,
    ) -> None: ...
    def next_documents(self, limit: int) -> list[dict[str, Any]]: ...
    def next_records(self, limit: int) -> list[bytes]: ...
    def next_entries(self, limit: int) -> list[tuple[bytes, bytes]]: ...
    def count(self) -> int: ...
    def close(self) -> None: ...
