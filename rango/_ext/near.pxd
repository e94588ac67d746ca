# Taking over the few commits that other processes have just appended, in one compiled call.

from libc.stdint cimport uint64_t
from rango._ext.append_lock cimport PyThread_type_lock
from rango._ext.segment_scan cimport Scanner
from rango._ext.store cimport Store


cdef class Near:
    cdef PyThread_type_lock lock        # what threads on the long way wait for
    cdef bint is_taken                  # somebody follows; changes under the GIL only
    cdef Scanner scanner                # of the segment that everybody appends to, or None
    cdef uint64_t keys                  # the generation of the keys that this process knows
    cdef list changes                   # room for what a commit does to the catalog
    cdef readonly uint64_t count        # how often the short way was all that was needed

    cdef bint take(self, Store store, bint is_all) except -1
    cdef bint read(self, Store store, uint64_t target, uint64_t position) except -1
    cdef int apply(self, Store store) except -1
