# The kernel that packs one segment, block by block.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from rango._ext.buffer cimport Buffer
from rango._ext.frame cimport FrameHeader
from rango._ext.seal cimport SealKey
from rango._ext.vfs cimport Vfs


cdef class SegmentPacker:
    cdef Vfs vfs
    cdef int fd
    cdef SealKey frame_key
    cdef SealKey piece_key
    cdef uint8_t[16] database_id
    cdef uint64_t segment_id
    cdef uint64_t limit
    cdef dict digests                   # of purged frames, by their offsets
    cdef list asked                     # ordinals whose chain values are wanted, greatest first
    cdef uint64_t asked_next
    # the walk
    cdef readonly uint64_t ordinal
    cdef readonly uint64_t offset       # behind the last frame
    cdef uint8_t[32] chain_value
    cdef uint64_t part_first
    cdef readonly uint64_t frames
    cdef readonly uint64_t commits
    cdef readonly list seen             # (ordinal, chain value) of what was asked for
    cdef readonly list purged           # (ordinal, offset, digest as it is now)
    cdef uint8_t *block_bytes
    cdef Buffer nonces
    cdef Buffer entries
    cdef Buffer bodies
    cdef Buffer content
    cdef Buffer packed
    cdef Buffer piece

    cdef int block_read(self, uint64_t number, uint64_t size) except -1 nogil
    cdef int frame_take(
        self, uint64_t offset, const uint8_t *source, const FrameHeader *header) except -1 nogil
    cdef int entry_put(
        self, const FrameHeader *header, const uint8_t *digest) except -1 nogil
    cdef int note_purged(self, uint64_t offset, uint8_t *digest) except -1 with gil
    cdef int note_seen(self) except -1 with gil
    cdef int content_put(self, uint64_t number, uint64_t size) except -1 nogil
    cdef int piece_seal(self, uint32_t name) except -1 nogil
