"""The writes of a collection: inserts, updates, replacements and deletes under PyMongo's names.

Terms       candidate: a record that a write by filter may change.
Invariants  A write by filter finds and changes its candidates under the append lock, in one
            transaction: nobody comes between, so a filter that names `_rev` is a compare-and-set.
            Everything that can be refused without the lock is refused before it is taken.
Failure     An error says what to change; what was written before it is said by the error
            (BulkWriteError) or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from rango._ext.record import encode
from rango.changes import bulk_details, insert_batches, replaced
from rango.cursor import filter_check
from rango.engine.query import Document, Query
from rango.engine.update import Update, compile_update
from rango.errors import BulkWriteError, InvalidArgument, NotFound, RangoError
from rango.names import document_check, id_check, replacement_check
from rango.paths import equalities
from rango.results import DeleteResult, InsertManyResult, InsertOneResult, UpdateResult
from rango.transaction import active_transactions

if TYPE_CHECKING:
    from rango.engine.core import CollectionInfo, Txn
    from rango.transaction import Handle


class CollectionWrites:
    """The methods of a Collection that write."""

    __slots__ = ("_handle", "_name")

    _handle: Handle
    _name: str

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
