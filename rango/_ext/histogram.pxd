# The time of an operation into a Histogram (rango/metrics.py), where no other Python is called.

from libc.stdint cimport int64_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from *:
    int count_leading_zeros "__builtin_clzll"(unsigned long long) noexcept nogil


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + <int64_t>now.tv_nsec


cdef inline int observed(object histogram, int64_t spent, int weight) except -1:
    # as Histogram.observe
    cdef list buckets = histogram.buckets
    cdef int bucket = 64 - count_leading_zeros(<uint64_t>spent >> 10) if spent >> 10 else 0
    buckets[bucket] = buckets[bucket] + weight
    histogram.total_ns += spent * weight
    return 0
