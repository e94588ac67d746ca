# `$set` of fields at the top of a document, on its bytes.

from libc.stdint cimport uint8_t
from libc.string cimport memcmp
from rango._ext.buffer cimport Buffer

cdef enum:
    SET_FIELDS_MAX = 16             # an update of more goes another way
    SET_SAME = 0                    # every field has its value already
    SET_CHANGED = 1
    SET_ELSEWHERE = -1              # a document, or fields, that are not for these bytes
    SET_NO_MEMORY = -2


ctypedef struct SetField:
    const uint8_t *start            # its element: type, name, NUL, value
    size_t size
    size_t name_size
    bint is_met                     # the document has it


ctypedef struct SetFields:
    SetField items[SET_FIELDS_MAX]  # in the order in which new ones are added
    int count
    size_t size                     # of all elements


cdef inline bint set_names(
    const SetFields *fields, const uint8_t *name, size_t size
) noexcept nogil:
    # whether one of the fields has this name
    cdef int at
    for at in range(fields.count):
        if fields.items[at].name_size == size and memcmp(
            fields.items[at].start + 1, name, size
        ) == 0:
            return True
    return False


# the fields of an encoded document, which has to outlive `out`: 0 or SET_ELSEWHERE
cdef int set_fields(const uint8_t *bson, size_t size, SetFields *out) noexcept nogil
# the document with these fields goes to the end of `out` if it is another one: SET_*
cdef int document_set(
    const uint8_t *bson, size_t size, SetFields *fields, Buffer *out
) noexcept nogil
