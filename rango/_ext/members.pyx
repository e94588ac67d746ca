"""Operands of comparisons; those of a long $in packed, so that a million of them cost little more
than their bytes.

Terms       member: one value of a $in. See match.pxd for what an operand is.
Invariants  The operands of a $in are in the order of values, so that a record's value is found by
            bisection. `held` owns what they point to. Values are encoded CHUNK at a time as one
            array, whose elements are the operands; only a chunk that cannot be encoded so is done
            one by one, for the error to name what is wrong.
Failure     InvalidFilter names the path.
Sources     match.pxd; tests/reference/filter.py.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free, qsort
from rango._ext.bson_element cimport BSON_DOUBLE, BSON_INT32, BSON_INT64, Element, element_next
from rango._ext.compare cimport CLASS_NULL, class_of, load_int, number_is_nan, value_compare
from rango._ext.span cimport Span, load_double

from rango._ext.record import encode
from rango.errors import InvalidDocument, InvalidFilter, LimitExceeded

cdef enum:
    CHUNK = 1024                    # values of one array
    ARRAY_AT = 6                    # where it starts in {"": [...]}


cdef int operand_compare(const void *a, const void *b) noexcept nogil:
    cdef const FilterOperand *left = <const FilterOperand *>a
    cdef const FilterOperand *right = <const FilterOperand *>b
    if left.is_number and right.is_number:
        return (left.number > right.number) - (left.number < right.number)
    return value_compare(left.type, left.value, left.size, right.type, right.value, right.size)


cdef tuple operand_encode(str path, object value):
    # (type, bytes) of one operand; the encoder names no field, so the path goes into the message
    cdef bytes data
    try:
        data = encode({"": value})
    except (InvalidDocument, LimitExceeded) as error:
        raise InvalidFilter(f"{path!r}: an operand cannot be encoded: {error}") from error
    return (data[4], data[6:len(data) - 1])


cdef int _set(FilterOperand *out, uint8_t type, const uint8_t *value, size_t size) noexcept nogil:
    cdef int64_t whole
    out.value = value
    out.size = size
    out.type = type
    out.value_class = class_of(type)
    if type == BSON_DOUBLE:
        out.number = load_double(value)
        out.is_number = not number_is_nan(type, value)
    elif type == BSON_INT32 or type == BSON_INT64:
        whole = load_int(type, value)
        out.number = <double>whole
        out.is_number = -(<int64_t>1 << 53) <= whole <= <int64_t>1 << 53
    return 0


cdef int operand_fill(FilterOperand *out, unsigned char type, bytes value) except -1:
    # `value` must outlive the operand
    return _set(out, type, <const uint8_t *>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


@cython.final
cdef class Members:
    """See the module."""

    def __dealloc__(self):
        free(self.operands)

    cdef int add(self, str path, tuple values) except -1:
        # values that have room
        cdef bytes data
        cdef Span span
        cdef Element element
        try:
            data = encode({"": values})
        except (InvalidDocument, LimitExceeded):
            return self._grow(path, values)
        self.held.append(data)
        span.base = <const uint8_t *>PyBytes_AS_STRING(data) + ARRAY_AT
        span.at = 4
        span.size = <size_t>PyBytes_GET_SIZE(data) - ARRAY_AT - 2
        while element_next(&span, &element) == 1:
            _set(
                &self.operands[self.count], element.type, element.value, element.value_size
            )
            self.count += 1
        return 0

    cdef int _grow(self, str path, tuple values) except -1:
        for value in values:
            type, data = operand_encode(path, value)
            self.held.append(data)
            operand_fill(&self.operands[self.count], type, data)
            self.count += 1
        return 0


cdef Members members_of(str path, tuple values):
    """The members of a $in, in order."""
    cdef Members members = Members.__new__(Members)
    cdef Py_ssize_t i
    members.held = []
    members.operands = <FilterOperand *>calloc(len(values) + 1, sizeof(FilterOperand))
    if members.operands == NULL:
        raise MemoryError
    for i in range(0, len(values), CHUNK):
        members.add(path, values[i:i + CHUNK])
    with nogil:
        for i in range(members.count):
            if members.operands[i].value_class == CLASS_NULL:
                members.has_null = True
        qsort(
            members.operands, <size_t>members.count, sizeof(FilterOperand), operand_compare
        )
    return members
