"""The lock file: one process for writing, its pid in the message, nothing left behind."""

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
from rango.storage.lock import DatabaseLock
from tests.unit.memory_disk import MemoryDisk, failing

HOLD = """
import sys
from rango._ext.vfs import POSIX
from rango.storage.lock import DatabaseLock
lock = DatabaseLock.acquire(POSIX, sys.argv[1], read_only=sys.argv[2] == "r", now_ms=1)
print("held", flush=True)
sys.stdin.read()
"""


def holder(folder: Path, mode: str) -> subprocess.Popen[bytes]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it."""
    process.kill()
    process.communicate()


def acquired(folder: Path, *, read_only: bool = False) -> DatabaseLock:
    return DatabaseLock.acquire(POSIX, str(folder), read_only=read_only, now_ms=1)


def test_a_second_process_is_told_who_has_it_at_once_and_death_frees_it(tmp_path: Path) -> None:
    process = holder(tmp_path, "w")
    for read_only in (False, True):
        with pytest.raises(DatabaseBusy) as caught:
            acquired(tmp_path, read_only=read_only)
        assert caught.value.pid == process.pid and str(process.pid) in str(caught.value)
    end(process)
    acquired(tmp_path).release()


def test_readers_share_and_keep_writers_out(tmp_path: Path) -> None:
    acquired(tmp_path).release()
    process = holder(tmp_path, "r")
    mine = acquired(tmp_path, read_only=True)
    with pytest.raises(DatabaseBusy):
        acquired(tmp_path)
    mine.release()
    mine.release()
    end(process)
    acquired(tmp_path).release()


def test_a_refused_acquire_leaves_no_descriptor(tmp_path: Path) -> None:
    process = holder(tmp_path, "w")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with pytest.raises(DatabaseBusy):
            acquired(tmp_path)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before
    end(process)


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
