"""The lock file: who is alone, who is among others, and that death leaves nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rango._ext.vfs import POSIX, PythonVfs
from rango.errors import DatabaseBusy, IoFailed, ReadOnly
from rango.storage import lock as lock_module
from rango.storage.lock import DatabaseLock, lock_state
from tests.unit.memory_disk import MemoryDisk, failing

HOLD = """
import sys
from rango._ext.vfs import POSIX
from rango.storage.lock import DatabaseLock, lock_state
lock = DatabaseLock.acquire(POSIX, sys.argv[1], read_only=False, now_ms=1)
if sys.argv[2] == "share":
    lock.shared.begin(0, 0, 0, 0, 0, 0)
    lock.share()
print("held", flush=True)
sys.stdin.read()
"""


def holder(folder: Path, how: str) -> subprocess.Popen[bytes]:
    """Another process that has the database, alone or among others."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it."""
    process.kill()
    process.communicate()


def acquired(folder: Path, *, read_only: bool = False, wait_s: float = 0.02) -> DatabaseLock:
    return DatabaseLock.acquire(POSIX, str(folder), read_only=read_only, now_ms=1, wait_s=wait_s)


def test_whoever_waits_for_one_that_is_alone_is_told_its_pid_and_death_frees_it(
    tmp_path: Path,
) -> None:
    process = holder(tmp_path, "alone")
    for read_only in (False, True):
        with pytest.raises(DatabaseBusy) as caught:
            acquired(tmp_path, read_only=read_only)
        assert caught.value.pid == process.pid and str(process.pid) in str(caught.value)
    end(process)
    lock = acquired(tmp_path)
    assert lock.is_alone and not lock.shared.is_ready
    lock.release()


def test_others_come_in_once_the_first_one_shares(tmp_path: Path) -> None:
    process = holder(tmp_path, "share")
    mine, reader = acquired(tmp_path), acquired(tmp_path, read_only=True)
    assert not mine.is_alone and not reader.is_alone and mine.shared.is_ready
    assert [user.pid for user in lock_state(str(tmp_path)).users] == [
        process.pid,
        os.getpid(),
        os.getpid(),
    ]
    assert not mine.retake_alone()
    end(process)
    reader.release()
    assert mine.retake_alone()
    mine.release()
    mine.release()
    assert lock_state(str(tmp_path)).held == "no"


def test_words_that_a_dead_process_left_are_believed_by_nobody(tmp_path: Path) -> None:
    process = holder(tmp_path, "share")
    end(process)
    reader = acquired(tmp_path, read_only=True)
    assert reader.is_alone and not reader.shared.is_ready
    reader.share()
    # only a reader is there: the writer rebuilds the words, and nobody else does meanwhile
    writer = acquired(tmp_path)
    assert writer.is_alone
    with pytest.raises(DatabaseBusy):
        acquired(tmp_path)
    writer.shared.begin(7, 7, 1, 1, 1, 4096)
    assert not reader.shared.is_ready
    writer.share()
    other = acquired(tmp_path)
    assert not other.is_alone and other.shared.appended == 7
    assert reader.shared.is_ready and reader.shared.appended == 7
    for lock in (reader, writer, other):
        lock.release()


def test_a_refused_acquire_leaves_no_descriptor(tmp_path: Path) -> None:
    process = holder(tmp_path, "alone")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with pytest.raises(DatabaseBusy):
            acquired(tmp_path)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before
    end(process)


def test_a_forked_child_holds_nothing(tmp_path: Path) -> None:
    """A mapping keeps the locks of its open file description; so it must not be that one."""
    lock = acquired(tmp_path)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    try:
        lock.release()
        again = acquired(tmp_path)
        assert again.is_alone
        again.release()
    finally:
        os.close(write)
        os.waitpid(child, 0)


def test_a_reader_goes_on_where_it_may_not_lock() -> None:
    for code in (errno.EROFS, errno.EACCES, errno.ENOENT):
        disk = MemoryDisk()
        vfs = PythonVfs(disk)
        if code != errno.ENOENT:
            disk.open = lambda _path, _flags, code=code: fail(code)  # type: ignore[method-assign]
        DatabaseLock.acquire(vfs, "/db", read_only=True, now_ms=1).release()
    disk = MemoryDisk()
    disk.fault = failing("create", errno.EROFS)
    with pytest.raises(ReadOnly):
        DatabaseLock.acquire(PythonVfs(disk), "/db", read_only=False, now_ms=1)


def fail(code: int) -> int:
    raise OSError(code, os.strerror(code))


def test_a_network_file_system_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Network:
        @staticmethod
        def file_system(_directory: str) -> str:
            return "nfs"

    network = Network()
    monkeypatch.setattr(lock_module, "POSIX", network)
    with pytest.raises(IoFailed) as caught:
        lock_module.refuse_network(network, str(tmp_path))  # type: ignore[arg-type]
    assert "nfs" in str(caught.value)
