"""Updates: `$set`, `$unset` and `$inc` on dotted paths, checked once and applied to many documents.

Terms       change: what one path gets; the changes of an update form a tree by the parts of their
            paths.
Invariants  The document that is given is never changed: what is on a changed path is copied, the
            rest is shared. The same object comes back when nothing changed. Fields keep their
            order; new ones are added in the order of their names (numbers by value), as MongoDB
            does since 5.0. `_id` never changes.
Failure     InvalidUpdate names the path and the reason; the document is as it was.
Sources     MongoDB manual, "Update Operators", "Update Operators Behavior".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, Final

from bson.decimal128 import Decimal128, create_decimal128_context
from bson.int64 import Int64

from rango._ext.record import encode
from rango.errors import InvalidUpdate
from rango.limits import NESTING_DEPTH_MAX

ARRAY_PADDING_COUNT_MAX: Final = 10_000
"""Nulls that $set may add to an array to reach a position: a slip must not fill a document."""

RESERVED: Final = frozenset(("_rev", "_updated_at", "_source_node", "_deleted", "_conflicts"))
INT32_MIN: Final = -(1 << 31)
INT32_MAX: Final = (1 << 31) - 1
INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1


class _Missing:
    """The type of MISSING: no value at this path."""


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Change:
    """What a path gets: `make(old or MISSING, place)` gives the new value, MISSING removes it."""

    path: str
    make: Callable[[Any, str], Any]
    is_removal: bool = False


Tree = dict[str, "Tree | Change"]


@dataclass(frozen=True, slots=True)
class Update:
    """A checked update."""

    tree: Tree

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """The changed document, or the same object when nothing changed."""
        changed = _apply_document(document, self.tree, "")
        if changed is not document and not _same(
            document.get("_id", MISSING), changed.get("_id", MISSING)
        ):
            raise InvalidUpdate(
                "an update cannot change '_id'; insert a new document and delete the old one"
            )
        return changed


def apply_update(document: dict[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """compile_update(update).apply(document)."""
    return compile_update(update).apply(document)


def compile_update(update: Mapping[str, Any]) -> Update:
    """Check an update. InvalidUpdate names the operator or path that is not understood."""
    if not isinstance(update, Mapping):
        raise InvalidUpdate(
            f"an update is a mapping of operators, not {type(update).__name__}: {update!r:.100}"
        )
    if not update:
        raise InvalidUpdate("an update is empty; name at least one operator, such as $set")
    tree: Tree = {}
    for operator, changes in update.items():
        if not str(operator).startswith("$"):
            raise InvalidUpdate(
                f"an update has operators only, not the field {operator!r}; "
                f"write {{'$set': {{{operator!r}: ...}}}}, "
                "or use replace_one for a whole document"
            )
        if operator not in OPERATORS:
            raise InvalidUpdate(
                f"unknown update operator {operator}; known are {' '.join(OPERATORS)}"
            )
        if not isinstance(changes, Mapping):
            raise InvalidUpdate(
                f"{operator} needs a mapping of paths to values, not {changes!r:.100}"
            )
        for path, operand in changes.items():
            parts = _parts(operator, path)
            _insert(tree, OPERATORS[operator](path, operand), parts)
    return Update(_ordered(tree))


def _parts(operator: str, path: object) -> list[str]:
    if not isinstance(path, str):
        raise InvalidUpdate(f"{operator} names fields by strings, not {path!r:.100}")
    parts = path.split(".")
    if "" in parts:
        raise InvalidUpdate(
            f"{operator}: the path {path!r} has an empty field name, which is not allowed"
        )
    if "\x00" in path:
        raise InvalidUpdate(
            f"{operator}: the path {path!r} has a NUL character, which is not allowed"
        )
    for place, part in enumerate(parts):
        if part == "$" or part.startswith("$["):
            raise InvalidUpdate(
                f"{operator}: the positional operator in {path!r} is not supported; name a position"
            )
        if part.startswith("$") and (place == 0 or part not in ("$ref", "$id", "$db")):
            raise InvalidUpdate(
                f"{operator}: the name {part!r} in {path!r} starts with $, which is not allowed"
            )
    if parts[0] in RESERVED:
        raise InvalidUpdate(f"{operator}: {parts[0]!r} is kept by Rango and cannot be updated")
    if len(parts) > NESTING_DEPTH_MAX:
        raise InvalidUpdate(
            f"{operator}: the path {path[:60]!r}... has more than {NESTING_DEPTH_MAX} parts"
        )
    return parts


def _insert(tree: Tree, change: Change, parts: list[str]) -> None:
    *parents, last = parts
    for place, part in enumerate(parents):
        below = tree.setdefault(part, {})
        if isinstance(below, Change):
            raise _conflict(change.path, ".".join(parents[: place + 1]))
        tree = below
    if last in tree:
        raise _conflict(change.path, change.path)
    tree[last] = change


def _conflict(path: str, place: str) -> InvalidUpdate:
    return InvalidUpdate(
        f"updating the path {path!r} would create a conflict at {place!r}; name each place once"
    )


def _ordered(tree: Tree) -> Tree:
    names = sorted(
        tree, key=lambda name: (0, int(name), name) if _is_digits(name) else (1, 0, name)
    )
    found: Tree = {}
    for name in names:
        below = tree[name]
        found[name] = below if isinstance(below, Change) else _ordered(below)
    return found


def _is_digits(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _has_effect(tree: Tree) -> bool:
    """Would these changes put anything where there is nothing?"""
    return any(
        not below.is_removal if isinstance(below, Change) else _has_effect(below)
        for below in tree.values()
    )


def _apply_document(document: dict[str, Any], tree: Tree, at: str) -> dict[str, Any]:
    changed = document
    for name, below in tree.items():
        old = changed.get(name, MISSING)
        new = _apply(old, below, at + name)
        if new is old:
            continue
        if changed is document:
            changed = dict(document)
        if new is MISSING:
            del changed[name]
        else:
            changed[name] = new
    return changed


def _apply(old: Any, below: Tree | Change, at: str) -> Any:
    """The new value of a place; the same object when it does not change."""
    if isinstance(below, Change):
        return below.make(old, at)
    if isinstance(old, dict):
        return _apply_document(old, below, at + ".")
    if isinstance(old, list):
        return _apply_array(old, below, at + ".")
    if not _has_effect(below):
        return old
    if old is MISSING:
        return _apply_document({}, below, at + ".")
    raise InvalidUpdate(
        f"cannot create the field {next(iter(below))!r} in {at!r}: "
        f"there is {old!r:.60}, not a document"
    )


def _apply_array(array: list[Any], tree: Tree, at: str) -> list[Any]:
    changed = array
    for name, below in tree.items():
        has_effect = _has_effect({name: below})
        if not _is_digits(name) or (name[0] == "0" and name != "0"):
            if has_effect:
                raise InvalidUpdate(
                    f"cannot create the field {name!r} in {at[:-1]!r}: "
                    "it is an array; name a position"
                )
            continue
        place = int(name[:10])
        if place >= len(changed):
            if not has_effect:
                continue
            if place - len(changed) > ARRAY_PADDING_COUNT_MAX:
                raise InvalidUpdate(
                    f"{at + name!r} would add {place - len(changed)} nulls to an array "
                    f"of {len(changed)}; "
                    f"at most {ARRAY_PADDING_COUNT_MAX} are added"
                )
            new = _apply(MISSING, below, at + name)
            changed = [*changed, *[None] * (place - len(changed)), new]
            continue
        new = _apply(changed[place], below, at + name)
        if new is MISSING:
            # a place in an array cannot be taken away without moving the others
            new = None
        if new is not changed[place]:
            changed = list(changed) if changed is array else changed
            changed[place] = new
    return changed


def _encoded(value: Any) -> bytes:
    return encode({"": value})


def _same(old: Any, new: Any) -> bool:
    """Would both be stored as the same bytes?"""
    if old is MISSING or new is MISSING:
        return old is new
    if type(old) is type(new) and isinstance(old, (str, bool)):
        return bool(old == new)
    return _encoded(old) == _encoded(new)


def _set(path: str, operand: Any) -> Change:
    # encoding it now refuses what cannot be stored, with the path in the message
    encode({path: operand})

    def make(old: Any, _at: str) -> Any:
        return old if _same(old, operand) else operand

    return Change(path, make)


def _unset(path: str, _operand: Any) -> Change:
    return Change(path, _nothing, is_removal=True)


def _nothing(_old: Any, _at: str) -> Any:
    return MISSING


def _inc(path: str, operand: Any) -> Change:
    if not _is_number(operand):
        raise InvalidUpdate(
            f"$inc: {path!r} cannot be incremented by {operand!r:.60}, which is not a number"
        )
    if isinstance(operand, int) and not INT64_MIN <= operand <= INT64_MAX:
        raise InvalidUpdate(
            f"$inc: {path!r} cannot be incremented by {operand}, which is outside 64 bits"
        )

    def make(old: Any, at: str) -> Any:
        if old is MISSING:
            return operand
        if not _is_number(old):
            raise InvalidUpdate(
                f"$inc: {at!r} is {old!r:.60}, which is not a number; $set it first"
            )
        new = _sum(old, operand, at)
        return old if _same(old, new) else new

    return Change(path, make)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal128)) and not isinstance(value, bool)


def _sum(left: Any, right: Any, at: str) -> Any:
    """As MongoDB adds: the wider type wins; int32 grows to int64, and int64 does not overflow."""
    if isinstance(left, Decimal128) or isinstance(right, Decimal128):
        with localcontext(create_decimal128_context()):
            return Decimal128(_decimal(left) + _decimal(right))
    if isinstance(left, float) or isinstance(right, float):
        return float(left) + float(right)
    total = int(left) + int(right)
    if not INT64_MIN <= total <= INT64_MAX:
        raise InvalidUpdate(f"$inc: {at!r} is {left} and would leave 64 bits with {right}")
    is_wide = (
        isinstance(left, Int64) or isinstance(right, Int64) or _is_wide(left) or _is_wide(right)
    )
    return Int64(total) if is_wide else total


def _is_wide(value: int) -> bool:
    return not INT32_MIN <= value <= INT32_MAX


def _decimal(value: Any) -> Decimal:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    # a double has 15 decimal digits that mean something; MongoDB converts it to these
    return Decimal(format(value, ".15g")) if isinstance(value, float) else Decimal(int(value))


OPERATORS: Final[dict[str, Callable[[str, Any], Change]]] = {
    "$set": _set,
    "$unset": _unset,
    "$inc": _inc,
}
