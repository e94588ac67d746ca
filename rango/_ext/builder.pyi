"""Builds the next generation, for a checkpoint."""

from typing import final

from rango._ext.pager import Pager
from rango._ext.shared import Shared
from rango._ext.view import Generation, View

@final
class Builder:
    pager: Pager
    shared: Shared | None
    pinned_units_max: int
    roots: list[Generation]
    roots_content: bytes | None
    def __init__(self, pager: Pager, generation: Generation, page_size: int = 0) -> None: ...
    def watch(self, generation: Generation) -> None: ...
    def keep(self, generation: Generation) -> None: ...
    def name(self, generation: Generation) -> None: ...
    def rename(self, generation: Generation) -> None: ...
    @property
    def pinned(self) -> list[int]: ...
    def scrub(self) -> int: ...
    def build(
        self,
        view: View,
        definitions: dict[int, bytes],
        marks: dict[int, int],
        number: int,
        ordinal: int,
    ) -> Generation: ...
