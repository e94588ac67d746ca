"""Readable twin of a record's header, node id and actor, from docs/reference/format.md#record."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct("<BBHQqQ")
TOMBSTONE, ACTOR = 1, 2


class Parts(NamedTuple):
    """What a record says."""

    flags: int
    ms: int
    counter: int
    updated_at: int
    ordinal: int
    node: bytes
    actor: bytes
    bson: bytes


def build(parts: Parts) -> bytes:
    """The record; a tombstone has no flag for its actor."""
    flags = parts.flags | (ACTOR if parts.actor and not parts.flags & TOMBSTONE else 0)
    head = HEADER.pack(
        flags, len(parts.node), parts.counter, parts.ms, parts.updated_at, parts.ordinal
    )
    actor = bytes([len(parts.actor)]) + parts.actor if parts.actor else b""
    return head + parts.node + actor + parts.bson


def parse(record: bytes) -> Parts | None:
    """What it says; None if it is not whole."""
    if len(record) < HEADER.size:
        return None
    flags, node_size, counter, ms, updated_at, ordinal = HEADER.unpack_from(record)
    node, rest = record[HEADER.size :][:node_size], record[HEADER.size + node_size :]
    if len(node) < node_size:
        return None
    actor = b""
    if flags & ACTOR or (flags & TOMBSTONE and rest):
        if not rest or len(rest) < 1 + rest[0]:
            return None
        actor, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        if flags & TOMBSTONE and rest:
            return None
    return Parts(flags, ms, counter, updated_at, ordinal, node, actor, rest)
