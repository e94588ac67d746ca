"""Collections whose documents are objects of a class, and their cursors.

Invariants  What is made is made of whole documents: whatever has a projection stays a dictionary,
            as do the documents of pipelines.
            An object is made when its document is handed out, so that a document that does not fit
            raises in its turn, and an iteration may go on behind it.
Failure     ModelMismatch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self

from bson.decimal128 import Decimal128

from rango.collection import Collection
from rango.cursor import Cursor
from rango.engine.query import Document, ProjectionKeys, Query
from rango.errors import InvalidArgument, ModelMismatch
from rango.model_fields import Misfit, fitting_of
from rango.models import M, is_dataclass, is_pydantic
from rango.reads import query_of

if TYPE_CHECKING:
    from rango.transaction import Handle


class Model(Generic[M]):
    """A class whose objects are made of documents."""

    __slots__ = ("_fitting", "kind")

    def __init__(self, kind: type[M]) -> None:
        """Raises InvalidArgument if it is no model."""
        given: Any = kind
        if not isinstance(given, type) or not (is_dataclass(given) or is_pydantic(given)):
            raise InvalidArgument(
                f"a model is a dataclass or a subclass of pydantic.BaseModel, not {kind!r:.100}"
            )
        self.kind = kind
        self._fitting = None if is_pydantic(kind) else fitting_of(given, is_top=True)

    def read(self, document: dict[str, Any], collection: str) -> M:
        """The object of a document. Raises ModelMismatch."""
        cause: BaseException | None = None
        try:
            if self._fitting is None:
                return self._validated(document)
            made: M = self._fitting(document)
        except Misfit as misfit:
            findings = [(misfit.path, misfit.reason)]
            cause = misfit.__cause__
        except ValueError as error:
            findings = _findings(error)
        else:
            return made
        id_value = document.get("_id")
        # the cause is what the program's own class raised; pydantic's error would show the values
        raise ModelMismatch(collection, id_value, self.kind.__name__, findings) from cause

    def _validated(self, document: dict[str, Any]) -> M:
        kind: Any = self.kind
        try:
            made: M = kind.model_validate(document)
        except ValueError:
            # pydantic knows Decimal only; looked at now, so that others do not pay for it
            changed = _with_decimals(document)
            if changed == document:
                raise
            made = kind.model_validate(changed)
        return made


def _with_decimals(value: Any) -> Any:
    if type(value) is Decimal128:
        return value.to_decimal()
    if type(value) is dict:
        return {name: _with_decimals(each) for name, each in value.items()}
    return [_with_decimals(each) for each in value] if type(value) is list else value


def _findings(error: ValueError) -> list[tuple[str, str]]:
    """What pydantic found, without the values."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return [("", str(error))]
    return [
        (".".join(map(str, each["loc"])), str(each["msg"]))
        for each in errors(include_url=False, include_input=False, include_context=False)
    ]


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
