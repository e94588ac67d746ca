"""Documents of a BSON dump, checked and taken over as they are.

Terms       ready, slow way: see ready.pxd.
Invariants  For a document that is ready, the bytes are those of encode(decode(document)) with `_id`
            first. Not ready: types that are converted (symbol, undefined, DBPointer, binary of
            subtype 2) or have several spellings (code, regular expression), a name that a document
            has twice or that begins with $, elements of arrays that are not numbered, names that
            Rango keeps, an array as `_id`, and whatever bson_check refuses.
Failure     MemoryError. Bytes that are not BSON are not ready.
Sources     bsonspec.org 1.1; twin: tests/reference/dump_reader.py.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from rango._ext.bson_check cimport BSON_SIZE_MAX, BSON_SOUND, bson_check
from rango._ext.bson_element cimport (
    BSON_ARRAY,
    BSON_BINARY,
    BSON_CODE,
    BSON_CODE_SCOPE,
    BSON_DBPOINTER,
    BSON_DOCUMENT,
    BSON_REGEX,
    BSON_SYMBOL,
    BSON_UNDEFINED,
    Element,
    document_span,
    element_next,
)
from rango._ext.buffer cimport Buffer, buffer_free, buffer_init, buffer_put
from rango._ext.ready cimport id_first, name_add, name_is_ready
from rango._ext.span cimport Span, load_u32

cdef enum:
    SUBTYPE_OLD = 2
    BSON_SIZE_MIN = 5
    NOT_READY = -1
    NO_MEMORY = -2


# What the look at one document needs.
ctypedef struct Look:
    const uint8_t *base         # of the whole document
    Buffer *marks               # NameMarks of the open documents
    size_t id_at                # where the element `_id` is, and its size; 0: there is none
    size_t id_size


cdef inline bint type_is_ready(const Element *element) noexcept nogil:
    cdef uint8_t type = element.type
    if type == BSON_BINARY:
        return element.value[4] != SUBTYPE_OLD
    return not (
        type == BSON_UNDEFINED
        or type == BSON_REGEX
        or type == BSON_DBPOINTER
        or type == BSON_CODE
        or type == BSON_SYMBOL
        or type == BSON_CODE_SCOPE
    )


cdef inline bint is_numbered(const Element *element, uint32_t index) noexcept nogil:
    # the name is the position in decimal
    cdef size_t at = element.name_size
    if at == 0:
        return False
    while True:
        at -= 1
        if <uint8_t>element.name[at] != 48 + index % 10:
            return False
        index //= 10
        if index == 0:
            return at == 0
        if at == 0:
            return False


cdef int fields_look(
    Look *look, const uint8_t *bson, size_t size, int depth, bint is_array
) noexcept nogil:
    # the document was found sound before, so this ends and nests no deeper than BSON_DEPTH_MAX
    cdef Span span
    cdef Element element
    cdef size_t first_mark = look.marks.size
    cdef const uint8_t *name
    cdef uint32_t index = 0
    cdef int fault = 0
    if document_span(bson, size, &span) < 0:
        return NOT_READY
    while fault == 0 and element_next(&span, &element) == 1:
        name = <const uint8_t *>element.name
        if not type_is_ready(&element):
            return NOT_READY
        if is_array:
            if not is_numbered(&element, index):
                return NOT_READY
            index += 1
        else:
            if not name_is_ready(name, element.name_size, depth == 1):
                return NOT_READY
            fault = name_add(
                look.marks, first_mark, look.base, <size_t>(name - look.base), element.name_size
            )
            if fault < 0:
                return fault
            if depth == 1 and element.name_size == 3 and memcmp(name, b"_id", 3) == 0:
                if element.type == BSON_ARRAY:
                    return NOT_READY
                # the type byte stands in front of the name
                look.id_at = <size_t>(name - look.base) - 1
                look.id_size = element.name_size + element.value_size + 2
        if element.type == BSON_DOCUMENT or element.type == BSON_ARRAY:
            fault = fields_look(
                look, element.value, element.value_size, depth + 1, element.type == BSON_ARRAY
            )
    look.marks.size = first_mark
    return fault


cdef int document_look(Look *look, size_t size) noexcept nogil:
    cdef size_t at = 0
    look.id_at = 0
    look.marks.size = 0
    if bson_check(look.base, size, 1, &at) != BSON_SOUND:
        return NOT_READY
    return fields_look(look, look.base, size, 1, False)


cdef bytes taken(const Look *look, size_t size, Buffer *aside):
    # the document with its _id first
    if look.id_at <= 4:
        return PyBytes_FromStringAndSize(<const char *>look.base, <Py_ssize_t>size)
    aside.size = 0
    if buffer_put(aside, look.base, size) < 0:
        raise MemoryError
    if id_first(aside, 0, look.id_at, look.id_size) < 0:
        raise MemoryError
    return PyBytes_FromStringAndSize(<char *>aside.data, <Py_ssize_t>aside.size)


def dump_read(
    bytes text not None, size_t at, size_t count_max, size_t size_max, size_t document_size_max,
    list datas not None, list ends not None, list without_id not None,
):
    cdef const uint8_t *base = <const uint8_t *>PyBytes_AS_STRING(text)
    cdef size_t text_size = <size_t>PyBytes_GET_SIZE(text)
    cdef size_t count = 0
    cdef size_t total = 0
    cdef size_t size
    cdef int fault
    cdef Buffer marks
    cdef Buffer aside
    cdef Look look
    buffer_init(&marks)
    buffer_init(&aside)
    look.marks = &marks
    try:
        while at < text_size and text_size - at >= BSON_SIZE_MIN and count < count_max \
                and total < size_max:
            size = load_u32(base + at)
            if not BSON_SIZE_MIN <= size <= text_size - at:
                break
            if size > BSON_SIZE_MAX or size > document_size_max:
                break
            look.base = base + at
            fault = document_look(&look, size)
            if fault == NO_MEMORY:
                raise MemoryError
            if fault < 0:
                break
            if look.id_at == 0:
                without_id.append(len(datas))
            datas.append(taken(&look, size, &aside))
            at += size
            ends.append(at)
            total += size
            count += 1
    finally:
        buffer_free(&marks)
        buffer_free(&aside)
    return at
