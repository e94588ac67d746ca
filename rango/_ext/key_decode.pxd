# Values from keys: the other way of key.pyx, as far as the type byte of an index entry allows.

from libc.stdint cimport uint8_t
from rango._ext.buffer cimport Buffer


ctypedef struct KeyReader:
    const uint8_t *at
    const uint8_t *end
    uint8_t flip                # 0xff inside the key of an inverted field


cdef KeyReader key_reader(const uint8_t *key, size_t size) noexcept nogil
# Take the key of the next field. If `type` is a BSON type, append its value, as BSON stores it, to
# `out`: 1. If it is missing or must be looked up in the record (entries.pxd ENTRY_*): 0, nothing is
# appended. -1: the key is malformed, or no memory.
cdef int key_value(KeyReader *reader, uint8_t type, Buffer *out) noexcept nogil
