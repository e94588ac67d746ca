# Scans of two indexes at once: of documents that have a key in both.

from libc.stdint cimport uint8_t, uint64_t
from rango._ext.filter cimport Program
from rango._ext.scan cimport Entry, Scan
from rango._ext.view cimport Found


cdef class JoinedScan:
    cdef Scan own
    cdef Scan other
    cdef Program program
    cdef Entry entry                # of the other scan, valid while it runs
    cdef size_t split
    cdef int state
    cdef bint reverse
    cdef uint64_t join_after        # own keys before the other scan starts
    cdef uint64_t probed
    cdef uint64_t shared
    cdef int _start(self, const uint8_t *id_key, size_t size) except -1 with gil
    cdef int _step(self) except -1 nogil
    cdef int _is_shared(self, const Entry *entry, size_t split) except -1 nogil
    cdef int _next(self, Found *out) except -1 nogil
    cdef list _fetch(self, Py_ssize_t limit, bint is_decoded)
    cdef bint _enter(self) except -1
    cdef void _end(self) noexcept
