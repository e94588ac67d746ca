"""Is the database whole? Reads everything, changes nothing.

Terms       finding: one thing that is wrong, with its place; digest: a hash over content that two
            equal databases share.
Invariants  checked: I-2 (both slots whole), I-4 (every page opens under its link), I-5 (bitmap =
            what is reachable), I-8 (index
            entries = documents), and the counts that the trees claim; the log by storage/oplog.
Failure     check() yields findings and goes on; it raises only if the files cannot be read at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from rango._ext import layout
from rango._ext.generation import (
    generation_slot,
    generation_trees,
    generation_units,
)
from rango._ext.layout import RECORD_FLAG_TOMBSTONE, RECORD_FLAGS
from rango._ext.record import record_actor, record_parts, validate
from rango.engine import checkpoint
from rango.errors import Corrupted, RangoError
from rango.storage.oplog import Oplog
from rango.storage.segment import LogFinding, io_named
from rango.storage.superblock import (
    DATA_FILE,
    Slot,
    roots_of,
    slot_load,
    slots_read,
    slots_torn,
)

if TYPE_CHECKING:
    from rango._ext.collection_info import CollectionInfo, IndexInfo
    from rango._ext.pager import Pager
    from rango._ext.view import View
    from rango.engine.core import Core

CHUNK: int = 1_000
LOG_TRIES: int = 3


class Finding(NamedTuple):
    """One thing that is wrong: a kind for programs, a place, and a sentence."""

    kind: str
    where: str
    what: str


def check(core: Core) -> Iterator[Finding]:
    """Every finding; nothing when all is well."""
    for copy in core.keyring.damaged_copies:
        yield Finding("keys", "keys", f"copy {copy} is damaged; the other one is used")
    with core.checkpoint_lock:
        # all of them before the first is given out: the caller may want a checkpoint in between
        found = list(check_data_file(core))
    yield from found
    yield from check_view(core.view())
    # others may be writing behind this; a reader that is alone judges the end of the log
    is_known = not core.is_read_only or core.lock.shared.is_ready
    written = core.store.head.ordinal if is_known else None
    for finding in log_findings(core, written):
        # what a crash tore is no damage, and whoever opens for writing next puts it aside; a reader
        # cannot, so it says so
        yield Finding("tail" if finding.is_torn_tail else "log", finding.where, finding.what)


def log_findings(core: Core, written: int | None) -> list[LogFinding]:
    """What is wrong with the log, read anew: somebody may have given up or purged some of it.

    While somebody does, damage is believed only if it is found at the same place twice.
    """
    found: list[LogFinding] = []
    for _ in range(LOG_TRIES):
        before = {each.where for each in found if not each.is_torn_tail}
        log = Oplog.open(core.vfs, core.path, core.keyring)
        found = list(log.verify(written))
        damage = {each.where for each in found if not each.is_torn_tail}
        if damage <= before:
            break
    return found


def check_data_file(core: Core) -> Iterator[Finding]:
    """Both slots, every page that they reach, and their bitmaps."""
    pager = core.store.pager
    if core.data_fd < 0:
        return
    path = os.path.join(core.path, DATA_FILE)
    with io_named(f"reading {path}"):
        if core.lock.is_shared and core.lock.shared.keys > core.keyring.generation:
            # they may be sealed under an epoch that another process has begun
            with core.follow_lock:
                checkpoint.take_keys(core)
        slots = slots_read(core.vfs, core.data_fd, path, core.keyring)
        torn = slots_torn(core.vfs, core.data_fd, slots)
    newest = 0 if core.slot is None else core.slot.generation
    for number, slot in enumerate(slots):
        if slot is None:
            if number in torn or newest > 1 or (newest and number == newest % 2):
                yield Finding(
                    "slot",
                    f"{path}:{number * layout.UNIT_SIZE}",
                    "this superblock slot is not whole",
                )
            continue
        pager.forget_cache()
        yield from check_generation(pager, slot, path)
        if number == newest % 2:
            yield from check_roots(pager, slot, path)


def check_roots(pager: Pager, slot: Slot, path: str) -> Iterator[Finding]:
    """The older generations that are kept: every page that they reach, and their bitmaps."""
    try:
        roots = roots_of(pager, slot)
    except RangoError as error:
        yield Finding("page", f"{path} (kept roots)", str(error))
        return
    for root in roots:
        yield from check_generation(pager, root, path)


def check_generation(pager: Pager, slot: Slot, path: str) -> Iterator[Finding]:
    """Every page that one slot reaches, and its bitmap."""
    where = f"{path} (generation {slot.generation})"
    try:
        generation, _definitions = slot_load(pager, slot)
    except RangoError as error:
        yield Finding("page", where, str(error))
        return
    marked = generation_units(generation)
    walk = Walk(pager)
    walk.take(0, layout.SLOT_UNITS, "superblock slots")
    for link in generation_slot(generation)["bitmap_links"]:
        walk.take(*link_place(link), "bitmap")
    if slot.roots_link:
        walk.take(*link_place(slot.roots_link), "kept roots")
    walk.tree(slot.catalog_link, slot.catalog_height, None, "catalog")
    for tree, (link, height, entries, live) in generation_trees(generation).items():
        walk.tree(link, height, (entries, live), f"tree {tree}")
    yield from (Finding("page", where, what) for what in walk.findings)
    if not walk.findings:
        used = {unit for unit in range(slot.file_units) if marked[unit >> 3] >> (unit & 7) & 1}
        for unit in sorted(used - walk.units)[:10]:
            yield Finding(
                "bitmap",
                f"{path}:{unit * layout.UNIT_SIZE}",
                f"{where}: marked as used, reached by nothing",
            )
        for unit in sorted(walk.units - used)[:10]:
            yield Finding(
                "bitmap",
                f"{path}:{unit * layout.UNIT_SIZE}",
                f"{where}: in use, but marked as free",
            )


def link_place(link: bytes) -> tuple[int, int]:
    """First unit and number of units of a link."""
    return int.from_bytes(link[: layout.LINK_UNITS], "little"), link[layout.LINK_UNITS]


class Walk:
    """Visits every page below a link once: places, order of keys, counts."""

    def __init__(self, pager: Pager) -> None:
        self.pager = pager
        self.units: set[int] = set()
        self.findings: list[str] = []

    def take(self, first: int, count: int, what: str) -> None:
        """These units belong to `what`; nobody else may have them."""
        for unit in range(first, first + count):
            if unit in self.units:
                self.findings.append(f"unit {unit} ({what}) is used twice")
            self.units.add(unit)

    def tree(self, link: bytes, height: int, counts: tuple[int, int] | None, what: str) -> None:
        """One whole tree; counts: entries and live entries that the catalog claims."""
        if height == 0:
            return
        try:
            entries, live = self.page(link, height, b"", None, what)
        except Corrupted as error:
            self.findings.append(f"{what}: {error}")
            return
        if counts is not None and counts[0] != entries:
            self.findings.append(
                f"{what}: the catalog claims {counts[0]} entries, there are {entries}"
            )
        is_index = live < 0
        if counts is not None and not is_index and counts[1] != live:
            self.findings.append(
                f"{what}: the catalog claims {counts[1]} live entries, there are {live}"
            )

    def page(
        self, link: bytes, height: int, lower: bytes, upper: bytes | None, what: str
    ) -> tuple[int, int]:
        """Entries and live entries below a link whose keys must be in lower <= key < upper."""
        self.take(*link_place(link), what)
        kind, data = self.pager.page_of(link)
        if kind != (layout.PAGE_LEAF if height == 1 else layout.PAGE_BRANCH):
            self.findings.append(
                f"{what}: page at unit {link_place(link)[0]} has kind {kind} at height {height}"
            )
            return 0, 0
        cells = page_cells(data)
        if height == 1:
            return self.leaf(data, cells, lower, upper, what)
        entries = live = 0
        keys = [branch_cell_key(data, cell) for cell in cells]
        for slot, cell in enumerate(cells):
            child = data[
                cell + layout.BRANCH_CELL_LINK : cell + layout.BRANCH_CELL_LINK + layout.LINK_SIZE
            ]
            claimed = int.from_bytes(
                data[cell + layout.BRANCH_CELL_ENTRIES : cell + layout.BRANCH_CELL_ENTRIES + 8],
                "little",
            )
            low = lower if slot == 0 else keys[slot]
            high = keys[slot + 1] if slot + 1 < len(keys) else upper
            below, below_live = self.page(child, height - 1, low, high, what)
            if below != claimed:
                self.findings.append(
                    f"{what}: a branch claims {claimed} entries below, there are {below}"
                )
            entries += below
            live += below_live
        return entries, live

    def leaf(
        self, data: bytes, cells: list[int], lower: bytes, upper: bytes | None, what: str
    ) -> tuple[int, int]:
        """One leaf's entries and live entries; its overflow pages are visited."""
        live = 0
        for cell in cells:
            key_size = int.from_bytes(data[cell : cell + 2], "little")
            value_size = int.from_bytes(data[cell + 2 : cell + 6], "little")
            start = cell + layout.LEAF_CELL_HEADER_SIZE
            key = data[start : start + key_size]
            value = data[start + key_size : start + key_size + (value_size & 0x7FFFFFFF)]
            if key < lower or (upper is not None and key >= upper):
                self.findings.append(f"{what}: a key lies outside the bounds of its page")
            if value_size & layout.LEAF_CELL_OVERFLOW:
                live += 1
                for at in range(layout.OVERFLOW_LINKS, len(value), layout.LINK_SIZE):
                    link = value[at : at + layout.LINK_SIZE]
                    self.take(*link_place(link), f"{what}, overflow")
                    self.pager.page_of(link)
            elif not (value and value[RECORD_FLAGS] == RECORD_FLAG_TOMBSTONE):
                live += 1
        return len(cells), live


def page_cells(data: bytes) -> list[int]:
    """Offsets of the cells of a page."""
    count = int.from_bytes(data[layout.PAGE_COUNT : layout.PAGE_COUNT + 2], "little")
    start = layout.PAGE_HEADER_SIZE + count * layout.PAGE_HEAD_SIZE
    size = layout.PAGE_OFFSET_SIZE
    return [
        int.from_bytes(data[at : at + size], "little")
        for at in range(start, start + count * size, size)
    ]


def branch_cell_key(data: bytes, cell: int) -> bytes:
    """The separator in a branch cell."""
    size = int.from_bytes(data[cell : cell + 2], "little")
    return data[
        cell + layout.BRANCH_CELL_HEADER_SIZE : cell + layout.BRANCH_CELL_HEADER_SIZE + size
    ]


def entries_of(view: View, tree: int) -> Iterator[tuple[bytes, bytes]]:
    """Every entry of a tree in key order."""
    scan = view.scan(tree, None, None, False, None)
    while entries := scan.next_entries(CHUNK):
        yield from entries


def check_view(view: View) -> Iterator[Finding]:
    """Documents are whole, index entries are exactly those of the documents, counts agree (I-8)."""
    try:
        for info in view.catalog.collections.values():
            yield from check_collection(view, info)
    except Corrupted as error:
        yield Finding("page", error.where, error.what)


def check_collection(view: View, info: CollectionInfo) -> Iterator[Finding]:
    """One collection and its ready indexes."""
    expected: dict[int, dict[bytes, bytes]] = {index.tree_id: {} for index in info.ready}
    live = 0
    for key, record in entries_of(view, info.tree_id):
        if record[RECORD_FLAGS] == RECORD_FLAG_TOMBSTONE:
            continue
        live += 1
        bson = record_parts(record)[6]
        try:
            validate(bson)
        except RangoError as error:
            yield Finding("document", f"{info.name}, key {key.hex()}", str(error))
            continue
        for index in info.ready:
            entries = expected[index.tree_id]
            try:
                made = index.entries(bson)
            except RangoError as error:
                yield Finding("index", f"{info.name}.{index.name}, key {key.hex()}", str(error))
                continue
            for start, types in made:
                entries[start + key] = len(start).to_bytes(2, "little") + types
    if live != view.count(info.tree_id):
        yield Finding(
            "count",
            info.name,
            f"{view.count(info.tree_id)} documents are counted, there are {live}",
        )
    for index in info.ready:
        yield from check_entries(view, f"{info.name}.{index.name}", index, expected[index.tree_id])


def check_entries(
    view: View, where: str, index: IndexInfo, expected: dict[bytes, bytes]
) -> Iterator[Finding]:
    """The entries of one index against those that its documents ask for."""
    found = dict(entries_of(view, index.tree_id))
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or extra:
        yield Finding(
            "index",
            where,
            f"{len(missing)} entries are missing, {len(extra)} belong to no document; drop and "
            "create the index",
        )
    # an entry of format version 1 has no types: whoever reads it looks at the record
    size = layout.INDEX_VALUE_SIZE
    wrong = sum(
        value != expected[key] and (len(value) > size or value != expected[key][:size])
        for key, value in found.items()
        if key in expected
    )
    if wrong:
        yield Finding("index", where, f"{wrong} entries say a wrong type; drop and create it")


def digest(view: View) -> str:
    """SHA-256 over definitions and documents with their revisions, in a fixed order; where they
    lie does not matter. What Rango keeps itself (`system.`) is left out: an open that completes a
    purge writes there.
    """
    # imported here: it loads OpenSSL
    from hashlib import sha256

    total = sha256()
    catalog: Any = view.catalog
    for name in sorted(catalog.collections):
        if name.startswith("system."):
            continue
        info = catalog.collections[name]
        total.update(repr((name, sorted(index_described(each) for each in info.ready))).encode())
        for key, record in entries_of(view, info.tree_id):
            flags, ms, counter, updated_at, _ordinal, node, bson = record_parts(record)
            kind = flags & RECORD_FLAG_TOMBSTONE
            total.update(repr((key, kind, ms, counter, updated_at, node, len(bson))).encode())
            total.update(bson)
            # without one the digest is what it was before there were actors
            if actor := record_actor(record):
                total.update(repr(actor).encode())
    return total.hexdigest()


def index_described(index: IndexInfo) -> tuple[str, str]:
    """What two databases must share of an index: not the number of its tree."""
    options = (index.unique, index.sparse, index.partial, index.expire_after_s, index.hidden)
    return index.name, repr((index.fields, options))
