"""What write operations return, under PyMongo's names, because people and tools know them."""

from __future__ import annotations

from typing import Any


class _Result:
    """`acknowledged` is always True: a write is answered per the durability mode, or it raises."""

    __slots__ = ()

    @property
    def acknowledged(self) -> bool:
        """Whether the write was answered; always True."""
        return True

    def __repr__(self) -> str:
        slots: tuple[str, ...] = self.__slots__
        fields = ", ".join(f"{name[1:]}={getattr(self, name)!r}" for name in slots)
        return f"{type(self).__name__}({fields})"


class InsertOneResult(_Result):
    """The answer of insert_one."""

    __slots__ = ("_inserted_id",)

    def __init__(self, inserted_id: Any) -> None:
        self._inserted_id = inserted_id

    @property
    def inserted_id(self) -> Any:
        """The `_id` of the document, given or made."""
        return self._inserted_id


class InsertManyResult(_Result):
    """The answer of insert_many."""

    __slots__ = ("_inserted_ids",)

    def __init__(self, inserted_ids: list[Any]) -> None:
        self._inserted_ids = inserted_ids

    @property
    def inserted_ids(self) -> list[Any]:
        """The `_id`s of the documents, in the order in which they were given."""
        return self._inserted_ids


class UpdateResult(_Result):
    """The answer of update_one, update_many and replace_one."""

    __slots__ = ("_matched_count", "_modified_count", "_upserted_id")

    def __init__(self, matched_count: int, modified_count: int, upserted_id: Any = None) -> None:
        self._matched_count = matched_count
        self._modified_count = modified_count
        self._upserted_id = upserted_id

    @property
    def matched_count(self) -> int:
        """How many documents the filter matched (an upserted document is not counted)."""
        return self._matched_count

    @property
    def modified_count(self) -> int:
        """How many of them became different from what they were."""
        return self._modified_count

    @property
    def upserted_id(self) -> Any:
        """The `_id` of the document that upsert inserted, or None."""
        return self._upserted_id


class DeleteResult(_Result):
    """The answer of delete_one and delete_many."""

    __slots__ = ("_deleted_count",)

    def __init__(self, deleted_count: int) -> None:
        self._deleted_count = deleted_count

    @property
    def deleted_count(self) -> int:
        """How many documents were deleted."""
        return self._deleted_count
