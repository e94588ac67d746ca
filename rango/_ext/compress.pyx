"""LZ4 blocks (no frame, no stored size) without the GIL.

Terms       block: LZ4's block format. bound: the greatest size that a block of `size` bytes has.
Layout      LZ4 block format 1.9 (lz4_Block_format.md). What is stored around a block: layout.pxd
            IMAGE_COMPRESSED.
Failure     a block that does not fit gives 0, a malformed or too large one gives -1: never an
            over-read or over-write (LZ4_decompress_safe), whatever the bytes are.
Sources     the lz4 package carries the C library inside its extension; where it hides the symbols,
            its Python functions are called with the GIL (and may find other matches: the blocks
            are as valid, not always the same).
"""

import os

import lz4.block

from libc.limits cimport INT_MAX
from libc.stdint cimport uint8_t
from libc.string cimport memcpy
from posix.dlfcn cimport RTLD_NOW, dlopen, dlsym

cdef enum:
    LZ4_INPUT_MAX = 0x7e000000
    SMALL_LEVEL = 9         # of LZ4 HC; 12 takes twice as long and gives 1 % (m)

ctypedef int (*lz4_t)(const uint8_t *source, uint8_t *into, int size, int capacity) noexcept nogil
ctypedef int (*lz4_level_t)(
    const uint8_t *source, uint8_t *into, int size, int capacity, int level) noexcept nogil

cdef lz4_t block_compress = NULL
cdef lz4_level_t block_compress_small = NULL
cdef lz4_t block_decompress = NULL
cdef bint is_direct = False


cdef int load_functions() except -1:
    global block_compress, block_compress_small, block_decompress, is_direct
    cdef bytes path = os.fsencode(lz4.block._block.__file__)
    cdef void *library = dlopen(path, RTLD_NOW)
    if library != NULL:
        block_compress = <lz4_t>dlsym(library, b"LZ4_compress_default")
        block_compress_small = <lz4_level_t>dlsym(library, b"LZ4_compress_HC")
        block_decompress = <lz4_t>dlsym(library, b"LZ4_decompress_safe")
    is_direct = block_compress != NULL and block_decompress != NULL
    return 0


load_functions()


cdef int slow_compress(
    const uint8_t *source, int size, uint8_t *into, int capacity, bint small,
) noexcept with gil:
    cdef bytes packed
    try:
        if small:
            packed = lz4.block.compress(
                <bytes>source[:size], store_size=False, mode="high_compression",
                compression=SMALL_LEVEL)
        else:
            packed = lz4.block.compress(<bytes>source[:size], store_size=False)
    except (MemoryError, OverflowError):
        return 0
    if len(packed) > capacity:
        return 0
    memcpy(into, <const uint8_t *>packed, <size_t>len(packed))
    return <int>len(packed)


cdef int slow_decompress(
    const uint8_t *source, int size, uint8_t *into, int capacity,
) noexcept with gil:
    cdef bytes opened
    try:
        opened = lz4.block.decompress(<bytes>source[:size], uncompressed_size=capacity)
    except (lz4.block.LZ4BlockError, MemoryError):
        return -1
    memcpy(into, <const uint8_t *>opened, <size_t>len(opened))
    return <int>len(opened)


cdef int lz4_bound(int size) noexcept nogil:
    if size < 0 or size > LZ4_INPUT_MAX:
        return 0
    return size + size // 255 + 16


cdef int lz4_compress(
    const uint8_t *source, int size, uint8_t *into, int capacity,
) noexcept nogil:
    if is_direct:
        return block_compress(source, into, size, capacity)
    return slow_compress(source, size, into, capacity, False)


cdef int lz4_compress_small(
    const uint8_t *source, int size, uint8_t *into, int capacity,
) noexcept nogil:
    if is_direct and block_compress_small != NULL:
        return block_compress_small(source, into, size, capacity, SMALL_LEVEL)
    return slow_compress(source, size, into, capacity, True)


cdef int lz4_decompress(
    const uint8_t *source, int size, uint8_t *into, int capacity,
) noexcept nogil:
    cdef int opened
    if is_direct:
        opened = block_decompress(source, into, size, capacity)
        return opened if opened >= 0 else -1
    return slow_decompress(source, size, into, capacity)


def compress_bytes(bytes data not None, int capacity=-1, *, bint small=False) -> bytes | None:
    """The LZ4 block of `data`, or None when it is larger than `capacity` (-1: no bound)."""
    cdef int room = capacity
    cdef int size
    cdef bytearray into
    if len(data) > LZ4_INPUT_MAX:
        return None
    if room < 0:
        room = lz4_bound(<int>len(data))
    into = bytearray(room)
    if small:
        size = lz4_compress_small(data, <int>len(data), into, room)
    else:
        size = lz4_compress(data, <int>len(data), into, room)
    return bytes(into[:size]) if size else None


def decompress_bytes(bytes block not None, int capacity) -> bytes | None:
    """The bytes of an LZ4 block, or None when it is malformed or gives more than `capacity`."""
    cdef bytearray into
    cdef int size
    if len(block) > INT_MAX or capacity < 0:
        return None
    into = bytearray(capacity)
    size = lz4_decompress(block, <int>len(block), into, capacity)
    return bytes(into[:size]) if size >= 0 else None


def direct_set(bint direct) -> bool:
    """For tests: use the functions found by dlsym, or those of the package. Returns which."""
    global is_direct
    is_direct = direct and block_compress != NULL and block_decompress != NULL
    return is_direct
