"""Some fields of the documents of a scan: see columns.pyx."""

from typing import Any, Final

from rango._ext.scan import Scan

NAMES_COUNT_MAX: Final[int]

def next_columns(
    scan: Scan, limit: int, names: tuple[str, ...], missing: object
) -> list[list[Any]]: ...
def next_fields(scan: Scan, limit: int, names: tuple[str, ...]) -> list[dict[str, Any]]: ...
