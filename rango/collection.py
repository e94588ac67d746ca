"""Collections: documents in, documents out, under PyMongo's names and conventions.

The writes are in rango/writes.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bson.objectid import ObjectId

from rango._ext.key import key_of
from rango.aggregation import CommandCursor, aggregate
from rango.cursor import Cursor, filter_of
from rango.engine.query import Document, ProjectionKeys, Query, SortKeys
from rango.indexes import index_create, index_named, indexes_listed
from rango.names import (
    IndexKeys,
    collection_name_check,
    path_check,
)
from rango.paths import values_at
from rango.transaction import active_transactions
from rango.writes import CollectionWrites

if TYPE_CHECKING:
    from rango.transaction import Handle

# Types of an `_id` that mean equality and nothing else, so that a point read may skip the compiler
# of filters.
_POINT_TYPES: Final = frozenset((str, int, float, bytes, uuid.UUID, ObjectId))


class Collection(CollectionWrites):
    """The documents of one name. Made by `db["name"]`, need not exist yet, shared by threads.

    Documents are dicts with an `_id`. Filters, updates, sorts and projections are MongoDB's:
    `$eq $ne $in $nin $gt $gte $lt $lte $exists $and $or $nor $not` on dotted paths; `$set $unset
    $inc`. Every method that writes raises ReadOnly, DatabaseBusy, LowDisk or IoFailed when the
    database cannot take it.
    """

    __slots__ = ()

    def __init__(self, handle: Handle, name: str) -> None:
        self._handle = handle
        self._name = name

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._name

    def __repr__(self) -> str:
        return f"<rango.Collection {self._name!r} of {self._handle.path!r}>"

    # Two collections are equal when they are the same one, as in PyMongo: two handles of one path
    # are not.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Collection):
            return NotImplemented
        return self._handle is other._handle and self._name == other._name

    def __hash__(self) -> int:
        return hash((id(self._handle), self._name))

    def find_one(
        self,
        filter: Any = None,
        projection: ProjectionKeys | None = None,
        *,
        sort: SortKeys | None = None,
        skip: int = 0,
        hint: object = None,
        meta: bool = False,
    ) -> Document | None:
        """The first document that matches, or None.

        `filter` may also be an `_id` that is not a mapping. The other arguments are those of
        find(). Raises InvalidFilter.
        """
        # A read by `_id` stays within these lines: every step before find_id would be a part of
        # its price.
        value = (
            filter["_id"]
            if type(filter) is dict and len(filter) == 1 and "_id" in filter
            else filter
        )
        if type(value) in _POINT_TYPES and not (projection or sort or skip or hint or meta):
            if active_transactions.get():
                return self._handle.view()[0].find_named(self._name, value)
            return self._handle.core.store.current.find_named(self._name, value)
        found = self.find_many(
            filter, projection, sort=sort, skip=skip, limit=1, hint=hint, meta=meta
        )
        return found[0] if found else None

    def find(
        self,
        filter: Any = None,
        projection: ProjectionKeys | None = None,
        *,
        sort: SortKeys | None = None,
        skip: int = 0,
        limit: int = 0,
        hint: object = None,
        meta: bool = False,
    ) -> Cursor:
        """A lazy cursor over the documents that match: nothing is read before the first is needed.

        `projection`  fields to return (`{"a": 1}`, `["a"]`) or to leave out (`{"a": 0}`)
        `sort`        `[("a", 1), ("b", -1)]`; without it the order is that of `_id` or of the
        index used
        `skip`, `limit`  counts; limit 0 means all
        `hint`        the name or the keys of the index to use
        `meta`        also return `_rev`, `_updated_at` and `_source_node` (a projection may name
        them as well)

        Raises InvalidFilter now; NotFound at the first fetch if `hint` names no index.
        """
        query = Query(filter_of(filter)).options(
            projection=projection, sort=sort, skip=skip, limit=limit, hint=hint, meta=meta
        )
        return Cursor(self._handle, self._name, query)

    def find_many(
        self,
        filter: Any = None,
        projection: ProjectionKeys | None = None,
        *,
        sort: SortKeys | None = None,
        skip: int = 0,
        limit: int = 0,
        hint: object = None,
        meta: bool = False,
    ) -> list[Document]:
        """The documents that match, as a list. Arguments as in find()."""
        return self.find(
            filter, projection, sort=sort, skip=skip, limit=limit, hint=hint, meta=meta
        ).to_list()

    def count_documents(
        self, filter: Any, *, skip: int = 0, limit: int = 0, hint: object = None
    ) -> int:
        """How many documents match. `{}` is answered without looking at any."""
        if filter == {} and not (skip or limit or hint):
            return self.estimated_document_count()
        query = Query(filter_of(filter)).options(skip=skip, limit=limit, hint=hint)
        view, _ = self._handle.view()
        self._handle.metrics.queries += 1
        info = view.catalog.collections.get(self._name)
        return 0 if info is None else query.count(view, info)

    def estimated_document_count(self) -> int:
        """How many documents there are, at once. It is exact here; the name is PyMongo's."""
        view, _ = self._handle.view()
        info = view.catalog.collections.get(self._name)
        return 0 if info is None else view.count(info.tree_id)

    def distinct(self, key: str, filter: Any = None) -> list[Any]:
        """The different values of a field in the documents that match.

        `key` is a dotted path; an array counts as its elements. The values come in order of first
        appearance.
        """
        names = path_check(key).split(".")
        values: dict[bytes, Any] = {}
        for document in self.find(filter, names[:1]):
            for value in values_at(document, names):
                values.setdefault(key_of(value), value)
        return list(values.values())

    def aggregate(
        self,
        pipeline: Sequence[Mapping[str, Any]],
        session: None = None,  # noqa: ARG002
        let: Mapping[str, Any] | None = None,
        comment: Any = None,  # noqa: ARG002
        **options: Any,
    ) -> CommandCursor:
        """A lazy cursor over what a pipeline of stages makes of the documents.

        `let`         variables for the expressions of the pipeline, as "$$name"
        `hint`        the name or the keys of the index to use
        `collation`   how strings compare
        `max_time_ms`  stop with Timeout after so long
        `memory_bytes_max`  what one stage may keep in memory; AGGREGATE_MEMORY_BYTES_MAX
        unless given
        `allow_disk_use`, `batch_size`, `comment`  accepted and ignored: nothing is ever spilled

        PyMongo's spellings (`allowDiskUse`, `maxTimeMS`) work as well. A pipeline that ends with
        `$out` or `$merge` has run when this returns. Raises InvalidPipeline, InvalidFilter,
        InvalidExpression now; ExpressionFailed, LimitExceeded, Timeout while the cursor is read.
        """
        given = {"let": let, **options}
        return aggregate(self._handle, self._name, pipeline, given)

    def create_index(self, keys: IndexKeys, unique: bool = False, name: str | None = None) -> str:
        """Index one field: `"a"`, `[("a.b", -1)]`. Returns the index's name, `a_1` unless given.

        Documents that are there already are indexed before it returns. Nothing happens if the same
        index exists. Raises DuplicateKey if `unique` and two documents have the same value (a
        missing field counts as null), InvalidName, InvalidArgument if an index of that name or on
        that field exists with other options, LimitExceeded, TransactionError inside a transaction.
        """
        core = self._handle.outside("create_index()")
        return index_create(core, self._name, keys, bool(unique), name)

    def drop_index(self, index_or_name: IndexKeys) -> None:
        """Delete an index, given by its name or its keys.

        Raises NotFound, and TransactionError inside a transaction.
        """
        core = self._handle.outside("drop_index()")
        index = index_named(core.collections().get(self._name), self._name, index_or_name)
        core.drop_index(self._name, index.name)

    def list_indexes(self) -> list[Document]:
        """The indexes: `{"name": "a_1", "key": {"a": 1}}`, `"unique": True` where it is.

        That of `_id` comes first. Empty if the collection does not exist.
        """
        info = self._handle.view()[0].catalog.collections.get(self._name)
        return [] if info is None else indexes_listed(info)

    def drop(self) -> None:
        """Delete the collection with its documents and indexes, if it exists.

        Raises TransactionError inside a transaction.
        """
        self._handle.outside("drop()").drop_collection(self._name)

    def rename(self, new_name: str) -> None:
        """Give the collection another name; this object keeps the old one.

        Raises NotFound if it does not exist, InvalidName if the new name is taken or not allowed,
        TransactionError inside a transaction.
        """
        core = self._handle.outside("rename()")
        core.rename_collection(self._name, collection_name_check(new_name))
