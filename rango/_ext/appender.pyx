"""The writing end of the oplog: frames, seals and writes commits; many threads share one flush.

Terms       frame, segment, ordinal: see glossary. Prewritten: written with zeros and flushed ahead
            of use, so that a flush of frames in it changes no metadata. Leader: the thread that
            flushes for all who wait; the others sleep. To roll: to go on in a new segment. Carry: a
            closed frame that was read back but may be in the cache only; it is written again, in
            one write with the next commit, instead of costing a flush of its own (I-17).
Invariants  I-1, I-6 (at most SEGMENT_FRAMES_MAX seals under one subkey), I-10, I-11, I-17.
            Behind `position` there is never a whole commit frame: a write that failed half-way is
            either without its last tag byte, or wiped, or the log is latched.
States      usable -> latched (a write with unknown outcome, any failed flush), for ever
            usable -> closed (close)
Failure     ENOSPC, EDQUOT: LowDisk, nothing was appended, later appends may work.
            Anything else, and every failed flush: IoFailed, latched. A failed flush is not tried
            again on the same descriptor: the system may have dropped the pages and call them clean.
Sources     architecture sections 3, 6, 7; performance.md sections 2 and 3; log_flush.pyx.
"""

import os

from rango._ext.segment import segment_path
from rango.errors import DatabaseClosed, IoFailed, LowDisk

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from rango._ext.buffer cimport buffer_free, buffer_init, buffer_reserve
from rango._ext.frame cimport (
    FRAME_AAD_SIZE, CommitPlan, FrameHeader, block_end, chain_next, commit_plan, frame_aad_write,
    frame_align, frame_check_write, frame_header_start,
)
from rango._ext.layout cimport (
    BLOCK_SIZE, CHAIN_SIZE, DATABASE_ID_SIZE, FRAME_CLOSED, FRAME_COMMIT, FRAME_HEADER_SIZE,
    FRAME_NONCE, FRAME_OVERHEAD, FRAME_PART, SEGMENT_FIRST_STEP, SEGMENT_FRAMES_MAX,
    SEGMENT_HEADER_SIZE, SEGMENT_SIZE_MAX, SEGMENT_STEP_MAX, UNIT_SIZE,
)
from rango._ext.log_flush cimport flush_lead
from rango._ext.seal cimport SealKey
from rango._ext.segment cimport (
    STAGE_RENAME, STAGE_WRITE, SegmentHeader, first_size, is_no_space, segment_create, zeros_write)
from rango._ext.shared cimport WORD_APPENDED, WORD_APPENDING, WORD_DURABLE, WORD_FAILED, Shared
from rango._ext.vfs cimport Vfs, vfs_kept_raise, vfs_write_all

cdef enum:
    GROW_SIZE_MIN = 65536       # a larger commit lets the file grow with it instead of prewriting
    NOGIL_SIZE_MIN = 65536      # sealing this takes longer than another thread's wait for the GIL
    BUFFER_KEEP_MAX = 1048576


@cython.final
cdef class Appender:
    """Appends commits to the newest segment. One per open database; Oplog.adopt() makes it."""

    def __cinit__(self):
        buffer_init(&self.buffer)
        pthread_mutex_init(&self.mutex, NULL)
        pthread_cond_init(&self.flushed[0], NULL)
        pthread_cond_init(&self.flushed[1], NULL)
        self.fd = -1

    def __dealloc__(self):
        buffer_free(&self.buffer)
        pthread_cond_destroy(&self.flushed[1])
        pthread_cond_destroy(&self.flushed[0])
        pthread_mutex_destroy(&self.mutex)

    def __init__(
            self, Vfs vfs not None, keyring, str directory not None, list segments not None,
            uint64_t next_id, int fd, uint64_t position, uint64_t ordinal, uint64_t durable,
            bytes chain not None, uint64_t allocated, bytes carry=None, *,
            uint64_t segment_size_max=SEGMENT_SIZE_MAX, Shared shared=None):
        """`segments[-1]` is the segment behind `fd`; its last frame ended at `position`. Without
        `shared` the log is this process's alone.
        """
        cdef SegmentHeader header = segments[len(segments) - 1]
        cdef bytes database_id = keyring.database_id
        if len(chain) != CHAIN_SIZE or len(database_id) != DATABASE_ID_SIZE:
            raise ValueError("a chain value is 32 bytes and a database id 16")
        self.vfs = vfs
        self.shared = shared
        if shared is None:
            self.shared = Shared(vfs, -1)
            self.shared.begin(ordinal, durable, 0, 0, header.id, position)
        self.keyring = keyring
        self.directory = directory
        self.segments = segments
        self.next_id = next_id
        self.segment_size_max = segment_size_max
        self.fd = fd
        self.segment_id = header.id
        self.key = keyring.segment_key(header.id, header.salt, header.epoch)
        self.position = position
        self.ordinal = ordinal
        self.durable = durable
        self.frames = ordinal + 1 - header.first_ordinal
        self.allocated = allocated
        self.step = SEGMENT_FIRST_STEP
        memcpy(self.database_id, <const uint8_t *>database_id, DATABASE_ID_SIZE)
        memcpy(self.chain_value, <const uint8_t *>chain, CHAIN_SIZE)
        if carry is not None:
            if len(carry) != FRAME_OVERHEAD:
                raise ValueError("a closed frame has 84 bytes")
            memcpy(self.carry, <const uint8_t *>carry, FRAME_OVERHEAD)
            self.carry_size = FRAME_OVERHEAD
            self.is_closed = True

    # --- appending: the caller holds the append lock ---

    cdef int append(self, const uint8_t *body, size_t size, uint64_t *ordinal) except -1:
        return self.frames_append(FRAME_COMMIT, body, size, ordinal)

    cdef int frames_append(
            self, uint8_t kind, const uint8_t *body, size_t size, uint64_t *ordinal) except -1:
        self.usable_check()
        self.shared.store(WORD_APPENDING, self.shared.me)
        try:
            self.frames_put(kind, body, size)
        finally:
            # latched, the word stays: nobody appends behind this before a recovery
            if not self.failed:
                self.shared.store(WORD_APPENDING, 0)
        ordinal[0] = self.ordinal
        self.is_closed = kind == FRAME_CLOSED
        if self.buffer.capacity > <size_t>BUFFER_KEEP_MAX:
            buffer_free(&self.buffer)
        return 0

    cdef int frames_put(self, uint8_t kind, const uint8_t *body, size_t size) except -1:
        cdef CommitPlan plan
        cdef int status = 0
        commit_plan(self.position, size, &plan)
        # a closed frame needs no new segment: closing would cost two flushes more
        if ((self.position >= self.segment_size_max and kind != FRAME_CLOSED)
                or self.frames + plan.frames > <uint64_t>SEGMENT_FRAMES_MAX):
            self.roll(&plan, size)
        if plan.end > self.allocated:
            self.room_make(&plan)
        self.frames += plan.frames
        if size >= <size_t>NOGIL_SIZE_MIN:
            with nogil:
                self.frames_seal(kind, body, size, &plan)
                status = self.frames_write(&plan)
        else:
            self.frames_seal(kind, body, size, &plan)
            status = self.frames_write(&plan)
        if status < 0:
            return self.write_failed(&plan, status)
        # with the GIL again: until the store knows the commit, no other thread may look for it
        self.shared.publish(self.segment_id, self.position, self.ordinal)
        return 0

    cdef int frames_seal(
            self, uint8_t kind, const uint8_t *body, size_t size, const CommitPlan *plan
    ) except -1 nogil:
        # the carry, the gap and the frames, as one stretch of bytes in the buffer
        cdef uint64_t base = self.position - frame_align(self.carry_size)
        cdef uint64_t at = plan.start
        cdef uint64_t ordinal = self.ordinal
        cdef uint8_t *into
        cdef size_t piece
        self.buffer.size = 0
        if buffer_reserve(&self.buffer, <size_t>(plan.end - base)) < 0:
            with gil:
                raise MemoryError("no memory to seal a commit; nothing was appended")
        into = self.buffer.data
        memset(into, 0, <size_t>(plan.start - base))
        memcpy(into, self.carry, self.carry_size)
        memcpy(self.next_chain, self.chain_value, CHAIN_SIZE)
        while True:
            ordinal += 1
            piece = <size_t>(block_end(at) - at) - FRAME_OVERHEAD
            if size > piece:
                self.frame_seal(FRAME_PART, ordinal, at, body, piece, into + (at - base))
                body += piece
                size -= piece
                at += piece + FRAME_OVERHEAD
                continue
            self.frame_seal(kind, ordinal, at, body, size, into + (at - base))
            self.buffer.size = <size_t>(plan.end - base)
            return 0

    cdef int frame_seal(
            self, uint8_t kind, uint64_t ordinal, uint64_t offset, const uint8_t *body, size_t size,
            uint8_t *into) except -1 nogil:
        cdef FrameHeader header
        cdef uint8_t[FRAME_AAD_SIZE] aad
        header.body_size = <uint32_t>size
        header.kind = kind
        header.flags = 0
        header.ordinal = ordinal
        header.first_ordinal = self.ordinal + 1
        header.durable = self.shared.load(WORD_DURABLE)
        memcpy(header.previous, self.next_chain, 16)
        frame_header_start(into, &header)
        frame_aad_write(aad, self.database_id, self.segment_id, offset, into)
        self.key.seal(
            aad, FRAME_AAD_SIZE, body, size, into + FRAME_NONCE, into + FRAME_HEADER_SIZE)
        frame_check_write(into)
        chain_next(self.next_chain, into, size + FRAME_OVERHEAD, self.next_chain)
        return 0

    cdef int frames_write(self, const CommitPlan *plan) noexcept nogil:
        # one write; then, and only then, the state moves
        cdef int status = vfs_write_all(
            self.vfs, self.fd, self.buffer.data, self.buffer.size, plan.end - self.buffer.size)
        if status < 0:
            return status
        if plan.end > self.allocated:
            self.allocated = plan.end
        self.position = frame_align(plan.end)
        self.lsn_of_last = self.segment_id << 32 | plan.start
        self.carry_size = 0
        memcpy(self.chain_value, self.next_chain, CHAIN_SIZE)
        pthread_mutex_lock(&self.mutex)
        self.ordinal += plan.frames
        pthread_mutex_unlock(&self.mutex)
        return 0

    cdef int write_failed(self, const CommitPlan *plan, int status) except -1:
        cdef uint64_t end = plan.end if plan.end < self.allocated else self.allocated
        cdef int wiped = 0
        if not is_no_space(status):
            return self.latch(status, "write")
        # Of several frames some may be whole now. Wipe them: others will take their ordinals.
        with nogil:
            if end > self.position:
                wiped = zeros_write(self.vfs, self.fd, self.position, end - self.position)
            if plan.end > self.allocated and wiped == 0:
                wiped = self.vfs.table.truncate(self.vfs.context, self.fd, self.allocated)
        if wiped < 0 and (plan.frames > 1 or plan.start != self.position):
            return self.latch(status, "write")
        raise LowDisk(
            f"no space for a commit of {plan.end - self.position} bytes in {self.directory};"
            " nothing was appended; free space and try again")

    cdef int room_make(self, const CommitPlan *plan) except -1:
        # prewrite the next step; with less space, a smaller one; at least this commit
        cdef uint64_t needed = (plan.end + UNIT_SIZE - 1) & ~(<uint64_t>(UNIT_SIZE - 1))
        cdef uint64_t target_max = self.segment_size_max + BLOCK_SIZE
        cdef uint64_t target
        cdef uint64_t step = self.step
        cdef int status
        if plan.end - self.position > <uint64_t>GROW_SIZE_MIN:
            return 0
        while True:
            target = self.allocated + step
            if target > target_max:
                target = target_max
            if target < needed:
                target = needed
            with nogil:
                status = zeros_write(self.vfs, self.fd, self.allocated, target - self.allocated)
            if status == 0:
                break
            if not is_no_space(status):
                return self.latch(status, "write")
            if target == needed:
                raise LowDisk(
                    f"no space to extend the oplog in {self.directory}; nothing was appended;"
                    " free space and try again")
            step = step // 2 if step > <uint64_t>UNIT_SIZE else 0
        self.carry_write()
        with nogil:
            status = self.flush_share(self.ordinal, True)
        if status < 0:
            return self.latch(status, "flush")
        self.allocated = target
        if self.step < <uint64_t>SEGMENT_STEP_MAX:
            self.step *= 2
        return 0

    cpdef int carry_write(self) except -1:
        """Write the carry: before a flush that is not behind an append, and before others come."""
        cdef int status
        if self.carry_size == 0:
            return 0
        status = vfs_write_all(
            self.vfs, self.fd, self.carry, self.carry_size,
            self.position - frame_align(self.carry_size))
        if status < 0:
            return self.latch(status, "write")
        self.carry_size = 0
        return 0

    cdef int roll(self, CommitPlan *plan, size_t size) except -1:
        cdef SegmentHeader header
        cdef SealKey key
        cdef int stage = 0
        cdef int fd
        cdef uint64_t allocated = first_size(self.segment_size_max)
        self.carry_write()
        with nogil:
            fd = self.flush_share(self.ordinal, False)
        if fd < 0:
            return self.latch(fd, "flush")
        header = SegmentHeader(
            self.next_id, self.segment_id, self.position, self.ordinal + 1, self.chain,
            self.key.entropy.bytes(16), self.keyring.epoch, self.database_id[:DATABASE_ID_SIZE])
        key = self.keyring.segment_key(header.id, header.salt, header.epoch)
        cdef bytes packed = header.pack(self.keyring)
        cdef bytes directory = os.fsencode(self.directory)
        cdef bytes target = os.fsencode(segment_path(self.directory, header.id))
        cdef bytes temporary = target + b".new"
        cdef const char *place = directory
        cdef const char *name = target
        cdef const char *name_new = temporary
        cdef const uint8_t *bytes_new = packed
        with nogil:
            fd = segment_create(self.vfs, place, name_new, name, bytes_new, allocated, &stage)
        if fd >= 0:
            self.segment_take(header, key, fd, allocated)
            commit_plan(self.position, size, plan)
            # now: with no space for the commit, others would go on in the old segment
            self.shared.publish(self.segment_id, self.position, self.ordinal)
            return 0
        if not is_no_space(fd) or (stage > STAGE_WRITE and stage != STAGE_RENAME):
            return self.latch(fd, "creation of a segment")
        # a full disk: the old segment may go on past its size as long as it has room
        if plan.end <= self.allocated and self.frames + plan.frames <= <uint64_t>SEGMENT_FRAMES_MAX:
            return 0
        raise LowDisk(
            f"no space for a new oplog segment in {self.directory}; nothing was appended;"
            " free space and try again")

    cdef int segment_take(
            self, SegmentHeader header, SealKey key, int fd, uint64_t size) except -1:
        cdef int old
        with nogil:
            pthread_mutex_lock(&self.mutex)
            while self.is_flushing:
                pthread_cond_wait(&self.flushed[self.flush_number & 1], &self.mutex)
            old = self.fd
            self.fd = fd
            pthread_mutex_unlock(&self.mutex)
            self.vfs.table.close(self.vfs.context, old)
        self.segment_id = header.id
        self.next_id = header.id + 1
        self.key = key
        self.position = SEGMENT_HEADER_SIZE
        self.frames = 0
        self.allocated = size
        self.step = SEGMENT_FIRST_STEP
        self.segments.append(header)
        return 0

    # --- flushing: any thread, no lock ---

    cdef int flush_share(self, uint64_t wanted, bint is_forced) noexcept nogil:
        # 0, or the -errno that latched the log
        cdef uint64_t number, target, appended
        cdef int fd, status = 0
        if self.carry_size and not is_forced:
            return 0            # there is nothing but a closed frame
        pthread_mutex_lock(&self.mutex)
        while True:
            if self.failed:
                status = -self.failed
                break
            if self.durable >= wanted and not is_forced:
                break
            if self.is_flushing:
                # the running flush covers what was appended before it, the next one the rest
                number = self.flush_number
                if is_forced or self.flush_target < wanted:
                    number += 1
                pthread_cond_wait(&self.flushed[number & 1], &self.mutex)
                continue
            self.is_flushing = True
            self.flush_number += 1
            number = self.flush_number
            # not for a commit that is being written: if that dies, another one gets its number
            appended = self.shared.load(WORD_APPENDED)
            target = appended if wanted <= appended < self.ordinal else self.ordinal
            self.flush_target = target
            fd = self.fd
            pthread_mutex_unlock(&self.mutex)
            status = flush_lead(
                self.shared, self.vfs, fd, self.segment_id, wanted, is_forced, &target)
            pthread_mutex_lock(&self.mutex)
            self.is_flushing = False
            self.flush_count += 1
            is_forced = False
            if status < 0:
                self.failed = -status
            elif target > self.durable:
                self.durable = target
            if status < 0 or target > self.flush_target:
                # what the next flush was for may be done: none of those who wait would lead it
                pthread_cond_broadcast(&self.flushed[(number + 1) & 1])
            pthread_cond_broadcast(&self.flushed[number & 1])
            # one of those who wait for the next flush leads it
            pthread_cond_signal(&self.flushed[(number + 1) & 1])
        pthread_mutex_unlock(&self.mutex)
        return status if status < 0 else 0

    cdef int wait_durable(self, uint64_t ordinal) except -1:
        cdef int status
        if self.durable >= ordinal:
            return 0
        if ordinal > self.ordinal:
            raise ValueError(f"ordinal {ordinal} was not appended; the last one is {self.ordinal}")
        if self.fd < 0:
            raise DatabaseClosed("the oplog was closed before this commit was durable")
        with nogil:
            status = self.flush_share(ordinal, False)
        if status < 0:
            return self.latch(status, "flush")
        return 0

    cdef int usable_check(self) except -1:
        if self.fd < 0:
            raise DatabaseClosed("the oplog is closed; open it again")
        if self.failed:
            return self.latch(-self.failed, "write or flush")
        if self.shared.load(WORD_FAILED):
            return self.latch(-<int>self.shared.load(WORD_FAILED), "another process's write")
        return 0

    cdef int latch(self, int status, str what) except -1:
        with nogil:
            pthread_mutex_lock(&self.mutex)
            if not self.failed:
                self.failed = -status
            pthread_cond_broadcast(&self.flushed[0])
            pthread_cond_broadcast(&self.flushed[1])
            pthread_mutex_unlock(&self.mutex)
            self.shared.fail_with(<uint64_t>self.failed)
        vfs_kept_raise(self.vfs)
        raise IoFailed(
            f"{what} failed in oplog segment {self.segment_id}: {os.strerror(-status)}; what was"
            f" appended after ordinal {self.durable} may be lost; check the disk, then close and"
            " open again")

    @property
    def chain(self) -> bytes:
        """The chain value after the last appended frame."""
        return (<const char *>self.chain_value)[:CHAIN_SIZE]

    @property
    def is_latched(self) -> bool:
        """A write or flush had an unknown outcome (I-10): nothing is appended any more."""
        return self.failed != 0

    def mark(self):
        """(segment id, next offset, last ordinal, chain value), for slots. Under the append lock.
        """
        return self.segment_id, self.position, self.ordinal, self.chain

    def append_bytes(self, bytes body not None) -> int:
        """Append one commit and return its ordinal. The caller holds the append lock."""
        cdef uint64_t ordinal = 0
        self.append(body, <size_t>len(body), &ordinal)
        return ordinal

    def roll_over(self) -> None:
        """Go on in a new segment; all before is durable then. Under the append lock. LowDisk."""
        cdef CommitPlan plan
        cdef SegmentHeader last = self.segments[len(self.segments) - 1]
        if self.position > <uint64_t>SEGMENT_HEADER_SIZE or last.epoch != self.keyring.epoch:
            self.usable_check()
            commit_plan(self.position, 0, &plan)
            self.shared.store(WORD_APPENDING, self.shared.me)
            try:
                self.roll(&plan, 0)
            finally:
                if not self.failed:
                    self.shared.store(WORD_APPENDING, 0)
            if self.segment_id == last.id:
                raise LowDisk(f"no space for a new segment in {self.directory}; free some")

    def append_closed(self) -> None:
        """Flush everything, then append and flush a closed frame, unless the last one is closed."""
        cdef uint64_t ordinal = 0
        cdef uint8_t nothing = 0
        self.usable_check()
        if self.is_closed:
            return
        self.wait_durable(self.ordinal)
        self.frames_append(FRAME_CLOSED, &nothing, 0, &ordinal)
        self.wait_durable(ordinal)

    def flush(self, ordinal=None) -> None:
        """Return when everything up to `ordinal` (default: all) is durable."""
        self.wait_durable(self.ordinal if ordinal is None else ordinal)

    def close(self) -> None:
        """Close the descriptor; nothing is written or flushed. Idempotent."""
        cdef int fd
        with nogil:
            pthread_mutex_lock(&self.mutex)
            while self.is_flushing:
                pthread_cond_wait(&self.flushed[self.flush_number & 1], &self.mutex)
            fd = self.fd
            self.fd = -1
            pthread_mutex_unlock(&self.mutex)
        if fd >= 0:
            self.vfs.close(fd)
