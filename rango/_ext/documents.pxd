# Documents on their way into a batch: encoded one behind the other, without an object for each.

from rango._ext.buffer cimport Buffer


cdef class Documents:
    cdef Buffer bytes
    cdef Buffer ends                # of size_t: where each document ends in `bytes`
    cdef Py_ssize_t count
    cdef size_t start(self, Py_ssize_t place) noexcept nogil
    cdef size_t size(self, Py_ssize_t place) noexcept nogil
    cdef int end_put(self) except -1
