# The lock of the one thread, among all processes, that appends.

from rango._ext.shared cimport Shared


cdef extern from "pythread.h" nogil:
    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock_timed(
        PyThread_type_lock lock, long long microseconds, int interruptible
    )
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()

cdef enum:
    LOCK_FAILED = 0
    LOCK_ACQUIRED = 1


cdef class AppendLock:
    cdef Shared shared
    cdef PyThread_type_lock lock
    cdef unsigned long owner        # thread id while it is held
    cdef bint is_held
    cdef bint is_local              # held among the threads of this process only
    cdef int refused                # takes of the owner that were refused and not dropped yet
    cdef bint take_now(self) noexcept
    cdef void undo(self) noexcept
    cdef bint shared_take(self, double seconds) except -1
    cdef void let_go(self) noexcept
