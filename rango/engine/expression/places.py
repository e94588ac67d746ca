"""Where the values of an array stand: what $in and $indexOfArray ask of long arrays.

Terms       place: a position in an array; plain, key: see scope.Scope.
Invariants  An array that is asked ASKED_MAX times in one evaluation gets a table of its values by
            their keys; until then it is walked, which is cheaper for the few. Many questions arise
            in the loops of $map, $filter and $reduce, and where a variable outlives a document
            (`let` of a statement), so these provide a Places, under a name that no variable has.
            A constant array gets its table when it is first asked.
            A Places keeps its arrays alive, so an identity is never that of another one; values of
            documents and variables do not change while expressions run.
Failure     none.
Sources     MongoDB manual, "$in (aggregation)", "$indexOfArray".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from rango.engine.collation import Collation
from rango.engine.expression.scope import Key, Node, Scope

PLACES: Final = ""
"""The name under which variables hold a Places: users cannot write it."""

ASKED_MAX: Final = 8
"""Questions that are answered by walking along the array."""

LENGTH_MIN: Final = 16
"""Shorter arrays are always walked."""

ARRAYS_MAX: Final = 16
"""Arrays that are kept in mind: those that were asked last."""


class Table:
    """The places of each value of an array, by its key."""

    __slots__ = ("again", "first")

    def __init__(self, key_of: Key, array: list[Any]) -> None:
        self.first: dict[bytes, int] = {}
        self.again: dict[bytes, list[int]] = {}
        for place, element in enumerate(array):
            key = key_of(element)
            if self.first.setdefault(key, place) != place:
                self.again.setdefault(key, []).append(place)

    def find(self, key: bytes, start: int, end: int) -> int:
        """The first place from `start` to before `end` that has this value, or -1."""
        place = self.first.get(key, -1)
        if 0 <= place < start:
            later = self.again.get(key, [])
            at = bisect_left(later, start)
            place = later[at] if at < len(later) else -1
        return place if place < end else -1


class Places:
    """The arrays that one evaluation asks for values."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: dict[tuple[int, Collation | None], tuple[list[Any], int, Table | None]] = {}

    def table(self, scope: Scope, array: list[Any]) -> Table | None:
        """The table of an array that is asked once more; None if it is to be walked."""
        asked = self._asked
        key = (id(array), scope.collation)
        kept, count, table = asked.pop(key, (array, 0, None))
        if table is None and count >= ASKED_MAX:
            table = Table(scope.key_of, array)
        if len(asked) >= ARRAYS_MAX:
            del asked[next(iter(asked))]
        asked[key] = (kept, count + 1, table)
        return table


def provided(variables: dict[str, Any]) -> dict[str, Any]:
    """A copy of some variables that holds a Places, for who evaluates something repeatedly."""
    made = dict(variables)
    if PLACES not in made:
        made[PLACES] = Places()
    return made


Finder = Callable[[list[Any], Any, tuple[int, int], dict[str, Any]], int]


def finder(scope: Scope, array: Node) -> Finder:
    """`find(array, value, (start, end), variables)`: the first place within the bounds that holds
    an equal value, or -1. `array` is the node that the arrays come from.
    """
    if not array.is_constant:
        return partial(_find, scope)
    known: list[Table] = []

    def find(
        array: list[Any], value: Any, bounds: tuple[int, int], _variables: dict[str, Any]
    ) -> int:
        if not known:
            known.append(Table(scope.key_of, array))
        return known[0].find(scope.key_of(value), *bounds)

    return find


def _find(
    scope: Scope, array: list[Any], value: Any, bounds: tuple[int, int], variables: dict[str, Any]
) -> int:
    places: Places | None = variables.get(PLACES)
    if places is not None and len(array) >= LENGTH_MIN:
        table = places.table(scope, array)
        if table is not None:
            return table.find(scope.key_of(value), *bounds)
    return _walked(scope, array, value, *bounds)


def _walked(scope: Scope, array: list[Any], value: Any, start: int, end: int) -> int:
    kind = type(value)
    is_plain, key_of = kind in scope.plain, scope.key_of
    key: bytes | None = None
    for place in range(start, min(end, len(array))):
        element = array[place]
        if is_plain and type(element) is kind:
            if element == value:
                return place
            continue
        key = key_of(value) if key is None else key
        if key_of(element) == key:
            return place
    return -1
