"""Dotted paths in documents as Python values: what upsert starts from, what distinct() finds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bson.regex import Regex

from rango.engine.query import Document
from rango.errors import InvalidUpdate
from rango.names import RESERVED_NAMES


def equalities(normal: tuple[Any, ...]) -> Document:
    """The document that an upsert starts from: what the filter says to be equal, at its place."""
    seed: Document = {}
    nodes = normal[1] if normal[0] == "$and" else (normal,)
    for node in nodes:
        if node[0] != "$eq" or node[1] in RESERVED_NAMES or isinstance(node[2], re.Pattern | Regex):
            continue
        *parents, name = node[1].split(".")
        inner = seed
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise InvalidUpdate(
                    f"upsert: the filter gives {node[1]!r} and a field above it different values"
                )
        if name in inner:
            raise InvalidUpdate(f"upsert: the filter gives {node[1]!r} twice; it cannot be both")
        inner[name] = node[2]
    return seed


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
