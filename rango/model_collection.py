"""Collections whose documents are objects of a class, and their cursors.

Invariants  What is made is made of whole documents: whatever has a projection stays a dictionary,
            as do the documents of pipelines.
            An object is made when its document is handed out, so that a document that does not fit
            raises in its turn, and an iteration may go on behind it.
Failure     ModelMismatch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from rango.collection import Collection
from rango.cursor import Cursor
from rango.engine.query import Document, ProjectionKeys, Query
from rango.models import M, Model
from rango.reads import query_of

if TYPE_CHECKING:
    from rango.transaction import Handle


class ModelCollection(Collection[M]):
    """A collection that returns objects of a model."""

    __slots__ = ("_model",)

    def __init__(self, handle: Handle, name: str, kind: type[M]) -> None:
        super().__init__(handle, name)
        self._model = Model(kind)

    def __repr__(self) -> str:
        return (
            f"<rango.Collection[{self._model.kind.__name__}] {self._name!r} "
            f"of {self._handle.path!r}>"
        )

    def find_one(
        self, filter: Any = None, projection: ProjectionKeys | None = None, **options: Any
    ) -> Any:
        """See Collection.find_one()."""
        return self._returned(super().find_one(filter, projection, **options), projection)

    def find(
        self, filter: Any = None, projection: ProjectionKeys | None = None, **options: Any
    ) -> Any:
        """See Collection.find()."""
        query = query_of(filter, projection, options)
        return ModelCursor(self._handle, self._name, query, self._model)

    def find_many(
        self, filter: Any = None, projection: ProjectionKeys | None = None, **options: Any
    ) -> Any:
        """See Collection.find_many()."""
        found = super().find_many(filter, projection, **options)
        return [self._returned(each, projection) for each in found]

    def _returned(self, document: Any, projection: ProjectionKeys | None) -> Any:
        if document is None or projection is not None:
            return document
        return self._model.read(document, self._name)


class ModelCursor(Cursor[M]):
    """A cursor that gives objects of a model."""

    __slots__ = ("_model",)

    def __init__(self, handle: Handle, name: str, query: Query, model: Model[M]) -> None:
        super().__init__(handle, name, query)
        self._model = model

    def _like(self, query: Query) -> Self:
        return type(self)(self._handle, self._name, query, self._model)

    def _made(self, document: Any) -> Any:
        if self._query.projection is not None:
            return document
        return self._model.read(document, self._name)

    def __next__(self) -> M:
        made: M = self._made(super().__next__())
        return made

    def to_list(self, length: int | None = None) -> list[M]:
        """See Cursor.to_list()."""
        documents: list[Document] = self._documents(length)
        return [self._made(each) for each in documents]
