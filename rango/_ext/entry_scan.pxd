# Scans of an index that ask its entries first.

from libc.stdint cimport uint8_t
from rango._ext.buffer cimport Buffer
from rango._ext.entries cimport INDEX_FIELDS_MAX
from rango._ext.filter cimport Program
from rango._ext.scan cimport Entry, Scan
from rango._ext.view cimport Found


cdef class EntryScan:
    cdef Scan scan
    cdef Program program
    cdef tuple shown
    cdef list held                  # owns the names
    cdef bint with_id
    cdef bint is_plain              # of the last entry
    cdef int field_count
    cdef const char *names[INDEX_FIELDS_MAX]    # NUL at the end; NULL: not needed
    cdef size_t name_sizes[INDEX_FIELDS_MAX]
    cdef Buffer values              # of the fields, one behind the other, then of the _id
    cdef Buffer document            # as BSON, for the program
    cdef size_t starts[INDEX_FIELDS_MAX + 1]
    cdef uint8_t types[INDEX_FIELDS_MAX]
    cdef bint is_there[INDEX_FIELDS_MAX]
    cdef uint8_t id_type
    cdef int _read(self, const Entry *entry, size_t split) except -1 nogil
    cdef int _read_id(self, const Entry *entry, size_t split) except -1 nogil
    cdef int _matches(self) except -1 nogil
    cdef int _next(self, Found *out, bint wants_record) except -1 nogil
    cdef dict _shown(self)
    cdef list _fetch(self, Py_ssize_t limit, bint is_decoded)
    cdef bint _enter(self) except -1
