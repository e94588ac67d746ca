"""Readable twin of rango/_ext/btree and view: trees as dictionaries, scans as sorted lists.

`TreeFile` reads a whole tree out of a data file with the page twin and checks what a search relies
on; `Model` is what a Store must be equal to.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.reference.page import (
    BRANCH,
    LEAF,
    OVERFLOW,
    Cell,
    Child,
    Opener,
    PageError,
    image_open,
    link_parse,
    page_cells,
)


class Shape(NamedTuple):
    """What is known about a tree besides its entries."""

    pages: int
    units: set[int]
    smallest: int
    """Bytes of its smallest page."""


class TreeFile:
    """The bytes of a data file, and how its images are opened."""

    def __init__(self, data: bytes, database_id: bytes, opener: Opener) -> None:
        self.data = data
        self.database_id = database_id
        self.opener = opener

    def read(self, link_bytes: bytes, height: int) -> tuple[dict[bytes, bytes], Shape]:
        """Every entry below a root, in order, and the shape. Raises PageError."""
        entries: dict[bytes, bytes] = {}
        shape = Shape(0, set(), 1 << 30)
        if height:
            shape = self._visit(link_bytes, height, b"", None, entries)
        keys = list(entries)
        if keys != sorted(keys):
            raise PageError("the keys of the tree do not ascend")
        return entries, shape

    def page(self, link_bytes: bytes, kind: int, units: set[int]) -> bytes:
        """One page; its units must be nobody else's."""
        link = link_parse(link_bytes)
        if link.kind != kind:
            raise PageError(f"a link of kind {link.kind}, not {kind}")
        mine = set(range(link.unit, link.unit + link.units))
        if mine & units:
            raise PageError("a unit is used twice")
        units |= mine
        return image_open(self.data, link, self.database_id, self.opener)

    def _visit(
        self,
        link: bytes,
        height: int,
        lower: bytes,
        upper: bytes | None,
        entries: dict[bytes, bytes],
    ) -> Shape:
        units: set[int] = set()
        page = self.page(link, LEAF if height == 1 else BRANCH, units)
        cells = page_cells(page, LEAF if height == 1 else BRANCH)
        pages, smallest = 1, len(page)
        before = len(entries)
        for slot, cell in enumerate(cells):
            if isinstance(cell, Cell):
                if cell.key < lower or (upper is not None and cell.key >= upper):
                    raise PageError("a key lies outside the bounds of its page")
                entries[cell.key] = self._value(cell, units)
                continue
            low = lower if slot == 0 else cell.key
            following = cells[slot + 1] if slot + 1 < len(cells) else None
            high = following.key if isinstance(following, Child) else upper
            start = len(entries)
            below = self._visit(cell.link, height - 1, low, high, entries)
            if len(entries) - start != cell.entries:
                raise PageError("a branch counts its entries wrongly")
            if below.units & units:
                raise PageError("a unit is used twice")
            units |= below.units
            pages += below.pages
            smallest = min(smallest, below.smallest)
        if len(entries) == before:
            raise PageError("an empty subtree")
        return Shape(pages, units, smallest)

    def _value(self, cell: Cell, units: set[int]) -> bytes:
        if not cell.is_overflow:
            return cell.value
        size = int.from_bytes(cell.value[:4], "little")
        links = [cell.value[at : at + 16] for at in range(4, len(cell.value), 16)]
        value = b"".join(self.page(link, OVERFLOW, units) for link in links)
        if len(value) != size:
            raise PageError("the overflow pages are not as long as their list says")
        return value


class Model:
    """Trees of a store as dictionaries: tree id -> key -> (record, whether it is a tombstone)."""

    def __init__(self) -> None:
        self.trees: dict[int, dict[bytes, tuple[bytes, bool]]] = {}
        self.indexes: dict[int, dict[bytes, int]] = {}

    def live(self, tree: int) -> dict[bytes, bytes]:
        """The documents of a tree, in key order."""
        kept = self.trees.get(tree, {})
        return {key: kept[key][0] for key in sorted(kept) if not kept[key][1]}

    def scan(
        self, tree: int, lower: bytes | None, upper: bytes | None, is_reverse: bool
    ) -> list[bytes]:
        """The records with lower <= key < upper."""
        live = self.live(tree)
        found = [live[key] for key in live if in_bounds(key, lower, upper)]
        return found[::-1] if is_reverse else found

    def index_scan(
        self,
        index: int,
        tree: int,
        lower: bytes | None,
        upper: bytes | None,
        is_reverse: bool,
    ) -> list[bytes]:
        """The records met through an index, each once."""
        entries = self.indexes.get(index, {})
        live = self.live(tree)
        keys = [key for key in sorted(entries) if in_bounds(key, lower, upper)]
        names = dict.fromkeys(key[entries[key] :] for key in (keys[::-1] if is_reverse else keys))
        return [live[name] for name in names if name in live]


def in_bounds(key: bytes, lower: bytes | None, upper: bytes | None) -> bool:
    """Whether lower <= key < upper; None is no bound."""
    return (lower is None or key >= lower) and (upper is None or key < upper)
