"""Python objects to BSON.

Terms       document: see the glossary. kind: see bson_kinds.
Invariants  Dict order is field order. int32 if the value fits, else int64, else refused; Int64 is
            always int64. uuid.UUID is binary subtype 4. What is written passes bson_check; bytes
            that the caller brings (RawBSONDocument) are checked before they are copied.
Failure     An unencodable value, a name that is not a str or holds NUL, a lone surrogate:
            InvalidDocument naming the path. Depth over 100 (so also a cycle) or more than 16 MiB:
            LimitExceeded. `out` may then hold a part.
Sources     bsonspec.org; PyMongo's bson: the same types give the same bytes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.datetime cimport PyDateTime_CheckExact, import_datetime
from cpython.dict cimport PyDict_Next
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memmove

from rango._ext.bson_check cimport (
    BSON_DEPTH_MAX,
    BSON_SIZE_MAX,
    BSON_SOUND,
    BSON_TOO_DEEP,
    BSON_TOO_LARGE,
    bson_check,
)
from rango._ext.bson_element cimport (
    BSON_ARRAY,
    BSON_BINARY,
    BSON_BOOL,
    BSON_CODE,
    BSON_CODE_SCOPE,
    BSON_DATE,
    BSON_DOCUMENT,
    BSON_DOUBLE,
    BSON_INT32,
    BSON_INT64,
    BSON_NULL,
    BSON_REGEX,
    BSON_STRING,
    Element,
    document_span,
    element_next,
)
from rango._ext.bson_kinds cimport (
    KIND_BYTES,
    KIND_DATE,
    KIND_FLOAT,
    KIND_INT,
    KIND_LIST,
    KIND_MAPPING,
    KIND_TEXT,
    KIND_UNKNOWN,
    KIND_UUID,
    MARKER_CODE,
    MARKER_RAW,
    MARKER_REFERENCE,
    MARKER_REGEX,
    bytes_put,
    date_ms,
    kind_of,
    marked_put,
    regex_put,
    uuid_put,
)
from rango._ext.bson_step cimport (
    Step,
    refuse,
    refuse_depth,
    refuse_size,
    refuse_type,
    room,
    sized_put,
    text_utf8,
    u64_put,
)
from rango._ext.buffer cimport Buffer, buffer_reserve
from rango._ext.span cimport Span, span_of, store_double, store_u32

from rango.errors import InvalidDocument, LimitExceeded

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

import_datetime()

cdef enum:
    # name_put and index_put leave room for the type, the name's NUL and any value of fixed size
    FIXED_SIZE_MAX = 18
    BUFFER_SIZE_FIRST = 1000    # one allocation for most documents


cdef inline size_t name_put(Buffer *out, PyObject *name, Step *step) except? 0:
    # type byte (filled in later), name, NUL; returns where the type byte is
    cdef size_t size = 0
    cdef const char *utf8
    cdef size_t at = out.size
    if not isinstance(<object>name, str):
        refuse(step, f"a field name must be a str, not {type(<object>name).__qualname__}")
    utf8 = text_utf8(name, &size, step)
    if memchr(utf8, 0, size) != NULL:
        refuse(step, "a field name must not contain NUL")
    room(out, size + FIXED_SIZE_MAX, step)
    memcpy(out.data + at + 1, utf8, size)
    out.data[at + 1 + size] = 0
    out.size = at + size + 2
    return at


cdef inline size_t index_put(Buffer *out, Py_ssize_t index, Step *step) except? 0:
    # the same for an array element: its name is its position in decimal
    cdef size_t at = out.size
    cdef size_t digits = 1
    cdef size_t place
    cdef Py_ssize_t rest = index
    while rest >= 10:
        rest /= 10
        digits += 1
    room(out, digits + FIXED_SIZE_MAX, step)
    rest = index
    for place in range(digits, 0, -1):
        out.data[at + place] = <uint8_t>(48 + rest % 10)
        rest /= 10
    out.data[at + 1 + digits] = 0
    out.size = at + digits + 2
    return at


cdef inline int integer_put(Buffer *out, size_t type_at, object value, Step *step) except -1:
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        refuse(step, "an integer must fit into 64 bits; store it as a string or a Decimal128")
    if number == <int32_t>number:
        out.data[type_at] = BSON_INT32
        store_u32(out.data + out.size, <uint32_t>number)
        out.size += 4
    else:
        out.data[type_at] = BSON_INT64
        u64_put(out, <uint64_t>number)
    return 0


cdef inline int double_put(Buffer *out, size_t type_at, object value) noexcept:
    out.data[type_at] = BSON_DOUBLE
    store_double(out.data + out.size, PyFloat_AS_DOUBLE(value))
    out.size += 8
    return 0


cdef inline int text_put(Buffer *out, size_t type_at, object value, Step *step) except -1:
    cdef size_t size = 0
    cdef const char *utf8 = text_utf8(<PyObject *>value, &size, step)
    out.data[type_at] = BSON_STRING
    return sized_put(out, utf8, size, step)


cdef int date_put(Buffer *out, size_t type_at, object value) except -1:
    cdef int64_t ms = date_ms(value)
    out.data[type_at] = BSON_DATE
    u64_put(out, <uint64_t>ms)
    return 0


cdef int code_put(Buffer *out, size_t type_at, object value, Step *step) except -1:
    cdef size_t start = out.size
    cdef size_t size = 0
    cdef const char *utf8 = text_utf8(<PyObject *>value, &size, step)
    scope = value.scope
    if scope is None:
        out.data[type_at] = BSON_CODE
        return sized_put(out, utf8, size, step)
    out.data[type_at] = BSON_CODE_SCOPE
    room(out, 4, step)
    out.size += 4
    sized_put(out, utf8, size, step)
    nested_put(out, scope, kind_of(scope), step)
    store_u32(out.data + start, <uint32_t>(out.size - start))
    return 0


cdef bytes raw_bytes(object value, int depth, Step *step):
    # what somebody else encoded, once it is known to be sound
    cdef bytes raw = bytes(value.raw)
    cdef size_t size = <size_t>PyBytes_GET_SIZE(raw)
    cdef size_t at = 0
    cdef int fault = bson_check(<const uint8_t *>PyBytes_AS_STRING(raw), size, depth, &at)
    if fault == BSON_TOO_DEEP:
        refuse_depth(step)
    if fault == BSON_TOO_LARGE:
        refuse_size(step, size)
    if fault != BSON_SOUND:
        refuse(step, f"the bytes of a RawBSONDocument are malformed at offset {at}")
    return raw


cdef int raw_put(Buffer *out, object value, Step *step) except -1:
    cdef bytes raw = raw_bytes(value, step.depth + 1, step)
    cdef size_t size = <size_t>PyBytes_GET_SIZE(raw)
    room(out, size, step)
    memcpy(out.data + out.size, PyBytes_AS_STRING(raw), size)
    out.size += size
    return 0


cdef int class_put(Buffer *out, size_t type_at, object value, int kind, Step *step) except -1:
    if kind == KIND_UUID:
        out.data[type_at] = BSON_BINARY
        return uuid_put(out, value, step)
    if kind == MARKER_REGEX:
        out.data[type_at] = BSON_REGEX
        return regex_put(out, value, step)
    if kind == MARKER_CODE and isinstance(value, str):
        return code_put(out, type_at, value, step)
    if kind == MARKER_REFERENCE:
        out.data[type_at] = BSON_DOCUMENT
        return nested_put(out, value.as_doc(), KIND_MAPPING, step)
    if kind == MARKER_RAW:
        out.data[type_at] = BSON_DOCUMENT
        return raw_put(out, value, step)
    return marked_put(out, type_at, value, kind, step)


cdef int other_put(Buffer *out, size_t type_at, object value, Step *step) except -1:
    # not one of the exact types that value_put knows
    cdef int kind = kind_of(value)
    if kind == KIND_MAPPING or kind == KIND_LIST:
        out.data[type_at] = BSON_ARRAY if kind == KIND_LIST else BSON_DOCUMENT
        return nested_put(out, value, kind, step)
    if kind == KIND_BYTES:
        out.data[type_at] = BSON_BINARY
        return bytes_put(out, value, 0, step)
    if kind == KIND_INT:
        return integer_put(out, type_at, value, step)
    if kind == KIND_FLOAT:
        return double_put(out, type_at, value)
    if kind == KIND_TEXT:
        return text_put(out, type_at, value, step)
    if kind == KIND_DATE:
        return date_put(out, type_at, value)
    if kind == KIND_UNKNOWN:
        return refuse_type(step, value)
    try:
        return class_put(out, type_at, value, kind, step)
    except (InvalidDocument, LimitExceeded):
        raise
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        # a class that only claims to be one of bson's, or an object of one that was filled with
        # nonsense
        refuse(step, f"a {type(value).__qualname__} cannot be stored: {error}")


cdef inline int value_put(Buffer *out, size_t type_at, object value, Step *step) except -1:
    if PyUnicode_CheckExact(value):
        return text_put(out, type_at, value, step)
    if PyLong_CheckExact(value):
        return integer_put(out, type_at, value, step)
    if PyFloat_CheckExact(value):
        return double_put(out, type_at, value)
    if value is None:
        out.data[type_at] = BSON_NULL
        return 0
    if value is True or value is False:
        out.data[type_at] = BSON_BOOL
        out.data[out.size] = value is True
        out.size += 1
        return 0
    if type(value) is dict:
        out.data[type_at] = BSON_DOCUMENT
        return nested_put(out, value, KIND_MAPPING, step)
    if PyList_CheckExact(value):
        out.data[type_at] = BSON_ARRAY
        return nested_put(out, value, KIND_LIST, step)
    if PyDateTime_CheckExact(value):
        return date_put(out, type_at, value)
    return other_put(out, type_at, value, step)


cdef inline int field_put(Buffer *out, PyObject *name, object value, Step *step) except -1:
    step.name = name
    return value_put(out, name_put(out, name, step), value, step)


cdef int dict_put(Buffer *out, dict document, Step *step, bint skip_id) except -1:
    cdef Py_ssize_t at = 0
    cdef PyObject *name
    cdef PyObject *value
    while PyDict_Next(document, &at, &name, &value):
        if skip_id and <object>name == "_id":
            continue
        # own references: encoding a value may run Python code, and that may change the dict
        _kept_name = <object>name
        kept_value = <object>value
        field_put(out, name, kept_value, step)
    return 0


cdef int mapping_put(Buffer *out, object document, Step *step, bint skip_id) except -1:
    for name, value in document.items():
        if not skip_id or name != "_id":
            field_put(out, <PyObject *>name, value, step)
    return 0


cdef int array_put(Buffer *out, object values, Step *step) except -1:
    # a list or a tuple; a list may change meanwhile, see dict_put
    cdef bint is_list = isinstance(values, list)
    cdef Py_ssize_t at = 0
    while at < (PyList_GET_SIZE(values) if is_list else PyTuple_GET_SIZE(values)):
        step.index = at
        value = <object>(PyList_GET_ITEM(values, at) if is_list else PyTuple_GET_ITEM(values, at))
        value_put(out, index_put(out, at, step), value, step)
        at += 1
    return 0


cdef int document_close(Buffer *out, size_t start, Step *step) except -1:
    step.name = NULL
    step.index = -1
    room(out, 1, step)
    out.data[out.size] = 0
    out.size += 1
    if out.size - step.start > BSON_SIZE_MAX:
        refuse_size(step, out.size - step.start)
    store_u32(out.data + start, <uint32_t>(out.size - start))
    return 0


cdef inline void step_open(Step *step, Step *outer, size_t start) noexcept:
    step.outer = outer
    step.name = NULL
    step.index = -1
    step.start = start if outer == NULL else outer.start
    step.depth = 1 if outer == NULL else outer.depth + 1


cdef int nested_put(Buffer *out, object value, int kind, Step *outer) except -1:
    cdef Step step
    cdef size_t start = out.size
    step_open(&step, outer, start)
    if step.depth > BSON_DEPTH_MAX:
        refuse_depth(outer)
    room(out, 4, &step)
    out.size += 4
    if type(value) is dict:
        dict_put(out, value, &step, False)
    elif kind == KIND_LIST:
        array_put(out, value, &step)
    elif kind == KIND_MAPPING:
        mapping_put(out, value, &step, False)
    else:
        refuse_type(outer, value)
    return document_close(out, start, &step)


cdef int raw_fields_put(Buffer *out, object document, Step *step, bint skip_id) except -1:
    # a RawBSONDocument as the whole document: its fields, copied
    cdef Span span
    cdef Element element
    cdef size_t need
    cdef bytes raw = raw_bytes(document, step.depth, step)
    span = span_of(NULL, 0)
    document_span(
        <const uint8_t *>PyBytes_AS_STRING(raw), <size_t>PyBytes_GET_SIZE(raw), &span
    )
    while element_next(&span, &element) == 1:
        if skip_id and element.name_size == 3 and memcmp(element.name, b"_id", 3) == 0:
            continue
        need = element.name_size + element.value_size + 2
        room(out, need, step)
        # the type byte stands in front of the name
        memcpy(out.data + out.size, element.name - 1, need)
        out.size += need
    return 0


cdef int fields_encode(Buffer *out, object document, object id_value) except -1:
    cdef Step step
    cdef size_t start = out.size
    cdef bint skip_id = id_value is not None
    cdef int kind
    step_open(&step, NULL, start)
    if buffer_reserve(out, BUFFER_SIZE_FIRST) < 0:
        raise MemoryError
    out.size += 4
    if skip_id:
        id_name = "_id"
        field_put(out, <PyObject *>id_name, id_value, &step)
        step.name = NULL
    if type(document) is dict:
        dict_put(out, document, &step, skip_id)
    else:
        kind = kind_of(document)
        if kind == KIND_MAPPING:
            mapping_put(out, document, &step, skip_id)
        elif kind == MARKER_RAW:
            raw_fields_put(out, document, &step, skip_id)
        else:
            raise InvalidDocument(
                f"a document must be a mapping such as a dict, not {type(document).__qualname__}"
            )
    return document_close(out, start, &step)


cdef int element_encode(Buffer *out, object value, uint8_t *type) except -1:
    cdef Step step
    cdef size_t start = out.size
    step_open(&step, NULL, start)
    room(out, FIXED_SIZE_MAX, &step)
    out.size += 1
    value_put(out, start, value, &step)
    # the type byte was written in front of the value
    type[0] = out.data[start]
    out.size -= 1
    memmove(out.data + start, out.data + start + 1, out.size - start)
    return 0
