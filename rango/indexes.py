"""Indexes of a collection: made, found by what the caller calls them, listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rango.errors import InvalidArgument, LimitExceeded, NotFound
from rango.limits import INDEXES_PER_COLLECTION_MAX
from rango.names import IndexKeys, index_keys_check, name_check

if TYPE_CHECKING:
    from rango.engine.core import CollectionInfo, Core, IndexInfo


def index_create(
    core: Core, collection: str, keys: IndexKeys, unique: bool, name: str | None
) -> str:
    """Make an index unless there is the same one; returns its name."""
    path, direction = index_keys_check(keys)
    name = name_check(f"{path}_{direction}" if name is None else name, "index name")
    if path == "_id":
        return "_id_"
    info = core.collections().get(collection) or core.create_collection(collection)
    for index in info.indexes:
        if index.name != name and (index.path, index.direction) != (path, direction):
            continue
        if (index.name, index.path, index.direction, index.unique) == (
            name,
            path,
            direction,
            unique,
        ):
            return name
        raise InvalidArgument(
            f"index {index.name!r} on {index.path!r} exists with other options; "
            "drop it first, or ask for it as it is"
        )
    if len(info.indexes) >= INDEXES_PER_COLLECTION_MAX:
        raise LimitExceeded("INDEXES_PER_COLLECTION_MAX", len(info.indexes) + 1)
    core.create_index(collection, path, direction, unique, name)
    return name


def index_named(
    info: CollectionInfo | None, collection: str, index_or_name: IndexKeys
) -> IndexInfo:
    """The index that a name or keys mean. Raises NotFound, or InvalidArgument for that of `_id`."""
    if index_or_name == "_id_":
        raise InvalidArgument("the index on _id cannot be dropped; it is the collection itself")
    for index in () if info is None else info.indexes:
        if isinstance(index_or_name, str):
            if index.name == index_or_name:
                return index
        elif (index.path, index.direction) == index_keys_check(index_or_name):
            return index
    raise NotFound(
        f"collection {collection!r} has no index {index_or_name!r}; list_indexes() names all"
    )


def indexes_listed(info: CollectionInfo) -> list[dict[str, Any]]:
    """The indexes as list_indexes() returns them."""
    listed: list[dict[str, Any]] = [{"name": "_id_", "key": {"_id": 1}}]
    for index in info.indexes:
        listed.append({"name": index.name, "key": {index.path: index.direction}})
        if index.unique:
            listed[-1]["unique"] = True
    return listed
