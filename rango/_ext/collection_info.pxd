# What a collection and its indexes are: names, trees, paths.

from libc.stdint cimport uint32_t, uint64_t
from rango._ext.filter cimport Program
from rango._ext.key cimport IndexPath

cdef enum:
    INDEX_FIELDS_MAX = 32                       # limits.INDEX_FIELDS_MAX
    FIELDS_ALL = 0xffffffff                     # every field met an array, as far as is known
    MARK_SHORTENED = 0x100000000                # in `marks`, above the bits of the fields


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
    cdef IndexPath index_path


cdef class CollectionInfo:
    cdef readonly str name
    cdef readonly uint32_t tree_id
    cdef readonly tuple indexes     # that can answer queries
    cdef readonly tuple ready       # and those that are hidden from them
    cdef readonly tuple maintained  # and those that are still being filled
