"""`$set` of fields at the top of a document, on its bytes: nothing is decoded or encoded.

Terms       field: a top-level element that the update sets. settled: encoded again after it was
            decoded, a value gives the same bytes.
Invariants  What document_set makes is what decoding, PlainSet.apply and encoding make. A field that
            has the same type and bytes stays; one that the document has keeps its place; new ones
            come last, by name. So only settled documents are taken: `_id` first, no name twice,
            arrays numbered from 0, and none of the types that come back as others. Nested names
            that start with $ may be a DBRef and are not taken either.
            Names with a dot, a $ or a leading _ are paths, operators or reserved; numbers as names
            have an order of their own: SET_ELSEWHERE.
Failure     SET_ELSEWHERE: the caller goes the general way, which also says what is wrong.
Sources     rango/engine/update/compiled.py (PlainSet); bson_decode, bson_encode.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from rango._ext.bson_check cimport BSON_DEPTH_MAX, BSON_SIZE_MAX
from rango._ext.bson_element cimport (
    BSON_ARRAY, BSON_BINARY, BSON_BOOL, BSON_DATE, BSON_DECIMAL128, BSON_DOCUMENT, BSON_DOUBLE,
    BSON_INT32, BSON_INT64, BSON_MAXKEY, BSON_MINKEY, BSON_NULL, BSON_OBJECTID, BSON_STRING,
    BSON_TIMESTAMP, Element, document_span, element_next,
)
from rango._ext.buffer cimport Buffer, buffer_free, buffer_init, buffer_reserve
from rango._ext.span cimport Span, load_u16, load_u32, load_u64, store_u32

cdef enum:
    NAMES_WORDS = 16                # 1,024 bits: two names seldom have the same one
    BINARY_GENERIC = 0
    BINARY_UUID = 4
    UUID_VALUE_SIZE = 21


ctypedef struct Names:
    # which names a document has had so far: a bit each
    uint64_t bits[NAMES_WORDS]


cdef inline uint64_t name_hash(const uint8_t *name, size_t size) noexcept nogil:
    cdef uint64_t mixed = size
    if size >= 8:
        mixed ^= load_u64(name) * 0x9e3779b97f4a7c15ULL ^ load_u64(name + size - 8)
    elif size >= 4:
        mixed ^= (<uint64_t>load_u32(name) << 32) ^ load_u32(name + size - 4)
    elif size >= 2:
        mixed ^= (<uint64_t>load_u16(name) << 16) ^ load_u16(name + size - 2) << 3
    elif size:
        mixed ^= <uint64_t>name[0] << 8
    mixed *= 0xff51afd7ed558ccdULL
    return mixed >> 54


cdef bint name_is_new(Names *names, const Span *span, const Element *element) noexcept nogil:
    # whether no element before this one has its name
    cdef uint64_t hash = name_hash(<const uint8_t *>element.name, element.name_size)
    cdef uint64_t bit = <uint64_t>1 << (hash & 63)
    cdef Span before
    cdef Element other
    if names.bits[hash >> 6] & bit == 0:
        names.bits[hash >> 6] |= bit
        return True
    before = span[0]
    before.at = 0
    while element_next(&before, &other) == 1 and other.name != element.name:
        if other.name_size == element.name_size and memcmp(
            other.name, element.name, other.name_size
        ) == 0:
            return False
    return True


cdef bint name_is_place(const Element *element, uint32_t place) noexcept nogil:
    # whether an element of an array is named by its place, in decimal
    cdef size_t at = element.name_size
    cdef uint32_t rest = place
    while at:
        at -= 1
        if element.name[at] != <char>(48 + rest % 10):
            return False
        rest //= 10
        if rest == 0:
            return at == 0
    return False


cdef bint is_settled(const Element *element, int depth) noexcept nogil:  # hot
    cdef uint8_t type = element.type
    if (
        type == BSON_STRING or type == BSON_INT32 or type == BSON_DOUBLE or type == BSON_DATE
        or type == BSON_BOOL or type == BSON_NULL or type == BSON_INT64 or type == BSON_OBJECTID
        or type == BSON_TIMESTAMP or type == BSON_DECIMAL128 or type == BSON_MINKEY
        or type == BSON_MAXKEY
    ):
        return True
    if type == BSON_DOCUMENT or type == BSON_ARRAY:
        return depth < BSON_DEPTH_MAX and nested_is_settled(element, depth + 1)
    if type == BSON_BINARY:
        return element.value[4] == BINARY_GENERIC or (
            element.value[4] == BINARY_UUID and element.value_size == UUID_VALUE_SIZE
        )
    return False


cdef bint nested_is_settled(const Element *nested, int depth) noexcept nogil:
    # a document or an array
    cdef Names names
    cdef Span span
    cdef Element element
    cdef bint is_array = nested.type == BSON_ARRAY
    cdef uint32_t place = 0
    cdef int more
    memset(&names, 0, sizeof(Names))
    if document_span(nested.value, nested.value_size, &span) < 0:
        return False
    while True:
        more = element_next(&span, &element)
        if more <= 0:
            return more == 0
        if is_array:
            if not name_is_place(&element, place):
                return False
            place += 1
        elif element.name[0] == 36 or not name_is_new(&names, &span, &element):
            return False
        if not is_settled(&element, depth):
            return False


cdef bint is_field_name(const uint8_t *name, size_t size) noexcept nogil:
    cdef size_t at
    if size == 0 or name[0] == 95:
        return False
    for at in range(size):
        if name[at] == 46 or name[at] == 36:
            return False
    return True


cdef bint comes_before(const SetField *left, const SetField *right) noexcept nogil:
    cdef size_t size = min(left.name_size, right.name_size)
    cdef int order = memcmp(left.start + 1, right.start + 1, size)
    return order < 0 or (order == 0 and left.name_size < right.name_size)


cdef int set_fields(const uint8_t *bson, size_t size, SetFields *out) noexcept nogil:
    cdef Span span
    cdef Element element
    cdef SetField field
    cdef int at
    cdef bint has_number = False
    out.count = 0
    out.size = 0
    if document_span(bson, size, &span) < 0:
        return SET_ELSEWHERE
    while element_next(&span, &element) == 1:
        if out.count == SET_FIELDS_MAX or not is_field_name(
            <const uint8_t *>element.name, element.name_size
        ):
            return SET_ELSEWHERE
        has_number = has_number or 48 <= element.name[0] <= 57
        field.start = <const uint8_t *>element.name - 1
        field.size = element.name_size + 2 + element.value_size
        field.name_size = element.name_size
        field.is_met = False
        at = out.count
        while at and comes_before(&field, &out.items[at - 1]):
            out.items[at] = out.items[at - 1]
            at -= 1
        out.items[at] = field
        out.count += 1
        out.size += field.size
    if out.count == 0 or (has_number and out.count > 1):
        return SET_ELSEWHERE
    return 0


cdef SetField *field_find(SetFields *fields, const Element *element) noexcept nogil:
    cdef int at
    for at in range(fields.count):
        if fields.items[at].name_size == element.name_size and memcmp(
            fields.items[at].start + 1, element.name, element.name_size
        ) == 0:
            return &fields.items[at]
    return NULL


cdef inline void put(Buffer *out, const uint8_t *source, size_t size) noexcept nogil:
    # there is room
    memcpy(out.data + out.size, source, size)
    out.size += size


cdef int document_set(
    const uint8_t *bson, size_t size, SetFields *fields, Buffer *out
) noexcept nogil:  # hot
    cdef Names names
    cdef Span span
    cdef Element element
    cdef SetField *field
    cdef size_t start = out.size
    cdef const uint8_t *kept = bson         # from here on, nothing is in `out` yet
    cdef const uint8_t *at
    cdef size_t element_size
    cdef int more
    cdef int number
    memset(&names, 0, sizeof(Names))
    if document_span(bson, size, &span) < 0 or span.size + 5 != size:
        return SET_ELSEWHERE
    if size + fields.size > BSON_SIZE_MAX:
        return SET_ELSEWHERE
    if buffer_reserve(out, size + fields.size) < 0:
        return SET_NO_MEMORY
    more = element_next(&span, &element)
    if more != 1 or element.name_size != 3 or memcmp(element.name, b"_id", 3) != 0:
        return SET_ELSEWHERE
    while more == 1:
        if not (name_is_new(&names, &span, &element) and is_settled(&element, 1)):
            out.size = start
            return SET_ELSEWHERE
        field = field_find(fields, &element)
        if field != NULL:
            field.is_met = True
            at = <const uint8_t *>element.name - 1
            element_size = element.name_size + 2 + element.value_size
            if element_size != field.size or memcmp(at, field.start, element_size) != 0:
                put(out, kept, <size_t>(at - kept))
                put(out, field.start, field.size)
                kept = at + element_size
        more = element_next(&span, &element)
    if more < 0:
        out.size = start
        return SET_ELSEWHERE
    for number in range(fields.count):
        if not fields.items[number].is_met:
            put(out, kept, <size_t>(bson + size - 1 - kept))
            kept = bson + size - 1
            put(out, fields.items[number].start, fields.items[number].size)
    if out.size == start:
        return SET_SAME
    put(out, kept, <size_t>(bson + size - kept))
    store_u32(out.data + start, <uint32_t>(out.size - start))
    return SET_CHANGED


# --- door: what tests compare with the general way

def bson_set(bytes bson not None, bytes fields not None):
    """The document with these fields (a document): the same bytes object if nothing changes, None
    if it is not for this way.
    """
    cdef SetFields found
    cdef Buffer out
    cdef int answer = set_fields(fields, <size_t>len(fields), &found)
    if answer < 0:
        return None
    buffer_init(&out)
    try:
        answer = document_set(bson, <size_t>len(bson), &found, &out)
        if answer == SET_NO_MEMORY:
            raise MemoryError
        if answer == SET_SAME:
            return bson
        return out.data[:out.size] if answer == SET_CHANGED else None
    finally:
        buffer_free(&out)
