# One open database: what is committed, what may be seen, and the building of generations.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from rango._ext.appender cimport Appender
from rango._ext.batch cimport Clock
from rango._ext.btree cimport Tree, TreeMerge
from rango._ext.overlay cimport Cell, OverlayNode
from rango._ext.pager cimport Pager
from rango._ext.view cimport Counts, Generation, View


cdef class Store:
    cdef readonly Pager pager
    cdef public Appender appender           # None while the log is replayed, and on read-only databases
    cdef public View current                # what may be seen
    cdef readonly View head                 # the newest commit
    cdef object pending                     # of (ordinal, View): appended, not yet durable
    cdef readonly Clock clock
    cdef public bytes node
    cdef public bint visible_at_once        # "group" and "memory": seen before it is durable
    cdef readonly set multikey              # index trees in which some document has several keys
    cdef list generations                   # weak references: those that a View may still read
    cdef uint64_t bloom_keys
    cdef size_t page_size                   # 0, or what tests ask for
    cdef list named                         # generations that the two slots name, the newest last (I-2)

    cdef int _apply(self, const uint8_t *body, size_t size, uint64_t first_ordinal, uint64_t owner, list changes) except -1
    cdef int _apply_one(self, const uint8_t *mutation, size_t size, uint64_t ordinal, uint64_t owner, list changes) except -1
    cdef View _view_of(self, Generation generation)
    cdef int _begin_build(self, Generation old) except -1
    cdef bint _bitmap_same(self, Generation old, uint64_t piece, uint64_t size)
    cdef Counts _counts_after(self, View head, Generation generation)
    cdef int _merge_all(self, View view, Generation old, Generation new, dict definitions, Cell **cells, size_t count, set dropped, set changed) except -1
    cdef int _merge_one(self, TreeMerge merge, Tree *tree, Cell **cells, size_t count) except -1 nogil
    cdef int _merge_catalog(self, TreeMerge merge, Generation old, Generation new, dict definitions, set dropped, set changed) except -1
    cdef int _free_tree(self, const uint8_t *link, int height) except -1 nogil
    cdef int _write_bitmap(self, Generation old, Generation new) except -1
