# Differences: two trees of two views, walked side by side.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from rango._ext.btree cimport Tree
from rango._ext.buffer cimport Buffer
from rango._ext.overlay cimport Cell, OverlayCursor
from rango._ext.page_cache cimport Page
from rango._ext.pager cimport Pager
from rango._ext.stop cimport Stop
from rango._ext.view cimport Found, View


ctypedef struct Walk:
    # a place in a tree: on a leaf's cell, or on a link below which nothing was read yet
    Tree tree
    Page *pages[10]                 # from the root down, retained
    int slots[10]
    int depth                       # pages held; 0 = on the root's link
    bint is_on                      # False: behind the last cell


cdef class Diff:
    cdef View left
    cdef View right
    cdef uint32_t left_tree         # 0: there is none, and so no documents
    cdef uint32_t right_tree
    cdef Walk before
    cdef Walk after
    cdef int taken                  # sides that have the base key in hand: TAKEN_*; -1 = fresh
    cdef OverlayCursor left_over
    cdef OverlayCursor right_over
    cdef Cell *left_cell            # NULL: none is left of its tree
    cdef Cell *right_cell
    cdef Buffer key                 # in hand: room for a tree id, and the key
    cdef readonly Stop stop
    cdef bint may_stop
    cdef int64_t signals_due_ns
    cdef uint32_t steps
    cdef bint done
    cdef bint is_running
    cdef readonly uint64_t pages_read       # that the walk looked into, cached or not
    cdef readonly uint64_t links_skipped    # pages that both sides have, and all below them
    cdef int _start(self) except -1
    cdef int _look(self) except -1 nogil
    cdef int _descend(self, Pager pager, Walk *walk) except -1 nogil
    cdef int _base_seek(self) except -1 nogil
    cdef int _choose(self) except -1 nogil
    cdef int _pass(self, bint is_base, bint is_left, bint is_right) except -1 nogil
    cdef int _take(
        self, View view, uint32_t tree, const Walk *walk, Cell *cell, bint is_base, bint is_mine,
        Found *out
    ) except -1 nogil
    cdef int _next(self, Found *before, Found *after) except -1 nogil
    cdef void _end(self) noexcept
