# Index entries: what an index holds of one document.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from rango._ext.bson_set cimport SetFields
from rango._ext.buffer cimport Buffer

cdef enum:
    INDEX_FIELDS_MAX = 32           # limits.INDEX_FIELDS_MAX
    # types of the fields of an entry that are no BSON types of values which the key gives back
    ENTRY_MISSING = 0x00            # there is no such field: it counts as null
    ENTRY_ARRAY = 0xfe              # an array lies on the path: look at the record
    ENTRY_OPAQUE = 0xff             # the key does not say which value it was: look at the record

# what the documents of an index did to it: a bit for each field that met an array, and this one if
# some key was shortened
cdef uint64_t MARK_SHORTENED


cdef class EntryMaker:
    # the fields of an index, split once
    cdef readonly tuple fields      # of (path, 1 or -1)
    cdef readonly bint sparse
    cdef int count
    cdef uint32_t inverted          # bit f: the key of field f is inverted
    cdef list parts                 # of each path: u16 size and bytes of each part
    cdef int part_counts[INDEX_FIELDS_MAX]
    # append every entry of the document, sorted and distinct, each as u16 size, key, and a type
    # byte for each field; returns their number; marks are added to
    cdef int entries(
        self, const uint8_t *bson, size_t size, Buffer *out, uint64_t *marks
    ) except -1
    # whether one of these fields is the beginning of a path
    cdef bint reads(self, const SetFields *changed) except -1
    # the values of the entry with this key in the document, as {path: value}
    cdef dict values(self, const uint8_t *bson, size_t size, const uint8_t *key, size_t key_size)
