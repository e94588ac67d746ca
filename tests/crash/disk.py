"""A disk that can lose power: what `PythonVfs` needs, with what is durable kept apart from what is not.

Terms       pending: done since the last flush, so a crash may keep, drop or tear it. Lost: pending
            when a flush failed; no later flush makes it durable (fsyncgate). Forced: flushed on top
            of something lost. Choice: what one crash keeps of each pending operation. Image: the
            disk that a crash leaves behind, a new disk on which recording can go on.
Invariants  A write changes only its own bytes; what a flush covered survives; names and content are
            independent (a flush of a file does not flush its name); an atomic rename leaves the
            old name, the new one or both, never none.
Failure     every method raises OSError(errno), as the system call would.
Sources     architecture section 7 (media assumptions), reliability facts 2.1 (S1-S3, S6).
"""

from __future__ import annotations

import errno
import os
import random
import sys
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from rango._ext.vfs import VFS_CREATE, VFS_EXCLUSIVE, VFS_EXCLUSIVE_LOCK, VFS_UNLOCK, VFS_WRITE

SECTOR = 512

OPEN, LOST, FORCED = 0, 1, 2

# What a crash does with one pending operation. The argument of a torn one says where or how.
DROP, WHOLE, PREFIX, SUFFIX, SECTORS, GARBAGE, ZEROS, BYTES, BOTH_NAMES = range(9)
TORN = (PREFIX, SUFFIX, SECTORS, GARBAGE, ZEROS, BYTES)

# What a crash does with the growth of a file.
SIZE_AS_WRITTEN, SIZE_KEPT_BACK, SIZE_ZEROS, SIZE_GARBAGE = range(4)

_GARBAGE = random.Random(0x52414E47).randbytes(1 << 17)


class Write(NamedTuple):
    """A pending write; or, with data None, a pending change of size to `offset`."""

    sequence: int
    offset: int
    data: bytes | None
    state: int


class Naming(NamedTuple):
    """A pending change of one directory: name -> number, or the removal of a name, or both."""

    sequence: int
    added: str | None
    number: int
    removed: str | None


class Choice(NamedTuple):
    """What one crash keeps: (mode, argument) by sequence of the operation, size mode by file."""

    modes: dict[int, tuple[int, int]]
    sizes: dict[int, int]
    order_seed: int

    def signature(self) -> tuple[object, ...]:
        """Equal for two choices that leave the same image of the same disk."""
        kept = tuple((k, m) for k, m in sorted(self.modes.items()) if m[0] != DROP)
        sizes = tuple((k, m) for k, m in sorted(self.sizes.items()) if m != SIZE_AS_WRITTEN)
        return kept, sizes, self.order_seed


class Site(NamedTuple):
    """Where a call came from."""

    kind: str
    file_class: str
    function: str


class Plan(Protocol):
    """Decides about every call; see faults.py."""

    def consult(self, kind: str, file_class: str, size: int) -> Fault | None: ...


class Fault(NamedTuple):
    """What happens to a call instead: an error, after `done` bytes or after all of it; or 0 = short."""

    error: int
    done: int = 0
    performed: bool = False
    evicted: bool = False


def file_class(path: str) -> str:
    """The kind of file that a path of a database names, for reports."""
    name = path.rsplit("/", 1)[-1]
    if name.endswith(".rgo"):
        return "segment"
    if name.startswith("data."):
        return "data"
    return name.split(".")[0] if "." in name else name


def fail(code: int, path: str | None = None) -> OSError:
    return OSError(code, os.strerror(code), path)


class File:
    """One file: what programs see, what is durable, and the operations between the two."""

    __slots__ = ("allocated", "content", "durable", "locks", "number", "pending")

    def __init__(self, number: int, content: bytes = b"") -> None:
        self.number = number
        self.content: bytes | bytearray = content  # bytes: shared with other disks, copy first
        self.durable: bytes | bytearray = content
        self.pending: list[Write] = []
        self.allocated = len(content)
        self.locks: list[tuple[int, int, int, int]] = []

    def write(self, sequence: int, offset: int, data: bytes) -> None:
        if type(self.content) is bytes:
            self.content = bytearray(self.content)
        put(self.content, offset, data)  # type: ignore[arg-type]
        self.allocated = max(self.allocated, offset + len(data))
        self.pending.append(Write(sequence, offset, data, OPEN))

    def resize(self, sequence: int, size: int) -> None:
        if type(self.content) is bytes:
            self.content = bytearray(self.content)
        cut(self.content, size)  # type: ignore[arg-type]
        self.allocated = min(self.allocated, size)
        self.pending.append(Write(sequence, size, None, OPEN))

    def flush(self) -> None:
        if any(write.state != OPEN for write in self.pending):
            self.pending = [
                write._replace(state=FORCED) if write.state == OPEN else write
                for write in self.pending
            ]
            return
        if type(self.durable) is bytes:
            self.durable = bytearray(self.durable)
        for _, offset, data, _ in self.pending:
            if data is None:
                cut(self.durable, offset)  # type: ignore[arg-type]
            else:
                put(self.durable, offset, data)  # type: ignore[arg-type]
        self.pending = []

    def lose(self, evicted: bool) -> None:
        """A flush failed: what was pending counts as clean from now on, durable or not."""
        self.pending = [
            write._replace(state=LOST) if write.state == OPEN else write for write in self.pending
        ]
        if evicted:
            self.content = bytes(self.forced())

    def frozen(self) -> bytes:
        """The durable content as bytes that other disks may share."""
        if type(self.durable) is not bytes:
            self.durable = bytes(self.durable)
        return self.durable

    def forced(self) -> bytearray:
        """What survives any crash."""
        content = bytearray(self.durable)
        for _, offset, data, state in self.pending:
            if state == FORCED:
                cut(content, offset) if data is None else put(content, offset, data)
        return content


def put(content: bytearray, offset: int, data: bytes) -> None:
    """Writes data at offset; a gap before it reads as zeros."""
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def cut(content: bytearray, size: int) -> None:
    """Makes content exactly size bytes long."""
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def garbage(seed: int, size: int) -> bytes:
    start = (seed * 7919) % (len(_GARBAGE) - 4096)
    piece = _GARBAGE[start : start + size]
    while len(piece) < size:
        piece += _GARBAGE[: size - len(piece)]
    return piece


def put_torn(content: bytearray, offset: int, data: bytes, mode: int, argument: int) -> None:
    """Persists part of a write. Sector edges are those of the file; only the write's bytes change.

    A sector that holds the written bytes already stays as it is: I-17 rewrites a tail in place with
    the same bytes, and stands on the assumption that this cannot damage it.
    """
    size = len(data)
    edges = [0, *range(SECTOR - offset % SECTOR, size, SECTOR), size]
    count = len(edges) - 1
    if mode == BYTES:
        at = 1 + argument % max(1, size - 1)
        put(content, offset, data[:at])
        if argument & 1:  # the sector in which it stopped is neither old nor new
            end = min(size, at + SECTOR - (offset + at) % SECTOR)
            if content[offset + at : offset + end] != data[at:end]:
                put(content, offset + at, garbage(argument, end - at))
        return
    if mode in (PREFIX, SUFFIX):
        at = edges[1 + argument % max(1, count - 1)] if count > 1 else size // 2
        if mode == PREFIX:
            put(content, offset, data[:at])
        else:
            put(content, offset + at, data[at:])
        return
    kept = random.Random(argument).getrandbits(count) if count > 1 else 0
    for n in range(count):
        start, end = edges[n], edges[n + 1]
        if (kept >> n) & 1:
            put(content, offset + start, data[start:end])
        elif content[offset + start : offset + end] == data[start:end]:
            continue
        elif mode == GARBAGE:
            put(content, offset + start, garbage(argument + n, end - start))
        elif mode == ZEROS:
            put(content, offset + start, bytes(end - start))


def ordered(pending: list[Write], seed: int) -> Iterable[Write]:
    """The pending operations, writes between two changes of size in another order if seed is set."""
    if not seed:
        return pending
    rng = random.Random(seed)
    result: list[Write] = []
    run: list[Write] = []
    for write in pending:
        if write.data is None or write.state == FORCED:
            rng.shuffle(run)
            result += [*run, write]
            run = []
        else:
            run.append(write)
    rng.shuffle(run)
    return result + run


def file_image(file: File, choice: Choice) -> bytes:
    """The content that a crash leaves of a file."""
    if not file.pending:
        return file.frozen()
    content = bytearray(file.durable)
    modes = choice.modes
    for sequence, offset, data, state in ordered(file.pending, choice.order_seed):
        mode, argument = (WHOLE, 0) if state == FORCED else modes.get(sequence, (DROP, 0))
        if mode == DROP:
            continue
        if data is None:
            cut(content, offset)
        elif mode == WHOLE:
            put(content, offset, data)
        else:
            put_torn(content, offset, data, mode, argument)
    size_mode = choice.sizes.get(file.number, SIZE_AS_WRITTEN)
    if size_mode == SIZE_KEPT_BACK:
        kept = len(file.forced())
        del content[kept:]
    elif size_mode != SIZE_AS_WRITTEN:
        missing = len(file.content) - len(content)
        if missing > 0:
            filler = garbage(file.number + choice.order_seed, missing)
            content.extend(filler if size_mode == SIZE_GARBAGE else bytes(missing))
    return bytes(content)


class Directory:
    """One directory: the names that programs see, the durable ones, and the changes between."""

    __slots__ = ("durable", "entries", "number", "path", "pending")

    def __init__(self, number: int, path: str, entries: dict[str, int]) -> None:
        self.number = number
        self.path = path
        self.entries = entries
        self.durable = dict(entries)
        self.pending: list[Naming] = []

    def change(self, sequence: int, added: str | None, number: int, removed: str | None) -> None:
        naming = Naming(sequence, added, number, removed)
        rename_entries(self.entries, naming, WHOLE)
        self.pending.append(naming)

    def flush(self) -> None:
        for naming in self.pending:
            rename_entries(self.durable, naming, WHOLE)
        self.pending = []

    def image(self, choice: Choice) -> dict[str, int]:
        entries = dict(self.durable)
        for naming in self.pending:
            mode = choice.modes.get(naming.sequence, (DROP, 0))[0]
            if mode != DROP:
                rename_entries(entries, naming, mode)
        return entries


def rename_entries(entries: dict[str, int], naming: Naming, mode: int) -> None:
    _, added, number, removed = naming
    if removed is not None and mode != BOTH_NAMES and entries.get(removed) == number:
        # A later file of the same name must not go with an earlier one's removal.
        del entries[removed]
    if added is not None:
        entries[added] = number


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
            self.directories[target].change(self._next(), new_name, number, None)
            self.directories[source].change(self._next(), None, number, name)

    def _do_remove(self, folder: str, name: str) -> None:
        directory = self.directories[folder]
        directory.change(self._next(), None, directory.entries[name], name)

    def _do_flush_directory(self, folder: str) -> None:
        if self.directories[folder].pending:
            self.epoch += 1
            self.directories[folder].flush()

    # --- crashes --------------------------------------------------------------------------------

    def pending(self) -> list[tuple[File | Directory, Write | Naming]]:
        """Everything that a crash may keep or drop, oldest first."""
        found: list[tuple[File | Directory, Write | Naming]] = []
        for file in self.files.values():
            found += [(file, write) for write in file.pending if write.state != FORCED]
        for directory in self.directories.values():
            found += [(directory, naming) for naming in directory.pending]
        found.sort(key=lambda item: item[1].sequence)
        return found

    def image(self, choice: Choice) -> Disk:
        """The disk that a crash leaves behind: everything durable, nothing open, nothing locked."""
        result = Disk(capacity=self.capacity)
        result.next_number = self.next_number
        result.directories = {}
        for path, directory in self.directories.items():  # parents come before what is in them
            parent, _, name = path.rpartition("/")
            if path == "/":
                entries = directory.image(choice)
            else:
                above = result.directories.get(parent or "/")
                if above is None or above.entries.get(name) != directory.number:
                    continue
                entries = directory.image(choice)
            result.directories[path] = Directory(directory.number, path, entries)
            for number in entries.values():
                file = self.files.get(number)
                if file is not None:
                    result.files[number] = File(number, file_image(file, choice))
        return result

    def clone(self) -> Disk:
        """A disk in the same state with everything that is visible now durable."""
        everything = {item[1].sequence: (WHOLE, 0) for item in self.pending()}
        return self.image(Choice(everything, {}, 0))

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
            if fault is not None:
                raise fail(fault.error)

    def remove(self, path: str) -> None:
        with self.mutex:
            folder, name = self._split(path)
            number = self._directory(folder, path).entries.get(name)
            if number is None:
                raise fail(errno.ENOENT, path)
            if number not in self.files:
                raise fail(errno.EISDIR, path)
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
                if holder != fd and lower < end and start < upper:
                    if mode != VFS_UNLOCK and VFS_EXCLUSIVE_LOCK in (mode, held):
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
