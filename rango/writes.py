"""The writes of a collection under PyMongo's names: one at a time, many, and in bulk.

Invariants  A write by filter finds and changes its documents under the append lock, in one
            transaction: nobody comes between, so a filter that names `_rev` is a compare-and-set.
            Everything that can be refused without the lock is refused before it is taken.
Failure     An error says what to change; what was written before it is said by the error
            (BulkWriteError) or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rango._ext.direct import DirectWriter
from rango.changes import encoded_many, insert_batches
from rango.cursor import filter_check
from rango.engine.query import Query, SortKeys
from rango.errors import (
    BulkWriteError,
    DuplicateKey,
    InvalidArgument,
    NotFound,
)
from rango.found_and_changed import CollectionFoundAndChanged, UpdateKeys
from rango.models import D, Storable
from rango.names import replacement_check
from rango.results import (
    BulkWriteResult,
    DeleteResult,
    InsertManyResult,
    InsertOneResult,
    PurgeResult,
    UpdateResult,
)
from rango.statements import (
    Insertion,
    Outcome,
    Replacement,
    changed_by_id,
    deleted_by_id,
    executed,
    flag_check,
    inserting,
    pattern_of,
    point_key,
    removing,
    replacing,
    updating,
    write_stop,
)
from rango.timing import noted, perf_counter_ns
from rango.transaction import active_transactions

if TYPE_CHECKING:
    from rango._ext.direct import DirectWrites


class CollectionWrites(DirectWriter, CollectionFoundAndChanged[D]):
    """The methods of a Collection that write.

    Arguments that several of them have, all PyMongo's:

    `upsert`         insert a document if none matches
    `array_filters`  what `$[name]` stands for in the paths of an update
    `sort`           which of several matching documents is the first
    `hint`           the name or the keys of the index to use
    `let`            variables for `$expr` and for an update that is a pipeline
    `collation`      how strings compare
    `max_time_ms`    raise Timeout after so long, counted from the call; then nothing was written
    `comment`, `session`, `bypass_document_validation`  taken and not used: there is no server log,
                     no session, and no validation that could be passed by
    """

    __slots__ = ()

    def _insert_one(self, document: Storable, direct: DirectWrites | None) -> InsertOneResult:
        """insert_one() where it is not direct; perhaps it is when the document is encoded."""
        handle = self._handle
        metrics = handle.metrics
        statement = inserting(handle, self._name, document)
        if direct is not None and direct.insert_bson(self._name, statement.data):
            return InsertOneResult(statement.id_value)
        if not metrics.inserts % metrics.insert_sample:
            return self._insert_timed(statement)
        if active_transactions.get() or not self._insert_alone(statement.data):
            handle.write(statement.run, is_atomic=True)
        metrics.inserts += 1
        return InsertOneResult(statement.id_value)

    def _insert_timed(self, statement: Insertion) -> InsertOneResult:
        """The same, with a look at the clock."""
        handle = self._handle
        started = perf_counter_ns()
        if active_transactions.get() or not self._insert_alone(statement.data):
            handle.write(statement.run, is_atomic=True)
        spent = perf_counter_ns() - started
        handle.metrics.inserts += 1
        noted(handle, "insert", spent, self._name, weight=handle.metrics.insert_sample, changed=1)
        return InsertOneResult(statement.id_value)

    def _insert_alone(self, data: bytes) -> bool:
        """Insert into a collection that is there, without a transaction object."""
        core = self._handle.core
        info = core.collections().get(self._name)
        if info is None:
            return False
        try:
            core.insert_one(info, data, self._handle.actor)
        except NotFound:
            # dropped by another thread since the line above: the document makes it anew
            return False
        except DuplicateKey as error:
            error.pattern = pattern_of(info, error.index)
            raise
        return True

    def insert_many(
        self,
        documents: Iterable[Storable],
        ordered: bool = True,
        bypass_document_validation: object = None,  # noqa: ARG002
        *,
        comment: object = None,  # noqa: ARG002
        session: None = None,  # noqa: ARG002
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
        flag_check("ordered", ordered)
        given = list(documents)
        if not given:
            raise InvalidArgument("documents must have at least one document")
        ids: list[Any] = []
        encoded = encoded_many(self._handle, given, ids)
        errors = insert_batches(self._handle, self._name, encoded, ordered)
        if errors:
            from rango.bulk import bulk_details

            for entry in errors:
                entry["op"] = given[entry["index"]]
            stored = errors[0]["index"] if ordered else len(given) - len(errors)
            raise BulkWriteError(
                f"{len(errors)} of {len(given)} documents were refused as duplicates, {stored} "
                "are stored; details name them",
                bulk_details(errors, stored),
            )
        return InsertManyResult(ids)

    if TYPE_CHECKING:
        # The methods themselves are DirectWriter's: what is usual is one compiled call.
        def insert_one(
            self,
            document: Storable,
            bypass_document_validation: object = None,
            *,
            comment: object = None,
            session: None = None,
        ) -> InsertOneResult: ...

        def update_one(
            self,
            filter: Mapping[str, Any],
            update: UpdateKeys,
            upsert: bool = False,
            bypass_document_validation: object = None,
            *,
            array_filters: Sequence[Mapping[str, Any]] | None = None,
            collation: object = None,
            hint: object = None,
            let: Mapping[str, Any] | None = None,
            sort: SortKeys | None = None,
            max_time_ms: int | None = None,
            comment: object = None,
            session: None = None,
        ) -> UpdateResult: ...

        def delete_one(
            self,
            filter: Mapping[str, Any],
            collation: object = None,
            hint: object = None,
            *,
            let: Mapping[str, Any] | None = None,
            max_time_ms: int | None = None,
            comment: object = None,
            session: None = None,
        ) -> DeleteResult: ...

    def _update_one(
        self,
        filter: Mapping[str, Any],
        update: UpdateKeys,
        upsert: bool,
        more: tuple[Any, ...],
        max_time_ms: int | None,
    ) -> UpdateResult:
        """update_one() where it is not direct; `more` are the options that follow."""
        array_filters, collation, hint, let, sort = more
        stop = write_stop(max_time_ms)
        options = (array_filters, collation, hint, let, sort, stop)
        if upsert is False and type(update) is dict:
            key = point_key(self._handle, filter, options)
            if key is not None:
                return self._updated_by_id(key, update)
        statement = updating(
            self._handle,
            self._name,
            filter,
            update,
            upsert=upsert,
            array_filters=array_filters,
            collation=collation,
            hint=hint,
            let=let,
            sort=sort,
            stop=stop,
        )
        return _updated(executed(self._handle, statement))

    def _updated_by_id(self, key: bytes, update: dict[str, Any]) -> UpdateResult:
        # imported here: whoever only sets plain fields by `_id` never comes this way
        from rango.engine.update import compile_update

        return _updated(changed_by_id(self._handle, self._name, key, compile_update(update)))

    def update_many(
        self,
        filter: Mapping[str, Any],
        update: UpdateKeys,
        upsert: bool = False,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        bypass_document_validation: object = None,  # noqa: ARG002
        *,
        collation: object = None,
        hint: object = None,
        let: Mapping[str, Any] | None = None,
        max_time_ms: int | None = None,
        comment: object = None,  # noqa: ARG002
        session: None = None,  # noqa: ARG002
    ) -> UpdateResult:
        """Change every document that matches, all or none. Otherwise like update_one."""
        statement = updating(
            self._handle,
            self._name,
            filter,
            update,
            is_many=True,
            upsert=upsert,
            array_filters=array_filters,
            collation=collation,
            hint=hint,
            let=let,
            stop=write_stop(max_time_ms),
        )
        return _updated(executed(self._handle, statement))

    def replace_one(
        self,
        filter: Mapping[str, Any],
        replacement: Storable,
        upsert: bool = False,
        bypass_document_validation: object = None,  # noqa: ARG002
        *,
        collation: object = None,
        hint: object = None,
        let: Mapping[str, Any] | None = None,
        sort: SortKeys | None = None,
        max_time_ms: int | None = None,
        comment: object = None,  # noqa: ARG002
        session: None = None,  # noqa: ARG002
    ) -> UpdateResult:
        """Put `replacement` in the place of the first document that matches, keeping its `_id`.

        With `upsert` it is inserted if none does. A filter that also names `_rev` is a
        compare-and-set: matched_count is 0 when the document has changed since. Raises
        InvalidFilter, InvalidDocument, InvalidUpdate (another `_id`), DuplicateKey (a unique
        index), LimitExceeded, NotFound (`hint`); then nothing was written.
        """
        stop = write_stop(max_time_ms)
        options = (collation, hint, let, sort, stop)
        key = None if upsert is not False else point_key(self._handle, filter, options)
        if key is not None:
            changer = Replacement(replacement_check(replacement))
            return _updated(changed_by_id(self._handle, self._name, key, changer))
        statement = replacing(
            self._handle,
            self._name,
            filter,
            replacement,
            upsert=upsert,
            collation=collation,
            hint=hint,
            let=let,
            sort=sort,
            stop=stop,
        )
        return _updated(executed(self._handle, statement))

    def _delete_one(
        self,
        filter: Mapping[str, Any],
        collation: object,
        hint: object,
        let: Mapping[str, Any] | None,
        max_time_ms: int | None,
    ) -> DeleteResult:
        """delete_one() where it is not direct."""
        stop = write_stop(max_time_ms)
        key = point_key(self._handle, filter, (collation, hint, let, stop))
        if key is not None:
            return DeleteResult(deleted_by_id(self._handle, self._name, key))
        statement = removing(self._name, filter, collation=collation, hint=hint, let=let, stop=stop)
        return DeleteResult(executed(self._handle, statement).deleted)

    def delete_many(
        self,
        filter: Mapping[str, Any],
        collation: object = None,
        hint: object = None,
        *,
        let: Mapping[str, Any] | None = None,
        max_time_ms: int | None = None,
        comment: object = None,  # noqa: ARG002
        session: None = None,  # noqa: ARG002
    ) -> DeleteResult:
        """Delete every document that matches, all or none. For `{}`, drop() is cheaper."""
        statement = removing(
            self._name,
            filter,
            is_many=True,
            collation=collation,
            hint=hint,
            let=let,
            stop=write_stop(max_time_ms),
        )
        return DeleteResult(executed(self._handle, statement).deleted)

    def bulk_write(
        self,
        requests: Iterable[Any],
        ordered: bool = True,
        bypass_document_validation: object = None,  # noqa: ARG002
        *,
        max_time_ms: int | None = None,
        comment: object = None,  # noqa: ARG002
        session: None = None,  # noqa: ARG002
        let: Mapping[str, Any] | None = None,
    ) -> BulkWriteResult:
        """Run many writes: rango.InsertOne, UpdateOne, ReplaceOne, DeleteOne and the like.

        PyMongo's own requests are taken as well. With `ordered` they stop at the first one that is
        refused, and those before it stay; else all are tried. Requests of single documents are
        committed together, at most 1,000 or 4 MiB at a time; those of many are commits of their
        own. Raises BulkWriteError, whose `details` say which were refused and what was done;
        InvalidArgument, InvalidDocument, InvalidUpdate or LimitExceeded before anything is written.
        `max_time_ms` is for all of them: Timeout says how many were committed before, the others
        did nothing.
        """
        from rango.bulk import run_requests

        started = perf_counter_ns()
        details = run_requests(
            self._handle, self._name, requests, ordered, let, write_stop(max_time_ms)
        )
        noted(self._handle, "bulk_write", perf_counter_ns() - started, self._name)
        return BulkWriteResult(details)

    def purge(
        self,
        filter: Mapping[str, Any],
        *,
        hint: object = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> PurgeResult:
        """Delete every document that matches *and its history*: secrets, requests for erasure.

        Nothing of them is left in the oplog, the data file and the indexes, so backups that are
        made later do not have them either; older backups do. A filter that names only `_id` also
        finds documents that were deleted before. That there was a purge stays on record, in
        `system.purges`, without content; the chain of the oplog still closes. Other history is
        kept, and what other documents say stays.

        Costs one reading of the whole oplog. `progress(done, total)` is called for each segment.
        If it is interrupted, the next open goes on, or waits as long as others read old pages: see
        purges(). Raises InvalidFilter; DatabaseBusy while a
        cursor reads old pages (close it, call purge again); LowDisk; TransactionError inside a
        transaction.
        """
        core = self._handle.outside("purge()")
        query = Query(filter_check(filter)).options(hint=hint)
        from rango.engine.purge import purge as engine_purge

        done = engine_purge(core, self._name, query, progress, self._handle.actor)
        self._handle.metrics.deletes += done["documents"]
        return PurgeResult(done["documents"], done["commits"], done["segments"])


def _updated(outcome: Outcome) -> UpdateResult:
    is_upsert = outcome.is_upsert
    id_value = outcome.id_value if is_upsert else None
    return UpdateResult(outcome.matched, outcome.modified, id_value, is_upsert)
