"""Transactions of the engine: a private overlay on top of the newest commit, and the append lock
while there is one.

Terms       append lock: whoever holds it is the only one to append; base: the view that the
            transaction began with.
Invariants  I-16. A transaction takes the append lock at its first write. If it has read by then and
            another commit came in
            between, that write raises Conflict: what it read may not hold any more (ADR-0008).
States      reading -> writing (first write) -> over (commit | abort). Over: every method raises
            TransactionError.
Failure     Whatever a write raises (DuplicateKey, LimitExceeded) it has changed nothing; the
            transaction can go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rango._ext.batch import Batch
from rango._ext.collection_info import CollectionInfo
from rango._ext.view import View
from rango.engine.catalog import collection_definition, marks_joined
from rango.engine.settings import document_check
from rango.errors import Conflict, DuplicateKey, NotFound, TransactionError

if TYPE_CHECKING:
    from rango._ext.documents import Documents
    from rango.engine.catalog import Catalog
    from rango.engine.core import Core

RUN_AT_ONCE: Final = 100
"""Documents that are inserted in one call: with twenty indexes about 10 ms."""


class Txn:
    """One transaction. One thread at a time; made by Core.begin."""

    __slots__ = ("_actor", "_base", "_batch", "_core", "_has_read", "_is_over", "_owner", "_view")

    def __init__(self, core: Core, actor: bytes = b"") -> None:
        self._core = core
        self._actor = actor
        self._batch: Batch | None = None
        self._view: View | None = None
        self._has_read = False
        self._is_over = False
        self._owner = 0
        self._base: View = core.view()

    def __del__(self) -> None:
        # whatever was raised between two lines of the caller, the append lock does not stay taken
        self.abort()

    def lock(self) -> None:
        """Take the append lock now: what is read from here on cannot change before the commit.

        Raises ReadOnly, IoFailed or Corrupted (latched), DatabaseBusy, Conflict.
        """
        self._write()

    @property
    def view(self) -> View:
        """A snapshot with this transaction's own writes."""
        self._check()
        self._has_read = True
        if self._batch is None:
            return self._base
        if self._view is None:
            self._view = self._core.store.leased(self._batch.snapshot())
        return self._view

    @property
    def committed(self) -> View:
        """A snapshot without this transaction's own writes."""
        self._check()
        self._has_read = True
        # once it has the append lock, nobody else commits
        return self._base if self._batch is None else self._core.view()

    def collections(self) -> dict[str, CollectionInfo]:
        """The collections that this transaction sees, by name."""
        collections: dict[str, CollectionInfo] = self.view.catalog.collections
        return collections

    def create_collection(self, name: str) -> CollectionInfo:
        """The collection, which comes into being with this transaction if it is not there."""
        batch = self._write()
        info: CollectionInfo | None = batch.catalog.collections.get(name)
        if info is None:
            tree = self._core.tree_take()
            definition = collection_definition(name)
            batch.define(tree, definition, True)
            marks = marks_joined(self._core.store.marks, batch.marks)
            batch.catalog = batch.catalog.changed([(tree, definition)], marks)
            info = batch.catalog.collections[name]
        return info

    def insert(self, info: CollectionInfo, bson: bytes) -> None:
        """Store a new document (BSON with `_id`).

        Raises DuplicateKey, LimitExceeded, NotFound, Conflict.
        """
        batch = self._write()
        document_check(batch.catalog, len(bson))
        batch.insert(self._current(batch, info), bson, self._core.clock())

    def insert_run(
        self, info: CollectionInfo, documents: Documents, start: int, end: int
    ) -> tuple[int, DuplicateKey | None]:
        """Store the documents from number `start` on, before `end`, up to the first duplicate.

        Returns the place of that document and its error, or (end, None). Raises LimitExceeded,
        NotFound, Conflict; the documents before it are then in the transaction.
        """
        batch = self._write()
        catalog, current = batch.catalog, self._current(batch, info)
        size_max, error = catalog.document_size_bytes_max, None
        while start < end and error is None:
            # in pieces, so that a signal and other threads get their turn
            stop = min(end, start + RUN_AT_ONCE)
            start, error = documents.insert_run(
                batch, current, start, stop, size_max, self._core.clock()
            )
            if start < stop and error is None:
                document_check(catalog, len(documents[start]))
        return start, error

    def replace(self, info: CollectionInfo, old_record: bytes, bson: bytes) -> None:
        """Store another version of a document that this transaction read. Raises as insert does."""
        batch = self._write()
        document_check(batch.catalog, len(bson))
        batch.replace(self._current(batch, info), old_record, bson, self._core.clock())

    def delete(self, info: CollectionInfo, old_record: bytes) -> None:
        """Delete a document that this transaction read.

        Raises LimitExceeded, NotFound, Conflict.
        """
        batch = self._write()
        batch.delete(self._current(batch, info), old_record, self._core.clock())

    def forget(self, info: CollectionInfo, id_key: bytes, old_record: bytes | None) -> None:
        """Remove a record for good (engine/purge.py). Raises as delete does."""
        batch = self._write()
        batch.forget(self._current(batch, info), id_key, old_record)

    def define(self, tree: int, change: Callable[[Catalog], bytes | None]) -> None:
        """Change a definition of the catalog in this transaction, or with None drop it."""
        batch = self._write()
        definition = change(batch.catalog)
        batch.define(tree, definition, tree not in batch.catalog.definitions)
        marks = marks_joined(self._core.store.marks, batch.marks)
        batch.catalog = batch.catalog.changed([(tree, definition)], marks)

    @property
    def size_bytes(self) -> int:
        """Bytes that its commit would log so far."""
        return 0 if self._batch is None else self._batch.size_bytes

    def commit(self) -> None:
        """Make its writes durable as the database's durability says. Raises IoFailed (outcome
        unknown) or LowDisk (nothing
        was written).
        """
        self._check()
        core = self._core
        batch = self._batch
        try:
            self._is_over = True
            if batch is None:
                return
            ordinal = core.store.commit(batch)
        finally:
            self._drop()
        core.settle(ordinal)

    def abort(self) -> None:
        """Forget its writes; nothing happens if it is over.

        What it saw of other commits is durable when this returns.
        """
        if self._is_over:
            return
        batch = self._batch
        try:
            self._is_over = True
        finally:
            self._drop()
        if batch is not None and self._core.error is None:
            self._core.stand_by(batch.base_ordinal)

    def _drop(self) -> None:
        """Let the append lock go, also if the thread that took it is another one or has ended."""
        self._batch = None
        if not self._owner:
            # never taken: if this thread holds it, then for another transaction
            return
        if self._owner == threading.get_ident():
            self._core.append_lock.drop()
        else:
            self._core.append_lock.drop_of(self._owner)

    def _check(self) -> None:
        if self._is_over:
            raise TransactionError("this transaction is over; begin another one")

    def _write(self) -> Batch:
        """The batch; the first call takes the append lock."""
        if self._batch is not None:
            self._view = None
            return self._batch
        self._check()
        core = self._core
        self._owner = threading.get_ident()
        try:
            core.append_lock_take()
            batch = core.store.begin(self._actor)
            if self._has_read and batch.base_ordinal != self._base.ordinal:
                raise Conflict(
                    "another commit came between this transaction's first read and its first "
                    "write; "
                    "nothing was written, run the transaction again"
                )
            self._batch = batch
        finally:
            if self._batch is None:
                core.append_lock.drop()
                self._owner = 0
        return batch

    @staticmethod
    def _current(batch: Batch, info: CollectionInfo) -> CollectionInfo:
        """The collection as it is now: an index may have come or gone since `info` was read."""
        current: CollectionInfo | None = batch.catalog.collections.get(info.name)
        if current is None:
            raise NotFound(
                f"collection {info.name!r} was dropped or renamed meanwhile; look it up again"
            )
        return current
