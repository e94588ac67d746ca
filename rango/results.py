"""What write operations return, under PyMongo's names, because people and tools know them."""

from __future__ import annotations

from typing import Any, Final


class ReturnDocument:
    """Which document find_one_and_update and find_one_and_replace return."""

    BEFORE: Final = False
    """As it was; None if there was none."""
    AFTER: Final = True
    """As it is now."""


class _Result:
    """`acknowledged` is always True: a write is answered per the durability mode, or it raises."""

    __slots__ = ()

    @property
    def acknowledged(self) -> bool:
        """Whether the write was answered; always True."""
        return True

    def __repr__(self) -> str:
        slots: tuple[str, ...] = self.__slots__
        fields = ", ".join(
            f"{name[1:]}={getattr(self, name)!r}" for name in slots if name != "_did_upsert"
        )
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

    __slots__ = ("_did_upsert", "_matched_count", "_modified_count", "_upserted_id")

    def __init__(
        self,
        matched_count: int,
        modified_count: int,
        upserted_id: Any = None,
        did_upsert: bool = False,
    ) -> None:
        self._matched_count = matched_count
        self._modified_count = modified_count
        self._upserted_id = upserted_id
        self._did_upsert = did_upsert

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

    @property
    def did_upsert(self) -> bool:
        """Whether upsert inserted a document."""
        return self._did_upsert

    @property
    def raw_result(self) -> dict[str, Any]:
        """The counts in the shape that a MongoDB server answers with."""
        raw: dict[str, Any] = {
            "n": self._matched_count + self._did_upsert,
            "nModified": self._modified_count,
            "ok": 1.0,
            "updatedExisting": self._matched_count > 0,
        }
        return {**raw, "upserted": self._upserted_id} if self._did_upsert else raw


class DeleteResult(_Result):
    """The answer of delete_one and delete_many."""

    __slots__ = ("_deleted_count",)

    def __init__(self, deleted_count: int) -> None:
        self._deleted_count = deleted_count

    @property
    def deleted_count(self) -> int:
        """How many documents were deleted."""
        return self._deleted_count

    @property
    def raw_result(self) -> dict[str, Any]:
        """The count in the shape that a MongoDB server answers with."""
        return {"n": self._deleted_count, "ok": 1.0}


class BulkWriteResult(_Result):
    """The answer of bulk_write."""

    __slots__ = ("_bulk_api_result",)

    def __init__(self, bulk_api_result: dict[str, Any]) -> None:
        self._bulk_api_result = bulk_api_result

    @property
    def bulk_api_result(self) -> dict[str, Any]:
        """All counts, in the shape that a MongoDB server answers with."""
        return self._bulk_api_result

    @property
    def inserted_count(self) -> int:
        """How many documents were inserted by InsertOne."""
        return int(self._bulk_api_result["nInserted"])

    @property
    def matched_count(self) -> int:
        """How many documents the filters of updates and replacements matched."""
        return int(self._bulk_api_result["nMatched"])

    @property
    def modified_count(self) -> int:
        """How many of them became different from what they were."""
        return int(self._bulk_api_result["nModified"])

    @property
    def deleted_count(self) -> int:
        """How many documents were deleted."""
        return int(self._bulk_api_result["nRemoved"])

    @property
    def upserted_count(self) -> int:
        """How many documents upserts inserted."""
        return int(self._bulk_api_result["nUpserted"])

    @property
    def upserted_ids(self) -> dict[int, Any]:
        """The `_id`s of those, by the place of their request."""
        return {each["index"]: each["_id"] for each in self._bulk_api_result["upserted"]}


class PurgeResult(_Result):
    """The answer of purge."""

    __slots__ = ("_commits", "_purged_count", "_segments")

    def __init__(self, purged_count: int, commits: int, segments: int) -> None:
        self._purged_count = purged_count
        self._commits = commits
        self._segments = segments

    @property
    def purged_count(self) -> int:
        """How many documents went, with all of their history."""
        return self._purged_count

    @property
    def commits(self) -> int:
        """In how many commits of the history something of them was."""
        return self._commits

    @property
    def segments(self) -> int:
        """How many segments of the oplog were rewritten."""
        return self._segments


UPDATED: Final = (UpdateResult(0, 0), UpdateResult(1, 0), UpdateResult(1, 1))
"""By what DirectWrites.update answers. A result cannot be changed, so one will do for all."""

DELETED: Final = (DeleteResult(0), DeleteResult(1))
"""By what DirectWrites.delete answers."""
