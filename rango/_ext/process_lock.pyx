"""A lock among the threads of a process and among processes, for work that is rare and long:
checkpoints, changes of sealed segments, index builds.

Terms       range: one byte of the lock file, locked by the open file description.
Invariants  The kernel lets go of the range when its process dies. Taking and letting go are single
            calls into C, so a signal finds the lock taken by whoever runs the `with` block, or not
            at all.
States      free -> held by one thread of one process -> free
Failure     DatabaseBusy after a bounded wait; what a signal handler raises while waiting.
Sources     fcntl_locking(2); architecture section 3.
"""

import os

from rango.errors import DatabaseBusy, IoFailed

cimport cython
from libc.errno cimport EAGAIN
from posix.time cimport nanosleep, timespec
from rango._ext.append_lock cimport AppendLock
from rango._ext.vfs cimport VFS_EXCLUSIVE_LOCK, VFS_UNLOCK, Vfs, fork_count

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef double LOOK_S = 0.002


@cython.final
cdef class ProcessLock:
    """`with lock:` waits for threads and processes. Not reentrant."""

    def __init__(self, Vfs vfs not None, int fd, int place, double seconds, str work not None):
        """`place`: the byte of the lock file `fd`; -1 as `fd`: threads only. `work`: for messages.
        """
        self.threads = AppendLock()
        self.vfs = vfs
        self.fd = fd
        self.place = place
        self.seconds = seconds
        self.forks = fork_count()
        self.work = work

    cdef int range_take(self) noexcept nogil:
        # a forked child has no such file: it is told by what it wants to do next
        if self.fd < 0 or self.forks != fork_count():
            return 0
        return self.vfs.table.lock(
            self.vfs.context, self.fd, <unsigned long>self.place, 1, VFS_EXCLUSIVE_LOCK)

    def take(self, double seconds) -> bool:
        """Wait at most so long: whether it is held now. Raises IoFailed."""
        cdef timespec pause
        cdef int status
        cdef double waited = 0
        pause.tv_sec = 0
        pause.tv_nsec = <long>(LOOK_S * 1e9)
        if not self.threads.take(seconds):
            return False
        try:
            while True:
                status = self.range_take()
                if status == 0:
                    return True
                if status != -EAGAIN:
                    raise IoFailed(
                        f"the lock file cannot be locked for {self.work}: {os.strerror(-status)};"
                        " nothing was done, try again later")
                if waited >= seconds:
                    self.threads.drop()
                    return False
                with nogil:
                    nanosleep(&pause, NULL)
                waited += LOOK_S
                PyErr_CheckSignals()
        except BaseException:
            self.threads.drop()
            raise

    def drop(self) -> None:
        """Let go, if this thread has it."""
        if self.threads.is_held and self.threads.is_mine:
            if self.fd >= 0 and not self.threads.refused and self.forks == fork_count():
                self.vfs.table.lock(
                    self.vfs.context, self.fd, <unsigned long>self.place, 1, VFS_UNLOCK)
            self.threads.drop()

    def close(self) -> None:
        """The lock file is closed: from now on only threads are kept apart."""
        self.fd = -1

    def locked(self) -> bool:
        """Whether a thread of this process has it."""
        return self.threads.is_held

    def __enter__(self):
        if not self.take(self.seconds):
            raise DatabaseBusy(
                f"{self.work} has been going on in another thread or process for more than "
                f"{self.seconds:.0f} s; wait for it, or retry later")
        return self

    def __exit__(self, *_error):
        self.drop()
