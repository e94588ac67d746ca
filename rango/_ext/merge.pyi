"""The checkpoint's merge: kernels; the Python doors are those of generation."""

from typing import final

from rango._ext.pager import Pager

@final
class TreeMerge:
    def __init__(self, pager: Pager, page_size: int = 0) -> None: ...
