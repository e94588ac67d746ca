"""$set, $unset and $inc in plain Python, one path after another on a deep copy.

Twin of rango/engine/update.
"""

from __future__ import annotations

import copy
from typing import Any

MISSING = object()


class Refused(Exception):
    """The update cannot be applied."""


def path_order(path: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in path.split(".")]


def apply_update(document: dict[str, Any], update: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found = copy.deepcopy(document)
    changes = [
        (path, operator, operand)
        for operator, paths in update.items()
        for path, operand in paths.items()
    ]
    for path, operator, operand in sorted(changes, key=lambda change: path_order(change[0])):
        parts = path.split(".")
        if operator == "$unset":
            remove(found, parts)
        else:
            put(found, parts, operator, operand)
    return found


def child(holder: Any, part: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(part, MISSING)
    if isinstance(holder, list) and part == str(int(part) if part.isdigit() else None):
        return holder[int(part)] if int(part) < len(holder) else MISSING
    return MISSING


def store(holder: Any, part: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[part] = value
        return
    if not isinstance(holder, list) or not part.isdigit() or part != str(int(part)):
        raise Refused
    while len(holder) <= int(part):
        holder.append(None)
    holder[int(part)] = value


def put(holder: Any, parts: list[str], operator: str, operand: Any) -> None:
    old = child(holder, parts[0])
    if len(parts) > 1:
        if old is MISSING:
            old = {}
            store(holder, parts[0], old)
        put(old, parts[1:], operator, operand)
    elif operator == "$set" or old is MISSING:
        store(holder, parts[0], operand)
    else:
        if isinstance(old, bool) or not isinstance(old, (int, float)):
            raise Refused
        total = old + operand
        if isinstance(total, int) and not -(1 << 63) <= total < 1 << 63:
            raise Refused
        store(holder, parts[0], total)


def remove(holder: Any, parts: list[str]) -> None:
    old = child(holder, parts[0])
    if old is MISSING:
        return
    if len(parts) > 1:
        remove(old, parts[1:])
    elif isinstance(holder, dict):
        del holder[parts[0]]
    else:
        holder[int(parts[0])] = None
