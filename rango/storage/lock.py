"""Who has the database open: the `lock` file.

Terms       user: one open of the database by one process. Alone: a user while no other one is
            there. Ranges: single bytes of the lock file, locked by the open file description.
Invariants  The kernel drops every lock when its holder dies, in whatever line, so nothing stays
            locked. Every user holds the alive byte shared; whoever gets it exclusively is alone and
            rebuilds what the file says (_ext/shared.pyx) before others come in. The contents are a
            hint, never a reason to believe anything.
Layout      byte 0: alive. Byte 1: recovery. Bytes 2 to 5: the long works of Work. The words and the
            table of users: _ext/shared.pyx.
States      acquire -> alone (the others wait) -> share -> among others -> release, or the death of
            the process. Among others -> retake_alone, if nobody else is there -> alone.
            A system without range locks, or a disk that is no system's: alone until release.
Failure     Alone is somebody else for longer than the wait: DatabaseBusy with a pid. On a file
            system that is read-only, or without permission to write the file, a reader goes on
            without a lock. Network file systems are refused: their locks do not hold.
Sources     fcntl(2), F_OFD_SETLK; architecture section 3.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, Literal, NamedTuple

from rango._ext.file_place import FilePlace
from rango._ext.process_lock import ProcessLock
from rango._ext.shared import (
    APPEND_OWNER_WORD,
    PLACES_LOCK,
    SHARED_SIZE,
    TABLE_OFFSET,
    USER_SIZE,
    Shared,
)
from rango._ext.vfs import (
    POSIX,
    RANGE_LOCKS,
    VFS_CREATE,
    VFS_EXCLUSIVE_LOCK,
    VFS_SHARED,
    VFS_UNLOCK,
    VFS_WRITE,
    Vfs,
)
from rango.errors import DatabaseBusy, IoFailed, ReadOnly

LOCK_FILE: Final = "lock"
ALIVE_BYTE: Final = 0
RECOVERY_BYTE: Final = 1
HOLDER_OFFSET: Final = 64
HOLDER: Final = struct.Struct("<QQ")
NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "smb", "smb2", "cifs", "9p", "fuse", "afs", "ceph"})

OPEN_WAIT_S: Final = 30.0
"""How long an open waits for whoever is alone: it recovers, or closes."""

WORK_WAIT_S: Final = 30.0
"""How long one long work waits for another of its kind."""

LOOK_S: Final = 0.002

LOOK_ENTRIES: Final = 1_024


class Work(IntEnum):
    """Long works that one process at a time does; the number is the byte that it locks."""

    CHECKPOINT = 2
    HISTORY = 3
    INDEX_BUILD = 4
    EXPIRY = 5


class DatabaseLock:
    """The hold of this process on one database directory.

    acquire() makes it, release() gives it up.
    """

    def __init__(self, vfs: Vfs, fd: int, shared: Shared, *, may_share: bool) -> None:
        self._vfs = vfs
        self._fd = fd
        self._may_share = may_share
        self._works: list[ProcessLock] = []
        self.shared = shared
        self._looked_at = 0
        self._had_company = False
        self._newest = 0
        self.place: FilePlace | None = None
        """Of the file of the system that is locked."""
        self.is_alone = True
        """Nobody else has the database open, and whoever comes waits."""

    @classmethod
    def acquire(
        cls,
        vfs: Vfs,
        directory: str,
        *,
        read_only: bool,
        now_ms: int,
        wait_s: float = OPEN_WAIT_S,
    ) -> DatabaseLock:
        """Come in, alone or among others. Raises DatabaseBusy, ReadOnly (a read-only mount) or
        IoFailed.
        """
        refuse_network(vfs, directory)
        path = os.path.join(directory, LOCK_FILE)
        fd = open_file(vfs, path, directory, read_only=read_only)
        if fd < 0:
            return cls(vfs, -1, alone_words(vfs), may_share=False)
        memory = vfs.shared_memory(path)
        may_share = RANGE_LOCKS if vfs is POSIX else memory is not None
        try:
            is_alone = (
                come_in(vfs, fd, directory, wait_s)
                if may_share
                else take_whole(vfs, fd, directory, read_only=read_only)
            )
            if vfs.size(fd) < SHARED_SIZE and (may_share or not read_only):
                # never a hole: a page that a full disk cannot give is a SIGBUS
                vfs.write(fd, bytes(SHARED_SIZE), 0)
            shared = Shared(vfs, fd, path if may_share else None, memory)
            lock = cls(vfs, fd, shared, may_share=may_share)
            if vfs is POSIX:
                lock.place = FilePlace(path, fd)
            if is_alone:
                shared.end()
            else:
                lock.is_alone = not shared.is_ready and lock.begin_recovery(read_only, wait_s)
            if may_share:
                shared.enter(now_ms)
                lock._newest = shared.newest
            if not read_only:
                vfs.write(fd, HOLDER.pack(os.getpid(), now_ms), HOLDER_OFFSET)
        except BaseException:
            vfs.close(fd)
            raise
        return lock

    def begin_recovery(self, read_only: bool, wait_s: float) -> bool:
        """Readers only are there, who found nobody, so nobody has rebuilt the words: whether this
        user is to do it. A reader writes nothing and goes on by itself.
        """
        if read_only:
            return True
        waited = 0.0
        while not self._vfs.lock(self._fd, RECOVERY_BYTE, 1, VFS_EXCLUSIVE_LOCK):
            if waited >= wait_s:
                raise busy(self._vfs, self._fd, "the database")
            time.sleep(LOOK_S)
            waited += LOOK_S
        if self.shared.is_ready:
            self._vfs.lock(self._fd, RECOVERY_BYTE, 1, VFS_UNLOCK)
            return False
        return True

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have this database open at the same time."""
        return self._may_share

    def had_company(self, entries: int) -> bool:
        """Whether another user is there, or came since the last checkpoint.

        `entries` of the overlay: it looks only when they are many more than when it last did.
        """
        if entries < self._looked_at:
            # a checkpoint came between
            self._looked_at, self._had_company = 0, False
        if self._may_share and entries - self._looked_at >= LOOK_ENTRIES:
            self._looked_at = entries
            came, self._newest = self.shared.newest != self._newest, self.shared.newest
            self._had_company = self._had_company or came or len(self.shared.users()) > 1
        return self._had_company

    def share(self) -> None:
        """Let others in: what the words say is true now. Raises IoFailed."""
        if self._may_share and self.is_alone:
            self.shared.tell()
            try:
                self._vfs.lock(self._fd, ALIVE_BYTE, 1, VFS_SHARED)
                self._vfs.lock(self._fd, RECOVERY_BYTE, 1, VFS_UNLOCK)
            except OSError as error:
                raise IoFailed(
                    f"the lock file cannot be locked: {error}; try again later"
                ) from error
            self.is_alone = False

    def retake_alone(self) -> bool:
        """Whether nobody else is there; then whoever comes waits for release()."""
        if self.place is not None and not self.place.is_kept():
            # whoever came since locks another file
            return False
        if self._may_share and not self.is_alone:
            try:
                self.is_alone = self._vfs.lock(self._fd, ALIVE_BYTE, 1, VFS_EXCLUSIVE_LOCK)
            except OSError:
                # no lock is to be had (ENOLCK): as if others were there, which is always right
                return False
        return self.is_alone

    def work(self, work: Work, name: str) -> ProcessLock:
        """The lock of one long work. `name` as in "a checkpoint"."""
        lock = ProcessLock(self._vfs, self._fd if self._may_share else -1, work, WORK_WAIT_S, name)
        self._works.append(lock)
        return lock

    def release(self) -> None:
        """Give the hold up; closing the descriptor drops the locks. Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            # the descriptor's number may be another file's soon
            for lock in self._works:
                lock.close()
            self.shared.leave()
            self._vfs.close(fd)


def open_file(vfs: Vfs, path: str, directory: str, *, read_only: bool) -> int:
    """The descriptor of the lock file; -1 for a reader that may not write it."""
    try:
        if read_only and not vfs.exists(path):
            return -1
        return vfs.open(path, VFS_WRITE | (0 if read_only else VFS_CREATE))
    except OSError as error:
        if read_only and error.errno in (errno.ENOENT, errno.EROFS, errno.EACCES):
            return -1
        if error.errno == errno.EROFS:
            raise ReadOnly(
                f"{directory} lies on a read-only mount; open it with read_only=True"
            ) from error
        raise IoFailed(
            f"{path} cannot be opened: {error.strerror}; check owner and mode"
        ) from error


def alone_words(vfs: Vfs) -> Shared:
    """Words of this process alone."""
    return Shared(vfs, -1)


def come_in(vfs: Vfs, fd: int, directory: str, wait_s: float) -> bool:
    """Hold the alive byte: whether exclusively. Raises DatabaseBusy."""
    waited = 0.0
    while True:
        if vfs.lock(fd, ALIVE_BYTE, 1, VFS_EXCLUSIVE_LOCK):
            return True
        if vfs.lock(fd, ALIVE_BYTE, 1, VFS_SHARED):
            return False
        if waited >= wait_s:
            raise busy(vfs, fd, directory)
        time.sleep(LOOK_S)
        waited += LOOK_S


def take_whole(vfs: Vfs, fd: int, directory: str, *, read_only: bool) -> bool:
    """Where processes cannot share: hold the database, readers beside readers. Raises
    DatabaseBusy, at once.
    """
    if not vfs.lock(fd, ALIVE_BYTE, 1, VFS_SHARED if read_only else VFS_EXCLUSIVE_LOCK):
        # readers share the byte and write nothing: what the file says is older than they
        if not read_only and vfs.lock(fd, ALIVE_BYTE, 1, VFS_SHARED):
            raise DatabaseBusy(
                f"{directory} is open read-only in another process; close it there, or retry later"
            )
        raise busy(vfs, fd, directory)
    return True


def busy(vfs: Vfs, fd: int, directory: str) -> DatabaseBusy:
    """The error that names who has the database."""
    words = vfs.read(fd, HOLDER.size, HOLDER_OFFSET)
    if len(words) < HOLDER.size:
        return DatabaseBusy(
            f"{directory} is open in another process; close it there, or retry later"
        )
    pid, _start = HOLDER.unpack(words)
    return DatabaseBusy(
        f"{directory} is open in process {pid}; close it there, or retry later", pid=pid
    )


class User(NamedTuple):
    """One open of the database by one process."""

    pid: int
    start_ms: int
    """When it came, in milliseconds since the epoch."""
    pinned: int | None
    """The oldest generation that it reads; its pages are not used again meanwhile."""
    is_writing: bool
    """It has the append lock: a transaction or a commit is under way."""


class LockState(NamedTuple):
    """Who has a database open, as lock_state() sees it."""

    held: Literal["no", "shared", "alone", "unknown"]
    """"alone": one process recovers or closes it, and others wait. "unknown": the operating
    system does not tell.
    """
    users: tuple[User, ...]


FLOCK: Final = struct.Struct("@hhqqi0q")
"""struct flock of 64-bit Linux: type, whence, start, size, pid."""

USER: Final = struct.Struct(f"={USER_SIZE // 8}Q")
"""A place in the table of users: id, pid, start, pinned generations + 1."""


def lock_state(directory: str) -> LockState:
    """Ask who has a database open without taking a lock, not even for a moment.

    OSError if the file cannot be opened; there is none in a database that was never opened.
    """
    file = os.open(os.path.join(directory, LOCK_FILE), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        words = os.pread(file, SHARED_SIZE, 0)
        try:
            held = HELD[locked_how(file, ALIVE_BYTE)]
        except OSError:
            return LockState("unknown", ())
        return LockState(held, () if held == "no" else tuple(users_in(file, words)))
    finally:
        os.close(file)


HELD: Final[dict[int, Literal["no", "shared", "alone"]]] = {
    fcntl.F_UNLCK: "no",
    fcntl.F_RDLCK: "shared",
    fcntl.F_WRLCK: "alone",
}


def locked_how(file: int, place: int) -> int:
    """Which lock somebody else has on a byte: F_RDLCK, F_WRLCK or, for none, F_UNLCK."""
    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    return int(FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))[0])


def users_in(file: int, words: bytes) -> Iterator[User]:
    """The users in the table that are alive."""
    if len(words) < SHARED_SIZE:
        return
    (owner,) = struct.unpack_from("=Q", words, 8 * APPEND_OWNER_WORD)
    for place, at in enumerate(range(TABLE_OFFSET, SHARED_SIZE, USER.size)):
        number, pid, start_ms, *pins = USER.unpack_from(words, at)
        if number and locked_how(file, PLACES_LOCK + place) != fcntl.F_UNLCK:
            oldest = min((pin - 1 for pin in pins if pin), default=None)
            yield User(pid, start_ms, oldest, number == owner)


def refuse_network(vfs: Vfs, directory: str) -> None:
    """Raise IoFailed on a file system whose locks and flushes cannot be trusted."""
    if vfs is not POSIX:
        return
    kind = vfs.file_system(directory)
    if kind in NETWORK_FILE_SYSTEMS:
        raise IoFailed(
            f"{directory} lies on a network file system ({kind}), whose locks and flushes do not "
            "hold; "
            "put the database on a local disk and let Rango sync it"
        )
