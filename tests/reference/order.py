"""The twin of rango/_ext/order.pyx: what a sort means, by comparing values.

A document is first freed of its arrays: the one array that the paths lead through is replaced by
each of its elements in turn. The document counts as the first of what comes out, in the order of
the sort. Paths hold no numbers here.
"""

from __future__ import annotations

import copy
import functools
from typing import Any, NamedTuple

from tests.reference import filter as twin

Sort = tuple[tuple[str, int], ...]


class ParallelArrays(Exception):
    """Two arrays side by side have no order."""


class Kept:
    """An array that is itself an element: it counts as a whole."""

    def __init__(self, value: list[Any]) -> None:
        self.value = value


class Freed(NamedTuple):
    """A document without arrays on the paths, and what paths that end above one mean."""

    document: dict[str, Any]
    above: dict[str, Any]

    def value_at(self, path: str) -> Any:
        return self.above[path] if path in self.above else value_at(self.document, path)


EMPTY = object()


def array_on(document: dict[str, Any], path: str) -> tuple[str, ...] | None:
    """Where a path first meets an array."""
    value: Any = document
    parts = path.split(".")
    for at, part in enumerate(parts):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
        if isinstance(value, list):
            return tuple(parts[: at + 1])
    return None


def replaced(document: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    found = copy.copy(document)
    if len(place) == 1:
        found[place[0]] = value
    else:
        found[place[0]] = replaced(found[place[0]], place[1:], value)
    return found


def value_at(document: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(part)
    return document


def freed(
    document: dict[str, Any], paths: list[str], above: dict[str, Any] | None = None
) -> list[Freed]:
    places = {array_on(document, path) for path in paths} - {None}
    above = above or {}
    if not places:
        return [Freed(document, above)]
    if len(places) > 1:
        raise ParallelArrays
    place = places.pop()
    assert place is not None
    name = ".".join(place)
    elements = value_at(document, name)
    # a path that ends above the array means the whole, with the array in it
    whole = {path: value_at(document, path) for path in paths if name.startswith(f"{path}.")}
    found: list[Freed] = []
    for element in elements or [EMPTY]:
        kept = Kept(element) if isinstance(element, list) else element
        found += freed(replaced(document, place, kept), paths, {**whole, **above})
    return found


def compare_values(left: Any, right: Any) -> int:
    """An empty array comes before null; MinKey is the only value before it."""
    if left is EMPTY or right is EMPTY:
        ranks = [1.5 if each is EMPTY else 2 * twin.class_of(plain(each)) for each in (left, right)]
        return twin.sign(*ranks)
    return twin.compare(plain(left), plain(right))


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Kept) else value


def compare_freed(left: Freed, right: Freed, sort: Sort) -> int:
    for path, direction in sort:
        order = compare_values(left.value_at(path), right.value_at(path))
        if order:
            return order * direction
    return 0


def first_of(document: dict[str, Any], sort: Sort) -> Freed:
    choices = freed(document, [path for path, _ in sort])
    return min(choices, key=functools.cmp_to_key(functools.partial(compare_freed, sort=sort)))


def ordered(documents: list[dict[str, Any]], sort: Sort) -> list[int]:
    """The positions of the documents in the order of the sort."""
    firsts = [first_of(document, sort) for document in documents]

    def compare(left: int, right: int) -> int:
        return compare_freed(firsts[left], firsts[right], sort)

    return sorted(range(len(documents)), key=functools.cmp_to_key(compare))
