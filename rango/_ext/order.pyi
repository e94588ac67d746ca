"""Sorting records: see order.pyx."""

from collections.abc import Callable
from typing import final

from rango._ext.scan import Scan
from rango._ext.stop import Stop

@final
class SortField:
    """One field of a sort and those behind it."""

    def __init__(self, path: str, falling: bool, behind: SortField | None = None) -> None: ...

@final
class Sorter:
    """Takes records and gives them in order. One thread at a time.

    `slow` makes the key of a record that the fields cannot make; without fields, of all. With a
    `limit` above 0 only that many are kept, at most `held_max` bytes in either case.
    """

    held: int
    def __init__(
        self,
        first: SortField | None,
        slow: Callable[[bytes], bytes],
        limit: int,
        held_max: int,
    ) -> None: ...
    def end_with(self, stop: Stop | None) -> None: ...
    def add_records(self, records: list[bytes]) -> None: ...
    def add_scan(self, scan: Scan) -> None: ...
    def __len__(self) -> int: ...
    def records(self, start: int, count: int) -> list[bytes]: ...
    def key_of(self, record: bytes) -> bytes: ...
