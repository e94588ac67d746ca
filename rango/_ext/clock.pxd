# The clock of revisions.

from libc.stdint cimport uint16_t, uint64_t


# milliseconds since the epoch; what system_ms() returns
cdef uint64_t system_now() noexcept nogil


cdef class Clock:
    # the node's hybrid logical clock: the last revision given out
    cdef public uint64_t ms
    cdef public uint16_t counter
    cdef int tick(self, uint64_t now_ms) noexcept nogil
    cdef int observe(self, uint64_t ms, uint16_t counter) noexcept nogil
