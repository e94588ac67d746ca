"""Page images: reading them by their links, and the writing side of a checkpoint."""

from typing import Protocol, final, type_check_only

from rango._ext.seal import SealKey
from rango._ext.shared import Shared
from rango._ext.vfs import Vfs

@type_check_only
class PageKeys(Protocol):
    def page_key(self, epoch: int) -> SealKey: ...

@final
class Pager:
    vfs: Vfs
    path: str
    fd: int
    private_fd: int
    keyring: PageKeys
    epoch: int
    reads: int
    hits: int
    seals: int
    shared: Shared | None
    def __init__(
        self,
        vfs: Vfs,
        path: str,
        fd: int,
        database_id: bytes,
        keyring: PageKeys,
        epoch: int,
        cache_size: int,
    ) -> None: ...
    def stats(self) -> dict[str, int]: ...
    def close(self) -> None: ...
    def write_apart(self, fd: int, floor: int) -> None: ...
    def epoch_use(self, epoch: int) -> None: ...
    def cache_resize(self, cache_size: int) -> None: ...
    def forget_cache(self) -> None: ...
    def page_of(self, link: bytes) -> tuple[int, bytes]: ...
