"""The twin of rango/engine/projection.py: what an inclusion, an exclusion and `$slice` leave.

Each field is asked for by its path from the top: is it named, is something below it named?
"""

from __future__ import annotations

from typing import Any


def included(value: Any, path: str, names: set[str]) -> Any:
    """What an inclusion of these paths leaves of the value at `path`; None: nothing."""
    if path in names:
        return (value,)
    if not any(name.startswith(path + ".") for name in names):
        return None
    if isinstance(value, dict):
        return (inside(value, path + ".", names),)
    if isinstance(value, list):
        kept = [included(each, path, names) for each in value if isinstance(each, (dict, list))]
        return ([each[0] for each in kept if each is not None],)
    return None


def inside(document: dict[str, Any], prefix: str, names: set[str]) -> dict[str, Any]:
    found = {}
    for name, value in document.items():
        kept = included(value, prefix + name, names)
        if kept is not None:
            found[name] = kept[0]
    return found


def excluded(value: Any, path: str, names: set[str]) -> Any:
    """What an exclusion of these paths leaves of the value at `path`."""
    if isinstance(value, dict):
        return {
            name: excluded(each, f"{path}.{name}" if path else name, names)
            for name, each in value.items()
            if (f"{path}.{name}" if path else name) not in names
        }
    if isinstance(value, list):
        return [excluded(each, path, names) for each in value]
    return value


def sliced(value: Any, parts: list[str], operand: Any) -> Any:
    """The value with the array at the path cut."""
    if not parts:
        if not isinstance(value, list):
            return value
        if isinstance(operand, int):
            return value[:operand] if operand >= 0 else value[operand:]
        skip, count = operand
        return value[skip if skip >= 0 else max(0, len(value) + skip) :][:count]
    if isinstance(value, list):
        return [sliced(each, parts, operand) if isinstance(each, dict) else each for each in value]
    if isinstance(value, dict) and parts[0] in value:
        cut = sliced(value[parts[0]], parts[1:], operand)
        return {name: cut if name == parts[0] else each for name, each in value.items()}
    return value


def project(document: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """A document under {path: 1 | 0 | {"$slice": ...}}, which collides nowhere."""
    slices = {path: each["$slice"] for path, each in spec.items() if isinstance(each, dict)}
    flags = {path: each for path, each in spec.items() if path not in slices}
    deciding = [each for path, each in flags.items() if path != "_id"]
    is_inclusion = deciding[0] == 1 if deciding else flags.get("_id") == 1
    if is_inclusion:
        names = {path for path, each in flags.items() if each} | set(slices)
        if flags.get("_id", 1) and not any(path.startswith("_id.") for path in spec):
            names.add("_id")
        found = inside(document, "", names)
    else:
        found = excluded(document, "", {path for path, each in flags.items() if not each})
    for path, operand in slices.items():
        found = sliced(found, path.split("."), operand)
    return found
