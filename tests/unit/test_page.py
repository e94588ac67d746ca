"""Pages: the compiled reader and the readable twin agree, and both refuse what is malformed."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from rango._ext import layout
from rango._ext.generation import generation_trees
from rango.errors import PageCorrupted
from tests.reference.page import BRANCH, LEAF, PageError, link_parse, lz4_block, page_cells
from tests.unit.store_case import DOCUMENTS, StoreCase


def built(folder: Path, count: int = 400) -> StoreCase:
    case = StoreCase(folder, page_size=1024)
    case.define(DOCUMENTS, b"documents")
    choice = random.Random(3)
    case.commit(
        [
            case.put(b"prefix" * choice.randrange(3) + b"%d" % n, choice.randbytes(n % 90))
            for n in range(count)
        ]
    )
    case.checkpoint()
    return case


def image(case: StoreCase, page: bytes, kind: int, unit: int) -> bytes:
    """Seal any bytes as a page at a unit, write it there, return its link."""
    aad = struct.pack(
        "<B16sIQBI", layout.FILE_KIND_PAGE, case.keyring.database_id, 1, unit, kind, len(page)
    )
    nonce, sealed = case.keyring.page_key(1).seal_bytes(aad, page)
    data = struct.pack("<I12sI", 1, nonce, len(page)) + sealed
    units = -(-len(data) // 4096)
    with open(case.path, "r+b") as file:
        file.seek(unit * 4096)
        file.write(data.ljust(units * 4096, b"\0"))
    return unit.to_bytes(6, "little") + bytes([units, kind]) + sealed[len(page) :][:8]


def test_the_twin_reads_every_page_of_a_tree(tmp_path: Path) -> None:
    case = built(tmp_path)
    shape = case.check_file(DOCUMENTS)
    assert shape.pages > 10
    case.close()


def test_a_page_with_any_changed_header_byte_is_refused_by_both(tmp_path: Path, seed: int) -> None:
    """Sealed anew, so that the tag is right: only the check of the page stands in the way."""
    case = built(tmp_path)
    choice = random.Random(seed)
    link, height, _entries, _live = generation_trees(case.loaded())[DOCUMENTS]
    assert height > 1
    roots = [(link, BRANCH)]
    root = case.pager.page_of(link)[1]
    roots += [(child.link, LEAF) for child in page_cells(root, BRANCH)] if height == 2 else []
    agreed = 0
    for link_bytes, kind in roots[:4]:
        page = case.pager.page_of(link_bytes)[1]
        count = int.from_bytes(page[2:4], "little")
        for _ in range(300):
            place = choice.randrange(0, layout.PAGE_HEADER_SIZE + 6 * count + 40)
            if place == layout.PAGE_FLAGS:
                continue
            broken = bytearray(page)
            broken[place] = choice.randrange(256)
            try:
                page_cells(bytes(broken), kind)
                expected = True
            except (PageError, struct.error):
                expected = False
            wrong = image(case, bytes(broken), kind, 5000)
            case.pager.forget_cache()
            try:
                case.pager.page_of(wrong)
                found = True
            except PageCorrupted:
                found = False
            # only the engine minds the head of a branch's first cell, which has no key
            assert found == expected or (expected and kind == BRANCH), (place, kind)
            agreed += 1
    assert agreed > 250
    case.close()


@pytest.mark.parametrize("size", [0, 1, 7, 11, 12, 13])
def test_a_page_that_is_too_short_is_refused(tmp_path: Path, size: int) -> None:
    case = built(tmp_path, 5)
    for kind in (LEAF, BRANCH):
        with pytest.raises(PageCorrupted):
            case.pager.page_of(image(case, bytes([kind]) + bytes(size), kind, 100))
    case.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link[:6] + b"\0" + link[7:],
        lambda link: link[:6] + b"\xff" + link[7:],
        lambda link: bytes(6) + link[6:],
        lambda link: b"\xff" * 6 + link[6:],
        lambda link: link[:7] + b"\x04" + link[8:],
        lambda link: link[:8] + bytes(8),
    ],
)
def test_a_link_that_names_something_else_is_refused(tmp_path: Path, change: object) -> None:
    case = built(tmp_path, 50)
    link = generation_trees(case.loaded())[DOCUMENTS][0]
    assert case.pager.page_of(link)
    case.pager.forget_cache()
    with pytest.raises(PageCorrupted):
        case.pager.page_of(change(link))  # type: ignore[operator]
    case.close()


def test_the_lz4_twin() -> None:
    import lz4.block

    for data in (b"", b"a", b"abc" * 5000, random.Random(1).randbytes(3000)):
        assert lz4_block(lz4.block.compress(data, store_size=False)) == data


def test_a_link_is_place_kind_and_tag() -> None:
    link = link_parse(bytes([1, 2, 0, 0, 0, 0, 3, 1]) + b"12345678")
    assert link == (513, 3, 1, b"12345678")
