# Growing byte buffer for kernels: no Python objects, so that it can be filled without the GIL.
# The owner calls buffer_free exactly once; a NULL from buffer_grow means out of memory.

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy


ctypedef struct Buffer:
    uint8_t *data
    size_t size
    size_t capacity


cdef inline void buffer_init(Buffer *buffer) noexcept nogil:
    buffer.data = NULL
    buffer.size = 0
    buffer.capacity = 0


cdef inline void buffer_free(Buffer *buffer) noexcept nogil:
    free(buffer.data)
    buffer_init(buffer)


cdef inline int buffer_reserve(Buffer *buffer, size_t more) noexcept nogil:
    # 0, or -1 when memory ran out (nothing changed)
    cdef size_t capacity
    cdef uint8_t *grown
    if more <= buffer.capacity - buffer.size:
        return 0
    capacity = buffer.capacity * 2 if buffer.capacity else 256
    if capacity < buffer.size + more:
        capacity = buffer.size + more
    grown = <uint8_t *>realloc(buffer.data, capacity)
    if grown == NULL:
        return -1
    buffer.data = grown
    buffer.capacity = capacity
    return 0


cdef inline uint8_t *buffer_grow(Buffer *buffer, size_t more) noexcept nogil:
    # room for `more` bytes at the end, counted as used; NULL when memory ran out
    cdef uint8_t *start
    if buffer_reserve(buffer, more) < 0:
        return NULL
    start = buffer.data + buffer.size
    buffer.size += more
    return start


cdef inline int buffer_put(Buffer *buffer, const void *source, size_t size) noexcept nogil:
    cdef uint8_t *start
    if size == 0:
        return 0
    start = buffer_grow(buffer, size)
    if start == NULL:
        return -1
    memcpy(start, source, size)
    return 0


cdef inline int buffer_put_byte(Buffer *buffer, uint8_t value) noexcept nogil:
    cdef uint8_t *start = buffer_grow(buffer, 1)
    if start == NULL:
        return -1
    start[0] = value
    return 0
