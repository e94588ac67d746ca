# Order-preserving keys. Comparing two keys is one memcmp, and the order is that of MongoDB across
# types.

cimport cython
from libc.stdint cimport uint8_t
from rango._ext.buffer cimport Buffer

cdef enum:
    # first byte of a key: the class of the value. Values of different classes never compare equal
    CLASS_END = 0x00            # end of a document or an array inside a key
    CLASS_MINKEY = 0x05
    CLASS_UNDEFINED = 0x08      # also the key of an empty array in an index
    CLASS_NULL = 0x0a           # also a missing field
    CLASS_NUMBER = 0x14
    CLASS_STRING = 0x1e         # and symbol
    CLASS_DOCUMENT = 0x28
    CLASS_ARRAY = 0x32
    CLASS_BINARY = 0x3c
    CLASS_OBJECTID = 0x46
    CLASS_BOOL = 0x50
    CLASS_DATE = 0x5a
    CLASS_TIMESTAMP = 0x64
    CLASS_REGEX = 0x6e
    CLASS_DBPOINTER = 0x78
    CLASS_CODE = 0x82
    CLASS_CODE_SCOPE = 0x8c
    CLASS_MAXKEY = 0xf0

    KEY_PREFIX_SIZE = 1008      # of a key that is too long; the hash follows
    KEY_HASH_SIZE = 16

# append the key of one BSON value; 0. Numbers of every type that are equal give equal bytes.
# Self-delimiting, so keys can be concatenated.
cdef int key_append(Buffer *out, uint8_t type, const uint8_t *value, size_t size) except -1 nogil
cdef int key_append_missing(Buffer *out) except -1 nogil        # a missing field: the key of null
# append the key of one Python value, not shortened (with the GIL)
cdef int key_append_value(Buffer *out, object value) except -1
# the array position that a part of a path means, or -1
cdef int part_position(const uint8_t *part, size_t size) noexcept nogil
# the parts of a path as u16 size and bytes each; their number goes to `count`. InvalidName,
# LimitExceeded
cdef bytes path_parts(str path, int *count)
# shorten what was appended since `start` to KEY_SIZE_BYTES_MAX: prefix and hash; 1 if it was
# shortened
cdef int key_cap(Buffer *out, size_t start) except -1 nogil


@cython.final
cdef class IndexPath:
    # a dotted path, split once
    cdef readonly str path
    cdef bytes parts                # u16 size and bytes of each part
    cdef int part_count
    # every distinct key of this path in the document, sorted, each as u16 size + bytes; returns
    # their number (at least 1: null); multikey[0] = 1 if an array was met
    cdef int keys(
        self, const uint8_t *bson, size_t size, Buffer *out, int *multikey
    ) except -1 nogil
