"""A lock among threads and processes for work that is rare and long: see process_lock.pyx."""

from types import TracebackType
from typing import Self, final

from rango._ext.append_lock import AppendLock
from rango._ext.vfs import Vfs

@final
class ProcessLock:
    @property
    def threads(self) -> AppendLock: ...
    def __init__(self, vfs: Vfs, fd: int, place: int, seconds: float, work: str) -> None: ...
    def take(self, seconds: float) -> bool: ...
    def drop(self) -> None: ...
    def locked(self) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
