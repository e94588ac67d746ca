"""How values compare in an update: in BSON order, or strings by a collation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rango._ext.key import key_whole


class Comparison:
    """`key(value)`: bytes that compare as the values do, and are equal where these are."""

    __slots__ = ("collation", "key")

    def __init__(self, key: Callable[[Any], bytes], collation: Any = None) -> None:
        self.key = key
        self.collation = collation


PLAIN: Final = Comparison(key_whole)


def comparison_of(collation: object) -> Comparison:
    """The comparison of a collation. Raises InvalidArgument."""
    from rango.engine.collation import collation_of

    found = collation_of(collation)
    if found is None:
        return PLAIN
    fold = found.fold_value
    return Comparison(lambda value: key_whole(fold(value)), found)
