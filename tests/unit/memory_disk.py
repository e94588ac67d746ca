"""A disk in memory for PythonVfs: it counts calls, fails on request, and can lose its power.

What was written and not flushed may be lost or torn by sectors; names that were not flushed with
their directory may be lost. Made for the tests of the log; small on purpose.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

SECTOR = 512

Fault = Callable[[str, str, int], int | None]
"""(operation, path, size) -> errno to fail with, or None."""


class File:
    """What is written, what is on the medium, and the writes between."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.synced = bytes(data)
        self.pending: list[tuple[int, bytes | None]] = []


class MemoryDisk:
    """The object behind a PythonVfs."""

    def __init__(self) -> None:
        self.names: dict[str, File] = {}
        self.synced_names: dict[str, File] = {}
        self.folders: set[str] = set()
        self.fds: dict[int, tuple[str, File]] = {}
        self.next_fd = 3
        self.fault: Fault | None = None
        self.calls: list[tuple[str, str, int]] = []
        self.is_short = False
        self.capacity = 1 << 40

    def _call(self, operation: str, path: str, size: int = 0) -> None:
        self.calls.append((operation, os.path.basename(path), size))
        if self.fault is not None and (code := self.fault(operation, path, size)):
            raise OSError(code, os.strerror(code))

    def count(self, operation: str) -> int:
        """How often an operation was called."""
        return sum(call[0] == operation for call in self.calls)

    def open(self, path: str, flags: int) -> int:
        if path not in self.names:
            if not flags & 2:
                raise OSError(errno.ENOENT, "no such file")
            self._call("create", path)
            self.names[path] = File()
        self.next_fd += 1
        self.fds[self.next_fd] = (path, self.names[path])
        return self.next_fd

    def close(self, fd: int) -> None:
        del self.fds[fd]

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self.fds[fd][1].data[offset : offset + size])

    def write(self, fd: int, data: bytes, offset: int) -> int:
        path, file = self.fds[fd]
        if self.is_short and len(data) > 1:
            data = data[: len(data) // 2]
        self._call("write", path, len(data))
        growth = max(0, offset + len(data) - len(file.data))
        room = self.capacity - sum(len(other.data) for other in self.names.values())
        if growth > room:
            data = data[: len(data) - growth + max(room, 0)]
            if not data:
                raise OSError(errno.ENOSPC, "no space left")
        put(file.data, offset, data)
        file.pending.append((offset, bytes(data)))
        return len(data)

    def flush(self, fd: int) -> None:
        path, file = self.fds[fd]
        try:
            self._call("flush", path)
        except OSError:
            # what the system does after a failed flush: the pages are clean and not on the medium
            file.pending.clear()
            raise
        file.synced = bytes(file.data)
        file.pending.clear()

    def truncate(self, fd: int, size: int) -> None:
        path, file = self.fds[fd]
        self._call("truncate", path, size)
        del file.data[size:]
        file.pending.append((size, None))

    def size(self, fd: int) -> int:
        return len(self.fds[fd][1].data)

    def rename(self, source: str, target: str) -> None:
        self._call("rename", target)
        self.names[target] = self.names.pop(source)
        for fd, (path, file) in self.fds.items():
            if path == source:
                self.fds[fd] = (target, file)

    def remove(self, path: str) -> None:
        self._call("remove", path)
        if path in self.folders:
            self.folders.remove(path)
        else:
            del self.names[path]

    def flush_directory(self, path: str) -> None:
        self._call("flush_directory", path)
        inside = {name: file for name, file in self.names.items() if os.path.dirname(name) == path}
        outside = {
            name: file for name, file in self.synced_names.items() if os.path.dirname(name) != path
        }
        self.synced_names = outside | inside

    def lock(self, fd: int, start: int, size: int, mode: int) -> None:
        """Nobody else is here."""

    def exists(self, path: str) -> bool:
        return path in self.names or path in self.folders

    def list_directory(self, path: str) -> list[str]:
        return [os.path.basename(name) for name in self.names if os.path.dirname(name) == path]

    def make_directory(self, path: str, mode: int) -> None:
        self.folders.add(path)

    def free_bytes(self, path: str) -> int:
        return 1 << 40

    def after_power_cut(self, choice: random.Random) -> MemoryDisk:
        """What the medium holds if the power goes now: any part of what was not flushed."""
        disk = MemoryDisk()
        disk.folders = set(self.folders)
        for name in {*self.names, *self.synced_names}:
            file = (self.names if choice.random() < 0.5 else self.synced_names).get(name)
            if file is not None:
                disk.names[name] = File(torn(file, choice))
        disk.synced_names = dict(disk.names)
        return disk

    def after_kill(self) -> MemoryDisk:
        """What the next process sees when this one is killed: everything, still unflushed."""
        self.fds.clear()
        self.fault = None
        return self


def failing(operation: str, code: int) -> Fault:
    """A fault for every call of one operation."""
    return lambda called, _path, _size: code if called == operation else None


def torn(file: File, choice: random.Random) -> bytes:
    """The flushed content and some sectors of what was written since."""
    data = bytearray(file.synced)
    luck = choice.choice([0.0, 0.3, 0.7, 1.0])
    for offset, piece in file.pending:
        if piece is None:
            if choice.random() < luck:
                del data[offset:]
            continue
        at = offset
        while at < offset + len(piece):
            end = min((at // SECTOR + 1) * SECTOR, offset + len(piece))
            if choice.random() < luck:
                put(data, at, piece[at - offset : end - offset])
            at = end
    return bytes(data)


def put(data: bytearray, offset: int, piece: bytes) -> None:
    """Write into a growing byte array."""
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece
