"""What the engine knows of a collection and its indexes."""

from typing import final

@final
class IndexInfo:
    name: str
    tree_id: int
    path: str
    direction: int
    unique: bool
    multikey: bool
    def __init__(
        self, name: str, tree_id: int, path: str, direction: int, unique: bool, multikey: bool
    ) -> None: ...

@final
class CollectionInfo:
    name: str
    tree_id: int
    indexes: tuple[IndexInfo, ...]
    maintained: tuple[IndexInfo, ...]
    def __init__(
        self,
        name: str,
        tree_id: int,
        indexes: tuple[IndexInfo, ...],
        maintained: tuple[IndexInfo, ...] | None = None,
    ) -> None: ...
