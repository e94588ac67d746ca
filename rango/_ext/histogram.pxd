# How long operations took, counted without Python.

from libc.stdint cimport int64_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef enum:
    HISTOGRAM_BUCKETS = 54      # number n holds what took less than 1.024 us * 2**n; all times fit


cdef class Histogram:
    cdef uint64_t[HISTOGRAM_BUCKETS] counts
    cdef uint64_t total
    cdef void add(self, int64_t ns, int weight) noexcept nogil


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + <int64_t>now.tv_nsec
