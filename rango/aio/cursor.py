"""Asynchronous cursors: the synchronous ones, read a batch at a time on a worker.

Invariants  A batch is handed out document by document without leaving the event loop.
Failure     Cancelling a task that waits for a batch stops the query and lets its snapshot go,
            however far it was. From then on the cursor raises QueryCancelled, because an end would
            say that there was nothing more; AsyncCursor.rewind() starts it afresh, close() ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, cast

from rango._ext.stop import Stop
from rango.aggregation import CommandCursor
from rango.aio.delegate import reading
from rango.cancel import carried
from rango.cursor import Cursor
from rango.engine.query import Document, ProjectionKeys, SortKeys
from rango.errors import QueryCancelled
from rango.model_collection import ModelCursor
from rango.models import D

if TYPE_CHECKING:
    from rango.aio.database import AsyncDatabase

BATCH: Final = 256
"""Documents that are fetched at once."""


class _Fetching(Generic[D]):
    """What both kinds of cursor do: hand out documents, a batch at a time."""

    __slots__ = ("_buffer", "_database", "_is_cut", "_is_model", "_target")

    def __init__(self, database: AsyncDatabase, target: Any) -> None:
        self._database = database
        self._target = target
        self._buffer: list[Document] = []  # the batch in hand, its next document last
        self._is_model = isinstance(target, ModelCursor)
        self._is_cut = False  # a fetch was cancelled, so documents may be missing

    async def _run(
        self, call: Callable[[], Any], is_write: bool, interrupt: Callable[[], None] | None = None
    ) -> Any:
        return await self._database._run(call, is_write, interrupt)

    async def _fetch(
        self, count: int | None, fetch: Callable[[int | None], list[Any]]
    ) -> list[Any]:
        if self._is_cut:
            raise QueryCancelled(
                "a fetch of this cursor was cancelled, so documents would be missing; find again "
                "(rewind() does)"
            )
        call = carried(lambda: fetch(count), Stop())
        try:
            found: list[Any] = await self._run(call, False, self._target.cancel)
        except asyncio.CancelledError:
            self._target.close()
            self._is_cut = True
            raise
        return found

    def _size(self) -> int:
        return BATCH

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> D:
        if not self._buffer:
            batch = await self._fetch(self._size(), self._target._documents)
            if not batch:
                raise StopAsyncIteration
            batch.reverse()
            self._buffer = batch
        document = self._buffer.pop()
        return cast("D", self._target._made(document) if self._is_model else document)

    async def next(self) -> D:
        """The next document. Raises StopAsyncIteration at the end."""
        return await self.__anext__()

    async def to_list(self, length: int | None = None) -> list[D]:
        """The documents that are left, at most `length` of them, as a list."""
        count = len(self._buffer) if length is None else min(length, len(self._buffer))
        found: list[Any] = [self._buffer.pop() for _ in range(count)]
        if self._is_model:
            found = [self._target._made(each) for each in found]
        if count == length:
            return found
        left = None if length is None else length - count
        return found + await self._fetch(left, self._target.to_list)

    @property
    def alive(self) -> bool:
        """Whether there may be more documents."""
        return bool(self._buffer) or bool(self._target.alive)

    def cancel(self) -> None:
        """End it from anywhere: the fetch that runs, or the next, raises QueryCancelled."""
        self._buffer = []
        self._target.cancel()

    async def close(self) -> None:
        """Let the snapshot go: no more documents. May be called again."""
        self._buffer = []
        self._is_cut = False
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


class AsyncCommandCursor(_Fetching[Document]):
    """The documents that a pipeline returns: a CommandCursor for `async for`."""

    __slots__ = ()

    async def try_next(self) -> Document | None:
        """The next document, or None at the end."""
        return await anext(self, None)

    explain = reading(CommandCursor.explain)


class AsyncCursor(_Fetching[D]):
    """The documents that a find() matches: a Cursor for `async for`.

    sort, skip, limit and the other options chain as they do there, and are not awaited.
    """

    __slots__ = ("_batch",)

    def __init__(self, database: AsyncDatabase, target: Cursor[D], batch: int = 0) -> None:
        super().__init__(database, target)
        self._batch = batch

    def _size(self) -> int:
        return self._batch or BATCH

    def sort(self, key_or_list: SortKeys, direction: int | None = None) -> Self:
        """See Cursor.sort()."""
        self._target.sort(key_or_list, direction)
        return self

    def skip(self, count: int) -> Self:
        """See Cursor.skip()."""
        self._target.skip(count)
        return self

    def limit(self, count: int) -> Self:
        """See Cursor.limit()."""
        self._target.limit(count)
        return self

    def projection(self, projection: ProjectionKeys | None) -> AsyncCursor[Document]:
        """See Cursor.projection()."""
        self._target.projection(projection)
        return cast("AsyncCursor[Document]", self)

    def collation(self, collation: Any) -> Self:
        """See Cursor.collation()."""
        self._target.collation(collation)
        return self

    def max_time_ms(self, max_time_ms: int | None) -> Self:
        """See Cursor.max_time_ms()."""
        self._target.max_time_ms(max_time_ms)
        return self

    def comment(self, comment: Any) -> Self:
        """Accepted and ignored."""
        self._target.comment(comment)
        return self

    def allow_disk_use(self, allow_disk_use: bool) -> Self:
        """Accepted and ignored."""
        self._target.allow_disk_use(allow_disk_use)
        return self

    def hint(self, index: object) -> Self:
        """See Cursor.hint()."""
        self._target.hint(index)
        return self

    def batch_size(self, count: int) -> Self:
        """Fetch `count` documents at a time. 0 means the default."""
        self._target.batch_size(count)
        self._batch = count
        return self

    def rewind(self) -> Self:
        """Start again from the first document, on a new snapshot."""
        self._buffer = []
        self._is_cut = False
        self._target.rewind()
        return self

    def clone(self) -> AsyncCursor[D]:
        """A new cursor with the same options, not started."""
        return AsyncCursor(self._database, self._target.clone(), self._batch)

    distinct = reading(Cursor.distinct)
    explain = reading(Cursor.explain)
