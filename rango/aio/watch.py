"""Asynchronous change streams: `async for change in collection.watch()`.

Terms       sleeper: a task that waits for more to be durable; waiter: the one thread of a database
            that sleeps for all of them.
Invariants  A stream that waits occupies no worker. What was read is kept until it is handed out, so
            a task that is cancelled (by a timeout, too) loses nothing: the next one goes on.
            A sleeper looks once more after it has told the waiter; the waiter sleeps only as long
            as nothing is durable that was not when it last looked. So none is forgotten.
States      waiter: none -> running (first sleeper) -> none (a while without sleepers, or stop()).
Failure     As of ChangeStream.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from rango.errors import TransactionError
from rango.watch import SLEEP_S, ChangeStream

if TYPE_CHECKING:
    from rango._ext.shared import Shared
    from rango.aio.database import AsyncDatabase

Document = dict[str, Any]

BATCH: Final = 64
"""Events that are read at once."""

IDLE_S: Final = 1.0
"""How long the waiter stays when nobody sleeps."""


class Sleeper:
    """One task that sleeps, and behind which ordinal."""

    __slots__ = ("_event", "_loop", "ordinal", "stream")

    def __init__(self, stream: ChangeStream, ordinal: int) -> None:
        self.stream = stream
        self.ordinal = ordinal
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        """From the waiter."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def sleep(self, seconds: float) -> None:
        """Until it is woken, or so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return


class Waiter:
    """The thread that sleeps for the tasks of one database."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        self._sleepers: set[Sleeper] = set()
        self._is_wanted = threading.Event()
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def add(self, sleeper: Sleeper) -> None:
        """Wake this one when more than its ordinal is durable, or its stream ends."""
        with self._lock:
            self._sleepers.add(sleeper)
            self._is_wanted.set()
            if self._thread is None and not self._is_stopping:
                self._thread = threading.Thread(target=self._run, name="rango-watch", daemon=True)
                self._thread.start()

    def remove(self, sleeper: Sleeper) -> None:
        """Forget it."""
        with self._lock:
            self._sleepers.discard(sleeper)

    def _run(self) -> None:
        shared = self._shared
        while True:
            signal, durable = shared.watch_signal(), shared.durable
            with self._lock:
                if self._is_stopping:
                    return
                is_idle = not self._sleepers
                is_latched = shared.failed is not None
                due = [
                    each
                    for each in self._sleepers
                    if each.ordinal < durable or is_latched or each.stream._is_ended
                ]
                self._sleepers.difference_update(due)
                if is_idle:
                    self._is_wanted.clear()
            for sleeper in due:
                sleeper.wake()
            if is_idle:
                if not self._is_wanted.wait(IDLE_S):
                    with self._lock:
                        if not self._sleepers:
                            self._thread = None
                            return
            elif not due:
                shared.watch_wait(signal, durable, SLEEP_S)

    def stop(self) -> None:
        """End the thread."""
        with self._lock:
            self._is_stopping = True
            self._is_wanted.set()
            thread, self._thread = self._thread, None
        self._shared.watch_wake()
        if thread is not None:
            thread.join()


class AsyncChangeStream:
    """The changes of a collection, or of the whole database: `async for change in ...watch(): ...`

    What ChangeStream says holds here. It begins at the moment of watch(); errors of tokens come
    with the first event that is asked for, or with `await collection.watch()`. No thread waits for
    it, and cancelling a task that waits loses nothing.
    """

    __slots__ = ("_buffer", "_database", "_is_cut", "_target", "_token")

    def __init__(self, database: AsyncDatabase, target: ChangeStream) -> None:
        self._database = database
        self._target = target
        self._buffer: deque[Document | BaseException] = deque()
        self._token: Document | None = None
        self._is_cut = False

    async def _placed(self) -> Self:
        await self._database._pool.run(self._target._place, is_write=False)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._placed().__await__()

    async def _event(self, seconds: float | None) -> Document | None:
        """The next event within so long (None: for ever); None if there is none, or it ended."""
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while not self._buffer:
            if not self._target.alive:
                await self.close()
                return None
            await self._read()
            left = SLEEP_S if end is None else end - loop.time()
            if self._buffer or not self._target.alive:
                continue
            if left <= 0:
                return None
            await self._sleep(min(left, SLEEP_S))
        found = self._buffer.popleft()
        if isinstance(found, BaseException):
            raise found
        self._token = found["_id"]
        return found

    async def _read(self) -> None:
        await self._database._pool.run(self._fill, is_write=False)

    def _fill(self) -> None:
        if self._token is None:
            self._token = self._target.resume_token
        self._target._batch(self._buffer, BATCH)

    async def _sleep(self, seconds: float) -> None:
        waiter = self._database._watcher()
        sleeper = Sleeper(self._target, self._target._ordinal)
        waiter.add(sleeper)
        try:
            await sleeper.sleep(seconds)
        finally:
            waiter.remove(sleeper)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Document:
        event = await self._event(None)
        if event is None:
            raise StopAsyncIteration
        return event

    async def next(self) -> Document:
        """The next event; waits for it. Raises StopAsyncIteration when the stream is closed."""
        return await self.__anext__()

    async def try_next(self) -> Document | None:
        """The next event, or None if there is none within `max_await_time_ms`."""
        return await self._event(self._target._await_s)

    @property
    def resume_token(self) -> Document | None:
        """Behind the event that was returned last, and what was passed over: see ChangeStream."""
        if self._buffer or self._is_cut or not self._target._is_placed:
            return self._token
        return self._target.resume_token

    @property
    def alive(self) -> bool:
        """Whether there may be more events."""
        return bool(self._buffer) or self._target.alive

    async def close(self) -> None:
        """End it. May be called again."""
        # what was read and not returned is what another stream goes on with
        self._is_cut = self._is_cut or bool(self._buffer)
        self._buffer.clear()
        self._target.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def watched(
    database: AsyncDatabase, name: str | None, pipeline: object, options: dict[str, Any]
) -> AsyncChangeStream:
    """The stream of AsyncCollection.watch() and AsyncDatabase.watch()."""
    from rango.aio.transaction import running

    if running(database) is not None:
        raise TransactionError("watch() cannot be part of a transaction; call it before or after")
    handle = database._target._handle
    return AsyncChangeStream(database, ChangeStream(handle, name, pipeline, options))
