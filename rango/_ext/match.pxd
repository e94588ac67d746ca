# What a compiled filter is made of, and the walk over raw BSON that runs it.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp
from rango._ext.bson_element cimport (
    BSON_ARRAY, BSON_BINARY, BSON_BOOL, BSON_CODE, BSON_CODE_SCOPE, BSON_DATE, BSON_DBPOINTER,
    BSON_DECIMAL128, BSON_DOCUMENT, BSON_DOUBLE, BSON_INT32, BSON_INT64, BSON_MAXKEY, BSON_MINKEY,
    BSON_NULL, BSON_OBJECTID, BSON_STRING, BSON_SYMBOL, BSON_TIMESTAMP, BSON_UNDEFINED,
    Element, document_span, element_value_size,
)
from rango._ext.record_header cimport SCRATCH_SIZE
from rango._ext.span cimport Span, load_u32, load_u64

cdef extern from *:
    """
    /* To step over a value of a type: bits 0-4 fixed bytes, bit 6 plus its first four bytes as a
       number, bit 7 look closer. A table because gcc makes an indirect jump of the same switch. */
    static const unsigned char rango_value_skip[256] = {
        [0x00] = 0x80, [0x01] = 8, [0x02] = 0x44, [0x03] = 0x40, [0x04] = 0x40, [0x05] = 0x45,
        [0x06] = 0, [0x07] = 12, [0x08] = 1, [0x09] = 8, [0x0a] = 0, [0x0b] = 0x80, [0x0c] = 0x50,
        [0x0d] = 0x44, [0x0e] = 0x44, [0x0f] = 0x40, [0x10] = 4, [0x11] = 8, [0x12] = 8,
        [0x13] = 16,
        [0x14 ... 0x7e] = 0x80, [0x7f] = 0, [0x80 ... 0xfe] = 0x80, [0xff] = 0,
    };
    """
    const uint8_t VALUE_SKIP "rango_value_skip"[256]
    int count_trailing_zeros "__builtin_ctzll"(unsigned long long) noexcept nogil

cdef enum:
    OP_TRUE = 0
    OP_EXISTS = 1
    OP_EQ = 2
    OP_GT = 3
    OP_GTE = 4
    OP_LT = 5
    OP_LTE = 6
    OP_ALL = 7                  # each of its operands is met by some value
    OP_IN = 8
    # from here on nothing is compared, and a missing value never makes the step true
    OP_TYPE = 9
    OP_MOD = 10
    OP_BITS_ALL_SET = 11
    OP_BITS_ANY_SET = 12
    OP_BITS_ALL_CLEAR = 13
    OP_BITS_ANY_CLEAR = 14
    OP_PREFIX = 15
    OP_CONTAINS = 16
    OP_REGEX = 17
    OP_SIZE = 18                # from here on an array at the end of a path is one value
    OP_ELEMENT = 19             # $elemMatch: an element is a document that a program matches
    OP_ELEMENT_VALUE = 20       # $elemMatch: an element is a value that a program matches
    OP_DOCUMENT = 21            # $expr, $jsonSchema: Python answers for the whole document

    TEST_MALFORMED = -1
    TEST_RAISED = -2            # a Python error is set

    GOTO_ACCEPT = -1
    GOTO_REJECT = -2

    SKIP_FIXED = 0x1f           # bits of VALUE_SKIP
    SKIP_SIZED = 0x40
    SKIP_ASK = 0x80

    FIELDS_WALKED_MAX = 16      # fields that one walk finds together; more are looked up one by one
    STEP_SIZE_MAX = 16          # a fast step reads the type and eight bytes of the name at once


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


cdef struct FilterProgram


ctypedef struct Met:
    # the operands of an OP_ALL that one run over a document has met
    uint32_t count
    uint8_t *marks              # one for each operand


ctypedef struct FilterStep:
    # one comparison; then the program goes on at on_true or on_false
    uint8_t opcode
    bint matches_missing
    bint is_folded              # strings are compared by the collation
    uint32_t field              # the first part of the path: index of a distinct top-level name
    uint32_t part               # the other parts: from here
    uint32_t part_end           # to here (exclusive), in the table of names
    uint32_t operand            # operands: from here
    uint32_t operand_end        # to here (exclusive)
    int32_t on_true             # index of a step, or GOTO_ACCEPT, GOTO_REJECT
    int32_t on_false
    int64_t number              # types as a set of bits, divisor, mask of bits, size
    int64_t rest                # remainder
    const FilterProgram *child  # of OP_ELEMENT and OP_ELEMENT_VALUE
    void *call                  # a Python function, owned by the program
    const FilterFold *fold
    Met *met                    # NULL in a program; a run of OP_ALL has its own copy of the step


ctypedef struct FilterFold:
    # how a collation changes strings before they are compared
    uint8_t weights[128]        # of ASCII; 0 = ignored
    bint has_case
    void *call                  # f(BSON of one field) -> the same with folded strings


cdef struct FilterProgram:
    FilterStep *steps
    FilterName *fields          # distinct first parts
    FilterName *parts
    FilterOperand *operands
    uint32_t field_count
    bint is_single              # one step on a field of the document itself


ctypedef struct Walk:
    # one pass over a document, as far as it was needed
    const uint8_t *record       # NULL: a document without a header
    const uint8_t *bson
    size_t bson_size
    Span rest
    uint32_t decided            # bit f: it is known where field f is, or that it is not there
    uint32_t found              # bit f: it is there
    Element elements[FIELDS_WALKED_MAX]
    uint8_t scratch[SCRATCH_SIZE]


cdef inline Py_ssize_t name_span(const uint8_t *p, size_t left, uint64_t *head) noexcept nogil:
    # size of the name at p, or -1 if it does not end; head: its first eight bytes (with what
    # follows it)
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
    # element_next, faster and with less checked: for stepping over elements. The caller asks
    # element_checked before it looks into a value. head: see name_span
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
    size = VALUE_SKIP[out.type]
    if size & SKIP_SIZED:
        if left < 4:
            return -1
        size = (size & SKIP_FIXED) + load_u32(p)
    elif size & SKIP_ASK:
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
    if not VALUE_SKIP[element.type] & SKIP_SIZED:
        return 1
    return 1 if element_value_size(element.type, element.value, element.value_size) >= 0 else -1


cdef inline bint name_equals(
    const FilterName *name, const Element *element, uint64_t head
) noexcept nogil:
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


cdef inline int fast_skip(Span *span, const FilterName *name) noexcept nogil:
    # step over elements as long as they are ordinary and not the one that is looked for; 0, or -1.
    # The end of a name is searched byte by byte on purpose: the branches are predicted from the
    # documents before, so the next element is read without waiting for this one's bytes: a fifth
    # less time (m) than finding the NUL in eight bytes at once
    cdef const uint8_t *p = span.base + span.at
    cdef const uint8_t *end = span.base + span.size
    cdef uint64_t wanted = name.head
    cdef uint64_t mask = name.mask
    cdef size_t size
    cdef uint8_t skip
    while end - p >= STEP_SIZE_MAX:
        skip = VALUE_SKIP[p[0]]
        if (load_u64(p + 1) & mask) == wanted or skip & SKIP_ASK:
            break
        p += 1
        while p[0]:
            # the document's own NUL, at `end`, stops it
            p += 1
        p += 1
        size = skip & SKIP_FIXED
        if skip & SKIP_SIZED:
            if end - p < 4:
                return -1
            size += load_u32(p)
        if p > end or size > <size_t>(end - p):
            return -1
        p += size
    span.at = <size_t>(p - span.base)
    return 0


cdef inline void name_wanted(FilterName *out, const char *name, size_t size) noexcept nogil:
    # a name that is looked for once, by name_find; it need not end with a NUL
    cdef size_t at
    out.name = name
    out.size = size
    out.mask = (<uint64_t>1 << 8 * (size + 1)) - 1 if size < 7 else <uint64_t>-1
    if size >= 8:
        out.head = load_u64(<const uint8_t *>name)
        out.tail = load_u64(<const uint8_t *>name + size - 8)
        return
    out.head = 0
    for at in range(size):
        out.head |= <uint64_t><uint8_t>name[at] << 8 * at
    out.tail = 0


cdef inline int name_find(
    const uint8_t *bson, size_t size, const FilterName *name, Element *out
) noexcept nogil:
    # 1 found, 0 not there, -1 malformed
    cdef Span span
    cdef uint64_t head = 0
    cdef int found
    if document_span(bson, size, &span) < 0:
        return -1
    while True:
        if fast_skip(&span, name) < 0:
            return -1
        found = element_step(&span, out, &head)
        if found != 1:
            return found
        if name_equals(name, out, head):
            return element_checked(out)


# Does a document match? 1, 0, TEST_MALFORMED or TEST_RAISED. record: its header, or NULL, and then
# `_rev` and the like are ordinary fields
cdef int program_run(
    const FilterProgram *program, const uint8_t *record, const uint8_t *bson, size_t size
) noexcept nogil
# The same of one step of the program. place: where in the outermost array that was gone through it
# was met, untouched if there was none
cdef int step_place(
    const FilterProgram *program, uint32_t step, const uint8_t *record, const uint8_t *bson,
    size_t size, int64_t *place
) noexcept nogil
