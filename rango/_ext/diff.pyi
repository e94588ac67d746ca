"""Differences: the keys whose documents are not the same in two views."""

from typing import final

from rango._ext.stop import Stop
from rango._ext.view import View

@final
class Diff:
    pages_read: int
    links_skipped: int
    stop: Stop | None
    def __init__(
        self,
        left: View,
        left_tree: int,
        right: View,
        right_tree: int,
        stop: Stop | None = None,
    ) -> None: ...
    def next_records(self, limit: int) -> list[tuple[bytes | None, bytes | None]]: ...
    def close(self) -> None: ...
