"""The fields of a record's header as elements of its document: `_rev`, `_updated_at`,
`_source_node`.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy
from rango._ext.bson_element cimport BSON_DATE, BSON_STRING, Element
from rango._ext.compare cimport REVISION_SIZE, TYPE_REVISION
from rango._ext.layout cimport (
    RECORD_COUNTER, RECORD_HEADER_SIZE, RECORD_MS, RECORD_NODE_SIZE, RECORD_UPDATED_AT,
)
from rango._ext.siphash cimport node_tag
from rango._ext.span cimport store_u32


cdef int header_find(
    const uint8_t *record, uint8_t *scratch, uint8_t source, Element *out
) noexcept nogil:
    # a field of the record's header as an element; always there
    cdef uint8_t node_size = record[RECORD_NODE_SIZE]
    cdef const uint8_t *node = record + RECORD_HEADER_SIZE
    cdef uint16_t tag
    cdef int i
    out.value = scratch
    if source == SOURCE_UPDATED_AT:
        out.type = BSON_DATE
        out.value = record + RECORD_UPDATED_AT
        out.value_size = 8
    elif source == SOURCE_NODE:
        out.type = BSON_STRING
        store_u32(scratch, <uint32_t>node_size + 1)
        memcpy(scratch + 4, node, node_size)
        scratch[4 + node_size] = 0
        out.value_size = <size_t>node_size + 5
    else:
        out.type = TYPE_REVISION
        for i in range(8):
            scratch[i] = record[RECORD_MS + 7 - i]
        scratch[8] = record[RECORD_COUNTER + 1]
        scratch[9] = record[RECORD_COUNTER]
        tag = node_tag(node, node_size)
        scratch[10] = <uint8_t>(tag >> 8)
        scratch[11] = <uint8_t>(tag & 0xff)
        out.value_size = REVISION_SIZE
    return 1
