"""Oplog framing: one frame is a header in clear, the sealed body, and a tag.

Terms       frame, ordinal, segment, chain value: see glossary.
            Place: database id, segment id, offset.
Invariants  I-11 (each frame stores half of the chain value before it and what was durable).
Layout      layout.pxd FRAME_*; drawn in docs/reference/format.md. The tag binds 81 bytes:
            file kind u8 | database id 16 | segment id u64 | offset u64 | header bytes 8..55,
            that is the header without magic and check (which follow from the rest) and without the
            nonce (which the cipher binds itself).
            Chain: H(n) = BLAKE2b-256(H(n-1) | BLAKE2b-256(header | ciphertext | tag)), from zeros.
            A frame can be judged alone by its stored 16 bytes of H(n-1); walking verifies all 32.
            A purged frame counts with the digest that it had (storage/purge.py).
Failure     anything that is not a header reads as 0, never as an exception: a log ends somewhere.
            The check is a CRC: probing a damaged tail opens almost nothing; it proves nothing.
Sources     architecture sections 4 and 7; RFC 7693 (BLAKE2b).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from rango._ext.layout cimport (
    BLOCK_SIZE, CHAIN_SIZE, DATABASE_ID_SIZE, FILE_KIND_FRAME, FRAME_BODY_SIZE, FRAME_CHECK,
    FRAME_CLOSED, FRAME_DURABLE, FRAME_FIRST_ORDINAL, FRAME_FLAGS, FRAME_HEADER_SIZE, FRAME_KIND,
    FRAME_MAGIC, FRAME_MAGIC_VALUE, FRAME_NONCE, FRAME_ORDINAL, FRAME_OVERHEAD, FRAME_PART,
    FRAME_PREVIOUS, FRAME_PURGED, FRAME_RESERVED,
)
from rango._ext.seal cimport blake2b_256, crc32
from rango._ext.span cimport load_u16, load_u32, load_u64, store_u16, store_u32, store_u64

cdef enum:
    WHOLE_SIZE_MAX = 32768      # a body up to this is never cut: it moves to the next block instead
    PART_SIZE_MIN = 1024        # what is left of a block is not worth a part below this


cdef void commit_plan(uint64_t position, size_t size, CommitPlan *plan) noexcept nogil:
    # no frame crosses a block
    cdef uint64_t at = position
    cdef size_t left = size
    cdef size_t room = <size_t>(block_end(at) - at)
    plan.frames = 1
    if size + FRAME_OVERHEAD > room and (
            size <= <size_t>WHOLE_SIZE_MAX
            or room < <size_t>(FRAME_OVERHEAD + PART_SIZE_MIN)):
        at += room
        room = BLOCK_SIZE
    plan.start = at
    while left + FRAME_OVERHEAD > room:
        left -= room - FRAME_OVERHEAD
        at += room
        room = BLOCK_SIZE
        plan.frames += 1
    plan.end = at + FRAME_OVERHEAD + left


cdef void frame_header_write(uint8_t *into, const FrameHeader *header) noexcept nogil:
    frame_header_start(into, header)
    memcpy(into + FRAME_NONCE, header.nonce, 12)
    frame_check_write(into)


cdef void frame_header_start(uint8_t *into, const FrameHeader *header) noexcept nogil:
    store_u32(into + FRAME_MAGIC, <uint32_t>FRAME_MAGIC_VALUE)
    store_u32(into + FRAME_BODY_SIZE, header.body_size)
    into[FRAME_KIND] = header.kind
    into[FRAME_FLAGS] = header.flags
    store_u16(into + FRAME_RESERVED, 0)
    store_u64(into + FRAME_ORDINAL, header.ordinal)
    store_u64(into + FRAME_FIRST_ORDINAL, header.first_ordinal)
    store_u64(into + FRAME_DURABLE, header.durable)
    memcpy(into + FRAME_PREVIOUS, header.previous, 16)


cdef void frame_check_write(uint8_t *into) noexcept nogil:
    store_u32(
        into + FRAME_CHECK, crc32(into + FRAME_BODY_SIZE, FRAME_HEADER_SIZE - FRAME_BODY_SIZE))


cdef int frame_header_read(const uint8_t *source, size_t size, FrameHeader *out) noexcept nogil:
    if size < <size_t>FRAME_HEADER_SIZE or load_u32(source) != <uint32_t>FRAME_MAGIC_VALUE:
        return 0
    out.body_size = load_u32(source + FRAME_BODY_SIZE)
    out.kind = source[FRAME_KIND]
    if out.body_size > <uint32_t>(BLOCK_SIZE - FRAME_OVERHEAD):
        return 0
    if out.kind < <uint8_t>FRAME_PART or out.kind > <uint8_t>FRAME_CLOSED:
        return 0
    out.flags = source[FRAME_FLAGS]
    if out.flags > <uint8_t>FRAME_PURGED or load_u16(source + FRAME_RESERVED) != 0:
        return 0
    out.ordinal = load_u64(source + FRAME_ORDINAL)
    out.first_ordinal = load_u64(source + FRAME_FIRST_ORDINAL)
    out.durable = load_u64(source + FRAME_DURABLE)
    if out.first_ordinal > out.ordinal or out.durable >= out.first_ordinal:
        return 0
    if load_u32(source + FRAME_CHECK) != crc32(
            source + FRAME_BODY_SIZE, FRAME_HEADER_SIZE - FRAME_BODY_SIZE):
        return 0
    memcpy(out.previous, source + FRAME_PREVIOUS, 16)
    memcpy(out.nonce, source + FRAME_NONCE, 12)
    return 1


cdef void frame_aad_write(
        uint8_t *into, const uint8_t *database_id, uint64_t segment_id, uint64_t offset,
        const uint8_t *header) noexcept nogil:
    into[0] = <uint8_t>FILE_KIND_FRAME
    memcpy(into + 1, database_id, DATABASE_ID_SIZE)
    store_u64(into + 17, segment_id)
    store_u64(into + 25, offset)
    memcpy(into + 33, header + FRAME_BODY_SIZE, FRAME_NONCE - FRAME_BODY_SIZE)


cdef void chain_next(
        const uint8_t *chain, const uint8_t *frame, size_t size, uint8_t *out32) noexcept nogil:
    cdef uint8_t[32] digest
    blake2b_256(frame, size, NULL, 0, digest)
    chain_next_digest(chain, digest, out32)


cdef void chain_next_digest(
        const uint8_t *chain, const uint8_t *digest, uint8_t *out32) noexcept nogil:
    blake2b_256(chain, CHAIN_SIZE, digest, 32, out32)


# --- doors: what tests compare with tests/reference/frame.py ---

def header_pack(
        int body_size, int kind, uint64_t ordinal, uint64_t first_ordinal, uint64_t durable,
        bytes previous not None, bytes nonce not None, int flags=0):
    """The 68 bytes of a frame header, check included."""
    cdef FrameHeader header
    cdef uint8_t[68] packed
    if len(previous) != 16 or len(nonce) != 12:
        raise ValueError("previous is 16 bytes and nonce 12")
    header.body_size = <uint32_t>body_size
    header.kind = <uint8_t>kind
    header.flags = <uint8_t>flags
    header.ordinal = ordinal
    header.first_ordinal = first_ordinal
    header.durable = durable
    memcpy(header.previous, <const uint8_t *>previous, 16)
    memcpy(header.nonce, <const uint8_t *>nonce, 12)
    frame_header_write(packed, &header)
    return packed[:68]


def header_unpack(bytes data not None):
    """(body_size, kind, ordinal, first_ordinal, durable, previous, nonce); None: no header."""
    cdef FrameHeader header
    if not frame_header_read(data, <size_t>len(data), &header):
        return None
    return (header.body_size, header.kind, header.ordinal, header.first_ordinal, header.durable,
            header.previous[:16], header.nonce[:12])


def aad_pack(
        bytes database_id not None, uint64_t segment_id, uint64_t offset, bytes header not None):
    """What the tag of the frame at this place binds besides the body."""
    cdef uint8_t[81] packed
    if len(database_id) != DATABASE_ID_SIZE or len(header) < FRAME_HEADER_SIZE:
        raise ValueError("a database id is 16 bytes and a frame header 68")
    frame_aad_write(packed, database_id, segment_id, offset, header)
    return packed[:FRAME_AAD_SIZE]


def chain_step(bytes chain not None, bytes frame not None):
    """The chain value after this frame (header, ciphertext, tag)."""
    cdef uint8_t[32] out
    if len(chain) != CHAIN_SIZE:
        raise ValueError("a chain value is 32 bytes")
    chain_next(chain, frame, <size_t>len(frame), out)
    return out[:32]
