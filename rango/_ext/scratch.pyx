"""Buffers that the batches of one store use one after the other, so that a commit allocates little.

Terms       batch: one commit in the making (batch.pyx).
Invariants  `fresh`, `stale` and `document` hold nothing from one call to the next; the append lock
            sees to it that two batches are not at work at once. The others belong to the batch that
            they were lent to until it goes, which may be after the next one has begun: that one
            starts with empty buffers. What is larger than KEEP_MAX is not kept.
Failure     none: a buffer that is not there is empty, and grows.
"""

cimport cython
from rango._ext.buffer cimport Buffer, buffer_free, buffer_init

cdef enum:
    KEEP_MAX = 262144


@cython.final
@cython.no_gc
cdef class Scratch:
    """See above. One per Store."""

    def __dealloc__(self):
        cdef int at
        for at in range(INDEXES_MAX):
            buffer_free(&self.fresh[at])
            buffer_free(&self.stale[at])
        buffer_free(&self.document)
        buffer_free(&self.body)
        buffer_free(&self.key)
        buffer_free(&self.entry)


cdef void buffer_lend(Buffer *place, Buffer *into) noexcept nogil:
    into[0] = place[0]
    into.size = 0
    buffer_init(place)


cdef void buffer_return(Buffer *place, Buffer *lent) noexcept nogil:
    if place.data == NULL and lent.capacity <= <size_t>KEEP_MAX:
        place[0] = lent[0]
        buffer_init(lent)
    else:
        buffer_free(lent)


cdef void scratch_shrink(Buffer *buffer) noexcept nogil:
    if buffer.capacity > <size_t>KEEP_MAX:
        buffer_free(buffer)
