"""Relocation of what lies at the end of the data file: what it must leave alone."""

from __future__ import annotations

import os

import pytest

from rango._ext.key import key_of
from rango.engine import recovery, shrink
from rango.storage.superblock import DATA_FILE
from tests.unit.engine_case import documents_of, insert, opened, replace
from tests.unit.memory_disk import File, MemoryDisk


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
    info = core.collections()["a"]
    txn = core.begin()
    txn.lock()
    for number in range(2_000):
        txn.forget(info, key_of(number), txn.view.get(info.tree_id, key_of(number)))
    txn.commit()
    del txn
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
