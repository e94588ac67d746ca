# Tests of one value that are no comparisons: type, remainder, bits, text; and the way into Python.

from libc.stdint cimport uint8_t
from rango._ext.match cimport FilterFold, FilterOperand, FilterStep

# 1, 0, TEST_MALFORMED or TEST_RAISED
cdef int predicate_test(
    const FilterStep *step, const FilterOperand *operands, uint8_t type, const uint8_t *value,
    size_t size
) noexcept nogil
cdef int document_test(void *call, const uint8_t *bson, size_t size) noexcept nogil
# strings of a value as the collation compares them: 0, or TEST_*; free(*owned) afterwards
cdef int value_fold(
    const FilterFold *fold, uint8_t type, const uint8_t **value, size_t *size, uint8_t **owned
) noexcept nogil
