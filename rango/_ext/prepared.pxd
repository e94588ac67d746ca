# Finds whose plan is known, each in one call from Python.

from libc.stdint cimport uint32_t, uint64_t
from rango._ext.collection_info cimport CollectionInfo
from rango._ext.core_state cimport CoreState
from rango._ext.filter cimport Program
from rango._ext.histogram cimport Histogram

cdef enum:
    PREPARED_MAX = 256              # some 100 KiB
    SEEN_COUNT = 256                # a power of two
    FILTER_SIZE_MAX = 512           # as BSON; longer ones are seldom asked twice
    FIELDS_MAX = 16                 # of a sort or a projection
    NAME_SIZE_MAX = 256             # characters of a path
    TEXT_SIZE_MAX = 60              # characters: SHAPE_TEXT_MAX of rango/engine/planned.py


cdef class Prepared:
    cdef object catalog             # that it was made for
    cdef CollectionInfo info        # None: refused
    cdef tuple marks                # of its indexes
    cdef uint32_t index_tree        # 0: the collection itself is scanned
    cdef object intervals           # None: the one of the value that is asked for
    cdef bint reverse
    cdef bint is_unique             # a document may have several keys in there
    cdef Program program            # what is asked of each document, or None
    cdef frozenset names            # of the fields to return (is_kept) or to leave out; None: all
    cdef bint is_kept
    cdef bint is_current(self, object catalog) except -1


cdef class Unprepared:
    cdef PreparedFinds finds
    cdef tuple key
    cdef object value               # by path: one of the equality


cdef class PreparedFinds:
    cdef CoreState core
    cdef object metrics
    cdef Histogram times            # of its finds
    cdef object transactions        # context variables: what is in the first is running,
    cdef object scope               # and what is in the second may cancel
    cdef frozenset plain            # types of values that decide nothing about a plan
    cdef dict known                 # key -> Prepared
    cdef uint64_t seen[SEEN_COUNT]  # hashes of keys that were not known, the last of each place
    cdef bint is_free(self) except -1
    cdef object asked(self, dict filter, object path, object value)
    cdef bint is_plain(self, object value) except -1
    cdef object missed(self, tuple key, object value)
    cdef int keep(self, tuple key, Prepared prepared) except -1
    cdef object started(
        self, str name, object filter, object projection, dict options, Py_ssize_t *limit
    )
