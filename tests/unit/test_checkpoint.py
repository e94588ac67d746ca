"""Checkpoints: what is on disk at each step, and what an interruption at any step leaves."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rango._ext import layout
from rango.engine import checkpoint
from rango.engine import core as core_module
from rango.errors import DatabaseBusy, IoFailed, LowDisk
from tests.unit.engine_case import DB, documents_of, insert, opened, replace, threads
from tests.unit.memory_disk import File, MemoryDisk, failing

DATA = "data.rango"


def rows(lower: int, upper: int, size: int = 100) -> list[dict[str, object]]:
    return [{"_id": number, "text": "x" * size} for number in range(lower, upper)]


def test_a_checkpoint_empties_the_overlay_and_survives_a_reopen(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    insert(core, "a", rows(0, 50))
    core.checkpoint()
    assert core.stats()["overlay_entries"] == 0 and core.stats()["generation"] == 1
    insert(core, "a", rows(50, 60))
    core.release()
    core = opened(tmp_path / "db")
    assert sorted(documents_of(core, "a")) == list(range(60))
    # close() wrote a slot of its own, with the same trees, that says how far the log reaches
    assert core.stats()["generation"] == 2 and core.stats()["overlay_entries"] > 0
    assert list(core.check()) == []
    core.release()


def test_a_checkpoint_of_nothing_writes_nothing() -> None:
    disk = MemoryDisk()
    core = opened(disk=disk)
    insert(core, "a", rows(0, 3))
    core.checkpoint()
    calls = len(disk.calls)
    core.checkpoint()
    assert len(disk.calls) == calls
    core.release()


def test_slots_alternate_and_each_names_a_whole_generation(tmp_path: Path) -> None:
    core = opened(tmp_path / "db", page_size=512)
    for turn in range(6):
        insert(core, "a", rows(turn * 30, turn * 30 + 30))
        replace(core, "a", {"_id": 0, "text": str(turn)})
        core.checkpoint()
        assert core.slot is not None and core.slot.generation == turn + 1
        assert list(core.check()) == []
    core.release()


def test_units_of_the_generation_before_the_last_are_used_again(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    insert(core, "a", rows(0, 400, 1000))
    sizes = []
    for turn in range(12):
        for number in range(400):
            if number % 10 == 0:
                replace(core, "a", {"_id": number, "text": str(turn) * 1000})
        core.checkpoint()
        sizes.append(core.stats()["data_bytes"])
    assert max(sizes) <= 4 * sizes[0]
    core.release()


@pytest.mark.parametrize("step", ["before the slot", "after the slot", "before adoption"])
def test_an_interrupt_in_a_checkpoint_never_spoils_the_data_file(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the slot was written must not make its units free for the next checkpoint."""
    real_write, real_adopt = checkpoint.slot_write, checkpoint.adopt

    def write_then_stop(*arguments: Any) -> None:
        if step == "after the slot":
            real_write(*arguments)
        raise KeyboardInterrupt

    def stop_before(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    for writes in range(1, 60):
        disk = MemoryDisk()
        core = opened(disk=disk, page_size=512)
        insert(core, "a", rows(0, 60))
        core.checkpoint()
        insert(core, "a", rows(60, 80))
        if step == "before adoption":
            monkeypatch.setattr(checkpoint, "adopt", stop_before)
        else:
            monkeypatch.setattr(checkpoint, "slot_write", write_then_stop)
        with pytest.raises(KeyboardInterrupt):
            core.checkpoint()
        monkeypatch.setattr(checkpoint, "slot_write", real_write)
        monkeypatch.setattr(checkpoint, "adopt", real_adopt)
        # the program catches the interrupt and goes on; the power goes inside the next checkpoint
        insert(core, "a", rows(80, 100))
        left = writes

        def fail(called: str, path: str, _size: int) -> int | None:
            nonlocal left
            left -= called == "write" and path.endswith(DATA)
            return errno.EIO if left < 0 else None

        disk.fault = fail
        try:
            core.checkpoint()
            is_done = True
        except IoFailed:
            is_done = False
        disk.fault = None
        again = opened(DB + "2", disk=copied(disk, DB, DB + "2"))
        assert sorted(documents_of(again, "a")) == list(range(100)), writes
        assert list(again.check()) == [], writes
        again.release()
        forget(core)
        if is_done:
            return
    raise AssertionError("the checkpoint never came to its end")


def copied(disk: MemoryDisk, source: str, target: str) -> MemoryDisk:
    """The disk as a process finds it that starts now, under another path."""
    other = MemoryDisk()
    other.folders = {name.replace(source, target, 1) for name in disk.folders}
    for name, file in disk.names.items():
        other.names[name.replace(source, target, 1)] = File(bytes(file.data))
    return other


def forget(core: core_module.Core) -> None:
    """Close it whatever its state."""
    with contextlib.suppress(IoFailed):
        core.release()


def test_a_transaction_that_blocks_adoption_does_not_spoil_the_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot is on disk, the append lock cannot be had: the next checkpoint goes on from it."""
    core = opened(tmp_path / "db", page_size=512)
    insert(core, "a", rows(0, 50))
    core.checkpoint()
    insert(core, "a", rows(50, 60))
    monkeypatch.setattr(core_module, "APPEND_WAIT_S", 0.05)
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        txn = core.begin()
        txn.lock()
        held.set()
        let_go.wait(10)
        txn.abort()

    thread = threading.Thread(target=hold)
    written = checkpoint.slot_write

    def write_then_block(*arguments: object) -> None:
        written(*arguments)  # type: ignore[arg-type]
        thread.start()
        held.wait(10)

    monkeypatch.setattr(checkpoint, "slot_write", write_then_block)
    with pytest.raises(DatabaseBusy):
        core.checkpoint()
    let_go.set()
    thread.join()
    monkeypatch.setattr(checkpoint, "slot_write", written)
    insert(core, "a", rows(60, 70))
    core.checkpoint()
    assert core.slot is not None and core.slot.generation == 3
    assert list(core.check()) == []
    core.release()


def test_a_commit_that_is_done_does_not_fail_because_a_checkpoint_had_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = opened(tmp_path / "db", overlay_entries_max=10)
    run = checkpoint.run

    def busy(_core: object) -> None:
        raise DatabaseBusy("another thread is in a transaction", pid=1)

    monkeypatch.setattr(checkpoint, "run", busy)
    insert(core, "a", rows(0, 12))
    monkeypatch.setattr(checkpoint, "run", run)
    insert(core, "a", rows(12, 40))
    assert sorted(documents_of(core, "a")) == list(range(40))
    assert core.checkpoints > 0
    core.release()


def test_no_space_postpones_the_checkpoint_and_loses_nothing() -> None:
    disk = MemoryDisk()
    core = opened(disk=disk, overlay_entries_max=60)
    insert(core, "a", rows(0, 50, 2000))
    disk.fault = lambda called, path, _size: (
        errno.ENOSPC if called == "write" and path.endswith(DATA) else None
    )
    insert(core, "a", rows(50, 70, 2000))
    with pytest.raises(LowDisk):
        core.checkpoint()
    assert sorted(documents_of(core, "a")) == list(range(70))
    disk.fault = None
    insert(core, "a", rows(70, 80, 2000))
    core.checkpoint()
    assert core.stats()["overlay_entries"] == 0
    assert list(core.check()) == []
    core.release()


@pytest.mark.parametrize("place", range(12))
def test_no_space_for_any_single_write_of_a_checkpoint_is_not_the_end(place: int) -> None:
    """The first slot write may hit a full disk too: nothing is lost, so nothing is latched."""
    disk = MemoryDisk()
    core = opened(disk=disk)
    insert(core, "a", rows(0, 30))
    count = 0

    def full(called: str, path: str, _size: int) -> int | None:
        nonlocal count
        if called == "write" and path.endswith(DATA):
            count += 1
            if count > place:
                return errno.ENOSPC
        return None

    disk.fault = full
    with contextlib.suppress(LowDisk):
        core.checkpoint()
    disk.fault = None
    insert(core, "a", rows(30, 40))
    core.checkpoint()
    assert list(core.check()) == []
    assert sorted(documents_of(core, "a")) == list(range(40))
    core.release()


def test_a_failed_flush_of_the_data_file_latches_and_reads_go_on() -> None:
    disk = MemoryDisk()
    core = opened(disk=disk)
    insert(core, "a", rows(0, 10))
    disk.fault = lambda called, path, _size: (
        errno.EIO if called == "flush" and path.endswith(DATA) else None
    )
    with pytest.raises(IoFailed):
        core.checkpoint()
    disk.fault = None
    with pytest.raises(IoFailed):
        insert(core, "a", rows(10, 11))
    assert sorted(documents_of(core, "a")) == list(range(10))
    core.release()
    core = opened(disk=disk)
    assert sorted(documents_of(core, "a")) == list(range(10))
    core.release()


def test_others_commit_while_a_checkpoint_is_built(tmp_path: Path) -> None:
    core = opened(tmp_path / "db", page_size=512, overlay_entries_max=150)
    core.create_collection("a")
    starts = range(0, 600, 150)
    works = [lambda start=start: insert(core, "a", rows(start, start + 150)) for start in starts]
    with threads(*works):
        pass
    assert sorted(documents_of(core, "a")) == list(range(600))
    assert core.checkpoints >= 2
    assert list(core.check()) == []
    core.release()
    assert os.path.exists(tmp_path / "db" / DATA)


def test_the_data_file_shrinks_when_most_of_it_is_free(tmp_path: Path) -> None:
    """Free units at the end are given back once no slot needs them; it takes a few checkpoints,
    because pages written meanwhile lie behind what is not free yet (I-2)."""
    core = opened(tmp_path / "db")
    insert(core, "kept", rows(0, 10))
    insert(core, "large", [{"_id": n, "text": os.urandom(3_000)} for n in range(2_000)])
    core.checkpoint()
    large = (tmp_path / "db" / "data.rango").stat().st_size
    core.drop_collection("large")
    for n in range(7):
        insert(core, "kept", rows(10 + n, 11 + n))
        core.checkpoint()
    assert large > 6_000_000
    assert (tmp_path / "db" / "data.rango").stat().st_size < 200_000
    assert list(core.check()) == []
    core.release()
    core = opened(tmp_path / "db")
    assert sorted(documents_of(core, "kept")) == list(range(17))
    core.release()


def test_closing_gives_back_what_the_log_had_written_ahead(tmp_path: Path) -> None:
    """An open reads all that is behind the end of the log, so close() leaves one step of it."""

    def insert_each(lower: int, upper: int) -> None:
        for number in range(lower, upper):
            insert(core, "a", rows(number, number + 1, size=4_000))

    core = opened(tmp_path / "db", durability="memory")
    insert_each(0, 700)
    log = tmp_path / "db" / "oplog" / f"{1:016d}.rgo"
    assert log.stat().st_size > core.store.appender.position + 2 * layout.SEGMENT_FIRST_STEP
    core.release()
    content = log.read_bytes()
    spare = len(content) - len(content.rstrip(b"\0"))
    assert layout.SEGMENT_FIRST_STEP <= spare < layout.SEGMENT_FIRST_STEP + 2 * layout.UNIT_SIZE
    for turn in range(2):
        core = opened(tmp_path / "db", durability="memory")
        insert_each(700 + 100 * turn, 800 + 100 * turn)
        core.release()
    core = opened(tmp_path / "db")
    assert sorted(documents_of(core, "a")) == list(range(900))
    assert list(core.check()) == []
    core.release()


def test_a_close_that_can_give_nothing_back_is_a_close_all_the_same() -> None:
    disk = MemoryDisk()
    core = opened(disk=disk, durability="memory")
    for number in range(700):
        insert(core, "a", rows(number, number + 1, size=4_000))
    core.checkpoint()
    disk.fault = failing("truncate", errno.EIO)
    core.release()
    disk.fault = None
    assert any("was not given back" in each for each in core.findings)
    core = opened(disk=disk)
    assert sorted(documents_of(core, "a")) == list(range(700))
    assert core.slot is not None and core.slot.reach >= 700
    core.release()
