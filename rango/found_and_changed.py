"""find_one_and_*: writes of one document that return it as it was, or as it is.

Invariants  As of every write by filter: see rango/writes.py.
Failure     That of update_one, replace_one and delete_one. ModelMismatch comes after the write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, overload

from rango.engine.query import Document, ProjectionKeys, SortKeys
from rango.errors import InvalidArgument
from rango.models import D, Storable
from rango.results import ReturnDocument
from rango.statements import (
    Alteration,
    Projected,
    executed,
    removing,
    replacing,
    updating,
    write_stop,
)

if TYPE_CHECKING:
    from typing import Unpack

    from rango.option_types import ChangeOptions
    from rango.transaction import Handle


UpdateKeys = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""Operators, or the stages of a pipeline."""


class CollectionFoundAndChanged(Generic[D]):
    """The methods of a Collection that change one document and return it.

    With a projection they return a dictionary, whatever the collection's model.
    """

    __slots__ = ()

    _handle: Handle
    _name: str

    @overload
    def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: None = None,
        sort: SortKeys | None = None,
        hint: object = None,
        **options: Unpack[ChangeOptions],
    ) -> D | None: ...
    @overload
    def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: ProjectionKeys,
        sort: SortKeys | None = None,
        hint: object = None,
        **options: Unpack[ChangeOptions],
    ) -> Document | None: ...
    def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: ProjectionKeys | None = None,
        sort: SortKeys | None = None,
        hint: object = None,
        *,
        let: Mapping[str, Any] | None = None,
        collation: object = None,
        max_time_ms: int | None = None,
        comment: object = None,  # noqa: ARG002
        session: None = None,  # noqa: ARG002
    ) -> Any:
        """Delete the first document that matches, and return it; None if none does."""
        statement = removing(
            self._name,
            filter,
            sort=sort,
            hint=hint,
            let=let,
            collation=collation,
            stop=write_stop(max_time_ms),
        )
        shaped = Projected(statement.query, projection)
        return self._returned(shaped(executed(self._handle, statement).before), projection)

    @overload
    def find_one_and_replace(
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
    def find_one_and_replace(
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
    def find_one_and_replace(
        self,
        filter: Mapping[str, Any],
        replacement: Storable,
        projection: ProjectionKeys | None = None,
        sort: SortKeys | None = None,
        upsert: bool = False,
        return_document: bool = ReturnDocument.BEFORE,
        hint: object = None,
        *,
        let: Mapping[str, Any] | None = None,
        collation: object = None,
        max_time_ms: int | None = None,
        comment: object = None,  # noqa: ARG002
        session: None = None,  # noqa: ARG002
    ) -> Any:
        """replace_one that returns the document as it was, or as it is with ReturnDocument.AFTER.

        None if none matches, and if an upsert inserted one and BEFORE is asked for.
        """
        statement = replacing(
            self._handle,
            self._name,
            filter,
            replacement,
            upsert=upsert,
            sort=sort,
            hint=hint,
            let=let,
            collation=collation,
            stop=write_stop(max_time_ms),
        )
        return self._found_and_changed(statement, projection, return_document)

    @overload
    def find_one_and_update(
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
    def find_one_and_update(
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
    def find_one_and_update(
        self,
        filter: Mapping[str, Any],
        update: UpdateKeys,
        projection: ProjectionKeys | None = None,
        sort: SortKeys | None = None,
        upsert: bool = False,
        return_document: bool = ReturnDocument.BEFORE,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        hint: object = None,
        *,
        let: Mapping[str, Any] | None = None,
        collation: object = None,
        max_time_ms: int | None = None,
        comment: object = None,  # noqa: ARG002
        session: None = None,  # noqa: ARG002
    ) -> Any:
        """update_one that returns the document as it was, or as it is with ReturnDocument.AFTER.

        None if none matches, and if an upsert inserted one and BEFORE is asked for.
        """
        statement = updating(
            self._handle,
            self._name,
            filter,
            update,
            upsert=upsert,
            array_filters=array_filters,
            sort=sort,
            hint=hint,
            let=let,
            collation=collation,
            stop=write_stop(max_time_ms),
        )
        return self._found_and_changed(statement, projection, return_document)

    def _found_and_changed(
        self,
        statement: Alteration,
        projection: ProjectionKeys | None,
        is_after: bool,
    ) -> Any:
        if not isinstance(is_after, bool):
            raise InvalidArgument(
                "return_document must be ReturnDocument.BEFORE or ReturnDocument.AFTER, "
                f"not {is_after!r:.60}"
            )
        shaped = Projected(statement.query, projection)
        outcome = executed(self._handle, statement)
        found = shaped(outcome.after if is_after else outcome.before)
        return self._returned(found, projection)

    def _returned(
        self,
        document: Document | None,
        projection: ProjectionKeys | None,  # noqa: ARG002
    ) -> Any:
        """What the caller gets of a document: that of a model collection is another."""
        return document
