"""The mutations of a commit body, as Python reads and makes them.

Terms       mutation, index entry: docs/reference/format.md#mutation.
Invariants  I-7: a mutation says all that it takes to apply it.
Failure     FormatTooNew from a body of a later version; else none of its own: bodies come from
            frames whose tags are right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from rango._ext import layout
from rango._ext.record import record_actor
from rango.errors import FormatTooNew

MUTATION: Final = struct.Struct("<IBIH")
"""The first fields of a mutation: size, operation, tree, size of the key."""

HEAD: Final = struct.Struct("<IBIHII")
"""All of its header: then the size of the value and the number of index entries."""

COMMIT_VERSION: Final = 2
"""Of a commit without actors: older readers know it."""

LAST_VERSION: Final = bytes([layout.COMMIT_VERSION_ACTORS])

VERSIONED: Final = (layout.MUTATION_INSERT, layout.MUTATION_REPLACE, layout.MUTATION_DELETE)
"""Operations that write a version of a document, or its tombstone."""


def mutations(body: bytes) -> Iterator[memoryview]:
    """The mutations of a commit body. Raises FormatTooNew."""
    if body[:1] > LAST_VERSION:
        raise FormatTooNew(
            f"a commit of the oplog has version {body[layout.COMMIT_VERSION]}; this Rango knows "
            "versions 1 to 3. Update Rango."
        )
    view = memoryview(body)
    at = layout.COMMIT_HEADER_SIZE
    while at < len(body):
        size = MUTATION.unpack_from(body, at)[0]
        yield view[at : at + size]
        at += size


def value_of(mutation: memoryview, key_size: int) -> bytes:
    """The record, or the definition, in a mutation."""
    start = layout.MUTATION_HEADER_SIZE + key_size
    size = int.from_bytes(
        mutation[layout.MUTATION_VALUE_SIZE : layout.MUTATION_INDEX_COUNT], "little"
    )
    return bytes(mutation[start : start + size])


def mutation_of(op: int, tree: int, key: bytes, value: bytes) -> bytes:
    """A mutation without index entries."""
    size = HEAD.size + len(key) + len(value)
    return HEAD.pack(size, op, tree, len(key), len(value), 0) + key + value


def commit_of(body: bytearray, count: int, *, has_actors: bool = False) -> bytes:
    """The body of a commit of so many mutations, which follow the room for its header."""
    version = layout.COMMIT_VERSION_ACTORS if has_actors else COMMIT_VERSION
    body[layout.COMMIT_VERSION] = version
    body[layout.COMMIT_COUNT : layout.COMMIT_HEADER_SIZE] = count.to_bytes(4, "little")
    return bytes(body)


def has_actor(mutation: bytes) -> bool:
    """Whether a mutation writes a record that says who wrote it."""
    _size, op, tree, key_size = MUTATION.unpack_from(mutation)
    if not key_size or tree == layout.TREE_CATALOG or op not in VERSIONED:
        return False
    return bool(record_actor(value_of(memoryview(mutation), key_size)))


def updated_of(mutation: memoryview) -> int | None:
    """When a mutation wrote a document, milliseconds since 1970; None if it wrote none."""
    _size, op, tree, key_size = MUTATION.unpack_from(mutation)
    if not key_size or tree == layout.TREE_CATALOG or op not in VERSIONED:
        return None
    at = layout.MUTATION_HEADER_SIZE + key_size + layout.RECORD_UPDATED_AT
    return int.from_bytes(mutation[at : at + 8], "little", signed=True)
