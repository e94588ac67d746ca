"""Generations: loading one, and building the next one."""

from typing import Any, final

from rango._ext.pager import Pager
from rango._ext.view import Generation, View

def generation_empty() -> Generation: ...
def generation_load(
    pager: Pager,
    number: int,
    ordinal: int,
    catalog_link: bytes,
    catalog_height: int,
    bitmap_links: list[bytes],
    file_units: int,
    next_tree: int,
) -> tuple[Generation, list[tuple[int, bytes]]]: ...
def generation_units_only(
    pager: Pager, number: int, bitmap_links: list[bytes], file_units: int
) -> Generation: ...
def generation_slot(generation: Generation) -> dict[str, Any]: ...
def generation_trees(generation: Generation) -> dict[int, tuple[bytes, int, int, int]]: ...
def generation_units(generation: Generation) -> bytes: ...

@final
class Builder:
    pager: Pager
    def __init__(self, pager: Pager, generation: Generation, page_size: int = 0) -> None: ...
    def watch(self, generation: Generation) -> None: ...
    def keep(self, generation: Generation) -> None: ...
    def name(self, generation: Generation) -> None: ...
    def build(
        self,
        view: View,
        definitions: dict[int, bytes],
        multikey: set[int],
        number: int,
        ordinal: int,
    ) -> Generation: ...
