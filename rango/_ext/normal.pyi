"""The normal form of a filter."""

from collections.abc import Mapping
from typing import Any, Final

HEADER_NAMES: Final[frozenset[str]]

def filter_parse(filter: Mapping[str, Any]) -> tuple[Any, ...]: ...
def revision_parse(text: str) -> tuple[int, int, int] | None: ...
def path_check(path: str) -> None: ...
