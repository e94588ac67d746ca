# Walking raw BSON: one element at a time, bounds checked, nothing decoded. Used by the codec, the
# key encoder and the filter.
#
# `element_next` trusts nothing: every length is compared with what is left before it is used. It
# does not check UTF-8 and does not look into nested documents (their declared size is checked
# against the span only).

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memchr
from rango._ext.span cimport Span, load_u32, span_of, span_take

cdef enum:
    BSON_DOUBLE = 0x01
    BSON_STRING = 0x02
    BSON_DOCUMENT = 0x03
    BSON_ARRAY = 0x04
    BSON_BINARY = 0x05
    BSON_UNDEFINED = 0x06
    BSON_OBJECTID = 0x07
    BSON_BOOL = 0x08
    BSON_DATE = 0x09
    BSON_NULL = 0x0a
    BSON_REGEX = 0x0b
    BSON_DBPOINTER = 0x0c
    BSON_CODE = 0x0d
    BSON_SYMBOL = 0x0e
    BSON_CODE_SCOPE = 0x0f
    BSON_INT32 = 0x10
    BSON_TIMESTAMP = 0x11
    BSON_INT64 = 0x12
    BSON_DECIMAL128 = 0x13
    BSON_MAXKEY = 0x7f
    BSON_MINKEY = 0xff


ctypedef struct Element:
    uint8_t type                # BSON_*
    const char *name            # NUL-terminated inside the document
    size_t name_size            # without the NUL
    const uint8_t *value        # as stored: strings and documents start with their int32 size
    size_t value_size           # bytes of the value


cdef inline int document_span(const uint8_t *base, size_t size, Span *out) noexcept nogil:
    # the elements of a document (between its int32 size and its final NUL): 0, or -1 when its frame
    # is wrong
    cdef uint32_t declared
    if size < 5:
        return -1
    declared = load_u32(base)
    if declared < 5 or declared > size or base[declared - 1] != 0:
        return -1
    out[0] = span_of(base + 4, declared - 5)
    return 0


cdef inline Py_ssize_t element_value_size(
    uint8_t type, const uint8_t *p, size_t left
) noexcept nogil:
    # size of a value of this type that starts at p, or -1 (unknown type, or longer than what is
    # left)
    cdef size_t need
    cdef const void *end
    cdef const void *second
    if type == BSON_DOUBLE or type == BSON_DATE or type == BSON_TIMESTAMP or type == BSON_INT64:
        need = 8
    elif type == BSON_INT32:
        need = 4
    elif type == BSON_STRING or type == BSON_CODE or type == BSON_SYMBOL:
        if left < 5:
            return -1
        need = load_u32(p)
        if need < 1 or need > left - 4 or p[4 + need - 1] != 0:
            return -1
        need += 4
    elif type == BSON_DOCUMENT or type == BSON_ARRAY:
        if left < 5:
            return -1
        need = load_u32(p)
        if need < 5 or need > left or p[need - 1] != 0:
            return -1
    elif type == BSON_CODE_SCOPE:
        if left < 14:
            return -1
        need = load_u32(p)
        if need < 14 or need > left:
            return -1
    elif type == BSON_BINARY:
        if left < 5:
            return -1
        need = load_u32(p)
        if need > left - 5:
            return -1
        need += 5
    elif type == BSON_OBJECTID:
        need = 12
    elif type == BSON_BOOL:
        need = 1
    elif type == BSON_NULL or type == BSON_UNDEFINED or type == BSON_MINKEY or type == BSON_MAXKEY:
        need = 0
    elif type == BSON_DECIMAL128:
        need = 16
    elif type == BSON_REGEX:
        end = memchr(p, 0, left)
        if end == NULL:
            return -1
        need = <size_t>(<const uint8_t *>end - p) + 1
        second = memchr(p + need, 0, left - need)
        if second == NULL:
            return -1
        need = <size_t>(<const uint8_t *>second - p) + 1
    elif type == BSON_DBPOINTER:
        if left < 17:
            return -1
        need = load_u32(p)
        if need < 1 or need > left - 16 or p[4 + need - 1] != 0:
            return -1
        need += 16
    else:
        return -1
    if need > left:
        return -1
    return <Py_ssize_t>need


cdef inline int element_next(Span *span, Element *out) noexcept nogil:
    # 1 = an element was read, 0 = the end, -1 = malformed
    cdef const uint8_t *start = span.base + span.at
    cdef size_t left = span.size - span.at
    cdef const void *end
    cdef size_t name_size
    cdef Py_ssize_t value_size
    if left == 0:
        return 0
    end = memchr(start + 1, 0, left - 1)
    if end == NULL:
        return -1
    name_size = <size_t>(<const uint8_t *>end - (start + 1))
    value_size = element_value_size(start[0], start + 2 + name_size, left - 2 - name_size)
    if value_size < 0:
        return -1
    out.type = start[0]
    out.name = <const char *>(start + 1)
    out.name_size = name_size
    out.value = start + 2 + name_size
    out.value_size = <size_t>value_size
    span.at += 2 + name_size + <size_t>value_size
    return 1
