"""What the engine knows of a collection and its indexes."""

from collections.abc import Mapping
from typing import Any, Final, final

MARKS_ALL: Final[int]

@final
class IndexInfo:
    name: str
    tree_id: int
    fields: tuple[tuple[str, int], ...]
    path: str
    direction: int
    unique: bool
    sparse: bool
    hidden: bool
    partial: Mapping[str, Any] | None
    expire_after_s: int | None
    marks: int
    def __init__(
        self,
        name: str,
        tree_id: int,
        fields: tuple[tuple[str, int], ...],
        *,
        unique: bool = False,
        sparse: bool = False,
        partial: Mapping[str, Any] | None = None,
        expire_after_s: int | None = None,
        hidden: bool = False,
        marks: int = 0,
    ) -> None: ...
    def entries(self, bson: bytes) -> list[tuple[bytes, bytes]]: ...
    @property
    def multikey(self) -> bool: ...
    @property
    def shortened(self) -> bool: ...
    @property
    def multikey_paths(self) -> frozenset[str]: ...

@final
class CollectionInfo:
    name: str
    tree_id: int
    indexes: tuple[IndexInfo, ...]
    ready: tuple[IndexInfo, ...]
    maintained: tuple[IndexInfo, ...]
    def __init__(
        self,
        name: str,
        tree_id: int,
        indexes: tuple[IndexInfo, ...],
        maintained: tuple[IndexInfo, ...] | None = None,
        ready: tuple[IndexInfo, ...] | None = None,
    ) -> None: ...
