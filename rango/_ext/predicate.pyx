"""Tests of one value that are no comparisons: type, remainder, bits, text; and the way into Python.

Terms       bits, code: see operands.pyx. Fold: a string changed so that comparing bytes is
            comparing by a collation; see rango/engine/collation.py.
Invariants  Only $regex that is not literal, $expr, $jsonSchema and strings under a collation that
            are not ASCII take the GIL.
Failure     TEST_RAISED: a Python error is set in this thread, and the caller must raise it.
Sources     MongoDB manual: $mod, $bitsAllSet, $regex.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport isnan, trunc
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy
from rango._ext.bson_decode cimport fields_decode
from rango._ext.bson_element cimport (
    BSON_BINARY, BSON_DECIMAL128, BSON_DOUBLE, BSON_INT32, BSON_INT64, BSON_REGEX, BSON_STRING,
    BSON_MAXKEY, BSON_MINKEY, BSON_SYMBOL,
)
from rango._ext.compare cimport load_int
from rango._ext.match cimport (
    FilterFold, FilterOperand, FilterStep, OP_BITS_ALL_CLEAR, OP_BITS_ALL_SET, OP_BITS_ANY_SET,
    OP_CONTAINS, OP_MOD, OP_PREFIX, OP_TYPE, TEST_MALFORMED,
)
from rango._ext.span cimport load_double, load_u32, load_u64, store_u32

cdef extern from "string.h":
    void *memmem(const void *haystack, size_t size, const void *needle, size_t length) nogil

cdef extern from *:
    ctypedef unsigned long long uint128 "unsigned __int128"

cdef enum:
    DECIMAL_BIAS = 6176
    WHOLE_NONE = 0              # not an int64
    WHOLE_CUT = 1               # an int64 after its fraction was cut off
    WHOLE_EXACT = 2


cdef inline int type_bit(uint8_t type) noexcept nogil:
    # codes are 1 to 19, 127 and 255: as bits of an int64
    if type == BSON_MAXKEY:
        return 20
    return 21 if type == BSON_MINKEY else type & 31


cdef int decimal_whole(const uint8_t *value, int64_t *whole) noexcept nogil:
    cdef uint64_t high = load_u64(value + 8)
    cdef uint128 number = <uint128>(high & 0x1ffffffffffffULL) << 64 | load_u64(value)
    cdef int power = <int>((high >> 49) & 0x3fff) - DECIMAL_BIAS
    cdef uint128 limit = (<uint128>1 << 63) - (not high >> 63)
    cdef int exactness = WHOLE_EXACT
    if (high >> 61) & 3 == 3:
        # infinite, not a number, or a coefficient above 10^34 - 1, which counts as zero
        whole[0] = 0
        return WHOLE_NONE if (high >> 59) & 0xf == 0xf else WHOLE_EXACT
    while power < 0 and number:
        if number % 10:
            exactness = WHOLE_CUT
        number = number // 10
        power += 1
    while power > 0 and number and number <= limit:
        number = number * 10
        power -= 1
    if number > limit:
        return WHOLE_NONE
    whole[0] = <int64_t>(0 - <uint64_t>number if high >> 63 else <uint64_t>number)
    return exactness


cdef int number_whole(uint8_t type, const uint8_t *value, int64_t *whole) noexcept nogil:
    # WHOLE_*: a number cut towards zero; WHOLE_NONE for what is no number
    cdef double number
    if type == BSON_INT32 or type == BSON_INT64:
        whole[0] = load_int(type, value)
        return WHOLE_EXACT
    if type == BSON_DECIMAL128:
        return decimal_whole(value, whole)
    if type != BSON_DOUBLE:
        return WHOLE_NONE
    number = load_double(value)
    if isnan(number) or number >= 9223372036854775808.0 or number < -9223372036854775808.0:
        return WHOLE_NONE
    whole[0] = <int64_t>number
    return WHOLE_EXACT if trunc(number) == number else WHOLE_CUT


cdef int mod_test(const FilterStep *step, uint8_t type, const uint8_t *value) noexcept nogil:
    cdef int64_t whole
    if number_whole(type, value, &whole) == WHOLE_NONE:
        return 0
    # -2^63 % -1 overflows in C
    return (0 if step.number == -1 else whole % step.number) == step.rest


cdef int bits_test(
    const FilterStep *step, const FilterOperand *bits, uint8_t type, const uint8_t *value
) noexcept nogil:
    # step.number: the mask for numbers, whose sign goes on for ever above bit 63
    cdef int64_t whole
    cdef const uint8_t *pair = bits.value
    cdef uint32_t size
    cdef uint32_t at
    cdef uint8_t mask
    cdef uint8_t there
    cdef bint has_set = False
    cdef bint has_clear = False
    if type == BSON_BINARY:
        size = load_u32(value)
        for _i in range(bits.size // 8):
            at = load_u32(pair)
            mask = <uint8_t>load_u32(pair + 4)
            there = value[5 + at] & mask if at < size else 0
            has_set = has_set or there != 0
            has_clear = has_clear or there != mask
            pair += 8
    else:
        if number_whole(type, value, &whole) != WHOLE_EXACT:
            return 0
        has_set = whole & step.number != 0
        has_clear = ~whole & step.number != 0
    if step.opcode == OP_BITS_ALL_SET:
        return not has_clear
    if step.opcode == OP_BITS_ANY_SET:
        return has_set
    return not has_set if step.opcode == OP_BITS_ALL_CLEAR else has_clear


ctypedef int (*Caller)(void *call, const uint8_t *data, size_t size) noexcept nogil

# A function that says "noexcept" to its callers and leaves the error set in this thread: between
# here and the door that raises it there is no Python
cdef Caller CALL_WITH_BYTES = <Caller>call_with_bytes
cdef Caller CALL_WITH_DOCUMENT = <Caller>call_with_document


cdef int call_with_bytes(void *call, const uint8_t *data, size_t size) except -2 with gil:
    return 1 if (<object>call)(PyBytes_FromStringAndSize(<const char *>data, size)) else 0


cdef int call_with_document(void *call, const uint8_t *data, size_t size) except -2 with gil:
    return 1 if (<object>call)(fields_decode(data, size, 1)) else 0


cdef int document_test(void *call, const uint8_t *bson, size_t size) noexcept nogil:
    return CALL_WITH_DOCUMENT(call, bson, size)


cdef int text_test(
    const FilterStep *step, const FilterOperand *operands, uint8_t type, const uint8_t *value,
    size_t size
) noexcept nogil:
    # operands: a text that every match has (OP_REGEX) or that decides, and the expression as stored
    cdef const FilterOperand *text = &operands[0]
    if type == BSON_REGEX:
        return size == operands[1].size and (
            size == 0 or memcmp(value, operands[1].value, size) == 0
        )
    if type != BSON_STRING and type != BSON_SYMBOL:
        return 0
    value += 4
    size -= 5
    if text.size > size:
        return 0
    if step.opcode == OP_PREFIX:
        return text.size == 0 or memcmp(value, text.value, text.size) == 0
    if text.size and memmem(value, size, text.value, text.size) == NULL:
        return 0
    return 1 if step.opcode == OP_CONTAINS else CALL_WITH_BYTES(step.call, value, size)


cdef int predicate_test(
    const FilterStep *step, const FilterOperand *operands, uint8_t type, const uint8_t *value,
    size_t size
) noexcept nogil:
    if step.opcode == OP_TYPE:
        return step.number >> type_bit(type) & 1
    if step.opcode == OP_MOD:
        return mod_test(step, type, value)
    if step.opcode >= OP_PREFIX:
        return text_test(step, &operands[step.operand], type, value, size)
    return bits_test(step, &operands[step.operand], type, value)


cdef int fold_ascii(
    const FilterFold *fold, const uint8_t *text, size_t size, uint8_t *out
) noexcept nogil:
    # the folded text with its size before and NUL after it: its bytes, or -1 if it is not ASCII;
    # out has room for 2 * size + 8
    cdef size_t at = 4
    cdef size_t upper = 0
    cdef size_t kept = 0
    cdef size_t i
    cdef uint8_t weight
    for i in range(size):
        if text[i] >= 128:
            return -1
        weight = fold.weights[text[i]]
        if weight:
            out[at] = weight
            at += 1
            kept += 1
            if 65 <= text[i] <= 90:
                upper = kept
    if fold.has_case and upper:
        out[at] = 1
        out[at + 1] = 1
        at += 2
        for i in range(size):
            if upper == 0:
                break
            if fold.weights[text[i]]:
                out[at] = 3 if 65 <= text[i] <= 90 else 2
                at += 1
                upper -= 1
    out[at] = 0
    at += 1
    store_u32(out, <uint32_t>(at - 4))
    return <int>at


cdef int fold_whole(
    void *call, uint8_t type, const uint8_t **value, size_t *size, uint8_t **owned
) except -2 with gil:
    # by Python: the value as the only field of a document, and back
    cdef bytes name = bytes((type, 0))
    cdef bytes body = PyBytes_FromStringAndSize(<const char *>value[0], size[0])
    cdef bytes data = (size[0] + 7).to_bytes(4, "little") + name + body + b"\x00"
    cdef bytes folded = (<object>call)(data)
    owned[0] = <uint8_t *>malloc(len(folded))
    if owned[0] == NULL:
        raise MemoryError
    memcpy(owned[0], PyBytes_AS_STRING(folded), len(folded))
    value[0] = owned[0] + 6
    size[0] = <size_t>PyBytes_GET_SIZE(folded) - 7
    return 0


ctypedef int (*Folder)(
    void *call, uint8_t type, const uint8_t **value, size_t *size, uint8_t **owned
) noexcept nogil

cdef Folder FOLD_WHOLE = <Folder>fold_whole


cdef int value_fold(
    const FilterFold *fold, uint8_t type, const uint8_t **value, size_t *size, uint8_t **owned
) noexcept nogil:
    cdef int folded
    owned[0] = NULL
    if type == BSON_STRING or type == BSON_SYMBOL:
        owned[0] = <uint8_t *>malloc(2 * size[0] + 8)
        if owned[0] == NULL:
            return TEST_MALFORMED
        folded = fold_ascii(fold, value[0] + 4, size[0] - 5, owned[0])
        if folded > 0:
            value[0] = owned[0]
            size[0] = <size_t>folded
            return 0
        free(owned[0])
        owned[0] = NULL
    return FOLD_WHOLE(fold.call, type, value, size, owned)
