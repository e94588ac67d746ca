# Python objects to BSON bytes. With the GIL. record.pxd has the doors.

from libc.stdint cimport uint8_t
from rango._ext.buffer cimport Buffer

cdef int fields_encode(Buffer *out, object document, object id_value) except -1
cdef int element_encode(Buffer *out, object value, uint8_t *type) except -1
