"""Packs one segment, block by block: see pack.pyx."""

from typing import final

from rango._ext.seal import SealKey
from rango._ext.vfs import Vfs

@final
class SegmentPacker:
    @property
    def ordinal(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def chain(self) -> bytes: ...
    @property
    def frames(self) -> int: ...
    @property
    def commits(self) -> int: ...
    @property
    def seen(self) -> list[tuple[int, bytes]]: ...
    @property
    def purged(self) -> list[tuple[int, int, bytes]]: ...
    def __init__(
        self,
        vfs: Vfs,
        fd: int,
        frame_key: SealKey,
        piece_key: SealKey,
        database_id: bytes,
        segment_id: int,
        ordinal: int,
        chain: bytes,
        limit: int,
        digests: dict[int, bytes],
        asked: list[int],
    ) -> None: ...
    def pack(self, number: int) -> bytes: ...
    def pack_tail(self, tail: bytes) -> bytes: ...
