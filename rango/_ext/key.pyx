"""Keys: BSON values as bytes whose memcmp order is MongoDB's comparison order across types.

Terms       key, document, tree: see the glossary. class: the types that compare with one another
            (all numbers are one).
Invariants  memcmp(key(a), key(b)) has the sign of MongoDB's comparison of a and b; equal values
            give equal bytes whatever their type. No key is the beginning of another one, so keys
            can be concatenated. Stored keys are at most KEY_SIZE_BYTES_MAX; shortened ones keep
            equality (by a 128-bit hash) but no order past their prefix.
Layout      class byte, then: numbers see number.pyx; text with NUL as 00 FF, ended by 00 00; a
            document as (class, name, 00, rest of the value) for each field, an array as its values,
            both ended by CLASS_END; binary as size u32 big-endian, subtype, bytes; dates as u64
            big-endian with the sign bit flipped; a regex as pattern 00 options 00.
Failure     Malformed BSON: InvalidDocument. Deeper than a document may be: LimitExceeded.
Sources     MongoDB manual, "Comparison/Sort Order" and "Multikey Indexes".
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcmp, memcpy

from rango._ext.bson_check cimport BSON_DEPTH_MAX
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
    Element,
    document_span,
    element_next,
)
from rango._ext.buffer cimport (
    Buffer,
    buffer_free,
    buffer_grow,
    buffer_init,
    buffer_put,
    buffer_put_byte,
)
from rango._ext.key_bytes cimport sized_append, text_append, u64_append
from rango._ext.number cimport decimal_append, double_append, integer_append
from rango._ext.record cimport document_find, value_encode
from rango._ext.seal cimport blake2b_256
from rango._ext.span cimport (
    Span,
    load_double,
    load_u16,
    load_u32,
    load_u64,
    store_u16,
)

from rango.errors import InvalidDocument, InvalidName, LimitExceeded

cdef extern from "Python.h":
    # a macro that touches no reference count, so it needs no GIL
    char *PyBytes_AS_STRING(object data) nogil
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef enum:
    KEY_SIZE_MAX = KEY_PREFIX_SIZE + KEY_HASH_SIZE      # limits.KEY_SIZE_BYTES_MAX

cdef uint8_t[256] CLASSES
for _type, _class in (
    (BSON_MINKEY, CLASS_MINKEY), (BSON_UNDEFINED, CLASS_UNDEFINED), (BSON_NULL, CLASS_NULL),
    (BSON_DOUBLE, CLASS_NUMBER), (BSON_INT32, CLASS_NUMBER), (BSON_INT64, CLASS_NUMBER),
    (BSON_DECIMAL128, CLASS_NUMBER), (BSON_STRING, CLASS_STRING), (BSON_SYMBOL, CLASS_STRING),
    (BSON_DOCUMENT, CLASS_DOCUMENT), (BSON_ARRAY, CLASS_ARRAY), (BSON_BINARY, CLASS_BINARY),
    (BSON_OBJECTID, CLASS_OBJECTID), (BSON_BOOL, CLASS_BOOL), (BSON_DATE, CLASS_DATE),
    (BSON_TIMESTAMP, CLASS_TIMESTAMP), (BSON_REGEX, CLASS_REGEX),
    (BSON_DBPOINTER, CLASS_DBPOINTER), (BSON_CODE, CLASS_CODE),
    (BSON_CODE_SCOPE, CLASS_CODE_SCOPE), (BSON_MAXKEY, CLASS_MAXKEY),
):
    CLASSES[_type] = _class
del _type, _class


cdef int raise_memory() except -1 nogil:
    with gil:
        raise MemoryError


cdef int raise_malformed() except -1 nogil:
    with gil:
        raise InvalidDocument("malformed BSON inside a key: validate the document first")


cdef int raise_depth() except -1 nogil:
    with gil:
        raise LimitExceeded("NESTING_DEPTH_MAX", BSON_DEPTH_MAX + 1)


cdef int nested_append(
    Buffer *out, const uint8_t *bson, size_t size, bint named, int depth
) except -1 nogil:
    cdef Span span
    cdef Element element
    cdef int found
    if depth > BSON_DEPTH_MAX:
        return raise_depth()
    if document_span(bson, size, &span) < 0:
        return raise_malformed()
    while True:
        found = element_next(&span, &element)
        if found < 0:
            return raise_malformed()
        if found == 0:
            break
        if buffer_put_byte(out, CLASSES[element.type]) < 0:
            return raise_memory()
        # the NUL behind the name goes with it
        if named and buffer_put(out, element.name, element.name_size + 1) < 0:
            return raise_memory()
        rest_append(out, element.type, element.value, element.value_size, depth)
    if buffer_put_byte(out, CLASS_END) < 0:
        return raise_memory()
    return 0


cdef int scope_append(Buffer *out, const uint8_t *value, size_t size, int depth) except -1 nogil:
    cdef size_t code = load_u32(value + 4)
    if code < 1 or code > size - 13:
        return raise_malformed()
    if text_append(out, value + 8, code - 1) < 0:
        return raise_memory()
    return nested_append(out, value + 8 + code, size - 8 - code, True, depth + 1)


cdef int rest_append(
    Buffer *out, uint8_t type, const uint8_t *value, size_t size, int depth
) except -1 nogil:
    # what follows the class byte
    cdef int failed = 0
    if type == BSON_STRING or type == BSON_SYMBOL or type == BSON_CODE:
        failed = text_append(out, value + 4, size - 5)
    elif type == BSON_INT32:
        failed = integer_append(out, <int32_t>load_u32(value))
    elif type == BSON_INT64:
        failed = integer_append(out, <int64_t>load_u64(value))
    elif type == BSON_DOUBLE:
        failed = double_append(out, load_double(value))
    elif type == BSON_DATE:
        failed = u64_append(out, load_u64(value) ^ 0x8000000000000000ULL)
    elif type == BSON_TIMESTAMP:
        failed = u64_append(out, load_u64(value))
    elif type == BSON_DECIMAL128:
        failed = decimal_append(out, value)
    elif type == BSON_OBJECTID or type == BSON_BOOL or type == BSON_REGEX:
        failed = buffer_put(out, value, size)
    elif type == BSON_BINARY:
        failed = sized_append(out, load_u32(value), value + 4, size - 4)
    elif type == BSON_DBPOINTER:
        failed = sized_append(out, load_u32(value), value + 4, size - 4)
    elif type == BSON_DOCUMENT or type == BSON_ARRAY:
        return nested_append(out, value, size, type == BSON_DOCUMENT, depth + 1)
    elif type == BSON_CODE_SCOPE:
        return scope_append(out, value, size, depth)
    if failed < 0:
        return raise_memory()
    return 0


cdef int key_append(Buffer *out, uint8_t type, const uint8_t *value, size_t size) except -1 nogil:
    if buffer_put_byte(out, CLASSES[type]) < 0:
        return raise_memory()
    return rest_append(out, type, value, size, 1)


cdef int key_append_missing(Buffer *out) except -1 nogil:
    if buffer_put_byte(out, CLASS_NULL) < 0:
        return raise_memory()
    return 0


cdef int key_append_value(Buffer *out, object value) except -1:
    cdef Py_ssize_t length = 0
    cdef const char *utf8
    cdef long long number
    cdef int overflow = 0
    cdef uint8_t type = 0
    cdef Buffer bson
    if PyLong_CheckExact(value):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow:
            if buffer_put_byte(out, CLASS_NUMBER) < 0 or integer_append(out, number) < 0:
                raise MemoryError
            return 0
    elif PyUnicode_CheckExact(value) and (<str>value).isascii():
        utf8 = PyUnicode_AsUTF8AndSize(value, &length)
        if buffer_put_byte(out, CLASS_STRING) < 0:
            raise MemoryError
        if text_append(out, <const uint8_t *>utf8, <size_t>length) < 0:
            raise MemoryError
        return 0
    buffer_init(&bson)
    try:
        value_encode(&bson, value, &type)
        key_append(out, type, bson.data, bson.size)
    finally:
        buffer_free(&bson)
    return 0


cdef int key_cap(Buffer *out, size_t start) except -1 nogil:
    cdef uint8_t digest[32]
    if out.size - start <= KEY_SIZE_MAX:
        return 0
    blake2b_256(out.data + start, out.size - start, NULL, 0, digest)
    memcpy(out.data + start + KEY_PREFIX_SIZE, digest, KEY_HASH_SIZE)
    out.size = start + KEY_SIZE_MAX
    return 1


ctypedef struct Found:
    # the keys of one path in one document, while they are collected
    Buffer *out
    int count
    int multikey


cdef int found_add(Found *found, uint8_t type, const uint8_t *value, size_t size) except -1 nogil:
    cdef size_t start = found.out.size
    if buffer_grow(found.out, 2) == NULL:
        return raise_memory()
    key_append(found.out, type, value, size)
    key_cap(found.out, start + 2)
    store_u16(found.out.data + start, <uint16_t>(found.out.size - start - 2))
    found.count += 1
    return 0


cdef int part_position(const uint8_t *part, size_t size) noexcept nogil:
    # the array position that a path part means, or -1
    cdef int position = 0
    cdef size_t at
    if size == 0 or size > 8 or (size > 1 and part[0] == 48):
        return -1
    for at in range(size):
        if part[at] < 48 or part[at] > 57:
            return -1
        position = position * 10 + part[at] - 48
    return position


cdef int array_expand(Found *found, const uint8_t *bson, size_t size) except -1 nogil:
    # an array at the end of the path: a key for each element, undefined if there is none
    cdef Span span
    cdef Element element
    cdef int more = 0
    cdef int count = found.count
    found.multikey = 1
    if document_span(bson, size, &span) < 0:
        return raise_malformed()
    while True:
        more = element_next(&span, &element)
        if more < 0:
            return raise_malformed()
        if more == 0:
            break
        found_add(found, element.type, element.value, element.value_size)
    if found.count == count:
        return found_add(found, BSON_UNDEFINED, NULL, 0)
    return 0


cdef int array_walk(
    Found *found, const uint8_t *bson, size_t size, const uint8_t *part, int left
) except -1 nogil:
    # an array with path left: the part is a field of its documents, or a position in it. An element
    # that has no such field counts as missing, but not where the part is a position that exists;
    # what stands there is not expanded at the end.
    cdef Span span
    cdef Element element, field, indexed
    cdef size_t part_size = load_u16(part)
    cdef const uint8_t *rest = part + 2 + part_size
    cdef int position = part_position(part + 2, part_size)
    cdef int at = 0
    cdef int more, has
    cdef bint is_missing = False
    cdef bint is_indexed = False
    found.multikey = 1
    if document_span(bson, size, &span) < 0:
        return raise_malformed()
    while True:
        more = element_next(&span, &element)
        if more < 0:
            return raise_malformed()
        if more == 0:
            break
        has = 0
        if element.type == BSON_DOCUMENT:
            has = document_find(
                element.value, element.value_size, <const char *>part + 2, part_size, &field
            )
            if has < 0:
                return raise_malformed()
        if has:
            value_walk(found, &field, rest, left - 1)
        else:
            is_missing = True
        if at == position:
            indexed = element
            is_indexed = True
        at += 1
    if is_indexed:
        if left == 1:
            return found_add(found, indexed.type, indexed.value, indexed.value_size)
        return value_walk(found, &indexed, rest, left - 1)
    if is_missing or at == 0:
        return found_add(found, BSON_NULL, NULL, 0)
    return 0


cdef int value_walk(
    Found *found, const Element *element, const uint8_t *part, int left
) except -1 nogil:
    if left == 0:
        if element.type == BSON_ARRAY:
            return array_expand(found, element.value, element.value_size)
        return found_add(found, element.type, element.value, element.value_size)
    if element.type == BSON_DOCUMENT:
        return document_walk(found, element.value, element.value_size, part, left)
    if element.type == BSON_ARRAY:
        return array_walk(found, element.value, element.value_size, part, left)
    return found_add(found, BSON_NULL, NULL, 0)


cdef int document_walk(
    Found *found, const uint8_t *bson, size_t size, const uint8_t *part, int left
) except -1 nogil:
    cdef Element field
    cdef size_t part_size = load_u16(part)
    cdef int has = document_find(bson, size, <const char *>part + 2, part_size, &field)
    if has < 0:
        return raise_malformed()
    if has == 0:
        return found_add(found, BSON_NULL, NULL, 0)
    return value_walk(found, &field, part + 2 + part_size, left - 1)


cdef int sized_compare(const void *left, const void *right) noexcept nogil:
    # two keys, each as u16 size + bytes
    cdef const uint8_t *a = (<const uint8_t **>left)[0]
    cdef const uint8_t *b = (<const uint8_t **>right)[0]
    cdef size_t a_size = load_u16(a)
    cdef size_t b_size = load_u16(b)
    cdef int order = memcmp(a + 2, b + 2, a_size if a_size < b_size else b_size)
    if order == 0 and a_size != b_size:
        order = -1 if a_size < b_size else 1
    return order


cdef int keys_sort(Buffer *out, size_t start, int count) except -1 nogil:
    # sorts the keys since `start` and drops repeats; how many are left
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
        at += 2 + <size_t>load_u16(copy + at)
    qsort(order, <size_t>count, sizeof(uint8_t *), &sized_compare)
    out.size = start
    for number in range(count):
        if number and sized_compare(&order[number - 1], &order[number]) == 0:
            continue
        size = 2 + <size_t>load_u16(order[number])
        memcpy(out.data + out.size, order[number], size)
        out.size += size
        kept += 1
    free(copy)
    free(order)
    return kept


cdef bytes path_parts(str path, int *count):
    try:
        parts = [part.encode() for part in path.split(".")]
    except UnicodeEncodeError:
        raise InvalidName(f"an index path must be valid Unicode: {path!r}") from None
    if "\0" in path or max(map(len, parts)) > 0xffff:
        raise InvalidName(f"an index path must not hold NUL, nor be so long: {path[:80]!r}")
    if len(parts) > BSON_DEPTH_MAX:
        raise LimitExceeded("NESTING_DEPTH_MAX", len(parts))
    count[0] = <int>len(parts)
    return b"".join([len(part).to_bytes(2, "little") + part for part in parts])


@cython.final
cdef class IndexPath:
    def __init__(self, str path not None):
        self.path = path
        self.parts = path_parts(path, &self.part_count)

    cdef int keys(
        self, const uint8_t *bson, size_t size, Buffer *out, int *multikey
    ) except -1 nogil:
        cdef Found found
        cdef size_t start = out.size
        found.out = out
        found.count = 0
        found.multikey = 0
        document_walk(
            &found, bson, size, <const uint8_t *>PyBytes_AS_STRING(self.parts), self.part_count
        )
        multikey[0] = found.multikey
        if found.count > 1:
            return keys_sort(out, start, found.count)
        return found.count


def key_whole(value):
    cdef Buffer out
    buffer_init(&out)
    try:
        key_append_value(&out, value)
        return PyBytes_FromStringAndSize(<char *>out.data, <Py_ssize_t>out.size)
    finally:
        buffer_free(&out)


def key_of(value):
    cdef Buffer out
    buffer_init(&out)
    try:
        key_append_value(&out, value)
        key_cap(&out, 0)
        return PyBytes_FromStringAndSize(<char *>out.data, <Py_ssize_t>out.size)
    finally:
        buffer_free(&out)


def index_keys(bytes bson not None, path):
    cdef IndexPath index_path = path if isinstance(path, IndexPath) else IndexPath(path)
    cdef Buffer out
    cdef int multikey = 0
    cdef size_t at = 0
    cdef size_t size
    cdef list keys = []
    buffer_init(&out)
    try:
        index_path.keys(
            <const uint8_t *>PyBytes_AS_STRING(bson), <size_t>PyBytes_GET_SIZE(bson),
            &out, &multikey,
        )
        while at < out.size:
            size = load_u16(out.data + at)
            keys.append(
                PyBytes_FromStringAndSize(<char *>out.data + at + 2, <Py_ssize_t>size)
            )
            at += 2 + size
    finally:
        buffer_free(&out)
    return keys, bool(multikey)
