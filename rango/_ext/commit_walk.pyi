"""Reading a log in order for those who watch it: see commit_walk.pyx."""

from typing import Final

from rango._ext.segment_scan import Scanner

PROOF_SIZE: Final = 8

def commits_read(
    scanner: Scanner, ordinal: int, size_max: int
) -> list[tuple[int, int, bytes, bytes]]: ...
def commit_reach(scanner: Scanner, ordinal: int) -> tuple[int, int, bytes] | None: ...
def definitions_read(scanner: Scanner, ordinal: int) -> list[tuple[int, int, bytes]]: ...
