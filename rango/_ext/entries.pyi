"""Index entries: see entries.pyx."""

from typing import final

@final
class EntryMaker:
    """Makes the entries of documents for one index: its fields as ((path, 1 or -1), ...)."""

    fields: tuple[tuple[str, int], ...]
    sparse: bool
    def __init__(self, fields: tuple[tuple[str, int], ...], sparse: bool) -> None: ...

class ParallelArrays(Exception):
    """Inside this module: caught where the fields have names."""
