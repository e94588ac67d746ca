"""MongoDB's update operators in plain Python, one place after another on a deep copy.

Every path is first written out into the places that it means in this document; then the places are
looked at for conflicts, put in order, and changed. Twin of rango/engine/update, written from
MongoDB's manual.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

from bson.decimal128 import Decimal128, create_decimal128_context
from bson.int64 import Int64

from tests.reference import filter as reference
from tests.reference.filter import compare

MISSING = object()
Place = tuple[str, ...]
Uses = dict[Place, set[bool]]
"""In which manners the inside of a place is named: by `$[...]` (True) or by names."""


class Refused(Exception):
    """The update cannot be applied."""


class Step(NamedTuple):
    """One operator at one place."""

    place: Place
    operator: str
    operand: Any


CREATING = ("$set", "$setOnInsert", "$inc", "$mul", "$min", "$max", "$bit", "$push", "$addToSet")


def apply_update(
    document: dict[str, Any],
    update: dict[str, dict[str, Any]],
    array_filters: list[dict[str, Any]] | None = None,
    position: int | None = None,
    is_insert: bool = False,
) -> dict[str, Any]:
    """The document after the update; Refused if MongoDB would refuse it."""
    filters = {name_of(each): each for each in array_filters or []}
    check_patterns(update)
    steps: list[Step] = []
    uses: Uses = {}
    for operator, operands in update.items():
        for path, operand in operands.items():
            if operator == "$setOnInsert" and not is_insert:
                continue
            if operator == "$rename":
                steps += renaming(document, path.split("."), operand.split("."))
                continue
            for place in places(document, path.split("."), filters, position, (), uses):
                steps.append(Step(place, operator, operand))
    check_places(steps)
    if any(len(manners) > 1 for manners in uses.values()):
        raise Refused
    found = copy.deepcopy(document)
    for step in sorted(steps, key=functools.cmp_to_key(in_order)):
        change(found, step)
    check_id(document, found)
    return found


def check_id(document: dict[str, Any], found: dict[str, Any]) -> None:
    """`_id` is immutable; another type of the same number is no change."""
    if "_id" in document:
        if "_id" not in found or compare(document["_id"], found["_id"]) != 0:
            raise Refused
        found["_id"] = document["_id"]


def name_of(filter: dict[str, Any]) -> str:
    return next(iter(filter)).split(".")[0]


# --- places


def check_patterns(update: dict[str, dict[str, Any]]) -> None:
    """No two paths may be one the start of the other, nor use an array in two manners."""
    paths = [path.split(".") for operands in update.values() for path in operands]
    paths += [path.split(".") for path in update.get("$rename", {}).values()]
    for at, left in enumerate(paths):
        for right in paths[at + 1 :]:
            shared = 0
            while shared < min(len(left), len(right)) and left[shared] == right[shared]:
                shared += 1
            if shared == min(len(left), len(right)):
                raise Refused
            if shared and left[shared].startswith("$[") != right[shared].startswith("$["):
                raise Refused


def places(
    value: Any,
    parts: list[str],
    filters: dict[str, Any],
    position: int | None,
    at: Place,
    uses: Uses,
) -> Iterator[Place]:
    """The places that a path means here: `$` and `$[...]` become positions."""
    if not parts:
        yield at
        return
    part, *rest = parts
    uses.setdefault(at, set()).add(part.startswith("$["))
    if part.startswith("$["):
        if not isinstance(value, list):
            raise Refused
        name = part[2:-1]
        for index, element in enumerate(value):
            if not name or reference.matches({name: element}, filters[name]):
                yield from places(element, rest, filters, position, (*at, str(index)), uses)
        return
    if part == "$":
        if position is None:
            raise Refused
        part = str(position)
    yield from places(child(value, part), rest, filters, position, (*at, part), uses)


def check_places(steps: list[Step]) -> None:
    """No two places may be one the start of the other."""
    for at, left in enumerate(steps):
        for right in steps[at + 1 :]:
            size = min(len(left.place), len(right.place))
            if left.place[:size] == right.place[:size]:
                raise Refused


def in_order(left: Step, right: Step) -> int:
    """New fields come in the order of their names, positions in that of their numbers."""
    for one, other in zip(left.place, right.place, strict=False):
        if one != other:
            if is_index(one) and is_index(other):
                return -1 if int(one) < int(other) else 1
            return -1 if one < other else 1
    return 0


def is_index(part: str) -> bool:
    return part.isdigit() and part == str(int(part))


def child(holder: Any, part: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(part, MISSING)
    if isinstance(holder, list) and is_index(part):
        return holder[int(part)] if int(part) < len(holder) else MISSING
    return MISSING


def is_viable(holder: Any, part: str) -> bool:
    return isinstance(holder, dict) or (isinstance(holder, list) and is_index(part))


def renaming(document: dict[str, Any], source: list[str], destination: list[str]) -> list[Step]:
    """$rename sets the one and unsets the other; neither may be in an array."""
    value: Any = document
    is_in_array = False
    for part in source:
        if not is_viable(value, part):
            raise Refused
        is_in_array |= isinstance(value, list)
        value = child(value, part)
        if value is MISSING:
            return []
    inner: Any = document
    for part in destination:
        is_in_array |= isinstance(inner, list)
        inner = child(inner, part)
    if is_in_array:
        raise Refused
    return [Step(tuple(destination), "$set", value), Step(tuple(source), "$unset", 1)]


# --- changes


def change(document: dict[str, Any], step: Step) -> None:
    holder: Any = document
    for part in step.place[:-1]:
        below = child(holder, part)
        if below is MISSING:
            if not is_viable(holder, part):
                if step.operator == "$unset":
                    return
                raise Refused
            if step.operator not in CREATING:
                return
            below = {}
            store(holder, part, below)
        holder = below
    last = step.place[-1]
    if not is_viable(holder, last):
        if step.operator == "$unset":
            return
        raise Refused
    old = child(holder, last)
    if step.operator == "$unset":
        remove(holder, last)
    elif old is not MISSING or step.operator in CREATING:
        store(holder, last, OPERATORS[step.operator](old, step.operand))


def store(holder: Any, part: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[part] = value
        return
    while len(holder) <= int(part):
        holder.append(None)
    holder[int(part)] = value


def remove(holder: Any, part: str) -> None:
    if child(holder, part) is MISSING:
        return
    if isinstance(holder, dict):
        del holder[part]
    else:
        holder[int(part)] = None


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal128)) and not isinstance(value, bool)


def is_wide(value: int) -> bool:
    return isinstance(value, Int64) or not -(1 << 31) <= value < 1 << 31


def decimal_of(value: Any) -> Decimal:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    if isinstance(value, float) and value != 0 and math.isfinite(value):
        return Decimal(f"{value:.14e}")
    return Decimal(value)


def calculated(sign: str, left: Any, right: Any) -> Any:
    """The wider type wins: int32, int64, double, decimal128."""
    if not is_number(left):
        raise Refused
    if isinstance(left, Decimal128) or isinstance(right, Decimal128):
        with localcontext(create_decimal128_context()):
            one, other = decimal_of(left), decimal_of(right)
            return Decimal128(one + other if sign == "+" else one * other)
    if isinstance(left, float) or isinstance(right, float):
        left, right = float(left), float(right)
        return left + right if sign == "+" else left * right
    total = int(left) + int(right) if sign == "+" else int(left) * int(right)
    if not -(1 << 63) <= total < 1 << 63:
        raise Refused
    return Int64(total) if is_wide(left) or is_wide(right) or is_wide(total) else total


def bits(old: Any, operand: dict[str, int]) -> Any:
    number = 0 if old is MISSING else old
    if isinstance(number, bool) or not isinstance(number, int):
        raise Refused
    wide = is_wide(number)
    for name, other in operand.items():
        wide |= is_wide(other)
        number, other = int(number), int(other)  # noqa: PLW2901
        number = {"and": number & other, "or": number | other, "xor": number ^ other}[name]
    return Int64(number) if wide else number


def array_of(old: Any) -> list[Any]:
    if old is MISSING:
        return []
    if not isinstance(old, list):
        raise Refused
    return list(old)


def field_of(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = child(value, part)
    return None if value is MISSING else value


def sort_key(path: str) -> Callable[[Any], Any]:
    key = functools.cmp_to_key(compare)
    return lambda value: key(field_of(value, path))


def pushed(old: Any, operand: Any) -> list[Any]:
    array = array_of(old)
    if not isinstance(operand, dict) or "$each" not in operand:
        return [*array, operand]
    at = operand.get("$position", len(array))
    at = max(0, len(array) + at) if at < 0 else at
    array[at:at] = operand["$each"]
    order = operand.get("$sort")
    if isinstance(order, dict):
        for path, way in reversed(order.items()):
            array.sort(key=sort_key(path), reverse=way < 0)
    elif order is not None:
        array.sort(key=functools.cmp_to_key(compare), reverse=order < 0)
    size = operand.get("$slice")
    if size is None:
        return array
    return array[:size] if size >= 0 else array[max(0, len(array) + size) :]


def added(old: Any, operand: Any) -> list[Any]:
    array = array_of(old)
    is_each = isinstance(operand, dict) and next(iter(operand), None) == "$each"
    for value in operand["$each"] if is_each else [operand]:
        if all(compare(value, each) for each in array):
            array.append(value)
    return array


def popped(old: Any, operand: int) -> list[Any]:
    array = array_of(old)
    return array[:-1] if operand == 1 else array[1:]


def pulled(old: Any, operand: Any) -> list[Any]:
    return [value for value in array_of(old) if not is_pulled(value, operand)]


def pulled_all(old: Any, values: list[Any]) -> list[Any]:
    return [value for value in array_of(old) if all(compare(value, each) for each in values)]


def is_pulled(value: Any, operand: Any) -> bool:
    if not isinstance(operand, dict):
        return compare(value, operand) == 0
    if next(iter(operand), "").startswith("$"):
        return reference.matches({"v": value}, {"v": operand})
    return isinstance(value, dict) and reference.matches(value, operand)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "$set": lambda _old, operand: copy.deepcopy(operand),
    "$setOnInsert": lambda _old, operand: copy.deepcopy(operand),
    "$inc": lambda old, n: n if old is MISSING else calculated("+", old, n),
    "$mul": lambda old, n: calculated("*", n, 0) if old is MISSING else calculated("*", old, n),
    "$min": lambda old, n: n if old is MISSING or compare(n, old) < 0 else old,
    "$max": lambda old, n: n if old is MISSING or compare(n, old) > 0 else old,
    "$bit": bits,
    "$push": pushed,
    "$addToSet": added,
    "$pop": popped,
    "$pull": pulled,
    "$pullAll": pulled_all,
}
