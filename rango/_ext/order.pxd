# Sorting records: their keys, and the first of many.

from libc.stdint cimport int64_t, uint8_t, uint64_t
from rango._ext.buffer cimport Buffer
from rango._ext.key cimport IndexPath
from rango._ext.match cimport FilterName
from rango._ext.scan cimport Scan
from rango._ext.stop cimport Stop

cdef enum:
    KEY_MADE = 1
    KEY_LEFT = 0                # to the slow way


ctypedef struct Item:
    uint64_t head               # the first 8 bytes of the key, as a number
    uint64_t turn               # when it came: equal keys keep their order
    uint8_t *bytes              # malloc'd: key, then record
    size_t key_size
    size_t record_size


ctypedef struct Bound:
    # what the last of those that are held has in the first field of the sort
    bint is_known
    uint64_t turn               # whose it is
    uint8_t kind                # VALUE_NUMBER or VALUE_DATE
    double value


cdef class SortField:
    cdef IndexPath path
    cdef bint falling
    cdef SortField next
    cdef bint has_next
    cdef bytes name_bytes       # what `name` points to
    cdef FilterName name
    cdef bint is_top            # the path is one name
    cdef bint is_bound(self) noexcept nogil
    # append the key of this field and of those behind it: KEY_MADE or KEY_LEFT
    cdef int append(
        self, const uint8_t *bson, size_t size, Buffer *out, Buffer *scratch, int arrays
    ) except -1 nogil


cdef class Sorter:
    cdef SortField first
    cdef object slow
    cdef bint is_slow
    cdef size_t limit
    cdef readonly size_t held
    cdef size_t held_max
    cdef uint64_t turn
    cdef Item *items
    cdef size_t capacity
    cdef size_t size
    cdef bint is_sorted
    cdef bint is_running
    cdef Stop stop
    cdef bint may_stop
    cdef int64_t signals_due_ns
    cdef Buffer key
    cdef Buffer scratch
    cdef int key_make(self, const uint8_t *record, size_t size) except -1 nogil
    cdef int key_slow(self, const uint8_t *record, size_t size) except -1 with gil
    cdef int add(self, const uint8_t *record, size_t size) except -1 nogil
    cdef int add_leaf(self, Scan scan) except -1 nogil
    cdef void bound_take(self, Bound *bound) noexcept nogil
    cdef int put(self, Item *item, const uint8_t *record, size_t size) except -1 nogil
    cdef int finish(self) except -1
    cdef int sort(self) except -1 nogil
    cdef int merge(
        self, const Item *items, size_t split, size_t count, Item *target
    ) except -1 nogil
    cdef int look(self) except -1 nogil
