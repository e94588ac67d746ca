"""Which Python types can be stored, and the bytes of those that hold no other values.

Terms       kind: a number for each way to encode a value.
Invariants  The types are those that PyMongo's bson accepts, subclasses included; its classes are
            known by their _type_marker, so that nothing of it is imported here (24 ms). A class
            that only claims a marker is refused. A naive date is UTC; microseconds are cut to
            milliseconds toward minus infinity.
Failure     InvalidDocument naming the path, see bson_step.
Sources     PyMongo's bson (order of the tests in kind_find); bsonspec.org.
"""

import collections.abc
import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.datetime cimport (
    PyDateTime_DATE_GET_HOUR,
    PyDateTime_DATE_GET_MICROSECOND,
    PyDateTime_DATE_GET_MINUTE,
    PyDateTime_DATE_GET_SECOND,
    PyDateTime_GET_DAY,
    PyDateTime_GET_MONTH,
    PyDateTime_GET_YEAR,
    datetime,
    datetime_tzinfo,
    get_utc,
    import_datetime,
    timedelta_days,
    timedelta_microseconds,
    timedelta_seconds,
)
from cpython.long cimport PyLong_AsUnsignedLongLongMask
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from rango._ext.bson_check cimport BINARY_SUBTYPE_OLD
from rango._ext.bson_element cimport (
    BSON_BINARY,
    BSON_DATE,
    BSON_DECIMAL128,
    BSON_INT64,
    BSON_MAXKEY,
    BSON_MINKEY,
    BSON_OBJECTID,
    BSON_TIMESTAMP,
)
from rango._ext.bson_step cimport Step, refuse, refuse_type, room, text_utf8, u64_put
from rango._ext.buffer cimport Buffer
from rango._ext.civil cimport civil_to_days, floor_div
from rango._ext.span cimport store_u32

import_datetime()

cdef object UTC = get_utc()
cdef dict kinds = {}

cdef enum:
    KINDS_KEPT_MAX = 256        # classes made on the fly must not be kept for ever


cdef int kind_find(object kind) except -1:
    # in PyMongo's order: the marker of the class first, then the built-in that it derives from
    cdef int number
    marker = getattr(kind, "_type_marker", None)
    if isinstance(marker, int) and marker in (5, 7, 9, 11, 13, 17, 18, 19, 100, 101, 127, 255):
        return marker
    for base, number in (
        (bytes, KIND_BYTES), (datetime, KIND_DATE), (dict, KIND_MAPPING), (float, KIND_FLOAT),
        (int, KIND_INT), (list, KIND_LIST), (str, KIND_TEXT), (tuple, KIND_LIST),
    ):
        if issubclass(kind, base):
            return number
    # an object of these classes exists only where their module was imported
    for module, name, number in (("uuid", "UUID", KIND_UUID), ("re", "Pattern", MARKER_REGEX)):
        base = getattr(sys.modules.get(module), name, None)
        if base is not None and issubclass(kind, base):
            return number
    return KIND_MAPPING if issubclass(kind, collections.abc.Mapping) else KIND_UNKNOWN


cdef int kind_of(object value) except -1:
    kind = type(value)
    known = kinds.get(kind)
    if known is None:
        known = kind_find(kind)
        if len(kinds) >= KINDS_KEPT_MAX:
            kinds.clear()
        kinds[kind] = known
    return known


cdef int64_t date_ms(object value) except? -1:
    cdef int64_t micros
    cdef int64_t seconds = 86400 * civil_to_days(
        PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value)
    )
    seconds += PyDateTime_DATE_GET_HOUR(value) * 3600 + PyDateTime_DATE_GET_MINUTE(value) * 60
    micros = (seconds + PyDateTime_DATE_GET_SECOND(value)) * 1000000
    micros += PyDateTime_DATE_GET_MICROSECOND(value)
    zone = datetime_tzinfo(value)
    if zone is not None and zone is not UTC:
        offset = value.utcoffset()
        if offset is not None:
            seconds = <int64_t>timedelta_days(offset) * 86400 + timedelta_seconds(offset)
            micros -= seconds * 1000000 + timedelta_microseconds(offset)
    return floor_div(micros, 1000)


cdef int bytes_put(Buffer *out, object value, uint8_t subtype, Step *step) except -1:
    cdef size_t size = <size_t>PyBytes_GET_SIZE(value)
    cdef size_t inner = 4 if subtype == BINARY_SUBTYPE_OLD else 0
    cdef uint8_t *into
    room(out, size + inner + 5, step)
    into = out.data + out.size
    store_u32(into, <uint32_t>(size + inner))
    into[4] = subtype
    if inner:
        store_u32(into + 5, <uint32_t>size)
    memcpy(into + 5 + inner, PyBytes_AS_STRING(value), size)
    out.size += size + inner + 5
    return 0


cdef int uuid_put(Buffer *out, object value, Step *step) except -1:
    cdef uint8_t *into
    cdef uint64_t halves[2]
    cdef int half, place
    number = value.int
    halves[0] = PyLong_AsUnsignedLongLongMask(number >> 64)
    halves[1] = PyLong_AsUnsignedLongLongMask(number)
    room(out, 21, step)
    into = out.data + out.size
    store_u32(into, 16)
    into[4] = 4
    for half in range(2):
        for place in range(8):
            into[5 + 8 * half + place] = <uint8_t>(halves[half] >> (56 - 8 * place))
    out.size += 21
    return 0


cdef int cstring_put(Buffer *out, object text, Step *step) except -1:
    cdef size_t size = 0
    cdef const char *utf8
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            refuse(step, "the pattern of a regular expression is not valid UTF-8")
    if not isinstance(text, str):
        refuse(step, "the pattern of a regular expression must be a str")
    utf8 = text_utf8(<PyObject *>text, &size, step)
    if memchr(utf8, 0, size) != NULL:
        refuse(step, "a regular expression must not contain NUL")
    room(out, size + 1, step)
    memcpy(out.data + out.size, utf8, size)
    out.data[out.size + size] = 0
    out.size += size + 1
    return 0


cdef int regex_put(Buffer *out, object value, Step *step) except -1:
    # options in alphabetical order, as the specification wants; the numbers are those of re
    cdef int flags = value.flags
    cdef str options = ""
    for letter, bit in (("i", 2), ("l", 4), ("m", 8), ("s", 16), ("u", 32), ("x", 64)):
        if flags & bit:
            options += letter
    cstring_put(out, value.pattern, step)
    return cstring_put(out, options, step)


cdef int fixed_put(Buffer *out, object data, Py_ssize_t size, object value, Step *step) except -1:
    if type(data) is not bytes or PyBytes_GET_SIZE(data) != size:
        refuse_type(step, value)
    room(out, <size_t>size, step)
    memcpy(out.data + out.size, PyBytes_AS_STRING(data), <size_t>size)
    out.size += <size_t>size
    return 0


cdef int marked_put(Buffer *out, size_t type_at, object value, int kind, Step *step) except -1:
    if kind == MARKER_OBJECTID:
        out.data[type_at] = BSON_OBJECTID
        return fixed_put(out, value.binary, 12, value, step)
    if kind == MARKER_DECIMAL128:
        out.data[type_at] = BSON_DECIMAL128
        return fixed_put(out, value.bid, 16, value, step)
    if kind == MARKER_BINARY and isinstance(value, bytes):
        out.data[type_at] = BSON_BINARY
        return bytes_put(out, value, value.subtype, step)
    if kind == MARKER_INT64:
        out.data[type_at] = BSON_INT64
        u64_put(out, <uint64_t><int64_t>value)
    elif kind == MARKER_DATE_MS:
        out.data[type_at] = BSON_DATE
        u64_put(out, <uint64_t><int64_t>int(value))
    elif kind == MARKER_TIMESTAMP:
        out.data[type_at] = BSON_TIMESTAMP
        u64_put(out, (<uint64_t><uint32_t>value.time << 32) | <uint64_t><uint32_t>value.inc)
    elif kind == MARKER_MINKEY:
        out.data[type_at] = BSON_MINKEY
    elif kind == MARKER_MAXKEY:
        out.data[type_at] = BSON_MAXKEY
    else:
        refuse_type(step, value)
    return 0
