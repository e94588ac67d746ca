# The kernel that walks the chain of one log segment without its key.

from libc.stdint cimport int64_t, uint8_t, uint64_t

from rango._ext.buffer cimport Buffer
from rango._ext.frame cimport FrameHeader
from rango._ext.seal cimport SealKey
from rango._ext.vfs cimport Vfs


cdef class ChainWalk:
    cdef Vfs vfs
    cdef int fd
    cdef SealKey key                    # of a plain database; None: tags are not looked at
    cdef bint has_key
    cdef uint8_t[16] database_id
    cdef readonly uint64_t segment_id
    cdef public uint64_t limit          # where the segment ends if a successor says so
    # what the next frame must continue
    cdef readonly uint64_t offset
    cdef readonly uint64_t ordinal
    cdef uint8_t[32] chain_value
    # the end of the last whole commit, and where the last frame that was taken starts
    cdef readonly uint64_t end_offset
    cdef readonly uint64_t end_ordinal
    cdef uint8_t[32] end_chain_value
    # the same as it was before the last frame
    cdef readonly uint64_t before_offset
    cdef readonly uint64_t before_ordinal
    cdef uint8_t[32] before_chain_value
    cdef readonly uint64_t last_offset
    cdef readonly uint64_t frames
    cdef readonly uint64_t commits
    cdef readonly uint64_t purged       # frames that a purge has changed
    cdef readonly bint is_ended         # no frame continues the walk
    # why not: WALK_*, at which offset, with which ordinal
    cdef readonly int reason
    cdef readonly uint64_t bad_offset
    cdef readonly uint64_t bad_ordinal
    cdef uint64_t part_first
    cdef dict digests
    cdef list purges                    # (offset, ordinal, digest of what is there now)
    cdef uint8_t *window
    cdef uint64_t window_offset
    cdef uint64_t window_size
    cdef Buffer body

    cdef int64_t load(self, uint64_t offset, const uint8_t **out) except -1 nogil
    cdef int probe(
        self, uint64_t offset, FrameHeader *header, const uint8_t **out) except -1 nogil
    cdef int tag_fits(
        self, uint64_t offset, const uint8_t *source, const FrameHeader *header) except -1 nogil
    cdef int refuse(self, uint64_t offset, const FrameHeader *header, int reason) noexcept nogil
    cdef int frame_take(self, uint64_t offset) except -1 nogil
    cdef int purge_take(
        self, uint64_t offset, uint64_t ordinal, const uint8_t *present, uint8_t *out32
    ) except -1 with gil
    cdef int steps(self, uint64_t size_max, uint64_t until) except -1 nogil
    cdef int header_next(
        self, uint64_t *at, FrameHeader *header, uint64_t *tried) except -1 nogil
