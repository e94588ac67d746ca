"""The kernel that walks the frames of one segment, judges its end, and finds single frames.

Terms       frame, segment, ordinal, chain value, torn tail: see glossary. Genuine: a frame whose
            tag opens at this place of this segment. To continue: genuine, with the next ordinal and
            the chain value that the walk has reached.
Invariants  I-11 (what the end of a log means).
Layout      layout.pxd FRAME_*; _ext/frame.pyx. No frame crosses a multiple of BLOCK_SIZE: what is
            left of a block may be a gap, and the frame after a gap starts the block.
Failure     the walk stops at the first place where no frame continues; tail_judge says whether that
            is an end (TAIL_END) or damage. Probing costs one pass: eight bytes at a time, a CRC
            where the magic is, and a tag only for a frame whose claim would make the end a lie.
            A read that fails: IoFailed.
Sources     architecture section 6 (I-11).
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from rango._ext.buffer cimport buffer_free, buffer_grow, buffer_init, buffer_reserve
from rango._ext.frame cimport (
    FRAME_AAD_SIZE, FrameHeader, block_end, chain_next, chain_next_digest, frame_aad_write,
    frame_align, frame_header_read,
)
from rango._ext.layout cimport (
    BLOCK_SIZE, CHAIN_SIZE, DATABASE_ID_SIZE, FRAME_CLOSED, FRAME_COMMIT, FRAME_HEADER_SIZE,
    FRAME_OVERHEAD, FRAME_PART, FRAME_PURGED, PURGE_COUNT, PURGE_DIGEST, PURGE_ENTRY_SIZE,
    PURGE_FOOTER_SIZE, PURGE_MAGIC, PURGE_MAGIC_VALUE, PURGE_OFFSET, SEGMENT_HEADER_SIZE, TAG_SIZE,
)
from rango._ext.seal cimport SealKey
from rango._ext.segment cimport raise_read
from rango._ext.span cimport is_zeros, load_u32, load_u64
from rango._ext.vfs cimport Vfs, vfs_read_all

cdef enum:
    DIGEST_SIZE = 32
    WINDOW_SIZE = 1048576       # 16 blocks in one read
    ARENA_KEEP_MAX = 8388608    # a larger arena is given back after a batch
    # answers of tail_judge
    TAIL_END = 0                # clean or torn
    TAIL_CLAIMED = 1            # a later frame says that what should be here was durable
    TAIL_FOREIGN = 2            # the frame here is genuine and belongs to another history
    TAIL_FORGED = 3             # more claims that do not open than an honest tail can hold


cdef int raise_memory() except -1 with gil:
    raise MemoryError("no memory for the frames of one commit")


@cython.final
cdef class Scanner:
    """Walks the frames of one segment. It never writes and never closes the descriptor."""

    def __cinit__(self):
        buffer_init(&self.arena)
        buffer_init(&self.entries)

    def __dealloc__(self):
        buffer_free(&self.arena)
        buffer_free(&self.entries)
        free(self.window)

    def __init__(
            self, Vfs vfs not None, int fd, SealKey key, bytes database_id not None,
            uint64_t segment_id, uint64_t offset, uint64_t ordinal, bytes chain not None,
            limit=None, *, bint is_point=False, stop=None):
        """A walk that continues `ordinal` and `chain`. `is_point`: read single blocks. `stop`: the
        ordinal of a commit to end behind; what follows may be half written.
        """
        if len(database_id) != DATABASE_ID_SIZE or len(chain) != CHAIN_SIZE:
            raise ValueError("a database id is 16 bytes and a chain value 32")
        self.window_max = BLOCK_SIZE if is_point else WINDOW_SIZE
        free(self.window)
        self.window = <uint8_t *>malloc(self.window_max)
        if self.window == NULL:
            raise MemoryError("no memory for the window of a log scan")
        self.vfs = vfs
        self.fd = fd
        self.key = key
        memcpy(self.database_id, <const uint8_t *>database_id, DATABASE_ID_SIZE)
        self.segment_id = segment_id
        self.limit = <uint64_t>0xffffffffffffffff if limit is None else limit
        self.stop = <uint64_t>0xffffffffffffffff if stop is None else stop
        self.offset = offset
        self.ordinal = ordinal
        memcpy(self.chain_value, <const uint8_t *>chain, CHAIN_SIZE)
        self.end_offset = offset
        self.end_ordinal = ordinal
        memcpy(self.end_chain_value, <const uint8_t *>chain, CHAIN_SIZE)

    cdef void go_on(
            self, uint64_t offset, uint64_t ordinal, const uint8_t *chain, uint64_t stop,
            uint64_t limit) noexcept nogil:
        # a new walk, to the commit `stop`, which ends before `limit`: nothing else is read
        self.is_near = True
        self.stop = stop
        self.limit = limit
        self.offset = self.end_offset = offset
        self.ordinal = self.end_ordinal = ordinal
        memcpy(self.chain_value, chain, CHAIN_SIZE)
        memcpy(self.end_chain_value, chain, CHAIN_SIZE)
        self.part_first = 0
        self.window_size = 0
        self.arena.size = 0
        self.entries.size = 0
        self.is_ended = False

    @property
    def end_chain(self) -> bytes:
        """The chain value after the last whole commit."""
        return (<const char *>self.end_chain_value)[:CHAIN_SIZE]

    cdef int64_t load(self, uint64_t offset, const uint8_t **out) except -1 nogil:
        # what may be read from offset to the end of its block; *out is good until the next load
        cdef uint64_t start = offset if self.is_near else offset & ~(<uint64_t>(BLOCK_SIZE - 1))
        cdef uint64_t end = block_end(offset)
        cdef uint64_t size = self.window_max
        cdef int64_t status
        if self.is_near and self.limit - offset < size:
            size = self.limit - offset if offset < self.limit else 0
        if start < self.window_offset or start >= self.window_offset + self.window_size:
            status = vfs_read_all(self.vfs, self.fd, self.window, size, start)
            if status < 0:
                self.window_size = 0
                return raise_read(self.vfs, self.segment_id, start, status)
            if status == 0:
                # behind the end of the file; the walk goes back to the window that it has
                return 0
            self.window_offset = start
            self.window_size = <uint64_t>status
        if end > self.window_offset + self.window_size:
            end = self.window_offset + self.window_size
        if offset >= end:
            return 0
        out[0] = self.window + (offset - self.window_offset)
        return <int64_t>(end - offset)

    cdef int probe(
            self, uint64_t offset, FrameHeader *header, const uint8_t **out) except -1 nogil:
        # 1: there is a header here and its frame fits into the block and the file
        cdef int64_t left = self.load(offset, out)
        if left < <int64_t>FRAME_OVERHEAD or not frame_header_read(out[0], <size_t>left, header):
            return 0
        return header.body_size <= <uint64_t>left - FRAME_OVERHEAD

    cdef int frame_open(
            self, uint64_t offset, const uint8_t *source,
            const FrameHeader *header) except -1 nogil:
        # 1: genuine, and its body is at the end of the arena
        cdef uint8_t[FRAME_AAD_SIZE] aad
        cdef int status
        if buffer_reserve(&self.arena, <size_t>header.body_size + TAG_SIZE) < 0:
            return raise_memory()
        frame_aad_write(aad, self.database_id, self.segment_id, offset, source)
        status = self.key.open(
            aad, FRAME_AAD_SIZE, header.nonce, source + FRAME_HEADER_SIZE,
            <size_t>header.body_size + TAG_SIZE, self.arena.data + self.arena.size)
        if status == 1:
            self.arena.size += header.body_size
        return status

    cdef int frame_take(self, uint64_t offset) except -1 nogil:
        # 1: the frame here continues the walk, which is now behind it
        cdef FrameHeader header
        cdef const uint8_t *source = NULL
        cdef size_t start = self.arena.size
        cdef bint is_first
        cdef uint8_t[DIGEST_SIZE] digest
        cdef Entry *entry
        if not self.probe(offset, &header, &source):
            return 0
        if header.ordinal != self.ordinal + 1 or memcmp(header.previous, self.chain_value, 16):
            return 0
        is_first = header.first_ordinal == header.ordinal
        if not is_first and header.first_ordinal != self.part_first:
            return 0
        if header.flags & FRAME_PURGED and not self.digest_find(offset, digest):
            return 0
        if not self.frame_open(offset, source, &header):
            return 0
        if is_first:
            # parts without a commit frame before it are dropped: the frame names its own first one
            self.part_offset = offset
            self.part_start = start
        if header.flags & FRAME_PURGED:
            chain_next_digest(self.chain_value, digest, self.chain_value)
        else:
            chain_next(
                self.chain_value, source, <size_t>header.body_size + FRAME_OVERHEAD,
                self.chain_value)
        self.offset = frame_align(offset + FRAME_OVERHEAD + header.body_size)
        self.ordinal = header.ordinal
        if header.durable > self.durable:
            self.durable = header.durable
        self.is_closed = header.kind == FRAME_CLOSED
        if header.kind == FRAME_PART:
            self.part_first = header.first_ordinal
            return 1
        if header.kind == FRAME_COMMIT:
            entry = <Entry *>buffer_grow(&self.entries, sizeof(Entry))
            if entry == NULL:
                return raise_memory()
            entry.ordinal = header.ordinal
            entry.first_ordinal = header.first_ordinal
            entry.offset = self.part_offset
            entry.start = self.part_start
            entry.size = self.arena.size - self.part_start
        self.part_first = 0
        self.end_offset = self.offset
        self.end_ordinal = self.ordinal
        memcpy(self.end_chain_value, self.chain_value, CHAIN_SIZE)
        return 1

    cdef int digest_find(self, uint64_t offset, uint8_t *out32) except -1 with gil:
        # 1: what the purged frame here counts with in the chain
        cdef bytes digest
        if self.digests is None:
            self.digests = purge_table(self.vfs, self.fd)
        digest = self.digests.get(offset)
        if digest is None:
            return 0
        memcpy(out32, <const uint8_t *>digest, DIGEST_SIZE)
        return 1

    cdef int walk(self, size_t size_max) except -1 nogil:
        # take frames until size_max bytes of whole commits are opened or nothing continues
        cdef uint64_t boundary
        cdef int taken
        while self.arena.size < size_max or self.part_first:
            taken = 0
            if self.offset < self.limit and self.end_ordinal < self.stop:
                taken = self.frame_take(self.offset)
                boundary = block_end(self.offset - 1)
                if not taken and boundary > self.offset and boundary < self.limit:
                    taken = self.frame_take(boundary)
            if not taken:
                self.is_ended = True
                return 0
        return 0

    def batch(self, size_t size_max = 1048576):
        """The next commits: (ordinal, lsn of first frame, body, first ordinal); [] at the end."""
        cdef Entry *entries
        cdef size_t i
        cdef size_t count
        cdef uint64_t base = self.segment_id << 32
        if not self.is_ended:
            with nogil:
                self.walk(size_max)
        count = self.entries.size // sizeof(Entry)
        entries = <Entry *>self.entries.data
        commits = [
            (entries[i].ordinal, base | entries[i].offset,
             (<const char *>self.arena.data)[entries[i].start:entries[i].start + entries[i].size],
             entries[i].first_ordinal)
            for i in range(count)
        ]
        self.entries.size = 0
        self.arena.size = 0
        if self.arena.capacity > ARENA_KEEP_MAX:
            buffer_free(&self.arena)
        return commits

    # --- the end of a log (I-11) ---

    cdef int place_judge(self, uint64_t offset) except -1 nogil:
        # 1: a genuine frame with the next ordinal is here, though it does not continue the walk
        cdef FrameHeader header
        cdef const uint8_t *source = NULL
        if not self.probe(offset, &header, &source) or header.ordinal != self.ordinal + 1:
            return 0
        if not self.frame_open(offset, source, &header):
            return 0
        self.arena.size -= header.body_size
        return 1

    cdef int tail_judge(self, uint64_t *bad, uint64_t *nonzero_end) except -1 nogil:
        cdef FrameHeader header
        cdef const uint8_t *source = NULL
        cdef const uint8_t *frame = NULL
        cdef uint64_t at = self.offset
        cdef uint64_t boundary = block_end(self.offset - 1)
        cdef uint64_t opened = 0
        cdef int64_t left
        cdef int64_t i
        cdef size_t piece
        nonzero_end[0] = self.offset
        bad[0] = at
        if self.place_judge(at):
            return TAIL_FOREIGN
        bad[0] = boundary
        if boundary > at and self.place_judge(boundary):
            return TAIL_FOREIGN
        while True:
            left = self.load(at, &source)
            if left == 0:
                return TAIL_END
            # most of what lies behind an end is zeros, written ahead
            for i in range(left if is_zeros(source, <size_t>left) else 0, left, 8):
                piece = 8 if left - i >= 8 else <size_t>(left - i)
                if is_zeros(source + i, piece):
                    continue
                nonzero_end[0] = at + <uint64_t>i + piece
                if not frame_header_read(source + i, <size_t>(left - i), &header):
                    continue
                if header.durable <= self.ordinal:
                    continue
                if <int64_t>header.body_size > left - i - FRAME_OVERHEAD:
                    continue
                bad[0] = at + <uint64_t>i
                # overlapping claims would make this quadratic, and honest frames do not overlap
                opened += header.body_size
                if opened > 4 * (at + <uint64_t>i - self.offset) + 1048576:
                    return TAIL_FORGED
                frame = source + i
                if self.frame_open(bad[0], frame, &header):
                    self.arena.size -= header.body_size
                    return TAIL_CLAIMED
            at += <uint64_t>left

    def judge(self):
        """(answer, its offset, end of the last byte behind the walk that is not zero).

        The answer is "end" or one of "claimed", "foreign", "forged": see TAIL_*.
        """
        cdef uint64_t bad = 0
        cdef uint64_t nonzero_end = 0
        cdef int answer
        with nogil:
            answer = self.tail_judge(&bad, &nonzero_end)
        return ("end", "claimed", "foreign", "forged")[answer], bad, nonzero_end

    # --- frames by themselves ---

    def frame_at(self, uint64_t offset):
        """(kind, ordinal, first_ordinal, durable, body, end) of the genuine frame here, or None."""
        cdef FrameHeader header
        cdef const uint8_t *source = NULL
        if offset < SEGMENT_HEADER_SIZE or not self.probe(offset, &header, &source):
            return None
        if not self.frame_open(offset, source, &header):
            return None
        self.arena.size -= header.body_size
        return self.frame_tuple(offset, &header)

    cdef object frame_tuple(self, uint64_t offset, const FrameHeader *header):
        # the body was just opened behind the arena's end
        cdef const char *body = <const char *>(self.arena.data + self.arena.size)
        return (header.kind, header.ordinal, header.first_ordinal, header.durable,
                body[:header.body_size], frame_align(offset + FRAME_OVERHEAD + header.body_size))

    cdef int genuine_find(self, FrameHeader *header) except -1 nogil:
        # 1: self.offset is at a genuine frame, whatever came before it; 0: none up to the end
        cdef const uint8_t *source = NULL
        cdef int64_t left
        cdef int64_t i
        while True:
            left = self.load(self.offset, &source)
            if left < <int64_t>FRAME_OVERHEAD:
                if left == 0:
                    return 0
                self.offset = frame_align(self.offset + <uint64_t>left)
                continue
            for i in range(0, left, 8):
                if frame_header_read(source + i, <size_t>(left - i), header):
                    if <int64_t>header.body_size > left - i - FRAME_OVERHEAD:
                        continue
                    if self.frame_open(self.offset + <uint64_t>i, source + i, header):
                        self.arena.size -= header.body_size
                        self.offset += <uint64_t>i
                        return 1
            self.offset = frame_align(self.offset + <uint64_t>left)

    def genuine_next(self):
        """(offset, kind, ordinal, first_ordinal, durable, body, end) of the next genuine frame."""
        cdef FrameHeader header
        cdef uint64_t offset
        cdef int found
        with nogil:
            found = self.genuine_find(&header)
        if not found:
            return None
        offset = self.offset
        entry = self.frame_tuple(offset, &header)
        self.offset = entry[5]
        return (offset, *entry)

    cdef int block_find(self, uint64_t block, uint64_t ordinal) except -1 nogil:
        # 1: the frame with this ordinal is in this block and self.offset is at it
        cdef FrameHeader header
        cdef const uint8_t *source = NULL
        cdef uint64_t at = block * BLOCK_SIZE if block else SEGMENT_HEADER_SIZE
        cdef uint64_t end = (block + 1) * BLOCK_SIZE
        while at < end and self.probe(at, &header, &source):
            if header.ordinal >= ordinal:
                self.offset = at
                return header.ordinal == ordinal
            at = frame_align(at + FRAME_OVERHEAD + header.body_size)
        return 0

    cdef int ordinal_find(self, uint64_t ordinal) except -1 nogil:
        # bisection: every block that the log has reached starts with a frame
        cdef FrameHeader header
        cdef int64_t size = self.vfs.table.size(self.vfs.context, self.fd)
        cdef int64_t known = self.vfs.block_of(self.fd, ordinal)
        cdef uint64_t lower = 0
        cdef uint64_t upper
        cdef uint64_t middle
        cdef int64_t left
        if size < 0:
            return raise_read(self.vfs, self.segment_id, 0, size)
        if known >= 0 and self.block_find(<uint64_t>known, ordinal):
            return 1
        upper = (<uint64_t>size + BLOCK_SIZE - 1) // BLOCK_SIZE
        while upper - lower > 1 and upper > lower:
            middle = lower + (upper - lower) // 2
            left = vfs_read_all(
                self.vfs, self.fd, self.window, FRAME_HEADER_SIZE, middle * BLOCK_SIZE)
            self.window_size = 0
            if left < 0:
                return raise_read(self.vfs, self.segment_id, middle * BLOCK_SIZE, left)
            if (frame_header_read(self.window, <size_t>left, &header)
                    and header.ordinal <= ordinal):
                lower = middle
            else:
                upper = middle
        if self.block_find(lower, ordinal):
            return 1
        # a damaged block start misleads bisection: look at all of them before giving up
        upper = (<uint64_t>size + BLOCK_SIZE - 1) // BLOCK_SIZE
        for middle in range(upper):
            if self.block_find(middle, ordinal):
                return 1
        return 0

    def find(self, uint64_t ordinal):
        """The offset of the frame with this ordinal (by its header: not opened), or None."""
        cdef int found
        with nogil:
            found = self.ordinal_find(ordinal)
        return self.offset if found else None


def purge_table(Vfs vfs not None, int fd) -> dict:
    """The purge table that ends a segment file: offset of a frame -> its digest; {} if none does.
    """
    cdef int64_t size = vfs.size(fd)
    if size < PURGE_FOOTER_SIZE:
        return {}
    cdef bytes footer = vfs.read(fd, PURGE_FOOTER_SIZE, size - PURGE_FOOTER_SIZE)
    cdef const uint8_t *source = footer
    cdef uint64_t count
    cdef uint64_t at
    if len(footer) < PURGE_FOOTER_SIZE:
        return {}
    if load_u32(source + PURGE_MAGIC) != <uint32_t>PURGE_MAGIC_VALUE:
        return {}
    count = load_u32(source + PURGE_COUNT)
    if count > <uint64_t>(size - PURGE_FOOTER_SIZE) // PURGE_ENTRY_SIZE:
        return {}
    size -= PURGE_FOOTER_SIZE + <int64_t>(count * PURGE_ENTRY_SIZE)
    cdef bytes entries = vfs.read(fd, count * PURGE_ENTRY_SIZE, size)
    source = entries
    cdef dict table = {}
    for at in range(0, len(entries), PURGE_ENTRY_SIZE):
        table[load_u64(source + at + PURGE_OFFSET)] = (
            entries[at + PURGE_DIGEST:at + PURGE_ENTRY_SIZE])
    return table


def frame_header_any(Vfs vfs not None, int fd, uint64_t ordinal_min):
    """The offset of anything that looks like a frame of this ordinal or a later one, or None: for
    void segments, where nothing can be opened, and an honest crash leaves no frame.
    """
    cdef Scanner scanner = Scanner(vfs, fd, None, bytes(16), 0, SEGMENT_HEADER_SIZE, 0, bytes(32))
    cdef FrameHeader header
    cdef const uint8_t *source = NULL
    cdef uint64_t at = SEGMENT_HEADER_SIZE
    cdef int64_t left
    cdef int64_t i
    while True:
        left = scanner.load(at, &source)
        if left == 0:
            return None
        for i in range(0, left - FRAME_OVERHEAD + 1, 8):
            if frame_header_read(source + i, <size_t>(left - i), &header):
                if header.ordinal >= ordinal_min:
                    return at + <uint64_t>i
        at = frame_align(at + <uint64_t>left)
