# The operands of a long $in, packed and sorted.

from rango._ext.match cimport FilterOperand

cdef enum:
    MEMBERS_MIN = 64                # shorter lists stay tuples

cdef int operand_compare(const void *a, const void *b) noexcept nogil


cdef class Members:
    cdef list held                  # owns the bytes that the operands point to
    cdef FilterOperand *operands    # in the order of values
    cdef Py_ssize_t count
    cdef bint has_null              # a missing field is a member
    cdef int add(self, str path, tuple values) except -1
    cdef int _grow(self, str path, tuple values) except -1


cdef tuple operand_encode(str path, object value)
cdef int operand_fill(FilterOperand *out, unsigned char type, bytes value) except -1
cdef Members members_of(str path, tuple values)
