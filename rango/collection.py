"""Collections: documents in, documents out, under PyMongo's names and conventions.

The reads are in rango/reads.py, the writes in rango/writes.py, what concerns indexes in
rango/indexes.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rango.indexes import CollectionIndexes
from rango.models import D
from rango.names import collection_name_check
from rango.reads import CollectionReads
from rango.writes import CollectionWrites

if TYPE_CHECKING:
    from rango.aggregation import CommandCursor
    from rango.transaction import Handle
    from rango.watch import ChangeStream


class Collection(CollectionReads[D], CollectionWrites[D], CollectionIndexes):
    """The documents of one name. Made by `db["name"]`, need not exist yet, shared by threads.

    Documents are dicts with an `_id`; those of a `Collection[M]`, made by db.collection(name,
    model=M), are objects of M. Filters, updates, sorts and projections are MongoDB's; every
    operator is in docs/reference. Every method that writes raises ReadOnly, DatabaseBusy, LowDisk
    or IoFailed when the database cannot take it.
    """

    __slots__ = ()

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)

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
        # imported here: what only some programs do is no part of a first import
        from rango.aggregation import aggregate

        given = {"let": let, **options}
        return aggregate(self._handle, self._name, pipeline, given)

    def watch(
        self, pipeline: Sequence[Mapping[str, Any]] | None = None, **options: Any
    ) -> ChangeStream:
        """The changes of this collection from now on, as events, in order, each once.

        `pipeline`      stages for the events: $match, $project, $set, $addFields, $unset,
                        $replaceRoot, $replaceWith, $redact; they must leave `_id` as it is
        `resume_after`  go on behind the event, or resume_token, of an earlier stream
        `start_after`   the same, also behind an "invalidate" event
        `start_at`      begin with the commit of this ordinal; 1: all that the log has
        `full_document` "updateLookup", "whenAvailable" or "required": an update has fullDocument,
                        as that very commit left it (there is no later lookup)
        `full_document_before_change`  "whenAvailable" or "required": with the document before it
        `max_await_time_ms`  how long try_next() waits
        `show_expanded_events`  also create, createIndexes, dropIndexes and modify

        It ends with an "invalidate" event when the collection is dropped or renamed. Raises
        InvalidPipeline and its kin, TokenRejected, TokenDiverged, HistoryLost, and TransactionError
        inside a transaction.
        """
        from rango.watch import watched

        return watched(self._handle, self._name, pipeline, options)

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
