# The read of one document by its `_id`.

from rango._ext.core_state cimport CoreState


cdef class PointReads:
    cdef CoreState core
    cdef object transactions        # a context variable: what is in it is running
    cdef frozenset id_types         # whose values mean equality and nothing else
    cdef bint is_closed             # its handle is, if not the core
    cdef object found(self, str name, object filter)


cdef class PointReader:
    cdef readonly object _handle
    cdef readonly str _name
    cdef PointReads reads           # of the handle, or None
