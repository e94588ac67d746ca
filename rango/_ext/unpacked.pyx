"""A packed segment, shown as the bytes that it was packed from: every reader of frames sees those.

Terms       packed, piece, content, entry: docs/reference/format.md#packed-segment. To make a frame:
            to put its stored bytes together from its entry, its body and the chain.
Invariants  A frame is sealed again under its own nonce, key and place with the body that it had, so
            it is the frame that was written, byte for byte, and no nonce serves two bodies (I-6):
            only what a piece's tag has proven is sealed. Nothing is written. One thread at a time.
Layout      layout.pxd PIECE_*, CONTENT_*, ENTRY_*.
States      no block -> a block in hand, its frames made one by one as far as somebody reads.
Failure     a piece that is not as it was written: LogCorrupted with its place in the file; if the
            view is tolerant, its block reads as zeros and `damaged` names it. IoFailed.
Sources     ADR-0036.
"""

from rango.errors import LogCorrupted

cimport cython
from libc.errno cimport EBADF, EIO
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from rango._ext.buffer cimport Buffer, buffer_free, buffer_init, buffer_reserve
from rango._ext.compress cimport lz4_decompress
from rango._ext.frame cimport (
    FRAME_AAD_SIZE, FrameHeader, chain_next, chain_next_digest, frame_aad_write, frame_align,
    frame_header_write,
)
from rango._ext.layout cimport (
    BLOCK_SIZE, CHAIN_SIZE, CONTENT_CHAIN, CONTENT_COUNT, CONTENT_HEADER_SIZE, CONTENT_ORDINAL,
    CONTENT_SIZE_MAX, DATABASE_ID_SIZE, ENTRY_BEHIND, ENTRY_KIND, ENTRY_LATER, ENTRY_PURGED,
    FILE_KIND_PACKED, FRAME_HEADER_SIZE, FRAME_OVERHEAD, FRAME_PURGED, NONCE_SIZE, PIECE_BLOCK,
    PIECE_HEADER_SIZE, PIECE_MAGIC, PIECE_MAGIC_VALUE, PIECE_NONCE, PIECE_OVERHEAD, PIECE_SIZE,
    PIECE_TAIL, SEGMENT_HEADER_SIZE, TABLE_ENTRY_SIZE, TABLE_ORDINAL, TABLE_SIZE,
)
from rango._ext.seal cimport SealKey
from rango._ext.segment cimport raise_read
from rango._ext.span cimport (
    Span, load_u16, load_u32, load_u64, span_left, span_of, span_take, store_u64,
)
from rango._ext.vfs cimport Vfs, vfs_read_all

cdef enum:
    FRAMES_MAX = 745            # of a block: 88 bytes each at least
    DIGEST_SIZE = 32
    # why a piece is refused
    PIECE_MISSING = 1
    PIECE_FOREIGN = 2
    PIECE_TAG_WRONG = 3
    PIECE_LZ4 = 4
    PIECE_CONTENT = 5

cdef tuple REASONS = (
    "", "a piece of this packed segment is missing or cut short",
    "a piece of this packed segment should start here", "a piece of this packed segment is damaged",
    "a piece of this packed segment does not unpack",
    "a piece of this packed segment holds no frames that could have been")


cdef void piece_aad_write(
    uint8_t *into, const uint8_t *database_id, uint64_t segment_id, const uint8_t *header
) noexcept nogil:
    into[0] = <uint8_t>FILE_KIND_PACKED
    memcpy(into + 1, database_id, DATABASE_ID_SIZE)
    store_u64(into + 17, segment_id)
    memcpy(into + 25, header, PIECE_NONCE)


cdef int raise_memory() except -1 with gil:
    raise MemoryError("no memory for a block of a packed segment")


cdef int64_t unpacked_read(
        void *context, int fd, void *into, size_t size, uint64_t offset) noexcept with gil:
    cdef UnpackedVfs view = <UnpackedVfs>context
    cdef int64_t got
    if fd != view.fd:
        return -EBADF
    try:
        with nogil:
            got = view.give(<uint8_t *>into, size, offset)
        return got
    except BaseException as error:
        view.has_block = False
        view.kept.append(error)
        return -EIO


cdef int64_t unpacked_size(void *context, int fd) noexcept with gil:
    cdef UnpackedVfs view = <UnpackedVfs>context
    return <int64_t>(view.limit + view.tail_size) if fd == view.fd else -EBADF


# The rest of the table: this is a view of one descriptor, and for reading.
cdef int no_path(void *context, const char *path) noexcept nogil:
    return -EBADF


cdef int no_open(void *context, const char *path, int flags) noexcept nogil:
    return -EBADF


cdef int no_rename(void *context, const char *source, const char *target) noexcept nogil:
    return -EBADF


cdef int no_fd(void *context, int fd) noexcept nogil:
    return -EBADF


cdef int no_truncate(void *context, int fd, uint64_t size) noexcept nogil:
    return -EBADF


cdef int64_t no_write(
        void *context, int fd, const void *source, size_t size, uint64_t offset) noexcept nogil:
    return -EBADF


cdef int no_lock(
        void *context, int fd, uint64_t start, uint64_t size, int mode) noexcept nogil:
    return -EBADF


cdef int varint_read(Span *span, uint64_t *out) noexcept nogil:
    # 1, or 0: cut short, or more than 64 bits
    cdef const uint8_t *byte
    cdef int shift = 0
    out[0] = 0
    while shift < 64:
        byte = span_take(span, 1)
        if byte == NULL or (shift == 63 and byte[0] > 1):
            return 0
        out[0] |= (<uint64_t>(byte[0] & 0x7f)) << shift
        if byte[0] < 0x80:
            return 1
        shift += 7
    return 0


@cython.final
cdef class UnpackedVfs(Vfs):
    """Reads one descriptor of `below`; does nothing else."""

    def __cinit__(self, *arguments, **more):
        buffer_init(&self.stored)
        buffer_init(&self.content)
        buffer_init(&self.tail)

    def __dealloc__(self):
        buffer_free(&self.stored)
        buffer_free(&self.content)
        buffer_free(&self.tail)
        free(self.offsets)
        free(self.sizes)
        free(self.ordinals)
        free(self.block_bytes)
        free(self.frames)

    def __init__(
            self, Vfs below not None, int fd, SealKey frame_key not None,
            SealKey piece_key not None, bytes database_id not None, uint64_t segment_id,
            uint64_t limit, uint64_t tail_size, bytes table not None, *,
            uint64_t block_count, places=None):
        """`table`: an entry for each block, and one for the tail if there is one. `places`: for
        salvage, (offset, size) for each of them, 0 for what is lost; damage reads as zeros.
        """
        cdef uint64_t count = block_count + (1 if tail_size else 0)
        cdef uint64_t offset = SEGMENT_HEADER_SIZE
        cdef uint64_t i
        cdef const uint8_t *entry = table
        if self.block_bytes != NULL:
            raise ValueError("a view is made once")
        if len(database_id) != DATABASE_ID_SIZE or <uint64_t>len(table) < count * TABLE_ENTRY_SIZE:
            raise ValueError("a database id is 16 bytes, and every piece has its entry")
        if block_count != (limit + BLOCK_SIZE - 1) // BLOCK_SIZE or limit < SEGMENT_HEADER_SIZE:
            raise ValueError("the blocks are those up to the limit")
        self.block_bytes = <uint8_t *>malloc(BLOCK_SIZE)
        self.frames = <PackedFrame *>malloc(FRAMES_MAX * sizeof(PackedFrame))
        self.offsets = <uint64_t *>calloc(count, sizeof(uint64_t))
        self.sizes = <uint32_t *>calloc(count, sizeof(uint32_t))
        self.ordinals = <uint64_t *>calloc(count, sizeof(uint64_t))
        if (self.block_bytes == NULL or self.frames == NULL or self.offsets == NULL
                or self.sizes == NULL or self.ordinals == NULL):
            raise MemoryError("no memory for the view of a packed segment")
        self.below = below
        self.fd = fd
        self.names[fd] = below.names.get(fd)
        self.frame_key = frame_key
        self.piece_key = piece_key
        memcpy(self.database_id, <const uint8_t *>database_id, DATABASE_ID_SIZE)
        self.segment_id = segment_id
        self.limit = limit
        self.tail_size = tail_size
        self.block_count = block_count
        self.is_tolerant = places is not None
        self.damaged = []
        for i in range(count):
            self.sizes[i] = load_u32(entry + i * TABLE_ENTRY_SIZE + TABLE_SIZE)
            self.ordinals[i] = load_u64(entry + i * TABLE_ENTRY_SIZE + TABLE_ORDINAL)
            self.offsets[i] = offset
            offset += self.sizes[i]
            if places is not None:
                self.offsets[i], self.sizes[i] = places[i]
        self.context = <void *>self
        self.table.read = unpacked_read
        self.table.size = unpacked_size
        self.table.open = no_open
        self.table.close = no_fd
        self.table.write = no_write
        self.table.flush = no_fd
        self.table.truncate = no_truncate
        self.table.rename = no_rename
        self.table.remove = no_path
        self.table.flush_directory = no_path
        self.table.lock = no_lock

    cdef int64_t block_of(self, int fd, uint64_t ordinal) noexcept nogil:
        cdef uint64_t lower = 0
        cdef uint64_t upper = self.block_count
        cdef uint64_t middle
        while upper - lower > 1:
            middle = lower + (upper - lower) // 2
            if self.ordinals[middle] <= ordinal:
                lower = middle
            else:
                upper = middle
        return <int64_t>lower

    cdef uint64_t block_size(self, uint64_t number) noexcept nogil:
        cdef uint64_t left = self.limit - number * BLOCK_SIZE
        return left if left < <uint64_t>BLOCK_SIZE else <uint64_t>BLOCK_SIZE

    cdef int piece_open(
            self, uint64_t index, uint32_t name, size_t size_max, Buffer *into) except -1 nogil:
        # 0: its content is in `into`; else why it is refused
        cdef uint8_t[PIECE_AAD_SIZE] aad
        cdef uint64_t size = self.sizes[index]
        cdef const uint8_t *piece
        cdef uint32_t content_size
        cdef int64_t got
        if size < <uint64_t>(PIECE_OVERHEAD + 5):
            return PIECE_MISSING
        # what does not compress grows by less than this (lz4_bound)
        if size > <uint64_t>PIECE_OVERHEAD + 4 + 64 + size_max + size_max // 255:
            return PIECE_FOREIGN
        self.stored.size = 0
        # the piece, and behind it room for what it opens to
        if buffer_reserve(&self.stored, 2 * <size_t>size) < 0:
            return raise_memory()
        got = vfs_read_all(self.below, self.fd, self.stored.data, <size_t>size, self.offsets[index])
        if got < 0:
            return raise_read(self.below, self.segment_id, self.offsets[index], got)
        if <uint64_t>got < size:
            return PIECE_MISSING
        piece = self.stored.data
        if (load_u32(piece + PIECE_MAGIC) != <uint32_t>PIECE_MAGIC_VALUE
                or load_u32(piece + PIECE_BLOCK) != name
                or load_u32(piece + PIECE_SIZE) != size - PIECE_OVERHEAD):
            return PIECE_FOREIGN
        piece_aad_write(aad, self.database_id, self.segment_id, piece)
        if not self.piece_key.open(
                aad, PIECE_AAD_SIZE, piece + PIECE_NONCE, piece + PIECE_HEADER_SIZE,
                <size_t>size - PIECE_HEADER_SIZE, self.stored.data + size):
            return PIECE_TAG_WRONG
        content_size = load_u32(self.stored.data + size)
        if content_size > size_max:
            return PIECE_CONTENT
        into.size = 0
        if buffer_reserve(into, content_size + 1) < 0:
            return raise_memory()
        if lz4_decompress(
                self.stored.data + size + 4, <int>(size - PIECE_OVERHEAD - 4), into.data,
                <int>content_size) != <int>content_size:
            return PIECE_LZ4
        into.size = content_size
        return 0

    cdef int entries_read(self, uint64_t number) noexcept nogil:
        # 0: the content is whole, and its frames fit into the block
        cdef Span span = span_of(self.content.data, self.content.size)
        cdef const uint8_t *head = span_take(&span, CONTENT_HEADER_SIZE)
        cdef const uint8_t *byte
        cdef PackedFrame *frame
        cdef uint64_t value
        cdef uint64_t bodies = 0
        cdef uint64_t at = 0
        cdef uint32_t i
        if head == NULL:
            return PIECE_CONTENT
        self.count = load_u16(head + CONTENT_COUNT)
        self.ordinal = load_u64(head + CONTENT_ORDINAL)
        memcpy(self.chain_value, head + CONTENT_CHAIN, CHAIN_SIZE)
        if number == 0:
            byte = span_take(&span, SEGMENT_HEADER_SIZE)
            if byte == NULL:
                return PIECE_CONTENT
            memcpy(self.block_bytes, byte, SEGMENT_HEADER_SIZE)
            at = SEGMENT_HEADER_SIZE
        self.at = at
        self.nonces = span_take(&span, <size_t>self.count * NONCE_SIZE)
        if self.count > <uint32_t>FRAMES_MAX or self.nonces == NULL:
            return PIECE_CONTENT
        for i in range(self.count):
            frame = &self.frames[i]
            byte = span_take(&span, 1)
            if byte == NULL or byte[0] & ~(
                    ENTRY_KIND | ENTRY_PURGED | ENTRY_LATER | ENTRY_BEHIND):
                return PIECE_CONTENT
            frame.kind = byte[0] & ENTRY_KIND
            frame.flags = FRAME_PURGED if byte[0] & ENTRY_PURGED else 0
            if not varint_read(&span, &value) or value > <uint64_t>BLOCK_SIZE:
                return PIECE_CONTENT
            frame.body_size = <uint32_t>value
            frame.later = frame.behind = 0
            if byte[0] & ENTRY_LATER and not varint_read(&span, &frame.later):
                return PIECE_CONTENT
            if byte[0] & ENTRY_BEHIND and not varint_read(&span, &frame.behind):
                return PIECE_CONTENT
            frame.digest = NULL
            if frame.flags:
                frame.digest = span_take(&span, DIGEST_SIZE)
                if frame.digest == NULL:
                    return PIECE_CONTENT
            at = frame_align(at)
            if at + FRAME_OVERHEAD + value > self.block_size(number):
                return PIECE_CONTENT
            at += FRAME_OVERHEAD + value
            bodies += value
        if span_left(&span) != bodies:
            return PIECE_CONTENT
        self.bodies = self.bodies_first = span.base + span.at
        return 0

    cdef int refuse(self, uint64_t index, int why) except -1 nogil:
        with gil:
            if not self.is_tolerant:
                raise LogCorrupted(
                    f"oplog/{self.segment_id:016d}.rgo:{self.offsets[index]}", REASONS[why])
            self.damaged.append((self.offsets[index], REASONS[why]))
            return 0

    cdef int block_take(self, uint64_t number) except -1 nogil:
        # the block is in hand, with none of its frames made
        cdef int why
        self.has_block = False
        self.next = self.count = 0
        self.filled = 0
        memset(self.block_bytes, 0, BLOCK_SIZE)
        why = self.piece_open(number, <uint32_t>number, CONTENT_SIZE_MAX, &self.content)
        if why == 0:
            why = self.entries_read(number)
        if why:
            self.refuse(number, why)
            self.count = 0
        self.number = number
        self.has_block = True
        return 0

    cdef int frame_make(self) except -1 nogil:
        # the next frame of the block, as it was written
        cdef uint8_t[FRAME_AAD_SIZE] aad
        cdef FrameHeader header
        cdef PackedFrame *frame = &self.frames[self.next]
        cdef uint8_t *into = self.block_bytes + self.at
        header.body_size = frame.body_size
        header.kind = frame.kind
        header.flags = frame.flags
        header.ordinal = self.ordinal
        header.first_ordinal = self.ordinal - frame.later
        header.durable = header.first_ordinal - 1 - frame.behind
        memcpy(header.previous, self.chain_value, 16)
        memcpy(header.nonce, self.nonces, NONCE_SIZE)
        frame_header_write(into, &header)
        frame_aad_write(
            aad, self.database_id, self.segment_id, self.number * BLOCK_SIZE + self.at, into)
        self.frame_key.seal_as(
            aad, FRAME_AAD_SIZE, self.bodies, frame.body_size, header.nonce,
            into + FRAME_HEADER_SIZE)
        if frame.digest != NULL:
            chain_next_digest(self.chain_value, frame.digest, self.chain_value)
        else:
            chain_next(
                self.chain_value, into, <size_t>frame.body_size + FRAME_OVERHEAD,
                self.chain_value)
        self.nonces += NONCE_SIZE
        self.bodies += frame.body_size
        self.ordinal += 1
        self.at = frame_align(self.at + FRAME_OVERHEAD + frame.body_size)
        self.next += 1
        return 0

    cdef int reach(self, uint64_t number, uint64_t end) except -1 nogil:
        # the block is in hand, and there up to `end`
        if not self.has_block or self.number != number:
            self.block_take(number)
        while self.filled < end:
            if self.next == self.count:
                self.filled = BLOCK_SIZE
                return 0
            self.frame_make()
            self.filled = self.at
        return 0

    # --- single frames: nothing has to be made to read what the piece's tag has proven

    cdef uint64_t place_of(self, uint32_t frame) noexcept nogil:
        # where it starts in the block in hand
        cdef uint64_t at = 0 if self.number else SEGMENT_HEADER_SIZE
        cdef uint32_t i
        for i in range(frame):
            at = frame_align(at + FRAME_OVERHEAD + self.frames[i].body_size)
        return at

    def find(self, uint64_t ordinal):
        """The offset of the frame with this ordinal, or None."""
        cdef uint64_t number = <uint64_t>self.block_of(self.fd, ordinal)
        cdef uint64_t first
        if not self.has_block or self.number != number:
            self.block_take(number)
        first = self.ordinal - self.next
        if ordinal < first or ordinal - first >= self.count:
            return None
        return number * BLOCK_SIZE + self.place_of(<uint32_t>(ordinal - first))

    def frame_at(self, uint64_t offset):
        """(kind, ordinal, first_ordinal, durable, body, end) of the frame here, or None."""
        cdef uint64_t number = offset // BLOCK_SIZE
        cdef uint64_t at
        cdef uint64_t ordinal
        cdef uint64_t first
        cdef const uint8_t *body
        cdef PackedFrame *frame
        cdef uint32_t i
        if number >= self.block_count:
            return None
        if not self.has_block or self.number != number:
            self.block_take(number)
        at = self.place_of(0)
        body = self.bodies_first
        for i in range(self.count):
            frame = &self.frames[i]
            if number * BLOCK_SIZE + at == offset:
                ordinal = self.ordinal - self.next + i
                first = ordinal - frame.later
                at = frame_align(offset + FRAME_OVERHEAD + frame.body_size)
                return (frame.kind, ordinal, first, first - 1 - frame.behind,
                        (<const char *>body)[:frame.body_size], at)
            at = frame_align(at + FRAME_OVERHEAD + frame.body_size)
            body += frame.body_size
        return None

    cdef int tail_take(self) except -1 nogil:
        cdef int why = self.piece_open(
            self.block_count, <uint32_t>PIECE_TAIL, <size_t>self.tail_size, &self.tail)
        if why == 0 and self.tail.size != self.tail_size:
            why = PIECE_CONTENT
        if why:
            self.refuse(self.block_count, why)
            self.tail.size = 0
            if buffer_reserve(&self.tail, <size_t>self.tail_size) < 0:
                return raise_memory()
            memset(self.tail.data, 0, <size_t>self.tail_size)
            self.tail.size = <size_t>self.tail_size
        return 0

    cdef int64_t give(self, uint8_t *into, size_t size, uint64_t offset) except -1 nogil:
        cdef uint64_t end = self.limit + self.tail_size
        cdef uint64_t number
        cdef uint64_t start
        cdef uint64_t piece
        cdef size_t done = 0
        while done < size and offset < end:
            if offset < self.limit:
                number = offset // BLOCK_SIZE
                start = offset - number * BLOCK_SIZE
                piece = self.block_size(number) - start
                if piece > size - done:
                    piece = size - done
                self.reach(number, start + piece)
                memcpy(into + done, self.block_bytes + start, <size_t>piece)
            else:
                if self.tail.size != self.tail_size:
                    self.tail_take()
                piece = end - offset
                if piece > size - done:
                    piece = size - done
                memcpy(into + done, self.tail.data + (offset - self.limit), <size_t>piece)
            done += <size_t>piece
            offset += piece
        return <int64_t>done
