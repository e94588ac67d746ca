# The fields of a record's header as elements of its document.

from libc.stdint cimport uint8_t
from rango._ext.bson_element cimport Element
from rango._ext.layout cimport (
    RECORD_FLAG_ACTOR, RECORD_FLAGS, RECORD_HEADER_SIZE, RECORD_NODE_SIZE,
)

cdef enum:
    SOURCE_BODY = 0             # where a top-level field comes from
    SOURCE_REVISION = 1
    SOURCE_UPDATED_AT = 2
    SOURCE_NODE = 3
    SCRATCH_SIZE = 264          # a node id as a BSON string: 4 + 255 + 1


# where the document of a live record starts; `size` if the record is too short for what it says
cdef inline size_t document_start(const uint8_t *record, size_t size) noexcept nogil:
    cdef size_t at
    if size < RECORD_HEADER_SIZE:
        return size
    at = RECORD_HEADER_SIZE + <size_t>record[RECORD_NODE_SIZE]
    if record[RECORD_FLAGS] & RECORD_FLAG_ACTOR and at < size:
        at += 1 + <size_t>record[at]
    return at if at < size else size


# always there: 1. scratch: SCRATCH_SIZE bytes, where its value may lie
cdef int header_find(
    const uint8_t *record, uint8_t *scratch, uint8_t source, Element *out
) noexcept nogil
