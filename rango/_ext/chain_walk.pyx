"""The kernel that walks the chain of one log segment without opening a frame: for anyone.

Terms       frame, segment, ordinal, chain value: see glossary. To continue: to have the next
            ordinal and half of the chain value that the walk has reached.
Invariants  Nothing is believed but what the bytes say: headers by their check, order by ordinals,
            content by the chain. In a plain database, whose tags need no key, tags too.
Layout      layout.pxd FRAME_*; _ext/frame.pyx; purged frames count with the digest that the purge
            table states (storage/purge.py).
Failure     the walk stops at the first place where no frame continues; `reason` says why (WALK_*),
            claim() and find() what lies behind. A read that fails: IoFailed.
Sources     architecture section 4 (Chain); ADR-0031.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from rango._ext.buffer cimport buffer_free, buffer_init, buffer_reserve
from rango._ext.frame cimport (
    FRAME_AAD_SIZE, FrameHeader, block_end, chain_next_digest, frame_aad_write, frame_align,
    frame_header_read,
)
from rango._ext.layout cimport (
    BLOCK_SIZE, CHAIN_SIZE, DATABASE_ID_SIZE, FRAME_COMMIT, FRAME_HEADER_SIZE, FRAME_OVERHEAD,
    FRAME_PART, FRAME_PURGED, TAG_SIZE,
)
from rango._ext.seal cimport SealKey, blake2b_256
from rango._ext.segment_scan import purge_table
from rango._ext.segment cimport raise_read
from rango._ext.vfs cimport Vfs, vfs_read_all

cdef enum:
    WINDOW_SIZE = 1048576       # 16 blocks in one read
    # why a frame does not continue the walk
    WALK_ON = 0
    WALK_NOTHING = 1            # no header
    WALK_TAG = 2                # plain database: its tag does not fit
    WALK_ORDINAL = 3            # another ordinal
    WALK_CHAIN = 4              # another chain value
    WALK_PARTS = 5              # it goes on with a commit that did not begin
    WALK_PURGED = 6             # it says that it was purged, and the purge table does not know it

cdef tuple REASONS = ("", "nothing", "tag", "ordinal", "chain", "parts", "purged")


@cython.final
cdef class ChainWalk:
    """Walks the chain of one segment. It never writes and never closes the descriptor."""

    def __cinit__(self):
        buffer_init(&self.body)

    def __dealloc__(self):
        buffer_free(&self.body)
        free(self.window)

    def __init__(
            self, Vfs vfs not None, int fd, SealKey key, bytes database_id not None,
            uint64_t segment_id, uint64_t offset, uint64_t ordinal, bytes chain not None):
        """A walk that continues `ordinal` and `chain` at `offset`. `key`: of a plain database."""
        if len(chain) != CHAIN_SIZE or len(database_id) != DATABASE_ID_SIZE:
            raise ValueError("a database id is 16 bytes and a chain value 32")
        free(self.window)
        self.window = <uint8_t *>malloc(WINDOW_SIZE)
        if self.window == NULL:
            raise MemoryError("no memory for the window of a log scan")
        self.vfs = vfs
        self.fd = fd
        self.key = key
        self.has_key = key is not None
        memcpy(self.database_id, <const uint8_t *>database_id, DATABASE_ID_SIZE)
        self.segment_id = segment_id
        self.limit = <uint64_t>0xffffffffffffffff
        self.offset = self.end_offset = self.before_offset = self.last_offset = offset
        self.ordinal = self.end_ordinal = self.before_ordinal = ordinal
        memcpy(self.chain_value, <const uint8_t *>chain, CHAIN_SIZE)
        memcpy(self.end_chain_value, self.chain_value, CHAIN_SIZE)
        memcpy(self.before_chain_value, self.chain_value, CHAIN_SIZE)
        self.purges = []

    @property
    def chain(self) -> bytes:
        """The chain value after the last frame."""
        return (<const char *>self.chain_value)[:CHAIN_SIZE]

    @property
    def end_chain(self) -> bytes:
        """The chain value after the last whole commit."""
        return (<const char *>self.end_chain_value)[:CHAIN_SIZE]

    @property
    def before_chain(self) -> bytes:
        """`end_chain` as it was before the last frame."""
        return (<const char *>self.before_chain_value)[:CHAIN_SIZE]

    @property
    def why(self) -> str:
        """Why no frame continues: a word of REASONS, or ""."""
        return REASONS[self.reason]

    cdef int64_t load(self, uint64_t offset, const uint8_t **out) except -1 nogil:
        # what may be read from offset to the end of its block; *out is good until the next load
        cdef uint64_t start = offset & ~(<uint64_t>(BLOCK_SIZE - 1))
        cdef uint64_t end = block_end(offset)
        cdef int64_t status
        if start < self.window_offset or start >= self.window_offset + self.window_size:
            self.window_size = 0
            status = vfs_read_all(self.vfs, self.fd, self.window, WINDOW_SIZE, start)
            if status < 0:
                return raise_read(self.vfs, self.segment_id, start, status)
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

    cdef int tag_fits(
            self, uint64_t offset, const uint8_t *source,
            const FrameHeader *header) except -1 nogil:
        cdef uint8_t[FRAME_AAD_SIZE] aad
        if not self.has_key:
            return 1
        if buffer_reserve(&self.body, <size_t>header.body_size + TAG_SIZE) < 0:
            with gil:
                raise MemoryError("no memory for one frame")
        frame_aad_write(aad, self.database_id, self.segment_id, offset, source)
        return self.key.open(
            aad, FRAME_AAD_SIZE, header.nonce, source + FRAME_HEADER_SIZE,
            <size_t>header.body_size + TAG_SIZE, self.body.data)

    cdef int refuse(self, uint64_t offset, const FrameHeader *header, int reason) noexcept nogil:
        # what is found at the start of a block says more than that nothing lies before it
        if self.reason == WALK_ON or (self.reason == WALK_NOTHING and reason != WALK_NOTHING):
            self.reason = reason
            self.bad_offset = offset
            self.bad_ordinal = 0 if reason == WALK_NOTHING else header.ordinal
        return 0

    cdef int frame_take(self, uint64_t offset) except -1 nogil:
        # 1: the frame here continues the walk, which is now behind it
        cdef FrameHeader header
        cdef const uint8_t *source = NULL
        cdef uint8_t[32] digest
        if not self.probe(offset, &header, &source):
            return self.refuse(offset, &header, WALK_NOTHING)
        if header.ordinal != self.ordinal + 1:
            return self.refuse(offset, &header, WALK_ORDINAL)
        if not self.tag_fits(offset, source, &header):
            return self.refuse(offset, &header, WALK_TAG)
        if memcmp(header.previous, self.chain_value, 16):
            return self.refuse(offset, &header, WALK_CHAIN)
        if header.first_ordinal != header.ordinal and header.first_ordinal != self.part_first:
            return self.refuse(offset, &header, WALK_PARTS)
        blake2b_256(source, <size_t>header.body_size + FRAME_OVERHEAD, NULL, 0, digest)
        if header.flags & FRAME_PURGED:
            if not self.purge_take(offset, header.ordinal, digest, digest):
                return self.refuse(offset, &header, WALK_PURGED)
            self.purged += 1
        self.before_offset = self.end_offset
        self.before_ordinal = self.end_ordinal
        memcpy(self.before_chain_value, self.end_chain_value, CHAIN_SIZE)
        chain_next_digest(self.chain_value, digest, self.chain_value)
        self.last_offset = offset
        self.offset = frame_align(offset + FRAME_OVERHEAD + header.body_size)
        self.ordinal = header.ordinal
        self.frames += 1
        if header.kind == FRAME_PART:
            self.part_first = header.first_ordinal
            return 1
        if header.kind == FRAME_COMMIT:
            self.commits += 1
        self.part_first = 0
        self.end_offset = self.offset
        self.end_ordinal = self.ordinal
        memcpy(self.end_chain_value, self.chain_value, CHAIN_SIZE)
        return 1

    cdef int purge_take(
            self, uint64_t offset, uint64_t ordinal, const uint8_t *present, uint8_t *out32
    ) except -1 with gil:
        # 1: what the purged frame here counts with in the chain
        cdef bytes digest
        if self.digests is None:
            self.digests = purge_table(self.vfs, self.fd)
        digest = self.digests.get(offset)
        if digest is None:
            return 0
        self.purges.append((offset, ordinal, (<const char *>present)[:32]))
        memcpy(out32, <const uint8_t *>digest, 32)
        return 1

    cdef int steps(self, uint64_t size_max, uint64_t until) except -1 nogil:
        cdef uint64_t end = self.offset + size_max
        cdef uint64_t boundary
        cdef int taken
        while self.offset < end and self.ordinal < until:
            taken = 0
            self.reason = WALK_ON
            if self.offset < self.limit:
                taken = self.frame_take(self.offset)
                boundary = block_end(self.offset - 1)
                if not taken and boundary > self.offset and boundary < self.limit:
                    taken = self.frame_take(boundary)
            if not taken:
                self.is_ended = True
                return 0
        return 0

    def walk(self, uint64_t size_max, uint64_t until) -> None:
        """Go on over about `size_max` bytes, at most to the frame with the ordinal `until`."""
        self.is_ended = False
        # what was read may have been written over since
        self.window_size = 0
        with nogil:
            self.steps(size_max, until)

    def purges_take(self) -> list:
        """(offset, ordinal, digest of what is there now) of the purged frames since the last call.
        """
        found = self.purges
        self.purges = []
        return found

    # --- what lies behind the place where the walk stopped ---

    cdef int header_next(
            self, uint64_t *at, FrameHeader *header, uint64_t *tried) except -1 nogil:
        # 1: there is a header (and its tag fits, if tags are looked at) at `at` or behind it
        cdef const uint8_t *source = NULL
        cdef const uint8_t *frame = NULL
        cdef int64_t left
        cdef int64_t i
        while True:
            left = self.load(at[0], &source)
            if left <= 0:
                return 0
            for i in range(0, left - FRAME_OVERHEAD + 1, 8):
                if not frame_header_read(source + i, <size_t>(left - i), header):
                    continue
                if <int64_t>header.body_size > left - i - FRAME_OVERHEAD:
                    continue
                if at[0] + <uint64_t>i >= self.limit:
                    return 0
                # claims that overlap would make this quadratic, and honest frames do not
                tried[0] += header.body_size
                frame = source + i
                if tried[0] <= 4 * (at[0] + <uint64_t>i - self.offset) + WINDOW_SIZE:
                    if not self.tag_fits(at[0] + <uint64_t>i, frame, header):
                        continue
                at[0] += <uint64_t>i
                return 1
            at[0] = frame_align(at[0] + <uint64_t>left)

    def claim(self, uint64_t ordinal) -> bool:
        """Whether a frame behind the walk says that this ordinal was durable (I-11)."""
        cdef FrameHeader header
        cdef uint64_t at = self.offset
        cdef uint64_t tried = 0
        cdef bint found = False
        self.window_size = 0
        with nogil:
            while self.header_next(&at, &header, &tried):
                if header.durable >= ordinal:
                    found = True
                    break
                at += 8
        return found

    def find(self, uint64_t ordinal) -> int | None:
        """The offset of a frame with this ordinal behind the walk, or None."""
        cdef FrameHeader header
        cdef uint64_t at = self.offset
        cdef uint64_t tried = 0
        cdef bint found = False
        self.window_size = 0
        with nogil:
            while self.header_next(&at, &header, &tried):
                if header.ordinal == ordinal:
                    found = True
                    break
                at += 8
        return at if found else None
