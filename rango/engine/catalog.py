"""Which collections and indexes there are.

Terms       definition: the BSON document that the catalog tree keeps for each tree; tree id: its
            number, never used twice.
Invariants  A Catalog never changes: a change makes a new one, which goes with the View from which
            it can be seen (I-16).
Layout      definitions, by tree id:
            0           {kind: "database", node_id}, and where it has them limits: {name:
                        bytes}, is_purging
            collection  {kind: "collection", name}
            index       {kind: "index", collection: tree id, name, keys: {path: 1 | -1, ...},
                        unique, state: "building" | "ready"}, and where it has them sparse,
                        partial (a filter), expire_after_s, hidden
Failure     A definition of an unknown kind, or one that says more than this version understands:
            FormatTooNew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rango._ext.collection_info import CollectionInfo, IndexInfo
from rango._ext.record import decode, encode
from rango.errors import FormatTooNew, InvalidName, NotFound
from rango.limits import DOCUMENT_SIZE_BYTES_MAX, INDEX_FIELDS_MAX

DATABASE_ID: Final = 0
"""The tree id whose definition holds what is true of the database as a whole."""

BUILDING: Final = "building"
READY: Final = "ready"


class Catalog:
    """The definitions as of one commit, and what they mean."""

    __slots__ = (
        "collections",
        "definitions",
        "document_size_bytes_max",
        "settings",
        "tree_next",
        "trees",
    )

    def __init__(
        self, definitions: Mapping[int, bytes], marks: Mapping[int, int], tree_next: int
    ) -> None:
        self.definitions: dict[int, bytes] = dict(definitions)
        self.tree_next = max([tree_next, *(tree + 1 for tree in self.definitions)])
        self.settings: dict[str, Any] = {}
        self.collections: dict[str, CollectionInfo] = {}
        names: dict[int, str] = {}
        indexes: dict[int, list[tuple[IndexInfo, bool]]] = {}
        for tree, definition in sorted(self.definitions.items()):
            fields = decode(definition)
            kind = fields.get("kind")
            if kind == "database":
                self.settings = fields
            elif kind == "collection":
                names[tree] = fields["name"]
            elif kind == "index":
                info = index_info(tree, fields, marks.get(tree, 0))
                indexes.setdefault(fields["collection"], []).append(
                    (info, fields["state"] == READY)
                )
            else:
                raise FormatTooNew(
                    f"the catalog holds a {kind!r}, which this Rango does not know; update Rango"
                )
        self.document_size_bytes_max: int = self.settings.get("limits", {}).get(
            "document_size_bytes_max", DOCUMENT_SIZE_BYTES_MAX
        )
        for tree, name in names.items():
            mine = indexes.get(tree, [])
            self.collections[name] = CollectionInfo(
                name,
                tree,
                tuple(info for info, is_ready in mine if is_ready and not info.hidden),
                tuple(info for info, _ in mine),
                tuple(info for info, is_ready in mine if is_ready),
            )
        self.trees: dict[str, int] = {name: info.tree_id for name, info in self.collections.items()}

    def changed(
        self, changes: Iterable[tuple[int, bytes | None]], marks: Mapping[int, int]
    ) -> Catalog:
        """The catalog after these definitions were set (or, with None, dropped)."""
        definitions = dict(self.definitions)
        for tree, definition in changes:
            if definition is None:
                definitions.pop(tree, None)
            else:
                definitions[tree] = definition
        seen = [tree + 1 for tree, _ in changes]
        return Catalog(definitions, marks, max([self.tree_next, *seen]))

    def building(self) -> list[int]:
        """Trees of indexes whose filling was interrupted."""
        return [
            tree
            for tree, definition in self.definitions.items()
            if decode(definition).get("state") == BUILDING
        ]


def marks_joined(left: Mapping[int, int], right: Mapping[int, int]) -> dict[int, int]:
    """The marks of both."""
    return {tree: left.get(tree, 0) | right.get(tree, 0) for tree in {*left, *right}}


def index_info(tree: int, fields: Mapping[str, Any], marks: int) -> IndexInfo:
    """The index that a definition describes."""
    keys = fields["keys"]
    if len(keys) > INDEX_FIELDS_MAX:
        raise FormatTooNew(
            f"index {fields['name']!r} has {len(keys)} fields; update Rango to use this database"
        )
    return IndexInfo(
        fields["name"],
        tree,
        tuple(keys.items()),
        unique=fields["unique"],
        sparse=fields.get("sparse", False),
        partial=fields.get("partial"),
        expire_after_s=fields.get("expire_after_s"),
        hidden=fields.get("hidden", False),
        marks=marks,
    )


def collection_definition(name: str) -> bytes:
    """The definition of a collection."""
    return encode({"kind": "collection", "name": name})


def collection_dropped(catalog: Catalog, name: str) -> list[tuple[int, bytes | None]]:
    """The change that drops a collection with its indexes; none if it is not there."""
    info = catalog.collections.get(name)
    if info is None:
        return []
    return [(info.tree_id, None), *((each.tree_id, None) for each in info.maintained)]


def collection_renamed(catalog: Catalog, old: str, new: str) -> list[tuple[int, bytes | None]]:
    """The change that gives a collection another name. Raises NotFound, InvalidName."""
    info = catalog.collections.get(old)
    if info is None:
        raise NotFound(f"there is no collection {old!r}")
    if new in catalog.collections:
        raise InvalidName(
            f"there is already a collection {new!r}; drop it first or choose another name"
        )
    return [(info.tree_id, collection_definition(new))]


def index_definition(collection: int, index: IndexInfo, state: str) -> bytes:
    """The definition of an index; options that it does not have are left out."""
    options = {
        "sparse": index.sparse,
        "partial": index.partial,
        "expire_after_s": index.expire_after_s,
        "hidden": index.hidden,
    }
    return encode(
        {
            "kind": "index",
            "collection": collection,
            "name": index.name,
            "keys": dict(index.fields),
            "unique": index.unique,
            "state": state,
            **{
                name: value
                for name, value in options.items()
                if value is not None and value is not False
            },
        }
    )


def database_definition(node_id: str) -> bytes:
    """What is true of a new database as a whole: whose it is."""
    return encode({"kind": "database", "node_id": node_id})


def database_changed(catalog: Catalog, **fields: Any) -> bytes:
    """The same with some fields of it set, or with None taken out."""
    merged = {**catalog.settings, **fields}
    return encode({name: value for name, value in merged.items() if value is not None})
