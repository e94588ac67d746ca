"""BSON to Python objects.

Terms       document: see the glossary.
Invariants  Field order is kept. Dates are aware, in UTC. An int64 that would fit into an int32
            becomes bson.int64.Int64 and any other a plain int, so encoding gives the same bytes. A
            document in a document becomes a bson.dbref.DBRef only if encoding that gives the same
            fields in the same order. Lossy, all deprecated in BSON: undefined -> None, symbol ->
            str, DBPointer -> DBRef; and options of a regular expression that Python has no flag
            for.
Failure     Every frame is checked while walking (a compare each), so bytes that nobody validated
            end in InvalidDocument; depth is bounded by BSON_DEPTH_MAX. Booleans and UTF-8 are as
            strict as bson_check only after validation.
Sources     bsonspec.org; PyMongo's bson, whose classes are imported when a value first needs one
            (24 ms).
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.datetime cimport datetime_new, get_utc, import_datetime
from cpython.dict cimport PyDict_SetItem
from cpython.float cimport PyFloat_FromDouble
from cpython.object cimport PyObject, PyObject_GenericSetAttr, PyTypeObject
from cpython.set cimport PySet_Contains
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, strlen

from rango._ext.bson_check cimport BINARY_SUBTYPE_OLD, BSON_DEPTH_MAX, utf8_is_ascii
from rango._ext.bson_element cimport (
    BSON_ARRAY,
    BSON_BINARY,
    BSON_BOOL,
    BSON_CODE,
    BSON_CODE_SCOPE,
    BSON_DATE,
    BSON_DBPOINTER,
    BSON_DECIMAL128,
    BSON_DOCUMENT,
    BSON_DOUBLE,
    BSON_INT32,
    BSON_INT64,
    BSON_MAXKEY,
    BSON_MINKEY,
    BSON_NULL,
    BSON_OBJECTID,
    BSON_REGEX,
    BSON_STRING,
    BSON_SYMBOL,
    BSON_TIMESTAMP,
    BSON_UNDEFINED,
    document_span,
    element_value_size,
)
from rango._ext.civil cimport (
    CIVIL_DAY_MAX,
    CIVIL_DAY_MIN,
    DAY_MS,
    civil_from_days,
    floor_div,
)
from rango._ext.span cimport Span, load_double, load_u32, load_u64, span_of

from rango.errors import InvalidDocument

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maximum)
    void *PyUnicode_DATA(object text)
    const char *PyUnicode_AsUTF8AndSize(PyObject *text, Py_ssize_t *size) except NULL
    void PyUnicode_InternInPlace(PyObject **text)
    void Py_XDECREF(PyObject *value)
    void Py_INCREF(PyObject *value)
    object _PyLong_FromByteArray(const unsigned char *data, size_t size, int little, int signed_)

cdef extern from *:
    int __builtin_ctzll(unsigned long long value) nogil

import_datetime()

cdef object UTC = get_utc()


# Documents of a collection repeat their names, so the str of a name is looked up instead of built.
# Direct mapped: a name that collides simply takes the place. Names met often are interned, which
# makes the caller's doc["name"] a pointer compare; rare ones are not, because some Pythons never
# free an interned string.

cdef enum:
    NAMES_COUNT = 1024
    NAME_SIZE_MAX = 64          # longer ones are not kept
    NAME_INTERN_AT = 8

ctypedef struct Name:
    uint64_t hash
    size_t size
    const char *utf8            # inside text
    PyObject *text
    uint32_t uses

cdef Name names[NAMES_COUNT]


cdef inline Py_ssize_t name_scan(const uint8_t *p, size_t left, uint64_t *hash) noexcept nogil:
    # size of the NUL-terminated name at p, or -1 when there is no NUL; eight bytes at a time
    cdef uint64_t mixed = 0x9e3779b97f4a7c15ULL
    cdef uint64_t word, zeros
    cdef size_t at = 0
    cdef size_t end
    while left - at >= 8:
        word = load_u64(p + at)
        zeros = (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL
        if zeros:
            end = <size_t>__builtin_ctzll(zeros) >> 3
            if end:
                mixed = (mixed ^ (word & (0xffffffffffffffffULL >> (64 - 8 * end)))) \
                    * 0xff51afd7ed558ccdULL
            hash[0] = mixed ^ (mixed >> 32)
            return <Py_ssize_t>(at + end)
        mixed = (mixed ^ word) * 0xff51afd7ed558ccdULL
        mixed ^= mixed >> 29
        at += 8
    word = 0
    end = 0
    while at + end < left:
        if p[at + end] == 0:
            if end:
                mixed = (mixed ^ word) * 0xff51afd7ed558ccdULL
            hash[0] = mixed ^ (mixed >> 32)
            return <Py_ssize_t>(at + end)
        word |= <uint64_t>p[at + end] << (8 * end)
        end += 1
    return -1


cdef object name_add(Name *name, const char *utf8, size_t size, uint64_t hash):
    cdef object text = text_decode(<const uint8_t *>utf8, size)
    cdef PyObject *old
    cdef Py_ssize_t kept
    if size > NAME_SIZE_MAX:
        return text
    old = name.text
    name.utf8 = PyUnicode_AsUTF8AndSize(<PyObject *>text, &kept)
    name.text = <PyObject *>text
    Py_INCREF(name.text)
    name.hash = hash
    name.size = size
    name.uses = 0
    Py_XDECREF(old)
    return text


cdef int name_intern(Name *name) except -1:
    cdef Py_ssize_t size
    PyUnicode_InternInPlace(&name.text)
    name.utf8 = PyUnicode_AsUTF8AndSize(name.text, &size)
    return 0


cdef inline object name_decode(const char *utf8, size_t size, uint64_t hash):
    cdef Name *name = &names[hash & (NAMES_COUNT - 1)]
    if name.hash == hash and name.size == size and name.text != NULL \
            and memcmp(name.utf8, utf8, size) == 0:
        if name.uses <= NAME_INTERN_AT:
            name.uses += 1
            if name.uses == NAME_INTERN_AT:
                name_intern(name)
        return <object>name.text
    return name_add(name, utf8, size, hash)


cdef object wide_decode(const uint8_t *p, size_t size):
    try:
        return PyUnicode_DecodeUTF8(<char *>p, <Py_ssize_t>size, NULL)
    except UnicodeDecodeError:
        raise InvalidDocument("malformed BSON: a string or a name is not valid UTF-8") from None


cdef inline object text_decode(const uint8_t *p, size_t size):
    cdef object text
    if size > 1 and utf8_is_ascii(p, size):
        text = PyUnicode_New(<Py_ssize_t>size, 127)
        memcpy(PyUnicode_DATA(text), p, size)
        return text
    return wide_decode(p, size)


cdef inline object bytes_decode(const uint8_t *p, size_t size):
    return PyBytes_FromStringAndSize(<char *>p, <Py_ssize_t>size)


cdef object date_decode(int64_t ms):
    cdef int64_t days = floor_div(ms, DAY_MS)
    cdef int32_t rest
    cdef int year = 0
    cdef int month = 0
    cdef int day = 0
    if days < CIVIL_DAY_MIN or days > CIVIL_DAY_MAX:
        return bson_class("bson.datetime_ms", "DatetimeMS")(ms)
    rest = <int32_t>(ms - days * DAY_MS)
    civil_from_days(<int32_t>days, &year, &month, &day)
    return datetime_new(
        year, month, day,
        rest / 3600000, rest / 60000 % 60, rest / 1000 % 60, rest % 1000 * 1000, UTC,
    )


cdef dict classes = {}
cdef object uuid_class = None
cdef object uuid_unsafe = None
cdef tuple empty = ()


cdef object bson_class(str module, str name):
    found = classes.get(name)
    if found is None:
        found = getattr(__import__(module, None, None, [name]), name)
        classes[name] = found
    return found


cdef object uuid_decode(const uint8_t *p):
    # what UUID(bytes=...) does, without its Python code: _id is a UUID by default, so this is on
    # the way of every read
    global uuid_class, uuid_unsafe
    cdef PyTypeObject *kind
    if uuid_class is None:
        import uuid
        uuid_unsafe = uuid.SafeUUID.unknown
        uuid_class = uuid.UUID
    kind = <PyTypeObject *>uuid_class
    made = <object>kind.tp_new(uuid_class, <PyObject *>empty, NULL)
    PyObject_GenericSetAttr(made, "int", _PyLong_FromByteArray(p, 16, 0, 0))
    PyObject_GenericSetAttr(made, "is_safe", uuid_unsafe)
    return made


cdef object binary_decode(const uint8_t *value, size_t size):
    # size u32, subtype, bytes; subtype 2 repeats the size in front of its bytes
    cdef uint8_t subtype = value[4]
    if subtype == 0:
        return bytes_decode(value + 5, size - 5)
    if subtype == 4 and size == 21:
        return uuid_decode(value + 5)
    if subtype == BINARY_SUBTYPE_OLD and size >= 9:
        return bson_class("bson.binary", "Binary")(bytes_decode(value + 9, size - 9), subtype)
    return bson_class("bson.binary", "Binary")(bytes_decode(value + 5, size - 5), subtype)


cdef object regex_decode(const uint8_t *value, size_t size):
    cdef size_t first = strlen(<const char *>value)
    pattern = text_decode(value, first)
    options = text_decode(value + first + 1, size - first - 2)
    return bson_class("bson.regex", "Regex")(pattern, options)


cdef object scope_decode(const uint8_t *value, size_t size, int depth):
    # total size, code (size, bytes, NUL), document
    cdef size_t code = load_u32(value + 4)
    if code < 1 or code > size - 13:
        raise_malformed()
    scope = fields_decode(value + 8 + code, size - 8 - code, depth + 1)
    return bson_class("bson.code", "Code")(text_decode(value + 8, code - 1), scope)


cdef object other_decode(uint8_t type, const uint8_t *value, size_t size, int depth):
    if type == BSON_BINARY:
        return binary_decode(value, size)
    if type == BSON_OBJECTID:
        return bson_class("bson.objectid", "ObjectId")(bytes_decode(value, 12))
    if type == BSON_DECIMAL128:
        return bson_class("bson.decimal128", "Decimal128")((load_u64(value + 8), load_u64(value)))
    if type == BSON_REGEX:
        return regex_decode(value, size)
    if type == BSON_TIMESTAMP:
        return bson_class("bson.timestamp", "Timestamp")(load_u32(value + 4), load_u32(value))
    if type == BSON_CODE:
        return bson_class("bson.code", "Code")(text_decode(value + 4, size - 5))
    if type == BSON_CODE_SCOPE:
        return scope_decode(value, size, depth)
    if type == BSON_MINKEY:
        return bson_class("bson.min_key", "MinKey")()
    if type == BSON_MAXKEY:
        return bson_class("bson.max_key", "MaxKey")()
    if type == BSON_SYMBOL:
        return text_decode(value + 4, size - 5)
    if type == BSON_DBPOINTER:
        return bson_class("bson.dbref", "DBRef")(
            text_decode(value + 4, size - 17),
            bson_class("bson.objectid", "ObjectId")(bytes_decode(value + size - 12, 12)),
        )
    raise_malformed()


cdef int raise_malformed() except -1:
    raise InvalidDocument(
        "malformed BSON: a length or a type is wrong; the bytes were not validated"
    )


cdef object element_decode(uint8_t type, const uint8_t *value, size_t size, int depth):
    cdef int64_t wide
    if type == BSON_STRING:
        return text_decode(value + 4, size - 5)
    elif type == BSON_INT32:
        return <int32_t>load_u32(value)
    elif type == BSON_DOUBLE:
        return PyFloat_FromDouble(load_double(value))
    elif type == BSON_DATE:
        return date_decode(<int64_t>load_u64(value))
    elif type == BSON_DOCUMENT:
        return document_or_reference(value, size, depth + 1)
    elif type == BSON_ARRAY:
        return array_decode(value, size, depth + 1)
    elif type == BSON_BOOL:
        return value[0] != 0
    elif type == BSON_NULL or type == BSON_UNDEFINED:
        return None
    elif type == BSON_INT64:
        wide = <int64_t>load_u64(value)
        if wide == <int32_t>wide:
            return bson_class("bson.int64", "Int64")(wide)
        return wide
    return other_decode(type, value, size, depth)


cdef dict fields_decode(const uint8_t *bson, size_t size, int depth):
    cdef Span span
    cdef const uint8_t *start
    cdef size_t left
    cdef Py_ssize_t name_size, value_size
    cdef uint64_t hash = 0
    cdef dict fields
    span = span_of(NULL, 0)
    if depth > BSON_DEPTH_MAX or document_span(bson, size, &span) < 0:
        raise_malformed()
    fields = {}
    while span.at < span.size:
        start = span.base + span.at
        left = span.size - span.at
        name_size = name_scan(start + 1, left - 1, &hash)
        if name_size < 0:
            raise_malformed()
        left -= <size_t>name_size + 2
        value_size = element_value_size(start[0], start + 2 + name_size, left)
        if value_size < 0:
            raise_malformed()
        name = name_decode(<const char *>(start + 1), <size_t>name_size, hash)
        value = element_decode(start[0], start + 2 + name_size, <size_t>value_size, depth)
        PyDict_SetItem(fields, name, value)
        span.at += 2 + <size_t>name_size + <size_t>value_size
    return fields


cdef dict fields_decode_some(const uint8_t *bson, size_t size, object names, bint is_kept):
    # the top-level fields that are in names, or those that are not: the others cost their names
    cdef Span span
    cdef const uint8_t *start
    cdef size_t left
    cdef Py_ssize_t name_size, value_size
    cdef uint64_t hash = 0
    cdef dict fields = {}
    span = span_of(NULL, 0)
    if document_span(bson, size, &span) < 0:
        raise_malformed()
    while span.at < span.size:
        start = span.base + span.at
        left = span.size - span.at
        name_size = name_scan(start + 1, left - 1, &hash)
        if name_size < 0:
            raise_malformed()
        left -= <size_t>name_size + 2
        value_size = element_value_size(start[0], start + 2 + name_size, left)
        if value_size < 0:
            raise_malformed()
        name = name_decode(<const char *>(start + 1), <size_t>name_size, hash)
        if PySet_Contains(names, name) == is_kept:
            value = element_decode(start[0], start + 2 + name_size, <size_t>value_size, 1)
            PyDict_SetItem(fields, name, value)
        span.at += 2 + <size_t>name_size + <size_t>value_size
    return fields


cdef list array_decode(const uint8_t *bson, size_t size, int depth):
    cdef Span span
    cdef const uint8_t *start
    cdef size_t left
    cdef Py_ssize_t name_size, value_size
    cdef uint64_t hash = 0
    cdef list values = []
    span = span_of(NULL, 0)
    if depth > BSON_DEPTH_MAX or document_span(bson, size, &span) < 0:
        raise_malformed()
    while span.at < span.size:
        start = span.base + span.at
        left = span.size - span.at
        name_size = name_scan(start + 1, left - 1, &hash)
        if name_size < 0:
            raise_malformed()
        left -= <size_t>name_size + 2
        value_size = element_value_size(start[0], start + 2 + name_size, left)
        if value_size < 0:
            raise_malformed()
        values.append(
            element_decode(start[0], start + 2 + name_size, <size_t>value_size, depth)
        )
        span.at += 2 + <size_t>name_size + <size_t>value_size
    return values


cdef object document_or_reference(const uint8_t *bson, size_t size, int depth):
    cdef dict fields = fields_decode(bson, size, depth)
    if size > 10 and bson[4] == BSON_STRING and memcmp(bson + 5, b"$ref", 5) == 0:
        return reference_decode(fields)
    return fields


cdef object reference_decode(dict fields):
    # DBRef writes $ref, $id, $db, then the rest: only what already has this order may become one
    order = list(fields)
    if len(order) < 2 or order[1] != "$id" or type(fields["$ref"]) is not str:
        return fields
    database = None
    if "$db" in fields:
        if order[2] != "$db" or type(fields["$db"]) is not str:
            return fields
        database = fields["$db"]
    extra = {name: fields[name] for name in order[2 if database is None else 3:]}
    return bson_class("bson.dbref", "DBRef")(fields["$ref"], fields["$id"], database, extra)
