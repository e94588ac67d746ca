# Whether a name still leads to the file that is open.

from libc.stdint cimport uint64_t


cdef class FilePlace:
    cdef bytes path
    cdef uint64_t device
    cdef uint64_t number
    cdef uint64_t asked

    cpdef bint is_kept(self, bint is_flushed=*)
