# A filter compiled to a flat program, run over record bytes with the GIL released.

from libc.stdint cimport uint8_t
from rango._ext.assemble cimport Code
from rango._ext.page_column cimport Test

# raises what a negative answer of `run` stands for
cdef int raise_failure(int answer, str where) except -1


cdef class Program:
    cdef Code code
    cdef readonly tuple normal
    cdef readonly object collation      # None: strings are compared by their bytes
    cdef readonly bint is_always
    cdef readonly object id_equals
    cdef readonly bint is_id_only
    cdef Test test                      # what every document that matches meets
    cdef public bint is_kept            # the same filter gives this very program again
    # 1 = the record matches, 0 = it does not, TEST_MALFORMED, TEST_RAISED. record = header + node +
    # BSON.
    cdef int run(self, const uint8_t *record, size_t size) noexcept nogil
