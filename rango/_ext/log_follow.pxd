# What an appender does about other processes that appended.

from libc.stdint cimport uint8_t, uint64_t
from rango._ext.appender cimport Appender


# how long the segment is by now
cdef int allocated_read(Appender appender) except -1
# go on behind this frame
cdef void appender_move(
    Appender appender, uint64_t position, uint64_t ordinal, const uint8_t *chain
) noexcept nogil
