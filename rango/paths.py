"""Dotted paths in documents as Python values: what distinct() finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def values_at(value: Any, names: Sequence[str]) -> Iterator[Any]:
    """The values at a dotted path, arrays met on the way and at the end unwound."""
    if not names:
        if isinstance(value, list):
            yield from value
        else:
            yield value
    elif isinstance(value, Mapping):
        if names[0] in value:
            yield from values_at(value[names[0]], names[1:])
    elif isinstance(value, list):
        if names[0].isdigit() and int(names[0]) < len(value):
            yield from values_at(value[int(names[0])], names[1:])
        for each in value:
            if isinstance(each, Mapping):
                yield from values_at(each, names)
