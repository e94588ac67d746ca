"""One flush of the oplog for all processes that wait for one.

Terms       durable, segment: see the glossary. To lead: to flush for everybody; the others wait for
            the shared word `durable`, not for the lock.
Invariants  I-1, I-10, I-17. What is called durable was appended before the flush began. A flush is
            not tried again after it failed, and a leader that dies inside one leaves its mark: the
            next one writes everything since the last proven flush again (same bytes) before its
            own, because the system may have dropped those pages and call them clean.
            A flush needs no lock to be right: who has waited ALONE_S for a leader that lives (it
            may be stopped) flushes for itself, and leaves the leader's words alone.
            To gather: writers that commit one after the other would each get a flush of their own,
            because each comes just after the flush of the one before has begun. So whoever flushes
            waits for as many commits as the last turn had (those that were flushed and those that
            came too late), at most half as long as a flush takes. A lone writer never waits.
States      of the owner word: shared.pyx. WORD_FLUSHING: set -> flush -> cleared; it stays set if
            the leader died or the flush failed.
Failure     -errno, which is latched for everybody (WORD_FAILED).
Sources     architecture section 3; Rebello et al., "Can Applications Recover from fsync Failures?"
            (USENIX ATC 2020).
"""

from libc.errno cimport EINTR
from libc.stdint cimport int64_t, uint8_t, uint64_t

from rango._ext.layout cimport SEGMENT_HEADER_SIZE
from rango._ext.shared cimport (
    WORD_APPENDED, WORD_COMMITS, WORD_DURABLE, WORD_DURABLE_POSITION, WORD_DURABLE_SEGMENT,
    WORD_FAILED, WORD_FLUSH_COMMITS, WORD_FLUSH_EXPECTED, WORD_FLUSH_OWNER, WORD_FLUSH_SIGNAL,
    WORD_FLUSHING, WORD_POSITION, WORD_SEGMENT, Shared,
)
from rango._ext.vfs cimport Vfs, vfs_read_all, vfs_write_all

cdef extern from "shared_words.h":
    double rango_now() nogil
    int sched_yield() nogil

cdef enum:
    INTERRUPTS_MAX = 1000
    REWRITE_SIZE = 16384

cdef double FLUSH_LOOK_S = 0.005    # how often a waiter looks whether whoever flushes lives
cdef double ALONE_S = 1
cdef double GATHER_S_MAX = 0.001


cdef int flush_lead(
    Shared shared, Vfs vfs, int fd, uint64_t segment_id, uint64_t wanted, bint is_forced,
    uint64_t *target,
) noexcept nogil:
    # One process flushes, the others wait for its word. 0 and what is durable, or -errno.
    cdef uint64_t seen
    cdef uint64_t failed
    cdef int status
    cdef double end = rango_now() + ALONE_S
    while True:
        failed = shared.load(WORD_FAILED)
        if failed:
            return -<int>failed
        if not is_forced and shared.load(WORD_DURABLE) >= wanted:
            target[0] = shared.load(WORD_DURABLE)
            return 0
        seen = shared.load(WORD_FLUSH_SIGNAL)
        status = shared.owner_take(WORD_FLUSH_OWNER, 0)
        if status == 0:
            shared.signal_wait(WORD_FLUSH_SIGNAL, seen, FLUSH_LOOK_S)
            if shared.load(WORD_FLUSH_SIGNAL) == seen:
                # nothing moved: a flush takes long, or whoever flushed is dead
                status = shared.owner_take_dead(WORD_FLUSH_OWNER)
        if status == 0:
            if rango_now() < end:
                continue
            return flush_alone(shared, vfs, fd, segment_id, target)
        status = 0
        if not is_forced and shared.load(WORD_DURABLE) < wanted:
            gather(shared)
        if is_forced or shared.load(WORD_DURABLE) < wanted:
            status = flush_owned(shared, vfs, fd, segment_id, target)
        elif shared.load(WORD_DURABLE) > target[0]:
            target[0] = shared.load(WORD_DURABLE)
        shared.store(WORD_FLUSH_OWNER, 0)
        shared.signal(WORD_FLUSH_SIGNAL)
        return status


cdef void gather(Shared shared) noexcept nogil:
    # wait a little for those who are about to commit
    cdef uint64_t flushed = shared.load(WORD_FLUSH_COMMITS)
    cdef uint64_t expected = shared.load(WORD_FLUSH_EXPECTED)
    cdef double end
    if shared.load(WORD_COMMITS) - flushed >= expected:
        return
    end = rango_now() + shared.flush_s / 2
    while shared.load(WORD_COMMITS) - flushed < expected and rango_now() < end:
        sched_yield()


cdef int flush_owned(
    Shared shared, Vfs vfs, int fd, uint64_t segment_id, uint64_t *target
) noexcept nogil:
    # flush this process's segment, and with it what others have appended to it
    cdef uint64_t segment = shared.load(WORD_SEGMENT)
    cdef uint64_t position = shared.load(WORD_POSITION)
    cdef uint64_t commits = shared.load(WORD_COMMITS)
    cdef uint64_t appended = shared.load(WORD_APPENDED)
    cdef uint64_t flushed = shared.load(WORD_FLUSH_COMMITS)
    cdef double began = rango_now()
    cdef int status = 0
    cdef bint is_here = segment == segment_id and shared.load(WORD_SEGMENT) == segment
    if is_here and appended > target[0]:
        target[0] = appended
    if is_here and shared.load(WORD_FLUSHING):
        # whoever flushed last died in it: what failed then is marked clean now (I-17)
        status = rewrite(vfs, fd, proven_end(shared, segment), position)
    if is_here:
        shared.store(WORD_FLUSHING, shared.me)
    if status == 0:
        status = flush_tried(vfs, fd)
    if status < 0:
        shared.fail_with(<uint64_t>-status)
        return status
    shared.raise_to(WORD_DURABLE, target[0])
    if is_here:
        shared.store(WORD_DURABLE_SEGMENT, segment)
        shared.store(WORD_DURABLE_POSITION, position)
        # a mark that speaks of another segment stays for whoever flushes that one
        shared.store(WORD_FLUSHING, 0)
    shared.store(WORD_FLUSH_COMMITS, commits)
    shared.store(WORD_FLUSH_EXPECTED, shared.load(WORD_COMMITS) - flushed)
    shared.flush_s = min(shared.flush_s * 0.75 + (rango_now() - began) * 0.25, GATHER_S_MAX)
    shared.watchers_tell()
    return 0


cdef int flush_alone(
    Shared shared, Vfs vfs, int fd, uint64_t segment_id, uint64_t *target
) noexcept nogil:
    # beside a leader that does not come back
    cdef uint64_t segment = shared.load(WORD_SEGMENT)
    cdef uint64_t position = shared.load(WORD_POSITION)
    cdef uint64_t appended = shared.load(WORD_APPENDED)
    cdef int status = 0
    if segment == segment_id and shared.load(WORD_SEGMENT) == segment:
        if appended > target[0]:
            target[0] = appended
        # the mark may be that of one that died before, which the leader has not mended yet
        status = rewrite(vfs, fd, proven_end(shared, segment), position)
    if status == 0:
        status = flush_tried(vfs, fd)
    if status < 0:
        shared.fail_with(<uint64_t>-status)
        return status
    shared.raise_to(WORD_DURABLE, target[0])
    shared.watchers_tell()
    shared.signal(WORD_FLUSH_SIGNAL)
    return 0


cdef int flush_tried(Vfs vfs, int fd) noexcept nogil:
    cdef int interrupts = 0
    cdef int status = vfs.table.flush(vfs.context, fd)
    while status == -EINTR and interrupts < INTERRUPTS_MAX:
        interrupts += 1
        status = vfs.table.flush(vfs.context, fd)
    return status


cdef uint64_t proven_end(Shared shared, uint64_t segment) noexcept nogil:
    # where the last flush that is proven ended in this segment
    if shared.load(WORD_DURABLE_SEGMENT) == segment:
        return shared.load(WORD_DURABLE_POSITION)
    return SEGMENT_HEADER_SIZE


cdef int rewrite(Vfs vfs, int fd, uint64_t begin, uint64_t end) noexcept nogil:
    # the same bytes to the same place, so that the next flush writes them
    cdef uint8_t[REWRITE_SIZE] piece
    cdef int64_t got
    cdef int status
    while begin < end:
        got = vfs_read_all(
            vfs, fd, piece, REWRITE_SIZE if end - begin > REWRITE_SIZE
            else <size_t>(end - begin), begin)
        if got <= 0:
            return <int>got
        status = vfs_write_all(vfs, fd, piece, <size_t>got, begin)
        if status < 0:
            return status
        begin += <uint64_t>got
    return 0
