"""One field of every record of a leaf, as numbers: most of what a filter without an index costs.

Terms       column: for each slot of a leaf what kind of value the field has, and the number that
            stands for it: of strings and ObjectIds a hash. Test: a comparison with a number, a date
            or a boolean, or for equality with a string or an ObjectId, that every document that a
            filter matches has to meet. To ask: to run the filter over the document.
Invariants  A column only says of a record that it does not match. Kinds do not compare with each
            other, as classes of values do not. What a double cannot hold, arrays (any element
            counts), the ends of the order (MinKey, MaxKey), decimals, NaN and what is malformed
            has to be asked.
            A leaf never changes, so neither does its column. Columns hang on the page and go with
            it; they are added by whoever needs one first, threads without a lock: two may make the
            same.
Layout      see Column in page_cache.pxd; one piece of memory.
Failure     Without memory, for a long name and for more than COLUMNS_MAX fields of a leaf: then
            every document is asked.
Sources     zone maps and columns of analytical stores; ADR-0039.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memcpy

from rango._ext.bson_element cimport (
    BSON_BINARY, BSON_BOOL, BSON_DATE, BSON_DOUBLE, BSON_INT32, BSON_INT64, BSON_NULL,
    BSON_OBJECTID, BSON_STRING, Element,
)
from rango._ext.layout cimport (
    RECORD_FLAG_TOMBSTONE, RECORD_FLAGS, RECORD_HEADER_SIZE, RECORD_NODE_SIZE,
)
from rango._ext.match cimport (
    GOTO_REJECT, OP_EQ, OP_IN, OP_LTE, FilterOperand, FilterStep, name_find,
)
from rango._ext.page cimport leaf_is_overflow, leaf_value, page_cell, page_count
from rango._ext.page_cache cimport page_bytes
from rango._ext.record_header cimport SOURCE_BODY, document_start
from rango._ext.span cimport load_double, load_u32, load_u64

cdef extern from *:
    """
    #define rango_column_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define rango_column_swap(p, old, new) \\
        __atomic_compare_exchange_n((p), (old), (new), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
    #define rango_count_add(p, n) __atomic_add_fetch((p), (n), __ATOMIC_ACQ_REL)
    """
    Column *rango_column_load(Column **place) noexcept nogil
    bint rango_column_swap(Column **place, Column **old, Column *new) noexcept nogil
    uint32_t rango_count_add(uint32_t *place, uint32_t amount) noexcept nogil

cdef enum:
    COLUMNS_MAX = 4                     # of a leaf: 9 bytes a record each
    NAME_SIZE_MAX = 128
    STEPS_MAX = 8                       # of a filter that are looked at

cdef int64_t EXACT_MAX = 9007199254740992   # 2^53: every smaller int64 is a double
cdef uint64_t HASH_FACTOR = 0x9E3779B97F4A7C15


cdef bint is_comparison(const FilterStep *step) noexcept nogil:
    # one that can neither raise nor see more than one field
    return OP_EQ <= step.opcode <= OP_IN and not step.is_folded


cdef void test_of(const FilterProgram *program, Test *out) noexcept nogil:
    cdef const FilterStep *step
    cdef const FilterOperand *operand
    cdef int32_t at = 0
    cdef int _looked
    out.name = NULL
    for _looked in range(STEPS_MAX):
        step = &program.steps[at]
        # a step that is false must decide; one before it must have nothing to say of errors
        if step.on_false != GOTO_REJECT or not is_comparison(step):
            return
        operand = &program.operands[step.operand]
        if (
            OP_EQ <= step.opcode <= OP_LTE
            and not step.matches_missing
            and step.part == step.part_end
            and step.operand_end - step.operand == 1
            and program.fields[step.field].source == SOURCE_BODY
        ):
            out.opcode = step.opcode
            if operand.is_number:
                out.kind = VALUE_NUMBER
                out.operand = operand.number
            else:
                out.kind = number_of(operand.type, operand.value, operand.size, &out.operand)
            if is_testable(out):
                out.name = &program.fields[step.field]
                return
        at = step.on_true
        if at < 0:
            return


cdef bint is_testable(const Test *test) noexcept nogil:
    if test.kind == VALUE_STRING or test.kind == VALUE_OBJECTID:
        return test.opcode == OP_EQ
    return test.kind == VALUE_NUMBER or test.kind == VALUE_DATE or test.kind == VALUE_BOOL


cdef double hash_of(const uint8_t *value, size_t size) noexcept nogil:
    # 52 bits, which a double holds; equal for equal values, and seldom for others
    cdef uint64_t found = size
    cdef size_t at = 0
    while size - at >= 8:
        found = (found ^ load_u64(value + at)) * HASH_FACTOR
        found ^= found >> 32
        at += 8
    while at < size:
        found = (found ^ value[at]) * HASH_FACTOR
        found ^= found >> 32
        at += 1
    return <double>(found >> 12)


cdef uint8_t number_of(
    uint8_t type, const uint8_t *value, size_t size, double *out
) noexcept nogil:
    # VALUE_*, and the number that stands for a value
    cdef int64_t whole
    if type == BSON_DOUBLE:
        out[0] = load_double(value)
        return VALUE_NUMBER if out[0] == out[0] else VALUE_ASK
    if type == BSON_INT32:
        out[0] = <double><int32_t>load_u32(value)
        return VALUE_NUMBER
    if type == BSON_INT64 or type == BSON_DATE:
        whole = <int64_t>load_u64(value)
        if not -EXACT_MAX <= whole <= EXACT_MAX:
            return VALUE_ASK
        out[0] = <double>whole
        return VALUE_NUMBER if type == BSON_INT64 else VALUE_DATE
    if type == BSON_BOOL:
        out[0] = value[0]
        return VALUE_BOOL if value[0] <= 1 else VALUE_ASK
    if type == BSON_STRING or type == BSON_OBJECTID:
        out[0] = hash_of(value, size)
        return VALUE_STRING if type == BSON_STRING else VALUE_OBJECTID
    return VALUE_OTHER if type == BSON_NULL or type == BSON_BINARY else VALUE_ASK


cdef uint8_t value_of(
    const uint8_t *leaf, int slot, const FilterName *name, double *out
) noexcept nogil:
    cdef const uint8_t *cell = page_cell(leaf, slot)
    cdef const uint8_t *record
    cdef size_t size
    if leaf_is_overflow(cell):
        return VALUE_ASK
    record = leaf_value(cell, &size)
    return field_number(record, size, name, out)


cdef uint8_t field_number(
    const uint8_t *record, size_t size, const FilterName *name, double *out
) noexcept nogil:
    cdef Element element
    cdef size_t start
    cdef int found
    if size < RECORD_HEADER_SIZE or record[RECORD_NODE_SIZE] > size - RECORD_HEADER_SIZE:
        return VALUE_ASK
    if record[RECORD_FLAGS] & RECORD_FLAG_TOMBSTONE:
        return VALUE_TOMBSTONE
    start = document_start(record, size)
    found = name_find(record + start, size - start, name, &element)
    if found <= 0:
        return VALUE_OTHER if found == 0 else VALUE_ASK
    return number_of(element.type, element.value, element.value_size, out)


cdef Column *column_make(const Page *page, const FilterName *name) noexcept nogil:
    cdef const uint8_t *leaf = page_bytes(page)
    cdef int count = page_count(leaf)
    cdef size_t size = sizeof(Column) + <size_t>count * (sizeof(double) + 1) + name.size
    cdef Column *column = <Column *>malloc(size)
    cdef int slot
    if column == NULL:
        return NULL
    column.next = NULL
    column.size = <uint32_t>size
    column.values = <double *>(<uint8_t *>column + sizeof(Column))
    column.kinds = <uint8_t *>(column.values + count)
    column.name = <char *>(column.kinds + count)
    column.name_size = <uint32_t>name.size
    memcpy(column.name, name.name, name.size)
    for slot in range(count):
        column.values[slot] = 0
        column.kinds[slot] = value_of(leaf, slot, name, &column.values[slot])
    return column


cdef const Column *column_of(Page *page, const FilterName *name) noexcept nogil:
    cdef Column *first = rango_column_load(&page.columns)
    cdef Column *column = first
    cdef int count = 0
    if name.size > NAME_SIZE_MAX:
        return NULL
    while column != NULL:
        if column.name_size == name.size and memcmp(column.name, name.name, name.size) == 0:
            return column
        column = column.next
        count += 1
    if count >= COLUMNS_MAX:
        return NULL
    column = column_make(page, name)
    if column == NULL:
        return NULL
    column.next = first
    while not rango_column_swap(&page.columns, &column.next, column):
        # `next` is what somebody else has put there meanwhile
        pass
    rango_count_add(&page.added_size, column.size)
    return column
