"""Hints: the index that a caller wants a query to use.

Failure     InvalidArgument for what names no index; NotFound for an index that is not there.
Sources     MongoDB manual, "cursor.hint()".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rango._ext.filter import Program
from rango.engine.implication import conjuncts_of
from rango.engine.keyed import Conjuncts
from rango.engine.plan import Plan, choose, has_collation, index_plan, scan_everything
from rango.engine.sort import Sort
from rango.engine.values import shown
from rango.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo

Hint = str | tuple[tuple[str, int], ...]


def hint_of(hint: object) -> Hint:
    """What a hint names: an index by name, or its keys such as [("a", 1)], or {"$natural": 1}."""
    if isinstance(hint, str):
        return hint
    pairs = list(hint.items()) if isinstance(hint, Mapping) else hint
    if isinstance(pairs, (list, tuple)) and pairs:
        keys = [(each, 1) if isinstance(each, str) else each for each in pairs]
        if all(
            isinstance(each, (list, tuple))
            and len(each) == 2
            and isinstance(each[0], str)
            and each[1] in (1, -1)
            for each in keys
        ):
            return tuple((path, int(direction)) for path, direction in keys)
    raise InvalidArgument(
        f'hint must be an index name, keys like [("a", 1)], or {{"$natural": 1}}, not {shown(hint)}'
    )


def hinted(program: Program, sort: Sort, hint: Hint, info: CollectionInfo) -> Plan:
    """The plan that a hint forces; NotFound if it names no index."""
    conjuncts = Conjuncts(conjuncts_of(program.normal), has_collation(program))
    match hint:
        case (("$natural", direction),):
            return scan_everything(conjuncts, sort, direction < 0)
        case "_id_" | (("_id", _),):
            return choose(program, sort)
    for number, index in enumerate(info.indexes):
        if hint in (index.name, index.fields):
            plan = index_plan(conjuncts, sort, index, 1, number, is_forced=True)
            assert plan is not None
            return plan
    raise NotFound(
        f"hint: collection {info.name!r} has no index {hint!r}; list_indexes() names them",
        code=2,
    )
