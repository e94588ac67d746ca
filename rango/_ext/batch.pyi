"""One commit in the making."""

from typing import Any, final

from rango._ext.collection_info import CollectionInfo, IndexInfo
from rango._ext.view import View

@final
class Clock:
    ms: int
    counter: int

@final
class Batch:
    base_ordinal: int
    count: int
    is_broken: bool
    marks: dict[int, int]
    catalog: Any
    def __init__(self, view: View, clock: Clock, node: bytes, first_ordinal: int) -> None: ...
    def insert(self, info: CollectionInfo, bson: bytes, now_ms: int) -> None: ...
    def replace(
        self, info: CollectionInfo, old_record: bytes, bson: bytes, now_ms: int
    ) -> None: ...
    def delete(self, info: CollectionInfo, old_record: bytes, now_ms: int) -> None: ...
    def define(self, tree: int, definition: bytes | None, is_new: bool) -> None: ...
    def fill_index(self, info: CollectionInfo, index: IndexInfo, record: bytes) -> None: ...
    def snapshot(self) -> View: ...
    @property
    def size_bytes(self) -> int: ...
