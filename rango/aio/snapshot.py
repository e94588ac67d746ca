"""Asynchronous snapshots: the methods of Snapshot, each on a worker."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from rango.aio.collection import AsyncCollection
from rango.aio.cursor import AsyncCommandCursor
from rango.aio.delegate import reading, returning
from rango.models import M
from rango.snapshot import Snapshot

if TYPE_CHECKING:
    from rango.aio.database import AsyncDatabase

R = TypeVar("R")


class AsyncSnapshot:
    """The whole database as of one commit: `async with await db.snapshot() as past: ...`

    What Snapshot says holds here; its methods are awaited.
    """

    __slots__ = ("_database", "_target")

    def __init__(self, database: AsyncDatabase, target: Snapshot) -> None:
        self._database = database
        self._target = target

    async def _run(
        self, call: Callable[[], R], is_write: bool, interrupt: Callable[[], None] | None = None
    ) -> R:
        return await self._database._run(call, is_write, interrupt)

    def _cursor(self, cursor: Any) -> AsyncCommandCursor:
        return AsyncCommandCursor(self._database, cursor)

    def __getitem__(self, name: str) -> AsyncCollection[dict[str, Any]]:
        """The collection with that name, as it was. Raises InvalidName if there cannot be one."""
        return AsyncCollection(self._database, self._target[name])

    @overload
    def collection(self, name: str) -> AsyncCollection[dict[str, Any]]: ...
    @overload
    def collection(self, name: str, model: type[M]) -> AsyncCollection[M]: ...
    def collection(self, name: str, model: type[M] | None = None) -> AsyncCollection[Any]:
        """The same, or one whose documents are objects of a class: see Database.collection()."""
        if model is None:
            return self[name]
        return AsyncCollection(self._database, self._target.collection(name, model))

    # ignored: a `self` given by name, which **options would take
    aggregate = returning(Snapshot.aggregate, _cursor)  # type: ignore[arg-type]
    list_collection_names = reading(Snapshot.list_collection_names)

    @property
    def ordinal(self) -> int:
        """Number of the last commit that it sees."""
        return self._target.ordinal

    @property
    def is_closed(self) -> bool:
        """Whether close() was called."""
        return self._target.is_closed

    async def close(self) -> None:
        """Let it go; its collections and cursors raise DatabaseClosed from then on."""
        self._target.close()

    async def __aenter__(self) -> AsyncSnapshot:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._target.close()


def snapshot_of(state: Any) -> Any:
    """What a synchronous method takes for a state: the Snapshot behind an AsyncSnapshot."""
    return state._target if isinstance(state, AsyncSnapshot) else state
