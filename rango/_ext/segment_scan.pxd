# The kernel that walks one log segment.

from libc.stdint cimport int64_t, uint8_t, uint64_t

from rango._ext.buffer cimport Buffer
from rango._ext.frame cimport FrameHeader
from rango._ext.seal cimport SealKey
from rango._ext.vfs cimport Vfs


ctypedef struct Entry:                  # a whole commit; its body is in the arena
    uint64_t ordinal
    uint64_t first_ordinal
    uint64_t offset
    size_t start
    size_t size


cdef class Scanner:
    cdef Vfs vfs
    cdef int fd
    cdef SealKey key
    cdef uint8_t[16] database_id
    cdef readonly uint64_t segment_id
    cdef uint64_t limit                 # where the segment ends if a successor says so
    cdef uint64_t stop                  # the walk ends behind the commit with this ordinal
    # the walk: what the next frame must continue
    cdef readonly uint64_t offset
    cdef readonly uint64_t ordinal
    cdef uint8_t[32] chain_value
    # the end of the last whole commit
    cdef readonly uint64_t end_offset
    cdef readonly uint64_t end_ordinal
    cdef uint8_t[32] end_chain_value
    cdef readonly uint64_t durable      # the greatest claim of a frame that was walked
    cdef readonly bint is_closed        # the last frame is a closed frame
    cdef readonly bint is_ended         # no frame continues the walk
    cdef uint64_t part_first            # first part of an unfinished commit
    cdef uint64_t part_offset
    cdef size_t part_start
    # a window of whole blocks of the file
    cdef uint8_t *window
    cdef uint64_t window_offset
    cdef uint64_t window_size
    cdef size_t window_max
    cdef bint is_near                   # only what go_on() names is read
    cdef Buffer arena                   # opened bodies, back to back
    cdef Buffer entries                 # struct Entry
    cdef dict digests                   # of purged frames, by their offsets; None: not read yet

    cdef void go_on(
        self, uint64_t offset, uint64_t ordinal, const uint8_t *chain, uint64_t stop,
        uint64_t limit) noexcept nogil
    cdef int64_t load(self, uint64_t offset, const uint8_t **out) except -1 nogil
    cdef int probe(
        self, uint64_t offset, FrameHeader *header, const uint8_t **out) except -1 nogil
    cdef int frame_open(
        self, uint64_t offset, const uint8_t *source, const FrameHeader *header) except -1 nogil
    cdef int frame_take(self, uint64_t offset) except -1 nogil
    cdef int digest_find(self, uint64_t offset, uint8_t *out32) except -1 with gil
    cdef int walk(self, size_t size_max) except -1 nogil
    cdef int place_judge(self, uint64_t offset) except -1 nogil
    cdef int tail_judge(self, uint64_t *bad, uint64_t *nonzero_end) except -1 nogil
    cdef int genuine_find(self, FrameHeader *header) except -1 nogil
    cdef int ordinal_find(self, uint64_t ordinal) except -1 nogil
    cdef object frame_tuple(self, uint64_t offset, const FrameHeader *header)
    cdef int block_find(self, uint64_t block, uint64_t ordinal) except -1 nogil
