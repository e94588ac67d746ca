"""A Store under test: driven with hand-made commits, checked against a dictionary and the file."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import NamedTuple

from rango._ext import layout
from rango._ext.generation import (
    generation_empty,
    generation_slot,
    generation_trees,
)
from rango._ext.pager import Pager
from rango._ext.seal import SealKey
from rango._ext.store import Store
from rango._ext.vfs import POSIX, VFS_CREATE, VFS_WRITE
from rango.engine.check import check_generation
from rango.storage.superblock import Slot, slot_load
from tests.reference.tree import Model, Shape, TreeFile
from tests.unit.log_case import StubKeyring

DOCUMENTS, INDEX = 1, 2
INSERT, REPLACE, DELETE = layout.MUTATION_INSERT, layout.MUTATION_REPLACE, layout.MUTATION_DELETE


class PageKeyring(StubKeyring):
    """The methods of a keyring that the log and the pager use."""

    def page_key(self, epoch: int) -> SealKey:
        """The key of the pages."""
        return self.provider.key(bytes([epoch]) * 32, self.entropy)


class Change(NamedTuple):
    """One mutation to come."""

    op: int
    tree: int
    key: bytes
    record: bytes
    entries: tuple[tuple[int, int, bytes, int], ...] = ()
    """(INDEX_ADD or INDEX_REMOVE, tree, key, split)"""


def record_of(body: bytes, *, is_tombstone: bool = False) -> bytes:
    """A record that the trees can keep: header and any bytes."""
    return struct.pack("<BBHQqQ", is_tombstone, 0, 1, 1, 1, 0) + (b"" if is_tombstone else body)


def stamped(record: bytes, ordinal: int) -> bytes:
    """The record as its tree keeps it: with the ordinal of its commit."""
    return record[:20] + ordinal.to_bytes(8, "little") + record[28:]


def commit_body(changes: list[Change]) -> bytes:
    """A commit's body, as docs/reference/format.md says."""
    out = [struct.pack("<BI", 1, len(changes))]
    for change in changes:
        entries = b"".join(
            struct.pack("<BIHH", op, tree, split, len(key)) + key
            for op, tree, key, split in change.entries
        )
        size = layout.MUTATION_HEADER_SIZE + len(change.key) + len(change.record) + len(entries)
        out.append(
            struct.pack(
                "<IBIHII",
                size,
                change.op,
                change.tree,
                len(change.key),
                len(change.record),
                len(change.entries),
            )
        )
        out += [change.key, change.record, entries]
    return b"".join(out)


class StoreCase:
    """One store on a file, its model, and the slots that its generations would have."""

    def __init__(
        self, folder: Path, *, page_size: int = 0, secret: bytes | None = None, cache: int = 1 << 20
    ) -> None:
        self.path = str(folder / "data.rango")
        self.fd = POSIX.open(self.path, VFS_WRITE | VFS_CREATE)
        self.keyring = PageKeyring(secret)
        self.page_size = page_size
        self.pager = self._pager(cache)
        self.store = Store(self.pager, generation_empty(), b"", page_size)
        self.model = Model()
        self.definitions: dict[int, bytes] = {}
        self.ordinal = 0
        self.number = 0
        self.slots: list[Slot] = []

    def _pager(self, cache: int) -> Pager:
        return Pager(POSIX, self.path, self.fd, self.keyring.database_id, self.keyring, 1, cache)

    def close(self) -> None:
        """Close the file."""
        POSIX.close(self.fd)

    # --- changes

    def commit(self, changes: list[Change]) -> None:
        """One commit into the store and the model."""
        self.ordinal += 1
        self.store.apply(commit_body(changes), self.ordinal, self.ordinal)
        for change in changes:
            tree = self.model.trees.setdefault(change.tree, {})
            if change.key:
                record = stamped(change.record, self.ordinal)
                tree[change.key] = (record, change.op == DELETE)
            for op, index, key, split in change.entries:
                entries = self.model.indexes.setdefault(index, {})
                if op == layout.INDEX_ADD:
                    entries[key] = split
                else:
                    entries.pop(key, None)

    def put(self, key: bytes, body: bytes, values: tuple[bytes, ...] = ()) -> Change:
        """The change that stores a document, with its index entries."""
        op = REPLACE if self._is_live(key) else INSERT
        return Change(op, DOCUMENTS, key, record_of(body), self._entries(key, values))

    def drop(self, key: bytes) -> Change:
        """The change that deletes a document."""
        tombstone = record_of(b"", is_tombstone=True)
        return Change(DELETE, DOCUMENTS, key, tombstone, self._entries(key, ()))

    def _is_live(self, key: bytes) -> bool:
        found = self.model.trees.get(DOCUMENTS, {}).get(key)
        return found is not None and not found[1]

    def _entries(
        self, key: bytes, values: tuple[bytes, ...]
    ) -> tuple[tuple[int, int, bytes, int], ...]:
        if INDEX not in self.definitions:
            return ()
        old = {
            entry: split
            for entry, split in self.model.indexes.get(INDEX, {}).items()
            if entry[split:] == key
        }
        new = {value + key: len(value) for value in values}
        removed = [
            (layout.INDEX_REMOVE, INDEX, each, old[each]) for each in sorted(old - new.keys())
        ]
        added = [(layout.INDEX_ADD, INDEX, each, new[each]) for each in sorted(new.keys() - old)]
        return tuple(removed + added)

    def define(self, tree: int, definition: bytes | None) -> None:
        """Add a tree to the catalog or drop it."""
        op = DELETE if definition is None else INSERT
        key = tree.to_bytes(4, "big")
        body = commit_body([Change(op, layout.TREE_CATALOG, key, definition or b"")])
        self.ordinal += 1
        changed = self.store.apply(body, self.ordinal, self.ordinal)
        assert changed == [(tree, definition)]
        if definition is None:
            del self.definitions[tree]
            self.model.trees.pop(tree, None)
            self.model.indexes.pop(tree, None)
        else:
            self.definitions[tree] = definition

    # --- generations

    def checkpoint(self) -> Slot:
        """Build a generation and go on from it, as engine/checkpoint.py does."""
        self.number += 1
        view = self.store.head
        generation = self.store.build(view, dict(self.definitions), self.number, self.ordinal)
        fields = generation_slot(generation)
        if POSIX.size(self.fd) < fields["file_units"] * layout.UNIT_SIZE:
            POSIX.truncate(self.fd, fields["file_units"] * layout.UNIT_SIZE)
        slot = Slot(
            generation=self.number,
            ordinal=self.ordinal,
            chain=bytes(32),
            log_segment=1,
            log_offset=0,
            file_units=fields["file_units"],
            catalog_link=fields["catalog_link"],
            catalog_height=fields["catalog_height"],
            clean=False,
            tree_next=max(self.definitions, default=0) + 1,
            hlc_ms=0,
            hlc_counter=0,
            bitmap_links=tuple(fields["bitmap_links"]),
            seals=0,
            reach=0,
            epoch=1,
        )
        self.store.adopt(generation, True)
        self.slots = [*self.slots[-1:], slot]
        return slot

    def reopen(self) -> None:
        """Start anew from the newest slot, as an open does."""
        slot = self.slots[-1]
        self.pager = self._pager(1 << 20)
        generation, definitions = slot_load(self.pager, slot)
        assert dict(definitions) == self.definitions
        self.store = Store(self.pager, generation, b"", self.page_size)

    # --- checks

    def check_pages(self) -> None:
        """Both generations are whole, and their bitmaps mark what they reach (I-2, I-4, I-5)."""
        for slot in self.slots:
            self.pager.forget_cache()
            findings = list(check_generation(self.pager, slot, self.path))
            assert not findings, findings

    def check_file(self, tree: int) -> Shape:
        """The twin reads from the file what the model holds."""
        roots = generation_trees(self.loaded())
        link, height, entries, _live = roots.get(tree, (bytes(16), 0, 0, 0))
        key = self.keyring.page_key(1)
        data = Path(self.path).read_bytes()
        file = TreeFile(data, self.keyring.database_id, key.open_bytes)
        found, shape = file.read(link, height)
        if tree == DOCUMENTS:
            records = self.model.trees.get(tree, {})
            assert found == {each: records[each][0] for each in records}
        else:
            splits = self.model.indexes.get(tree, {})
            assert found == {each: splits[each].to_bytes(2, "little") for each in splits}
        assert entries == len(found)
        return shape

    def loaded(self):  # type: ignore[no-untyped-def]
        """The newest generation, read from its slot."""
        slot = self.slots[-1]
        return slot_load(self.pager, slot)[0]

    def check_reads(self, choice: random.Random, scans: int = 12) -> None:
        """Gets, counts and scans equal the model's."""
        view = self.store.head
        live = self.model.live(DOCUMENTS)
        kept = self.model.trees.get(DOCUMENTS, {})
        assert view.count(DOCUMENTS) == len(live)
        for key in choice.sample(sorted(kept), min(len(kept), 60)):
            assert view.get(DOCUMENTS, key) == live.get(key)
            assert view.get(DOCUMENTS, key + b"\0") == live.get(key + b"\0")
        entries = view.scan(DOCUMENTS, None, None, False, None).next_entries(1 << 30)
        assert entries == [(key, kept[key][0]) for key in sorted(kept)]
        assert view.scan(DOCUMENTS, None, None, False, None).count() == len(live)
        for _ in range(scans):
            lower, upper = self._bound(choice, kept), self._bound(choice, kept)
            is_reverse = choice.random() < 0.5
            scan = view.scan(DOCUMENTS, lower, upper, is_reverse, None)
            expected = self.model.scan(DOCUMENTS, lower, upper, is_reverse)
            assert drained(scan, choice) == expected
        splits = self.model.indexes.get(INDEX, {})
        for _ in range(scans if INDEX in self.definitions else 0):
            lower, upper = self._bound(choice, splits), self._bound(choice, splits)
            is_reverse = choice.random() < 0.5
            scan = view.index_scan(INDEX, DOCUMENTS, lower, upper, is_reverse, None)
            expected = self.model.index_scan(INDEX, DOCUMENTS, lower, upper, is_reverse)
            assert drained(scan, choice) == expected

    @staticmethod
    def _bound(choice: random.Random, keys: dict[bytes, object]) -> bytes | None:
        if not keys or choice.random() < 0.2:
            return None
        key = choice.choice(sorted(keys))
        return choice.choice([key, key + b"\0", key[: len(key) // 2], key[:-1] + b"\xff", b""])


def drained(scan: object, choice: random.Random) -> list[bytes]:
    """All records of a scan, in pieces of any size."""
    found: list[bytes] = []
    while piece := scan.next_records(choice.choice([1, 2, 7, 300])):  # type: ignore[attr-defined]
        found += piece
    return found
