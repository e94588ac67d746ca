"""One open database: commits, visibility, replay, and the building of generations."""

from typing import Any, final

from rango._ext.batch import Batch
from rango._ext.builder import Builder
from rango._ext.clock import Clock
from rango._ext.pager import Pager
from rango._ext.view import Generation, View

@final
class Store:
    pager: Pager
    builder: Builder
    appender: Any  # an Appender; None while the log is replayed, and for readers
    current: View
    head: View
    clock: Clock
    node: bytes
    visible_at_once: bool
    marks: dict[int, int]
    def __init__(
        self, pager: Pager, generation: Generation, node: bytes, page_size: int = 0
    ) -> None: ...
    def begin(self) -> Batch: ...
    def commit(self, batch: Batch) -> int: ...
    def publish(self) -> None: ...
    @property
    def overlay_count(self) -> int: ...
    @property
    def overlay_bytes(self) -> int: ...
    @property
    def revision_floor(self) -> tuple[int, int]: ...
    def build(
        self, view: View, definitions: dict[int, bytes], number: int, ordinal: int
    ) -> Generation: ...
    def keep(self, generation: Generation) -> None: ...
    def floor(self, ms: int, counter: int) -> None: ...
    def apply(
        self, body: bytes, first_ordinal: int, ordinal: int
    ) -> list[tuple[int, bytes | None]]: ...
    def adopt(self, generation: Generation, is_named: bool) -> None: ...
