"""Paths of updates: dotted names, `$`, `$[]` and `$[name]`, checked before any document is touched.

Terms       part: what stands between two dots; position: the part `$`, the element that the filter
            matched; identifier: the name in `$[name]`, empty in `$[]`.
Failure     InvalidUpdate names the operator and the path, with MongoDB's code.
Sources     MongoDB manual, "Update Operators", "Positional operators".
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import Final

from rango.engine.update.refusal import BAD_VALUE, EMPTY_NAME, refusal
from rango.engine.values import shown
from rango.limits import NESTING_DEPTH_MAX

RESERVED: Final = frozenset(("_rev", "_updated_at", "_source_node", "_deleted", "_conflicts"))

DBREF_NAMES: Final = frozenset(("$ref", "$id", "$db"))
"""Names of fields that start with $ and are no operators."""


def parts_of(operator: str, path: object) -> list[str]:
    """The parts of a path. Raises InvalidUpdate."""
    if not isinstance(path, str):
        raise refusal(BAD_VALUE, f"{operator} names fields by strings, not {shown(path)}")
    if path == "":
        raise refusal(EMPTY_NAME, f"{operator}: an empty path is not valid; name a field")
    parts = path.split(".")
    if "" in parts:
        raise refusal(
            EMPTY_NAME,
            f"{operator}: the path {path!r} has an empty field name, which is not allowed",
        )
    if "\x00" in path:
        raise refusal(
            BAD_VALUE,
            f"{operator}: the path {path!r} has a NUL character, which is not allowed",
        )
    if "$" in path:
        _check_positions(operator, path, parts)
    if parts[0] in RESERVED:
        raise refusal(BAD_VALUE, f"{operator}: {parts[0]!r} is kept by Rango and cannot be updated")
    if len(parts) > NESTING_DEPTH_MAX:
        raise refusal(
            BAD_VALUE,
            f"{operator}: the path {path[:60]!r}... has more than {NESTING_DEPTH_MAX} parts",
        )
    return parts


def _check_positions(operator: str, path: str, parts: list[str]) -> None:
    if is_dynamic(parts[0]):
        raise refusal(
            BAD_VALUE,
            f"{operator}: {parts[0]!r} cannot be the first part of {path!r}; "
            "name the field that holds the array before it",
        )
    if parts.count("$") > 1:
        raise refusal(
            BAD_VALUE, f"{operator}: too many positional parts '$' in {path!r}; one is allowed"
        )


def is_dynamic(part: str) -> bool:
    """Whether a part stands for elements that the filter or an array filter chooses."""
    return part == "$" or is_array_filter(part)


def is_array_filter(part: str) -> bool:
    """Whether a part is `$[]` or `$[name]`."""
    return part.startswith("$[") and part.endswith("]")


def is_index(name: str) -> bool:
    """Whether a name is the position of an element: digits without a leading zero."""
    return name.isascii() and name.isdigit() and (name[0] != "0" or name == "0")


def _compared(left: str, right: str) -> int:
    # numbers by value and everything else by code point, as in MongoDB's trees of updates
    if is_index(left) and is_index(right) and len(left) != len(right):
        return len(left) - len(right)
    return (left > right) - (left < right)


in_order_of_names: Final = cmp_to_key(_compared)
"""Sort key of the names of one level: the order in which new fields are added."""
