"""The commits of an oplog as people read them: which documents changed, in which collection, when.

Terms       commit, ordinal, mutation, mark: see the glossary. Change: one mutation of a document
            or of a definition, with names instead of numbers.
Invariants  Nothing is written and no lock is taken, so it works beside a process that writes. While
            one does, damage is believed only if it is found at the same place twice: a reading that
            came between two writes sees the later one first.
            Names are those of the moment: a collection that was renamed has its old name before.
Failure     LogCorrupted where the log is damaged; what came before was given out. A key whose
            document is nowhere any more (purged, or the log before it gone) is shown as hex.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from rango._ext import layout
from rango._ext.record import decode, record_actor, record_parts
from rango._ext.vfs import Vfs
from rango.engine.kept_state import definitions_of
from rango.engine.mutation import MUTATION, mutations, value_of
from rango.errors import LogCorrupted, NotFound
from rango.ids import node_tag
from rango.storage.keyring import Keyring
from rango.storage.oplog import Oplog
from rango.storage.segment import LogMark, io_named

TRIES: Final = 10
BODIES_KEPT: Final = 4
"""Older commits that are kept in hand: a delete_many asks the same one again and again."""

Kind = Literal["insert", "replace", "delete", "forget", "purged", "define", "drop"]
KINDS: Final[dict[int, Kind]] = {
    layout.MUTATION_INSERT: "insert",
    layout.MUTATION_REPLACE: "replace",
    layout.MUTATION_DELETE: "delete",
    layout.MUTATION_FORGET: "forget",
}


class Change(NamedTuple):
    """One document, or one definition, that a commit changed."""

    kind: Kind
    """"define" and "drop" are of collections, indexes and settings."""
    collection: str | None
    """None for a setting of the database, and for what was purged."""
    id: Any
    """The `_id`; the name of an index; None where there is neither."""
    key: str
    """The document's key as hex if its `_id` cannot be told any more, else ""."""
    revision: str
    """`<ms>-<counter>-<4 hex>`; "" where a change has none."""
    ms: int
    """When it was written, milliseconds since the epoch; 0 where a change has none."""
    node: str
    """Which node wrote it."""
    document: dict[str, Any] | None
    """What it is afterwards, if values were asked for."""
    actor: str = ""
    """Who wrote it; "" if nobody was named."""


class Commit(NamedTuple):
    """One commit: its number and what it changed."""

    ordinal: int
    changes: tuple[Change, ...]


class Reader:
    """Reads the commits of one log in order; call read() again for what has come since."""

    def __init__(self, vfs: Vfs, directory: str, keyring: Keyring, *, values: bool) -> None:
        self._vfs = vfs
        self._directory = directory
        self._keyring = keyring
        self._values = values
        self._log: Oplog
        self._mark: LogMark | None = None
        self._seen = 0
        self._definitions: dict[int, dict[str, Any]] = {}
        self._bodies: dict[int, bytes] = {}

    def read(self, start: int = 1) -> Iterator[Commit]:
        """Every commit from ordinal `start` on that was not read yet."""
        damaged = ""
        for _ in range(TRIES):
            try:
                yield from self._read(start)
                return
            except LogCorrupted as error:
                # else somebody wrote between two of our readings
                if error.where == damaged:
                    raise
                damaged = error.where

    def _read(self, start: int) -> Iterator[Commit]:
        if self._keyring.is_encrypted:
            with io_named("reading the keys"):
                self._keyring.refresh()  # a rotation makes another epoch
        log = self._log = Oplog.open(self._vfs, self._directory, self._keyring)
        mark = self._mark
        if mark is None:
            mark = log.start()
            for tree, definition in definitions_of(log):
                self._definitions[tree] = decode(definition)
        for batch in log.replay(*mark):
            for ordinal, _lsn, body, _first in batch:
                # those up to `seen` are met again after a reading that failed
                changes = self._changes(body, ordinal >= start and ordinal > self._seen)
                if ordinal > self._seen:
                    self._seen = ordinal
                    if ordinal >= start:
                        yield Commit(ordinal, changes)
        if log.end is not None:
            self._mark = log.end.mark

    def _changes(self, body: bytes, is_wanted: bool) -> tuple[Change, ...]:
        """What a commit changes; if it is not wanted, its definitions only."""
        changes = []
        for mutation in mutations(body):
            _size, op, tree, key_size = MUTATION.unpack_from(mutation)
            key = bytes(mutation[layout.MUTATION_HEADER_SIZE :][:key_size])
            if op == layout.MUTATION_PURGED:
                changes.append(Change("purged", None, None, "", "", 0, "", None))
            elif not key:
                continue
            elif tree == layout.TREE_CATALOG:
                changes.append(self._defined(op, key, value_of(mutation, key_size)))
            elif is_wanted:
                changes.append(self._change(op, tree, key, value_of(mutation, key_size)))
        return tuple(changes)

    def _defined(self, op: int, key: bytes, value: bytes) -> Change:
        """A change of the catalog."""
        tree = int.from_bytes(key, "big")
        is_gone = op == layout.MUTATION_DELETE
        fields = self._definitions.pop(tree, {}) if is_gone else decode(value)
        if not is_gone:
            self._definitions[tree] = fields
        kind: Kind = "drop" if is_gone else "define"
        if fields.get("kind") == "index":
            return Change(
                kind, self._name(fields["collection"]), fields["name"], "", "", 0, "", None
            )
        return Change(kind, fields.get("name"), None, "", "", 0, "", None)

    def _change(self, op: int, tree: int, key: bytes, value: bytes) -> Change:
        """A change of a document."""
        kind, name = KINDS[op], self._name(tree)
        if kind == "forget":
            return Change(kind, name, None, key.hex(), "", 0, "", None)
        _flags, ms, counter, updated_at, before, node, bson = record_parts(value)
        writer = node.decode()
        document = decode(bson) if bson else None
        found = {"_id": None} if document is None else document
        hexed = ""
        if document is None:
            found, hexed = self._id_before(before, tree, key)
        return Change(
            kind,
            name,
            found["_id"],
            hexed,
            revision_text(ms, counter, writer),
            updated_at,
            writer,
            document if self._values else None,
            record_actor(value).decode(),
        )

    def _id_before(self, ordinal: int, tree: int, key: bytes) -> tuple[dict[str, Any], str]:
        """The `_id` of a document that is deleted, from the commit that wrote it before."""
        try:
            body = self._bodies.get(ordinal) or self._log.read_commit(ordinal)
        except (NotFound, LogCorrupted):
            return {"_id": None}, key.hex()
        self._bodies[ordinal] = body
        while len(self._bodies) > BODIES_KEPT:
            del self._bodies[next(iter(self._bodies))]
        for mutation in mutations(body):
            _size, op, of, key_size = MUTATION.unpack_from(mutation)
            is_same = of == tree and mutation[layout.MUTATION_HEADER_SIZE :][:key_size] == key
            if is_same and op in (layout.MUTATION_INSERT, layout.MUTATION_REPLACE):
                return decode(record_parts(value_of(mutation, key_size))[6]), ""
        return {"_id": None}, key.hex()

    def _name(self, tree: int) -> str:
        fields = self._definitions.get(tree)
        return f"tree {tree}" if fields is None else str(fields.get("name"))


def revision_text(ms: int, counter: int, writer: str) -> str:
    """A revision as people see it."""
    return f"{ms}-{counter}-{node_tag(writer)}"
