# A packed segment shown as the bytes that it was packed from.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from rango._ext.buffer cimport Buffer
from rango._ext.seal cimport SealKey
from rango._ext.vfs cimport Vfs

cdef enum:
    PIECE_AAD_SIZE = 37     # file kind 1, database id 16, segment id 8, piece header 0..11


ctypedef struct PackedFrame:            # what the entry of one frame says
    uint32_t body_size
    uint8_t kind
    uint8_t flags
    uint64_t later                      # ordinal - first ordinal
    uint64_t behind                     # first ordinal - 1 - durable
    const uint8_t *digest               # of what a purged frame was, in the content; else NULL


# 37 bytes: what the tag of a piece binds besides its content; `header` is the piece's own
cdef void piece_aad_write(
    uint8_t *into, const uint8_t *database_id, uint64_t segment_id, const uint8_t *header
) noexcept nogil


cdef class UnpackedVfs(Vfs):
    cdef Vfs below
    cdef int fd
    cdef SealKey frame_key
    cdef SealKey piece_key
    cdef uint8_t[16] database_id
    cdef readonly uint64_t segment_id
    cdef readonly uint64_t limit        # where the frames end
    cdef readonly uint64_t tail_size    # bytes behind that
    cdef bint is_tolerant
    cdef readonly list damaged          # (offset in the file, what) of pieces that read as zeros
    cdef uint64_t block_count
    cdef uint64_t *offsets              # of each piece, the tail's last
    cdef uint32_t *sizes                # 0: there is none
    cdef uint64_t *ordinals             # of the first frame in each block
    # the block in hand
    cdef uint8_t *block_bytes
    cdef uint64_t number
    cdef uint64_t filled                # bytes of it that are there
    cdef bint has_block
    cdef Buffer stored
    cdef Buffer content
    cdef Buffer tail
    cdef PackedFrame *frames
    cdef uint32_t count
    cdef uint32_t next                  # the next frame that is made
    cdef uint64_t at                    # where it starts
    cdef uint64_t ordinal
    cdef uint8_t[32] chain_value
    cdef const uint8_t *nonces
    cdef const uint8_t *bodies
    cdef const uint8_t *bodies_first

    cdef uint64_t block_size(self, uint64_t number) noexcept nogil
    cdef int piece_open(
        self, uint64_t index, uint32_t name, size_t size_max, Buffer *into) except -1 nogil
    cdef int entries_read(self, uint64_t number) noexcept nogil
    cdef int refuse(self, uint64_t index, int why) except -1 nogil
    cdef int block_take(self, uint64_t number) except -1 nogil
    cdef int frame_make(self) except -1 nogil
    cdef int reach(self, uint64_t number, uint64_t end) except -1 nogil
    cdef uint64_t place_of(self, uint32_t frame) noexcept nogil
    cdef int tail_take(self) except -1 nogil
    cdef int64_t give(self, uint8_t *into, size_t size, uint64_t offset) except -1 nogil
