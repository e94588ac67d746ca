"""Moves page images to the front of the data file: see relocate.pyx."""

from rango._ext.builder import Builder
from rango._ext.view import Generation

def generation_relocated(
    builder: Builder,
    old: Generation,
    definitions: dict[int, bytes],
    number: int,
    limit: int,
    budget: int,
) -> tuple[Generation, int]: ...
