"""The doors to files keep their promises, over the operating system and over a Python object."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rango._ext import vfs
from rango._ext.vfs import (
    POSIX,
    VFS_CREATE,
    VFS_EXCLUSIVE,
    VFS_EXCLUSIVE_LOCK,
    VFS_READ,
    VFS_SHARED,
    VFS_UNLOCK,
    VFS_WRITE,
    PythonVfs,
    Vfs,
)

NEW = VFS_WRITE | VFS_CREATE


class Scripted:
    """A file in memory that fails as it is told: `script` holds what the next calls do."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.script: list[BaseException | int | None] = []
        self.calls: list[str] = []

    def _next(self, call: str) -> int | None:
        self.calls.append(call)
        action = self.script.pop(0) if self.script else None
        if isinstance(action, BaseException):
            raise action
        return action

    def open(self, path: str, flags: int) -> int:
        self._next("open")
        return 3

    def close(self, fd: int) -> None:
        self._next("close")

    def read(self, fd: int, size: int, offset: int) -> bytes:
        limit = self._next("read")
        return bytes(self.content[offset : offset + (size if limit is None else limit)])

    def write(self, fd: int, data: bytes, offset: int) -> int:
        limit = self._next("write")
        done = len(data) if limit is None else limit
        self.content[offset : offset + done] = data[:done]
        return done

    def flush(self, fd: int) -> None:
        self._next("flush")

    def truncate(self, fd: int, size: int) -> None:
        self._next("truncate")
        del self.content[size:]

    def size(self, fd: int) -> int:
        self._next("size")
        return len(self.content)

    def rename(self, source: str, target: str) -> None:
        self._next(f"rename {source} {target}")

    def remove(self, path: str) -> None:
        self._next(f"remove {path}")

    def flush_directory(self, path: str) -> None:
        self._next(f"flush_directory {path}")

    def lock(self, fd: int, start: int, size: int, mode: int) -> None:
        self._next(f"lock {start} {size} {mode}")

    def exists(self, path: str) -> bool:
        return path == "there"

    def list_directory(self, path: str) -> list[str]:
        return ["b", "a"]

    def make_directory(self, path: str, mode: int) -> None:
        self._next(f"make_directory {path} {mode:o}")

    def free_bytes(self, path: str) -> int:
        return 42


@pytest.fixture
def scripted() -> tuple[Scripted, PythonVfs]:
    impl = Scripted()
    return impl, PythonVfs(impl)


def test_write_read_truncate_and_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = POSIX.open(path, NEW)
    POSIX.write(fd, b"hello world", 0)
    POSIX.write(fd, b"", 5)
    POSIX.write(fd, memoryview(b"tail"), 20)
    assert POSIX.size(fd) == 24
    assert POSIX.read(fd, 11, 0) == b"hello world"
    assert POSIX.read(fd, 100, 18) == b"\0\0tail"
    assert POSIX.read(fd, 1 << 40, 20) == b"tail"
    assert POSIX.read(fd, 10, 1000) == b""
    POSIX.truncate(fd, 5)
    POSIX.flush(fd)
    assert path.read_bytes() == b"hello"
    POSIX.close(fd)
    with pytest.raises(OSError, match="descriptor") as caught:
        POSIX.read(fd, 1, 0)
    assert caught.value.errno == errno.EBADF


def test_files_are_private_and_closed_on_exec(tmp_path: Path) -> None:
    path = tmp_path / "file"
    old = os.umask(0)
    try:
        fd = POSIX.open(path, NEW)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not os.get_inheritable(fd)
    POSIX.close(fd)


def test_open_refuses_links_directories_and_fifos(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "fifo")
    for name, flags, code in [
        ("link", VFS_READ, errno.ELOOP),
        ("link", NEW, errno.ELOOP),
        (".", VFS_READ, errno.EISDIR),
        ("fifo", VFS_READ, errno.EINVAL),
        ("fifo", VFS_WRITE, errno.EINVAL),
        ("missing", VFS_WRITE, errno.ENOENT),
        ("real", NEW | VFS_EXCLUSIVE, errno.EEXIST),
        ("new", VFS_CREATE, errno.EINVAL),
    ]:
        with pytest.raises(OSError) as caught:
            POSIX.open(tmp_path / name, flags)
        assert (name, caught.value.errno) == (name, code)
        assert caught.value.filename == tmp_path / name
    with pytest.raises(ValueError, match="NUL"):
        POSIX.open("a\0b", VFS_READ)


def test_descriptors_opened_for_reading_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    fd = POSIX.open(tmp_path / "file", VFS_READ)
    with pytest.raises(OSError) as caught:
        POSIX.write(fd, b"x", 0)
    assert caught.value.errno == errno.EBADF
    POSIX.close(fd)
    with pytest.raises(OSError):
        POSIX.close(fd)


def test_a_foreign_descriptor_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b") as file:
        for call in (
            lambda: POSIX.write(file.fileno(), b"x", 0),
            lambda: POSIX.close(file.fileno()),
            lambda: POSIX.flush(file.fileno()),
            lambda: POSIX.truncate(file.fileno(), 0),
            lambda: POSIX.size(file.fileno()),
            lambda: POSIX.lock(file.fileno(), 0, 1, VFS_SHARED),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EBADF
    for call in (lambda: POSIX.size(-1), lambda: POSIX.size(1 << 30)):
        with pytest.raises(OSError):
            call()


def test_offsets_beyond_the_signed_range_are_refused(tmp_path: Path) -> None:
    fd = POSIX.open(tmp_path / "file", NEW)
    for call in (
        lambda: POSIX.write(fd, b"x", 1 << 63),
        lambda: POSIX.read(fd, 1, 1 << 63),
        lambda: POSIX.truncate(fd, 1 << 63),
        lambda: POSIX.lock(fd, 1 << 63, 1, VFS_SHARED),
        lambda: POSIX.lock(fd, 0, 1, 17),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EINVAL
    POSIX.close(fd)


def test_directories(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    POSIX.make_directory(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("b", "a"):
        POSIX.close(POSIX.open(folder / name, NEW))
    POSIX.rename(folder / "b", folder / "c")
    POSIX.flush_directory(folder)
    assert POSIX.list_directory(folder) == ["a", "c"]
    POSIX.remove(folder / "a")
    assert not POSIX.exists(folder / "a")
    assert POSIX.exists(folder / "c")
    assert not POSIX.exists(folder / "c" / "below-a-file")
    assert POSIX.free_bytes(folder) > 0
    (tmp_path / "alias").symlink_to(folder)
    POSIX.flush_directory(tmp_path / "alias")
    for call in (
        lambda: POSIX.remove(folder / "missing"),
        lambda: POSIX.rename(folder / "missing", folder / "x"),
        lambda: POSIX.flush_directory(folder / "missing"),
        lambda: POSIX.file_system(folder / "missing"),
    ):
        with pytest.raises(FileNotFoundError):
            call()
    with pytest.raises(FileExistsError):
        POSIX.make_directory(folder)
    with pytest.raises(OSError, match="not empty"):
        POSIX.remove(folder)
    POSIX.remove(folder / "c")
    POSIX.remove(folder)
    assert not POSIX.exists(folder)


def test_file_system_is_named(tmp_path: Path) -> None:
    name = POSIX.file_system(tmp_path)
    assert name
    if sys.platform == "linux" and os.path.isdir("/dev/shm") and os.path.ismount("/dev/shm"):
        assert POSIX.file_system("/dev/shm") == "tmpfs"


@pytest.mark.skipif(not vfs.RANGE_LOCKS, reason="no open-file-description locks here")
def test_locks_belong_to_descriptions_and_ranges(tmp_path: Path) -> None:
    one = POSIX.open(tmp_path / "lock", NEW)
    two = POSIX.open(tmp_path / "lock", NEW)
    assert POSIX.lock(one, 0, 1, VFS_EXCLUSIVE_LOCK)
    assert POSIX.lock(two, 0, 1, VFS_EXCLUSIVE_LOCK) is False
    assert POSIX.lock(two, 0, 1, VFS_SHARED) is False
    assert POSIX.lock(two, 1, 1, VFS_EXCLUSIVE_LOCK)
    assert POSIX.lock(one, 0, 1, VFS_SHARED)
    assert POSIX.lock(two, 0, 1, VFS_SHARED)
    assert POSIX.lock(one, 0, 1, VFS_EXCLUSIVE_LOCK) is False
    assert POSIX.lock(two, 0, 1, VFS_UNLOCK)
    assert POSIX.lock(one, 0, 1, VFS_EXCLUSIVE_LOCK)
    POSIX.close(one)
    assert POSIX.lock(two, 0, 1, VFS_EXCLUSIVE_LOCK)
    POSIX.close(two)


def test_a_fork_closes_every_descriptor_in_the_child_only(tmp_path: Path) -> None:
    fds = [POSIX.open(tmp_path / f"file{n}", NEW) for n in range(5)]
    before = vfs.fork_count()

    def in_child() -> bool:
        for fd in fds:
            try:
                os.fstat(fd)
            except OSError:
                continue
            return False
        try:
            POSIX.write(fds[0], b"x", 0)
        except OSError as error:
            return error.errno == errno.EBADF and vfs.fork_count() == before + 1
        return False

    pid = os.fork()
    if pid == 0:
        os._exit(0 if in_child() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert vfs.fork_count() == before
    for fd in fds:
        POSIX.write(fd, b"still here", 0)
        POSIX.close(fd)


@pytest.mark.skipif(not vfs.RANGE_LOCKS, reason="no open-file-description locks here")
def test_a_lock_does_not_outlive_its_process_in_a_forked_child(tmp_path: Path) -> None:
    # The holder forks a child that lives on, then dies: its lock must be free at once.
    script = (
        "import os, sys\n"
        "from rango._ext.vfs import POSIX, VFS_CREATE, VFS_EXCLUSIVE_LOCK, VFS_WRITE\n"
        "fd = POSIX.open(sys.argv[1], VFS_WRITE | VFS_CREATE)\n"
        "assert POSIX.lock(fd, 0, 1, VFS_EXCLUSIVE_LOCK)\n"
        "if os.fork() == 0:\n"
        # the child says so: before it has run at all, it still has what it inherited
        "    print('forked', flush=True)\n"
        "    sys.stdin.read()\n"
        "os._exit(0)\n"
    )
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == "forked\n"
    holder.wait(10)
    fd = POSIX.open(path, NEW)
    assert POSIX.lock(fd, 0, 1, VFS_EXCLUSIVE_LOCK)
    POSIX.close(fd)
    holder.stdin.close()
    holder.stdout.close()


def test_forks_and_opens_in_parallel_leak_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    target = str(tmp_path / "file")

    def open_and_close() -> None:
        while not stop.is_set():
            POSIX.close(POSIX.open(target, NEW))

    threads = [threading.Thread(target=open_and_close) for _ in range(2)]
    for thread in threads:
        thread.start()
    leaks = 0
    for _ in range(30):
        pid = os.fork()
        if pid == 0:
            held = 0
            for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
                try:
                    held += os.readlink(f"/proc/self/fd/{name}") == target
                except OSError:
                    continue
            os._exit(min(held, 100))
        leaks += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    stop.set()
    for thread in threads:
        thread.join()
    assert leaks == 0


def test_python_vfs_passes_everything_on(scripted: tuple[Scripted, PythonVfs]) -> None:
    impl, door = scripted
    assert isinstance(door, Vfs)
    assert door.impl is impl
    assert door.open("name", NEW) == 3
    door.write(3, b"abcdef", 0)
    assert door.read(3, 100, 1) == b"bcdef"
    assert door.size(3) == 6
    door.truncate(3, 2)
    door.flush(3)
    assert door.lock(3, 4, 5, VFS_SHARED)
    door.rename("a", "b")
    door.remove("c")
    door.flush_directory("d")
    door.make_directory("e")
    door.close(3)
    assert impl.calls == [
        *("open", "write", "read", "read", "size", "truncate", "flush", "lock 4 5 1"),
        *("rename a b", "remove c", "flush_directory d", "make_directory e 700", "close"),
    ]
    assert door.exists("there") and not door.exists("elsewhere")
    assert door.list_directory("d") == ["a", "b"]
    assert door.free_bytes("d") == 42
    assert door.file_system("d") == "python"


def test_short_transfers_and_interrupts_are_continued(
    scripted: tuple[Scripted, PythonVfs],
) -> None:
    impl, door = scripted
    interrupt = OSError(errno.EINTR, "interrupted")
    impl.script = [1, interrupt, 2, interrupt, None]
    door.write(3, b"abcdef", 0)
    assert impl.content == b"abcdef" and impl.calls == ["write"] * 5
    impl.script = [2, interrupt, 1]
    assert door.read(3, 6, 0) == b"abcdef"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_short_write_and_then_an_error_is_that_error(
    scripted: tuple[Scripted, PythonVfs], code: int
) -> None:
    impl, door = scripted
    impl.script = [3, OSError(code, "no")]
    with pytest.raises(OSError) as caught:
        door.write(3, b"abcdef", 0)
    assert caught.value.errno == code
    assert impl.content == b"abc"


def test_a_write_without_progress_ends(scripted: tuple[Scripted, PythonVfs]) -> None:
    impl, door = scripted
    impl.script = [0]
    with pytest.raises(OSError) as caught:
        door.write(3, b"x", 0)
    assert caught.value.errno == errno.EIO
    impl.script = [OSError(errno.EINTR, "for ever")] * 5000
    with pytest.raises(OSError) as caught:
        door.write(3, b"x", 0)
    assert caught.value.errno == errno.EINTR


def test_a_flush_is_never_repeated(scripted: tuple[Scripted, PythonVfs]) -> None:
    impl, door = scripted
    impl.script = [OSError(errno.EINTR, "interrupted")]
    with pytest.raises(OSError) as caught:
        door.flush(3)
    assert caught.value.errno == errno.EINTR
    assert impl.calls == ["flush"]


def test_the_path_is_named_in_an_error(scripted: tuple[Scripted, PythonVfs]) -> None:
    impl, door = scripted
    fd = door.open("name", NEW)
    impl.script = [OSError(errno.EIO, "x")]
    with pytest.raises(OSError) as caught:
        door.truncate(fd, 0)
    assert caught.value.filename == "name"
    impl.script = [OSError(errno.EAGAIN, "held")]
    assert door.lock(fd, 0, 1, VFS_SHARED) is False
    impl.script = [OSError(errno.ENOLCK, "none")]
    with pytest.raises(OSError) as caught:
        door.lock(fd, 0, 1, VFS_SHARED)
    assert caught.value.errno == errno.ENOLCK


def test_other_exceptions_are_raised_by_the_door(scripted: tuple[Scripted, PythonVfs]) -> None:
    impl, door = scripted
    for error in (KeyboardInterrupt(), AssertionError("planted"), OSError("without errno")):
        impl.script = [error]
        with pytest.raises(type(error)) as caught:
            door.flush(3)
        assert caught.value is error
    door.flush(3)


class Lying(Scripted):
    """Answers reads, writes, sizes and opens with what it was given, whatever was asked."""

    answer: Any = None

    def open(self, path: str, flags: int) -> int:
        return int(self.answer)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return self.answer  # type: ignore[no-any-return]

    def write(self, fd: int, data: bytes, offset: int) -> int:
        return int(self.answer)

    def size(self, fd: int) -> int:
        return int(self.answer)


def test_wrong_answers_of_an_implementation_are_named() -> None:
    impl = Lying()
    door = PythonVfs(impl)
    impl.answer = b"12345"
    with pytest.raises(ValueError, match="at most 4 bytes"):
        door.read(3, 4, 0)
    impl.answer = bytearray(b"x")
    with pytest.raises(TypeError):
        door.read(3, 4, 0)
    impl.answer = None
    with pytest.raises(ValueError, match="at most 4 bytes"):
        door.read(3, 4, 0)
    impl.answer = 2
    with pytest.raises(ValueError, match="0 to 1"):
        door.write(3, b"x", 0)
    impl.answer = -1
    with pytest.raises(ValueError, match="negative"):
        door.size(3)
    with pytest.raises(OSError):
        door.open("x", VFS_READ)
