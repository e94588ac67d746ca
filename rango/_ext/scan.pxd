# Scans: overlay and base merged in key order, filtered without the GIL.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from rango._ext.btree cimport TreeCursor
from rango._ext.filter cimport Program
from rango._ext.overlay cimport Cell, OverlayCursor
from rango._ext.pager cimport Pager
from rango._ext.points cimport Points
from rango._ext.stop cimport Stop
from rango._ext.view cimport Found, View


cdef enum:
    TAKEN_NOTHING = 0
    TAKEN_BASE = 1
    TAKEN_OVER = 2
    TAKEN_BOTH = 3


ctypedef struct Entry:
    const uint8_t *key              # without the tree's id
    size_t key_size
    const uint8_t *value
    size_t value_size
    bint overflow
    Cell *cell                      # set if it is an overlay cell


cdef class Scan:
    cdef View view
    cdef Pager pager
    cdef readonly uint32_t tree
    cdef uint32_t index_tree
    cdef uint32_t scanned           # one of the two
    cdef object intervals           # a sequence of (lower, upper, ...)
    cdef Points points              # the same, if they are many
    cdef Py_ssize_t turn            # intervals that were started
    cdef readonly Stop stop                  # None: it runs to its end
    cdef uint32_t steps             # entries met, those deleted included; wraps
    cdef bint may_stop
    cdef int64_t signals_due_ns
    cdef bint reverse
    cdef bint is_open               # no upper bound
    cdef bint done
    cdef bint is_running            # some thread is inside, perhaps without the GIL
    cdef bint is_plain              # records in ascending order, each once
    cdef bint is_unique             # gives no document whose key is in `seen`
    cdef public frozenset names     # of the fields that next_documents decodes; None: all
    cdef public bint is_kept        # names are those to decode, not those to leave out
    cdef Program program
    cdef set seen
    cdef bytes lower                # tree id first
    cdef bytes upper                # tree id first
    cdef const uint8_t *lower_key
    cdef size_t lower_size
    cdef const uint8_t *upper_key
    cdef size_t upper_size
    cdef TreeCursor base
    cdef bint has_base
    cdef OverlayCursor over
    cdef Cell *cell
    cdef int taken                  # what the last entry came from: TAKEN_*
    cdef readonly uint64_t keys_examined
    cdef readonly uint64_t records_examined
    cdef readonly uint64_t matched
    cdef int enter(self) except -1
    cdef int start(self) except -1
    cdef int _start_next(self) except -1 with gil
    cdef int _seek(self) except -1
    cdef int advance(self) except -1 nogil
    cdef int entry(self, Entry *out) except -1 nogil
    cdef int look(self) except -1 nogil
    cdef int _entry_within(self, Entry *out) except -1 nogil
    cdef size_t _split(self, const Entry *entry) except? 0 nogil
    cdef int _order(self, const uint8_t *key, size_t size) noexcept nogil
    cdef int _pass(self) except -1 nogil
    # how many cells behind the one that was given, in the same leaf, come next without a merge
    cdef int cells_left(self) noexcept nogil
    # somebody went over so many of them, of which so many are documents
    cdef int gone_over(self, uint32_t cells, uint32_t records) except -1 nogil
    cdef int next_match(self, Found *out) except -1 nogil
    cdef int _fill(self, Found *found, int limit) except -1
    cdef object _counted(self, bint is_keys)
    cdef int _count_keys(self) except -1 nogil
    cdef void _end(self) noexcept
    cdef int _is_fresh(self, const uint8_t *id_key, size_t size) except -1 with gil
    cdef int _document(self, const Entry *entry, Found *out) except -1 nogil
