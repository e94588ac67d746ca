"""Projections: which fields of a document are returned.

Terms       inclusion: only the named fields and `_id`; exclusion: all but the named ones. meta: the
            fields of a record's header (`_rev`, `_updated_at`, `_source_node`), returned only when
            they are asked for.
Invariants  A projection is one of the two; only `_id` and the meta fields may differ. Fields keep
            the document's order. A path goes into documents and into the documents of arrays; a
            number in it is a name, never a position. The document that is given is not changed;
            what is returned shares its values.
Failure     InvalidFilter names the path and what is wrong with it.
Sources     MongoDB manual, "Project Fields to Return from Query".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rango._ext.normal import HEADER_NAMES, path_check
from rango.errors import InvalidFilter

Tree = dict[str, Any]
"""A name to a Tree (there is more path) or to True (the path ends here)."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A checked projection."""

    tree: Tree
    is_inclusion: bool
    meta: tuple[str, ...]

    @property
    def is_everything(self) -> bool:
        """Does it return every document as it is (meta fields aside)?"""
        return not self.is_inclusion and not self.tree

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """What is asked for of a document. Meta fields pass if it has them and they are named."""
        if self.is_everything:
            return document
        return _include(document, self.tree) if self.is_inclusion else _exclude(document, self.tree)


EVERYTHING = Projection({}, False, ())


def projection_of(spec: object) -> Projection:
    """Check a projection: None, a mapping of flags, or a list of the names to return."""
    if spec is None:
        return EVERYTHING
    if isinstance(spec, (list, tuple, set, frozenset)):
        flags = dict.fromkeys(spec, True) or {"_id": True}
    elif isinstance(spec, Mapping):
        flags = _flatten(spec, "")
    else:
        raise InvalidFilter(f"a projection is a mapping or a list of names, not {spec!r:.100}")
    for path in flags:
        _path_check(path)
    deciding = [path for path in flags if path != "_id" and path not in HEADER_NAMES]
    is_inclusion = _mode(flags, deciding)
    meta = tuple(name for name in flags if name in HEADER_NAMES and flags[name])
    tree: Tree = {}
    for path in deciding:
        _insert(tree, path)
    if is_inclusion:
        for name in meta:
            tree[name] = True
        if flags.get("_id", not _names_id(deciding)):
            _insert(tree, "_id")
    elif flags.get("_id") is False:
        _insert(tree, "_id")
    return Projection(tree, is_inclusion, meta)


def _names_id(paths: list[str]) -> bool:
    return any(path.startswith("_id.") for path in paths)


def _mode(flags: dict[str, bool], deciding: list[str]) -> bool:
    """Is it an inclusion? The first field decides; without one, any flag that is set does."""
    for path in deciding:
        if flags[path] != flags[deciding[0]]:
            first, second = (
                ("inclusion", "exclusion") if flags[deciding[0]] else ("exclusion", "inclusion")
            )
            raise InvalidFilter(
                f"a projection is an inclusion or an exclusion: {deciding[0]!r} makes it an "
                f"{first}, {path!r} an {second}"
            )
    if deciding:
        return flags[deciding[0]]
    return any(flags[path] for path in flags)


def _flatten(spec: Mapping[Any, Any], prefix: str) -> dict[str, bool]:
    """{"a": {"b": 1}} is {"a.b": 1}."""
    flags: dict[str, bool] = {}
    for name, value in spec.items():
        if not isinstance(name, str):
            raise InvalidFilter(f"a projection names fields by strings, not {name!r:.100}")
        path = prefix + name
        if isinstance(value, Mapping):
            flags.update(_flatten_nested(value, path))
        elif isinstance(value, (bool, int, float)):
            flags[path] = bool(value)
        else:
            raise InvalidFilter(
                f"the projection of {path!r} is 0 or 1 (or a boolean), not {value!r:.100}"
            )
    return flags


def _flatten_nested(value: Mapping[Any, Any], path: str) -> dict[str, bool]:
    path_check(path)
    first = next(iter(value), None)
    if first is None:
        raise InvalidFilter(f"the projection of {path!r} is an empty document; use 0 or 1")
    if isinstance(first, str) and first.startswith("$"):
        raise InvalidFilter(
            f"the projection of {path!r}: the operator {first} comes later; use 0 or 1"
        )
    return _flatten(value, path + ".")


def _path_check(path: object) -> None:
    if not isinstance(path, str):
        raise InvalidFilter(f"a projection names fields by strings, not {path!r:.100}")
    path_check(path)
    parts = path.split(".")
    if "" in parts:
        raise InvalidFilter(f"a projection cannot use the path {path!r}: a part of it is empty")
    if any(part.startswith("$") and part not in ("$ref", "$id", "$db") for part in parts):
        raise InvalidFilter(
            f"a projection cannot use the path {path!r}: a part of it starts with $"
        )


def _insert(tree: Tree, path: str) -> None:
    *parents, last = path.split(".")
    for name in parents:
        below = tree.setdefault(name, {})
        if below is True:
            raise InvalidFilter(
                f"the projection names {path!r} and a part of that path as well; keep one of them"
            )
        tree = below
    if last in tree:
        raise InvalidFilter(
            f"the projection names {path!r} and a longer path through it; keep one of them"
        )
    tree[last] = True


def _include(document: dict[str, Any], tree: Tree) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in document.items():
        below = tree.get(name)
        if below is True:
            found[name] = value
        elif below is not None:
            if isinstance(value, dict):
                found[name] = _include(value, below)
            elif isinstance(value, list):
                found[name] = _include_all(value, below)
    return found


def _include_all(values: list[Any], tree: Tree) -> list[Any]:
    # what is neither a document nor an array has no field that could be returned
    return [
        _include(value, tree) if isinstance(value, dict) else _include_all(value, tree)
        for value in values
        if isinstance(value, (dict, list))
    ]


def _exclude(document: dict[str, Any], tree: Tree) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in document.items():
        below = tree.get(name)
        if below is None:
            found[name] = value
        elif below is not True:
            found[name] = _exclude_all(value, below)
    return found


def _exclude_all(value: Any, tree: Tree) -> Any:
    if isinstance(value, dict):
        return _exclude(value, tree)
    if isinstance(value, list):
        return [_exclude_all(element, tree) for element in value]
    return value
