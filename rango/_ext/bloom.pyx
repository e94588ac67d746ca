"""Bloom filter over keys: what is surely not in the overlay costs no descent.

Terms       line: the 64 bytes of the processor's cache; all bits of a key lie in one.
Invariants  A key that was added is never denied. One thread adds at a time while any number ask;
            who learns of a key by a properly published root finds its bits set.
Sources     Bloom 1970; Putze and others, Cache-, hash- and space-efficient Bloom filters, 2007.
"""

cimport cython
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from rango._ext.overlay_node cimport ATOMIC_RELAXED, atomic_load_u64, atomic_store_u64, head_of

cdef enum:
    BLOOM_LINE_WORDS = 8                    # 512 bits
    BLOOM_BITS_PER_KEY = 10
    BLOOM_PROBES = 7                        # 9 bits of hash each


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    # a bijection whose every output bit depends on every input bit (Stafford's variant 13)
    value = (value ^ (value >> 30)) * <uint64_t>0xbf58476d1ce4e5b9U
    value = (value ^ (value >> 27)) * <uint64_t>0x94d049bb133111ebU
    return value ^ (value >> 31)


cdef inline uint64_t line_of(uint64_t hash, uint64_t line_count) noexcept nogil:
    # the upper half of the hash scaled to the number of lines, without a division
    return (hash >> 32) * line_count >> 32


cdef uint64_t key_hash(const uint8_t *key, size_t size) noexcept nogil:
    cdef uint64_t hash = <uint64_t>0x9e3779b97f4a7c15U ^ (<uint64_t>size << 32)
    while size >= 8:
        hash = mixed(hash ^ head_of(key, 8)) + <uint64_t>0x9e3779b97f4a7c15U
        key += 8
        size -= 8
    return mixed(hash ^ head_of(key, size) ^ size)


@cython.final
cdef class Bloom:
    """Says of a key "certainly not added" or "perhaps"; sized for `capacity` keys, 10 bits each."""

    def __cinit__(self, uint64_t capacity):
        if capacity > <uint64_t>1 << 40:
            raise MemoryError("a Bloom filter for more than 2**40 keys")
        self.capacity = capacity
        self.added = 0
        self.line_count = capacity * BLOOM_BITS_PER_KEY // (64 * BLOOM_LINE_WORDS) + 1
        self.lines = <uint64_t *>calloc(self.line_count, 8 * BLOOM_LINE_WORDS)
        if self.lines == NULL:
            raise MemoryError("no memory for a Bloom filter")

    def __dealloc__(self):
        free(self.lines)

    cdef void add(self, const uint8_t *key, size_t key_size) noexcept nogil:
        cdef uint64_t hash = key_hash(key, key_size)
        cdef uint64_t bits = mixed(hash)
        cdef uint64_t *line = self.lines + BLOOM_LINE_WORDS * line_of(hash, self.line_count)
        cdef uint64_t *word
        cdef int _i
        for _i in range(BLOOM_PROBES):
            word = line + ((bits >> 6) & 7)
            # whole words, because others may be asking
            atomic_store_u64(word, word[0] | <uint64_t>1 << (bits & 63), ATOMIC_RELAXED)
            bits >>= 9
        self.added = self.added + 1

    cdef int may_contain(self, const uint8_t *key, size_t key_size) noexcept nogil:
        cdef uint64_t hash = key_hash(key, key_size)
        cdef uint64_t bits = mixed(hash)
        cdef uint64_t *line = self.lines + BLOOM_LINE_WORDS * line_of(hash, self.line_count)
        cdef int _i
        for _i in range(BLOOM_PROBES):
            if not atomic_load_u64(line + ((bits >> 6) & 7), ATOMIC_RELAXED) >> (bits & 63) & 1:
                return 0
            bits >>= 9
        return 1

    cdef void clear(self) noexcept nogil:
        memset(self.lines, 0, self.line_count * 8 * BLOOM_LINE_WORDS)
        self.added = 0

    def add_key(self, bytes key not None):
        self.add(<const uint8_t *><char *>key, <size_t>len(key))

    def may_contain_key(self, bytes key not None):
        return self.may_contain(<const uint8_t *><char *>key, <size_t>len(key)) != 0

    def clear_all(self):
        self.clear()
