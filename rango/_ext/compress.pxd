# LZ4 blocks without the GIL, through the functions inside the lz4 package's own extension (dlsym);
# where they are hidden, through lz4.block with the GIL. Each reads the other's blocks.

from libc.stdint cimport uint8_t

cdef int lz4_bound(int size) noexcept nogil
# compressed size, or 0 when it does not fit into capacity
cdef int lz4_compress(
    const uint8_t *source, int size, uint8_t *into, int capacity,
) noexcept nogil
# the same with a longer search for matches (LZ4 HC): smaller, ten times slower, read as fast
cdef int lz4_compress_small(
    const uint8_t *source, int size, uint8_t *into, int capacity,
) noexcept nogil
# decompressed size, or -1 when the block is malformed or does not give at most `capacity` bytes
cdef int lz4_decompress(
    const uint8_t *source, int size, uint8_t *into, int capacity,
) noexcept nogil
