"""JSON Lines to BSON, without a Python object for each value.

Terms       ready, slow way: see ready.pxd. line: up to and with its newline.
Invariants  For a line that is ready, the bytes are those of encode(loads(line)) with `_id` first;
            all other lines are left to rango/transfer/sources.py, so what is accepted, what an
            error says and what an odd form means is decided in one place, in Python.
            Not ready: names of wrappers other than json_wrapper's, a name that an object has twice,
            names that Rango keeps, an array as `_id`, more depth or size than a document can have.
Failure     MemoryError. Text that is not JSON is not ready.
Sources     RFC 8259; jsonlines.org; mongodb/specifications extended-json.md;
            twin: tests/reference/json_reader.py.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from rango._ext.bson_check cimport BSON_DEPTH_MAX, BSON_SIZE_MAX, utf8_is_valid
from rango._ext.bson_element cimport (
    BSON_ARRAY,
    BSON_BOOL,
    BSON_DOCUMENT,
    BSON_DOUBLE,
    BSON_INT32,
    BSON_INT64,
    BSON_NULL,
    BSON_STRING,
)
from rango._ext.buffer cimport (
    Buffer,
    buffer_free,
    buffer_grow,
    buffer_init,
    buffer_put,
    buffer_put_byte,
)
from rango._ext.json_text cimport (
    NO_MEMORY,
    UNUSUAL,
    Number,
    Text,
    mark_peek,
    mark_take,
    number_read,
    space_skip,
    string_read,
)
from rango._ext.json_wrapper cimport wrapper_read
from rango._ext.ready cimport id_first, name_add, name_is_ready
from rango._ext.span cimport store_double, store_u32, store_u64


# What the reading of one line needs.
ctypedef struct Reading:
    Text text
    Buffer *out
    Buffer *marks               # NameMarks of the open objects
    size_t id_at                # where the element `_id` is in out, and its size; 0: there is none
    size_t id_size


cdef int literal_read(Text *text, const char *word, size_t size) noexcept nogil:
    if text.size - text.at < size or memcmp(text.base + text.at, word, size) != 0:
        return UNUSUAL
    text.at += size
    return 0


cdef int string_value(Reading *reading) noexcept nogil:
    cdef Buffer *out = reading.out
    cdef size_t start = out.size
    cdef int fault
    if buffer_grow(out, 4) == NULL:
        return NO_MEMORY
    fault = string_read(&reading.text, out)
    if fault < 0:
        return fault
    if out.size - start > BSON_SIZE_MAX:
        return UNUSUAL
    store_u32(out.data + start, <uint32_t>(out.size - start - 3))
    return NO_MEMORY if buffer_put_byte(out, 0) < 0 else 0


cdef int number_value(Reading *reading, uint8_t *type) noexcept nogil:
    cdef Number number
    cdef uint8_t *into
    if number_read(&reading.text, &number) < 0:
        return UNUSUAL
    into = buffer_grow(reading.out, 8)
    if into == NULL:
        return NO_MEMORY
    if not number.is_integer:
        type[0] = BSON_DOUBLE
        store_double(into, number.real)
    elif number.integer == <int32_t>number.integer:
        type[0] = BSON_INT32
        store_u32(into, <uint32_t>number.integer)
        reading.out.size -= 4
    else:
        type[0] = BSON_INT64
        store_u64(into, <uint64_t>number.integer)
    return 0


cdef int boolean_value(Reading *reading, bint value) noexcept nogil:
    if value:
        if literal_read(&reading.text, b"true", 4) < 0:
            return UNUSUAL
    elif literal_read(&reading.text, b"false", 5) < 0:
        return UNUSUAL
    return NO_MEMORY if buffer_put_byte(reading.out, value) < 0 else 0


cdef int value_read(Reading *reading, size_t type_at, int depth) noexcept nogil:
    # appends the value and stores its type
    cdef uint8_t type = BSON_NULL
    cdef int mark = mark_peek(&reading.text)
    cdef int fault
    if mark == c'"':
        type = BSON_STRING
        fault = string_value(reading)
    elif mark == c"{":
        fault = object_read(reading, &type, depth + 1)
    elif mark == c"[":
        type = BSON_ARRAY
        fault = array_read(reading, depth + 1)
    elif mark == c"t" or mark == c"f":
        type = BSON_BOOL
        fault = boolean_value(reading, mark == c"t")
    elif mark == c"n":
        fault = literal_read(&reading.text, b"null", 4)
    elif mark == c"-" or c"0" <= mark <= c"9":
        fault = number_value(reading, &type)
    else:
        return UNUSUAL
    reading.out.data[type_at] = type
    return fault


cdef int document_close(Buffer *out, size_t start) noexcept nogil:
    if buffer_put_byte(out, 0) < 0:
        return NO_MEMORY
    if out.size - start > BSON_SIZE_MAX:
        return UNUSUAL
    store_u32(out.data + start, <uint32_t>(out.size - start))
    return 0


cdef int index_put(Buffer *out, uint32_t index) noexcept nogil:
    # the name of an element of an array: its position in decimal
    cdef uint8_t digits[11]
    cdef size_t at = 10
    digits[10] = 0
    while True:
        at -= 1
        digits[at] = <uint8_t>(48 + index % 10)
        index //= 10
        if index == 0:
            break
    return NO_MEMORY if buffer_put(out, digits + at, 11 - at) < 0 else 0


cdef int array_read(Reading *reading, int depth) noexcept nogil:
    cdef Text *text = &reading.text
    cdef Buffer *out = reading.out
    cdef size_t start = out.size
    cdef size_t type_at
    cdef uint32_t index = 0
    cdef int fault
    text.at += 1
    if depth > BSON_DEPTH_MAX:
        return UNUSUAL
    if buffer_grow(out, 4) == NULL:
        return NO_MEMORY
    if mark_peek(text) == c"]":
        text.at += 1
        return document_close(out, start)
    while True:
        type_at = out.size
        if buffer_put_byte(out, 0) < 0 or index_put(out, index) < 0:
            return NO_MEMORY
        fault = value_read(reading, type_at, depth)
        if fault < 0:
            return fault
        index += 1
        if mark_peek(text) != c",":
            break
        text.at += 1
    return document_close(out, start) if mark_take(text, c"]") == 0 else UNUSUAL


cdef int name_read(
    Reading *reading, size_t first_mark, int depth, size_t *name_at, size_t *size
) noexcept nogil:
    # a name that this object has not yet, with its colon; its NUL is put behind it
    cdef Text *text = &reading.text
    cdef Buffer *out = reading.out
    cdef int fault
    if mark_peek(text) != c'"':
        return UNUSUAL
    name_at[0] = out.size
    fault = string_read(text, out)
    if fault < 0:
        return fault
    size[0] = out.size - name_at[0]
    if mark_take(text, c":") < 0:
        return UNUSUAL
    if size[0] and memchr(out.data + name_at[0], 0, size[0]) != NULL:
        return UNUSUAL
    if buffer_put_byte(out, 0) < 0:
        return NO_MEMORY
    return name_add(reading.marks, first_mark, out.data, name_at[0], size[0])


cdef int fields_read(Reading *reading, size_t start, int depth, uint8_t *type) noexcept nogil:
    # behind the opening brace; a first name that begins with $ makes a wrapper, which takes the
    # place of the document
    cdef Text *text = &reading.text
    cdef Buffer *out = reading.out
    cdef size_t first_mark = reading.marks.size
    cdef size_t name_at = 0
    cdef size_t size = 0
    cdef size_t type_at, text_at
    cdef int fault
    while True:
        type_at = out.size
        if buffer_put_byte(out, 0) < 0:
            return NO_MEMORY
        mark_peek(text)
        text_at = text.at
        fault = name_read(reading, first_mark, depth, &name_at, &size)
        if fault < 0:
            return fault
        if not name_is_ready(out.data + name_at, size, depth == 1):
            # as it stands in the text: without an escape
            if depth == 1 or type_at != start + 4 or text.base[text_at + 1] != c"$":
                return UNUSUAL
            reading.marks.size = first_mark
            out.size = start
            return wrapper_read(text, text.base + text_at + 1, size, out, type)
        fault = value_read(reading, type_at, depth)
        if fault < 0:
            return fault
        if depth == 1 and size == 3 and memcmp(out.data + name_at, b"_id", 3) == 0:
            if out.data[type_at] == BSON_ARRAY:
                return UNUSUAL
            reading.id_at = type_at
            reading.id_size = out.size - type_at
        if mark_peek(text) != c",":
            break
        text.at += 1
    reading.marks.size = first_mark
    return document_close(out, start) if mark_take(text, c"}") == 0 else UNUSUAL


cdef int object_read(Reading *reading, uint8_t *type, int depth) noexcept nogil:
    cdef Buffer *out = reading.out
    cdef size_t start = out.size
    reading.text.at += 1
    type[0] = BSON_DOCUMENT
    if depth > BSON_DEPTH_MAX:
        return UNUSUAL
    if buffer_grow(out, 4) == NULL:
        return NO_MEMORY
    if mark_peek(&reading.text) == c"}":
        reading.text.at += 1
        return document_close(out, start)
    return fields_read(reading, start, depth, type)


cdef int line_read(Reading *reading) noexcept nogil:
    # a whole line as one document, from the start of `out`
    cdef uint8_t type = 0
    cdef int fault
    reading.out.size = 0
    reading.marks.size = 0
    reading.id_at = 0
    if not utf8_is_valid(reading.text.base, reading.text.size):
        return UNUSUAL
    if mark_peek(&reading.text) != c"{":
        return UNUSUAL
    fault = object_read(reading, &type, 1)
    if fault < 0:
        return fault
    space_skip(&reading.text)
    if reading.text.at != reading.text.size:
        return UNUSUAL
    if reading.id_at and id_first(reading.out, 0, reading.id_at, reading.id_size) < 0:
        return NO_MEMORY
    return 0


cdef size_t line_end(const uint8_t *base, size_t at, size_t size) noexcept nogil:
    # behind the newline, or the end of the text
    cdef const uint8_t *found = <const uint8_t *>memchr(base + at, 10, size - at)
    return size if found == NULL else <size_t>(found - base) + 1


def lines_read(
    bytes text not None, size_t at, size_t count_max, size_t size_max, size_t document_size_max,
    list datas not None, list ends not None, list without_id not None,
):
    cdef const uint8_t *base = <const uint8_t *>PyBytes_AS_STRING(text)
    cdef size_t text_size = <size_t>PyBytes_GET_SIZE(text)
    cdef size_t count = 0
    cdef size_t size = 0
    cdef size_t end
    cdef int fault
    cdef Buffer out
    cdef Buffer marks
    cdef Reading reading
    buffer_init(&out)
    buffer_init(&marks)
    reading.out = &out
    reading.marks = &marks
    try:
        while at < text_size and count < count_max and size < size_max:
            end = line_end(base, at, text_size)
            reading.text.base = base + at
            reading.text.size = end - at
            reading.text.at = 0
            fault = line_read(&reading)
            if fault == NO_MEMORY:
                raise MemoryError
            if fault < 0 or out.size > document_size_max:
                break
            if reading.id_at == 0:
                without_id.append(len(datas))
            datas.append(PyBytes_FromStringAndSize(<char *>out.data, <Py_ssize_t>out.size))
            ends.append(end)
            size += out.size
            count += 1
            at = end
    finally:
        buffer_free(&out)
        buffer_free(&marks)
    return at
