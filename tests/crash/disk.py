"""A disk that can lose power, with the methods that `PythonVfs` needs, a recorder and a fault plan.

Terms       pending, choice: see model.py. Image: the disk that a crash leaves behind, a new disk on
            which recording can go on. Copy: the disk that the death of all processes leaves.
Invariants  the log of operations, replayed on a copy of the disk from which it began, gives an
            equal disk with the same sequence numbers.
Failure     every method raises OSError(errno), as the system call would.
Sources     architecture section 7 (media assumptions), reliability facts 2.1 (S1-S3, S6).
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rango._ext.shared import SHARED_SIZE
from rango._ext.vfs import VFS_CREATE, VFS_EXCLUSIVE, VFS_EXCLUSIVE_LOCK, VFS_UNLOCK, VFS_WRITE
from tests.crash.model import FORCED, Choice, Directory, File, Naming, Write, file_image


class Site(NamedTuple):
    """Where a call came from."""

    kind: str
    file_class: str
    function: str


class Plan(Protocol):
    """Decides about every call; see faults.py."""

    def consult(self, kind: str, file_class: str, size: int) -> Fault | None: ...


class Fault(NamedTuple):
    """What happens to a call instead: an error (0: short) after `done` bytes, or after all."""

    error: int
    done: int = 0
    performed: bool = False
    evicted: bool = False


def file_class(path: str) -> str:
    """The kind of file that a path of a database names, for reports."""
    name = path.rsplit("/", 1)[-1]
    for ending, kind in ((".rgo", "segment"), (".rgo.new", "segment.new")):
        if name.endswith(ending):
            return kind
    if name.endswith((".cut", ".cut.new")):
        return "cut"
    if name.startswith("data."):
        return "data"
    return name


def fail(code: int, path: str | None = None) -> OSError:
    return OSError(code, os.strerror(code), path)


class Handle(NamedTuple):
    file: File
    path: str
    file_class: str
    is_writable: bool


class Disk:
    """Files and directories with the methods of `VfsImplementation`, a recorder and a fault plan.

    `log` holds every operation that changed something (the crash points); `replay` applies one of
    them to another disk in the state from which the log began.
    """

    def __init__(self, *, capacity: int | None = None) -> None:
        self.mutex = threading.Lock()
        self.files: dict[int, File] = {}
        self.directories: dict[str, Directory] = {"/": Directory(1, "/", {})}
        self.removed: dict[int, Directory] = {}
        self.next_number = 2
        self.sequence = 0
        self.epoch = 0  # counts what became durable; images of one epoch differ by choice only
        self.handles: dict[int, Handle] = {}
        self.next_fd = 1 << 20
        self.capacity = capacity
        self.plan: Plan | None = None
        self.log: list[tuple[object, ...]] | None = None
        self.log_sites: list[Site] = []
        self.sites: dict[Site, int] = {}
        self.is_watched = False
        self.calls = 0
        self.failed_flushes: set[int] = set()
        self.failed_directories: set[str] = set()
        self.flush_retries = 0
        self.last_site = Site("", "", "")
        self.is_shared = False
        """Several users may have a database on this disk open, as several processes have."""
        self.memories: dict[str, bytearray] = {}
        self.on_call: Callable[[str, str], None] | None = None

    # --- recording ------------------------------------------------------------------------------

    def record(self) -> list[tuple[object, ...]]:
        """Start recording: the log of operations, and who made them."""
        self.log = []
        self.log_sites = []
        self.is_watched = True
        return self.log

    def _watch(self, kind: str, owner: str, size: int = 0) -> Fault | None:
        """Counts a call, remembers where it came from, and asks the plan about it."""
        self.calls += 1
        if self.is_watched:
            frame = sys._getframe(2)
            site = Site(kind, owner, f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}")
            self.sites[site] = self.sites.get(site, 0) + 1
            self.last_site = site
        if self.on_call is not None:
            self.on_call(kind, owner)
        if self.plan is None:
            return None
        return self.plan.consult(kind, owner, size)

    def _log(self, *operation: object) -> None:
        if self.log is not None:
            self.log.append(operation)
            self.log_sites.append(self.last_site)

    def replay(self, operation: tuple[object, ...]) -> None:
        """Applies one recorded operation."""
        getattr(self, "_do_" + str(operation[0]))(*operation[1:])

    # --- operations on the model: each is one crash point -----------------------------------------

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence

    def _do_write(self, number: int, offset: int, data: bytes) -> None:
        self.files[number].write(self._next(), offset, data)

    def _do_truncate(self, number: int, size: int) -> None:
        self.files[number].resize(self._next(), size)

    def _do_flush(self, number: int) -> None:
        if self.files[number].pending:
            self.epoch += 1
            self.files[number].flush()

    def _do_lose(self, number: int, evicted: bool) -> None:
        self.epoch += 1
        self.files[number].lose(evicted)

    def _do_create(self, folder: str, name: str) -> None:
        number = self.next_number
        self.next_number += 1
        self.files[number] = File(number)
        self.directories[folder].change(self._next(), name, number, None)

    def _do_make_directory(self, folder: str, name: str) -> None:
        number = self.next_number
        self.next_number += 1
        path = os.path.join(folder, name)
        self.directories[path] = Directory(number, path, {})
        self.directories[folder].change(self._next(), name, number, None)

    def _do_rename(self, source: str, name: str, target: str, new_name: str) -> None:
        number = self.directories[source].entries[name]
        if source == target:
            self.directories[source].change(self._next(), new_name, number, name)
        else:
            arrival = self._next()
            self.directories[target].change(arrival, new_name, number, None)
            self.directories[source].change(self._next(), None, number, name, arrival)

    def _do_remove(self, folder: str, name: str) -> None:
        directory = self.directories[folder]
        number = directory.entries[name]
        directory.change(self._next(), None, number, name)
        if number not in self.files:
            self.removed[number] = self.directories.pop(os.path.join(folder, name))

    def _do_flush_directory(self, folder: str) -> None:
        directory = self.directories[folder]
        waiting = self.namings()
        if any(naming.arrival in waiting for naming in directory.pending):
            raise AssertionError(f"flush where a file was moved to before {folder}")
        if directory.pending:
            self.epoch += 1
            directory.flush()

    # --- crashes --------------------------------------------------------------------------------

    def pending(self) -> list[tuple[File | Directory, Write | Naming]]:
        """Everything that a crash may keep or drop, oldest first."""
        found: list[tuple[File | Directory, Write | Naming]] = []
        for file in self.files.values():
            found += [(file, write) for write in file.pending if write.state != FORCED]
        for directory in (*self.directories.values(), *self.removed.values()):
            found += [(directory, naming) for naming in directory.pending]
        found.sort(key=lambda item: item[1].sequence)
        return found

    def namings(self) -> set[int]:
        """Every pending change of a directory."""
        listed = [*self.directories.values(), *self.removed.values()]
        return {naming.sequence for directory in listed for naming in directory.pending}

    def image(self, choice: Choice) -> Disk:
        """The disk that a crash leaves behind: everything durable, nothing open, nothing locked."""
        result = Disk(capacity=self.capacity)
        result.next_number = self.next_number
        result.directories = {}
        waiting = self.namings()
        # a removal may be lost, so those that were removed count too; parents come first
        listed = [*self.directories.values(), *self.removed.values()]
        for directory in sorted(listed, key=lambda each: each.path):
            path = directory.path
            parent, _, name = path.rpartition("/")
            if path != "/":
                above = result.directories.get(parent or "/")
                if above is None or above.entries.get(name) != directory.number:
                    continue
            entries = directory.image(choice, waiting)
            result.directories[path] = Directory(directory.number, path, entries)
            for number in entries.values():
                file = self.files.get(number)
                if file is not None:
                    result.files[number] = File(number, file_image(file, choice))
        return result

    def copy(self) -> Disk:
        """The disk that the death of all processes leaves behind: as it is, pending included."""
        result = Disk(capacity=self.capacity)
        result.next_number = self.next_number
        result.sequence = self.sequence
        result.epoch = self.epoch
        for number, file in self.files.items():
            result.files[number] = file.copy()
        result.directories = {path: each.copy() for path, each in self.directories.items()}
        result.removed = {number: each.copy() for number, each in self.removed.items()}
        return result

    # --- VfsImplementation ------------------------------------------------------------------------

    def _split(self, path: str) -> tuple[str, str]:
        folder, _, name = path.rpartition("/")
        if name in ("", ".", "..") or "//" in path or "/." in path or not path.startswith("/"):
            folder, _, name = os.path.normpath(os.path.join("/", path)).rpartition("/")
        return folder or "/", name

    def _directory(self, path: str, whole: str) -> Directory:
        directory = self.directories.get(path)
        if directory is None:
            raise fail(errno.ENOENT, whole)
        return directory

    def _handle(self, fd: int) -> Handle:
        handle = self.handles.get(fd)
        if handle is None:
            raise fail(errno.EBADF)
        return handle

    def open(self, path: str, flags: int) -> int:
        with self.mutex:
            folder, name = self._split(path)
            owner = file_class(path)
            directory = self._directory(folder, path)
            number = directory.entries.get(name)
            fault = self._watch("create" if number is None else "open", owner)
            if fault is not None and fault.error:
                raise fail(fault.error, path)
            if number is None:
                if not flags & VFS_CREATE:
                    raise fail(errno.ENOENT, path)
                if self.capacity is not None and self._free() <= 0:
                    raise fail(errno.ENOSPC, path)
                self._log("create", folder, name)
                self._do_create(folder, name)
                number = directory.entries[name]
            elif flags & VFS_EXCLUSIVE:
                raise fail(errno.EEXIST, path)
            file = self.files.get(number)
            if file is None:
                raise fail(errno.EISDIR, path)
            fd = self.next_fd
            self.next_fd += 1
            self.handles[fd] = Handle(file, path, owner, bool(flags & VFS_WRITE))
            return fd

    def close(self, fd: int) -> None:
        with self.mutex:
            handle = self._handle(fd)
            del self.handles[fd]
            self.failed_flushes.discard(fd)
            handle.file.locks = [lock for lock in handle.file.locks if lock[0] != fd]

    def read(self, fd: int, size: int, offset: int) -> bytes:
        with self.mutex:
            handle = self._handle(fd)
            fault = self._watch("read", handle.file_class, size)
            if fault is not None:
                if fault.error:
                    raise fail(fault.error)
                size = max(1, min(size, fault.done))
            return bytes(memoryview(handle.file.content)[offset : offset + size])

    def write(self, fd: int, data: bytes, offset: int) -> int:
        with self.mutex:
            handle = self._handle(fd)
            if not handle.is_writable:
                raise fail(errno.EBADF)
            fault = self._watch("write", handle.file_class, len(data))
            if fault is not None:
                data = data if fault.performed else data[: fault.done]
            room = len(data)
            if self.capacity is not None:
                grown = offset + len(data) - handle.file.allocated
                if grown > 0:
                    room = max(0, len(data) - max(0, grown - self._free()))
                if room == 0 and data:
                    raise fail(errno.ENOSPC)
            if room:
                data = data[:room]
                self._log("write", handle.file.number, offset, data)
                self._do_write(handle.file.number, offset, data)
            if fault is not None and fault.error:
                raise fail(fault.error)
            return room

    def flush(self, fd: int) -> None:
        with self.mutex:
            handle = self._handle(fd)
            fault = self._watch("flush", handle.file_class)
            if fd in self.failed_flushes:
                self.flush_retries += 1
            number = handle.file.number
            if fault is not None:
                self.failed_flushes.add(fd)
                self._log("lose", number, fault.evicted)
                self._do_lose(number, fault.evicted)
                raise fail(fault.error)
            self._log("flush", number)
            self._do_flush(number)

    def truncate(self, fd: int, size: int) -> None:
        with self.mutex:
            handle = self._handle(fd)
            if not handle.is_writable:
                raise fail(errno.EINVAL)
            fault = self._watch("truncate", handle.file_class)
            if fault is None or fault.performed:
                self._log("truncate", handle.file.number, size)
                self._do_truncate(handle.file.number, size)
            if fault is not None:
                raise fail(fault.error)

    def size(self, fd: int) -> int:
        return len(self._handle(fd).file.content)

    def rename(self, source: str, target: str) -> None:
        with self.mutex:
            folder, name = self._split(source)
            new_folder, new_name = self._split(target)
            directory = self._directory(folder, source)
            goal = self._directory(new_folder, target)
            if directory.entries.get(name) not in self.files:
                raise fail(errno.ENOENT, source)
            if new_name in goal.entries and goal.entries[new_name] not in self.files:
                raise fail(errno.EISDIR, target)
            fault = self._watch("rename", file_class(target))
            if fault is None or fault.performed:
                self._log("rename", folder, name, new_folder, new_name)
                self._do_rename(folder, name, new_folder, new_name)
                for fd, handle in self.handles.items():
                    if handle.path == source:
                        named = handle._replace(path=target, file_class=file_class(target))
                        self.handles[fd] = named
            if fault is not None:
                raise fail(fault.error)

    def remove(self, path: str) -> None:
        with self.mutex:
            folder, name = self._split(path)
            number = self._directory(folder, path).entries.get(name)
            if number is None:
                raise fail(errno.ENOENT, path)
            if number not in self.files and self._directory(path, path).entries:
                raise fail(errno.ENOTEMPTY, path)
            fault = self._watch("remove", file_class(path))
            if fault is None or fault.performed:
                self._log("remove", folder, name)
                self._do_remove(folder, name)
            if fault is not None:
                raise fail(fault.error)

    def flush_directory(self, path: str) -> None:
        with self.mutex:
            folder = os.path.normpath(os.path.join("/", path))
            self._directory(folder, path)
            fault = self._watch("flush_directory", "directory")
            if folder in self.failed_directories:
                self.flush_retries += 1
            if fault is not None:
                self.failed_directories.add(folder)
                raise fail(fault.error)
            self._log("flush_directory", folder)
            self._do_flush_directory(folder)

    def lock(self, fd: int, start: int, size: int, mode: int) -> None:
        with self.mutex:
            handle = self._handle(fd)
            fault = self._watch("lock", handle.file_class)
            if fault is not None:
                raise fail(fault.error)
            end = start + size if size else 1 << 63
            locks = handle.file.locks
            for holder, lower, upper, held in locks:
                is_met = holder != fd and lower < end and start < upper
                if is_met and mode != VFS_UNLOCK and VFS_EXCLUSIVE_LOCK in (mode, held):
                    raise fail(errno.EAGAIN)
            kept = []
            for lock in locks:
                holder, lower, upper, held = lock
                if holder != fd or upper <= start or end <= lower:
                    kept.append(lock)
                    continue
                if lower < start:
                    kept.append((fd, lower, start, held))
                if end < upper:
                    kept.append((fd, end, upper, held))
            if mode != VFS_UNLOCK:
                kept.append((fd, start, end, mode))
            handle.file.locks = kept

    def shared_memory(self, path: str) -> bytearray | None:
        """What all who have the lock file open share; a crash leaves nothing of it."""
        if not self.is_shared:
            return None
        return self.memories.setdefault(path, bytearray(SHARED_SIZE))

    def exists(self, path: str) -> bool:
        folder = os.path.normpath(os.path.join("/", path))
        if folder in self.directories:
            return True
        above, name = self._split(path)
        return above in self.directories and name in self.directories[above].entries

    def list_directory(self, path: str) -> list[str]:
        folder = os.path.normpath(os.path.join("/", path))
        if folder not in self.directories and self.exists(path):
            raise fail(errno.ENOTDIR, path)
        return list(self._directory(folder, path).entries)

    def make_directory(self, path: str, mode: int) -> None:
        with self.mutex:
            folder, name = self._split(path)
            if not name or name in self._directory(folder, path).entries:
                raise fail(errno.EEXIST, path)
            fault = self._watch("make_directory", "directory")
            if fault is not None:
                raise fail(fault.error)
            self._log("make_directory", folder, name)
            self._do_make_directory(folder, name)

    def _free(self) -> int:
        named = {n for directory in self.directories.values() for n in directory.entries.values()}
        named |= {handle.file.number for handle in self.handles.values()}
        used = sum(file.allocated for file in self.files.values() if file.number in named)
        return max(0, (self.capacity or 0) - used)

    def free_bytes(self, path: str) -> int:
        return 1 << 40 if self.capacity is None else self._free()
