"""What stands where the store of a database was that cannot be used any more."""

from __future__ import annotations

from typing import Any, cast

from rango._ext.store import Store
from rango.errors import RangoError


class _Gone:
    """Stands where the store was, so that point reads need no check of their own."""

    def __init__(self, error: type[RangoError], message: str) -> None:
        self._error = error
        self._message = message

    def __getattr__(self, name: str) -> Any:
        raise self._error(self._message)


def gone(error: type[RangoError], message: str) -> Store:
    """What stands for the store of a database that cannot be used any more."""
    return cast(Store, _Gone(error, message))
