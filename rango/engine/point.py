"""Writes of one document: one commit, without a transaction object.

Terms       point: the one document that an `_id` names.
Invariants  What a statement in a transaction of its own would do, without the transaction, the
            query and its plan. A document is found and changed under the append lock, so nobody
            comes between.
Failure     Whatever is raised, nothing was written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from rango._ext.direct import DirectWrites
from rango._ext.point_reads import PointReads
from rango._ext.prepared import PreparedFinds
from rango.engine.attach import catch_up
from rango.engine.checkpoint import SHARED_BYTES_MAX, SHARED_ENTRIES_MAX
from rango.engine.planned import PLAIN
from rango.engine.settings import document_check
from rango.engine.stopping import scope_stop
from rango.errors import DuplicateKey, NotFound, RangoError
from rango.metrics import NEVER, Metrics

if TYPE_CHECKING:
    from rango._ext.batch import Batch
    from rango._ext.collection_info import CollectionInfo
    from rango.engine.core import Core


class Point:
    """What the change of one document needs of a transaction."""

    __slots__ = ("_batch", "_core")

    def __init__(self, core: Core, batch: Batch) -> None:
        self._core = core
        self._batch = batch

    def replace(self, info: CollectionInfo, old_record: bytes, bson: bytes) -> None:
        """Store another version. Raises DuplicateKey, LimitExceeded."""
        batch = self._batch
        document_check(batch.catalog, len(bson))
        batch.replace(info, old_record, bson, self._core.clock())

    def delete(self, info: CollectionInfo, old_record: bytes) -> None:
        """Delete it."""
        self._batch.delete(info, old_record, self._core.clock())


def insert_one(core: Core, info: CollectionInfo, bson: bytes, actor: bytes = b"") -> None:
    """One new document. Raises DuplicateKey, LimitExceeded, NotFound, LowDisk, IoFailed."""
    try:
        core.append_lock_take()
        store = core.store
        batch = store.begin(actor)
        current = batch.catalog.collections.get(info.name)
        if current is None:
            raise NotFound(
                f"collection {info.name!r} was dropped or renamed meanwhile; look it up again"
            )
        document_check(batch.catalog, len(bson))
        try:
            batch.insert(current, bson, core.clock())
        except DuplicateKey:
            # the answer speaks of a commit that may not be durable yet
            core.stand_by(batch.base_ordinal)
            raise
        ordinal = store.commit(batch)
    finally:
        core.append_lock.drop()
    core.settle(ordinal)


def point_reads(
    core: Core, *, transactions: ContextVar[Any], id_types: frozenset[type]
) -> PointReads | None:
    """The shorter way of a handle's reads by `_id`."""
    return PointReads(core, transactions, id_types)


def prepared_finds(
    core: Core, metrics: Metrics, *, transactions: ContextVar[Any]
) -> PreparedFinds | None:
    """The shorter way of a handle's finds; None if what is slow is logged."""
    if metrics.slow_ns != NEVER:
        return None
    return PreparedFinds(core, metrics, transactions=transactions, scope=scope_stop, plain=PLAIN)


def direct_writes(
    core: Core,
    metrics: Metrics,
    actor: bytes,
    *,
    transactions: ContextVar[Any],
    reserved: frozenset[str],
    id_types: frozenset[type],
    inserted: Callable[[Any], Any],
    updated: tuple[Any, ...],
    deleted: tuple[Any, ...],
) -> DirectWrites | None:
    """The shorter way of a handle's usual writes; None if what is slow is logged.

    `inserted` makes what an insert returns; `updated` and `deleted` are what the others return, by
    what became of the document.
    """
    if metrics.slow_ns != NEVER:
        return None
    return DirectWrites(
        core,
        metrics,
        actor,
        catch_up=catch_up,
        transactions=transactions,
        scope=scope_stop,
        reserved=tuple(sorted(reserved)),
        id_types=id_types,
        calm_entries=SHARED_ENTRIES_MAX,
        calm_bytes=SHARED_BYTES_MAX,
        waits=core.durability == "commit",
        inserted=inserted,
        updated=updated,
        deleted=deleted,
    )


def write_point(
    core: Core,
    name: str,
    key: bytes,
    change: Callable[[Point, CollectionInfo, bytes], object],
    actor: bytes = b"",
) -> None:
    """Let `change` write the document of a collection that has this key, if there is one.

    Raises ReadOnly, DatabaseBusy, LowDisk, IoFailed, and what `change` raises.
    """
    try:
        core.append_lock_take()
        store = core.store
        batch = store.begin(actor)
        try:
            info = batch.catalog.collections.get(name)
            record = None if info is None else store.leased(store.head).get(info.tree_id, key)
            if info is not None and record is not None:
                change(Point(core, batch), info, record)
        except RangoError:
            # the refusal speaks of commits that may not be durable yet
            core.stand_by(batch.base_ordinal)
            raise
        ordinal = store.commit(batch)
    finally:
        core.append_lock.drop()
    core.settle(ordinal)
