"""Comparison of BSON values as they are stored: MongoDB's order, nothing decoded.

Terms       class: types that compare with one another (all numbers; string and symbol; null and
            undefined). Values of different classes are ordered by class.
Invariants  The order is total: NaN equals NaN and is less than every other number; -0 equals 0.
            Numbers of different types compare by their exact value, so 2^53 + 1 as int64 is greater
            than 2^53 as double.
Layout      documents: pair by pair in stored order, each by class, then name, then value; a
            document that ends first is less. Arrays: the same without names. Binary: length,
            subtype, bytes. Strings: bytes, then length.
Failure     a malformed nested value answers ORDER_MALFORMED; nothing is read past the sizes that
            were given.
Sources     MongoDB manual, "Comparison/Sort Order"; IEEE 754-2008 decimal128 (binary integer
            encoding); tests/reference/filter.py.
"""

from libc.math cimport frexp, isnan, ldexp
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, strlen
from rango._ext.bson_element cimport (
    BSON_DECIMAL128, BSON_DOUBLE, Element, document_span, element_next,
)
from rango._ext.span cimport Span, load_double, load_u32, load_u64

cdef enum:
    LIMBS_MAX = 96              # 3,072 bits; the largest product has 2,270: 113 + 1,126 and 10^310
    DEPTH_MAX = 250             # documents inside documents; the codec stops at 100
    FINITE = 0
    INFINITE = 1
    NOT_A_NUMBER = 2


ctypedef struct Number:
    # sign * (high * 2^64 + low) * 2^binary * 10^decimal
    int kind
    int sign                    # -1, 0, 1
    uint64_t high
    uint64_t low
    int binary
    int decimal


ctypedef struct Limbs:
    uint32_t limb[LIMBS_MAX]
    int count


cdef void limbs_multiply(Limbs *big, uint32_t factor) noexcept nogil:
    cdef uint64_t carry = 0
    cdef int i
    for i in range(big.count):
        carry += <uint64_t>big.limb[i] * factor
        big.limb[i] = <uint32_t>(carry & 0xffffffffU)
        carry >>= 32
    if carry and big.count < LIMBS_MAX:
        big.limb[big.count] = <uint32_t>carry
        big.count += 1


cdef void limbs_scale(Limbs *big, const Number *number, int binary, int decimal) noexcept nogil:
    # coefficient * 2^binary * 10^decimal
    cdef int _i
    big.limb[0] = <uint32_t>(number.low & 0xffffffffU)
    big.limb[1] = <uint32_t>(number.low >> 32)
    big.limb[2] = <uint32_t>(number.high & 0xffffffffU)
    big.limb[3] = <uint32_t>(number.high >> 32)
    big.count = 4
    for _i in range(decimal // 9):
        limbs_multiply(big, 1000000000)
    for _i in range(decimal % 9):
        limbs_multiply(big, 10)
    for _i in range(binary // 31):
        limbs_multiply(big, 0x80000000U)
    limbs_multiply(big, <uint32_t>1 << (binary % 31))
    while big.count and big.limb[big.count - 1] == 0:
        big.count -= 1


cdef int limbs_compare(const Limbs *a, const Limbs *b) noexcept nogil:
    cdef int i
    if a.count != b.count:
        return 1 if a.count > b.count else -1
    for i in range(a.count - 1, -1, -1):
        if a.limb[i] != b.limb[i]:
            return 1 if a.limb[i] > b.limb[i] else -1
    return 0


cdef void double_unpack(double value, Number *out) noexcept nogil:
    cdef int power
    cdef double mantissa
    if isnan(value):
        out.kind = NOT_A_NUMBER
        return
    out.sign = (value > 0) - (value < 0)
    if value - value != 0:
        out.kind = INFINITE
        return
    mantissa = frexp(value if value >= 0 else -value, &power)
    out.low = <uint64_t>ldexp(mantissa, 53)
    out.binary = power - 53


cdef void decimal_unpack(const uint8_t *value, Number *out) noexcept nogil:
    cdef uint64_t high = load_u64(value + 8)
    out.sign = -1 if high >> 63 else 1
    if (high >> 58) & 0x1f == 0x1f:
        out.kind = NOT_A_NUMBER
    elif (high >> 58) & 0x1f == 0x1e:
        out.kind = INFINITE
    elif (high >> 61) & 3 == 3:
        # a coefficient of this form is above 10^34 - 1, which the standard reads as zero
        out.sign = 0
    else:
        out.low = load_u64(value)
        out.high = high & 0x1ffffffffffffULL
        out.decimal = <int>((high >> 49) & 0x3fff) - 6176
        if out.low == 0 and out.high == 0:
            out.sign = 0


cdef void number_unpack(uint8_t type, const uint8_t *value, Number *out) noexcept nogil:
    cdef int64_t whole
    out.kind = FINITE
    out.high = 0
    out.low = 0
    out.binary = 0
    out.decimal = 0
    if type == BSON_DOUBLE:
        double_unpack(load_double(value), out)
    elif type == BSON_DECIMAL128:
        decimal_unpack(value, out)
    else:
        whole = load_int(type, value)
        out.sign = int_compare(whole, 0)
        out.low = <uint64_t>whole if whole >= 0 else 0 - <uint64_t>whole


cdef int magnitude_compare(const Number *a, const Number *b) noexcept nogil:
    # of two finite numbers that are not zero; at most one has a power of two, and that one has no
    # power of ten. The early answers keep the limbs short: a coefficient is below 10^35, a double
    # between 4.9e-324 and 1.8e308
    cdef Limbs left
    cdef Limbs right
    cdef int shift = a.decimal - b.decimal
    if a.binary:
        return -magnitude_compare(b, a)
    if b.binary == 0 and (shift > 40 or shift < -40):
        return 1 if shift > 0 else -1
    if shift > 310:
        return 1
    if shift < -360:
        return -1
    limbs_scale(&left, a, -b.binary if b.binary < 0 else 0, shift if shift > 0 else 0)
    limbs_scale(&right, b, b.binary if b.binary > 0 else 0, -shift if shift < 0 else 0)
    return limbs_compare(&left, &right)


cdef int decimal_compare(
    uint8_t a_type, const uint8_t *a, uint8_t b_type, const uint8_t *b
) noexcept nogil:
    # of any two numbers
    cdef Number left
    cdef Number right
    number_unpack(a_type, a, &left)
    number_unpack(b_type, b, &right)
    if left.kind == NOT_A_NUMBER or right.kind == NOT_A_NUMBER:
        return (right.kind == NOT_A_NUMBER) - (left.kind == NOT_A_NUMBER)
    if left.sign != right.sign:
        return 1 if left.sign > right.sign else -1
    if left.sign == 0:
        return 0
    if left.kind == INFINITE or right.kind == INFINITE:
        return left.sign * ((left.kind == INFINITE) - (right.kind == INFINITE))
    return left.sign * magnitude_compare(&left, &right)


cdef bint number_is_nan(uint8_t type, const uint8_t *value) noexcept nogil:
    if type == BSON_DOUBLE:
        return isnan(load_double(value))
    return type == BSON_DECIMAL128 and (load_u64(value + 8) >> 58) & 0x1f == 0x1f


cdef int bytes_compare(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size
) noexcept nogil:
    cdef size_t common = a_size if a_size < b_size else b_size
    # an empty one may have no address, which memcmp may not be given
    cdef int order = memcmp(a, b, common) if common else 0
    if order == 0:
        return (a_size > b_size) - (a_size < b_size)
    return 1 if order > 0 else -1


cdef int text_compare(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size
) noexcept nogil:
    # string, symbol, code: int32 size, bytes, NUL
    return bytes_compare(a + 4, a_size - 5, b + 4, b_size - 5)


cdef int sized_compare(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size
) noexcept nogil:
    # the shorter is less; then bytes, the first four of which are the size
    if a_size != b_size:
        return 1 if a_size > b_size else -1
    return bytes_compare(a + 4, a_size - 4, b + 4, b_size - 4)


cdef int regex_compare(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size
) noexcept nogil:
    # pattern, NUL, flags, NUL
    cdef size_t a_pattern = strlen(<const char *>a)
    cdef size_t b_pattern = strlen(<const char *>b)
    cdef int order = bytes_compare(a, a_pattern, b, b_pattern)
    if order:
        return order
    return bytes_compare(a + a_pattern, a_size - a_pattern, b + b_pattern, b_size - b_pattern)


cdef int documents_compare(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, bint is_named, int depth
) noexcept nogil:
    cdef Span left
    cdef Span right
    cdef Element x
    cdef Element y
    cdef int x_found
    cdef int y_found
    cdef int order
    if depth > DEPTH_MAX:
        return ORDER_MALFORMED
    if document_span(a, a_size, &left) < 0 or document_span(b, b_size, &right) < 0:
        return ORDER_MALFORMED
    while True:
        x_found = element_next(&left, &x)
        y_found = element_next(&right, &y)
        if x_found < 0 or y_found < 0:
            return ORDER_MALFORMED
        if x_found != 1 or y_found != 1:
            return x_found - y_found
        order = int_compare(class_of(x.type), class_of(y.type))
        if order == 0 and is_named:
            order = bytes_compare(
                <const uint8_t *>x.name, x.name_size, <const uint8_t *>y.name, y.name_size
            )
        if order == 0:
            order = same_class_compare(
                x.type, x.value, x.value_size, y.type, y.value, y.value_size, depth + 1
            )
        if order:
            return order


cdef int scope_compare(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, int depth
) noexcept nogil:
    # code with scope: int32 size, string, document
    cdef size_t a_text
    cdef size_t b_text
    cdef int order
    if a_size < 14 or b_size < 14:
        return ORDER_MALFORMED
    a_text = load_u32(a + 4)
    b_text = load_u32(b + 4)
    if a_text < 1 or b_text < 1 or a_text > a_size - 13 or b_text > b_size - 13:
        return ORDER_MALFORMED
    order = bytes_compare(a + 8, a_text - 1, b + 8, b_text - 1)
    if order:
        return order
    return documents_compare(
        a + 8 + a_text, a_size - 8 - a_text, b + 8 + b_text, b_size - 8 - b_text, True, depth
    )


cdef int unsigned_compare(const uint8_t *a, const uint8_t *b) noexcept nogil:
    cdef uint64_t left = load_u64(a)
    cdef uint64_t right = load_u64(b)
    return (left > right) - (left < right)


cdef int same_class_compare(
    uint8_t a_type, const uint8_t *a, size_t a_size, uint8_t b_type, const uint8_t *b, size_t
    b_size, int depth
) noexcept nogil:
    cdef uint8_t kind = class_of(a_type)
    if kind == CLASS_NUMBER:
        return number_compare(a_type, a, b_type, b)
    elif kind == CLASS_STRING or kind == CLASS_CODE:
        return text_compare(a, a_size, b, b_size)
    elif kind == CLASS_DOCUMENT:
        return documents_compare(a, a_size, b, b_size, True, depth)
    elif kind == CLASS_ARRAY:
        return documents_compare(a, a_size, b, b_size, False, depth)
    elif kind == CLASS_DATE:
        return int_compare(<int64_t>load_u64(a), <int64_t>load_u64(b))
    elif kind == CLASS_TIMESTAMP:
        return unsigned_compare(a, b)
    elif kind == CLASS_BINARY or kind == CLASS_DBPOINTER:
        return sized_compare(a, a_size, b, b_size)
    elif kind == CLASS_REGEX:
        return regex_compare(a, a_size, b, b_size)
    elif kind == CLASS_CODE_SCOPE:
        return scope_compare(a, a_size, b, b_size, depth)
    elif kind == 0:
        return ORDER_MALFORMED
    # bool, ObjectId, revision: bytes in order; null, MinKey, MaxKey: no bytes
    return bytes_compare(a, a_size, b, b_size)


cdef int value_compare(
    uint8_t a_type, const uint8_t *a, size_t a_size, uint8_t b_type, const uint8_t *b, size_t b_size
) noexcept nogil:
    cdef uint8_t a_class = class_of(a_type)
    cdef uint8_t b_class = class_of(b_type)
    if a_class != b_class:
        return 1 if a_class > b_class else -1
    return same_class_compare(a_type, a, a_size, b_type, b, b_size, 1)


def compare_fields(bytes left not None, bytes right not None):
    """Order (-1, 0, 1) of the values of the first fields of two BSON documents, or ValueError."""
    cdef Span a
    cdef Span b
    cdef Element x
    cdef Element y
    cdef int order = ORDER_MALFORMED
    if document_span(left, len(left), &a) == 0 and document_span(right, len(right), &b) == 0:
        if element_next(&a, &x) == 1 and element_next(&b, &y) == 1:
            order = value_compare(x.type, x.value, x.value_size, y.type, y.value, y.value_size)
    if order == ORDER_MALFORMED:
        raise ValueError("not two BSON documents with at least one field each")
    return order
