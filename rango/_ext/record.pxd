# BSON codec and raw field access. A record is a header (layout RECORD_*), the node id, perhaps the
# actor, and a BSON document.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from rango._ext.bson_element cimport Element
from rango._ext.buffer cimport Buffer


ctypedef struct RecordHeader:
    uint8_t flags
    uint16_t counter
    uint64_t ms
    int64_t updated_at
    uint64_t ordinal
    const uint8_t *node
    size_t node_size
    const uint8_t *actor
    size_t actor_size           # 0: nobody was named
    const uint8_t *bson
    size_t bson_size


# 0, or -1: too short, or a tombstone with something behind its actor
cdef int record_header_read(
    const uint8_t *record, size_t size, RecordHeader *out
) noexcept nogil
cdef int record_header_write(
    Buffer *out, uint8_t flags, uint64_t ms, uint16_t counter, int64_t updated_at,
    uint64_t ordinal, const uint8_t *node, size_t node_size, const uint8_t *actor,
    size_t actor_size
) except -1 nogil

# top-level field of a document: 1 found, 0 not there, -1 malformed
cdef int document_find(
    const uint8_t *bson, size_t size, const char *name, size_t name_size, Element *out
) noexcept nogil

# With the GIL: Python objects from and to BSON. decode trusts that the document was validated;
# encode raises InvalidDocument or LimitExceeded naming the path.
cdef object document_decode(const uint8_t *bson, size_t size)
# the document of a record; of a frozenset of names, those top-level fields (is_kept) or the others
cdef object record_some(const uint8_t *record, size_t size, object names, bint is_kept)
cdef object value_decode(uint8_t type, const uint8_t *value, size_t size)
# id_value: written first as `_id` if it is not None; the document's own `_id` is then left out
cdef int document_encode(Buffer *out, object document, object id_value) except -1
# the bytes of one value, without type and name; its type goes to `type`
cdef int value_encode(Buffer *out, object value, uint8_t *type) except -1
# full check of foreign bytes (structure, UTF-8, depth, names): 0, or -1 with InvalidDocument or
# LimitExceeded set
cdef int document_validate(const uint8_t *bson, size_t size) except -1
