# The words that the processes of one database share, and the two locks that live in them.

from libc.stdint cimport int64_t, uint64_t
from rango._ext.vfs cimport Vfs


cdef extern from "shared_words.h":
    uint64_t rango_word_load(const uint64_t *word) nogil


cdef enum:
    # words of the lock file (place / 8); docs/reference/format.md has the table
    WORD_STATE = 16
    WORD_APPENDED = 17
    WORD_DURABLE = 18
    WORD_VISIBLE = 19
    WORD_GENERATION = 20
    WORD_FAILED = 21
    WORD_FAILED_BY = 22
    WORD_APPENDING = 23
    WORD_FLUSHING = 24
    WORD_KEYS = 25
    WORD_COMMITS = 26               # appends so far: a hint for whoever flushes
    WORD_OVERRULED = 27
    WORD_SEGMENT = 28
    WORD_POSITION = 29
    WORD_DURABLE_SEGMENT = 30
    WORD_DURABLE_POSITION = 31
    WORD_NEXT_ID = 32
    WORD_APPEND_OWNER = 48          # cache lines of their own
    WORD_APPEND_SIGNAL = 49
    WORD_APPEND_WAITERS = 50
    WORD_FLUSH_OWNER = 56
    WORD_FLUSH_SIGNAL = 57
    WORD_FLUSH_WAITERS = 58
    WORD_FLUSH_COMMITS = 59         # WORD_COMMITS as of the last flush
    WORD_FLUSH_EXPECTED = 60        # commits that the next flush may wait for
    WORD_WATCH_SIGNAL = 64          # moves when watchers are woken
    WORD_WATCHED = 65               # 1: somebody sleeps until more is durable

    # the table of users
    TABLE_WORD = 128                # byte 1024
    USER_WORDS = 16
    USER_ID = 0
    USER_PID = 1
    USER_START = 2
    USER_PINS = 3                   # generation + 1 each; 0: none
    USER_MORE = 15                  # any number of generations from here on; 0: none

    TAKEN = 1
    TAKEN_FROM_DEAD = 2


ctypedef struct Pin:
    uint64_t generation
    uint64_t count                  # leases of it that this process has
    int word                        # of this user's place in the table; 0: none says it


cdef class Shared:
    cdef Vfs vfs
    cdef int fd
    cdef uint64_t *words
    cdef size_t size
    cdef bint is_mapped                     # other processes, or other users, have these words
    cdef bytearray memory                   # stands for the mapping, or None
    cdef bint is_borrowed                   # the words are in `memory`
    cdef bint has_begun                     # this user has rebuilt the words
    cdef uint64_t forks                     # fork_count() when it was made: a child must not touch
    cdef readonly uint64_t me               # this user's id, never used before; 0: not entered
    cdef int place                          # of this user in the table; -1: none
    cdef double flush_s                     # how long a flush takes, about
    cdef Pin *pins                          # see pins.pyx
    cdef size_t pin_count
    cdef size_t pin_capacity

    cdef uint64_t load(self, int word) noexcept nogil
    cdef void store(self, int word, uint64_t value) noexcept nogil
    # the log goes up to this place and ordinal now
    cdef void publish(self, uint64_t segment, uint64_t position, uint64_t ordinal) noexcept nogil
    # keep the greater value
    cdef void raise_to(self, int word, uint64_t value) noexcept nogil
    # owner words: TAKEN, TAKEN_FROM_DEAD, 0 (time is over) or -EINTR
    cdef int owner_take(self, int word, double seconds) noexcept nogil
    # the same without waiting, from a user that is dead; 0: it lives, or the word is free
    cdef int owner_take_dead(self, int word) noexcept nogil
    cdef void owner_drop(self, int word) noexcept nogil
    cdef void fail_with(self, uint64_t code) noexcept nogil
    cdef bint place_is_locked(self, int place) noexcept nogil
    cdef bint is_alive(self, uint64_t who) noexcept nogil
    cdef void signal(self, int word) noexcept nogil
    # sleep until the signal moves on from `seen` or the time is over: 0, or -EINTR
    cdef int signal_wait(self, int word, uint64_t seen, double seconds) noexcept nogil
    # after WORD_DURABLE has moved: wake the watchers, if there are any
    cdef void watchers_tell(self) noexcept nogil
    cdef bint is_ours(self) noexcept nogil
    cdef int places(self) noexcept nogil            # of the table
    cdef uint64_t *user(self, int place) noexcept nogil


# what every read asks for, without a call into the module that it belongs to

cdef inline uint64_t word_of(Shared shared, int word) noexcept nogil:
    return rango_word_load(shared.words + word)


cdef inline uint64_t visible_of(Shared shared) noexcept nogil:
    # the last ordinal that may be seen
    cdef uint64_t durable = word_of(shared, WORD_DURABLE)
    cdef uint64_t visible = word_of(shared, WORD_VISIBLE)
    return durable if durable > visible else visible
