# What a collection and its indexes are: names, trees, paths.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from rango._ext.bson_set cimport SetFields
from rango._ext.filter cimport Program
from rango._ext.entries cimport EntryMaker
from rango._ext.buffer cimport Buffer


cdef class IndexInfo:
    cdef readonly str name
    cdef readonly uint32_t tree_id
    cdef readonly tuple fields                  # of (path, 1 or -1)
    cdef readonly str path                      # of the first field
    cdef readonly int direction
    cdef readonly bint unique
    cdef readonly bint sparse
    cdef readonly bint hidden                   # maintained, but no plan uses it
    cdef readonly object partial                # a filter, or None
    cdef readonly object expire_after_s         # int, or None
    cdef public uint64_t marks
    cdef Program program                        # of the partial filter
    cdef EntryMaker maker
    # the entries of a document, sorted, into `out` (cleared first), as EntryMaker makes them; their
    # number. marks are added to
    cdef int make(
        self, const uint8_t *bson, size_t size, Buffer *out, uint64_t *marks
    ) except -1
    # whether its entries of a document may depend on one of these fields
    cdef bint reads(self, const SetFields *changed) except -1


cdef class CollectionInfo:
    cdef readonly str name
    cdef readonly uint32_t tree_id
    cdef readonly tuple indexes     # that can answer queries
    cdef readonly tuple ready       # and those that are hidden from them
    cdef readonly tuple maintained  # and those that are still being filled
