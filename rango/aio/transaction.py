"""Asynchronous transactions: `async with db.transaction(): ...`

Terms       worker: the one thread that this transaction has for itself; it lives as long as the
            block. context: the worker's own (contextvars), in which the synchronous transaction is
            the active one.
Invariants  All statements of the block run on its worker, in order; nothing else does.
            It belongs to the task that entered it. A task or thread that inherited the context
            gets TransactionError, as with the synchronous one.
Failure     Whatever leaves the block by an exception aborts, CancelledError included. A commit that
            has begun ends, and the CancelledError says so (`outcome`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from rango.aio.offload import finished
from rango.errors import TransactionError

if TYPE_CHECKING:
    from rango.aio.database import AsyncDatabase
    from rango.transaction import Transaction

R = TypeVar("R")

active: ContextVar[tuple[AsyncTransaction, ...]] = ContextVar("rango_aio_transactions", default=())


class AsyncTransaction:
    """Several reads and writes as one, all of them or none: `async with db.transaction(): ...`

    What Transaction says holds here. Other writers wait from its first write on, so await nothing
    slow inside. Raises Conflict at the first write: run the block again. Raises TransactionError
    when it is nested or used from another task.
    """

    __slots__ = ("_context", "_database", "_task", "_transaction", "_worker")

    def __init__(self, database: AsyncDatabase, transaction: Transaction) -> None:
        self._database = database
        self._transaction = transaction
        self._context = Context()
        self._task: asyncio.Task[Any] | None = None
        self._worker: ThreadPoolExecutor | None = None

    @property
    def is_over(self) -> bool:
        """Whether it was committed or aborted."""
        return self._transaction.is_over

    async def __aenter__(self) -> AsyncTransaction:
        if self._task is not None:
            raise TransactionError("a transaction is used once; call db.transaction() again")
        if running(self._database) is not None:
            raise TransactionError("transactions do not nest; use the one that is already open")
        self._task = asyncio.current_task()
        worker = ThreadPoolExecutor(1, "rango-aio-transaction")
        self._worker = worker
        self._database._transactions.add(self)
        call = functools.partial(self._context.run, self._transaction.__enter__)
        try:
            await finished(self._database._pool.submit(call, is_write=True, executor=worker))
        except BaseException as error:
            await self._leave(error)
            raise
        active.set((*active.get(), self))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        active.set(tuple(each for each in active.get() if each is not self))
        if error is None:
            await self._leave(None)
            return
        try:
            await self._leave(error)
        except asyncio.CancelledError:
            if not isinstance(error, asyncio.CancelledError):
                raise

    async def _leave(self, error: BaseException | None) -> None:
        """Commit, or abort because of `error`; then the worker ends."""
        worker = self._worker
        if worker is None:
            return
        kind = None if error is None else type(error)
        call = functools.partial(self._context.run, self._exit, kind, error)
        try:
            # not through the pool: a database that is closing lets a block end
            await finished(worker.submit(call), is_certain=True)
        finally:
            self._worker = None
            self._database._transactions.discard(self)
            worker.shutdown()

    def stop(self) -> Future[None] | None:
        """Abort it because the database closes; the end of its block raises DatabaseClosed."""
        if self._worker is None:
            return None
        return self._worker.submit(self._context.run, self._abort)

    def _abort(self) -> None:
        if hasattr(self._transaction, "txn"):
            self._transaction.txn.abort()

    def _exit(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if hasattr(self._transaction, "txn"):  # it was entered
            self._transaction.__exit__(kind, error, None)

    async def run(self, call: Callable[[], R], interrupt: Callable[[], None] | None = None) -> R:
        """Run one statement on the worker; TransactionError from another task than its own."""
        if self._task is not asyncio.current_task() or self._worker is None:
            raise TransactionError(
                "this transaction was entered by another task; write through that one, or start "
                "this one before the block or in an empty context (create_task(context=...))"
            )
        future = self._database._pool.submit(
            functools.partial(self._context.run, call), is_write=True, executor=self._worker
        )
        return await finished(future, interrupt=interrupt)


def running(database: AsyncDatabase) -> AsyncTransaction | None:
    """The transaction of this database that the running context has, if there is one."""
    for transaction in active.get():
        if transaction._database is database:
            return transaction
    return None
