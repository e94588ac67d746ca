"""What a commit did, as the events of a change stream.

Terms       event: a document that says what one mutation did; image: a document before or after
            it. position: of a mutation in its commit, counted from 1. definitions: by tree, what
            the catalog said of it at this place of the log.
Invariants  A mutation of a document, or of a definition that a stream shows, is one event, whoever
            reads it and whenever: events come from the log alone, never from what is there now.
            Images are those of the commit itself, for the log has both: the one after it in the
            mutation, the one before it in the commit that its record names.
            A purged mutation is an event still, which only says so, as in history(): what is left
            in the log does not tell more.
Failure     LogCorrupted; HistoryLost if an image is required that the log does not have any more.
Sources     MongoDB manual, "Change Events"; ADR-0030.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bson.timestamp import Timestamp

from rango._ext import layout
from rango._ext.key import key_of
from rango._ext.key_decode import key_decode
from rango._ext.record import decode, record_actor, record_parts
from rango.engine.catalog import READY
from rango.engine.history import commit_read, difference
from rango.engine.log import revision_text
from rango.engine.mutation import MUTATION, mutations, value_of
from rango.errors import Corrupted, HistoryGivenUp, HistoryLost, LogCorrupted, NotFound

if TYPE_CHECKING:
    from rango.engine.core import Core
    from rango.storage.log_stream import ReadCommit

Document = dict[str, Any]
Place = tuple[int, bytes]
"""Tree and key of a document."""

BODIES_BYTES_MAX: Final = 1_048_576
"""Commits that are kept for the images before later ones; the last one whatever its size."""

VERSIONED: Final = (layout.MUTATION_INSERT, layout.MUTATION_REPLACE, layout.MUTATION_DELETE)

KEY_TYPES: Final = {
    0x0A: b"\x0a",
    0x14: b"\x12\x01",
    0x1E: b"\x02",
    0x3C: b"\x05",
    0x46: b"\x07",
    0x50: b"\x08",
    0x5A: b"\x09",
    0x64: b"\x11",
}
"""By the class of a key, the BSON types to try: key.pxd, bson_element.pxd."""


class Wanted(NamedTuple):
    """What a stream is to tell."""

    collection: str | None
    """None: all but those that Rango keeps itself."""
    full_document: bool
    """With the document after an update, too."""
    before: str
    """"off", "whenAvailable" or "required"."""
    expanded: bool
    """Also definitions: create, createIndexes, dropIndexes, modify."""


class Images:
    """Documents as older commits left them."""

    def __init__(self, core_of: Callable[[], Core]) -> None:
        self._core_of = core_of
        self._bodies: dict[int, dict[Place, memoryview]] = {}
        self._sizes: dict[int, int] = {}
        self._bytes = 0

    def keep(self, ordinal: int, body: bytes) -> dict[Place, memoryview]:
        """The last version of each document in a commit, kept for a while."""
        found: dict[Place, memoryview] = {}
        for mutation in mutations(body):
            _size, op, tree, key_size = MUTATION.unpack_from(mutation)
            if op in VERSIONED and key_size and tree != layout.TREE_CATALOG:
                found[tree, key_in(mutation, key_size)] = mutation
        self._bytes += len(body) - self._sizes.get(ordinal, 0)
        self._bodies[ordinal] = found
        self._sizes[ordinal] = len(body)
        while len(self._bodies) > 1 and self._bytes > BODIES_BYTES_MAX:
            oldest = next(iter(self._bodies))
            del self._bodies[oldest]
            self._bytes -= self._sizes.pop(oldest)
        return found

    def of(self, ordinal: int, place: Place) -> Document | None:
        """The document as this commit left it; None if the log does not have it any more."""
        found = self._bodies.get(ordinal)
        if found is None:
            try:
                _number, body = commit_read(self._core_of(), ordinal)
            except HistoryGivenUp:
                # the base may have it, but only at the cost of reading all of the base
                return None
            except LogCorrupted as error:
                if isinstance(error.__cause__, NotFound):
                    return None
                raise
            found = self.keep(ordinal, body)
        mutation = found.get(place)
        return None if mutation is None else document_in(mutation, len(place[1]))


class Teller:
    """Makes the events of commits, in order."""

    def __init__(
        self,
        core_of: Callable[[], Core],
        database: str,
        wanted: Wanted,
        definitions: dict[int, Document],
    ) -> None:
        self._database = database
        self._wanted = wanted
        self._definitions = definitions
        self._images = Images(core_of)

    def events(
        self, commit: ReadCommit, behind: tuple[int, bool]
    ) -> Iterator[tuple[int, bool, Document]]:
        """(position, whether it is the end, event) of what is behind a place. The mutations before
        it are read, too: their definitions and images count.
        """
        earlier: dict[Place, memoryview] = {}
        found = list(mutations(commit.body))
        for position, mutation in enumerate(found, 1):
            _size, op, tree, key_size = MUTATION.unpack_from(mutation)
            if tree == layout.TREE_CATALOG:
                event = self._defined(mutation, op, key_size)
            else:
                name = self._name(tree)
                event = None
                if (position, False) > behind and name is not None and self._is_shown(name):
                    event = self._changed(commit, mutation, name, earlier)
                if key_size and len(found) > 1:
                    earlier[tree, key_in(mutation, key_size)] = mutation
            if event is None:
                continue
            event.setdefault("ordinal", commit.ordinal)
            if (position, False) > behind:
                yield position, False, event
            if self._is_last(event) and (position, True) > behind:
                end: Document = {"operationType": "invalidate", "ns": event["ns"]}
                yield position, True, {**end, "ordinal": commit.ordinal}
        self._images.keep(commit.first_ordinal, commit.body)

    def _is_last(self, event: Document) -> bool:
        """Whether what the stream watches is gone."""
        is_gone = event["operationType"] in ("drop", "rename")
        return is_gone and event["ns"]["coll"] == self._wanted.collection

    def _name(self, tree: int) -> str | None:
        """The name of a collection; None of an index, whose mutations are those of its filling."""
        fields = self._definitions.get(tree, {})
        return str(fields["name"]) if fields.get("kind") == "collection" else None

    def _is_shown(self, name: str) -> bool:
        if self._wanted.collection is None:
            return not name.startswith("system.")
        return name == self._wanted.collection

    def _ns(self, name: str) -> Document:
        return {"db": self._database, "coll": name}

    # --- documents

    def _changed(
        self,
        commit: ReadCommit,
        mutation: memoryview,
        name: str,
        earlier: dict[Place, memoryview],
    ) -> Document | None:
        _size, op, tree, key_size = MUTATION.unpack_from(mutation)
        if op == layout.MUTATION_PURGED:
            return {"operationType": "purged", "ns": self._ns(name)}
        if not key_size:
            return None
        key = key_in(mutation, key_size)
        if op == layout.MUTATION_FORGET:
            return {"operationType": "purged", "ns": self._ns(name)} | document_key(key, None)
        record = value_of(mutation, key_size)
        _flags, ms, counter, updated_at, previous, node, bson = record_parts(record)
        after = decode(bson) if bson else None
        before: Document | None = None
        if op != layout.MUTATION_INSERT:
            before = self._before(previous, (tree, key), earlier)
            if before is None and self._wanted.before == "required":
                raise HistoryLost(
                    f"commit {commit.ordinal} changed a document of {name!r} whose image before it "
                    "the log does not have any more; watch with "
                    "full_document_before_change='whenAvailable'"
                )
        event: Document = {
            "operationType": kind_of(op, before),
            "clusterTime": Timestamp(updated_at // 1000, commit.ordinal & 0xFFFFFFFF),
            "wallTime": datetime.fromtimestamp(updated_at / 1000, UTC),
            "ns": self._ns(name),
            **document_key(key, before if after is None else after),
        }
        self._add_images(event, before, after)
        writer = node.decode()
        event["ordinal"] = commit.ordinal
        event["revision"] = revision_text(ms, counter, writer)
        event["node"] = writer
        if actor := record_actor(record):
            event["actor"] = actor.decode()
        return event

    def _before(
        self, ordinal: int, place: Place, earlier: dict[Place, memoryview]
    ) -> Document | None:
        mutation = earlier.get(place)
        if mutation is not None:
            return document_in(mutation, len(place[1]))
        return self._images.of(ordinal, place) if ordinal else None

    def _add_images(self, event: Document, before: Document | None, after: Document | None) -> None:
        kind = event["operationType"]
        if after is not None and (kind != "update" or self._wanted.full_document):
            event["fullDocument"] = after
        if self._wanted.before != "off" and kind != "insert":
            event["fullDocumentBeforeChange"] = before
        if kind == "update" and before is not None and after is not None:
            changed, removed = difference(before, after)
            event["updateDescription"] = {
                "updatedFields": changed,
                "removedFields": removed,
                "truncatedArrays": [],
            }

    # --- definitions

    def _defined(self, mutation: memoryview, op: int, key_size: int) -> Document | None:
        """Take a definition over, and the event of it."""
        if op == layout.MUTATION_PURGED or not key_size:
            return None
        tree = int.from_bytes(key_in(mutation, key_size), "big")
        before = self._definitions.get(tree)
        if op == layout.MUTATION_DELETE:
            self._definitions.pop(tree, None)
            return None if before is None else self._dropped(before)
        fields = decode(value_of(mutation, key_size))
        self._definitions[tree] = fields
        if fields.get("kind") == "collection":
            return self._named(before, fields)
        if fields.get("kind") == "index":
            return self._indexed(before, fields)
        return None

    def _dropped(self, fields: Document) -> Document | None:
        if fields.get("kind") == "collection" and self._is_shown(fields["name"]):
            return {"operationType": "drop", "ns": self._ns(fields["name"])}
        if fields.get("kind") != "index" or fields.get("state") != READY:
            return None
        # the indexes of a collection that is dropped go after it: its event says all
        return self._of_index("dropIndexes", fields, fields)

    def _named(self, before: Document | None, fields: Document) -> Document | None:
        name = fields["name"]
        if before is None:
            if self._wanted.expanded and self._is_shown(name):
                return {"operationType": "create", "ns": self._ns(name)}
            return None
        if before["name"] != name:
            if self._is_shown(before["name"]) or self._is_shown(name):
                return {
                    "operationType": "rename",
                    "ns": self._ns(before["name"]),
                    "to": self._ns(name),
                }
            return None
        return self._modified(name, fields)

    def _modified(self, name: str, fields: Document) -> Document | None:
        if not self._wanted.expanded or not self._is_shown(name):
            return None
        return {
            "operationType": "modify",
            "ns": self._ns(name),
            "operationDescription": {
                key: value for key, value in fields.items() if key not in ("kind", "collection")
            },
        }

    def _indexed(self, before: Document | None, fields: Document) -> Document | None:
        if fields.get("state") != READY:
            return None
        if before is None or before.get("state") != READY:
            return self._of_index("createIndexes", fields, fields)
        name = self._name(fields["collection"])
        return None if name is None else self._modified(name, fields)

    def _of_index(self, kind: str, fields: Document, index: Document) -> Document | None:
        name = self._name(fields["collection"])
        if not self._wanted.expanded or name is None or not self._is_shown(name):
            return None
        shown = {
            key: value
            for key, value in index.items()
            if key not in ("kind", "collection", "state", "keys", "name")
        }
        return {
            "operationType": kind,
            "ns": self._ns(name),
            "operationDescription": {
                "indexes": [{"key": index["keys"], "name": index["name"], **shown}]
            },
        }


def kind_of(op: int, before: Document | None) -> str:
    """The operationType. The log has results, not intentions: replace_one() is an update, too. What
    came before may be gone; then there is nothing to compare with, and it is a "replace".
    """
    if op == layout.MUTATION_INSERT:
        return "insert"
    if op == layout.MUTATION_DELETE:
        return "delete"
    return "replace" if before is None else "update"


def key_in(mutation: memoryview, key_size: int) -> bytes:
    """The key of a mutation."""
    start = layout.MUTATION_HEADER_SIZE
    return bytes(mutation[start : start + key_size])


def document_in(mutation: memoryview, key_size: int) -> Document | None:
    """The document that a mutation left; None if it deleted it."""
    if MUTATION.unpack_from(mutation)[1] not in (layout.MUTATION_INSERT, layout.MUTATION_REPLACE):
        return None
    return decode(record_parts(value_of(mutation, key_size))[6])


def document_key(key: bytes, document: Document | None) -> Document:
    """The event's documentKey, from the document, or as far as the key tells: 1.0 is 1 there. An
    `_id` that the key does not tell is given as the key, in hex.
    """
    if document is not None:
        return {"documentKey": {"_id": document["_id"]}}
    for kind in KEY_TYPES.get(key[0], b""):
        try:
            (value,) = key_decode(key, bytes([kind]))
        except Corrupted:
            continue
        if key_of(value) == key:
            return {"documentKey": {"_id": value}}
    return {"documentKey": {}, "key": key.hex()}
