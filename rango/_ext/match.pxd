# What a compiled filter is made of, and the walk over raw BSON that runs it.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp
from rango._ext.bson_element cimport (
    BSON_ARRAY, BSON_BINARY, BSON_BOOL, BSON_CODE, BSON_CODE_SCOPE, BSON_DATE, BSON_DBPOINTER,
    BSON_DECIMAL128, BSON_DOCUMENT, BSON_DOUBLE, BSON_INT32, BSON_INT64, BSON_MAXKEY, BSON_MINKEY,
    BSON_NULL, BSON_OBJECTID, BSON_STRING, BSON_SYMBOL, BSON_TIMESTAMP, BSON_UNDEFINED,
    Element, document_span, element_value_size,
)
from rango._ext.span cimport Span, load_u32, load_u64

cdef extern from *:
    int count_trailing_zeros "__builtin_ctzll"(unsigned long long) noexcept nogil

cdef enum:
    OP_TRUE = 0
    OP_EXISTS = 1
    OP_EQ = 2
    OP_GT = 3
    OP_GTE = 4
    OP_LT = 5
    OP_LTE = 6
    OP_IN = 7

    SOURCE_BODY = 0             # where a top-level field comes from
    SOURCE_REVISION = 1
    SOURCE_UPDATED_AT = 2
    SOURCE_NODE = 3

    GOTO_ACCEPT = -1
    GOTO_REJECT = -2

    SKIP_SIZED = 0x40           # to step over a value: its first four bytes as a number, plus the other bits
    SKIP_ASK = 0x80


ctypedef struct FilterName:
    # a field name, ready for comparison with eight bytes at once
    const char *name
    size_t size
    uint64_t head               # the first eight bytes of the name and its NUL, zeros after them
    uint64_t mask               # which bytes of head count
    uint64_t tail               # the last eight bytes of a name of at least eight
    int64_t offset              # the name read as a place in an array, or -1
    uint8_t source              # SOURCE_*: where a top-level field comes from


ctypedef struct FilterOperand:
    const uint8_t *value
    size_t size
    double number               # if is_number: the value as a double, exact
    uint8_t type
    uint8_t value_class
    bint is_number


ctypedef struct FilterStep:
    # one comparison; then the program goes on at on_true or on_false
    uint8_t opcode
    bint matches_missing
    uint32_t field              # the first part of the path: index of a distinct top-level name
    uint32_t part               # the other parts: from here
    uint32_t part_end           # to here (exclusive), in the table of names
    uint32_t operand            # operands: from here
    uint32_t operand_end        # to here (exclusive)
    int32_t on_true             # index of a step, or GOTO_ACCEPT, GOTO_REJECT
    int32_t on_false


cdef inline size_t value_skip(uint8_t type) noexcept nogil:
    if type == BSON_STRING or type == BSON_CODE or type == BSON_SYMBOL:
        return SKIP_SIZED | 4
    elif type == BSON_DOCUMENT or type == BSON_ARRAY or type == BSON_CODE_SCOPE:
        return SKIP_SIZED
    elif type == BSON_DOUBLE or type == BSON_DATE or type == BSON_TIMESTAMP or type == BSON_INT64:
        return 8
    elif type == BSON_INT32:
        return 4
    elif type == BSON_BOOL:
        return 1
    elif type == BSON_NULL or type == BSON_UNDEFINED or type == BSON_MINKEY or type == BSON_MAXKEY:
        return 0
    elif type == BSON_OBJECTID:
        return 12
    elif type == BSON_DECIMAL128:
        return 16
    elif type == BSON_BINARY:
        return SKIP_SIZED | 5
    elif type == BSON_DBPOINTER:
        return SKIP_SIZED | 16
    return SKIP_ASK


cdef inline Py_ssize_t name_span(const uint8_t *p, size_t left, uint64_t *head) noexcept nogil:
    # size of the name at p, or -1 if it does not end; head: its first eight bytes (with what follows it)
    cdef uint64_t word
    cdef uint64_t zeros
    cdef size_t at = 0
    cdef const void *end
    head[0] = 0
    while left - at >= 8:
        word = load_u64(p + at)
        if at == 0:
            head[0] = word
        zeros = (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL
        if zeros:
            return <Py_ssize_t>(at + <size_t>(count_trailing_zeros(zeros) >> 3))
        at += 8
    end = memchr(p + at, 0, left - at)
    if end == NULL:
        return -1
    if at == 0:
        # less than eight bytes are left in the whole document
        while left:
            left -= 1
            head[0] = head[0] << 8 | p[left]
    return <const uint8_t *>end - p


cdef inline int element_step(Span *span, Element *out, uint64_t *head) noexcept nogil:
    # element_next, faster and with less checked: for stepping over elements. The caller asks element_checked before it
    # looks into a value. head: see name_span
    cdef const uint8_t *p = span.base + span.at
    cdef size_t left = span.size - span.at
    cdef size_t size
    cdef Py_ssize_t found
    if left < 2:
        return -1 if left else 0
    out.type = p[0]
    p += 1
    found = name_span(p, left - 1, head)
    if found < 0:
        return -1
    out.name = <const char *>p
    out.name_size = <size_t>found
    p += found + 1
    left -= <size_t>found + 2
    size = value_skip(out.type)
    if size & SKIP_SIZED:
        if left < 4:
            return -1
        size = (size ^ SKIP_SIZED) + load_u32(p)
    elif size == SKIP_ASK:
        found = element_value_size(out.type, p, left)
        if found < 0:
            return -1
        size = <size_t>found
    if size > left:
        return -1
    out.value = p
    out.value_size = size
    span.at = <size_t>(p - span.base) + size
    return 1


cdef inline int element_checked(const Element *element) noexcept nogil:
    # 1, or -1: a value that element_step stepped over by its own size is not what its type says
    if not value_skip(element.type) & SKIP_SIZED:
        return 1
    return 1 if element_value_size(element.type, element.value, element.value_size) >= 0 else -1


cdef inline bint name_equals(const FilterName *name, const Element *element, uint64_t head) noexcept nogil:
    if (head & name.mask) != name.head:
        return False
    if name.size < 8:
        return True
    # the last eight bytes overlap the first ones, so up to sixteen are compared without a call
    return (
        element.name_size == name.size
        and load_u64(<const uint8_t *>element.name + name.size - 8) == name.tail
        and (name.size <= 16 or memcmp(element.name, name.name, name.size) == 0)
    )


cdef inline int name_find(const uint8_t *bson, size_t size, const FilterName *name, Element *out) noexcept nogil:
    # 1 found, 0 not there, -1 malformed
    cdef Span span
    cdef uint64_t head = 0
    cdef int found
    if document_span(bson, size, &span) < 0:
        return -1
    while True:
        found = element_step(&span, out, &head)
        if found != 1:
            return found
        if name_equals(name, out, head):
            return element_checked(out)


# 1, 0, or -1 (malformed): does a value, to which the names before `part` lead, make the step true?
cdef int value_match(
    const FilterStep *step, const FilterOperand *operands, const FilterName *parts,
    uint8_t type, const uint8_t *value, size_t size, uint32_t part
) noexcept nogil
