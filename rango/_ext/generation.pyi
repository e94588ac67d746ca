"""Generations: what a superblock slot names; how one is read."""

from typing import Any

from rango._ext.pager import Pager
from rango._ext.view import Generation

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
def roots_page(pager: Pager, link: bytes) -> bytes: ...
def generation_slot(generation: Generation) -> dict[str, Any]: ...
def generation_trees(generation: Generation) -> dict[int, tuple[bytes, int, int, int]]: ...
def generation_units(generation: Generation) -> bytes: ...
