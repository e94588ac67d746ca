"""Whether a name still leads to the file that is open: see file_place.pyx."""

from os import PathLike
from typing import final

@final
class FilePlace:
    def __init__(self, path: str | PathLike[str], fd: int) -> None: ...
    def is_kept(self, is_flushed: bool = True) -> bool: ...
