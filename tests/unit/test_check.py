"""check(): every kind of damage that is planted is found, with its place; nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from rango._ext import layout
from rango._ext.generation import generation_slot, generation_units
from rango.engine.check import check_generation
from rango.engine.core import Core
from tests.unit.engine_case import asked, insert, opened, replace
from tests.unit.store_case import DOCUMENTS, INDEX, StoreCase


def database(folder: Path) -> Core:
    core = opened(folder, page_size=512)
    core.create_index("a", asked("v"))
    insert(core, "a", [{"_id": n, "v": n % 9, "text": "x" * 40} for n in range(120)])
    insert(core, "a", [{"_id": "large", "text": "y" * 20_000}])
    core.checkpoint()
    replace(core, "a", {"_id": 5, "v": 77})
    core.checkpoint()
    insert(core, "a", [{"_id": "tail", "v": 1}])
    return core


def kinds(core: Core) -> set[str]:
    return {finding.kind for finding in core.check()}


def test_a_whole_database_has_no_findings(tmp_path: Path) -> None:
    core = database(tmp_path / "db")
    assert list(core.check()) == []
    core.release()


def test_every_unit_that_is_in_use_is_looked_at(tmp_path: Path) -> None:
    """One flipped bit in any used unit, one after the other."""
    core = database(tmp_path / "db")
    path = tmp_path / "db" / "data.rango"
    data = path.read_bytes()
    used = (
        generation_units(core.store.head_generation)
        if hasattr(core.store, "head_generation")
        else None
    )
    missed = []
    for unit in range(len(data) // 4096):
        with path.open("r+b") as file:
            file.seek(unit * 4096 + 30)
            file.write(bytes([data[unit * 4096 + 30] ^ 4]))
        if not kinds(core):
            missed.append(unit)
        with path.open("r+b") as file:
            file.seek(unit * 4096 + 30)
            file.write(data[unit * 4096 + 30 : unit * 4096 + 31])
    assert list(core.check()) == []
    # what neither slot reaches is free: bytes there mean nothing
    assert used is None or not {unit for unit in missed if used[unit >> 3] >> (unit & 7) & 1}
    assert len(missed) < len(data) // 4096 // 2 and not {0, 1} & set(missed)
    core.release()


def test_a_page_from_elsewhere_is_found(tmp_path: Path) -> None:
    core = database(tmp_path / "db")
    path = tmp_path / "db" / "data.rango"
    data = bytearray(path.read_bytes())
    data[5 * 4096 : 6 * 4096], data[6 * 4096 : 7 * 4096] = (
        data[6 * 4096 : 7 * 4096],
        data[5 * 4096 : 6 * 4096],
    )
    path.write_bytes(data)
    assert "page" in kinds(core)
    core.release()


def test_a_flipped_bit_in_old_frames_is_found_while_reads_go_on(tmp_path: Path) -> None:
    core = database(tmp_path / "db")
    log = tmp_path / "db" / "oplog" / f"{1:016d}.rgo"
    data = bytearray(log.read_bytes())
    data[layout.SEGMENT_HEADER_SIZE + 100] ^= 1
    log.write_bytes(data)
    assert kinds(core) == {"log"}
    core.release()


def test_a_damaged_copy_of_the_keys_is_found(tmp_path: Path) -> None:
    database(tmp_path / "db").release()
    keys = tmp_path / "db" / "keys"
    data = bytearray(keys.read_bytes())
    data[layout.KEYS_COPY_SIZE + 70] ^= 1
    keys.write_bytes(data)
    core = opened(tmp_path / "db")
    assert kinds(core) == {"keys"}
    core.release()


@pytest.mark.parametrize("change", ["lost", "extra"])
def test_index_entries_that_do_not_fit_the_documents_are_found(tmp_path: Path, change: str) -> None:
    core = database(tmp_path / "db")
    info = core.collections()["a"]
    index = info.indexes[0]
    from rango._ext.collection_info import CollectionInfo
    from rango._ext.key import key_of
    from rango._ext.record import encode

    # an engine that forgets the index, or one that thinks there is another document
    blind = CollectionInfo("a", info.tree_id, ())
    core.append_lock_take()
    try:
        batch = core.store.begin()
        old = core.view().get(info.tree_id, key_of(7))
        assert old is not None
        if change == "lost":
            batch.replace(blind, old, encode({"_id": 7, "v": 1234}), 1)
        else:
            batch.delete(blind, old, 1)
        ordinal = core.store.commit(batch)
    finally:
        core.append_lock.drop()
    core.settle(ordinal)
    findings = list(core.check())
    assert {finding.kind for finding in findings} == {"index"}
    assert findings[0].where == f"a.{index.name}"
    core.release()


@pytest.mark.parametrize("bit", ["leaked", "free"])
def test_a_bitmap_that_does_not_fit_is_found(tmp_path: Path, bit: str) -> None:
    from tests.unit.test_units import bitmap_image

    case = StoreCase(tmp_path)
    case.define(DOCUMENTS, b"documents")
    case.commit([case.put(b"%d" % n, b"x" * 3000) for n in range(30)])
    slot = case.checkpoint()
    case.check_pages()
    bits = bytearray(generation_units(case.loaded()))
    place = slot.file_units
    if bit == "leaked":
        bits[place >> 3 :] = b"\0" * len(bits[place >> 3 :])
        bits = bytearray(b"\xff" * ((place + 8) // 8))[: (place + 8) // 8]
    else:
        bits[0] &= ~4
    image, link = bitmap_image(case.keyring, place, bytes(bits))
    with open(case.path, "r+b") as file:
        file.truncate((place + 8) * 4096)
        file.seek(place * 4096)
        file.write(image)
    wrong = slot._replace(bitmap_links=(link,), file_units=place + 1)
    found = list(check_generation(case.pager, wrong, case.path))
    assert found and {finding.kind for finding in found} == {"bitmap"}
    case.close()


def test_counts_and_links_that_do_not_fit_are_found(tmp_path: Path) -> None:
    case = StoreCase(tmp_path, page_size=512)
    case.define(DOCUMENTS, b"documents")
    case.define(INDEX, b"index")
    case.commit([case.put(b"%03d" % n, b"x" * 50) for n in range(80)])
    slot = case.checkpoint()
    fields = generation_slot(case.loaded())
    assert fields["generation"] == slot.generation
    for wrong in (
        slot._replace(catalog_height=2),
        slot._replace(catalog_height=200),
        slot._replace(catalog_link=slot.bitmap_links[0]),
        slot._replace(bitmap_links=()),
        slot._replace(tree_next=1),
    ):
        found = list(check_generation(case.pager, wrong, case.path))
        assert found and {finding.kind for finding in found} == {"page"}
    case.close()
