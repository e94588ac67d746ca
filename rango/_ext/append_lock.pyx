"""The append lock: among the threads of this process first, then among the processes. A bounded
wait, an owner, and no moment in which a signal can leak it.

Terms       append lock, owner: the thread that holds it. Owner word: see shared.pyx.
Invariants  Python runs signal handlers between bytecodes. take() and drop() are single calls into
            C, so a KeyboardInterrupt
            finds the lock either not taken or owned, and `try: lock.take() ... finally:
            lock.drop()` never leaks it.
            A take() that was refused because its thread has the lock already is undone by its
            drop() too: the outer holder
            keeps it.
            The thread's lock is taken before the owner word and let go after it, so at most one
            thread of a process waits for other processes.
States      free -> held by one thread -> free. drop() by anybody but the owner does nothing.
Failure     A wait that a signal interrupts raises what the handler raises; the lock is then not
            held.
"""

from rango.errors import TransactionError

cimport cython
from libc.errno cimport EINTR
from rango._ext.shared cimport WORD_APPEND_OWNER, Shared


cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


@cython.final
@cython.no_gc
cdef class AppendLock:
    """Held by at most one thread of one process.

    Not reentrant: taking it twice raises TransactionError instead of waiting for oneself.
    """

    def __cinit__(self, Shared shared=None):
        # None: no other process has what this lock guards
        self.shared = shared
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.lock != NULL:
            if self.is_held:
                self.let_go()
            PyThread_free_lock(self.lock)

    def take(self, double seconds, *, bint is_local=False) -> bool:
        """Wait at most so long: whether the lock is held now. `is_local`: only among the threads
        of this process. Raises TransactionError if this thread has it already.
        """
        cdef unsigned long me = PyThread_get_thread_ident()
        cdef int got = PyThread_acquire_lock_timed(self.lock, 0, 0)
        cdef long long wait = <long long>(seconds * 1000000)
        if got == LOCK_FAILED and self.is_held and self.owner == me:
            self.refused += 1
            raise TransactionError(
                "this thread is in the middle of a transaction; a second writer in it would wait"
                " for itself"
            )
        while got != LOCK_ACQUIRED:
            with nogil:
                got = PyThread_acquire_lock_timed(self.lock, wait, 1)
            if got == LOCK_FAILED:
                return False
            if got != LOCK_ACQUIRED:
                PyErr_CheckSignals()
        self.is_local = is_local or self.shared is None
        if not self.is_local and not self.shared_take(seconds):
            PyThread_release_lock(self.lock)
            return False
        self.owner = me
        self.is_held = True
        return True

    cdef bint take_now(self) noexcept:
        # take() without waiting: whether it is held now
        cdef int got = PyThread_acquire_lock_timed(self.lock, 0, 0)
        if got != LOCK_ACQUIRED:
            return False
        self.is_local = self.shared is None
        if not self.is_local and not self.shared.owner_take(WORD_APPEND_OWNER, 0):
            PyThread_release_lock(self.lock)
            return False
        self.owner = PyThread_get_thread_ident()
        self.is_held = True
        return True

    cdef bint shared_take(self, double seconds) except -1:
        cdef int got = -EINTR
        while got == -EINTR:
            with nogil:
                got = self.shared.owner_take(WORD_APPEND_OWNER, seconds)
            if got == -EINTR:
                try:
                    PyErr_CheckSignals()
                except BaseException:
                    PyThread_release_lock(self.lock)
                    raise
        return got != 0

    cdef void let_go(self) noexcept:
        self.is_held = False
        if not self.is_local:
            self.shared.owner_drop(WORD_APPEND_OWNER)
        PyThread_release_lock(self.lock)

    def drop(self) -> None:
        """Undo one take(): let go if it was successful, nothing if it was refused or never ran."""
        self.undo()

    cdef void undo(self) noexcept:
        if self.is_held and self.owner == PyThread_get_thread_ident() and self.refused:
            self.refused -= 1
        elif self.is_held and self.owner == PyThread_get_thread_ident():
            self.let_go()

    def drop_of(self, unsigned long owner) -> None:
        """Let go what the thread with this ident took: its transaction is ended by another thread.
        """
        if self.is_held and self.owner == owner:
            self.let_go()

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds it."""
        return self.is_held and self.owner == PyThread_get_thread_ident()
