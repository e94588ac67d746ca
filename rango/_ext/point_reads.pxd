# The read of one document by its `_id`.

from rango._ext.core_state cimport CoreState


cdef class PointReads:
    cdef CoreState core
    cdef object transactions        # a context variable: what is in it is running
    cdef frozenset id_types         # whose values mean equality and nothing else
