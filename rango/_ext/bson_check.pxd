# Full check of BSON bytes that nobody has checked before: frames, types, UTF-8, booleans, inner
# lengths, depth.
#
# Iterative: the open documents are a fixed array of ends, so hostile nesting cannot reach the C
# stack. Array names may be anything (the corpus calls that degenerate but readable); duplicate
# names are allowed; NUL cannot occur inside a name. Sources: bsonspec.org, bson-corpus.md.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport strlen
from rango._ext.bson_element cimport (
    BSON_ARRAY,
    BSON_BINARY,
    BSON_BOOL,
    BSON_CODE,
    BSON_CODE_SCOPE,
    BSON_DBPOINTER,
    BSON_DOCUMENT,
    BSON_REGEX,
    BSON_STRING,
    BSON_SYMBOL,
    Element,
    element_next,
)
from rango._ext.span cimport Span, load_u32, load_u64

cdef enum:
    BSON_DEPTH_MAX = 100                    # limits.NESTING_DEPTH_MAX
    BSON_SIZE_MAX = 16777216                # limits.DOCUMENT_SIZE_BYTES_MAX
    BINARY_SUBTYPE_OLD = 2                  # its bytes start with a second length

cdef enum:
    BSON_SOUND = 0
    BSON_BAD_FRAME = 1
    BSON_BAD_ELEMENT = 2
    BSON_BAD_UTF8 = 3
    BSON_BAD_BOOL = 4
    BSON_BAD_BINARY = 5
    BSON_BAD_SCOPE = 6
    BSON_TOO_DEEP = 7
    BSON_TOO_LARGE = 8


cdef inline bint utf8_is_ascii(const uint8_t *p, size_t size) noexcept nogil:
    cdef size_t at = 0
    while size - at >= 8:
        if load_u64(p + at) & 0x8080808080808080ULL:
            return False
        at += 8
    while at < size:
        if p[at] & 0x80:
            return False
        at += 1
    return True


cdef inline bint utf8_is_valid(const uint8_t *p, size_t size) noexcept nogil:
    # strict: no overlong forms, no surrogates, nothing past U+10FFFF (Unicode 15, table 3-7)
    cdef size_t at = 0
    cdef size_t more
    cdef size_t step
    cdef uint8_t lead, lower, upper
    while at < size:
        if size - at >= 8 and (load_u64(p + at) & 0x8080808080808080ULL) == 0:
            at += 8
            continue
        lead = p[at]
        if lead < 0x80:
            at += 1
            continue
        lower = 0x80
        upper = 0xbf
        if 0xc2 <= lead <= 0xdf:
            more = 1
        elif 0xe0 <= lead <= 0xef:
            more = 2
            if lead == 0xe0:
                lower = 0xa0
            elif lead == 0xed:
                upper = 0x9f
        elif 0xf0 <= lead <= 0xf4:
            more = 3
            if lead == 0xf0:
                lower = 0x90
            elif lead == 0xf4:
                upper = 0x8f
        else:
            return False
        if more >= size - at or p[at + 1] < lower or p[at + 1] > upper:
            return False
        for step in range(2, more + 1):
            if (p[at + step] & 0xc0) != 0x80:
                return False
        at += more + 1
    return True


cdef inline int value_check(const Element *element) noexcept nogil:
    # what element_next did not look at, of a value that is not a plain document; BSON_*
    cdef const uint8_t *value = element.value
    cdef size_t size = element.value_size
    cdef size_t code_size, first
    if element.type == BSON_STRING or element.type == BSON_CODE or element.type == BSON_SYMBOL:
        return BSON_SOUND if utf8_is_valid(value + 4, size - 5) else BSON_BAD_UTF8
    if element.type == BSON_BOOL:
        return BSON_SOUND if value[0] <= 1 else BSON_BAD_BOOL
    if element.type == BSON_REGEX:
        first = strlen(<const char *>value)
        if utf8_is_valid(value, first) and utf8_is_valid(value + first + 1, size - first - 2):
            return BSON_SOUND
        return BSON_BAD_UTF8
    if element.type == BSON_DBPOINTER:
        return BSON_SOUND if utf8_is_valid(value + 4, size - 17) else BSON_BAD_UTF8
    if element.type == BSON_BINARY and value[4] == BINARY_SUBTYPE_OLD:
        if size < 9 or load_u32(value + 5) != size - 9:
            return BSON_BAD_BINARY
    if element.type == BSON_CODE_SCOPE:
        # total size, code (size, bytes, NUL), scope document; element_next gave size >= 14
        code_size = load_u32(value + 4)
        if code_size < 1 or code_size > size - 13 or value[8 + code_size - 1] != 0:
            return BSON_BAD_SCOPE
        if load_u32(value + 8 + code_size) != size - 8 - code_size or value[size - 1] != 0:
            return BSON_BAD_SCOPE
        return BSON_SOUND if utf8_is_valid(value + 8, code_size - 1) else BSON_BAD_UTF8
    return BSON_SOUND


cdef inline int bson_check(const uint8_t *bson, size_t size, int depth, size_t *at) noexcept nogil:
    # BSON_SOUND, or what is wrong and, in `at`, the offset. The document itself is at depth `depth`
    # (1 = top level).
    cdef size_t ends[BSON_DEPTH_MAX + 1]    # where the elements of each open document end
    cdef int open = 0
    cdef int found, fault
    cdef size_t inner                       # how far into its value a nested document starts
    cdef Span span
    cdef Element element
    at[0] = 0
    if size < 5 or load_u32(bson) != size or bson[size - 1] != 0:
        return BSON_BAD_FRAME
    if size > BSON_SIZE_MAX:
        return BSON_TOO_LARGE
    if depth > BSON_DEPTH_MAX:
        return BSON_TOO_DEEP
    span.base = bson
    span.at = 4
    span.size = size - 1
    while True:
        at[0] = span.at
        found = element_next(&span, &element)
        if found < 0:
            return BSON_BAD_ELEMENT
        if found == 0:
            if open == 0:
                return BSON_SOUND
            open -= 1
            span.at += 1
            span.size = ends[open]
            continue
        if not utf8_is_valid(<const uint8_t *>element.name, element.name_size):
            return BSON_BAD_UTF8
        fault = value_check(&element)
        if fault != BSON_SOUND:
            return fault
        if element.type == BSON_DOCUMENT or element.type == BSON_ARRAY:
            inner = 0
        elif element.type == BSON_CODE_SCOPE:
            inner = 8 + <size_t>load_u32(element.value + 4)
        else:
            continue
        open += 1
        if depth + open > BSON_DEPTH_MAX:
            return BSON_TOO_DEEP
        ends[open - 1] = span.size
        span.size = span.at - 1             # a nested document ends where its value ends
        span.at = <size_t>(element.value - bson) + inner + 4
