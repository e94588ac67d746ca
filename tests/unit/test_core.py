"""One core a directory: sharing, closing beside other threads, forks, latches."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import rango
from rango import errors
from rango._ext.record import encode
from rango.engine import core as core_module
from tests.unit.engine_case import documents_of, insert, opened, threads
from tests.unit.memory_disk import MemoryDisk, failing


def test_two_opens_share_a_core_and_the_last_release_closes(tmp_path: Path) -> None:
    first = opened(tmp_path / "db")
    second = opened(tmp_path / "db" / ".." / "db")
    assert first is second
    insert(first, "a", [{"_id": 1}])
    first.release()
    assert documents_of(second, "a") == {1: {"_id": 1}}
    second.release()
    with pytest.raises(errors.DatabaseClosed):
        second.view()
    third = opened(tmp_path / "db")
    assert third is not first
    third.release()


def test_what_contradicts_the_open_database_is_refused(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    for changes in ({"durability": "memory"}, {"read_only": True}, {"node_id": "other"}):
        with pytest.raises(errors.InvalidArgument):
            opened(tmp_path / "db", **changes)
    core.release()


def test_a_directory_that_takes_the_number_of_a_deleted_one_is_another_database(
    tmp_path: Path,
) -> None:
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": 1}])
    shutil.rmtree(tmp_path / "db")
    core.release()
    for name in ("db", "other", "third"):
        again = opened(tmp_path / name)
        assert documents_of(again, "a") == {}
        insert(again, "a", [{"_id": 2}])
        again.release()


def test_a_handle_that_is_collected_while_another_opens_does_not_block(tmp_path: Path) -> None:
    """A finalizer runs in whatever thread collects, perhaps one that is inside open()."""
    lost = rango.open(tmp_path / "lost")
    lost["a"].insert_one({"_id": 1})
    cycle: list[object] = [lost]
    cycle.append(cycle)
    del lost, cycle
    done = threading.Event()

    def clock() -> int:
        gc.collect()
        return 1

    def work() -> None:
        rango.open(tmp_path / "other", clock=clock).close()
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(20), "open() waits for itself"
    with rango.open(tmp_path / "lost") as again:
        assert again["a"].count_documents({}) == 1


def test_an_open_that_fails_at_its_last_step_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_core: object) -> None:
        raise errors.LowDisk("no space")

    monkeypatch.setattr(core_module.Core, "start", fail)
    with pytest.raises(errors.LowDisk):
        opened(tmp_path / "db")
    monkeypatch.undo()
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": 1}])
    core.release()


def test_close_while_others_read_and_write(tmp_path: Path) -> None:
    """Whatever they are in the middle of ends in an answer or in DatabaseClosed."""
    for turn in range(6):
        acknowledged = closed_under_load(tmp_path / "db", f"turn {turn}")
        core = opened(tmp_path / "db")
        assert acknowledged <= documents_of(core, "a").keys()
        assert list(core.check()) == []
        core.release()


def closed_under_load(path: Path, mark: str) -> set[str]:
    """Two writers, two readers, and a close in their midst: what the writers were promised."""
    core = opened(path, page_size=512, overlay_entries_max=40, cache_size=1 << 12)
    insert(core, "a", [{"_id": f"{mark} {n}", "text": "x" * 50} for n in range(60)])
    acknowledged: set[str] = set()

    def write(writer: str) -> None:
        with suppress(errors.DatabaseClosed):
            info = core.create_collection("a")
            for number in itertools.count():
                name = f"{mark} {writer} {number}"
                core.insert_one(info, encode({"_id": name, "text": "y" * 50}))
                acknowledged.add(name)

    def read() -> None:
        with suppress(errors.DatabaseClosed):
            while True:
                documents_of(core, "a")

    with threads(lambda: write("one"), lambda: write("two"), read, read):
        time.sleep(0.03)
        core.release()
    return acknowledged


def test_close_does_not_wait_for_a_transaction_that_is_only_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_module, "APPEND_WAIT_S", 0.2)
    monkeypatch.setattr(core_module, "CLOSE_WAIT_S", 0.2)
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": 1}])
    ready, leave = threading.Event(), threading.Event()

    def hold() -> None:
        txn = core.begin()
        txn.lock()
        ready.set()
        leave.wait(10)
        with pytest.raises(errors.DatabaseClosed):
            txn.commit()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(10)
    with suppress(errors.DatabaseBusy):
        core.release()
    leave.set()
    thread.join()
    core = opened(tmp_path / "db")
    assert documents_of(core, "a") == {1: {"_id": 1}}
    core.release()


def test_a_child_has_nothing_of_the_parents_database(tmp_path: Path) -> None:
    core = opened(tmp_path / "db", cache_size=1)
    insert(core, "a", [{"_id": n} for n in range(300)])
    core.checkpoint()
    view = core.view()
    tree = view.catalog.collections["a"].tree_id
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for use in (
                core.view,
                core.begin,
                core.flush,
                core.stats,
                lambda: view.find_id(tree, 5),
                lambda: view.scan(tree, None, None, False, None).next_documents(10),
            ):
                try:
                    use()
                except errors.ForkedHandle:
                    continue
                raise AssertionError(use)
            own = opened(tmp_path / "other")
            insert(own, "a", [{"_id": 1}])
            own.release()
            core.release()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    insert(core, "a", [{"_id": "after"}])
    assert len(documents_of(core, "a")) == 301
    core.release()


def test_a_failed_flush_latches_and_what_was_durable_stays(tmp_path: Path) -> None:
    disk = MemoryDisk()
    core = opened(disk=disk)
    insert(core, "a", [{"_id": n} for n in range(5)])
    disk.fault = failing("flush", errno.EIO)
    with pytest.raises(errors.IoFailed):
        insert(core, "a", [{"_id": "lost?"}])
    disk.fault = None
    for _ in range(2):
        with pytest.raises(errors.IoFailed):
            insert(core, "a", [{"_id": "later"}])
    assert sorted(documents_of(core, "a")) == list(range(5))
    with pytest.raises(errors.IoFailed):
        core.checkpoint()
    with suppress(errors.IoFailed):
        core.release()
    core = opened(disk=disk)
    assert set(range(5)) <= documents_of(core, "a").keys() <= {*range(5), "lost?"}
    core.release()


def test_what_is_not_durable_is_not_seen(tmp_path: Path) -> None:
    """I-16: in "commit" a reader sees a commit when its flush is done."""
    disk = MemoryDisk()
    core = opened(disk=disk)
    insert(core, "a", [{"_id": 1}])
    seen: list[set[object]] = []

    def look(called: str, path: str, _size: int) -> None:
        if called == "flush" and path.endswith(".rgo"):
            seen.append(set(documents_of(core, "a")))

    disk.fault = look
    insert(core, "a", [{"_id": 2}])
    disk.fault = None
    assert seen and all(found == {1} for found in seen)
    assert set(documents_of(core, "a")) == {1, 2}
    core.release()


@pytest.mark.parametrize("durability", ["group", "memory"])
def test_the_faster_modes_show_at_once_and_keep_all_after_close(
    tmp_path: Path, durability: str
) -> None:
    core = opened(tmp_path / "db", durability=durability)
    for n in range(50):
        insert(core, "a", [{"_id": n}])
        assert n in documents_of(core, "a")
    core.release()
    core = opened(tmp_path / "db")
    assert len(documents_of(core, "a")) == 50
    core.release()


def test_a_transaction_that_lost_the_race_conflicts(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": 1}])
    txn = core.begin()
    info = txn.collections()["a"]
    insert(core, "a", [{"_id": 2}])
    with pytest.raises(errors.Conflict):
        txn.insert(info, encode({"_id": 3}))
    txn.abort()
    insert(core, "a", [{"_id": 3}])
    core.release()


def test_a_check_that_is_not_finished_holds_nothing_up(tmp_path: Path) -> None:
    core = opened(tmp_path / "db")
    insert(core, "a", [{"_id": 1}])
    core.checkpoint()
    data = tmp_path / "db" / "data.rango"
    content = bytearray(data.read_bytes())
    content[2 * 4096 + 50] ^= 1
    data.write_bytes(content)
    findings = core.check()
    next(findings)
    done = threading.Event()
    threading.Thread(target=lambda: (core.release(), done.set()), daemon=True).start()
    assert done.wait(20)


def test_a_signal_behind_the_checkpoint_lock_does_not_leave_it_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between two lines of an automatic checkpoint hung the next explicit one for ever."""
    core = opened(tmp_path / "db", overlay_entries_max=5)

    def interrupted(_core: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(core_module.checkpoint, "guarded", interrupted)
        with pytest.raises(KeyboardInterrupt):
            insert(core, "a", [{"_id": n} for n in range(20)])
    assert not core.checkpoint_lock.locked()
    core.checkpoint()
    insert(core, "a", [{"_id": "later"}])
    assert {0, "later"} <= documents_of(core, "a").keys()
    core.release()
