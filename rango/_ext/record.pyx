"""Records: the header, the node id, the actor and the BSON document; the doors of the codec.

Terms       record, document, node, revision, ordinal: see the glossary.
Invariants  What encode writes, validate accepts; what validate accepts, decode can read.
Layout      layout.pxd RECORD_*; drawn in docs/reference/format.md#record.
Failure     Foreign bytes go through document_validate: InvalidDocument with the offset, or
            LimitExceeded. A record that is too short for its header, its node id or its actor is
            refused by record_header_read.
Sources     bsonspec.org, bson-corpus.md; bson_decode and bson_encode say which Python types are
            used.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from rango._ext.bson_check cimport (
    BSON_BAD_BINARY,
    BSON_BAD_BOOL,
    BSON_BAD_FRAME,
    BSON_BAD_SCOPE,
    BSON_BAD_UTF8,
    BSON_DEPTH_MAX,
    BSON_SOUND,
    BSON_TOO_DEEP,
    BSON_TOO_LARGE,
    bson_check,
)
from rango._ext.bson_decode cimport element_decode, fields_decode, fields_decode_some
from rango._ext.bson_element cimport Element
from rango._ext.bson_encode cimport element_encode, fields_encode
from rango._ext.buffer cimport Buffer, buffer_free, buffer_grow, buffer_init, buffer_put
from rango._ext.layout cimport (
    RECORD_COUNTER,
    RECORD_FLAG_ACTOR,
    RECORD_FLAG_TOMBSTONE,
    RECORD_FLAGS,
    RECORD_HEADER_SIZE,
    RECORD_MS,
    RECORD_NODE_SIZE,
    RECORD_ORDINAL,
    RECORD_UPDATED_AT,
)
from rango._ext.match cimport FilterName, name_find, name_wanted
from rango._ext.span cimport load_u16, load_u64, store_u16, store_u64

from rango.errors import InvalidDocument, LimitExceeded

cdef enum:
    NOGIL_SIZE_MIN = 16384      # about 5 us of checking; releasing the GIL costs 25 ns


cdef int record_header_read(
    const uint8_t *record, size_t size, RecordHeader *out
) noexcept nogil:
    cdef size_t node_size
    cdef size_t left
    if size < RECORD_HEADER_SIZE:
        return -1
    node_size = record[RECORD_NODE_SIZE]
    if node_size > size - RECORD_HEADER_SIZE:
        return -1
    left = size - RECORD_HEADER_SIZE - node_size
    out.flags = record[RECORD_FLAGS]
    out.counter = load_u16(record + RECORD_COUNTER)
    out.ms = load_u64(record + RECORD_MS)
    out.updated_at = <int64_t>load_u64(record + RECORD_UPDATED_AT)
    out.ordinal = load_u64(record + RECORD_ORDINAL)
    out.node = record + RECORD_HEADER_SIZE
    out.node_size = node_size
    out.bson = out.node + node_size
    out.actor = out.bson
    out.actor_size = 0
    if out.flags & RECORD_FLAG_ACTOR or (out.flags & RECORD_FLAG_TOMBSTONE and left):
        if left == 0 or out.bson[0] > left - 1:
            return -1
        out.actor = out.bson + 1
        out.actor_size = out.bson[0]
        out.bson = out.actor + out.actor_size
        left -= 1 + out.actor_size
        if out.flags & RECORD_FLAG_TOMBSTONE and left:
            return -1
    out.bson_size = left
    return 0


cdef int raise_memory() except -1 nogil:
    with gil:
        raise MemoryError


cdef int record_header_write(
    Buffer *out, uint8_t flags, uint64_t ms, uint16_t counter, int64_t updated_at,
    uint64_t ordinal, const uint8_t *node, size_t node_size, const uint8_t *actor,
    size_t actor_size
) except -1 nogil:
    assert node_size <= 255 and actor_size <= 255
    cdef size_t more = 1 + actor_size if actor_size else 0
    cdef uint8_t *into = buffer_grow(out, RECORD_HEADER_SIZE + node_size + more)
    if into == NULL:
        return raise_memory()
    # a tombstone keeps its one flag, by which it is told from everything else
    if actor_size and not flags & RECORD_FLAG_TOMBSTONE:
        flags |= RECORD_FLAG_ACTOR
    into[RECORD_FLAGS] = flags
    into[RECORD_NODE_SIZE] = <uint8_t>node_size
    store_u16(into + RECORD_COUNTER, counter)
    store_u64(into + RECORD_MS, ms)
    store_u64(into + RECORD_UPDATED_AT, <uint64_t>updated_at)
    store_u64(into + RECORD_ORDINAL, ordinal)
    if node_size:
        memcpy(into + RECORD_HEADER_SIZE, node, node_size)
    if actor_size:
        into += RECORD_HEADER_SIZE + node_size
        into[0] = <uint8_t>actor_size
        memcpy(into + 1, actor, actor_size)
    return 0


cdef int document_find(
    const uint8_t *bson, size_t size, const char *name, size_t name_size, Element *out
) noexcept nogil:  # hot
    cdef FilterName wanted
    name_wanted(&wanted, name, name_size)
    return name_find(bson, size, &wanted, out)


cdef object document_decode(const uint8_t *bson, size_t size):
    return fields_decode(bson, size, 1)


cdef object value_decode(uint8_t type, const uint8_t *value, size_t size):
    return element_decode(type, value, size, 1)


cdef int document_encode(Buffer *out, object document, object id_value) except -1:
    return fields_encode(out, document, id_value)


cdef int value_encode(Buffer *out, object value, uint8_t *type) except -1:
    return element_encode(out, value, type)


cdef str fault_text(int fault):
    if fault == BSON_BAD_FRAME:
        return "the size of the document is not the number of bytes, or its last byte is not 0"
    if fault == BSON_BAD_UTF8:
        return "a string or a name is not valid UTF-8"
    if fault == BSON_BAD_BOOL:
        return "a boolean is neither 0 nor 1"
    if fault == BSON_BAD_BINARY:
        return "the inner size of a binary of subtype 2 does not fit its size"
    if fault == BSON_BAD_SCOPE:
        return "the sizes inside a code with scope do not fit together"
    return "an element has an unknown type, or a size that does not fit"


cdef int document_validate(const uint8_t *bson, size_t size) except -1:
    cdef size_t at = 0
    cdef int fault
    if size >= NOGIL_SIZE_MIN:
        with nogil:
            fault = bson_check(bson, size, 1, &at)
    else:
        fault = bson_check(bson, size, 1, &at)
    if fault == BSON_SOUND:
        return 0
    if fault == BSON_TOO_LARGE:
        raise LimitExceeded("DOCUMENT_SIZE_BYTES_MAX", size)
    if fault == BSON_TOO_DEEP:
        raise LimitExceeded("NESTING_DEPTH_MAX", BSON_DEPTH_MAX + 1)
    raise InvalidDocument(f"malformed BSON at offset {at}: {fault_text(fault)}")


cdef bytes buffer_bytes(Buffer *buffer):
    return PyBytes_FromStringAndSize(<char *>buffer.data, <Py_ssize_t>buffer.size)


def encode(document not None, id_value=None):
    cdef Buffer out
    buffer_init(&out)
    try:
        document_encode(&out, document, id_value)
        return buffer_bytes(&out)
    finally:
        buffer_free(&out)


def decode(bytes data not None):
    cdef const uint8_t *bson = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef size_t size = <size_t>PyBytes_GET_SIZE(data)
    document_validate(bson, size)
    return document_decode(bson, size)


def decode_trusted(bytes data not None):
    """decode without the check: for bytes that were validated before they were stored."""
    return document_decode(
        <const uint8_t *>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data)
    )


def validate(bytes data not None):
    document_validate(
        <const uint8_t *>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data)
    )


def record_build(
    bytes bson not None, uint8_t flags, uint64_t ms, uint16_t counter, int64_t updated_at,
    uint64_t ordinal, bytes node not None, bytes actor not None=b""
):
    cdef Buffer out
    if PyBytes_GET_SIZE(node) > 200:
        raise LimitExceeded("NODE_ID_SIZE_BYTES_MAX", PyBytes_GET_SIZE(node))
    if PyBytes_GET_SIZE(actor) > 255:
        raise LimitExceeded("ACTOR_SIZE_BYTES_MAX", PyBytes_GET_SIZE(actor))
    buffer_init(&out)
    try:
        record_header_write(
            &out, flags, ms, counter, updated_at, ordinal,
            <const uint8_t *>PyBytes_AS_STRING(node), <size_t>PyBytes_GET_SIZE(node),
            <const uint8_t *>PyBytes_AS_STRING(actor), <size_t>PyBytes_GET_SIZE(actor),
        )
        if buffer_put(&out, PyBytes_AS_STRING(bson), <size_t>PyBytes_GET_SIZE(bson)) < 0:
            raise MemoryError
        return buffer_bytes(&out)
    finally:
        buffer_free(&out)


cdef int header_of(const uint8_t *record, size_t size, RecordHeader *out) except -1:
    if record_header_read(record, size, out) < 0:
        raise InvalidDocument("the record is shorter than its header; its bytes are damaged")
    return 0


def record_parts(bytes record not None):
    cdef RecordHeader header
    header_of(
        <const uint8_t *>PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record), &header)
    return (
        header.flags, header.ms, header.counter, header.updated_at, header.ordinal,
        header.node[:header.node_size],
        header.bson[:header.bson_size],
    )


def record_actor(bytes record not None):
    cdef RecordHeader header
    header_of(
        <const uint8_t *>PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record), &header)
    return header.actor[:header.actor_size]


cdef object record_some(const uint8_t *record, size_t size, object names, bint is_kept):
    cdef RecordHeader header
    if record_header_read(record, size, &header) < 0:
        raise InvalidDocument("the record is shorter than its header; its bytes are damaged")
    if names is None:
        return document_decode(header.bson, header.bson_size)
    return fields_decode_some(header.bson, header.bson_size, names, is_kept)


def record_fields(bytes record not None, frozenset names=None, bint is_kept=True):
    return record_some(
        <const uint8_t *>PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record), names,
        is_kept,
    )


def record_bson(bytes record not None):
    cdef RecordHeader header
    header_of(
        <const uint8_t *>PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record), &header)
    return header.bson[:header.bson_size]
