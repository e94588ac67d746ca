# The pieces that keys are made of. Each appends to the buffer: 0, or -1 when memory ran out.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy
from rango._ext.buffer cimport Buffer, buffer_grow


cdef inline int text_append(Buffer *out, const uint8_t *text, size_t size) noexcept nogil:
    # NUL becomes 00 FF, the end is 00 00: a prefix sorts first, and no text begins another one
    cdef const uint8_t *at = text
    cdef const uint8_t *end = text + size
    cdef const void *zero
    cdef size_t run
    cdef uint8_t *into
    while True:
        zero = memchr(at, 0, <size_t>(end - at)) if at < end else NULL
        run = <size_t>((<const uint8_t *>zero if zero != NULL else end) - at)
        into = buffer_grow(out, run + 2)
        if into == NULL:
            return -1
        if run:
            memcpy(into, at, run)
        into[run] = 0
        if zero == NULL:
            into[run + 1] = 0
            return 0
        into[run + 1] = 0xff
        at += run + 1


cdef inline int u64_append(Buffer *out, uint64_t value) noexcept nogil:
    cdef uint8_t *into = buffer_grow(out, 8)
    cdef inline int place
    if into == NULL:
        return -1
    for place in range(8):
        into[place] = <uint8_t>(value >> (56 - 8 * place))
    return 0


cdef inline int sized_append(
    Buffer *out, uint32_t size, const uint8_t *rest, size_t rest_size
) noexcept nogil:
    # size u32 big-endian, then bytes as they are
    cdef uint8_t *into = buffer_grow(out, 4 + rest_size)
    cdef inline int place
    if into == NULL:
        return -1
    for place in range(4):
        into[place] = <uint8_t>(size >> (24 - 8 * place))
    memcpy(into + 4, rest, rest_size)
    return 0
