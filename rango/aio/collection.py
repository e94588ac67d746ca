"""Asynchronous collections: the methods of Collection, each on a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Unpack, overload

from rango.aio.cursor import AsyncCommandCursor, AsyncCursor
from rango.aio.delegate import changing, completed, documented, reading, returning, writing
from rango.aio.watch import AsyncChangeStream, watched
from rango.collection import Collection
from rango.engine.query import Document, ProjectionKeys, SortKeys
from rango.found_and_changed import UpdateKeys
from rango.models import D, Storable
from rango.results import ReturnDocument

if TYPE_CHECKING:
    from rango.aio.database import AsyncDatabase
    from rango.option_types import ChangeOptions, FindOptions


_find_one: Any = reading(Collection.find_one)
_find_many: Any = reading(Collection.find_many)
_find_one_and_delete: Any = changing(Collection.find_one_and_delete)
_find_one_and_replace: Any = changing(Collection.find_one_and_replace)
_find_one_and_update: Any = changing(Collection.find_one_and_update)


@completed(Collection)
class AsyncCollection(Generic[D]):
    """The documents of one name: a Collection whose methods are awaited.

    Names, arguments, results and errors are those of Collection. find() is not awaited, its cursor
    is walked by `async for`; aggregate() is.
    """

    __slots__ = ("_database", "_target")

    def __init__(self, database: AsyncDatabase, target: Collection[D]) -> None:
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

    @overload
    def find(
        self, filter: Any = None, projection: None = None, **options: Unpack[FindOptions]
    ) -> AsyncCursor[D]: ...
    @overload
    def find(
        self, filter: Any, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> AsyncCursor[Document]: ...
    @overload
    def find(
        self, filter: Any = None, *, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> AsyncCursor[Document]: ...
    def find(
        self,
        filter: Any = None,
        projection: ProjectionKeys | None = None,
        **options: Unpack[FindOptions],
    ) -> Any:
        """A lazy cursor over the documents that match; see Collection.find(). Not awaited."""
        cursor: Any = self._target.find(filter, projection=projection, **options)
        return AsyncCursor(self._database, cursor, options.get("batch_size", 0))

    @overload
    async def find_one(
        self, filter: Any = None, projection: None = None, **options: Unpack[FindOptions]
    ) -> D | None: ...
    @overload
    async def find_one(
        self, filter: Any, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> Document | None: ...
    @overload
    async def find_one(
        self, filter: Any = None, *, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> Document | None: ...
    @documented(Collection.find_one)
    async def find_one(self, *args: Any, **options: Any) -> Any:
        return await _find_one(self, *args, **options)

    @overload
    async def find_many(
        self, filter: Any = None, projection: None = None, **options: Unpack[FindOptions]
    ) -> list[D]: ...
    @overload
    async def find_many(
        self, filter: Any, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> list[Document]: ...
    @overload
    async def find_many(
        self, filter: Any = None, *, projection: ProjectionKeys, **options: Unpack[FindOptions]
    ) -> list[Document]: ...
    @documented(Collection.find_many)
    async def find_many(self, *args: Any, **options: Any) -> Any:
        return await _find_many(self, *args, **options)

    @overload
    async def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: None = None,
        sort: SortKeys | None = None,
        hint: object = None,
        **options: Unpack[ChangeOptions],
    ) -> D | None: ...
    @overload
    async def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: ProjectionKeys,
        sort: SortKeys | None = None,
        hint: object = None,
        **options: Unpack[ChangeOptions],
    ) -> Document | None: ...
    @documented(Collection.find_one_and_delete)
    async def find_one_and_delete(self, *args: Any, **options: Any) -> Any:
        return await _find_one_and_delete(self, *args, **options)

    @overload
    async def find_one_and_replace(
        self,
        filter: Mapping[str, Any],
        replacement: Storable,
        projection: None = None,
        sort: SortKeys | None = None,
        upsert: bool = False,
        return_document: bool = ReturnDocument.BEFORE,
        hint: object = None,
        **options: Unpack[ChangeOptions],
    ) -> D | None: ...
    @overload
    async def find_one_and_replace(
        self,
        filter: Mapping[str, Any],
        replacement: Storable,
        projection: ProjectionKeys,
        sort: SortKeys | None = None,
        upsert: bool = False,
        return_document: bool = ReturnDocument.BEFORE,
        hint: object = None,
        **options: Unpack[ChangeOptions],
    ) -> Document | None: ...
    @documented(Collection.find_one_and_replace)
    async def find_one_and_replace(self, *args: Any, **options: Any) -> Any:
        return await _find_one_and_replace(self, *args, **options)

    @overload
    async def find_one_and_update(
        self,
        filter: Mapping[str, Any],
        update: UpdateKeys,
        projection: None = None,
        sort: SortKeys | None = None,
        upsert: bool = False,
        return_document: bool = ReturnDocument.BEFORE,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        hint: object = None,
        **options: Unpack[ChangeOptions],
    ) -> D | None: ...
    @overload
    async def find_one_and_update(
        self,
        filter: Mapping[str, Any],
        update: UpdateKeys,
        projection: ProjectionKeys,
        sort: SortKeys | None = None,
        upsert: bool = False,
        return_document: bool = ReturnDocument.BEFORE,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        hint: object = None,
        **options: Unpack[ChangeOptions],
    ) -> Document | None: ...
    @documented(Collection.find_one_and_update)
    async def find_one_and_update(self, *args: Any, **options: Any) -> Any:
        return await _find_one_and_update(self, *args, **options)

    async def history(self, id: Any) -> AsyncIterator[Document]:
        """Every version of a document, newest first: `async for version in notes.history(id)`.

        See Collection.history().
        """
        versions = await self._run(lambda: self._target.history(id), False)
        while (version := await self._run(lambda: next(versions, None), False)) is not None:
            yield version

    def watch(
        self, pipeline: Sequence[Mapping[str, Any]] | None = None, **options: Any
    ) -> AsyncChangeStream:
        """The changes of this collection: `async for change in notes.watch(): ...` Not awaited, but
        may be. See Collection.watch().
        """
        return watched(self._database, self.name, pipeline, options)

    # ignored below: a `self` given by name, which **options would take
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
    bulk_write = writing(Collection.bulk_write)
    create_index = changing(Collection.create_index)  # type: ignore[arg-type]
    create_indexes = writing(Collection.create_indexes)
    modify_index = writing(Collection.modify_index)
    drop_index = writing(Collection.drop_index)
    drop_indexes = writing(Collection.drop_indexes)
    drop = writing(Collection.drop)
    rename = writing(Collection.rename)
    purge = writing(Collection.purge)
