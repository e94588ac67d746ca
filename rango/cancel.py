"""Ending a running query from somewhere else: another thread, another task, a signal handler.

Terms       scope: a block; what begins inside of it can be cancelled. stop: rango/_ext/stop.pyx.
Invariants  A scope belongs to the thread or task that is in its block (context variable): a thread
            that is started inside does not inherit it, an asyncio task does.
Failure     What is cancelled raises QueryCancelled where it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from types import TracebackType
from typing import TypeVar

from rango._ext.stop import Stop
from rango.engine.stopping import scope_stop
from rango.errors import InvalidArgument

R = TypeVar("R")


class CancelScope:
    """What begins in this block can be ended by cancel(): `with rango.cancel_scope() as scope: ...`

    That is everything that may run long: finding, counting, sorting, aggregating, updates and
    deletes by filter, the building of an index. It raises QueryCancelled, within some 64 documents;
    what begins in the block after cancel() raises it at once. insert_one, insert_many and find_one
    by `_id` do not look at it. Scopes nest.
    """

    __slots__ = ("_stop", "_token")

    def __init__(self) -> None:
        self._stop = Stop()
        self._token: Token[Stop | None] | None = None

    def __enter__(self) -> CancelScope:
        if self._token is not None:
            raise InvalidArgument("a cancel scope is used once; call rango.cancel_scope() again")
        self._stop.nest(scope_stop.get())
        self._token = scope_stop.set(self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._token is not None
        scope_stop.reset(self._token)

    def cancel(self) -> None:
        """End what runs in the block, from any thread and at any time, before it begins as well."""
        self._stop.cancel()

    @property
    def is_cancelled(self) -> bool:
        """Whether it, or a scope around it, was cancelled."""
        return self._stop.is_cancelled


def cancel_scope() -> CancelScope:
    """A block whose queries can be ended from elsewhere; see CancelScope."""
    return CancelScope()


def carried(call: Callable[[], R], stop: Stop) -> Callable[[], R]:
    """The call for another thread: there, `stop` and the scope of this place can end it."""
    stop.nest(scope_stop.get())

    def scoped() -> R:
        token = scope_stop.set(stop)
        try:
            return call()
        finally:
            scope_stop.reset(token)

    return scoped
