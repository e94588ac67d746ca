# The lock of the one thread that appends.


cdef extern from "pythread.h" nogil:
    ctypedef void *PyThread_type_lock


cdef class AppendLock:
    cdef PyThread_type_lock lock
    cdef unsigned long owner        # thread id while it is held
    cdef bint is_held
    cdef int refused                # takes of the owner that were refused and not dropped yet
