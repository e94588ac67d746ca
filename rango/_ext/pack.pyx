"""The kernel that packs one segment: of each block what its frames cannot be made from again.

Terms       packed, piece, content, entry: docs/reference/format.md#packed-segment.
Invariants  Only frames that continue each other and open by their tags are packed: what is damaged
            is left as it is, for readers to find. Each piece has a fresh nonce (I-6).
            What does not come back from this (bytes between frames that are no zeros) is the
            caller's to find: it compares (storage/packed.py).
Layout      layout.pxd PIECE_*, CONTENT_*, ENTRY_*; the twin for reading is unpacked.pyx.
Failure     a frame that does not continue: LogCorrupted, with its place. IoFailed.
Sources     ADR-0036.
"""

from rango.errors import LogCorrupted

cimport cython
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from rango._ext.buffer cimport (
    Buffer, buffer_free, buffer_grow, buffer_init, buffer_put, buffer_put_byte, buffer_reserve,
)
from rango._ext.compress cimport lz4_bound, lz4_compress_small
from rango._ext.frame cimport (
    FRAME_AAD_SIZE, FrameHeader, chain_next_digest, frame_aad_write, frame_align,
    frame_header_read,
)
from rango._ext.layout cimport (
    BLOCK_SIZE, CHAIN_SIZE, CONTENT_CHAIN, CONTENT_COUNT, CONTENT_HEADER_SIZE, CONTENT_ORDINAL,
    DATABASE_ID_SIZE, ENTRY_BEHIND, ENTRY_LATER, ENTRY_PURGED, FRAME_ALIGN, FRAME_COMMIT,
    FRAME_HEADER_SIZE, FRAME_OVERHEAD, FRAME_PART, FRAME_PURGED, NONCE_SIZE, PIECE_BLOCK,
    PIECE_HEADER_SIZE, PIECE_MAGIC, PIECE_MAGIC_VALUE, PIECE_NONCE, PIECE_OVERHEAD, PIECE_SIZE,
    PIECE_TAIL, SEGMENT_HEADER_SIZE, TAG_SIZE,
)
from rango._ext.seal cimport SealKey, blake2b_256
from rango._ext.segment cimport raise_read
from rango._ext.span cimport store_u16, store_u32, store_u64
from rango._ext.unpacked cimport PIECE_AAD_SIZE, piece_aad_write
from rango._ext.vfs cimport Vfs, vfs_read_all

cdef enum:
    DIGEST_SIZE = 32


cdef int raise_memory() except -1 with gil:
    raise MemoryError("no memory to pack a block")


cdef int raise_damaged(uint64_t segment_id, uint64_t offset) except -1 with gil:
    raise LogCorrupted(
        f"oplog/{segment_id:016d}.rgo:{offset}",
        "no frame here goes on from the one before; the segment stays as it is")


cdef int varint_put(Buffer *into, uint64_t value) noexcept nogil:
    while value >= 0x80:
        if buffer_put_byte(into, <uint8_t>(value & 0x7f) | 0x80) < 0:
            return -1
        value >>= 7
    return buffer_put_byte(into, <uint8_t>value)


@cython.final
cdef class SegmentPacker:
    """Packs the blocks of one segment, in their order. It never writes and never closes."""

    def __cinit__(self, *arguments):
        buffer_init(&self.nonces)
        buffer_init(&self.entries)
        buffer_init(&self.bodies)
        buffer_init(&self.content)
        buffer_init(&self.packed)
        buffer_init(&self.piece)

    def __dealloc__(self):
        buffer_free(&self.nonces)
        buffer_free(&self.entries)
        buffer_free(&self.bodies)
        buffer_free(&self.content)
        buffer_free(&self.packed)
        buffer_free(&self.piece)
        free(self.block_bytes)

    def __init__(
            self, Vfs vfs not None, int fd, SealKey frame_key not None,
            SealKey piece_key not None, bytes database_id not None, uint64_t segment_id,
            uint64_t ordinal, bytes chain not None, uint64_t limit, dict digests not None,
            list asked not None):
        """A walk that continues `ordinal` and `chain` at the first frame. `asked`: ordinals whose
        chain values are to be in `seen`, sorted.
        """
        if len(database_id) != DATABASE_ID_SIZE or len(chain) != CHAIN_SIZE:
            raise ValueError("a database id is 16 bytes and a chain value 32")
        free(self.block_bytes)
        self.block_bytes = <uint8_t *>malloc(BLOCK_SIZE)
        if self.block_bytes == NULL:
            raise MemoryError("no memory to pack a block")
        self.vfs = vfs
        self.fd = fd
        self.frame_key = frame_key
        self.piece_key = piece_key
        memcpy(self.database_id, <const uint8_t *>database_id, DATABASE_ID_SIZE)
        self.segment_id = segment_id
        self.limit = limit
        self.digests = digests
        self.asked = asked[::-1]
        self.asked_next = self.asked.pop() if self.asked else 0
        self.ordinal = ordinal
        self.offset = SEGMENT_HEADER_SIZE
        memcpy(self.chain_value, <const uint8_t *>chain, CHAIN_SIZE)
        self.seen = []
        self.purged = []

    @property
    def chain(self) -> bytes:
        """The chain value after the last frame."""
        return (<const char *>self.chain_value)[:CHAIN_SIZE]

    cdef int block_read(self, uint64_t number, uint64_t size) except -1 nogil:
        cdef int64_t got = vfs_read_all(
            self.vfs, self.fd, self.block_bytes, <size_t>size, number * BLOCK_SIZE)
        if got < 0:
            return raise_read(self.vfs, self.segment_id, number * BLOCK_SIZE, got)
        # the file may end with the last frame, before the zeros that align the next one
        memset(self.block_bytes + got, 0, <size_t>size - <size_t>got)
        if <uint64_t>got + FRAME_ALIGN <= size:
            return raise_damaged(self.segment_id, number * BLOCK_SIZE + <uint64_t>got)
        return 0

    cdef int note_purged(self, uint64_t offset, uint8_t *digest) except -1 with gil:
        # in: what the frame is now; out: what it counts with in the chain. 0: nothing is known
        was = self.digests.get(offset)
        if was is None:
            return 0
        self.purged.append((self.ordinal + 1, offset, (<const char *>digest)[:DIGEST_SIZE]))
        memcpy(digest, <const uint8_t *><bytes>was, DIGEST_SIZE)
        return 1

    cdef int note_seen(self) except -1 with gil:
        if self.ordinal == self.asked_next:
            self.seen.append((self.ordinal, self.chain))
        while self.asked_next <= self.ordinal:
            self.asked_next = self.asked.pop() if self.asked else <uint64_t>0xffffffffffffffff
        return 0

    cdef int entry_put(
            self, const FrameHeader *header, const uint8_t *digest) except -1 nogil:
        cdef uint64_t later = header.ordinal - header.first_ordinal
        cdef uint64_t behind = header.first_ordinal - 1 - header.durable
        cdef uint8_t head = header.kind
        cdef int status
        if header.flags & FRAME_PURGED:
            head |= ENTRY_PURGED
        if later:
            head |= ENTRY_LATER
        if behind:
            head |= ENTRY_BEHIND
        status = buffer_put_byte(&self.entries, head)
        status |= varint_put(&self.entries, header.body_size)
        if later:
            status |= varint_put(&self.entries, later)
        if behind:
            status |= varint_put(&self.entries, behind)
        if header.flags & FRAME_PURGED:
            status |= buffer_put(&self.entries, digest, DIGEST_SIZE)
        status |= buffer_put(&self.nonces, header.nonce, NONCE_SIZE)
        return raise_memory() if status < 0 else 0

    cdef int frame_take(
            self, uint64_t offset, const uint8_t *source, const FrameHeader *header
    ) except -1 nogil:
        # the frame continues the walk, and its parts are in their buffers; raises if it does not
        cdef uint8_t[FRAME_AAD_SIZE] aad
        cdef uint8_t[DIGEST_SIZE] digest
        if header.ordinal != self.ordinal + 1 or memcmp(header.previous, self.chain_value, 16):
            return raise_damaged(self.segment_id, offset)
        if header.first_ordinal != header.ordinal and header.first_ordinal != self.part_first:
            return raise_damaged(self.segment_id, offset)
        if buffer_reserve(&self.bodies, <size_t>header.body_size + TAG_SIZE) < 0:
            return raise_memory()
        frame_aad_write(aad, self.database_id, self.segment_id, offset, source)
        if not self.frame_key.open(
                aad, FRAME_AAD_SIZE, header.nonce, source + FRAME_HEADER_SIZE,
                <size_t>header.body_size + TAG_SIZE, self.bodies.data + self.bodies.size):
            return raise_damaged(self.segment_id, offset)
        self.bodies.size += header.body_size
        blake2b_256(source, <size_t>header.body_size + FRAME_OVERHEAD, NULL, 0, digest)
        if header.flags & FRAME_PURGED and not self.note_purged(offset, digest):
            return raise_damaged(self.segment_id, offset)
        self.entry_put(header, digest)
        chain_next_digest(self.chain_value, digest, self.chain_value)
        self.ordinal = header.ordinal
        self.frames += 1
        self.commits += header.kind == FRAME_COMMIT
        self.part_first = header.first_ordinal if header.kind == FRAME_PART else 0
        if self.ordinal >= self.asked_next:
            self.note_seen()
        return 0

    cdef int content_put(self, uint64_t number, uint64_t size) except -1 nogil:
        # what the block is made of, in `content`
        cdef uint64_t start = number * BLOCK_SIZE
        cdef uint64_t at = 0 if number else SEGMENT_HEADER_SIZE
        cdef FrameHeader header
        cdef uint8_t *head
        cdef uint16_t count = 0
        self.nonces.size = self.entries.size = self.bodies.size = self.content.size = 0
        head = buffer_grow(&self.content, CONTENT_HEADER_SIZE)
        if head == NULL:
            return raise_memory()
        store_u64(head + CONTENT_ORDINAL, self.ordinal + 1)
        memcpy(head + CONTENT_CHAIN, self.chain_value, CHAIN_SIZE)
        while at < size and frame_header_read(self.block_bytes + at, <size_t>(size - at), &header):
            if header.body_size + <uint64_t>FRAME_OVERHEAD > size - at:
                return raise_damaged(self.segment_id, start + at)
            self.frame_take(start + at, self.block_bytes + at, &header)
            at = frame_align(at + FRAME_OVERHEAD + header.body_size)
            self.offset = start + at
            count += 1
        store_u16(self.content.data + CONTENT_COUNT, count)
        cdef int status = 0
        if number == 0:
            status |= buffer_put(&self.content, self.block_bytes, SEGMENT_HEADER_SIZE)
        status |= buffer_put(&self.content, self.nonces.data, self.nonces.size)
        status |= buffer_put(&self.content, self.entries.data, self.entries.size)
        status |= buffer_put(&self.content, self.bodies.data, self.bodies.size)
        return raise_memory() if status < 0 else 0

    cdef int piece_seal(self, uint32_t name) except -1 nogil:
        # `content`, compressed and sealed, is in `piece`
        cdef uint8_t[PIECE_AAD_SIZE] aad
        cdef int bound = lz4_bound(<int>self.content.size)
        cdef int size
        cdef uint8_t *header
        self.packed.size = self.piece.size = 0
        if buffer_reserve(&self.packed, <size_t>bound + 4) < 0:
            return raise_memory()
        store_u32(self.packed.data, <uint32_t>self.content.size)
        size = lz4_compress_small(
            self.content.data, <int>self.content.size, self.packed.data + 4, bound)
        if size <= 0:
            return raise_memory()
        size += 4
        header = buffer_grow(&self.piece, <size_t>size + PIECE_OVERHEAD)
        if header == NULL:
            return raise_memory()
        store_u32(header + PIECE_MAGIC, <uint32_t>PIECE_MAGIC_VALUE)
        store_u32(header + PIECE_SIZE, <uint32_t>size)
        store_u32(header + PIECE_BLOCK, name)
        piece_aad_write(aad, self.database_id, self.segment_id, header)
        self.piece_key.seal(
            aad, PIECE_AAD_SIZE, self.packed.data, <size_t>size, header + PIECE_NONCE,
            header + PIECE_HEADER_SIZE)
        return 0

    def pack(self, uint64_t number) -> bytes:
        """The piece of this block. Raises LogCorrupted, IoFailed."""
        cdef uint64_t start = number * BLOCK_SIZE
        cdef uint64_t size = BLOCK_SIZE
        if start >= self.limit:
            raise ValueError("there is no such block")
        if self.limit - start < size:
            size = self.limit - start
        with nogil:
            self.block_read(number, size)
            self.content_put(number, size)
            self.piece_seal(<uint32_t>number)
        return (<const char *>self.piece.data)[:self.piece.size]

    def pack_tail(self, bytes tail not None) -> bytes:
        """The piece of what follows the frames."""
        if len(tail) > INT_MAX // 2:
            raise ValueError("a purge table is smaller than that")
        self.content.size = 0
        if buffer_put(&self.content, <const uint8_t *>tail, <size_t>len(tail)) < 0:
            raise MemoryError("no memory to pack a purge table")
        self.piece_seal(<uint32_t>PIECE_TAIL)
        return (<const char *>self.piece.data)[:self.piece.size]
