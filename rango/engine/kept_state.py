"""What a base segment holds, as mutations: written from a view, and taken over again.

Terms       base segment, statement, keep point: see storage/base_segment.py.
Invariants  Everything that a replay from the beginning would have given is there: definitions and
            settings, live records and tombstones with their revisions and the commits that wrote
            them, index entries, the greatest revision, the next number of a tree. So the log alone
            still rebuilds the data file (I-7, I-8, I-15).
            The definitions come first, then tree by tree in the order of their keys.
Failure     LogCorrupted from a base that is damaged.
Sources     architecture section 8 (Checkpoint); ADR-0032.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from rango._ext import layout
from rango._ext.record import decode
from rango.engine.mutation import (
    HEAD,
    MUTATION,
    commit_of,
    has_actor,
    mutation_of,
    mutations,
    value_of,
)
from rango.storage.base_segment import BODY_SIZE, BaseWriter, base_commits, base_statement

if TYPE_CHECKING:
    from rango._ext.store import Store
    from rango._ext.view import View
    from rango.storage.oplog import Oplog

ENTRY: Final = struct.Struct("<BIHH")

Changes = list[tuple[int, bytes | None]]
Progress = Callable[[int, int], object]

CHUNK: Final = 64
"""Entries that are read at once: each may be 16 MiB."""


# --- writing


def write_state(writer: BaseWriter, view: View, progress: Progress | None = None) -> None:
    """Write all that a view holds. `progress`: (mutations done, of about so many)."""
    body = bytearray(layout.COMMIT_HEADER_SIZE)
    count = done = 0
    has_actors = False
    definitions: dict[int, bytes] = view.catalog.definitions
    total = len(definitions) + sum(max(view.count(tree), 0) for tree in definitions)
    for mutation in state_mutations(view):
        if count and len(body) + len(mutation) > BODY_SIZE:
            writer.put(commit_of(body, count, has_actors=has_actors))
            done += count
            if progress is not None:
                progress(done, max(total, done))
            body, count, has_actors = bytearray(layout.COMMIT_HEADER_SIZE), 0, False
        body += mutation
        has_actors = has_actors or has_actor(mutation)
        count += 1
    if count:
        writer.put(commit_of(body, count, has_actors=has_actors))
    if progress is not None:
        progress(done + count, done + count)


def state_mutations(view: View) -> Iterator[bytes]:
    """All that a view holds."""
    definitions: dict[int, bytes] = view.catalog.definitions
    for tree, definition in sorted(definitions.items()):
        key = tree.to_bytes(4, "big")
        yield mutation_of(layout.MUTATION_INSERT, layout.TREE_CATALOG, key, definition)
    for tree, definition in sorted(definitions.items()):
        kind = decode(definition).get("kind")
        if kind == "collection":
            yield from record_mutations(view, tree)
        elif kind == "index":
            yield from entry_mutations(view, tree)


def record_mutations(view: View, tree: int) -> Iterator[bytes]:
    """The documents of a collection and its tombstones, which count for nothing (REPLACE)."""
    for key, record in entries_of(view, tree):
        is_gone = record[layout.RECORD_FLAGS] & layout.RECORD_FLAG_TOMBSTONE
        op = layout.MUTATION_REPLACE if is_gone else layout.MUTATION_INSERT
        yield mutation_of(op, tree, key, record)


def entry_mutations(view: View, tree: int) -> Iterator[bytes]:
    """The entries of an index, each as when it was filled."""
    for key, value in entries_of(view, tree):
        split = int.from_bytes(value[: layout.INDEX_VALUE_SIZE], "little")
        types = value[layout.INDEX_VALUE_SIZE :]
        op = layout.INDEX_PUT if types else layout.INDEX_ADD
        entry = ENTRY.pack(op, tree, split, len(key)) + key
        if types:
            entry += bytes([len(types)]) + types
        size = HEAD.size + len(entry)
        yield HEAD.pack(size, layout.MUTATION_INSERT, tree, 0, 0, 1) + entry


def entries_of(view: View, tree: int) -> Iterator[tuple[bytes, bytes]]:
    """Every entry of a tree in key order."""
    scan = view.scan(tree, None, None, False, None)
    while entries := scan.next_entries(CHUNK):
        yield from entries


# --- reading


def load(store: Store, log: Oplog) -> Iterator[Changes]:
    """Take over the state of the base, if there is one, into a store that is empty: batch by batch,
    with what each defines. Raises LogCorrupted.
    """
    if log.base is None:
        return
    statement = base_statement(log)
    ordinal = statement["ordinal"]
    # the number of a tree that was dropped is not used again; what is there comes after this
    yield [(statement["tree_next"] - 1, None)]
    for batch in base_commits(log):
        changes: Changes = []
        store.is_base = True
        try:
            for commit in batch:
                changes += store.apply(commit[2], ordinal, ordinal)
        finally:
            store.is_base = False
        yield changes
    store.floor(statement["hlc_ms"], statement["hlc_counter"])


def definitions_of(log: Oplog) -> Iterator[tuple[int, bytes]]:
    """(tree, definition) of everything that the base defines. Raises LogCorrupted."""
    for batch in base_commits(log):
        for commit in batch:
            for mutation in mutations(commit[2]):
                _size, op, tree, key_size = MUTATION.unpack_from(mutation)
                if tree != layout.TREE_CATALOG or op == layout.MUTATION_PURGED:
                    return
                key = mutation[layout.MUTATION_HEADER_SIZE :][:key_size]
                yield int.from_bytes(key, "big"), value_of(mutation, key_size)


def record_of(log: Oplog, tree: int, key: bytes) -> bytes | None:
    """The record of a document as of the keep point; None if there is none. Reads the base up to
    it.
    """
    start = layout.MUTATION_HEADER_SIZE
    for batch in base_commits(log):
        for commit in batch:
            for mutation in mutations(commit[2]):
                _size, _op, of, key_size = MUTATION.unpack_from(mutation)
                if of == tree and key_size and mutation[start : start + key_size] == key:
                    return value_of(mutation, key_size)
    return None
