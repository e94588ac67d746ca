# The sorted merge of a tree and overlay cells, for the checkpoint.

from libc.stdint cimport uint8_t, uint64_t
from rango._ext.btree cimport Tree
from rango._ext.buffer cimport Buffer
from rango._ext.overlay cimport Cell
from rango._ext.page cimport PageBuilder
from rango._ext.page_cache cimport Page
from rango._ext.pager cimport Pager


cdef class TreeMerge:
    cdef Pager pager
    cdef PageBuilder levels[10]
    cdef Buffer scratch
    cdef Buffer separators[10]      # of the first pending cell of each level
    cdef int top                    # levels in use
    cdef bint appending             # nothing of the old tree lies behind what is being written
    cdef uint64_t live
    cdef size_t page_size           # opened size at which a page closes
    cdef int begin(self) except -1 nogil
    cdef int feed(
        self, const uint8_t *link, int level, const uint8_t *separator, size_t separator_size,
        uint64_t entries, Cell **cells, size_t count
    ) except -1 nogil
    cdef int _feed_leaf(self, const Page *page, Cell **cells, size_t count) except -1 nogil
    cdef int _feed_branch(
        self, const Page *page, int level, const uint8_t *separator, size_t separator_size,
        Cell **cells, size_t count
    ) except -1 nogil
    cdef int add_cell(self, Cell *cell) except -1 nogil
    cdef int _add(
        self, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size,
        bint overflow
    ) except -1 nogil
    cdef int _add_entry(
        self, int level, const uint8_t *separator, size_t separator_size, const uint8_t *link,
        uint64_t entries
    ) except -1 nogil
    cdef int _free_overflow(self, const uint8_t *value, size_t size) except -1 nogil
    cdef int _cut(self, int level) except -1 nogil
    cdef int _emit(self, int level, int first, int last) except -1 nogil
    cdef int _flush(self, int level) except -1 nogil
    cdef int _set_separator(self, int level, const uint8_t *key, size_t key_size) except -1 nogil
    cdef int finish(self, Tree *out) except -1 nogil
