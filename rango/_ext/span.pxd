# Checked byte range: the only way to read bytes that nobody has authenticated or validated yet.
# `span_take` is the only way forward; NULL means "not that many bytes left". Loads are
# little-endian, byte by byte.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy


ctypedef struct Span:
    const uint8_t *base
    size_t size
    size_t at


cdef inline Span span_of(const uint8_t *base, size_t size) noexcept nogil:
    cdef Span span
    span.base = base
    span.size = size
    span.at = 0
    return span


cdef inline const uint8_t *span_take(Span *span, size_t need) noexcept nogil:
    cdef const uint8_t *start
    if need > span.size - span.at:
        return NULL
    start = span.base + span.at
    span.at += need
    return start


cdef inline size_t span_left(const Span *span) noexcept nogil:
    return span.size - span.at


cdef inline bint is_zeros(const uint8_t *p, size_t size) noexcept nogil:
    # compared with itself, one byte further: memcmp reads a vector at a time
    return size == 0 or (p[0] == 0 and memcmp(p, p + 1, size - 1) == 0)


cdef inline uint16_t load_u16(const uint8_t *p) noexcept nogil:
    return <uint16_t>(p[0] | (p[1] << 8))


cdef inline uint32_t load_u32(const uint8_t *p) noexcept nogil:
    return <uint32_t>p[0] | (<uint32_t>p[1] << 8) | (<uint32_t>p[2] << 16) | (<uint32_t>p[3] << 24)


cdef inline uint64_t load_u48(const uint8_t *p) noexcept nogil:
    return <uint64_t>load_u32(p) | (<uint64_t>load_u16(p + 4) << 32)


cdef inline uint64_t load_u64(const uint8_t *p) noexcept nogil:
    return <uint64_t>load_u32(p) | (<uint64_t>load_u32(p + 4) << 32)


cdef inline void store_u16(uint8_t *p, uint16_t value) noexcept nogil:
    p[0] = <uint8_t>(value & 0xff)
    p[1] = <uint8_t>(value >> 8)


cdef inline void store_u32(uint8_t *p, uint32_t value) noexcept nogil:
    p[0] = <uint8_t>(value & 0xff)
    p[1] = <uint8_t>((value >> 8) & 0xff)
    p[2] = <uint8_t>((value >> 16) & 0xff)
    p[3] = <uint8_t>(value >> 24)


cdef inline void store_u48(uint8_t *p, uint64_t value) noexcept nogil:
    store_u32(p, <uint32_t>(value & 0xffffffffU))
    store_u16(p + 4, <uint16_t>((value >> 32) & 0xffffU))


cdef inline void store_u64(uint8_t *p, uint64_t value) noexcept nogil:
    store_u32(p, <uint32_t>(value & 0xffffffffU))
    store_u32(p + 4, <uint32_t>(value >> 32))


cdef inline double load_double(const uint8_t *p) noexcept nogil:
    cdef uint64_t bits = load_u64(p)
    cdef double value
    memcpy(&value, &bits, 8)
    return value


cdef inline void store_double(uint8_t *p, double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    store_u64(p, bits)
