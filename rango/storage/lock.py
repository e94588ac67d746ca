"""Who has the database open: the `lock` file.

Terms       alive byte: the byte that every user of a database holds; a holder: the process that
            holds it exclusively.
Invariants  One process at a time has the database open for writing; the kernel drops the lock when
            the holder dies, so nothing
            stays locked. The contents are a hint for messages, never a reason to believe anything.
Layout      byte 0: alive, locked as an open-file-description range. From byte 64: pid u64, start
            u64 (milliseconds since the
            epoch), both little-endian. 4 KiB, never shrunk.
States      free -> held (acquire) -> free (release, or the death of the process)
Failure     Held by another process: DatabaseBusy with its pid, at once. On a file system that is
            read-only a reader goes on
            without a lock. Network file systems are refused: their locks do not hold.
Sources     fcntl(2), F_OFD_SETLK; architecture section 3.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final, Literal, NamedTuple

from rango._ext.vfs import (
    POSIX,
    VFS_CREATE,
    VFS_EXCLUSIVE_LOCK,
    VFS_READ,
    VFS_SHARED,
    VFS_WRITE,
    Vfs,
)
from rango.errors import DatabaseBusy, IoFailed, ReadOnly

LOCK_FILE: Final = "lock"
ALIVE_BYTE: Final = 0
HOLDER_OFFSET: Final = 64
HOLDER: Final = struct.Struct("<QQ")
LOCK_SIZE: Final = 4096
NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "smb", "smb2", "cifs", "9p", "fuse", "afs", "ceph"})


class DatabaseLock:
    """The hold of this process on one database directory.

    acquire() makes it, release() gives it up.
    """

    def __init__(self, vfs: Vfs, fd: int) -> None:
        self._vfs = vfs
        self._fd = fd

    @classmethod
    def acquire(cls, vfs: Vfs, directory: str, *, read_only: bool, now_ms: int) -> DatabaseLock:
        """Hold the database, exclusively unless read_only.

        Raises DatabaseBusy (at once), ReadOnly (a read-only mount) or IoFailed.
        """
        refuse_network(vfs, directory)
        path = os.path.join(directory, LOCK_FILE)
        try:
            fd = vfs.open(path, VFS_READ if read_only else VFS_WRITE | VFS_CREATE)
        except OSError as error:
            if read_only and error.errno in (errno.ENOENT, errno.EROFS, errno.EACCES):
                return cls(vfs, -1)
            if error.errno == errno.EROFS:
                raise ReadOnly(
                    f"{directory} lies on a read-only mount; open it with read_only=True"
                ) from error
            raise IoFailed(
                f"{path} cannot be opened: {error.strerror}; check owner and mode"
            ) from error
        try:
            mode = VFS_SHARED if read_only else VFS_EXCLUSIVE_LOCK
            if not vfs.lock(fd, ALIVE_BYTE, 1, mode):
                # readers share the byte and write nothing: what the file says is older than they
                if not read_only and vfs.lock(fd, ALIVE_BYTE, 1, VFS_SHARED):
                    raise DatabaseBusy(
                        f"{directory} is open read-only in another process; close it there, or "
                        "retry later"
                    )
                raise busy(vfs, fd, directory)
            if not read_only:
                if vfs.size(fd) < LOCK_SIZE:
                    vfs.write(fd, bytes(LOCK_SIZE), 0)
                vfs.write(fd, HOLDER.pack(os.getpid(), now_ms), HOLDER_OFFSET)
        except BaseException:
            vfs.close(fd)
            raise
        return cls(vfs, fd)

    def release(self) -> None:
        """Give the hold up; closing the descriptor drops the lock. Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._vfs.close(fd)


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


class LockState(NamedTuple):
    """Who holds a database, as lock_state() sees it."""

    held: Literal["no", "read", "write", "unknown"]
    """"unknown": the operating system does not tell."""
    pid: int
    """Who says that it holds it for writing, or did so last; 0: nobody ever."""
    start_ms: int
    """Since when it says so."""


FLOCK: Final = struct.Struct("@hhqqi0q")
"""struct flock of 64-bit Linux: type, whence, start, size, pid."""


def lock_state(directory: str) -> LockState:
    """Ask who holds a database without taking its lock, not even for a moment.

    OSError if the file cannot be opened; there is none in a database that was never opened.
    """
    file = os.open(os.path.join(directory, LOCK_FILE), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        words = os.pread(file, HOLDER.size, HOLDER_OFFSET)
        pid, start_ms = HOLDER.unpack(words) if len(words) == HOLDER.size else (0, 0)
        asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, ALIVE_BYTE, 1, 0)
        try:
            answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked)
        except OSError:
            return LockState("unknown", pid, start_ms)
        kind = FLOCK.unpack(answer)[0]
        if kind == fcntl.F_UNLCK:
            return LockState("no", pid, start_ms)
        return LockState("read" if kind == fcntl.F_RDLCK else "write", pid, start_ms)
    finally:
        os.close(file)


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
