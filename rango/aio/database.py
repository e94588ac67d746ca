"""Open a database for asyncio, and what one can do with it as a whole."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rango._ext.stop import Stop
from rango.aio.collection import AsyncCollection
from rango.aio.cursor import AsyncCommandCursor
from rango.aio.delegate import completed, reading, returning, writing
from rango.aio.offload import CLOSED_TEXT, Pool
from rango.aio.snapshot import AsyncSnapshot, snapshot_of
from rango.aio.transaction import AsyncTransaction, running
from rango.aio.watch import AsyncChangeStream, Waiter, watched
from rango.cancel import carried
from rango.database import Database
from rango.database import connect as database_connect
from rango.database import open as database_open
from rango.errors import DatabaseClosed, TransactionError
from rango.keys import Keys
from rango.keys import rekey as keys_rekey
from rango.models import M
from rango.proof import verify as proof_verify

if TYPE_CHECKING:
    from rango.difference import Change, Rollback
    from rango.engine.check import Finding

P = ParamSpec("P")
R = TypeVar("R")


def _opening(
    function: Callable[P, Database],
) -> Callable[P, Coroutine[Any, Any, AsyncDatabase]]:
    @functools.wraps(function)
    async def opened(*args: P.args, **options: P.kwargs) -> AsyncDatabase:
        pool = Pool()
        made: list[Database] = []
        try:
            await pool.run(lambda: made.append(function(*args, **options)), is_write=True)
        except BaseException:
            # a cancelled open() ends first, and what it opened is closed again
            await pool.close(lambda: made[0].close() if made else None)
            raise
        return AsyncDatabase(made[0], pool)

    return opened


def _apart(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(function)
    async def called(*args: P.args, **options: P.kwargs) -> R:
        pool = Pool()
        try:
            return await pool.run(lambda: function(*args, **options), is_write=True)
        finally:
            await pool.close(lambda: None)

    return called


open = _opening(database_open)
connect = _opening(database_connect)
rekey = _apart(keys_rekey)
verify = _apart(proof_verify)


class AsyncKeys:
    """The secrets that open a database, for asyncio: Keys whose methods are awaited."""

    __slots__ = ("_database", "_target")

    def __init__(self, database: AsyncDatabase, target: Keys) -> None:
        self._database = database
        self._target = target

    async def _run(
        self, call: Callable[[], R], is_write: bool, interrupt: Callable[[], None] | None = None
    ) -> R:
        return await self._database._run(call, is_write, interrupt)

    @property
    def epoch(self) -> int:
        """The newest key epoch."""
        return self._target.epoch

    list = reading(Keys.list)
    find = reading(Keys.find)
    rekeys = reading(Keys.rekeys)
    add = writing(Keys.add)
    remove = writing(Keys.remove)
    change = writing(Keys.change)
    rotate = writing(Keys.rotate)


@completed(Database)
class AsyncDatabase:
    """One open database for asyncio: a Database whose methods are awaited.

    `db["name"]` is a collection. Every call runs on a worker thread that the database owns, so
    the event loop goes on; commits of several tasks share a flush. Made by `await
    rango.aio.open(...)`; ended by `await db.close()` or `async with`.
    """

    __slots__ = ("_collections", "_pool", "_target", "_transactions", "_waiter")

    def __init__(self, target: Database, pool: Pool) -> None:
        self._target = target
        self._pool = pool
        self._collections: dict[str, AsyncCollection[dict[str, Any]]] = {}
        self._transactions: set[AsyncTransaction] = set()
        self._waiter: Waiter | None = None

    def _watcher(self) -> Waiter:
        if self._waiter is None:
            self._waiter = Waiter(self._target._handle.core.lock.shared)
        return self._waiter

    async def _run(
        self,
        call: Callable[[], R],
        is_write: bool,
        interrupt: Callable[[], None] | None = None,
    ) -> R:
        transaction = running(self)
        if transaction is not None:
            return await transaction.run(call, interrupt)
        return await self._pool.run(call, is_write=is_write, interrupt=interrupt)

    def __getitem__(self, name: str) -> AsyncCollection[dict[str, Any]]:
        """The collection with that name. Raises InvalidName if there cannot be one."""
        target = self._target[name]
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = AsyncCollection(self, target)
        return found

    @overload
    def collection(self, name: str) -> AsyncCollection[dict[str, Any]]: ...
    @overload
    def collection(self, name: str, model: type[M]) -> AsyncCollection[M]: ...
    def collection(self, name: str, model: type[M] | None = None) -> AsyncCollection[Any]:
        """The same as `db[name]`, or one whose documents are objects of a class; see
        Database.collection().
        """
        if model is None:
            return self[name]
        return AsyncCollection(self, self._target.collection(name, model))

    async def drop_collection(self, name: str | AsyncCollection[Any]) -> None:
        """Delete a collection with its documents and indexes; nothing happens if there is none."""
        await (name if isinstance(name, AsyncCollection) else self[name]).drop()

    def watch(
        self, pipeline: Sequence[Mapping[str, Any]] | None = None, **options: Any
    ) -> AsyncChangeStream:
        """The changes of all collections: `async for change in db.watch(): ...` Not awaited, but
        may be. See Database.watch().
        """
        return watched(self, None, pipeline, options)

    def transaction(self, *, actor: str | None = None) -> AsyncTransaction:
        """Several statements as one: `async with db.transaction(): ...`

        See Database.transaction().
        """
        return AsyncTransaction(self, self._target.transaction(actor=actor))

    async def snapshot(self) -> AsyncSnapshot:
        """The whole database as of now, read-only: `async with await db.snapshot() as past: ...`

        See Database.snapshot().
        """
        return AsyncSnapshot(self, await self._run(self._target.snapshot, False))

    async def at(
        self, moment: int | str | datetime, *, progress: Callable[[int, int], object] | None = None
    ) -> AsyncSnapshot:
        """The whole database as it was: `async with await db.at(ordinal) as past: ...`

        See Database.at(). `progress` is called on a worker; cancelling the task ends the replay.
        """
        stop = Stop()
        call = carried(functools.partial(self._target.at, moment, progress=progress), stop)
        return AsyncSnapshot(self, await self._run(call, False, stop.cancel))

    async def diff(
        self,
        a: AsyncSnapshot | int | str | datetime,
        b: AsyncSnapshot | int | str | datetime | None = None,
        *,
        collections: Iterable[str] | None = None,
    ) -> AsyncIterator[Change]:
        """What is not the same in two states: `async for change in db.diff(past): ...`

        See Database.diff().
        """
        earlier = snapshot_of(a)
        later = None if b is None else snapshot_of(b)
        changes = await self._run(
            lambda: self._target.diff(earlier, later, collections=collections), False
        )
        try:
            while (change := await self._run(lambda: next(changes, None), False)) is not None:
                yield change
        finally:
            changes.close()

    async def rollback(self, to: AsyncSnapshot | int | str | datetime, **options: Any) -> Rollback:
        """Go back to an earlier state: `await db.rollback("before-cleanup")`

        See Database.rollback(), also for the options.
        """
        call = functools.partial(self._target.rollback, snapshot_of(to), **options)
        return await self._run(call, True)

    def _cursor(self, cursor: Any) -> AsyncCommandCursor:
        return AsyncCommandCursor(self, cursor)

    @property
    def path(self) -> str:
        """The directory, as it was given to open()."""
        return self._target.path

    @property
    def keys(self) -> AsyncKeys:
        """The secrets that open this database: list, add, remove, change; and rotate()."""
        return AsyncKeys(self, self._target.keys)

    @property
    def node_id(self) -> str:
        """This node's name in revisions."""
        return self._target.node_id

    @property
    def actor(self) -> str | None:
        """Who acts through this handle, as it was said to open()."""
        return self._target.actor

    @property
    def is_closed(self) -> bool:
        """Whether close() was called on this handle."""
        return self._pool.is_closed

    # ignored below: a `self` given by name, which **options would take
    aggregate = returning(Database.aggregate, _cursor)  # type: ignore[arg-type]
    list_collection_names = reading(Database.list_collection_names)
    stats = reading(Database.stats)
    limits = reading(Database.limits)
    rename_collection = writing(Database.rename_collection)
    set_limits = writing(Database.set_limits)  # type: ignore[arg-type]
    expire = writing(Database.expire)
    checkpoint = writing(Database.checkpoint)
    flush = writing(Database.flush)
    salvage = writing(Database.salvage)
    backup = writing(Database.backup)
    purges = reading(Database.purges)
    anchor = writing(Database.anchor)
    digest = reading(Database.digest)
    compact = writing(Database.compact)

    async def check(self) -> AsyncIterator[Finding]:
        """Read everything and yield what is wrong: `async for finding in db.check()`."""
        findings = await self._run(self._target.check, False)
        while (finding := await self._run(lambda: next(findings, None), False)) is not None:
            yield finding

    async def close(self) -> None:
        """Wait for the statements that run, flush and release the database. May be called again.

        Statements of other tasks get DatabaseClosed from now on, and an open transaction is
        aborted. Raises TransactionError inside a transaction of this task.
        """
        transaction = running(self)
        if transaction is not None and not self.is_closed:
            raise TransactionError("close() inside a transaction; leave the block first")
        # first of all: they may hold the lock that running statements, and the close, wait for
        stops = [each.stop() for each in self._transactions]
        await self._pool.close(self._target.close, [each for each in stops if each is not None])
        if self._waiter is not None:
            self._waiter.stop()

    async def __aenter__(self) -> AsyncDatabase:
        if self.is_closed:
            raise DatabaseClosed(CLOSED_TEXT)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        closed = " (closed)" if self.is_closed else ""
        return f"<rango.aio.AsyncDatabase {self.path!r}{closed}>"
