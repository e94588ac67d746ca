# Oplog framing: pack a header, read one, what a frame is bound to, and the chain.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    FRAME_AAD_SIZE = 81     # file kind 1, database id 16, segment id 8, offset 8, header 8..55


ctypedef struct FrameHeader:
    uint32_t body_size
    uint8_t kind
    uint8_t flags               # 0, or FRAME_PURGED
    uint64_t ordinal
    uint64_t first_ordinal
    uint64_t durable
    uint8_t[16] previous
    uint8_t[12] nonce


ctypedef struct CommitPlan:
    uint64_t start              # where the first frame begins (behind a gap, maybe)
    uint64_t end                # behind the last frame's tag
    uint64_t frames


# where the frames of a commit with a body of this size go, if they are appended at `position`
cdef void commit_plan(uint64_t position, size_t size, CommitPlan *plan) noexcept nogil
# 68 bytes, check included
cdef void frame_header_write(uint8_t *into, const FrameHeader *header) noexcept nogil
# the same in two steps, if the nonce comes between them: all but nonce and check; then the check
cdef void frame_header_start(uint8_t *into, const FrameHeader *header) noexcept nogil
cdef void frame_check_write(uint8_t *into) noexcept nogil
# 1 valid, 0 not a header (magic, kind, size cap, ordinals, check); `size` is what may be read.
# Whether the whole frame fits into what is left of its block is the caller's question.
cdef int frame_header_read(const uint8_t *source, size_t size, FrameHeader *out) noexcept nogil
# 81 bytes: what the tag binds besides the body; `header` is the packed one, its nonce is not read
cdef void frame_aad_write(
    uint8_t *into, const uint8_t *database_id, uint64_t segment_id, uint64_t offset,
    const uint8_t *header) noexcept nogil
# H(n) from H(n-1) and the whole frame (header, ciphertext, tag); `out32` may be `chain`
cdef void chain_next(
    const uint8_t *chain, const uint8_t *frame, size_t size, uint8_t *out32) noexcept nogil

# the same from the frame's digest, which a purge keeps
cdef void chain_next_digest(
    const uint8_t *chain, const uint8_t *digest, uint8_t *out32) noexcept nogil


cdef inline uint64_t frame_align(uint64_t offset) noexcept nogil:
    # FRAME_ALIGN is 8
    return (offset + 7) & ~(<uint64_t>7)


cdef inline uint64_t block_end(uint64_t offset) noexcept nogil:
    # the first multiple of BLOCK_SIZE (65536) after offset
    return (offset | 65535) + 1
