# Why a run must end early: it was cancelled, or its time is over.

from libc.stdint cimport int64_t


# lets the handlers of signals run (Ctrl-C), at most every SIGNALS_NS; for the main thread
cdef int signals_look(int64_t *due_ns) except -1 nogil


cdef class Stop:
    cdef int is_set                 # read and written as an atomic
    cdef int64_t deadline_ns        # of the monotonic clock; 0: never
    cdef Stop outer                 # of the block around it
    cdef bint has_outer
    cdef object clock
    cdef bint has_clock
    cdef int64_t now(self) except -1 nogil
    cdef int look(self) except -1 nogil     # raises QueryCancelled or Timeout
