"""Filters as flat programs over raw BSON.

Terms       step: one comparison of one path; it names the step that follows when it is true and the
            one when it is false, so $and, $or, $nor and $not cost nothing at run time. Part: one
            name of a dotted path.
Invariants  A step is true when any value that its path reaches makes it true; a negation negates
            that whole answer. A path fans out through arrays, where a number also names a place; an
            array at its end offers its elements and itself. A path that ends early reaches
            "missing", which equals null. A program is immutable after compile, so many threads run
            it at once; what a run learns lies on its stack.
States      ready after compile_filter; there is no other.
Failure     a malformed record answers -1 and nothing is read past its end.
Sources     MongoDB manual, "Query an Array", "Query for Null or Missing Fields";
            tests/reference/filter.py.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcpy
from rango._ext.bson_element cimport (
    BSON_DATE, BSON_DOUBLE, BSON_INT32, BSON_INT64, BSON_STRING, Element, document_span,
)
from rango._ext.compare cimport (
    CLASS_MAXKEY, CLASS_MINKEY, CLASS_NULL, REVISION_SIZE, TYPE_REVISION, class_of, load_int,
    number_is_nan, value_compare,
)
from rango._ext.layout cimport (
    RECORD_COUNTER, RECORD_FLAG_TOMBSTONE, RECORD_FLAGS, RECORD_HEADER_SIZE, RECORD_MS,
    RECORD_NODE_SIZE, RECORD_UPDATED_AT,
)
from rango._ext.match cimport (
    FilterName, FilterOperand, FilterStep, GOTO_ACCEPT, GOTO_REJECT, OP_EQ, OP_EXISTS, OP_GT,
    OP_GTE, OP_IN, OP_LT, OP_LTE, OP_TRUE, SOURCE_BODY, SOURCE_NODE, SOURCE_REVISION,
    SOURCE_UPDATED_AT,
    element_checked, element_step, name_equals, name_find, value_match,
)
from rango._ext.siphash cimport node_tag
from rango._ext.span cimport load_double, store_u32

import struct

from rango._ext.normal import filter_parse, revision_parse
from rango._ext.record import encode
from rango.errors import Corrupted, InvalidDocument, InvalidFilter, LimitExceeded

cdef dict OPCODES = {
    "$eq": OP_EQ, "$gt": OP_GT, "$gte": OP_GTE, "$lt": OP_LT, "$lte": OP_LTE, "$in": OP_IN,
    "$exists": OP_EXISTS,
}
cdef dict SOURCES = {
    b"_rev": SOURCE_REVISION, b"_updated_at": SOURCE_UPDATED_AT, b"_source_node": SOURCE_NODE,
}


class NoValue:
    """The type of NO_VALUE, which is different from every value that a document can have."""

    def __repr__(self):
        return "NO_VALUE"


NO_VALUE = NoValue()


cdef int header_find(Walk *walk, uint8_t source, Element *out) noexcept nogil:
    # a field of the record's header as an element; always there
    cdef const uint8_t *record = walk.record
    cdef uint8_t node_size = record[RECORD_NODE_SIZE]
    cdef const uint8_t *node = record + RECORD_HEADER_SIZE
    cdef uint16_t tag
    cdef int i
    out.value = walk.scratch
    if source == SOURCE_UPDATED_AT:
        out.type = BSON_DATE
        out.value = record + RECORD_UPDATED_AT
        out.value_size = 8
    elif source == SOURCE_NODE:
        out.type = BSON_STRING
        store_u32(walk.scratch, <uint32_t>node_size + 1)
        memcpy(walk.scratch + 4, node, node_size)
        walk.scratch[4 + node_size] = 0
        out.value_size = <size_t>node_size + 5
    else:
        out.type = TYPE_REVISION
        for i in range(8):
            walk.scratch[i] = record[RECORD_MS + 7 - i]
        walk.scratch[8] = record[RECORD_COUNTER + 1]
        walk.scratch[9] = record[RECORD_COUNTER]
        tag = node_tag(node, node_size)
        walk.scratch[10] = <uint8_t>(tag >> 8)
        walk.scratch[11] = <uint8_t>(tag & 0xff)
        out.value_size = REVISION_SIZE
    return 1


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


cdef int operand_compare(const void *a, const void *b) noexcept nogil:
    cdef const FilterOperand *left = <const FilterOperand *>a
    cdef const FilterOperand *right = <const FilterOperand *>b
    return value_compare(left.type, left.value, left.size, right.type, right.value, right.size)


@cython.final
cdef class Program:
    """A compiled filter. Immutable; any number of threads may run it."""

    def __dealloc__(self):
        free(self.steps)
        free(self.fields)
        free(self.parts)
        free(self.operands)

    cdef int step_run(self, Walk *walk, const FilterStep *step) noexcept nogil:
        cdef const FilterName *field = &self.fields[step.field]
        cdef Element element
        cdef int found
        if step.opcode == OP_TRUE:
            return 1
        if field.source != SOURCE_BODY and walk.record != NULL:
            found = header_find(walk, field.source, &element)
        elif step.field >= FIELDS_WALKED_MAX or field.source != SOURCE_BODY:
            found = name_find(walk.bson, walk.bson_size, field, &element)
        else:
            found = field_locate(walk, self.fields, self.field_count, step.field)
            if found == 1:
                element = walk.elements[step.field]
        if found != 1:
            return step.matches_missing if found == 0 else -1
        return value_match(
            step, self.operands, self.parts, element.type, element.value, element.value_size,
            step.part,
        )

    cdef int run_steps(
        self, const uint8_t *record, const uint8_t *bson, size_t size
    ) noexcept nogil:
        cdef Walk walk
        cdef int32_t at = 0
        cdef int answer
        walk.record = record
        walk.bson = bson
        walk.bson_size = size
        walk.decided = 0
        walk.found = 0
        if document_span(bson, size, &walk.rest) < 0:
            return -1
        while at >= 0:
            answer = self.step_run(&walk, &self.steps[at])
            if answer < 0:
                return -1
            at = self.steps[at].on_true if answer else self.steps[at].on_false
        return at == GOTO_ACCEPT

    cdef int run(self, const uint8_t *record, size_t size) noexcept nogil:
        cdef const uint8_t *bson
        if size < RECORD_HEADER_SIZE or record[RECORD_NODE_SIZE] > size - RECORD_HEADER_SIZE:
            return -1
        if record[RECORD_FLAGS] & RECORD_FLAG_TOMBSTONE:
            return 0
        bson = record + RECORD_HEADER_SIZE + record[RECORD_NODE_SIZE]
        size -= RECORD_HEADER_SIZE + <size_t>record[RECORD_NODE_SIZE]
        if not self.is_single:
            return self.run_steps(record, bson, size)
        return self.run_single(bson, size)

    cdef int run_single(self, const uint8_t *bson, size_t size) noexcept nogil:
        cdef const FilterStep *step = &self.steps[0]
        cdef Element element
        cdef int answer = name_find(bson, size, &self.fields[0], &element)
        if answer == 1:
            answer = value_match(
                step, self.operands, self.parts, element.type, element.value, element.value_size,
                step.part,
            )
        elif answer == 0:
            answer = step.matches_missing
        if answer < 0:
            return -1
        return (step.on_true if answer else step.on_false) == GOTO_ACCEPT

    def matches(self, bytes record not None):
        """Does this record (header, node id, BSON) match? Corrupted if it is malformed."""
        cdef int answer = self.run(<const uint8_t *>PyBytes_AS_STRING(record), len(record))
        if answer < 0:
            raise Corrupted("record", "its header or its BSON is malformed")
        return answer == 1

    def matches_bson(self, bytes bson not None):
        """Does this document match? BSON without a record's header: `_rev`, `_updated_at` and
        `_source_node` are ordinary fields. Corrupted if it is malformed.
        """
        cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(bson)
        cdef size_t size = <size_t>PyBytes_GET_SIZE(bson)
        cdef int answer
        if self.is_single:
            answer = self.run_single(start, size)
        else:
            answer = self.run_steps(NULL, start, size)
        if answer < 0:
            raise Corrupted("document", "its BSON is malformed")
        return answer == 1

    def run_many(self, records):
        """The places of the matching records in a list, in order; runs with the GIL released."""
        cdef tuple held = tuple(records)
        cdef Py_ssize_t count = len(held)
        cdef Py_ssize_t i
        cdef int answer = 0
        cdef const uint8_t **starts = <const uint8_t **>calloc(count + 1, sizeof(void *))
        cdef size_t *sizes = <size_t *>calloc(count + 1, sizeof(size_t))
        cdef uint8_t *answers = <uint8_t *>calloc(count + 1, 1)
        try:
            if starts == NULL or sizes == NULL or answers == NULL:
                raise MemoryError
            for i in range(count):
                record = held[i]
                if type(record) is not bytes:
                    raise TypeError(f"a record is bytes, not {type(record).__name__}")
                starts[i] = <const uint8_t *>PyBytes_AS_STRING(record)
                sizes[i] = <size_t>PyBytes_GET_SIZE(record)
            with nogil:
                for i in range(count):
                    answer = self.run(starts[i], sizes[i])
                    if answer < 0:
                        break
                    answers[i] = <uint8_t>answer
            if answer < 0:
                raise Corrupted(f"record {i}", "its header or its BSON is malformed")
            return [i for i in range(count) if answers[i]]
        finally:
            free(<void *>starts)
            free(sizes)
            free(answers)


cdef tuple operand_encode(str path, object value):
    # (type, bytes) of one operand; the encoder names no field, so the path goes into the message
    cdef bytes data
    if type(value) is str and path == "_rev":
        ms, counter, tag = revision_parse(value)
        return (TYPE_REVISION, struct.pack(">QHH", ms, counter, tag))
    try:
        data = encode({"": value})
    except (InvalidDocument, LimitExceeded) as error:
        raise InvalidFilter(f"{path!r}: an operand cannot be encoded: {error}") from error
    return (data[4], data[6:len(data) - 1])


cdef bytes name_encode(str path, str name):
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise InvalidFilter(f"the path {path!r} has a lone surrogate: not valid Unicode") from error


cdef bint is_missing_matched(uint8_t opcode, list operands):
    # does a missing field make the step true? Operands are (type, bytes)
    for type, _ in operands:
        kind = class_of(type)
        if kind == CLASS_NULL and opcode in (OP_EQ, OP_GTE, OP_LTE, OP_IN):
            return True
        if kind == CLASS_MAXKEY and opcode in (OP_LT, OP_LTE):
            return True
        if kind == CLASS_MINKEY and opcode in (OP_GT, OP_GTE):
            return True
    return False


@cython.final
cdef class Assembler:
    """Steps, names and operands of a program in the making; labels are targets not known yet."""

    cdef list steps         # the fields of FilterStep, with labels for on_true and on_false
    cdef list labels        # label -> index of a step, or GOTO_*
    cdef dict fields        # name -> its index
    cdef list parts
    cdef list operands      # (type, bytes)

    def __cinit__(self):
        self.steps = []
        self.labels = [GOTO_ACCEPT, GOTO_REJECT]
        self.fields = {}
        self.parts = []
        self.operands = []

    cdef int emit(self, tuple node, int on_true, int on_false) except -1:
        cdef str kind = node[0]
        cdef tuple nodes
        cdef int label
        cdef Py_ssize_t i
        if kind == "$not":
            return self.emit(node[1], on_false, on_true)
        if kind != "$and" and kind != "$or":
            return self.emit_step(node, on_true, on_false)
        nodes = node[1]
        if not nodes:
            self.steps.append((OP_TRUE, True, 0, 0, 0, 0, 0, on_true, on_false))
        for i in range(len(nodes)):
            if i == len(nodes) - 1:
                return self.emit(nodes[i], on_true, on_false)
            label = len(self.labels)
            self.labels.append(0)
            if kind == "$and":
                self.emit(nodes[i], label, on_false)
            else:
                self.emit(nodes[i], on_true, label)
            self.labels[label] = len(self.steps)
        return 0

    cdef int emit_step(self, tuple node, int on_true, int on_false) except -1:
        cdef str path = node[1]
        cdef list names = [name_encode(path, name) for name in path.split(".")]
        cdef uint8_t opcode = OPCODES[node[0]]
        cdef list operands = []
        cdef Py_ssize_t part = len(self.parts)
        cdef Py_ssize_t operand = len(self.operands)
        if opcode == OP_IN:
            operands = sorted({operand_encode(path, value) for value in node[2]})
        elif opcode != OP_EXISTS:
            operands = [operand_encode(path, node[2])]
        self.parts.extend(names[1:])
        self.operands.extend(operands)
        self.steps.append((
            opcode, is_missing_matched(opcode, operands),
            self.fields.setdefault(names[0], len(self.fields)), part, len(self.parts), operand,
            len(self.operands), on_true, on_false,
        ))
        return 0


cdef int name_fill(FilterName *out, bytes name) except -1:
    cdef bytes head = (name + b"\x00")[:8]
    out.name = PyBytes_AS_STRING(name)
    out.size = len(name)
    out.head = int.from_bytes(head, "little")
    out.mask = ((<object>1) << (8 * len(head))) - 1
    out.tail = int.from_bytes(name[len(name) - 8:], "little") if len(name) >= 8 else 0
    out.source = SOURCES.get(name, SOURCE_BODY)
    out.offset = -1
    if name.isdigit() and len(name) <= 9 and (name == b"0" or name[0] != 48):
        out.offset = int(name)
    return 0


cdef int operand_fill(FilterOperand *out, uint8_t type, bytes value) except -1:
    cdef int64_t whole
    out.value = <const uint8_t *>PyBytes_AS_STRING(value)
    out.size = len(value)
    out.type = type
    out.value_class = class_of(type)
    if type == BSON_DOUBLE:
        out.number = load_double(out.value)
        out.is_number = not number_is_nan(type, out.value)
    elif type == BSON_INT32 or type == BSON_INT64:
        whole = load_int(type, out.value)
        out.number = <double>whole
        out.is_number = -(<int64_t>1 << 53) <= whole <= <int64_t>1 << 53
    return 0


cdef int step_fill(FilterStep *out, tuple step, list labels) except -1:
    out.opcode = step[0]
    out.matches_missing = step[1]
    out.field = step[2]
    out.part = step[3]
    out.part_end = step[4]
    out.operand = step[5]
    out.operand_end = step[6]
    out.on_true = labels[step[7]]
    out.on_false = labels[step[8]]
    return 0


cdef int program_fill(Program program, Assembler source) except -1:
    cdef list fields = list(source.fields) or [b""]
    cdef FilterStep *step
    cdef Py_ssize_t i
    program.steps = <FilterStep *>calloc(len(source.steps), sizeof(FilterStep))
    program.fields = <FilterName *>calloc(len(fields), sizeof(FilterName))
    program.parts = <FilterName *>calloc(len(source.parts) + 1, sizeof(FilterName))
    program.operands = <FilterOperand *>calloc(len(source.operands) + 1, sizeof(FilterOperand))
    if not (program.steps and program.fields and program.parts and program.operands):
        raise MemoryError
    program.held = [fields, source.parts, source.operands]
    program.field_count = len(fields)
    for i in range(len(fields)):
        name_fill(&program.fields[i], fields[i])
    for i in range(len(source.parts)):
        name_fill(&program.parts[i], source.parts[i])
    for i in range(len(source.operands)):
        operand_fill(&program.operands[i], source.operands[i][0], source.operands[i][1])
    for i in range(len(source.steps)):
        step = &program.steps[i]
        step_fill(step, source.steps[i], source.labels)
        if step.opcode == OP_IN:
            qsort(
                &program.operands[step.operand], step.operand_end - step.operand,
                sizeof(FilterOperand), operand_compare,
            )
    step = &program.steps[0]
    program.is_single = (
        len(source.steps) == 1
        and step.opcode != OP_TRUE
        and program.fields[0].source == SOURCE_BODY
    )
    return 0


cdef object id_equality(tuple node):
    # the value that `_id` must equal, wherever at the top level it is said
    if node[0] == "$eq" and node[1] == "_id":
        return node[2]
    if node[0] == "$and":
        for part in node[1]:
            if part[0] == "$eq" and part[1] == "_id":
                return part[2]
    return NO_VALUE


def compile_filter(filter):
    """The program of a filter. InvalidFilter names what is not understood."""
    cdef Program program = Program.__new__(Program)
    cdef Assembler assembler = Assembler()
    program.normal = filter_parse(filter)
    assembler.emit(program.normal, 0, 1)
    program_fill(program, assembler)
    program.is_always = program.normal == ("$and", ())
    program.id_equals = id_equality(program.normal)
    program.is_id_only = program.normal[0] == "$eq" and program.normal[1] == "_id"
    return program


def revision_tag(str node_id not None):
    """The short tag of a node in a revision: 4 hex digits."""
    cdef bytes node = node_id.encode()
    return format(node_tag(<const uint8_t *>PyBytes_AS_STRING(node), len(node)), "04x")
