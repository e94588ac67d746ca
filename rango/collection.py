"""Collections: documents in, documents out, under PyMongo's names and conventions.

Terms       candidate: a record that a write by filter may change.
Invariants  A write by filter finds and changes its candidates under the append lock, in one
            transaction: nobody comes between, so a filter that names `_rev` is a compare-and-set.
            Everything that can be refused without the lock is refused before it is taken.
Failure     An error says what to change; what was written before it is said by the error
            (BulkWriteError) or nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from bson.objectid import ObjectId

from rango._ext.key import key_of
from rango._ext.record import encode
from rango.changes import bulk_details, insert_batches, replaced
from rango.cursor import Cursor, filter_check, filter_of
from rango.engine.query import Document, ProjectionKeys, Query, SortKeys
from rango.engine.update import Update, compile_update
from rango.errors import (
    BulkWriteError,
    InvalidArgument,
    NotFound,
    RangoError,
)
from rango.indexes import index_create, index_named, indexes_listed
from rango.names import (
    IndexKeys,
    collection_name_check,
    document_check,
    id_check,
    path_check,
    replacement_check,
)
from rango.paths import equalities, values_at
from rango.results import DeleteResult, InsertManyResult, InsertOneResult, UpdateResult
from rango.transaction import active_transactions

if TYPE_CHECKING:
    from rango.engine.core import CollectionInfo, Txn
    from rango.transaction import Handle

# Types of an `_id` that mean equality and nothing else, so that a point read may skip the compiler
# of filters.
_POINT_TYPES: Final = frozenset((str, int, float, bytes, uuid.UUID, ObjectId))


class Collection:
    """The documents of one name. Made by `db["name"]`, need not exist yet, shared by threads.

    Documents are dicts with an `_id`. Filters, updates, sorts and projections are MongoDB's:
    `$eq $ne $in $nin $gt $gte $lt $lte $exists $and $or $nor $not` on dotted paths; `$set $unset
    $inc`. Every method that writes raises ReadOnly, DatabaseBusy, LowDisk or IoFailed when the
    database cannot take it.
    """

    __slots__ = ("_handle", "_name")

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

    def insert_one(self, document: MutableMapping[str, Any] | Mapping[str, Any]) -> InsertOneResult:
        """Store a new document. One without an `_id` gets one, which is also put into `document`.

        Returns when it is durable per the durability mode. Raises DuplicateKey, InvalidDocument,
        LimitExceeded.
        """
        id_value, data = self._encoded(document)
        handle = self._handle
        if active_transactions.get() and handle.transaction() is not None:
            handle.write(
                lambda txn: txn.insert(txn.create_collection(self._name), data), is_atomic=True
            )
        else:
            self._insert_alone(data)
        handle.metrics.inserts += 1
        return InsertOneResult(id_value)

    def _insert_alone(self, data: bytes) -> None:
        core = self._handle.core
        info = core.collections().get(self._name)
        if info is not None:
            try:
                core.insert_one(info, data)
            except (
                NotFound
            ):  # dropped by another thread since the line above: the document makes it anew
                pass
            else:
                return
        self._handle.write(
            lambda txn: txn.insert(txn.create_collection(self._name), data), is_atomic=True
        )

    def _encoded(self, document: Mapping[str, Any]) -> tuple[Any, bytes]:
        """The `_id` and the bytes of a new document; puts the `_id` into it if it had none."""
        document_check(document)
        if "_id" in document:
            return document["_id"], encode(document, document["_id"])
        id_value = self._handle.ids()
        id_check(id_value)
        data = encode(document, id_value)
        if type(document) is dict or isinstance(document, MutableMapping):
            document["_id"] = id_value
        return id_value, data

    def insert_many(
        self,
        documents: Iterable[MutableMapping[str, Any] | Mapping[str, Any]],
        ordered: bool = True,
    ) -> InsertManyResult:
        """Store new documents, in commits of at most 1,000 documents or 4 MiB.

        Inside a transaction they are a part of it. A document that cannot be encoded raises
        InvalidDocument or LimitExceeded before anything is written. Duplicate keys raise
        BulkWriteError, whose `details` say which (`writeErrors`: index, code, errmsg) and how many
        were stored (`nInserted`): with `ordered` those before the first duplicate, else all that
        could be.
        """
        if isinstance(documents, Mapping | str | bytes) or not isinstance(documents, Iterable):
            raise InvalidArgument(
                f"documents must be a list of documents, not {type(documents).__name__}"
            )
        given = list(documents)
        if not given:
            raise InvalidArgument("documents must have at least one document")
        ids: list[Any] = []
        encoded: list[bytes] = []
        for at, document in enumerate(given):
            try:
                id_value, data = self._encoded(document)
            except RangoError as error:
                error.add_note(f"it is document {at} of insert_many; nothing was written")
                raise
            ids.append(id_value)
            encoded.append(data)
        errors = insert_batches(self._handle, self._name, encoded, ordered)
        if errors:
            for entry in errors:
                entry["op"] = given[entry["index"]]
            stored = errors[0]["index"] if ordered else len(encoded) - len(errors)
            raise BulkWriteError(
                f"{len(errors)} of {len(encoded)} documents were refused as duplicates, {stored} "
                "are stored; details name them",
                bulk_details(errors, stored),
            )
        return InsertManyResult(ids)

    def update_one(
        self,
        filter: Mapping[str, Any],
        update: Mapping[str, Any],
        upsert: bool = False,
        *,
        hint: object = None,
    ) -> UpdateResult:
        """Change the first document that matches by `$set`, `$unset`, `$inc`.

        With `upsert`, one is inserted if none matches. An upserted document starts from the
        equalities of the filter. A filter that also names `_rev` is a compare-and-set:
        matched_count is 0 when the document has changed since. Raises InvalidFilter,
        InvalidUpdate, DuplicateKey (a unique index), LimitExceeded; then nothing was written.
        """
        return self._update(filter, compile_update(update), upsert, hint, is_many=False)

    def update_many(
        self,
        filter: Mapping[str, Any],
        update: Mapping[str, Any],
        upsert: bool = False,
        *,
        hint: object = None,
    ) -> UpdateResult:
        """Change every document that matches, all or none. Otherwise like update_one."""
        return self._update(filter, compile_update(update), upsert, hint, is_many=True)

    def _update(
        self,
        filter: Mapping[str, Any],
        update: Update,
        upsert: bool,
        hint: object,
        *,
        is_many: bool,
    ) -> UpdateResult:
        query = Query(filter_check(filter)).options(hint=hint, limit=0 if is_many else 1)

        def seeded() -> Document:
            return update.apply(equalities(query.program.normal))

        return self._change(query, update.apply, seeded if upsert else None, is_many)

    def replace_one(
        self,
        filter: Mapping[str, Any],
        replacement: Mapping[str, Any],
        upsert: bool = False,
        *,
        hint: object = None,
    ) -> UpdateResult:
        """Put `replacement` in the place of the first document that matches, keeping its `_id`.

        With `upsert` it is inserted if none does. A filter that also names `_rev` is a
        compare-and-set: matched_count is 0 when the document has changed since. Raises
        InvalidFilter, InvalidDocument, InvalidUpdate (another `_id`), DuplicateKey (a unique
        index), LimitExceeded; then nothing was written.
        """
        replacement_check(replacement)
        query = Query(filter_check(filter)).options(hint=hint, limit=1)

        def change(document: Document) -> Document:
            return {"_id": document["_id"], **replacement}

        def seeded() -> Document:
            seed = equalities(query.program.normal)
            return {"_id": seed["_id"], **replacement} if "_id" in seed else dict(replacement)

        return self._change(query, change, seeded if upsert else None, is_many=False)

    def _change(
        self,
        query: Query,
        change: Callable[[Document], Document],
        seeded: Callable[[], Document] | None,
        is_many: bool,
    ) -> UpdateResult:
        """Change what the query finds, or insert what `seeded` makes, under the append lock."""

        def work(txn: Txn) -> tuple[int, int, Document | None]:
            matched = modified = 0
            for info, record in self._candidates(txn, query):
                matched += 1
                modified += replaced(txn, info, record, change)
            if matched or seeded is None:
                return matched, modified, None
            document = seeded()
            id_value, data = self._encoded(document)
            txn.insert(txn.create_collection(self._name), data)
            return 0, 0, {"_id": id_value}

        matched, modified, inserted = self._handle.write(work, is_atomic=not is_many)
        self._handle.metrics.updates += modified
        self._handle.metrics.inserts += inserted is not None
        return UpdateResult(matched, modified, None if inserted is None else inserted["_id"])

    def _candidates(self, txn: Txn, query: Query) -> Iterator[tuple[CollectionInfo, bytes]]:
        """The records that the query finds; the snapshot does not move with the changes."""
        view = txn.view
        info = view.catalog.collections.get(self._name)
        if info is not None:
            for batch in query.records(view, info):
                for record in batch:
                    yield info, record

    def delete_one(self, filter: Mapping[str, Any], *, hint: object = None) -> DeleteResult:
        """Delete the first document that matches; with `_rev` in the filter a compare-and-set."""
        return self._delete(filter, hint, is_many=False)

    def delete_many(self, filter: Mapping[str, Any], *, hint: object = None) -> DeleteResult:
        """Delete every document that matches, all or none. For `{}`, drop() is cheaper."""
        return self._delete(filter, hint, is_many=True)

    def _delete(self, filter: Mapping[str, Any], hint: object, *, is_many: bool) -> DeleteResult:
        query = Query(filter_check(filter)).options(hint=hint, limit=0 if is_many else 1)

        def work(txn: Txn) -> int:
            deleted = 0
            for info, record in self._candidates(txn, query):
                txn.delete(info, record)
                deleted += 1
            return deleted

        deleted = self._handle.write(work, is_atomic=not is_many)
        self._handle.metrics.deletes += deleted
        return DeleteResult(deleted)

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
