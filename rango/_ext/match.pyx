"""Does a value of a document make a step of a filter true?

Terms       step, part: see filter.pyx.
Invariants  True when any value that the path reaches makes it true. A path fans out through arrays,
            where a number also names a place; an array at the end of the path offers its elements
            and itself, one that a number reached only itself. A path that ends early reaches
            "missing", which equals null; inside an array it reaches nothing. Values of different
            classes do not compare, except with MinKey and MaxKey.
            $size and $elemMatch look at an array at the end of the path as one value. The place of
            a match is that of the outermost array gone through, unless a number of the path chose
            it. OP_ALL has as many operands as are different, in order; it is true as soon as each
            of them was met, by whichever value, so one walk over the values decides it.
Failure     malformed BSON answers TEST_MALFORMED; nothing is read past the sizes that were given.
            TEST_RAISED: a Python error is set, see predicate.pyx.
Sources     MongoDB manual, "Query an Array", "Query for Null or Missing Fields"; MatchDetails of
            its server; tests/reference/filter.py.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp
from rango._ext.bson_element cimport (
    BSON_ARRAY, BSON_DOCUMENT, BSON_DOUBLE, BSON_INT32, BSON_NULL, Element, document_span,
    element_next,
)
from rango._ext.compare cimport (
    CLASS_ARRAY, CLASS_DOCUMENT, CLASS_MAXKEY, CLASS_MINKEY, CLASS_NUMBER, CLASS_STRING,
    ORDER_MALFORMED, class_of, number_is_nan, value_compare,
)
from rango._ext.match cimport (
    FIELDS_WALKED_MAX, FilterName, FilterOperand, FilterProgram, FilterStep, GOTO_ACCEPT, Met,
    OP_ALL, OP_DOCUMENT, OP_ELEMENT, OP_ELEMENT_VALUE, OP_EQ, OP_EXISTS, OP_GT, OP_GTE, OP_IN,
    OP_LT, OP_LTE, OP_SIZE, OP_TRUE, Walk, element_checked, element_step, name_equals,
    name_find,
)
from rango._ext.predicate cimport document_test, predicate_test, value_fold
from rango._ext.record_header cimport SOURCE_BODY, header_find
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


cdef int64_t member_find(
    const FilterStep *step, const FilterOperand *operands, uint8_t type, const uint8_t *value,
    size_t size
) noexcept nogil:
    # bisection over sorted operands: which one is equal; -1: none is; -2: the value is malformed
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
            return <int64_t>middle if order == 0 else -2
        if order > 0:
            lower = middle + 1
        else:
            upper = middle
    return -1


cdef int members_test(
    const FilterStep *step, const FilterOperand *operands, uint8_t type, const uint8_t *value,
    size_t size
) noexcept nogil:
    # OP_IN: is the value one of the operands? OP_ALL: was it the last that was to be met?
    cdef int64_t found = member_find(step, operands, type, value, size)
    if found < 0:
        return -1 if found == -2 else 0
    if step.opcode == OP_IN:
        return 1
    if step.met == NULL:
        # of one value, see value_run
        return step.operand_end - step.operand == 1
    found -= step.operand
    if not step.met.marks[found]:
        step.met.marks[found] = 1
        step.met.count += 1
    return step.met.count == step.operand_end - step.operand


cdef inline int missing_test(
    const FilterStep *step, const FilterOperand *operands
) noexcept nogil:
    # does a missing value make the step true?
    if step.opcode == OP_ALL and step.matches_missing:
        return members_test(step, operands, BSON_NULL, NULL, 0)
    return step.matches_missing


cdef int plain_test(
    const FilterStep *step, const FilterOperand *operands, uint8_t type, const uint8_t *value,
    size_t size
) noexcept nogil:
    # 1, 0, or -1: does this one value make the step true?
    cdef const FilterOperand *operand
    cdef uint8_t value_class
    cdef int order
    if step.opcode == OP_EXISTS:
        return 1
    if step.opcode == OP_IN or step.opcode == OP_ALL:
        return members_test(step, operands, type, value, size)
    if step.opcode > OP_IN:
        return predicate_test(step, operands, type, value, size)
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
        return size == operand.size and (size == 0 or memcmp(value, operand.value, size) == 0)
    order = value_compare(type, value, size, operand.type, operand.value, operand.size)
    return -1 if order == ORDER_MALFORMED else order_test(step.opcode, order)


cdef int folded_test(
    const FilterProgram *program, const FilterStep *step, uint8_t type, const uint8_t *value,
    size_t size
) noexcept nogil:
    # under a collation: strings, and values that may hold strings
    cdef uint8_t value_class = class_of(type)
    cdef uint8_t *owned = NULL
    cdef int answer = 0
    if (
        value_class == CLASS_STRING or value_class == CLASS_DOCUMENT or value_class == CLASS_ARRAY
    ):
        answer = value_fold(step.fold, type, &value, &size, &owned)
    if answer == 0:
        answer = plain_test(step, program.operands, type, value, size)
    free(owned)
    return answer


cdef inline int element_test(
    const FilterProgram *program, const FilterStep *step, uint8_t type, const uint8_t *value,
    size_t size, int64_t *place
) noexcept nogil:
    # 1, 0 or TEST_*: does this one value make the step true?
    if step.opcode >= OP_SIZE:
        return array_test(step, type, value, size, place)
    if step.is_folded:
        return folded_test(program, step, type, value, size)
    return plain_test(step, program.operands, type, value, size)


cdef int array_test(
    const FilterStep *step, uint8_t type, const uint8_t *array, size_t size, int64_t *place
) noexcept nogil:
    # $size and $elemMatch of a value
    cdef Span span
    cdef Element element
    cdef int64_t count = 0
    cdef int answer = 0
    cdef int found
    if type != BSON_ARRAY:
        return 0
    if document_span(array, size, &span) < 0:
        return -1
    while True:
        found = element_next(&span, &element)
        if found < 0:
            return -1
        if found == 0:
            return step.opcode == OP_SIZE and count == step.number
        if step.opcode == OP_ELEMENT_VALUE:
            answer = value_run(step.child, element.type, element.value, element.value_size)
        elif step.opcode == OP_ELEMENT and (
            element.type == BSON_DOCUMENT or element.type == BSON_ARRAY
        ):
            answer = program_run(step.child, NULL, element.value, element.value_size)
        if answer:
            if place != NULL:
                place[0] = count
            return answer
        count += 1


cdef int array_match(
    const FilterProgram *program, const FilterStep *step, const uint8_t *array, size_t size,
    uint32_t part, int64_t *place
) noexcept nogil:
    # the path goes on from an array: into each document in it, and to the place that the next part
    # may name
    cdef Span span
    cdef Element element
    cdef int64_t at = 0
    cdef int found
    cdef int answer = 0
    if document_span(array, size, &span) < 0:
        return -1
    while True:
        found = element_next(&span, &element)
        if found != 1:
            return found
        if element.type == BSON_DOCUMENT:
            answer = value_match(
                program, step, element.type, element.value, element.value_size, part, place
            )
            if answer:
                if place != NULL:
                    place[0] = at
                return answer
        if program.parts[part].offset == at:
            answer = place_match(program, step, &element, at, part, place)
            if answer:
                return answer
        at += 1


cdef int place_match(
    const FilterProgram *program, const FilterStep *step, const Element *element, int64_t at,
    uint32_t part, int64_t *place
) noexcept nogil:
    # the element of an array that a number of the path names
    cdef int answer
    if part + 1 == step.part_end:
        # an array that lies there is one value and is not opened
        answer = element_test(
            program, step, element.type, element.value, element.value_size, place
        )
        if answer == 1 and place != NULL:
            place[0] = at
        return answer
    if element.type == BSON_DOCUMENT:
        return value_match(
            program, step, element.type, element.value, element.value_size, part + 1, place
        )
    if element.type == BSON_ARRAY:
        return array_match(program, step, element.value, element.value_size, part + 1, place)
    return 0


cdef int elements_match(
    const FilterProgram *program, const FilterStep *step, const uint8_t *array, size_t size,
    int64_t *place
) noexcept nogil:
    # the path ends at an array: any element, or the array itself
    cdef Span span
    cdef Element element
    cdef int64_t at = 0
    cdef int found
    cdef int answer
    if document_span(array, size, &span) < 0:
        return -1
    while True:
        found = element_next(&span, &element)
        if found < 0:
            return -1
        if found == 0:
            return element_test(program, step, BSON_ARRAY, array, size, place)
        answer = element_test(
            program, step, element.type, element.value, element.value_size, place
        )
        if answer:
            if place != NULL:
                place[0] = at
            return answer
        at += 1


cdef int value_match(
    const FilterProgram *program, const FilterStep *step, uint8_t type, const uint8_t *value,
    size_t size, uint32_t part, int64_t *place
) noexcept nogil:
    # a value that the parts before `part` lead to
    cdef Element element
    cdef int found
    while part < step.part_end:
        if type == BSON_ARRAY:
            return array_match(program, step, value, size, part, place)
        if type != BSON_DOCUMENT:
            return missing_test(step, program.operands)
        found = name_find(value, size, &program.parts[part], &element)
        if found != 1:
            return missing_test(step, program.operands) if found == 0 else -1
        type = element.type
        value = element.value
        size = element.value_size
        part += 1
    if type == BSON_ARRAY and step.opcode < OP_SIZE:
        return elements_match(program, step, value, size, place)
    return element_test(program, step, type, value, size, place)


cdef int value_run(
    const FilterProgram *program, uint8_t type, const uint8_t *value, size_t size
) noexcept nogil:
    # a program whose steps have no paths, of one value
    cdef const FilterStep *step
    cdef int32_t at = 0
    cdef int answer
    while at >= 0:
        step = &program.steps[at]
        answer = 1
        if step.opcode != OP_TRUE:
            answer = element_test(program, step, type, value, size, NULL)
        if answer < 0:
            return answer
        at = step.on_true if answer else step.on_false
    return at == GOTO_ACCEPT


cdef int field_locate(
    Walk *walk, const FilterName *fields, uint32_t count, uint32_t field
) noexcept nogil:
    # walk on until this field is found; other fields of the program that are met on the way are
    # noted
    cdef Element element
    cdef uint64_t head = 0
    cdef uint32_t i
    cdef uint32_t bit
    cdef int found
    while not walk.decided >> field & 1:
        found = element_step(&walk.rest, &element, &head)
        if found < 0:
            return -1
        if found == 0:
            walk.decided = 0xffffffffU
            break
        for i in range(count if count < FIELDS_WALKED_MAX else FIELDS_WALKED_MAX):
            bit = <uint32_t>1 << i
            if not walk.decided & bit and name_equals(&fields[i], &element, head):
                if fields[i].source != SOURCE_BODY:
                    break
                if element_checked(&element) < 0:
                    return -1
                walk.elements[i] = element
                walk.decided |= bit
                walk.found |= bit
                break
    return <int>(walk.found >> field & 1)


cdef int step_run(
    const FilterProgram *program, const FilterStep *step, Walk *walk, int64_t *place
) noexcept nogil:
    cdef const FilterName *field = &program.fields[step.field]
    cdef Element element
    cdef int found
    if step.opcode == OP_TRUE:
        return 1
    if step.opcode == OP_ALL and step.met == NULL:
        return all_run(program, step, walk, place)
    if step.opcode == OP_DOCUMENT:
        return document_test(step.call, walk.bson, walk.bson_size)
    if field.source != SOURCE_BODY and walk.record != NULL:
        found = header_find(walk.record, walk.scratch, field.source, &element)
    elif step.field >= FIELDS_WALKED_MAX or field.source != SOURCE_BODY:
        found = name_find(walk.bson, walk.bson_size, field, &element)
    else:
        found = field_locate(walk, program.fields, program.field_count, step.field)
        if found == 1:
            element = walk.elements[step.field]
    if found != 1:
        return missing_test(step, program.operands) if found == 0 else -1
    return value_match(
        program, step, element.type, element.value, element.value_size, step.part, place
    )


ctypedef int (*Raiser)() noexcept nogil

# See CALL_WITH_BYTES in predicate.pyx
cdef Raiser RAISE_OUT_OF_MEMORY = <Raiser>raise_out_of_memory


cdef int raise_out_of_memory() except -2 with gil:
    raise MemoryError


cdef int all_run(
    const FilterProgram *program, const FilterStep *step, Walk *walk, int64_t *place
) noexcept nogil:
    # the step again, with room for what it meets
    cdef FilterStep own = step[0]
    cdef Met met
    cdef int answer
    met.count = 0
    met.marks = <uint8_t *>calloc(step.operand_end - step.operand, 1)
    if met.marks == NULL:
        return RAISE_OUT_OF_MEMORY()
    own.met = &met
    answer = step_run(program, &own, walk, place)
    free(met.marks)
    return answer


cdef int walk_start(
    Walk *walk, const uint8_t *record, const uint8_t *bson, size_t size
) noexcept nogil:
    walk.record = record
    walk.bson = bson
    walk.bson_size = size
    walk.decided = 0
    walk.found = 0
    return document_span(bson, size, &walk.rest)


cdef int steps_run(
    const FilterProgram *program, const uint8_t *record, const uint8_t *bson, size_t size
) noexcept nogil:
    cdef Walk walk
    cdef int32_t at = 0
    cdef int answer
    if walk_start(&walk, record, bson, size) < 0:
        return -1
    while at >= 0:
        answer = step_run(program, &program.steps[at], &walk, NULL)
        if answer < 0:
            return answer
        at = program.steps[at].on_true if answer else program.steps[at].on_false
    return at == GOTO_ACCEPT


cdef int program_run(
    const FilterProgram *program, const uint8_t *record, const uint8_t *bson, size_t size
) noexcept nogil:
    cdef const FilterStep *step
    cdef Element element
    cdef int answer
    if not program.is_single:
        return steps_run(program, record, bson, size)
    step = &program.steps[0]
    answer = name_find(bson, size, &program.fields[0], &element)
    if answer == 1:
        answer = value_match(
            program, step, element.type, element.value, element.value_size, step.part, NULL
        )
    elif answer == 0:
        answer = step.matches_missing
    if answer < 0:
        return answer
    return (step.on_true if answer else step.on_false) == GOTO_ACCEPT


cdef int step_place(
    const FilterProgram *program, uint32_t step, const uint8_t *record, const uint8_t *bson,
    size_t size, int64_t *place
) noexcept nogil:
    cdef Walk walk
    if walk_start(&walk, record, bson, size) < 0:
        return -1
    return step_run(program, &program.steps[step], &walk, place)
