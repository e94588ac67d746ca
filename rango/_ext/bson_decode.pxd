# BSON bytes to Python objects. With the GIL. record.pxd has the doors.

from libc.stdint cimport uint8_t

# depth: that of the document itself, 1 = top level
cdef dict fields_decode(const uint8_t *bson, size_t size, int depth)
# the top-level fields whose names are (is_kept) or are not in the frozenset `names`
cdef dict fields_decode_some(const uint8_t *bson, size_t size, object names, bint is_kept)
cdef object element_decode(uint8_t type, const uint8_t *value, size_t size, int depth)
