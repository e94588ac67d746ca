"""Index entries: what an index holds of one document.

Terms       entry: a key and the types of its fields; field: one path of the index with its
            direction; mark: see collection_info. To invert a key: to flip all its bits.
Invariants  The key of an entry is the keys of its fields one behind the other (none is the
            beginning of another one), those inverted whose direction is not that of the first
            field: so the keys ascend as the index says, or, read backwards, exactly the other way
            round. Longer than KEY_SIZE_BYTES_MAX it is shortened as a whole: equality stays, order
            does not.
            A field that is not there counts as null. An array gives an entry for each of its
            elements, undefined if there is none; fields below the same array are taken from the
            same element. A number in a path is a place if the array has it, else a name. What
            stands at a place, or inside an array in an array, is not expanded at the end of a path.
            A sparse index has no entry in which every field is missing.
            The entries of a document are distinct and ascend by key.
Layout      while they are collected: u16 size, key, a type byte for each field (docs/reference/
            format.md#trees says what these mean).
Failure     Fields of two arrays side by side: InvalidDocument, code 171 as MongoDB says; nothing
            was written. Malformed BSON: InvalidDocument. Paths: InvalidName, LimitExceeded.
Sources     MongoDB manual, "Multikey Indexes", "Sparse Indexes", "Compound Indexes"; ADR-0018.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcmp, memcpy

from rango._ext.bson_element cimport (
    BSON_ARRAY,
    BSON_BINARY,
    BSON_BOOL,
    BSON_DATE,
    BSON_DOCUMENT,
    BSON_DOUBLE,
    BSON_INT32,
    BSON_INT64,
    BSON_NULL,
    BSON_OBJECTID,
    BSON_STRING,
    BSON_TIMESTAMP,
    BSON_UNDEFINED,
    Element,
    document_span,
    element_next,
)
from rango._ext.bson_set cimport SetFields, set_names
from rango._ext.buffer cimport (
    Buffer,
    buffer_free,
    buffer_grow,
    buffer_init,
)
from rango._ext.key cimport key_append, key_append_missing, key_cap, part_position, path_parts
from rango._ext.record cimport document_find, value_decode
from rango._ext.span cimport Span, load_double, load_u16, load_u64, store_u16

from rango.errors import InvalidDocument, LimitExceeded

cdef enum:
    KEY_SIZE_MAX = 1024             # limits.KEY_SIZE_BYTES_MAX: a key of this size was shortened

MARK_SHORTENED = <uint64_t>1 << INDEX_FIELDS_MAX

cdef const uint8_t *EMPTY = <const uint8_t *>b"\x05\0\0\0\0"


ctypedef struct Field:
    # one field of the index on its way through a document
    const uint8_t *part             # what is left of its path
    int left                        # parts
    bint is_done                    # value is what the entry gets
    bint is_missing
    bint is_open                    # it stands at the array that is expanded next
    bint has_array                  # an array lies on the way
    uint8_t type
    const uint8_t *value
    size_t size


ctypedef struct Gather:
    Buffer *out
    int fields
    uint32_t inverted
    bint sparse
    uint64_t marks
    int count
    # to find the values of one entry: its key, and where to leave copies of its fields
    const uint8_t *key
    size_t key_size
    Field *found
    int parallel[2]                 # fields of two arrays side by side


cdef int raise_memory() except -1 nogil:
    with gil:
        raise MemoryError


cdef int raise_malformed() except -1 nogil:
    with gil:
        raise InvalidDocument("malformed BSON inside a key: validate the document first")


cdef uint8_t entry_type(uint8_t type, const uint8_t *value) noexcept nogil:
    # the type if the key gives the value back
    cdef double number
    if type == BSON_DOUBLE:
        number = load_double(value)
        if number != number or load_u64(value) == 0x8000000000000000ULL:
            return ENTRY_OPAQUE
        return type
    if (
        type == BSON_STRING or type == BSON_INT32 or type == BSON_OBJECTID or type == BSON_DATE
        or type == BSON_INT64 or type == BSON_BOOL or type == BSON_NULL or type == BSON_BINARY
        or type == BSON_TIMESTAMP
    ):
        return type
    return ENTRY_OPAQUE


cdef int entry_add(Gather *gather, const Field *fields) except -1 nogil:
    cdef Buffer *out = gather.out
    cdef size_t start = out.size
    cdef size_t at
    cdef size_t size
    cdef int number
    cdef bint is_missing = True
    cdef uint8_t *types
    for number in range(gather.fields):
        is_missing = is_missing and fields[number].is_missing
    if is_missing and gather.sparse:
        return 0
    if buffer_grow(out, 2) == NULL:
        return raise_memory()
    for number in range(gather.fields):
        at = out.size
        if fields[number].is_missing:
            key_append_missing(out)
        else:
            key_append(out, fields[number].type, fields[number].value, fields[number].size)
        if gather.inverted >> number & 1:
            while at < out.size:
                out.data[at] ^= 0xff
                at += 1
    key_cap(out, start + 2)
    size = out.size - start - 2
    store_u16(out.data + start, <uint16_t>size)
    types = buffer_grow(out, <size_t>gather.fields)
    if types == NULL:
        return raise_memory()
    for number in range(gather.fields):
        if fields[number].has_array:
            types[number] = ENTRY_ARRAY
            gather.marks |= <uint64_t>1 << number
        elif fields[number].is_missing:
            types[number] = ENTRY_MISSING
        elif size == KEY_SIZE_MAX:
            types[number] = ENTRY_OPAQUE
        else:
            types[number] = entry_type(fields[number].type, fields[number].value)
    if size == KEY_SIZE_MAX:
        gather.marks |= MARK_SHORTENED
    if (
        gather.key != NULL and size == gather.key_size
        and memcmp(out.data + start + 2, gather.key, size) == 0
    ):
        memcpy(gather.found, fields, <size_t>gather.fields * sizeof(Field))
        gather.key = NULL
    gather.count += 1
    return 0


cdef int array_place(const Element *array, int place, Element *out) except -1 nogil:
    # the element at a place: 1, or 0 if the array is shorter
    cdef Span span
    cdef int more
    if document_span(array.value, array.value_size, &span) < 0:
        return raise_malformed()
    while True:
        more = element_next(&span, out)
        if more < 0:
            return raise_malformed()
        if more == 0 or place == 0:
            return more
        place -= 1


cdef int field_walk(Field *field, const uint8_t *bson, size_t size) except -1 nogil:
    # on to the value, to an array that must be expanded, or to where there is nothing
    cdef Element element, placed
    cdef size_t part_size
    cdef int has
    cdef int place
    cdef bint is_placed = False
    while True:
        part_size = load_u16(field.part)
        has = document_find(bson, size, <const char *>field.part + 2, part_size, &element)
        if has < 0:
            return raise_malformed()
        if has == 0:
            break
        field.part += 2 + part_size
        field.left -= 1
        while element.type == BSON_ARRAY and field.left:
            place = part_position(field.part + 2, load_u16(field.part))
            if place < 0 or array_place(&element, place, &placed) == 0:
                break
            element = placed
            is_placed = True
            field.has_array = True
            field.part += 2 + load_u16(field.part)
            field.left -= 1
        field.value = element.value
        field.size = element.value_size
        field.type = element.type
        if element.type == BSON_ARRAY and (field.left or not is_placed):
            field.is_open = True
            field.has_array = True
            return 0
        if field.left == 0:
            field.is_done = True
            return 0
        if element.type != BSON_DOCUMENT:
            break
        bson = element.value
        size = element.value_size
    field.is_done = True
    field.is_missing = True
    return 0


cdef int element_take(
    Gather *gather, const Field *fields, uint8_t type, const uint8_t *value, size_t size
) except -1 nogil:
    # one element of the array that the open fields share
    cdef Field inner[INDEX_FIELDS_MAX]
    cdef bint is_document = type == BSON_DOCUMENT
    cdef int number
    memcpy(inner, fields, <size_t>gather.fields * sizeof(Field))
    for number in range(gather.fields):
        if not inner[number].is_open:
            continue
        inner[number].is_open = False
        if inner[number].left == 0:
            inner[number].is_done = True
            inner[number].type = type
            inner[number].value = value
            inner[number].size = size
    return document_gather(
        gather, inner, value if is_document else EMPTY, size if is_document else 5
    )


cdef int array_gather(Gather *gather, const Field *fields, const Field *open) except -1 nogil:
    cdef Span span
    cdef Element element
    cdef int more
    cdef bint is_empty = True
    if document_span(open.value, open.size, &span) < 0:
        return raise_malformed()
    while True:
        more = element_next(&span, &element)
        if more < 0:
            return raise_malformed()
        if more == 0:
            break
        is_empty = False
        element_take(gather, fields, element.type, element.value, element.value_size)
    if is_empty:
        return element_take(gather, fields, BSON_UNDEFINED, EMPTY, 0)
    return 0


cdef int document_gather(
    Gather *gather, Field *fields, const uint8_t *bson, size_t size
) except -1 nogil:
    # every entry of a document, or of one element of an array that is a document
    cdef Field *open = NULL
    cdef int number
    for number in range(gather.fields):
        if fields[number].is_done:
            continue
        field_walk(&fields[number], bson, size)
        if not fields[number].is_open:
            continue
        if open == NULL:
            open = &fields[number]
        elif open.value != fields[number].value:
            gather.parallel[0] = <int>(open - fields)
            gather.parallel[1] = number
            return raise_parallel()
    if open == NULL:
        return entry_add(gather, fields)
    return array_gather(gather, fields, open)


cdef int raise_parallel() except -1 nogil:
    with gil:
        raise ParallelArrays


class ParallelArrays(Exception):
    """Inside this module: caught where the fields have names."""


cdef int entry_compare(const void *left, const void *right) noexcept nogil:
    cdef const uint8_t *a = (<const uint8_t **>left)[0]
    cdef const uint8_t *b = (<const uint8_t **>right)[0]
    cdef size_t a_size = load_u16(a)
    cdef size_t b_size = load_u16(b)
    cdef int order = memcmp(a + 2, b + 2, a_size if a_size < b_size else b_size)
    if order == 0 and a_size != b_size:
        order = -1 if a_size < b_size else 1
    return order


cdef int entries_sort(Buffer *out, size_t start, int count, size_t fields) except -1 nogil:
    # sorts the entries since `start` and drops repeats; how many are left
    cdef size_t size = out.size - start
    cdef uint8_t *copy = <uint8_t *>malloc(size)
    cdef const uint8_t **order = <const uint8_t **>malloc(<size_t>count * sizeof(uint8_t *))
    cdef size_t at = 0
    cdef int number
    cdef int kept = 0
    if copy == NULL or order == NULL:
        free(copy)
        free(order)
        return raise_memory()
    memcpy(copy, out.data + start, size)
    for number in range(count):
        order[number] = copy + at
        at += 2 + <size_t>load_u16(copy + at) + fields
    qsort(order, <size_t>count, sizeof(uint8_t *), &entry_compare)
    out.size = start
    for number in range(count):
        if number and entry_compare(&order[number - 1], &order[number]) == 0:
            continue
        size = 2 + <size_t>load_u16(order[number]) + fields
        memcpy(out.data + out.size, order[number], size)
        out.size += size
        kept += 1
    free(copy)
    free(order)
    return kept


cdef int gather_start(EntryMaker maker, Gather *gather, Field *fields) except -1:
    cdef int at
    for at in range(maker.count):
        fields[at].part = <const uint8_t *>PyBytes_AS_STRING(maker.parts[at])
        fields[at].left = maker.part_counts[at]
        fields[at].is_done = False
        fields[at].is_missing = False
        fields[at].is_open = False
        fields[at].has_array = False
    gather.fields = maker.count
    gather.inverted = maker.inverted
    gather.sparse = maker.sparse
    gather.marks = 0
    gather.count = 0
    gather.key = NULL
    return 0


cdef object parallel_arrays(tuple fields, const Gather *gather):
    left, right = fields[gather.parallel[0]][0], fields[gather.parallel[1]][0]
    return InvalidDocument(
        f"cannot index parallel arrays: {left!r} and {right!r} of one index both meet an array, "
        "and not the same one; store one of them in another way, or drop the index",
        code=171,
    )


@cython.final
cdef class EntryMaker:
    """Makes the entries of documents for one index: its fields as ((path, 1 or -1), ...)."""

    def __init__(self, tuple fields not None, bint sparse):
        cdef int at
        if not 1 <= len(fields) <= INDEX_FIELDS_MAX:
            raise LimitExceeded("INDEX_FIELDS_MAX", len(fields))
        self.fields = fields
        self.sparse = sparse
        self.count = <int>len(fields)
        self.inverted = 0
        self.parts = []
        for at in range(self.count):
            path, direction = fields[at]
            if direction != fields[0][1]:
                self.inverted |= <uint32_t>1 << at
            self.parts.append(path_parts(path, &self.part_counts[at]))

    cdef int entries(
        self, const uint8_t *bson, size_t size, Buffer *out, uint64_t *marks
    ) except -1:  # hot
        cdef Gather gather
        cdef Field fields[INDEX_FIELDS_MAX]
        cdef size_t start = out.size
        gather_start(self, &gather, fields)
        gather.out = out
        try:
            document_gather(&gather, fields, bson, size)
        except ParallelArrays:
            raise parallel_arrays(self.fields, &gather) from None
        marks[0] |= gather.marks
        if gather.count > 1:
            return entries_sort(out, start, gather.count, <size_t>self.count)
        return gather.count

    cdef bint reads(self, const SetFields *changed) except -1:  # hot
        cdef const uint8_t *part
        cdef int at
        for at in range(self.count):
            part = <const uint8_t *>PyBytes_AS_STRING(self.parts[at])
            if set_names(changed, part + 2, load_u16(part)):
                return True
        return False

    cdef dict values(self, const uint8_t *bson, size_t size, const uint8_t *key, size_t key_size):
        cdef Gather gather
        cdef Field fields[INDEX_FIELDS_MAX]
        cdef Field found[INDEX_FIELDS_MAX]
        cdef Buffer out
        cdef dict values = {}
        cdef int at
        gather_start(self, &gather, fields)
        gather.out = &out
        gather.key = key
        gather.key_size = key_size
        gather.found = found
        buffer_init(&out)
        try:
            document_gather(&gather, fields, bson, size)
        finally:
            buffer_free(&out)
        if gather.key != NULL:
            return values
        for at in range(self.count):
            # undefined, which stands for an empty array, is not a value of its own
            if found[at].is_missing or found[at].type == BSON_UNDEFINED:
                values[self.fields[at][0]] = None
            else:
                values[self.fields[at][0]] = value_decode(
                    found[at].type, found[at].value, found[at].size
                )
        return values
