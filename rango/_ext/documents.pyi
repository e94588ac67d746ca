"""Documents on their way into a batch."""

from collections.abc import Callable
from typing import Any, final

from rango._ext.batch import Batch
from rango._ext.collection_info import CollectionInfo
from rango.errors import DuplicateKey

@final
class Documents:
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> bytes: ...
    def add(self, bson: bytes) -> None: ...
    def encode(
        self,
        given: list[Any],
        end: int,
        ids: list[Any],
        id_types: frozenset[type],
        new_id: Callable[[], Any],
        other: Callable[[Any], tuple[Any, bytes]],
    ) -> None: ...
    def run_end(self, start: int, count_max: int, size_max: int) -> int: ...
    def insert_run(
        self,
        batch: Batch,
        info: CollectionInfo,
        start: int,
        end: int,
        size_max: int,
        now_ms: int,
    ) -> tuple[int, DuplicateKey | None]: ...
