"""Transactions of the public API, and the handle that a Database and its Collections share.

Terms       core: the engine of one database, shared by all handles of this process on it. Txn: the
            engine's transaction. task: the asyncio task that runs, or else the thread.
States      A transaction is open, failed (a statement stopped half-way, only leaving the block is
            allowed) or over.
Failure     Whatever leaves the `with` block by an exception, KeyboardInterrupt and SystemExit
            included, aborts.

A transaction belongs to the task that entered it (context variable). A new thread does not see it
and works on its own; a thread or task that *inherited* the context (asyncio.to_thread,
create_task) gets TransactionError instead of writing into, or waiting for, a transaction that
somebody else is about to end.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from rango.cursor import POINT_TYPES
from rango.errors import Conflict, DatabaseClosed, TransactionError
from rango.metrics import NEVER, Metrics
from rango.names import RESERVED_NAMES
from rango.results import DELETED, UPDATED, InsertOneResult

if TYPE_CHECKING:
    from rango._ext.direct import DirectWrites
    from rango._ext.point_reads import PointReads
    from rango._ext.prepared import PreparedFinds
    from rango._ext.view import View
    from rango.engine.core import Core, Txn
    from rango.watch import ChangeStream

R = TypeVar("R")

# One variable for all databases, so that "is there any transaction?" costs one lookup on every
# read.
active_transactions: ContextVar[tuple[Transaction, ...]] = ContextVar(
    "rango_transactions", default=()
)


class _ClosedCore:
    """Stands where the core was after close(), so that open handles need no check of their own."""

    def __getattr__(self, name: str) -> Any:
        raise DatabaseClosed("this database handle was closed; open it again")


CLOSED: Any = _ClosedCore()


def _release(core: Core) -> None:
    core.release()


class Handle:
    """What keeps a core open until it is closed, collected, or the interpreter exits."""

    __slots__ = (
        "__weakref__",
        "actor",
        "core",
        "direct",
        "finalize",
        "ids",
        "metrics",
        "path",
        "point_reads",
        "prepared_finds",
        "streams",
    )

    def __init__(
        self,
        core: Core,
        path: str,
        ids: Callable[[], Any],
        slow_ns: int = NEVER,
        actor: bytes = b"",
    ) -> None:
        self.core = core
        self.path = path
        self.ids = ids
        # who acts; not the core's, which others in this process share
        self.actor = actor
        self.metrics = Metrics(slow_ns)
        # the shorter way of the usual writes, if there is one
        self.direct: DirectWrites | None = core.direct_writes(
            self.metrics,
            actor,
            transactions=active_transactions,
            reserved=RESERVED_NAMES,
            id_types=POINT_TYPES,
            inserted=InsertOneResult,
            updated=UPDATED,
            deleted=DELETED,
        )
        # and of reads by `_id`
        self.point_reads: PointReads | None = core.point_reads(
            transactions=active_transactions, id_types=POINT_TYPES
        )
        # and of finds whose plan is known
        self.prepared_finds: PreparedFinds | None = core.prepared_finds(
            self.metrics, transactions=active_transactions
        )
        # change streams that may be reading
        self.streams: weakref.WeakSet[ChangeStream] = weakref.WeakSet()
        self.finalize = weakref.finalize(self, _release, core)

    @property
    def is_closed(self) -> bool:
        """Whether close() was called."""
        return self.core is CLOSED

    def close(self) -> None:
        """Release the core, once; first let streams end what they read."""
        self.core = CLOSED
        if self.point_reads is not None:
            self.point_reads.close()
        self.direct = self.point_reads = self.prepared_finds = None
        for stream in tuple(self.streams):
            stream._release()
        self.finalize()

    def transaction(self) -> Transaction | None:
        """The transaction of the running task on this handle, if there is one."""
        for transaction in active_transactions.get():
            if transaction.handle is self:
                transaction.check()
                return transaction
        return None

    def view(self) -> tuple[View, Transaction | None]:
        """The snapshot to read from now, and the transaction that it belongs to."""
        if active_transactions.get():
            transaction = self.transaction()
            if transaction is not None:
                return transaction.txn.view, transaction
        return self.core.view(), None

    def committed(self) -> View:
        """The same, without what the transaction itself has written."""
        transaction = self.transaction()
        return self.core.view() if transaction is None else transaction.txn.committed

    def write(self, work: Callable[[Txn], R], is_atomic: bool) -> R:
        """Run `work` in the running transaction, or in one that commits before this returns.

        `is_atomic`: if `work` raises, it has changed nothing, so that a transaction around it can
        go on.
        """
        transaction = self.transaction()
        if transaction is not None:
            return transaction.run(work, is_atomic)
        txn = self.core.begin(self.actor)
        try:
            txn.lock()
            result = work(txn)
            txn.commit()
        finally:
            # nothing after a commit; and one call more than an interrupt can skip (Txn.__del__)
            txn.abort()
        return result

    def outside(self, what: str) -> Core:
        """The core, for what is a commit of its own; TransactionError inside a transaction."""
        if self.transaction() is not None:
            raise TransactionError(
                f"{what} cannot be part of a transaction; call it before or after the block"
            )
        return self.core


def _task() -> object:
    """What the running code belongs to: its asyncio task, else its thread's number."""
    # Looked up, not imported: a program without asyncio should not pay for it.
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            task: object = asyncio.current_task()
        except RuntimeError:  # no loop runs in this thread
            task = None
        if task is not None:
            return task
    return threading.get_ident()


class Transaction:
    """Several reads and writes as one, all of them or none: `with db.transaction(): ...`

    Reads inside see the state at its begin and its own writes. Leaving the block commits; leaving
    it by any exception aborts, and nothing was written. Other writers wait from its first write
    on, so keep it short, and call no model or network inside.

    Raises Conflict at the first write if another commit came between its first read and that
    write: run the whole block again. Raises TransactionError when it is nested or used from
    another thread or task.
    """

    __slots__ = ("_actor", "_reason", "_task", "handle", "txn")

    def __init__(self, handle: Handle, actor: bytes | None = None) -> None:
        self.handle = handle
        self._actor = handle.actor if actor is None else actor
        self.txn: Txn
        self._task: object = None
        self._reason = "was not entered; use it as `with db.transaction():`"

    def __enter__(self) -> Transaction:
        if self._task is not None:
            raise TransactionError("a transaction is used once; call db.transaction() again")
        if self.handle.transaction() is not None:
            raise TransactionError("transactions do not nest; use the one that is already open")
        self.txn = self.handle.core.begin(self._actor)
        self._task = _task()
        self._reason = ""
        active_transactions.set((*active_transactions.get(), self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        reason = self._reason
        self._reason = "is over"
        # Not Context.reset: its token is refused when a generator or event loop leaves the block
        # in another context.
        active_transactions.set(
            tuple(each for each in active_transactions.get() if each is not self)
        )
        metrics = self.handle.metrics
        if kind is not None or reason or self.handle.is_closed:
            metrics.transactions_aborted += 1
            self.txn.abort()
            if kind is None:
                if not reason:
                    raise DatabaseClosed(
                        "the database was closed inside the transaction; nothing was written"
                    )
                raise TransactionError(f"nothing was written: this transaction {reason}")
            return
        try:
            self.txn.commit()
        except BaseException:
            metrics.transactions_aborted += 1
            raise
        metrics.transactions += 1

    @property
    def is_over(self) -> bool:
        """Whether it was committed or aborted."""
        return self._reason == "is over"

    def check(self) -> None:
        """Raise TransactionError unless it is open and the running task entered it."""
        if self._reason:
            raise TransactionError(f"this transaction {self._reason}")
        if self._task != _task():
            raise TransactionError(
                "this transaction was entered by another thread or task; write through that one, "
                "or run this one in an empty context (contextvars.Context().run)"
            )
        if self.handle.is_closed:
            raise DatabaseClosed("the database was closed inside the transaction; open it again")
        self.handle.core.view()  # ForkedHandle in a child, which has a copy of this transaction

    def run(self, work: Callable[[Txn], R], is_atomic: bool) -> R:
        """Run one statement, under the append lock from its first read on.

        If it may have stopped half-way, only aborting remains.
        """
        try:
            self.txn.lock()
        except Conflict:
            self.handle.metrics.conflicts += 1
            self._reason = (
                "lost against another commit (Conflict); leave the block and run it again"
            )
            raise
        try:
            return work(self.txn)
        except BaseException:
            if not is_atomic:
                self._reason = "failed half-way in a statement; leave the block and run it again"
            raise
