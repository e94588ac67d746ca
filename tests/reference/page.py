"""Readable twin of rango/_ext/page and pager: reads links, images, pages and trees from bytes.

Written from docs/reference/format.md, not from the .pyx files. `opener` is what opens a sealed
image: (aad, nonce, sealed) -> opened bytes, or None when the tag does not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

UNIT = 4096
LEAF, BRANCH, OVERFLOW, BITMAP = 1, 2, 3, 4
FILE_KIND_PAGE = 2
COMPRESSED = 1 << 31
OVERFLOW_BIT = 1 << 31

Opener = Callable[[bytes, bytes, bytes], bytes | None]


class PageError(Exception):
    """The bytes are not what their link or their kind promises."""


class Link(NamedTuple):
    """Where a page lies, what it is, and the first half of its image's tag."""

    unit: int
    units: int
    kind: int
    tag: bytes


class Cell(NamedTuple):
    """A leaf cell: key, value, and whether the value is an overflow list."""

    key: bytes
    value: bytes
    is_overflow: bool


class Child(NamedTuple):
    """A branch cell: separator, link, leaf entries below."""

    key: bytes
    link: bytes
    entries: int


def link_parse(data: bytes) -> Link:
    """The fields of a link."""
    unit = int.from_bytes(data[:6], "little")
    return Link(unit, data[6], data[7], data[8:16])


def image_open(data: bytes, link: Link, database_id: bytes, opener: Opener) -> bytes:
    """The page that a link names, from the bytes of the data file."""
    image = data[link.unit * UNIT : (link.unit + link.units) * UNIT]
    epoch, nonce, length = struct.unpack_from("<I12sI", image)
    size = length & ~COMPRESSED
    sealed = image[20 : 20 + size + 16]
    if len(image) != link.units * UNIT or len(sealed) != size + 16:
        raise PageError("the image is longer than its units")
    if sealed[size : size + 8] != link.tag:
        raise PageError("another page lies here")
    aad = struct.pack("<B16sIQBI", FILE_KIND_PAGE, database_id, epoch, link.unit, link.kind, length)
    opened = opener(aad, nonce, sealed)
    if opened is None:
        raise PageError("the tag does not fit")
    if not length & COMPRESSED:
        return opened
    full = int.from_bytes(opened[:4], "little")
    page = lz4_block(opened[4:])
    if len(page) != full:
        raise PageError("the compressed page has another size")
    return page


def lz4_block(block: bytes) -> bytes:
    """What an LZ4 block stands for (lz4_Block_format.md)."""
    out = bytearray()
    at = 0

    def extended(size: int) -> int:
        nonlocal at
        if size == 15:
            while True:
                size += block[at]
                at += 1
                if block[at - 1] != 255:
                    break
        return size

    while at < len(block):
        token = block[at]
        at += 1
        literals = extended(token >> 4)
        out += block[at : at + literals]
        at += literals
        if at >= len(block):
            break
        distance = block[at] | block[at + 1] << 8
        at += 2
        size = extended(token & 15) + 4
        for _ in range(size):
            out.append(out[-distance])
    return bytes(out)


def page_cells(page: bytes, kind: int) -> list[Cell] | list[Child]:
    """The cells of a leaf or branch in key order. Raises PageError if it is malformed."""
    stored_kind, _flags, count, used, shared, _zero = struct.unpack_from("<BBHIHH", page)
    if stored_kind != kind or used != len(page) or count == 0:
        raise PageError("the header does not fit the page")
    heads = struct.unpack_from(f"<{count}I", page, 12)
    offsets = struct.unpack_from(f"<{count}H", page, 12 + 4 * count)
    if min(offsets) < 12 + 6 * count:
        raise PageError("a cell lies over the slots")
    cells = [leaf_cell(page, at) if kind == LEAF else branch_cell(page, at) for at in offsets]
    keys = [cell.key for cell in cells]
    if any(a >= b for a, b in pairwise(keys)):
        raise PageError("the keys do not ascend")
    if kind == BRANCH and keys[0]:
        raise PageError("the first cell of a branch has a key")
    searched = keys if kind == LEAF else keys[1:]
    if len({key[:shared] for key in searched}) > 1 or any(len(key) < shared for key in searched):
        raise PageError("the keys do not share what the header says")
    expected = [int.from_bytes(key[shared : shared + 4].ljust(4, b"\0"), "big") for key in searched]
    if list(heads[-len(expected) :] if expected else []) != expected:
        raise PageError("a head is not that of its key")
    return cells  # type: ignore[return-value]


def leaf_cell(page: bytes, at: int) -> Cell:
    """One cell of a leaf."""
    key_size, value_size = struct.unpack_from("<HI", page, at)
    is_overflow = bool(value_size & OVERFLOW_BIT)
    value_size &= ~OVERFLOW_BIT
    start = at + 6
    if start + key_size + value_size > len(page):
        raise PageError("a cell reaches beyond its page")
    value = page[start + key_size : start + key_size + value_size]
    return Cell(page[start : start + key_size], value, is_overflow)


def branch_cell(page: bytes, at: int) -> Child:
    """One cell of a branch."""
    key_size, link, entries = struct.unpack_from("<H16sQ", page, at)
    start = at + 26
    if start + key_size > len(page):
        raise PageError("a cell reaches beyond its page")
    return Child(page[start : start + key_size], link, entries)
