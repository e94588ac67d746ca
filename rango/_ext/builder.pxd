# Builds the next generation of one data file.

from libc.stdint cimport uint8_t, uint64_t
from rango._ext.btree cimport Tree
from rango._ext.merge cimport TreeMerge
from rango._ext.overlay cimport Cell
from rango._ext.pager cimport Pager
from rango._ext.shared cimport Shared
from rango._ext.view cimport Generation


cdef class Builder:
    cdef readonly Pager pager
    cdef size_t page_size           # 0, or what tests ask for
    cdef public Shared shared       # None: no other process has this database
    cdef public uint64_t pinned_units_max
    cdef list generations           # weak references: those that a View may still read
    cdef list named                 # that the two slots name, the newest last (I-2)
    cdef public list roots          # kept ones: known by the units that they use
    cdef public bytes roots_content  # of the next page of kept roots; None: as it is

    cdef int _begin_build(self, Generation old) except -1
    cdef int _keep_foreign(self) except -1
    cdef bint _is_any_unknown(self) except -1
    cdef int _merge_all(
        self, Generation new, Generation old, dict definitions, dict marks, Cell **cells,
        size_t count, set dropped, set changed,
    ) except -1
    cdef int _merge_one(
        self, TreeMerge merge, Tree *tree, Cell **cells, size_t count
    ) except -1 nogil
    cdef int _merge_catalog(
        self, TreeMerge merge, Generation old, Generation new, dict definitions, set dropped,
        set changed,
    ) except -1
    cdef int _free_tree(self, const uint8_t *link, int height) except -1 nogil
    cdef int _write_roots(self, Generation old, Generation new) except -1
    cdef int _write_bitmap(self, Generation old, Generation new) except -1
    cdef bint _bitmap_same(self, Generation old, uint64_t piece, uint64_t size)
