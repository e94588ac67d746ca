# SipHash-1-3 with zero keys over `node id, 0xff`: the short tag of a node in a revision
# (`<ms>-<counter>-<4 hex>`). Vectors: tests/unit/test_filter.py. Source: Aumasson and Bernstein,
# "SipHash" (2012), with 1 and 3 rounds.

from libc.stdint cimport uint8_t, uint16_t, uint64_t
from rango._ext.span cimport load_u64


cdef inline uint64_t rotate_left(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline void sip_round(uint64_t *v) noexcept nogil:
    v[0] += v[1]
    v[1] = rotate_left(v[1], 13) ^ v[0]
    v[0] = rotate_left(v[0], 32)
    v[2] += v[3]
    v[3] = rotate_left(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = rotate_left(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = rotate_left(v[1], 17) ^ v[2]
    v[2] = rotate_left(v[2], 32)


cdef inline uint64_t node_hash(const uint8_t *node, size_t size) noexcept nogil:
    # of the node id followed by 0xff, without copying it
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef size_t at = 0
    cdef size_t i
    v[0] = 0x736f6d6570736575ULL
    v[1] = 0x646f72616e646f6dULL
    v[2] = 0x6c7967656e657261ULL
    v[3] = 0x7465646279746573ULL
    while size - at >= 8:
        word = load_u64(node + at)
        v[3] ^= word
        sip_round(v)
        v[0] ^= word
        at += 8
    word = 0
    for i in range(size - at):
        word |= <uint64_t>node[at + i] << (8 * i)
    word |= <uint64_t>0xff << (8 * (size - at))
    if size - at == 7:
        v[3] ^= word
        sip_round(v)
        v[0] ^= word
        word = 0
    word |= (<uint64_t>(size + 1) & 0xff) << 56
    v[3] ^= word
    sip_round(v)
    v[0] ^= word
    v[2] ^= 0xff
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef inline uint16_t node_tag(const uint8_t *node, size_t size) noexcept nogil:
    # the first 4 of the 16 hex digits, as a number
    return <uint16_t>(node_hash(node, size) >> 48)
