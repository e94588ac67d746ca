"""Updates by operators: checked once, applied to many documents.

Invariants  See tree.py. `_id` never changes: what is equal to it leaves it as it is stored.
Failure     InvalidUpdate names the operator or the path; the document is as it was.
Sources     MongoDB manual, "Update Operators".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from rango._ext.key import key_whole
from rango._ext.record import encode
from rango.engine.update import arrays, operators
from rango.engine.update.comparison import PLAIN, Comparison, comparison_of
from rango.engine.update.filters import array_filters_of, check_unused, check_used
from rango.engine.update.operators import same
from rango.engine.update.paths import RESERVED, in_order_of_names, parts_of
from rango.engine.update.refusal import FAILED_TO_PARSE, IMMUTABLE_FIELD, refusal
from rango.engine.update.tree import (
    MISSING,
    Branch,
    Change,
    Context,
    apply_tree,
    insert,
    ordered,
    value_at,
)
from rango.engine.values import shown

SIMPLE: Final[dict[str, Callable[[str, Any], Change]]] = {
    "$set": operators.set_,
    "$unset": operators.unset,
    "$inc": operators.inc,
    "$mul": operators.mul,
    "$currentDate": operators.current_date,
    "$setOnInsert": operators.set_on_insert,
    "$bit": operators.bit,
    "$pop": arrays.pop,
}
"""What makes the change of one path."""

COMPARING: Final[dict[str, Callable[[str, Any, Comparison], Change]]] = {
    "$min": operators.min_,
    "$max": operators.max_,
    "$push": arrays.push,
    "$addToSet": arrays.add_to_set,
    "$pull": arrays.pull,
    "$pullAll": arrays.pull_all,
}
"""The same, of those that compare values."""

NAME: Final = re.compile(r"[^.$\0]+")
"""Of a field that an update may have to itself: no path, no operator, no position."""

SPECIAL: Final = RESERVED | {"_id"}

KNOWN: Final = dict.fromkeys((*SIMPLE, *COMPARING, "$rename"))


class Update:
    """A checked update by operators."""

    __slots__ = ("_on_insert", "_renames", "_tree", "needs_position")

    def __init__(self, tree: Branch, every: list[Change], needs_position: bool) -> None:
        self._on_insert = self._tree = _branch(tree, is_insert=True)
        self._renames = [change for change in every if change.source]
        self.needs_position = needs_position
        for change in every:
            if change.is_insert_only:
                self._tree = _branch(tree, is_insert=False)
                break

    def apply(
        self,
        document: dict[str, Any],
        *,
        position: int | None = None,
        is_insert: bool = False,
        now_ms: Callable[[], int] | None = None,
    ) -> dict[str, Any]:
        """The changed document, or the same object when nothing changed.

        `position` is the element that the filter matched, for `$`; `is_insert` says that an upsert
        makes the document, `now_ms` what time it is.
        """
        context = Context(position, is_insert, now_ms)
        if self._renames:
            context.sources = {
                each.path: value_at(document, each.source, ".".join(each.source))
                for each in self._renames
            }
        tree = self._on_insert if is_insert else self._tree
        changed = apply_tree(document, tree, context)
        if changed is document:
            return document
        return keep_id(document, changed, may_be_new=is_insert)


class PlainSet:
    """A checked `$set` of top-level fields: what most updates are."""

    __slots__ = ("_fields",)

    needs_position = False

    def __init__(self, fields: Mapping[str, Any]) -> None:
        names = fields if len(fields) == 1 else sorted(fields, key=in_order_of_names)
        self._fields = {name: fields[name] for name in names}

    def apply(
        self,
        document: dict[str, Any],
        *,
        position: int | None = None,  # noqa: ARG002 - the arguments of Update.apply
        is_insert: bool = False,  # noqa: ARG002
        now_ms: Callable[[], int] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """As Update.apply."""
        changed = document
        for name, operand in self._fields.items():
            if not same(changed.get(name, MISSING), operand):
                if changed is document:
                    changed = dict(document)
                changed[name] = operand
        return changed


def is_plain_set(update: Mapping[str, Any]) -> bool:
    """Whether an update only sets fields at the top, none of which is special."""
    fields = update.get("$set") if len(update) == 1 else None
    if type(fields) is not dict or not fields:
        return False
    for name in fields:
        if type(name) is not str or name in SPECIAL or not NAME.fullmatch(name):
            return False
    return True


def keep_id(
    document: dict[str, Any], changed: dict[str, Any], *, may_be_new: bool = False
) -> dict[str, Any]:
    """`changed` with the `_id` of `document`. InvalidUpdate if it has another one."""
    old, new = document.get("_id", MISSING), changed.get("_id", MISSING)
    if new is old or (old is MISSING and may_be_new) or same(old, new):
        return changed
    if old is MISSING or new is MISSING or key_whole(old) != key_whole(new):
        raise refusal(
            IMMUTABLE_FIELD,
            "an update cannot change the field '_id', which is immutable; insert a new document "
            "and delete the old one",
        )
    changed["_id"] = old
    return changed


def _branch(tree: Branch, is_insert: bool) -> Branch:
    found = ordered(tree, is_insert)
    return found if isinstance(found, Branch) else Branch()


def compile_operators(
    update: Mapping[str, Any],
    *,
    array_filters: object = None,
    collation: Any = None,
) -> Update | PlainSet:
    """Check an update. InvalidUpdate names the operator or path that is not understood."""
    if not array_filters and is_plain_set(update):
        # as operators.set_ does
        encode(update["$set"])
        return PlainSet(update["$set"])
    comparison = PLAIN if collation is None else comparison_of(collation)
    filters = array_filters_of(array_filters, collation=collation) if array_filters else {}
    used: set[str] = set()
    tree = Branch()
    every: list[Change] = []
    needs_position = False
    for operator, operands in update.items():
        for path, operand in _operands(operator, operands).items():
            if operator == "$rename":
                for change, parts in operators.rename(path, operand):
                    insert(tree, change, parts, filters)
                    every.append(change)
                continue
            parts = parts_of(operator, path)
            if "$" in path:
                check_used(filters, parts, used, path)
                needs_position = needs_position or "$" in parts
            change = _change(operator, path, operand, comparison)
            insert(tree, change, parts, filters)
            every.append(change)
    if filters:
        check_unused(filters, used)
    return Update(tree, every, needs_position)


def _change(operator: str, path: str, operand: Any, comparison: Comparison) -> Change:
    if operator in COMPARING:
        return COMPARING[operator](path, operand, comparison)
    return SIMPLE[operator](path, operand)


def _operands(operator: Any, operands: Any) -> Mapping[str, Any]:
    if operator in KNOWN and type(operands) is dict:
        return operands
    if not str(operator).startswith("$"):
        raise refusal(
            FAILED_TO_PARSE,
            f"an update has operators only, not the field {operator!r}; "
            f"write {{'$set': {{{operator!r}: ...}}}}, "
            "or use replace_one for a whole document",
        )
    if operator not in KNOWN:
        raise refusal(
            FAILED_TO_PARSE, f"unknown update operator {operator}; known are {' '.join(KNOWN)}"
        )
    if not isinstance(operands, Mapping):
        raise refusal(
            FAILED_TO_PARSE, f"{operator} needs a mapping of paths to values, not {shown(operands)}"
        )
    return operands
