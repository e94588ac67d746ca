"""Runs statements of the synchronous API on worker threads, and says what became of cancelled ones.

Terms       statement: one call of the synchronous API. worker: a thread of a pool.
Invariants  A statement that began runs to its end: whoever cancels the task that waits for it gets
            the CancelledError only then, so that nothing happens behind the program's back. One
            that has not begun never begins.
            Readers and writers have a pool each: writers that wait for a transaction hold up no
            reader.
            A statement runs in the worker's own, empty context: a transaction of the event loop's
            thread is not seen.
States      Pool: open -> closing (refuses, waits) -> closed (no thread is left).
Failure     The CancelledError has `outcome` ("whole", "absent", or "failed": see `failure`);
            outcome_of() reads it, also through the TimeoutError of asyncio.timeout(). The error is
            not a class of its own, because asyncio.timeout() of Python 3.11 knows only the exact
            class.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Literal, TypeVar

from rango.errors import BulkWriteError, DatabaseClosed, IoFailed

R = TypeVar("R")
Outcome = Literal["whole", "absent", "failed"]

READERS_MAX: Final = 8
WRITERS_MAX: Final = 16
"""As many commits can share one flush."""
CLOSED_TEXT: Final = "this database handle was closed; open it again"


def outcome_of(error: BaseException) -> Outcome | None:
    """What a cancelled statement did: "whole", "absent" (nothing), or "failed".

    `error` is the CancelledError, or the TimeoutError that asyncio.timeout() or wait_for() made of
    it. "failed": the statement ended with the error in `failure` of the CancelledError, which says
    what was written. None: no statement was being waited for.
    """
    at: BaseException | None = error
    while at is not None:
        outcome: Outcome | None = getattr(at, "outcome", None)
        if isinstance(at, asyncio.CancelledError) and outcome is not None:
            return outcome
        at = at.__cause__ or at.__context__
    return None


def tell(
    error: asyncio.CancelledError, outcome: Outcome, failure: BaseException | None = None
) -> asyncio.CancelledError:
    """The CancelledError, which from now on says what became of the statement."""
    error.outcome = outcome  # type: ignore[attr-defined]
    error.failure = failure  # type: ignore[attr-defined]
    error.add_note(
        {
            "whole": "the statement was carried out before it could be cancelled",
            "absent": "the statement did nothing",
            "failed": f"the statement ended with {type(failure).__name__}",
        }[outcome]
    )
    return error


def _result(future: Future[R], cancelled: asyncio.CancelledError | None) -> R:
    failure = future.exception()
    if cancelled is None:
        return future.result()
    if failure is None:
        raise tell(cancelled, "whole")
    # every other error says that nothing was written
    is_unsure = isinstance(failure, IoFailed | BulkWriteError) or not isinstance(failure, Exception)
    raise tell(cancelled, "failed" if is_unsure else "absent", failure)


async def finished(
    future: Future[R], *, interrupt: Callable[[], None] | None = None, is_certain: bool = False
) -> R:
    """The result of a statement, awaited to its end even if the task is cancelled.

    `interrupt`   called when the task is cancelled, to end the statement early
    `is_certain`  it must run: cancelling the task does not take it from the queue
    """
    waiting = asyncio.wrap_future(future)
    cancelled: asyncio.CancelledError | None = None
    while not waiting.done():
        try:
            await asyncio.wait((waiting,))
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
            if not is_certain and future.cancel():
                raise tell(error, "absent") from None
            if interrupt is not None:
                interrupt()
    if not waiting.cancelled():
        waiting.exception()  # looked at, or asyncio would complain
    return _result(future, cancelled)


class Pool:
    """The worker threads of one database; they start when they are needed and end with close()."""

    __slots__ = ("_pending", "_readers", "_writers", "is_closed")

    def __init__(self) -> None:
        self._readers = ThreadPoolExecutor(READERS_MAX, "rango-aio-read")
        self._writers = ThreadPoolExecutor(WRITERS_MAX, "rango-aio-write")
        self._pending: set[Future[Any]] = set()
        self.is_closed = False

    def submit(
        self, call: Callable[[], R], *, is_write: bool, executor: ThreadPoolExecutor | None = None
    ) -> Future[R]:
        """Begin a statement, on `executor` if that is given. Raises DatabaseClosed."""
        if self.is_closed:
            raise DatabaseClosed(CLOSED_TEXT)
        future = (executor or (self._writers if is_write else self._readers)).submit(call)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    async def run(
        self,
        call: Callable[[], R],
        *,
        is_write: bool,
        interrupt: Callable[[], None] | None = None,
    ) -> R:
        """Run a statement on a worker and return its result."""
        return await finished(self.submit(call, is_write=is_write), interrupt=interrupt)

    async def close(self, last: Callable[[], None], waited: Iterable[Future[Any]] = ()) -> None:
        """Refuse statements from now on, wait for those that run and for `waited`, then run `last`
        and end.
        """
        if self.is_closed:
            return
        self.is_closed = True
        self._pending.update(waited)
        ending = self._writers.submit(
            functools.partial(self._drain, frozenset(self._pending), last)
        )
        try:
            await finished(ending, is_certain=True)
        finally:
            # idle by now: their threads end at once
            self._readers.shutdown()
            self._writers.shutdown()

    @staticmethod
    def _drain(pending: frozenset[Future[Any]], last: Callable[[], None]) -> None:
        for future in pending:
            if not future.cancelled():
                future.exception()
        last()
