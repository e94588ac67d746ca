# A filter compiled to a flat program, run over record bytes with the GIL released.

from libc.stdint cimport uint8_t, uint32_t
from rango._ext.bson_element cimport Element
from rango._ext.match cimport FilterName, FilterOperand, FilterStep
from rango._ext.span cimport Span

cdef enum:
    FIELDS_WALKED_MAX = 16      # fields that one walk finds together; more are looked up one by one
    SCRATCH_SIZE = 264          # a node id as a BSON string: 4 + 255 + 1


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


cdef class Program:
    cdef FilterStep *steps
    cdef FilterName *fields     # distinct first parts
    cdef FilterName *parts
    cdef FilterOperand *operands
    cdef uint32_t field_count
    cdef bint is_single         # one step on a field of the document itself
    cdef list held              # owns the bytes that names and operands point to
    cdef readonly tuple normal
    cdef readonly bint is_always
    cdef readonly object id_equals
    cdef readonly bint is_id_only
    # 1 = the record matches, 0 = it does not, -1 = a malformed record. record = header + node +
    # BSON.
    cdef int step_run(self, Walk *walk, const FilterStep *step) noexcept nogil
    cdef int run_steps(self, const uint8_t *record, const uint8_t *bson, size_t size) noexcept nogil
    cdef int run_single(self, const uint8_t *bson, size_t size) noexcept nogil
    cdef int run(self, const uint8_t *record, size_t size) noexcept nogil
