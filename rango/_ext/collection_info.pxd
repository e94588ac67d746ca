# What a collection and its indexes are: names, trees, paths.

from libc.stdint cimport uint32_t
from rango._ext.key cimport IndexPath


cdef class IndexInfo:
    cdef readonly str name
    cdef readonly uint32_t tree_id
    cdef readonly str path
    cdef readonly int direction
    cdef readonly bint unique
    cdef public bint multikey
    cdef IndexPath index_path


cdef class CollectionInfo:
    cdef readonly str name
    cdef readonly uint32_t tree_id
    cdef readonly tuple indexes     # that can answer queries
    cdef readonly tuple maintained  # and those that are still being filled
