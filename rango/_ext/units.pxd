# A bitmap of the units of the data file: 1 = used.

from libc.stdint cimport uint8_t, uint64_t


ctypedef struct Units:
    uint8_t *bits
    uint64_t count              # units that the bitmap speaks of; what lies behind is free


cdef void units_init(Units *units) noexcept nogil
cdef void units_free(Units *units) noexcept nogil
cdef int units_resize(Units *units, uint64_t count) except -1 nogil          # new units are free
cdef int units_copy(Units *target, const Units *source) except -1 nogil
cdef int units_merge(Units *target, const Units *source) except -1 nogil     # target |= source
cdef bint units_get(const Units *units, uint64_t unit) noexcept nogil
cdef void units_mark(Units *units, uint64_t first, uint64_t count, bint used) noexcept nogil
# behind the last used unit; 0 if there is none
cdef uint64_t units_end(const Units *units) noexcept nogil
cdef uint64_t units_used(const Units *units) noexcept nogil
# first unit of the first run of `count` units that are free in both (b may be NULL), from `start`
# on, below `end`; `end` if there is none
cdef uint64_t units_find(
    const Units *a, const Units *b, uint64_t start, uint64_t end, uint64_t count
) noexcept nogil
