"""Joins: the documents of another collection whose field equals one of some values.

Terms       join key: the group key of a value; a local value is one that a document brings along, a
            foreign value one that the other collection holds.
Invariants  What matches is what the filter {field: {$in: [values]}} matches: elements of arrays as
            well as whole arrays; null also where the field is missing. A local array counts as its
            elements. The foreign documents of one value come in one order, however they are found.
            Three ways, the first that applies:
              index  the field is `_id` or leads an index: one query with $in for each batch, and
                     what it found is kept while there is room;
              table  the whole collection is read once and kept by key, if it fits the account;
              scan   one query with $in for each batch, without an index.
Failure     none of its own: a cache that does not fit is dropped.
Sources     MongoDB manual, "$lookup (aggregation)"; ADR-0016.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bson.regex import Regex

from rango.engine.aggregate.keys import group_keys, path_values
from rango.engine.aggregate.memory import KEPT_SIZE_BYTES, Account, size_of
from rango.engine.aggregate.source import collection_info, documents_of, open_query
from rango.engine.aggregate.stage import Context, Document
from rango.engine.filters import program_of

IN_COUNT_MAX = 1000
"""Values of one $in: more would make its program larger than it saves."""


def copied(value: Any) -> Any:
    """A copy that shares no container, so that what is kept does not change with an answer."""
    kind = type(value)
    if kind is dict:
        return {name: copied(each) for name, each in value.items()}
    return [copied(each) for each in value] if kind is list else value


def local_values(document: Document, parts: Sequence[str]) -> list[Any]:
    """The values that a document brings: the elements of arrays; null if there are none."""
    values: list[Any] = []
    for value in path_values(document, parts):
        if isinstance(value, list):
            values += value
        else:
            values.append(value)
    return values or [None]


def foreign_values(document: Document, parts: Sequence[str]) -> Iterator[Any]:
    """The values that a filter on the path would compare, null for missing ones aside."""
    for value in path_values(document, parts):
        yield value
        if isinstance(value, list):
            yield from value


class Join:
    """The foreign side of one run."""

    def __init__(
        self,
        context: Context,
        collection: str,
        path: str,
        collation: Any,
        account: Account,
        restriction: Document | None = None,
    ) -> None:
        self.context = context
        self.collection = collection
        self.path = path
        self.parts = path.split(".")
        self.collation = collation
        self.restriction = restriction
        self.account = account
        self.key_of = group_keys(collation)
        self.known: dict[Any, list[Document]] = {}
        self.has_table = False
        self.may_have_table = not self._is_indexed()

    def _is_indexed(self) -> bool:
        info = collection_info(self.context, self.collection)
        if info is None or self.collation is not None:
            return False
        return self.path == "_id" or any(
            index.fields[0][0] == self.path and not index.sparse and index.partial is None
            for index in info.indexes
        )

    def prepare(self, values: Iterable[Any]) -> None:
        """See to it that the documents of all these values are known."""
        wanted = {self.key_of(value): value for value in values}
        missing = {key: value for key, value in wanted.items() if key not in self.known}
        if not missing or (self.has_table and set(missing) <= {None}):
            self._find_null(missing)
            return
        if self.may_have_table:
            self.may_have_table = False
            self._read_table()
        if self.has_table:
            for key in missing:
                if key is not None:
                    self.known.setdefault(key, [])
        else:
            self._room_for(wanted)
            self._query({key: each for key, each in missing.items() if key is not None})
        self._find_null(missing)

    def _find_null(self, missing: dict[Any, Any]) -> None:
        # null also means a field that is not there, which has no value that could be a key
        if None in missing:
            found: list[Document] = []
            for batch in self._found({self.path: {"$eq": None}}):
                self.account.charge_documents(batch)
                found += batch
            self.known[None] = found

    def found(self, values: Sequence[Any]) -> list[Document]:
        """The documents that match any of some prepared values, each once."""
        known, key_of = self.known, self.key_of
        if len(values) == 1:
            return known[key_of(values[0])]
        seen: set[int] = set()
        documents = []
        for value in values:
            for document in known[key_of(value)]:
                if id(document) not in seen:
                    seen.add(id(document))
                    documents.append(document)
        return documents

    def _found(self, filter: Document) -> Iterator[list[Document]]:
        if self.restriction:
            filter = {"$and": [filter, self.restriction]} if filter else self.restriction
        query = open_query(program_of(filter, collation=self.collation))
        return documents_of(self.context, self.collection, query)

    def _room_for(self, wanted: dict[Any, Any]) -> None:
        """Forget what earlier batches found once it is half of what may be kept."""
        if self.account.has_room(self.account.limit_bytes // 2):
            return
        kept = {key: self.known[key] for key in wanted if key in self.known}
        self.account.release()
        for documents in kept.values():
            self.account.charge_documents(documents)
        self.known = kept

    def _query(self, missing: dict[Any, Any]) -> None:
        keys = list(missing)
        for at in range(0, len(keys), IN_COUNT_MAX):
            some = keys[at : at + IN_COUNT_MAX]
            for key in some:
                self.known[key] = []
            wanted = frozenset(some)
            for batch in self._found(self._filter([missing[key] for key in some])):
                for document in batch:
                    size = size_of(document) + KEPT_SIZE_BYTES
                    for key in self._keys(document):
                        if key in wanted:
                            self.account.charge(size)
                            self.known[key].append(document)

    def _filter(self, values: list[Any]) -> Document:
        # a regular expression in $in would be run, not compared
        plain = [value for value in values if not isinstance(value, Regex)]
        others = [{self.path: {"$eq": each}} for each in values if isinstance(each, Regex)]
        filter = {self.path: {"$in": plain}}
        return {"$or": [filter, *others]} if others else filter

    def _keys(self, document: Document) -> set[Any]:
        return {self.key_of(value) for value in foreign_values(document, self.parts)}

    def _read_table(self) -> None:
        table: dict[Any, list[Document]] = {}
        kept = 0
        for batch in self._found({}):
            self.context.environment.check()
            for document in batch:
                keys = self._keys(document)
                kept += (size_of(document) + KEPT_SIZE_BYTES) + KEPT_SIZE_BYTES * len(keys)
                for key in keys:
                    table.setdefault(key, []).append(document)
            if not self.account.has_room(kept):
                return
        self.account.charge(kept)
        table.pop(None, None)
        self.known = table
        self.has_table = True
