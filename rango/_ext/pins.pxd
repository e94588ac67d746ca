# Pins: which generations the processes that have one database open read.

from libc.stdint cimport uint64_t
from rango._ext.shared cimport Shared


cdef class Lease:
    # keeps the pages of one generation from being used again, whoever writes checkpoints
    cdef Shared shared
    cdef uint64_t generation


cdef Lease lease_new(Shared shared, uint64_t generation)
