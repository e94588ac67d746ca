"""A database for the benchmarks: encrypted, filled, and, for costs, on files that count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import rango
from rango._ext.vfs import POSIX, PythonVfs

from .workload import COLLECTION, KEY, START, Workload

CLOCK_START = int(START.timestamp() * 1000)
INDEXES = ("agent_id", "created_at")


def fill(folder: str, workload: Workload) -> None:
    """A checkpointed database of all documents, with both indexes."""
    with rango.open(folder, key=KEY) as db:
        memory = db[COLLECTION]
        for name in INDEXES:
            memory.create_index(name)
        for at in range(0, workload.count, workload.batch_size):
            memory.insert_many(workload.documents[at : at + workload.batch_size])
        db.checkpoint()


def even_clock() -> Callable[[], int]:
    """A clock that gains a millisecond at each reading: what is stored is the same every time."""
    now = CLOCK_START

    def read() -> int:
        nonlocal now
        now += 1
        return now

    return read


class CountingFiles:
    """The operating system's files below PythonVfs; `counts` says what was asked of them.

    Keys: (what, kind) with what one of writes, write_bytes, flushes, reads, read_bytes, and kind
    the suffix of the file. Bytes that are all zero (room made in advance) are not counted.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._kinds: dict[int, str] = {}

    def total(self, what: str) -> int:
        """Over all kinds of file."""
        return sum(count for (name, _), count in self.counts.items() if name == what)

    def open(self, path: str, flags: int) -> int:
        fd = POSIX.open(path, flags)
        self._kinds[fd] = Path(path).suffix or Path(path).name
        return fd

    def close(self, fd: int) -> None:
        POSIX.close(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        data = POSIX.read(fd, size, offset)
        self.counts["reads", self._kinds[fd]] += 1
        self.counts["read_bytes", self._kinds[fd]] += len(data)
        return data

    def write(self, fd: int, data: bytes, offset: int) -> int:
        POSIX.write(fd, data, offset)
        if any(data):
            self.counts["writes", self._kinds[fd]] += 1
            self.counts["write_bytes", self._kinds[fd]] += len(data)
        return len(data)

    def flush(self, fd: int) -> None:
        POSIX.flush(fd)
        self.counts["flushes", self._kinds[fd]] += 1

    def truncate(self, fd: int, size: int) -> None:
        POSIX.truncate(fd, size)

    def size(self, fd: int) -> int:
        return POSIX.size(fd)

    def rename(self, source: str, target: str) -> None:
        POSIX.rename(source, target)

    def remove(self, path: str) -> None:
        POSIX.remove(path)

    def flush_directory(self, path: str) -> None:
        POSIX.flush_directory(path)

    def lock(self, fd: int, start: int, size: int, mode: int) -> None:
        if not POSIX.lock(fd, start, size, mode):
            raise BlockingIOError(11, "locked by somebody else")

    def exists(self, path: str) -> bool:
        return POSIX.exists(path)

    def list_directory(self, path: str) -> list[str]:
        return POSIX.list_directory(path)

    def make_directory(self, path: str, mode: int) -> None:
        POSIX.make_directory(path, mode)

    def free_bytes(self, path: str) -> int:
        return POSIX.free_bytes(path)


def open_counted(folder: str, files: CountingFiles, cache_size: int = 1 << 26) -> rango.Database:
    """Open with a table of files that counts and a clock that is always the same."""
    return rango.open(
        folder,
        key=KEY,
        node_id="bench",
        clock=even_clock(),
        cache_size=cache_size,
        vfs=PythonVfs(files),
    )
