"""Relocation of what lies at the end of the data file: what it must leave alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rango._ext import layout, relocate
from rango._ext.generation import generation_trees
from rango._ext.key import key_of
from rango.engine import checkpoint, kept, recovery, shrink
from rango.engine.core import Core
from rango.storage.superblock import DATA_FILE, slot_load
from tests.unit.engine_case import DB, documents_of, insert, opened, options_of, replace
from tests.unit.memory_disk import Fault, File, MemoryDisk


def copied(disk: MemoryDisk) -> MemoryDisk:
    """The disk as another process would find it after a crash."""
    copy = MemoryDisk()
    copy.folders = set(disk.folders)
    copy.names = {name: File(bytes(file.data)) for name, file in disk.names.items()}
    copy.synced_names = dict(copy.names)
    return copy


def test_a_store_that_is_further_than_its_slot_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A long replay puts its commits into pages that no slot names yet; going on from the slot's
    generation would lose them.
    """
    disk = MemoryDisk()
    bounds = {"page_size": 512, "root_gap": 1 << 40, "overlay_entries_max": 1 << 30}
    core = opened(disk=disk, **bounds)
    insert(core, "kept", ({"_id": number} for number in range(20)))
    insert(core, "a", ({"_id": number, "text": "x" * 100} for number in range(2_000)))
    core.checkpoint()
    # the newest pages lie at the end
    insert(core, "z", ({"_id": number, "text": "x" * 100} for number in range(60)))
    core.checkpoint()
    delete_all(core, "a")
    core.checkpoint()
    replace(core, "kept", {"_id": 0, "text": "y"})
    core.checkpoint()
    insert(core, "b", ({"_id": number} for number in range(300)))
    crashed = copied(disk)
    monkeypatch.setattr(recovery, "REPLAY_ENTRIES_MAX", 50)
    other = opened(disk=crashed, **bounds)
    assert other.slot is not None
    assert other.store.head.generation_number > other.slot.generation
    with other.checkpoint_lock:
        assert shrink.step(other, os.path.join(other.path, DATA_FILE)) == 0
    other.checkpoint()
    assert len(documents_of(other, "b")) == 300
    other.release()
    again = opened(disk=crashed)
    assert len(documents_of(again, "b")) == 300
    assert list(again.check()) == []
    again.release()
    core.release()


def loose(disk: MemoryDisk) -> Core:
    """A core whose data file is mostly free, but for its end."""
    core = opened(disk=disk, page_size=512, root_gap=1 << 40)
    insert(core, "a", ({"_id": number, "text": "x" * 3_000} for number in range(300)))
    core.checkpoint()
    # the newest pages lie at the end
    insert(core, "z", ({"_id": number, "text": "y" * 300} for number in range(40)))
    core.checkpoint()
    delete_all(core, "a")
    for number in range(3):
        replace(core, "z", {"_id": number, "text": "z"})
        core.checkpoint()
    return core


def delete_all(core: Core, name: str) -> None:
    info = core.collections()[name]
    txn = core.begin()
    txn.lock()
    for number in documents_of(core, name):
        txn.forget(info, key_of(number), txn.view.get(info.tree_id, key_of(number)))
    txn.commit()


def size_of(disk: MemoryDisk) -> int:
    return len(disk.names[f"{DB}/{DATA_FILE}"].data)


def test_close_gives_back_what_nobody_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrink, "LOOSE_UNITS", 64)
    monkeypatch.setattr(checkpoint, "SHRINK_UNITS_MIN", 8)
    disk = MemoryDisk()
    core = loose(disk)
    before = size_of(disk)
    assert shrink.is_loose(core)
    last = core.store.head.ordinal
    core.release()
    assert size_of(disk) < before // 3
    core = opened(disk=disk)
    # the last commit, not the closed frame behind it: what is asked for as the end of a session
    assert core.slot is not None and core.slot.ordinal == last
    assert sorted(documents_of(core, "z")) == list(range(40)) and not documents_of(core, "a")
    assert list(core.check()) == [] and not shrink.is_loose(core)
    calls = len(disk.calls)
    core.release()
    assert not [call for call in disk.calls[calls:] if "truncate" in str(call)]


def test_close_leaves_a_file_alone_that_takes_long_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrink, "LOOSE_UNITS", 64)
    monkeypatch.setattr(shrink, "CLOSE_UNITS_MAX", 8)
    disk = MemoryDisk()
    core = loose(disk)
    before = size_of(disk)
    core.release()
    assert size_of(disk) == before


def test_close_beside_others_leaves_the_file_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shrink, "is_loose", None)
    first, second = (Core(options_of(tmp_path / "db")) for _ in range(2))
    first.start()
    second.start()
    insert(first, "a", [{"_id": 1}])
    first.release()
    monkeypatch.undo()
    second.release()


def test_close_keeps_the_roots_of_a_small_file() -> None:
    """They make views of the past quick; three copies and more are nothing to it."""
    disk = MemoryDisk()
    core = opened(disk=disk, page_size=512, root_gap=1 << 14, durability="memory")
    insert(core, "a", ({"_id": number} for number in range(120)))
    for turn in range(8):
        for number in range(120):
            replace(core, "a", {"_id": number, "turn": turn, "text": "x" * 600})
        core.checkpoint()
    assert core.slot is not None
    before = [root.generation for root in kept.listed_by(core.store.pager, core.slot)]
    assert len(before) > 2
    newest = kept.units_of(core.store.pager, core.slot)
    assert newest is not None
    assert core.slot.file_units > shrink.LOOSE_RATIO * kept.units_in(newest).bit_count()
    core.release()
    core = opened(disk=disk)
    assert core.slot is not None
    assert [root.generation for root in kept.listed_by(core.store.pager, core.slot)] == before
    core.release()


def test_close_gives_roots_up_that_hold_the_end_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shrink, "LOOSE_UNITS", 64)
    monkeypatch.setattr(checkpoint, "SHRINK_UNITS_MIN", 8)
    disk = MemoryDisk()
    core = loose(disk)
    core.options = core.options._replace(root_gap=1 << 10)
    for number in range(40):
        replace(core, "z", {"_id": number, "text": "w" * 300})
        core.checkpoint()
    before = size_of(disk)
    assert core.slot is not None and kept.listed_by(core.store.pager, core.slot)
    core.release()
    assert size_of(disk) < before // 2
    core = opened(disk=disk)
    assert core.slot is not None and kept.listed_by(core.store.pager, core.slot) == []
    assert sorted(documents_of(core, "z")) == list(range(40)) and list(core.check()) == []
    core.release()


def calls_of_close(disk: MemoryDisk, operation: str) -> int:
    """How many calls for the data file a close makes after a write."""
    core = opened(disk=disk, page_size=512, root_gap=1 << 40)
    core.commits = 1
    before = len(disk.calls)
    core.release()
    return sum(each[:2] == (operation, DATA_FILE) for each in disk.calls[before:])


def once(operation: str, number: int) -> Fault:
    """The call of that number for the data file fails."""
    left = number

    def fault(what: str, path: str, _size: int) -> int | None:
        nonlocal left
        if what != operation or not path.endswith(DATA_FILE):
            return None
        left -= 1
        return errno.EIO if left == -1 else None

    return fault


@pytest.mark.parametrize("operation", ["write", "flush", "truncate"])
def test_a_disk_that_fails_while_close_tidies_up_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Any call for the data file fails once; all is in the log, so nobody has to be told."""
    monkeypatch.setattr(shrink, "LOOSE_UNITS", 64)
    monkeypatch.setattr(checkpoint, "SHRINK_UNITS_MIN", 8)
    whole = MemoryDisk()
    core = loose(whole)
    insert(core, "late", [{"_id": 1}])
    start = copied(whole)
    core.release()
    with monkeypatch.context() as patch:
        patch.setattr(shrink, "at_close", lambda _core: None)
        first = calls_of_close(copied(start), operation)
    last = calls_of_close(copied(start), operation)
    assert last > first
    for number in range(first, last, max((last - first) // 8, 1)):
        disk = copied(start)
        core = opened(disk=disk, page_size=512, root_gap=1 << 40)
        core.commits = 1
        disk.fault = once(operation, number)
        core.release()
        disk.fault = None
        again = opened(disk=disk)
        assert sorted(documents_of(again, "z")) == list(range(40))
        assert documents_of(again, "late") == {1: {"_id": 1}}
        assert list(again.check()) == []
        again.release()


def test_a_damaged_page_does_not_stop_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what moves the pages reads them all; nothing that was committed depends on it."""
    monkeypatch.setattr(shrink, "LOOSE_UNITS", 64)
    disk = MemoryDisk()
    core = loose(disk)
    insert(core, "late", [{"_id": 1}])
    last = core.store.head.ordinal
    core.store.pager.forget_cache()
    disk.names[f"{DB}/{DATA_FILE}"].data[root_unit(core, "z") * layout.UNIT_SIZE + 40] ^= 1
    core.release()
    assert core.error is None
    assert any("was not made smaller" in each for each in core.findings)
    again = opened(disk=disk)
    # a log that ends earlier would be found out (I-18)
    assert again.slot is not None and again.slot.reach >= last
    assert not again.is_latched
    again.release()


def test_close_does_little_where_nothing_can_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrink, "LOOSE_UNITS", 64)
    monkeypatch.setattr(
        relocate, "generation_relocated", lambda _builder, old, *_arguments: (old, 0)
    )
    disk = MemoryDisk()
    core = loose(disk)
    assert core.slot is not None
    before = core.slot.generation
    core.release()
    core = opened(disk=disk)
    assert core.slot is not None and core.slot.generation - before <= 6
    # and nothing at all in a session that only reads
    before = core.slot.generation
    core.release()
    core = opened(disk=disk)
    assert core.slot is not None and core.slot.generation == before
    core.release()


def root_unit(core: Core, name: str) -> int:
    """Where the root of a collection's tree lies."""
    assert core.slot is not None
    generation, _definitions = slot_load(core.store.pager, core.slot)
    link = generation_trees(generation)[core.collections()[name].tree_id][0]
    return int.from_bytes(link[layout.LINK_UNIT : layout.LINK_UNITS], "little")
