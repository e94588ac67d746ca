"""The unit bitmap: what is given out, what is kept, and bitmaps that grow while they are placed."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from rango._ext import layout
from rango._ext.generation import (
    generation_empty,
    generation_slot,
    generation_units,
    generation_units_only,
)
from rango._ext.pager import Pager
from rango._ext.store import Store
from rango._ext.vfs import POSIX, VFS_CREATE, VFS_WRITE
from rango.errors import Corrupted
from tests.unit.store_case import DOCUMENTS, Change, PageKeyring, StoreCase, commit_body


def used_units(bits: bytes) -> set[int]:
    return {unit for unit in range(len(bits) * 8) if bits[unit >> 3] >> (unit & 7) & 1}


def test_a_new_database_uses_the_two_slots() -> None:
    assert used_units(generation_units(generation_empty())) == {0, 1}


def bitmap_image(keyring: PageKeyring, unit: int, bits: bytes) -> tuple[bytes, bytes]:
    """A bitmap page as it lies in the file, and its link."""
    aad = struct.pack(
        "<B16sIQBI",
        layout.FILE_KIND_PAGE,
        keyring.database_id,
        1,
        unit,
        layout.PAGE_BITMAP,
        len(bits),
    )
    nonce, sealed = keyring.page_key(1).seal_bytes(aad, bits)
    image = struct.pack("<I12sI", 1, nonce, len(bits)) + sealed
    units = -(-len(image) // layout.UNIT_SIZE)
    link = unit.to_bytes(6, "little") + bytes([units, layout.PAGE_BITMAP])
    return image.ljust(units * layout.UNIT_SIZE, b"\0"), link + sealed[len(bits) :][:8]


@pytest.mark.parametrize("units", range(32_475, 32_485))
def test_a_bitmap_that_outgrows_its_unit_while_it_is_placed(tmp_path: Path, units: int) -> None:
    """At 32,480 units the bitmap needs a second unit, which may need a bit that makes it so."""
    path = str(tmp_path / "data.rango")
    fd = POSIX.open(path, VFS_WRITE | VFS_CREATE)
    keyring = PageKeyring()
    bits = bytes([0xFF]) * (units // 8) + bytes([(1 << units % 8) - 1] * bool(units % 8))
    image, link = bitmap_image(keyring, 2, bits)
    POSIX.write(fd, image, 2 * layout.UNIT_SIZE)
    pager = Pager(POSIX, path, fd, keyring.database_id, keyring, 1, 1 << 20)
    generation = generation_units_only(pager, 4, [link], units)
    assert used_units(generation_units(generation)) == set(range(units))
    store = Store(pager, generation, b"")
    number = 4
    for turn in range(3):
        ordinal = turn + 1
        key = (7 + turn).to_bytes(4, "big")
        store.apply(commit_body([Change(1, 0, key, b"definition")]), ordinal, ordinal)
        definitions = {7 + each: b"definition" for each in range(turn + 1)}
        built = store.build(store.head, definitions, number + 1, ordinal)
        number += 1
        fields = generation_slot(built)
        marked = used_units(generation_units(built))
        places = set()
        for each in fields["bitmap_links"]:
            first = int.from_bytes(each[:6], "little")
            places |= set(range(first, first + each[6]))
        assert places <= marked
        again = generation_units_only(pager, number, fields["bitmap_links"], fields["file_units"])
        assert generation_units(again) == generation_units(built)
        store.adopt(built, True)
    POSIX.close(fd)


def test_a_bitmap_shorter_than_its_file_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "data.rango")
    fd = POSIX.open(path, VFS_WRITE | VFS_CREATE)
    keyring = PageKeyring()
    image, link = bitmap_image(keyring, 2, b"\xff" * 10)
    POSIX.write(fd, image, 2 * layout.UNIT_SIZE)
    pager = Pager(POSIX, path, fd, keyring.database_id, keyring, 1, 1 << 20)
    assert generation_units_only(pager, 1, [link], 80)
    for links, units in (([link], 81), ([], 3), ([link, link], 600_000)):
        with pytest.raises(Corrupted):
            generation_units_only(pager, 1, links, units)
    POSIX.close(fd)


def test_nothing_is_written_over_that_a_slot_or_a_snapshot_reaches(
    tmp_path: Path, seed: int
) -> None:
    """I-2: the images of both generations and of every snapshot that is held stay as they are."""
    choice = random.Random(seed)
    case = StoreCase(tmp_path, page_size=512)
    case.define(DOCUMENTS, b"documents")
    held: list[tuple[object, set[int], dict[int, bytes]]] = []
    for turn in range(25):
        for _ in range(choice.randrange(1, 30)):
            key = b"%04d" % choice.randrange(200)
            body = choice.randbytes(choice.choice([50, 50, 5000, 70_000]))
            case.commit([case.put(key, body)])
        case.checkpoint()
        generation = case.loaded()
        units = used_units(generation_units(generation)) - {0, 1}
        data = Path(case.path).read_bytes()
        for _view, before, images in held:
            assert all(data[u * 4096 : u * 4096 + 4096] == images[u] for u in before), turn
        images = {u: data[u * 4096 : u * 4096 + 4096] for u in units}
        held.append((case.store.head, units, images))
        if len(held) > 2:
            # the last two are what the slots name; older ones only while a view is held
            held = held[-2:] if choice.random() < 0.5 else held[-4:]
    case.close()
