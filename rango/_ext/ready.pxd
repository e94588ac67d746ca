# Documents that stand in a source as they are stored, without a Python object in between: what the
# readers of JSON Lines and of BSON dumps share.
#
# A document is ready if the slow way (read, then encode) would store exactly these bytes. Whatever
# is unusual is not ready, and the slow way reads it: it alone refuses, and says why.

from libc.stdint cimport uint8_t
from rango._ext.buffer cimport Buffer

cdef enum:
    NAMES_OPEN_MAX = 256        # fields of one document: looking for a repeated name is quadratic


# A name of an open document: where it is, and what tells most names apart without looking there.
ctypedef struct NameMark:
    size_t at
    size_t size
    uint8_t first
    uint8_t last


# True if a name can be at the top of a document, or below it (is_top false): not one of those that
# Rango keeps itself, and not $..., which may be a wrapper or a reference.
cdef bint name_is_ready(const uint8_t *name, size_t size, bint is_top) noexcept nogil

# Note a name of `count` bytes marks that begin at `first`; 0, -1 if the document has it already,
# or too many, -2 when memory ran out.
cdef int name_add(
    Buffer *marks, size_t first, const uint8_t *base, size_t at, size_t size
) noexcept nogil

# The element at id_at (its type byte) comes first in the document that begins at `start`.
cdef int id_first(Buffer *out, size_t start, size_t id_at, size_t id_size) noexcept nogil
