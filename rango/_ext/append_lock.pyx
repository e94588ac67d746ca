"""The append lock inside one process: a bounded wait, an owner, and no moment in which a signal can
leak it.

Terms       append lock, owner: the thread that holds it.
Invariants  Python runs signal handlers between bytecodes. take() and drop() are single calls into
            C, so a KeyboardInterrupt
            finds the lock either not taken or owned, and `try: lock.take() ... finally:
            lock.drop()` never leaks it.
            A take() that was refused because its thread has the lock already is undone by its
            drop() too: the outer holder
            keeps it.
States      free -> held by one thread -> free. drop() by anybody but the owner does nothing.
Failure     A wait that a signal interrupts raises what the handler raises; the lock is then not
            held.
"""

from rango.errors import TransactionError

cimport cython


cdef extern from "pythread.h" nogil:
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock_timed(
        PyThread_type_lock lock, long long microseconds, int interruptible
    )
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()


cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


cdef enum:
    LOCK_FAILED = 0
    LOCK_ACQUIRED = 1


@cython.final
cdef class AppendLock:
    """Held by at most one thread.

    Not reentrant: taking it twice raises TransactionError instead of waiting for oneself.
    """

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.lock != NULL:
            if self.is_held:
                PyThread_release_lock(self.lock)
            PyThread_free_lock(self.lock)

    def take(self, double seconds) -> bool:
        """Wait at most so long: whether the lock is held now. Raises TransactionError if this
        thread has it already.
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
        self.owner = me
        self.is_held = True
        return True

    def drop(self) -> None:
        """Undo one take(): let go if it was successful, nothing if it was refused or never ran."""
        if self.is_held and self.owner == PyThread_get_thread_ident() and self.refused:
            self.refused -= 1
        elif self.is_held and self.owner == PyThread_get_thread_ident():
            self.is_held = False
            PyThread_release_lock(self.lock)

    def drop_of(self, unsigned long owner) -> None:
        """Let go what the thread with this ident took: its transaction is ended by another thread.
        """
        if self.is_held and self.owner == owner:
            self.is_held = False
            PyThread_release_lock(self.lock)

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds it."""
        return self.is_held and self.owner == PyThread_get_thread_ident()
