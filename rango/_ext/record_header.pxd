# The fields of a record's header as elements of its document.

from libc.stdint cimport uint8_t
from rango._ext.bson_element cimport Element

cdef enum:
    SOURCE_BODY = 0             # where a top-level field comes from
    SOURCE_REVISION = 1
    SOURCE_UPDATED_AT = 2
    SOURCE_NODE = 3
    SCRATCH_SIZE = 264          # a node id as a BSON string: 4 + 255 + 1

# always there: 1. scratch: SCRATCH_SIZE bytes, where its value may lie
cdef int header_find(
    const uint8_t *record, uint8_t *scratch, uint8_t source, Element *out
) noexcept nogil
