# The intervals of a long $in, made when they are asked for.

from libc.stdint cimport uint8_t, uint32_t
from rango._ext.buffer cimport Buffer


ctypedef struct Point:
    const uint8_t *key
    uint32_t size
    uint32_t number                 # of its value


# the least bytes above everything that starts with this key
cdef bytes successor(bytes key)


cdef class Points:
    cdef Buffer keys                # one behind the other, in the order of the values
    cdef Point *points              # ascending; none is the beginning of another
    cdef Py_ssize_t count
    cdef readonly object values
    cdef readonly bint is_points
    cdef readonly bint is_exact
    cdef Py_ssize_t size_max        # of a point; a longer one is cut
    cdef int fill(self, frozenset plain, object other) except -1
    cdef int sort(self) except -1
    cdef int _note(self, size_t start, Py_ssize_t number) noexcept
    cdef bint _is_before(
        self, Py_ssize_t turn, const uint8_t *key, size_t size, bint reverse
    ) noexcept nogil
    cdef Py_ssize_t turn_at(
        self, Py_ssize_t turn, const uint8_t *key, size_t size, bint reverse
    ) noexcept nogil
