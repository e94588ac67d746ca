"""From the normal form of a filter to the steps of a program.

Terms       node: see normal.pyx. Hooks: what the layer above knows and this one does not: an object
            with regex(path, pattern, options) -> ("prefix" | "contains" | "call", text, function),
            expression(spec) and schema(spec) -> function of a document, and fold: None, or the
            collation's tables (weights, has_case, fold_bson).
Invariants  Many equalities of one path become one step: of an $and OP_ALL, of an $or OP_IN, so that
            a document is walked once and not once for each of them (as $all with many values does).
            The structures hold borrowed addresses of bytes and functions; `held` of the program
            owns them.
Failure     InvalidFilter names the path and the operand; nothing is compiled.
Sources     filter.pyx; match.pxd.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcpy
from rango._ext.bson_element cimport (
    BSON_ARRAY, BSON_DOCUMENT, BSON_MAXKEY, BSON_MINKEY, BSON_STRING, BSON_SYMBOL,
)
from rango._ext.compare cimport (
    CLASS_MAXKEY, CLASS_MINKEY, CLASS_NULL, TYPE_REVISION, class_of,
)
from rango._ext.match cimport (
    FilterFold, FilterName, FilterOperand, FilterProgram, FilterStep, GOTO_ACCEPT, GOTO_REJECT,
    OP_ALL, OP_BITS_ALL_CLEAR, OP_BITS_ALL_SET, OP_BITS_ANY_CLEAR, OP_BITS_ANY_SET, OP_CONTAINS,
    OP_DOCUMENT, OP_ELEMENT, OP_ELEMENT_VALUE, OP_EQ, OP_EXISTS, OP_GT, OP_GTE, OP_IN, OP_LT,
    OP_LTE, OP_MOD, OP_PREFIX, OP_REGEX, OP_SIZE, OP_TRUE, OP_TYPE,
)
from rango._ext.members cimport (
    MEMBERS_MIN, Members, members_of, operand_compare, operand_encode, operand_fill,
)
from rango._ext.record_header cimport (
    SOURCE_BODY, SOURCE_NODE, SOURCE_REVISION, SOURCE_UPDATED_AT,
)

import struct

from bson.regex import Regex

from rango._ext.normal import revision_parse
from rango.errors import InvalidFilter

cdef dict OPCODES = {
    "$eq": OP_EQ, "$gt": OP_GT, "$gte": OP_GTE, "$lt": OP_LT, "$lte": OP_LTE, "$in": OP_IN,
    "$all": OP_ALL,
    "$exists": OP_EXISTS, "$type": OP_TYPE, "$mod": OP_MOD, "$size": OP_SIZE, "$regex": OP_REGEX,
    "$bitsAllSet": OP_BITS_ALL_SET, "$bitsAnySet": OP_BITS_ANY_SET,
    "$bitsAllClear": OP_BITS_ALL_CLEAR, "$bitsAnyClear": OP_BITS_ANY_CLEAR,
    "$elemMatch": OP_ELEMENT, "$elemMatchValue": OP_ELEMENT_VALUE,
    "$expr": OP_DOCUMENT, "$jsonSchema": OP_DOCUMENT,
}
cdef dict TEXT_OPCODES = {"prefix": OP_PREFIX, "contains": OP_CONTAINS, "call": OP_REGEX}
cdef dict SOURCES = {
    b"_rev": SOURCE_REVISION, b"_updated_at": SOURCE_UPDATED_AT, b"_source_node": SOURCE_NODE,
}


@cython.final
cdef class Code:
    """A program's structures and what they borrow from."""

    def __dealloc__(self):
        free(self.program.steps)
        free(self.program.fields)
        free(self.program.parts)
        free(self.program.operands)
        free(self.fold)


cdef tuple revision_encode(str value):
    # a revision is compared as numbers, so a text that is none is a mistake and not merely unequal
    cdef tuple found = revision_parse(value)
    if found is None:
        raise InvalidFilter(
            f"'_rev' needs a revision such as '1700000000000-0-9239', not {value!r:.100}"
        )
    return (TYPE_REVISION, struct.pack(">QHH", *found))


cdef bytes name_encode(str path, str name):
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise InvalidFilter(f"the path {path!r} has a lone surrogate: not valid Unicode") from error


cdef bint is_missing_matched(uint8_t opcode, list operands):
    # does a missing field make the step true? Operands are (type, bytes)
    for type, _ in operands:
        kind = class_of(type)
        if kind == CLASS_NULL and opcode in (OP_EQ, OP_GTE, OP_LTE, OP_ALL, OP_IN):
            return True
        if kind == CLASS_MAXKEY and opcode in (OP_LT, OP_LTE):
            return True
        if kind == CLASS_MINKEY and opcode in (OP_GT, OP_GTE):
            return True
    return False


@cython.final
cdef class Assembler:
    """Steps, names and operands of a program in the making; labels are targets not known yet."""

    cdef object hooks
    cdef bint is_child      # the program of an $elemMatch: its fields are never those of a header
    # (opcode, matches_missing, is_folded, field, part, part_end, operand, operand_end, on_true,
    # on_false, number, rest); targets are labels
    cdef list steps
    cdef list labels        # label -> index of a step, or GOTO_*
    cdef dict fields        # name -> its index
    cdef list parts
    cdef list operands      # (type, bytes), or Members
    cdef Py_ssize_t operand_count
    cdef dict children      # index of a step -> Code
    cdef dict calls         # index of a step -> function
    cdef dict packed        # index of a step -> its members are in order
    # groups of steps, each of which is one predicate that can choose a place
    cdef list places

    def __cinit__(self, hooks, is_child):
        self.hooks = hooks
        self.is_child = is_child
        self.steps = []
        self.labels = [GOTO_ACCEPT, GOTO_REJECT]
        self.fields = {}
        self.parts = []
        self.operands = []
        self.children = {}
        self.calls = {}
        self.packed = {}
        self.places = []

    cdef int emit(self, tuple node, int on_true, int on_false, bint has_place) except -1:
        cdef str kind = node[0]
        cdef tuple nodes
        cdef int label
        cdef Py_ssize_t i
        if kind == "$not":
            return self.emit(node[1], on_false, on_true, False)
        if kind != "$and" and kind != "$or":
            if has_place and kind != "$all":
                self.places.append([len(self.steps)])
            return self.emit_step(node, on_true, on_false)
        nodes = node[1]
        if len(nodes) >= MEMBERS_MIN:
            nodes = gathered(kind, nodes, has_place)
        if not nodes:
            self.steps.append((OP_TRUE, True, False, 0, 0, 0, 0, 0, on_true, on_false, 0, 0))
        if has_place and kind == "$or":
            has_place = False
            if is_one_predicate(nodes):
                self.places.append([len(self.steps) + i for i in range(len(nodes))])
        for i in range(len(nodes)):
            if i == len(nodes) - 1:
                return self.emit(nodes[i], on_true, on_false, has_place)
            label = len(self.labels)
            self.labels.append(0)
            if kind == "$and":
                self.emit(nodes[i], label, on_false, has_place)
            else:
                self.emit(nodes[i], on_true, label, has_place)
            self.labels[label] = len(self.steps)
        return 0

    cdef int emit_step(self, tuple node, int on_true, int on_false) except -1:
        cdef uint8_t opcode = OPCODES[node[0]]
        cdef str path = "" if opcode == OP_DOCUMENT else node[1]
        cdef list names = [name_encode(path, name) for name in path.split(".")]
        cdef list operands = []
        cdef Py_ssize_t part = len(self.parts)
        cdef Py_ssize_t operand = self.operand_count
        cdef Members members = None
        cdef object number = 0
        cdef object rest = 0
        if (opcode == OP_IN or opcode == OP_ALL) and self.is_packed(path, node[2]):
            members = members_of(path, node[2])
            self.operands.append(members)
            self.packed[len(self.steps)] = True
            self.operand_count += members.count
        elif opcode <= OP_IN:
            operands = self.comparison_operands(opcode, path, node)
        elif opcode == OP_REGEX:
            opcode = self.emit_regex(path, node, operands)
        elif opcode >= OP_ELEMENT:
            self.emit_inner(opcode, node)
        elif opcode == OP_MOD:
            number, rest = node[2], node[3]
        elif opcode == OP_SIZE:
            number = node[2]
        elif opcode == OP_TYPE:
            number = types_mask(node[2])
        else:
            number = bits_mask(node[2])
            operands = [(0, b"".join([struct.pack("<II", *pair) for pair in node[2]]))]
        self.parts.extend(names[1:])
        self.operands.extend(operands)
        self.operand_count += len(operands)
        matches_missing = opcode <= OP_IN and is_missing_matched(opcode, operands)
        self.steps.append((
            opcode, matches_missing if members is None else members.has_null,
            opcode <= OP_IN and self.is_folded(operands),
            self.fields.setdefault(names[0], len(self.fields)), part, len(self.parts), operand,
            self.operand_count, on_true, on_false, number, rest,
        ))
        return 0

    cdef bint is_packed(self, str path, tuple values) except -1:
        # a collation changes operands, and revisions are no values
        return len(values) >= MEMBERS_MIN and path != "_rev" and (
            self.hooks is None or self.hooks.fold is None
        )

    cdef list comparison_operands(self, uint8_t opcode, str path, tuple node):
        cdef bint is_many = opcode == OP_IN or opcode == OP_ALL
        cdef tuple values = node[2] if is_many else node[2:]
        cdef list operands = []
        for value in values:
            if path == "_rev" and not self.is_child and isinstance(value, str):
                operands.append(revision_encode(str.__str__(value)))
                continue
            type, data = operand_encode(path, value)
            if self.hooks is not None and self.hooks.fold is not None and is_foldable(type):
                type, data = self.fold_operand(type, data)
            operands.append((type, data))
        return sorted(set(operands)) if is_many else operands

    cdef tuple fold_operand(self, int type, bytes data):
        cdef bytes whole = self.hooks.fold.fold_bson(
            (len(data) + 7).to_bytes(4, "little") + bytes((type, 0)) + data + b"\x00"
        )
        return (whole[4], whole[6:len(whole) - 1])

    cdef bint is_folded(self, list operands) except -1:
        if self.hooks is None or self.hooks.fold is None:
            return False
        for type, _ in operands:
            if is_foldable(type):
                return True
        return False

    cdef uint8_t emit_regex(self, str path, tuple node, list operands) except 0:
        kind, text, function = self.need_hooks("$regex").regex(path, node[2], node[3])
        operands.append((BSON_STRING, text))
        operands.append(operand_encode(path, Regex(node[2], node[3])))
        if function is not None:
            self.calls[len(self.steps)] = function
        return TEXT_OPCODES[kind]

    cdef int emit_inner(self, uint8_t opcode, tuple node) except -1:
        if node[0] == "$expr":
            self.calls[len(self.steps)] = self.need_hooks("$expr").expression(node[1])
        elif node[0] == "$jsonSchema":
            self.calls[len(self.steps)] = self.need_hooks("$jsonSchema").schema(node[1])
        else:
            self.children[len(self.steps)] = code_of(node[2], self.hooks, True)
        return 0

    cdef object need_hooks(self, str name):
        if self.hooks is None:
            raise InvalidFilter(f"{name} needs the engine: use rango.engine.filters.program_of")
        return self.hooks


cdef tuple gathered(str kind, tuple nodes, bint has_place):
    # the nodes with many equalities of one path as one, in the place of the first; so too with
    # inequalities, which choose no place. An "$all" never does, see emit: what could choose one
    # stays behind it
    cdef dict found = {}
    cdef dict kept = {}
    cdef list made = []
    cdef list some
    cdef Py_ssize_t last
    cdef bint is_all
    cdef bint is_negated
    for node in nodes:
        key = equality_key(node)
        if key is not None:
            found.setdefault(key, []).append(node)
    for key, some in found.items():
        path, is_negated = key
        is_all = kind == ("$or" if is_negated else "$and")
        last = len(some)
        if is_all and has_place and not is_negated:
            while last and isinstance(some[last - 1][2], (list, tuple)):
                last -= 1
            last = 0 if has_position(path) else last - 1
        if last >= MEMBERS_MIN:
            values = tuple([(node[1] if is_negated else node)[2] for node in some[:last]])
            one = ("$all" if is_all else "$in", path, values)
            kept[key] = [("$not", one) if is_negated else one, *some[last:]]
    if not kept:
        return nodes
    for node in nodes:
        key = equality_key(node)
        if key not in kept:
            made.append(node)
        elif found.pop(key, None) is not None:
            made.extend(kept[key])
    return tuple(made)


cdef object equality_key(tuple node):
    # (path, negated) of an equality; None of everything else, and of revisions, which are no values
    cdef bint is_negated = node[0] == "$not"
    cdef tuple inner = node[1] if is_negated else node
    return (inner[1], is_negated) if inner[0] == "$eq" and inner[1] != "_rev" else None


cdef bint has_position(str path) except -1:
    for part in path.split("."):
        if part.isdigit():
            return True
    return False


cdef bint is_one_predicate(tuple nodes) except -1:
    # an $or that is the same as an $in, as MongoDB's optimiser sees it
    for node in nodes:
        if node[0] not in ("$eq", "$in", "$regex") or node[1] != nodes[0][1]:
            return False
    return True


cdef bint is_foldable(int type):
    # may hold strings
    return type in (BSON_STRING, BSON_SYMBOL, BSON_DOCUMENT, BSON_ARRAY)


cdef object types_mask(tuple codes):
    cdef object mask = 0
    for code in codes:
        mask |= 1 << {BSON_MAXKEY: 20, BSON_MINKEY: 21}.get(code, code)
    return mask


cdef object bits_mask(tuple bits):
    # as int64: what lies above bit 63 asks for the sign
    cdef object mask = 0
    for place, byte in bits:
        mask |= byte << (8 * place) if place < 8 else 1 << 63
    return mask - (1 << 64) if mask >> 63 else mask


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


cdef int step_fill(FilterStep *out, tuple step, list labels) except -1:
    out.opcode = step[0]
    out.matches_missing = step[1]
    out.is_folded = step[2]
    out.field = step[3]
    out.part = step[4]
    out.part_end = step[5]
    out.operand = step[6]
    out.operand_end = step[7]
    out.on_true = labels[step[8]]
    out.on_false = labels[step[9]]
    out.number = step[10]
    out.rest = step[11]
    return 0


cdef uint32_t different_end(FilterOperand *operands, uint32_t start, uint32_t end) noexcept nogil:
    # one of each of some sorted operands, moved to the front; where they end
    cdef uint32_t last = start
    cdef uint32_t at
    for at in range(start + 1, end):
        if operand_compare(&operands[at], &operands[last]) != 0:
            last += 1
            operands[last] = operands[at]
    return last + 1


cdef int fold_fill(Code code, object tables) except -1:
    cdef bytes weights
    if tables is None:
        return 0
    weights = tables.weights
    code.fold = <FilterFold *>calloc(1, sizeof(FilterFold))
    if code.fold == NULL:
        raise MemoryError
    memcpy(code.fold.weights, PyBytes_AS_STRING(weights), 128)
    code.fold.has_case = tables.has_case
    function = tables.fold_bson
    code.held.append(function)
    code.fold.call = <void *>function
    return 0


cdef int code_fill(Code code, Assembler source) except -1:
    cdef FilterProgram *program = &code.program
    cdef list fields = list(source.fields) or [b""]
    cdef FilterStep *step
    cdef Members members
    cdef Py_ssize_t i
    cdef Py_ssize_t at = 0
    program.steps = <FilterStep *>calloc(len(source.steps), sizeof(FilterStep))
    program.fields = <FilterName *>calloc(len(fields), sizeof(FilterName))
    program.parts = <FilterName *>calloc(len(source.parts) + 1, sizeof(FilterName))
    program.operands = <FilterOperand *>calloc(source.operand_count + 1, sizeof(FilterOperand))
    if not (program.steps and program.fields and program.parts and program.operands):
        raise MemoryError
    code.held = [fields, source.parts, source.operands, source.children, source.calls]
    fold_fill(code, None if source.hooks is None else source.hooks.fold)
    program.field_count = len(fields)
    for i in range(len(fields)):
        name_fill(&program.fields[i], fields[i])
    for i in range(len(source.parts)):
        name_fill(&program.parts[i], source.parts[i])
    for operand in source.operands:
        if type(operand) is Members:
            members = operand
            memcpy(
                &program.operands[at], members.operands, members.count * sizeof(FilterOperand)
            )
            free(members.operands)
            members.operands = NULL
            at += members.count
        else:
            operand_fill(&program.operands[at], operand[0], operand[1])
            at += 1
    for i in range(len(source.steps)):
        step = &program.steps[i]
        step_fill(step, source.steps[i], source.labels)
        step.fold = code.fold
        if i in source.children:
            step.child = &(<Code>source.children[i]).program
        if i in source.calls:
            step.call = <void *>source.calls[i]
        if (step.opcode == OP_IN or step.opcode == OP_ALL) and not source.packed.get(i):
            qsort(
                &program.operands[step.operand], step.operand_end - step.operand,
                sizeof(FilterOperand), operand_compare,
            )
        if step.opcode == OP_ALL:
            step.operand_end = different_end(program.operands, step.operand, step.operand_end)
    step = &program.steps[0]
    program.is_single = (
        len(source.steps) == 1
        and step.opcode not in (OP_ALL, OP_TRUE, OP_DOCUMENT)
        and (source.is_child or program.fields[0].source == SOURCE_BODY)
    )
    return 0


cdef Code code_of(tuple node, object hooks, bint is_child):
    """The structures of a node; of an $elemMatch if is_child."""
    cdef Code code = Code.__new__(Code)
    cdef Assembler assembler = Assembler(hooks, is_child)
    assembler.emit(node, 0, 1, not is_child)
    code_fill(code, assembler)
    code.places = assembler.places
    return code
