# MongoDB's comparison of two BSON values as stored: first by class, then inside the class. Exact
# for numbers of all types.

from libc.math cimport isnan
from libc.stdint cimport int32_t, int64_t, uint8_t
from rango._ext.bson_element cimport (
    BSON_ARRAY, BSON_BINARY, BSON_BOOL, BSON_CODE, BSON_CODE_SCOPE, BSON_DATE, BSON_DBPOINTER,
    BSON_DECIMAL128, BSON_DOCUMENT, BSON_DOUBLE, BSON_INT32, BSON_INT64, BSON_MAXKEY, BSON_MINKEY,
    BSON_NULL, BSON_OBJECTID, BSON_REGEX, BSON_STRING, BSON_SYMBOL, BSON_TIMESTAMP, BSON_UNDEFINED,
)
from rango._ext.span cimport load_double, load_u32, load_u64

cdef enum:
    # classes in their order
    CLASS_MINKEY = 1
    CLASS_NULL = 2              # null and undefined
    CLASS_NUMBER = 3
    CLASS_STRING = 4
    CLASS_REVISION = 5          # `_rev`, which is never stored in a document
    CLASS_DOCUMENT = 6
    CLASS_ARRAY = 7
    CLASS_BINARY = 8
    CLASS_OBJECTID = 9
    CLASS_BOOL = 10
    CLASS_DATE = 11
    CLASS_TIMESTAMP = 12
    CLASS_REGEX = 13
    CLASS_DBPOINTER = 14
    CLASS_CODE = 15
    CLASS_CODE_SCOPE = 16
    CLASS_MAXKEY = 17

    # a type of our own for the revision in a record's header: ms u64 big-endian, counter u16
    # big-endian, tag u16 big-endian
    TYPE_REVISION = 0x7e
    REVISION_SIZE = 12

    ORDER_MALFORMED = 2         # instead of -1, 0, 1


cdef inline uint8_t class_of(uint8_t type) noexcept nogil:
    # 0 = not a BSON type
    if type == BSON_DOUBLE or type == BSON_INT32 or type == BSON_INT64 or type == BSON_DECIMAL128:
        return CLASS_NUMBER
    elif type == BSON_STRING or type == BSON_SYMBOL:
        return CLASS_STRING
    elif type == BSON_DOCUMENT:
        return CLASS_DOCUMENT
    elif type == BSON_ARRAY:
        return CLASS_ARRAY
    elif type == BSON_BINARY:
        return CLASS_BINARY
    elif type == BSON_UNDEFINED or type == BSON_NULL:
        return CLASS_NULL
    elif type == BSON_OBJECTID:
        return CLASS_OBJECTID
    elif type == BSON_BOOL:
        return CLASS_BOOL
    elif type == BSON_DATE:
        return CLASS_DATE
    elif type == BSON_REGEX:
        return CLASS_REGEX
    elif type == BSON_DBPOINTER:
        return CLASS_DBPOINTER
    elif type == BSON_CODE:
        return CLASS_CODE
    elif type == BSON_CODE_SCOPE:
        return CLASS_CODE_SCOPE
    elif type == BSON_TIMESTAMP:
        return CLASS_TIMESTAMP
    elif type == BSON_MINKEY:
        return CLASS_MINKEY
    elif type == BSON_MAXKEY:
        return CLASS_MAXKEY
    elif type == TYPE_REVISION:
        return CLASS_REVISION
    return 0


cdef inline int int_compare(int64_t a, int64_t b) noexcept nogil:
    return (a > b) - (a < b)


cdef inline int double_compare(double a, double b) noexcept nogil:
    # NaN equals itself and is less than every other number
    if a < b:
        return -1
    if a > b:
        return 1
    if a == b:
        return 0
    return <int>isnan(b) - <int>isnan(a) if isnan(a) != isnan(b) else 0


cdef inline int double_int_compare(double a, int64_t b) noexcept nogil:
    # exact: no rounding of b to 53 bits. Truncation toward zero keeps the order against any other
    # integer
    cdef int64_t whole
    cdef double rest
    if isnan(a) or a < -9223372036854775808.0:
        return -1
    if a >= 9223372036854775808.0:
        return 1
    whole = <int64_t>a
    if whole != b:
        return int_compare(whole, b)
    rest = a - <double>whole
    return (rest > 0) - (rest < 0)


cdef inline int64_t load_int(uint8_t type, const uint8_t *value) noexcept nogil:
    # of an int32 or int64
    return <int64_t><int32_t>load_u32(value) if type == BSON_INT32 else <int64_t>load_u64(value)


cdef int decimal_compare(
    uint8_t a_type, const uint8_t *a, uint8_t b_type, const uint8_t *b
) noexcept nogil


cdef inline int number_compare(
    uint8_t a_type, const uint8_t *a, uint8_t b_type, const uint8_t *b
) noexcept nogil:
    if a_type == BSON_DECIMAL128 or b_type == BSON_DECIMAL128:
        return decimal_compare(a_type, a, b_type, b)
    if a_type == BSON_DOUBLE:
        if b_type == BSON_DOUBLE:
            return double_compare(load_double(a), load_double(b))
        return double_int_compare(load_double(a), load_int(b_type, b))
    if b_type == BSON_DOUBLE:
        return -double_int_compare(load_double(b), load_int(a_type, a))
    return int_compare(load_int(a_type, a), load_int(b_type, b))


cdef bint number_is_nan(uint8_t type, const uint8_t *value) noexcept nogil
# -1, 0, 1, or ORDER_MALFORMED; the sizes are those that element_next gave
cdef int value_compare(
    uint8_t a_type, const uint8_t *a, size_t a_size, uint8_t b_type, const uint8_t *b,
    size_t b_size
) noexcept nogil
