# What the batches of one store write into, one after the other.

from rango._ext.buffer cimport Buffer

cdef enum:
    INDEXES_MAX = 64                # limits.INDEXES_PER_COLLECTION_MAX


cdef class Scratch:
    cdef Buffer fresh[INDEXES_MAX]  # index keys of the new version of a document
    cdef Buffer stale[INDEXES_MAX]  # and of the old one
    cdef Buffer document            # a new version
    # lent to a batch, and back when it goes
    cdef Buffer body
    cdef Buffer key
    cdef Buffer entry


# to whoever asks first, empty; others get one without room
cdef void buffer_lend(Buffer *place, Buffer *into) noexcept nogil
# move a buffer that was lent back to its place, unless it is large or another one came first
cdef void buffer_return(Buffer *place, Buffer *lent) noexcept nogil
# give up what one large document left behind
cdef void scratch_shrink(Buffer *buffer) noexcept nogil
