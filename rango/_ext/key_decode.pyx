"""Values from keys: the other way of key.pyx, as far as the type byte of an index entry allows.

Terms       see entries.pyx.
Invariants  key_value(key(v), type of v) = v, bit for bit, for every value whose entry has its BSON
            type as type byte; the others have ENTRY_OPAQUE or ENTRY_ARRAY there. A class byte tells
            whether the key is inverted: no class is another one's complement.
Failure     Malformed keys: -1 in here, Corrupted from key_decode.
Sources     key.pyx, number.pyx; ADR-0018.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from rango._ext.bson_element cimport (
    BSON_BINARY,
    BSON_BOOL,
    BSON_DATE,
    BSON_DOUBLE,
    BSON_INT32,
    BSON_INT64,
    BSON_NULL,
    BSON_OBJECTID,
    BSON_STRING,
    BSON_TIMESTAMP,
)
from rango._ext.buffer cimport Buffer, buffer_free, buffer_grow, buffer_init, buffer_put_byte
from rango._ext.entries cimport ENTRY_ARRAY, ENTRY_MISSING, ENTRY_OPAQUE
from rango._ext.key cimport (
    CLASS_ARRAY,
    CLASS_BINARY,
    CLASS_BOOL,
    CLASS_CODE,
    CLASS_CODE_SCOPE,
    CLASS_DATE,
    CLASS_DBPOINTER,
    CLASS_DOCUMENT,
    CLASS_END,
    CLASS_MAXKEY,
    CLASS_MINKEY,
    CLASS_NULL,
    CLASS_NUMBER,
    CLASS_OBJECTID,
    CLASS_REGEX,
    CLASS_STRING,
    CLASS_TIMESTAMP,
    CLASS_UNDEFINED,
)
from rango._ext.record cimport value_decode
from rango._ext.span cimport store_u32, store_u64

from rango.errors import Corrupted

cdef enum:
    DEPTH_MAX = 128                 # more than a document may have
    DIGITS_MAX = 19                 # of an int64
    KEY_SIZE_MAX = 1024             # limits.KEY_SIZE_BYTES_MAX: a key of this size was shortened


cdef KeyReader key_reader(const uint8_t *key, size_t size) noexcept nogil:
    cdef KeyReader reader
    reader.at = key
    reader.end = key + size
    reader.flip = 0
    return reader


cdef int bytes_take(KeyReader *reader, size_t count, Buffer *out) noexcept nogil:
    # out: NULL to pass over them
    cdef uint8_t *into
    cdef size_t at
    if <size_t>(reader.end - reader.at) < count:
        return -1
    if out != NULL:
        into = buffer_grow(out, count)
        if into == NULL:
            return -1
        for at in range(count):
            into[at] = reader.at[at] ^ reader.flip
    reader.at += count
    return 0


cdef int u64_take(KeyReader *reader, uint64_t *out) noexcept nogil:
    cdef int at
    if reader.end - reader.at < 8:
        return -1
    out[0] = 0
    for at in range(8):
        out[0] = out[0] << 8 | <uint64_t>(reader.at[at] ^ reader.flip)
    reader.at += 8
    return 0


cdef int text_take(KeyReader *reader, Buffer *out) noexcept nogil:
    # 00 FF is NUL, 00 00 the end
    cdef uint8_t byte
    while reader.end - reader.at >= 2:
        byte = reader.at[0] ^ reader.flip
        reader.at += 1
        if byte == 0:
            byte = reader.at[0] ^ reader.flip
            reader.at += 1
            if byte == 0:
                return 0
            byte = 0
        if out != NULL and buffer_put_byte(out, byte) < 0:
            return -1
    return -1


cdef int name_skip(KeyReader *reader) noexcept nogil:
    cdef uint8_t byte
    while reader.at < reader.end:
        byte = reader.at[0] ^ reader.flip
        reader.at += 1
        if byte == 0:
            return 0
    return -1


cdef int number_take(KeyReader *reader, uint64_t *bits, int64_t *whole) noexcept nogil:
    # the bits of the double below it; 1 and the integer itself if the number is not that double
    cdef uint64_t sortable = 0
    cdef uint64_t digits = 0
    cdef int exponent
    cdef int count = 0
    cdef uint8_t flip
    cdef uint8_t pair
    if u64_take(reader, &sortable) < 0 or reader.at == reader.end:
        return -1
    bits[0] = sortable ^ 0x8000000000000000ULL if sortable >> 63 else ~sortable
    pair = reader.at[0] ^ reader.flip
    reader.at += 1
    if pair == 0:
        return 0
    if reader.end - reader.at < 3:
        return -1
    flip = reader.flip ^ (0xff if bits[0] >> 63 else 0)
    exponent = ((<int>(reader.at[0] ^ flip) << 8) | (reader.at[1] ^ flip)) - 0x8000
    reader.at += 2
    while reader.at < reader.end:
        pair = reader.at[0] ^ flip
        reader.at += 1
        if pair == 0:
            while count < exponent and count < DIGITS_MAX:
                digits *= 10
                count += 1
            whole[0] = <int64_t>(0 - digits) if bits[0] >> 63 else <int64_t>digits
            return 1
        # the last pair may be padded; the digits of a decimal128 that do not fit are not asked for
        if count < exponent and count < DIGITS_MAX:
            digits = digits * 10 + (pair - 1) / 10
            count += 1
        if count < exponent and count < DIGITS_MAX:
            digits = digits * 10 + (pair - 1) % 10
            count += 1
    return -1


cdef int nested_skip(KeyReader *reader, bint is_named, int depth) noexcept nogil:
    cdef uint8_t kind
    while reader.at < reader.end:
        kind = reader.at[0] ^ reader.flip
        reader.at += 1
        if kind == CLASS_END:
            return 0
        if is_named and name_skip(reader) < 0:
            return -1
        if rest_skip(reader, kind, depth + 1) < 0:
            return -1
    return -1


cdef int sized_skip(KeyReader *reader, size_t more) noexcept nogil:
    cdef size_t size = 0
    cdef int at
    if reader.end - reader.at < 4:
        return -1
    for at in range(4):
        size = size << 8 | (reader.at[at] ^ reader.flip)
    reader.at += 4
    return bytes_take(reader, size + more, NULL)


cdef int rest_skip(KeyReader *reader, uint8_t kind, int depth) noexcept nogil:
    # over what follows the class byte of a value
    cdef uint64_t bits
    cdef int64_t whole
    if depth > DEPTH_MAX:
        return -1
    if kind == CLASS_NUMBER:
        return -1 if number_take(reader, &bits, &whole) < 0 else 0
    if kind == CLASS_STRING or kind == CLASS_CODE:
        return text_take(reader, NULL)
    if kind == CLASS_DOCUMENT or kind == CLASS_ARRAY:
        return nested_skip(reader, kind == CLASS_DOCUMENT, depth)
    if kind == CLASS_BINARY:
        return sized_skip(reader, 1)
    if kind == CLASS_OBJECTID:
        return bytes_take(reader, 12, NULL)
    if kind == CLASS_BOOL:
        return bytes_take(reader, 1, NULL)
    if kind == CLASS_DATE or kind == CLASS_TIMESTAMP:
        return bytes_take(reader, 8, NULL)
    if kind == CLASS_REGEX:
        return -1 if name_skip(reader) < 0 else name_skip(reader)
    if kind == CLASS_DBPOINTER:
        return sized_skip(reader, 12)
    if kind == CLASS_CODE_SCOPE:
        return -1 if text_take(reader, NULL) < 0 else nested_skip(reader, True, depth)
    if kind == CLASS_NULL or kind == CLASS_UNDEFINED or kind == CLASS_MINKEY:
        return 0
    return 0 if kind == CLASS_MAXKEY else -1


cdef int number_value(KeyReader *reader, uint8_t type, Buffer *out) noexcept nogil:
    cdef uint64_t bits = 0
    cdef int64_t whole = 0
    cdef double near
    cdef uint8_t *into
    cdef int is_between = number_take(reader, &bits, &whole)
    if is_between < 0:
        return -1
    into = buffer_grow(out, 4 if type == BSON_INT32 else 8)
    if into == NULL:
        return -1
    if type == BSON_DOUBLE:
        store_u64(into, bits)
        return 1
    if not is_between:
        memcpy(&near, &bits, 8)
        if not -9223372036854775808.0 <= near < 9223372036854775808.0:
            return -1
        whole = <int64_t>near
    if type == BSON_INT32:
        store_u32(into, <uint32_t>whole)
    else:
        store_u64(into, <uint64_t>whole)
    return 1


cdef int string_value(KeyReader *reader, Buffer *out) noexcept nogil:
    cdef size_t start = out.size
    if buffer_grow(out, 4) == NULL or text_take(reader, out) < 0 or buffer_put_byte(out, 0) < 0:
        return -1
    store_u32(out.data + start, <uint32_t>(out.size - start - 4))
    return 1


cdef int binary_value(KeyReader *reader, Buffer *out) noexcept nogil:
    cdef size_t size = 0
    cdef uint8_t *into
    cdef int at
    if reader.end - reader.at < 4:
        return -1
    for at in range(4):
        size = size << 8 | (reader.at[at] ^ reader.flip)
    reader.at += 4
    into = buffer_grow(out, 4)
    if into == NULL:
        return -1
    store_u32(into, <uint32_t>size)
    return -1 if bytes_take(reader, size + 1, out) < 0 else 1


cdef int moment_value(KeyReader *reader, uint64_t sign, Buffer *out) noexcept nogil:
    cdef uint64_t value
    cdef uint8_t *into
    if u64_take(reader, &value) < 0:
        return -1
    into = buffer_grow(out, 8)
    if into == NULL:
        return -1
    store_u64(into, value ^ sign)
    return 1


cdef int key_value(KeyReader *reader, uint8_t type, Buffer *out) noexcept nogil:
    cdef uint8_t kind
    if reader.at == reader.end:
        return -1
    kind = reader.at[0]
    reader.at += 1
    reader.flip = 0
    # 0x05, 0x08, 0x0a, 0x14, 0x1e ... are classes; their complements are not
    if not is_class(kind):
        reader.flip = 0xff
        kind ^= 0xff
    if type == ENTRY_MISSING or type == ENTRY_ARRAY or type == ENTRY_OPAQUE:
        return rest_skip(reader, kind, 1)
    if kind == CLASS_NUMBER and (type == BSON_INT32 or type == BSON_INT64 or type == BSON_DOUBLE):
        return number_value(reader, type, out)
    if kind == CLASS_STRING and type == BSON_STRING:
        return string_value(reader, out)
    if kind == CLASS_BINARY and type == BSON_BINARY:
        return binary_value(reader, out)
    if kind == CLASS_DATE and type == BSON_DATE:
        return moment_value(reader, 0x8000000000000000ULL, out)
    if kind == CLASS_TIMESTAMP and type == BSON_TIMESTAMP:
        return moment_value(reader, 0, out)
    if kind == CLASS_OBJECTID and type == BSON_OBJECTID:
        return -1 if bytes_take(reader, 12, out) < 0 else 1
    if kind == CLASS_BOOL and type == BSON_BOOL:
        return -1 if bytes_take(reader, 1, out) < 0 else 1
    return 1 if kind == CLASS_NULL and type == BSON_NULL else -1


cdef bint is_class(uint8_t kind) noexcept nogil:
    return (
        kind == CLASS_NUMBER or kind == CLASS_STRING or kind == CLASS_NULL or kind == CLASS_DATE
        or kind == CLASS_OBJECTID or kind == CLASS_BOOL or kind == CLASS_BINARY
        or kind == CLASS_DOCUMENT or kind == CLASS_ARRAY or kind == CLASS_TIMESTAMP
        or kind == CLASS_UNDEFINED or kind == CLASS_MINKEY or kind == CLASS_MAXKEY
        or kind == CLASS_REGEX or kind == CLASS_DBPOINTER or kind == CLASS_CODE
        or kind == CLASS_CODE_SCOPE
    )


def key_decode(bytes key not None, bytes types not None):
    cdef KeyReader reader = key_reader(
        <const uint8_t *>PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key)
    )
    cdef Buffer out
    cdef list values = []
    cdef int found
    if len(key) == KEY_SIZE_MAX:
        # it was shortened: where one field ends and the next begins is not known
        return [None] * len(types)
    buffer_init(&out)
    try:
        for type in types:
            out.size = 0
            found = key_value(&reader, type, &out)
            if found < 0:
                raise Corrupted("index entry", f"its key does not hold {len(types)} such fields")
            values.append(value_decode(type, out.data, out.size) if found else None)
        if reader.at != reader.end:
            raise Corrupted("index entry", f"its key holds more than {len(types)} fields")
    finally:
        buffer_free(&out)
    return values
