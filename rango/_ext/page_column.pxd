# One field of every record of a leaf, as numbers.

from libc.stdint cimport uint8_t
from rango._ext.match cimport (
    OP_EQ, OP_GT, OP_GTE, OP_LT, FilterName, FilterProgram,
)
from rango._ext.page_cache cimport Column, Page

cdef enum:
    VALUE_OTHER = 0             # null, bytes, or nothing at all
    VALUE_NUMBER = 1
    VALUE_DATE = 2
    VALUE_BOOL = 3
    VALUE_STRING = 4            # of these two the number is a hash, so only OP_EQ is tested
    VALUE_OBJECTID = 5
    VALUE_ASK = 6               # only the document itself can tell
    VALUE_TOMBSTONE = 7


ctypedef struct Test:
    # what every document that matches meets
    const FilterName *name      # NULL: nothing is known of the kind
    uint8_t opcode
    uint8_t kind                # VALUE_*
    double operand


cdef void test_of(const FilterProgram *program, Test *out) noexcept nogil
# VALUE_*, and the number that stands for a field of a record
cdef uint8_t field_number(
    const uint8_t *record, size_t size, const FilterName *name, double *out
) noexcept nogil
# the column of a leaf with records, made if it is not there; NULL: there is none
cdef const Column *column_of(Page *page, const FilterName *name) noexcept nogil


cdef inline bint is_met(const Test *test, const Column *column, int slot) noexcept nogil:
    # False: the record in this slot does not match, whatever else is asked
    cdef uint8_t kind = column.kinds[slot]
    cdef double value = column.values[slot]
    if kind != test.kind:
        return kind == VALUE_ASK
    if test.opcode == OP_EQ:
        return value == test.operand
    if test.opcode == OP_GT:
        return value > test.operand
    if test.opcode == OP_GTE:
        return value >= test.operand
    if test.opcode == OP_LT:
        return value < test.operand
    return value <= test.operand
