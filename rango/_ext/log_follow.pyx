"""What an appender does about other processes that appended: it goes on behind them, and mends what
one of them left when it died.

Terms       appender, segment: see the glossary.
Invariants  I-16, I-17. Nothing that was published (the shared word `appended`) is touched; what
            lies behind it nobody was told of.
Failure     LowDisk: nothing was appended. Anything else: IoFailed, latched (I-10).
Sources     architecture section 3.
"""

from rango._ext.segment import segment_path

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from rango._ext.appender cimport Appender
from rango._ext.layout cimport CHAIN_SIZE
from rango._ext.segment cimport SegmentHeader, zeros_write
from rango._ext.shared cimport WORD_APPENDING, WORD_DURABLE
from rango._ext.vfs cimport vfs_read_all

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)

cdef enum:
    PIECE_SIZE = 16384


def appender_follow(
    Appender appender not None, list headers not None, int fd, uint64_t position, uint64_t ordinal,
    bytes chain not None, bint is_closed,
) -> None:
    """Go on behind what others appended: `headers` of the segments since, and a descriptor of
    the last of them (-1: it is this one still). Under the append lock.
    """
    cdef SegmentHeader header
    appender.usable_check()
    if headers:
        header = headers[len(headers) - 1]
        appender.segment_take(
            header, appender.keyring.segment_key(header.id, header.salt, header.epoch), fd, 0)
        # segment_take has appended the last one
        appender.segments[len(appender.segments) - 1:] = headers
    header = appender.segments[len(appender.segments) - 1]
    allocated_read(appender)
    appender.frames = ordinal + 1 - header.first_ordinal
    appender.is_closed = is_closed
    appender_move(appender, position, ordinal, chain)


cdef int allocated_read(Appender appender) except -1:
    # whoever made it this long has flushed that, or its commit, which then covers this one too
    cdef int64_t size = appender.vfs.table.size(appender.vfs.context, appender.fd)
    if size < 0:
        appender.latch(<int>size, "size")
    appender.allocated = <uint64_t>size
    return 0


cdef void appender_move(
    Appender appender, uint64_t position, uint64_t ordinal, const uint8_t *chain
) noexcept nogil:
    appender.position = position
    appender.carry_size = 0
    memcpy(appender.chain_value, chain, CHAIN_SIZE)
    pthread_mutex_lock(&appender.mutex)
    appender.ordinal = ordinal
    if appender.shared.load(WORD_DURABLE) > appender.durable:
        appender.durable = appender.shared.load(WORD_DURABLE)
    pthread_mutex_unlock(&appender.mutex)


def appender_mend(Appender appender not None) -> None:
    """Remove what an appender that died left behind the last commit. Under the append lock.

    Nobody was told of any of it. LowDisk; IoFailed: latched.
    """
    cdef uint8_t[PIECE_SIZE] piece
    cdef uint64_t at = appender.position
    cdef int64_t got
    cdef int64_t i
    cdef int status = 0
    # a segment that was made and not used yet would hide what is appended here
    name = segment_path(appender.directory, appender.next_id)
    for path in (name, name + ".new"):
        if appender.vfs.exists(path):
            appender.vfs.remove(path)
            appender.vfs.flush_directory(appender.directory)
    with nogil:
        while True:
            got = vfs_read_all(appender.vfs, appender.fd, piece, PIECE_SIZE, at)
            if got <= 0:
                status = <int>got
                break
            for i in range(got):
                if piece[i]:
                    status = zeros_write(appender.vfs, appender.fd, at, <uint64_t>got)
                    break
            if status < 0:
                break
            at += <uint64_t>got
        if status == 0:
            status = appender.flush_share(appender.ordinal, True)
    if status < 0:
        appender.latch(status, "mending")
    appender.allocated = at
    # it may have died half-way through these
    appender.shared.publish(appender.segment_id, appender.position, appender.ordinal)
    appender.shared.store(WORD_APPENDING, 0)
