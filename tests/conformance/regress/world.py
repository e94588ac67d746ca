"""The databases that a transcript works on, and the transactions of the session that typed it.

Terms       database: one of PostgreSQL's arguments of that name; here one Rango directory.
Why         A transaction there may create indexes and collections, one of ours may not: so what a
            ROLLBACK undoes is kept aside as documents and put back.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import rango
from rango.collection import Collection
from rango.database import Database

Layer = dict[tuple[str, str], tuple[list[Any], list[Any]] | None]
"""(database, collection) -> documents and indexes as they were, None if there was no collection."""
_SCRATCH = "scratch"
INDEX_OPTIONS = {
    "unique": "unique",
    "sparse": "sparse",
    "partialFilterExpression": "partialFilterExpression",
    "expireAfterSeconds": "expireAfterSeconds",
}


class World:
    """Databases by name, opened when first named."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._databases: dict[str, Database] = {}
        self._layers: list[Layer] = []
        self._is_begun = False
        self.has_failed = False
        self.prepared: dict[str, str] = {}
        # of writes that are done and would be answered from memory if they came again
        self.numbers: set[Any] = set()
        self.sharded: set[str] = set()

    def __enter__(self) -> World:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for database in self._databases.values():
            database.close()

    def database(self, name: str) -> Database:
        """The database of that name."""
        if name not in self._databases:
            place = self._folder / f"d{len(self._databases)}"
            self._databases[name] = rango.open(str(place), durability="memory")
        return self._databases[name]

    def collection(self, database: str, name: str) -> Collection:
        """A collection to read."""
        return self.database(database)[name]

    def changed(self, database: str, name: str) -> Collection:
        """A collection that is about to be written; kept aside for whoever may undo it."""
        found = self.database(database)[name]
        if self._layers and (database, name) not in self._layers[-1]:
            self._layers[-1][database, name] = (
                (list(found.find({})), found.list_indexes())
                if name in self.database(database).list_collection_names()
                else None
            )
        return found

    def scratch(self) -> Collection:
        """An empty collection that no statement names."""
        found = self.database(_SCRATCH)["documents"]
        found.delete_many({})
        return found

    @property
    def is_in_transaction(self) -> bool:
        """Between BEGIN and its end."""
        return self._is_begun

    def begin(self) -> None:
        """BEGIN."""
        if not self._is_begun:
            self._layers.append({})
        self._is_begun = True
        self.has_failed = False

    def commit(self) -> None:
        """COMMIT, which rolls back when a statement has failed."""
        if self.has_failed:
            self.rollback()
        elif self._is_begun:
            self._layers.pop()
        self._is_begun = False
        self.has_failed = False

    def rollback(self) -> None:
        """ROLLBACK."""
        if self._is_begun:
            self._undo(self._layers.pop())
        self._is_begun = False
        self.has_failed = False

    def statement(self) -> None:
        """A statement begins; end it by keep() or take_back()."""
        self._layers.append({})

    def keep(self) -> None:
        """What the statement did stands."""
        layer = self._layers.pop()
        if self._layers:
            self._layers[-1] = {**layer, **self._layers[-1]}

    def take_back(self) -> None:
        """What the statement did is undone."""
        self._undo(self._layers.pop())

    def _undo(self, layer: Layer) -> None:
        for (database, name), kept in layer.items():
            found = self.database(database)[name]
            found.drop()
            if kept is not None:
                documents, indexes = kept
                made(self.database(database), name)
                for index in indexes:
                    if index["name"] != "_id_":
                        create_index(found, index)
                if documents:
                    found.insert_many(documents)


def create_index(collection: Collection, index: dict[str, Any]) -> str:
    """Make an index from its description in MongoDB's terms."""
    options = {ours: index[theirs] for theirs, ours in INDEX_OPTIONS.items() if theirs in index}
    if "name" in index:
        options["name"] = index["name"]
    return collection.create_index(list(index["key"].items()), **options)


def made(database: Database, name: str) -> Collection:
    """An empty collection that exists."""
    found = database[name]
    found.delete_one({"_id": found.insert_one({}).inserted_id})
    return found
