# One key form for BSON's four kinds of number, so that memcmp compares them as exact numbers.

from libc.stdint cimport int64_t, uint8_t
from rango._ext.buffer cimport Buffer

cdef int double_append(Buffer *out, double value) noexcept nogil            # 0, or -1: no memory
cdef int integer_append(Buffer *out, int64_t value) noexcept nogil
cdef int decimal_append(Buffer *out, const uint8_t *value) noexcept nogil   # 16 bytes, BID
