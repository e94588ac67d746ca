# The writing end of the oplog: frames, seals and writes a commit in one call; flushes are shared by
# all threads that wait.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from rango._ext.buffer cimport Buffer
from rango._ext.frame cimport CommitPlan
from rango._ext.seal cimport SealKey
from rango._ext.segment cimport SegmentHeader
from rango._ext.shared cimport Shared
from rango._ext.vfs cimport Vfs


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_cond_init(pthread_cond_t *condition, const void *attributes)
    int pthread_cond_destroy(pthread_cond_t *condition)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
    int pthread_cond_signal(pthread_cond_t *condition)
    int pthread_cond_broadcast(pthread_cond_t *condition)


cdef class Appender:
    cdef readonly uint64_t ordinal          # last appended
    cdef readonly uint64_t durable          # last flushed
    cdef readonly uint64_t segment_id
    cdef readonly uint64_t position         # where the next frame goes
    cdef readonly uint64_t lsn_of_last      # segment id << 32 | offset of its first frame
    cdef readonly uint64_t flush_count      # flushes of log files so far
    cdef readonly bint is_closed            # the last frame is a closed frame

    cdef Vfs vfs
    cdef Shared shared                      # what other processes know of this log
    cdef object keyring
    cdef str directory                      # of the segments
    cdef list segments                      # of SegmentHeader, oldest first; shared with the Oplog
    cdef uint64_t next_id
    cdef uint64_t segment_size_max
    cdef SealKey key
    cdef uint8_t[16] database_id
    cdef uint8_t[32] chain_value            # after the last appended frame
    cdef uint64_t frames                    # sealed in this segment so far, at most
    cdef uint64_t allocated                 # up to here the file is written and its size is durable
    cdef uint64_t step                      # to prewrite next
    cdef Buffer buffer
    cdef uint8_t[84] carry                  # a closed frame that goes out again with the next write
    cdef size_t carry_size                  # 84, or 0: there is none
    cdef uint8_t[32] next_chain             # after the last sealed frame
    # under the mutex; `fd` may be read by the appending thread without it
    cdef pthread_mutex_t mutex
    cdef pthread_cond_t[2] flushed          # by parity of the flush that is waited for
    cdef int fd
    cdef int failed                         # the errno that latched it, 0 = none
    cdef bint is_flushing
    cdef uint64_t flush_number
    cdef uint64_t flush_target

    # The caller holds the append lock. Returns 0 and the ordinal of the commit. LowDisk: nothing
    # was appended. IoFailed: the outcome is unknown, nothing is appended any more (latched).
    # Never runs Python code between the write and the return.
    cdef int append(self, const uint8_t *body, size_t size, uint64_t *ordinal) except -1
    # Returns when everything up to ordinal is durable; one flush is shared by all who wait;
    # releases the GIL. IoFailed: the outcome is unknown, latched.
    cdef int wait_durable(self, uint64_t ordinal) except -1

    cdef int frames_append(
        self, uint8_t kind, const uint8_t *body, size_t size, uint64_t *ordinal) except -1
    cdef int frames_put(self, uint8_t kind, const uint8_t *body, size_t size) except -1
    cdef int frames_seal(
        self, uint8_t kind, const uint8_t *body, size_t size,
        const CommitPlan *plan) except -1 nogil
    cdef int frame_seal(
        self, uint8_t kind, uint64_t ordinal, uint64_t offset, const uint8_t *body, size_t size,
        uint8_t *into) except -1 nogil
    cdef int frames_write(self, const CommitPlan *plan) noexcept nogil
    cdef int write_failed(self, const CommitPlan *plan, int status) except -1
    cdef int room_make(self, const CommitPlan *plan) except -1
    cpdef int carry_write(self) except -1
    cdef int roll(self, CommitPlan *plan, size_t size) except -1
    cdef int segment_take(self, SegmentHeader header, SealKey key, int fd, uint64_t size) except -1
    cdef int flush_share(self, uint64_t wanted, bint is_forced) noexcept nogil
    cdef int usable_check(self) except -1
    cdef int latch(self, int status, str what) except -1
