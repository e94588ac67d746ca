"""A packed segment, shown as the bytes that it was packed from: see unpacked.pyx."""

from typing import final

from rango._ext.seal import SealKey
from rango._ext.vfs import Vfs

@final
class UnpackedVfs(Vfs):
    @property
    def segment_id(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def tail_size(self) -> int: ...
    @property
    def damaged(self) -> list[tuple[int, str]]: ...
    def __init__(
        self,
        below: Vfs,
        fd: int,
        frame_key: SealKey,
        piece_key: SealKey,
        database_id: bytes,
        segment_id: int,
        limit: int,
        tail_size: int,
        table: bytes,
        *,
        block_count: int,
        places: list[tuple[int, int]] | None = None,
    ) -> None: ...
    def find(self, ordinal: int) -> int | None: ...
    def frame_at(self, offset: int) -> tuple[int, int, int, int, bytes, int] | None: ...
