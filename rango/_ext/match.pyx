"""Does a value of a document make a step of a filter true?

Terms       step, part: see filter.pyx.
Invariants  True when any value that the path reaches makes it true. A path fans out through arrays,
            where a number also names a place; an array at the end of the path offers its elements
            and itself, one that a number reached only itself. A path that ends early reaches
            "missing", which equals null; inside an array it reaches nothing. Values of different
            classes do not compare, except with MinKey and MaxKey.
Failure     malformed BSON answers -1; nothing is read past the sizes that were given.
Sources     MongoDB manual, "Query an Array", "Query for Null or Missing Fields";
            tests/reference/filter.py.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcmp
from rango._ext.bson_element cimport (
    BSON_ARRAY, BSON_DOCUMENT, BSON_DOUBLE, BSON_INT32, Element, document_span, element_next,
)
from rango._ext.compare cimport (
    CLASS_MAXKEY, CLASS_MINKEY, CLASS_NUMBER, CLASS_STRING, ORDER_MALFORMED, class_of,
    number_is_nan, value_compare,
)
from rango._ext.match cimport (
    FilterName, FilterOperand, FilterStep, OP_EQ, OP_EXISTS, OP_GT, OP_GTE, OP_IN, OP_LT, OP_LTE,
    name_find,
)
from rango._ext.span cimport Span, load_double, load_u32


cdef int order_test(uint8_t opcode, int order) noexcept nogil:
    if opcode == OP_EQ:
        return order == 0
    elif opcode == OP_GT:
        return order > 0
    elif opcode == OP_GTE:
        return order >= 0
    elif opcode == OP_LT:
        return order < 0
    return order <= 0


cdef inline int double_test(uint8_t opcode, double value, double operand) noexcept nogil:
    # neither is an int64 that a double cannot hold; operand is not NaN, and a NaN value answers no
    if opcode == OP_GTE:
        return value >= operand
    elif opcode == OP_GT:
        return value > operand
    elif opcode == OP_LTE:
        return value <= operand
    elif opcode == OP_LT:
        return value < operand
    return value == operand


cdef int class_test(uint8_t opcode, uint8_t operand_class) noexcept nogil:
    # values of different classes do not compare, except with the two ends of the order
    if opcode == OP_LT or opcode == OP_LTE:
        return operand_class == CLASS_MAXKEY
    if opcode == OP_GT or opcode == OP_GTE:
        return operand_class == CLASS_MINKEY
    return 0


cdef int member_test(
    const FilterStep *step, const FilterOperand *operands, uint8_t type, const uint8_t *value,
    size_t size
) noexcept nogil:
    # bisection over the sorted operands of $in
    cdef uint32_t lower = step.operand
    cdef uint32_t upper = step.operand_end
    cdef uint32_t middle
    cdef int order
    while lower < upper:
        middle = lower + (upper - lower) // 2
        order = value_compare(
            type, value, size, operands[middle].type, operands[middle].value, operands[middle].size
        )
        if order == 0 or order == ORDER_MALFORMED:
            return 1 if order == 0 else -1
        if order > 0:
            lower = middle + 1
        else:
            upper = middle
    return 0


cdef int element_test(
    const FilterStep *step, const FilterOperand *operands, uint8_t type, const uint8_t *value,
    size_t size
) noexcept nogil:
    # 1, 0, or -1: does this one value make the step true?
    cdef const FilterOperand *operand
    cdef uint8_t value_class
    cdef int order
    if step.opcode == OP_EXISTS:
        return 1
    if step.opcode == OP_IN:
        return member_test(step, operands, type, value, size)
    operand = &operands[step.operand]
    if operand.is_number:
        if type == BSON_DOUBLE:
            return double_test(step.opcode, load_double(value), operand.number)
        if type == BSON_INT32:
            return double_test(step.opcode, <double><int32_t>load_u32(value), operand.number)
    value_class = class_of(type)
    if value_class != operand.value_class:
        return class_test(step.opcode, operand.value_class) if value_class else -1
    if value_class == CLASS_NUMBER:
        if number_is_nan(type, value) or number_is_nan(operand.type, operand.value):
            # NaN is neither less nor greater than a number, and equals itself
            if step.opcode == OP_GT or step.opcode == OP_LT:
                return 0
            return number_is_nan(type, value) and number_is_nan(operand.type, operand.value)
    elif step.opcode == OP_EQ and value_class == CLASS_STRING:
        return size == operand.size and memcmp(value, operand.value, size) == 0
    order = value_compare(type, value, size, operand.type, operand.value, operand.size)
    return -1 if order == ORDER_MALFORMED else order_test(step.opcode, order)


cdef int array_match(
    const FilterStep *step, const FilterOperand *operands, const FilterName *parts,
    const uint8_t *array, size_t size, uint32_t part
) noexcept nogil:
    # the path goes on from an array: into each document in it, and to the place that the next part
    # may name
    cdef Span span
    cdef Element element
    cdef int64_t place = 0
    cdef int found
    cdef int answer = 0
    if document_span(array, size, &span) < 0:
        return -1
    while answer == 0:
        found = element_next(&span, &element)
        if found != 1:
            return found
        if element.type == BSON_DOCUMENT:
            answer = value_match(
                step, operands, parts, element.type, element.value, element.value_size, part
            )
        if answer == 0 and parts[part].offset == place:
            if part + 1 == step.part_end:
                # the place itself: an array that lies there is one value and is not opened
                answer = element_test(
                    step, operands, element.type, element.value, element.value_size
                )
            elif element.type == BSON_DOCUMENT:
                answer = value_match(
                    step, operands, parts, element.type, element.value, element.value_size, part + 1
                )
            elif element.type == BSON_ARRAY:
                answer = array_match(
                    step, operands, parts, element.value, element.value_size, part + 1
                )
        place += 1
    return answer


cdef int elements_match(
    const FilterStep *step, const FilterOperand *operands, const uint8_t *array, size_t size
) noexcept nogil:
    # the path ends at an array: any element, or the array itself
    cdef Span span
    cdef Element element
    cdef int found
    cdef int answer
    if document_span(array, size, &span) < 0:
        return -1
    while True:
        found = element_next(&span, &element)
        if found < 0:
            return -1
        if found == 0:
            return element_test(step, operands, BSON_ARRAY, array, size)
        answer = element_test(step, operands, element.type, element.value, element.value_size)
        if answer:
            return answer


cdef int value_match(
    const FilterStep *step, const FilterOperand *operands, const FilterName *parts,
    uint8_t type, const uint8_t *value, size_t size, uint32_t part
) noexcept nogil:
    # a value that the parts before `part` lead to
    cdef Element element
    cdef int found
    while part < step.part_end:
        if type == BSON_ARRAY:
            return array_match(step, operands, parts, value, size, part)
        if type != BSON_DOCUMENT:
            return step.matches_missing
        found = name_find(value, size, &parts[part], &element)
        if found != 1:
            return step.matches_missing if found == 0 else -1
        type = element.type
        value = element.value
        size = element.value_size
        part += 1
    if type == BSON_ARRAY:
        return elements_match(step, operands, value, size)
    return element_test(step, operands, type, value, size)
