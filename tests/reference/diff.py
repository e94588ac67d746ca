"""What rango/_ext/diff.pyx does, in a few lines: every document of both sides is looked at."""

from __future__ import annotations

from rango._ext import layout
from rango._ext.record import record_parts
from rango._ext.view import View

Pair = tuple[bytes | None, bytes | None]


def differences(left: View, left_tree: int, right: View, right_tree: int) -> list[Pair]:
    """(record before, record after) of each document that differs, by key."""
    before, after = live(left, left_tree), live(right, right_tree)
    found = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old is None or new is None or record_parts(old)[6] != record_parts(new)[6]:
            found.append((old, new))
    return found


def live(view: View, tree: int) -> dict[bytes, bytes]:
    """The records of a tree by key, without tombstones; none of tree 0."""
    if not tree:
        return {}
    scan = view.scan(tree, None, None, False, None)
    found: dict[bytes, bytes] = {}
    while entries := scan.next_entries(1000):
        found.update(entries)
    return {
        key: record
        for key, record in found.items()
        if record[layout.RECORD_FLAGS] != layout.RECORD_FLAG_TOMBSTONE
    }
