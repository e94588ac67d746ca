"""Asynchronous collections: the methods of Collection, each on a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from rango.aio.cursor import AsyncCommandCursor, AsyncCursor
from rango.aio.delegate import changing, completed, reading, returning, writing
from rango.collection import Collection
from rango.engine.query import ProjectionKeys
from rango.reads import FindOptions

if TYPE_CHECKING:
    from rango.aio.database import AsyncDatabase


@completed(Collection)
class AsyncCollection:
    """The documents of one name: a Collection whose methods are awaited.

    Names, arguments, results and errors are those of Collection. find() is not awaited, its cursor
    is walked by `async for`; aggregate() is.
    """

    __slots__ = ("_database", "_target")

    def __init__(self, database: AsyncDatabase, target: Collection) -> None:
        self._database = database
        self._target = target

    async def _run(
        self, call: Callable[[], Any], is_write: bool, interrupt: Callable[[], None] | None = None
    ) -> Any:
        return await self._database._run(call, is_write, interrupt)

    def _cursor(self, cursor: Any) -> AsyncCommandCursor:
        return AsyncCommandCursor(self._database, cursor)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._target.name

    def __repr__(self) -> str:
        return f"<rango.aio.AsyncCollection {self.name!r} of {self._database.path!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AsyncCollection):
            return NotImplemented
        return self._target == other._target

    def __hash__(self) -> int:
        return hash(self._target)

    def find(
        self,
        filter: Any = None,
        projection: ProjectionKeys | None = None,
        **options: Unpack[FindOptions],
    ) -> AsyncCursor:
        """A lazy cursor over the documents that match; see Collection.find(). Not awaited."""
        cursor = self._target.find(filter, projection, **options)
        return AsyncCursor(self._database, cursor, options.get("batch_size", 0))

    # ignored below: a `self` given by name, which **options would take
    find_one = reading(Collection.find_one)
    find_many = reading(Collection.find_many)
    count_documents = reading(Collection.count_documents)
    estimated_document_count = reading(
        Collection.estimated_document_count  # type: ignore[arg-type]
    )
    distinct = reading(Collection.distinct)
    list_indexes = reading(Collection.list_indexes)
    index_information = reading(Collection.index_information)
    aggregate = returning(Collection.aggregate, _cursor)  # type: ignore[arg-type]

    insert_one = writing(Collection.insert_one)
    insert_many = writing(Collection.insert_many)
    update_one = changing(Collection.update_one)
    update_many = changing(Collection.update_many)
    replace_one = changing(Collection.replace_one)
    delete_one = changing(Collection.delete_one)
    delete_many = changing(Collection.delete_many)
    find_one_and_delete = changing(Collection.find_one_and_delete)
    find_one_and_replace = changing(Collection.find_one_and_replace)
    find_one_and_update = changing(Collection.find_one_and_update)
    bulk_write = writing(Collection.bulk_write)
    create_index = changing(Collection.create_index)  # type: ignore[arg-type]
    create_indexes = writing(Collection.create_indexes)
    modify_index = writing(Collection.modify_index)
    drop_index = writing(Collection.drop_index)
    drop_indexes = writing(Collection.drop_indexes)
    drop = writing(Collection.drop)
    rename = writing(Collection.rename)
    purge = writing(Collection.purge)
