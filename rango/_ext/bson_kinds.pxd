# Which kind of value a Python object is, and the encoders of the kinds that hold no other values.

from libc.stdint cimport int64_t, uint8_t
from rango._ext.bson_step cimport Step
from rango._ext.buffer cimport Buffer

cdef enum:
    KIND_UNKNOWN = 0
    # PyMongo's _type_marker of each of its classes
    MARKER_BINARY = 5
    MARKER_OBJECTID = 7
    MARKER_DATE_MS = 9
    MARKER_REGEX = 11
    MARKER_CODE = 13
    MARKER_TIMESTAMP = 17
    MARKER_INT64 = 18
    MARKER_DECIMAL128 = 19
    MARKER_REFERENCE = 100
    MARKER_RAW = 101
    MARKER_MAXKEY = 127
    MARKER_MINKEY = 255
    # and ours for the rest
    KIND_INT = 1000
    KIND_FLOAT = 1001
    KIND_TEXT = 1002
    KIND_BYTES = 1003
    KIND_DATE = 1004
    KIND_MAPPING = 1005
    KIND_LIST = 1006
    KIND_UUID = 1007

cdef int kind_of(object value) except -1
cdef int64_t date_ms(object value) except? -1
cdef int bytes_put(Buffer *out, object value, uint8_t subtype, Step *step) except -1
cdef int uuid_put(Buffer *out, object value, Step *step) except -1
cdef int regex_put(Buffer *out, object value, Step *step) except -1
# a class of PyMongo's bson that holds no other values
cdef int marked_put(Buffer *out, size_t type_at, object value, int kind, Step *step) except -1
