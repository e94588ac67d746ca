"""What the processes that have one database open share: words, a table of users, two locks.

Terms       word: an unsigned integer of 64 bits in the lock file, read and written whole. User: one
            open of the database by one process. Owner word: a lock; it holds the id of the user
            that has it, 0 when it is free. Pin: a generation that a user reads.
Invariants  I-2 (pins), I-16. A user's id is never given out twice, and its place in the table is
            locked as a byte range as long as the user lives: the kernel lets go of it when the
            process dies, in whatever line. So an owner word whose user is not in the table, or
            whose place is not locked, belongs to the dead and is taken over.
            The words are a hint: whoever is alone rebuilds them from superblock and oplog.
            Nothing is unlocked by a forked child: it has other ids than its parent (fork_count).
Layout      byte 64 on: the last writer's pid and start (storage/lock.py). From byte 128: the words
            WORD_* (shared.pxd). From byte 1024: the table, 128 bytes a user: id, pid, start in
            milliseconds since the epoch, pins (pins.pyx). Native byte order: the file is only
            shared by processes of one machine. Locked byte ranges lie behind the end of the file:
            place n of the table is byte 2^20 + n.
States      of an owner word: free -> owned -> free; owned by the dead -> owned (taken over).
Failure     A wait ends after its time, or with -EINTR. The table is full: DatabaseBusy.
Sources     futex(2), fcntl_locking(2); architecture section 3; ADR-0024.
"""

from rango.errors import DatabaseBusy

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from rango._ext.vfs cimport (
    VFS_EXCLUSIVE_LOCK, VFS_UNLOCK, VFS_WRITE, Vfs, fork_count,
)

cdef extern from "shared_words.h":
    enum:
        PROT_READ
        PROT_WRITE
        MAP_SHARED
    void *MAP_FAILED
    void *mmap(void *at, size_t size, int protection, int flags, int fd, int64_t offset) nogil
    int munmap(void *at, size_t size) nogil
    int getpid() nogil
    void rango_word_store(uint64_t *word, uint64_t value) nogil
    void rango_word_put(uint64_t *word, uint64_t value) nogil
    uint64_t rango_word_add(uint64_t *word, uint64_t value) nogil
    int rango_word_swap(uint64_t *word, uint64_t old, uint64_t value) nogil
    double rango_now() nogil
    int rango_sleep(uint64_t *word, uint64_t seen, double seconds) nogil
    void rango_wake(uint64_t *word, int count) nogil

cdef enum:
    FIRST_WORD = 16                 # byte 128
    FIRST_PLACE = 1048576           # the lock of place n of the table is this byte + n
    SPINS = 200                     # about 1 us: a commit in the page cache takes as long
    WAKE_ALL = 2147483647

cdef double LOOK_S = 0.005          # how often a waiter looks whether the owner lives

SHARED_SIZE = 65536
"""Bytes of the lock file: 504 users."""

TABLE_OFFSET = TABLE_WORD * 8
USER_SIZE = USER_WORDS * 8
PLACES_LOCK = FIRST_PLACE
APPEND_OWNER_WORD = WORD_APPEND_OWNER


@cython.final
cdef class Shared:
    """The shared words of one open database. enter() before anything is locked or pinned."""

    def __init__(self, Vfs vfs not None, int fd, path=None, bytearray memory=None):
        """`fd`: the lock file at `path`, SHARED_SIZE bytes long. No path: words of this process
        alone. `memory`: instead of a mapping.
        """
        cdef void *at
        cdef int mapped
        self.vfs = vfs
        self.fd = fd
        self.size = SHARED_SIZE
        self.forks = fork_count()
        self.place = -1
        self.memory = memory
        if memory is not None:
            if len(memory) != SHARED_SIZE:
                raise ValueError(f"the words take {SHARED_SIZE} bytes")
            at = <void *>PyByteArray_AS_STRING(memory)
            self.is_mapped = self.is_borrowed = True
        elif path is not None:
            # A mapping keeps its open file description, and that one's locks, alive: in a forked
            # child for as long as the child lives. So it gets one that never locks anything.
            mapped = vfs.open(path, VFS_WRITE)
            at = mmap(NULL, self.size, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0)
            code = errno
            vfs.close(mapped)
            if at == MAP_FAILED:
                raise OSError(code, "the lock file cannot be mapped", path)
            self.is_mapped = True
        else:
            at = calloc(1, self.size)
            if at == NULL:
                raise MemoryError
        self.words = <uint64_t *>at
        if not self.is_mapped:
            self.enter(0)

    def __dealloc__(self):
        free(self.pins)
        if self.is_borrowed:
            return
        if self.words != NULL and self.is_mapped:
            munmap(self.words, self.size)
        else:
            free(self.words)

    cdef int places(self) noexcept nogil:
        return <int>((self.size // 8 - TABLE_WORD) // USER_WORDS)

    cdef uint64_t *user(self, int place) noexcept nogil:
        return self.words + TABLE_WORD + place * USER_WORDS

    cdef bint is_ours(self) noexcept nogil:
        return self.forks == fork_count()

    cdef uint64_t load(self, int word) noexcept nogil:
        return rango_word_load(self.words + word)

    cdef void store(self, int word, uint64_t value) noexcept nogil:
        rango_word_store(self.words + word, value)

    cdef void publish(self, uint64_t segment, uint64_t position, uint64_t ordinal) noexcept nogil:
        # the place first: whoever reads the ordinal finds a place that is at most too late
        rango_word_put(self.words + WORD_SEGMENT, segment)
        rango_word_put(self.words + WORD_POSITION, position)
        rango_word_put(self.words + WORD_COMMITS, rango_word_load(self.words + WORD_COMMITS) + 1)
        rango_word_store(self.words + WORD_APPENDED, ordinal)

    cdef void raise_to(self, int word, uint64_t value) noexcept nogil:
        cdef uint64_t now = rango_word_load(self.words + word)
        while now < value and not rango_word_swap(self.words + word, now, value):
            now = rango_word_load(self.words + word)

    # --- users

    def enter(self, uint64_t start_ms) -> None:
        """Take a place in the table. Raises DatabaseBusy when all are taken."""
        cdef int place
        cdef int count = self.places()
        cdef int word
        cdef uint64_t *user
        for place in range(count):
            # words of one process need no locks
            if not self.is_mapped or self.vfs.lock(
                self.fd, FIRST_PLACE + place, 1, VFS_EXCLUSIVE_LOCK
            ):
                break
        else:
            raise DatabaseBusy(f"{count} processes have this database open; close one of them")
        user = self.user(place)
        for word in range(USER_PINS, USER_WORDS):
            rango_word_store(user + word, 0)
        rango_word_store(user + USER_PID, <uint64_t>getpid())
        rango_word_store(user + USER_START, start_ms)
        self.me = rango_word_add(self.words + WORD_NEXT_ID, 1) + 1
        rango_word_store(user + USER_ID, self.me)
        self.place = place

    def leave(self) -> None:
        """Give the place up. Idempotent; a forked child changes nothing."""
        cdef int place = self.place
        self.place = -1
        if place < 0 or not self.is_ours():
            return
        rango_word_store(self.user(place) + USER_ID, 0)
        if self.is_mapped:
            # should this fail, the close of the descriptor does it
            self.vfs.table.lock(self.vfs.context, self.fd, FIRST_PLACE + place, 1, VFS_UNLOCK)

    cdef bint is_alive(self, uint64_t who) noexcept nogil:
        cdef int place
        if who == self.me:
            return True
        for place in range(self.places()):
            if rango_word_load(self.user(place)) == who:
                return self.place_is_locked(place)
        return False

    cdef bint place_is_locked(self, int place) noexcept nogil:
        if place == self.place:
            return True
        if self.vfs.table.lock(
            self.vfs.context, self.fd, FIRST_PLACE + place, 1, VFS_EXCLUSIVE_LOCK
        ) != 0:
            return True
        self.vfs.table.lock(self.vfs.context, self.fd, FIRST_PLACE + place, 1, VFS_UNLOCK)
        return False

    def users(self) -> list:
        """(pid, start in ms, is this one) of every user that lives."""
        cdef int place
        cdef uint64_t *user
        found = []
        for place in range(self.places()):
            user = self.user(place)
            if rango_word_load(user) and self.place_is_locked(place):
                found.append((
                    rango_word_load(user + USER_PID), rango_word_load(user + USER_START),
                    place == self.place,
                ))
        return found

    def owner(self):
        """(pid, start in ms) of whoever has the append lock, or None."""
        cdef uint64_t who = self.load(WORD_APPEND_OWNER)
        cdef int place
        cdef uint64_t *user
        for place in range(self.places()):
            user = self.user(place)
            if who and rango_word_load(user) == who:
                return rango_word_load(user + USER_PID), rango_word_load(user + USER_START)
        return None

    # --- owner words

    cdef int owner_take(self, int word, double seconds) noexcept nogil:
        cdef uint64_t *owner = self.words + word
        cdef uint64_t who
        cdef uint64_t seen
        cdef double now
        cdef double end
        cdef double look
        cdef int status
        cdef int _spin
        if rango_word_swap(owner, 0, self.me):
            return TAKEN
        if seconds <= 0:
            return 0
        for _spin in range(SPINS):
            if rango_word_load(owner) == 0 and rango_word_swap(owner, 0, self.me):
                return TAKEN
        now = rango_now()
        end = now + seconds
        look = now + LOOK_S
        while True:
            seen = rango_word_load(self.words + word + 1)
            who = rango_word_load(owner)
            if who == 0:
                if rango_word_swap(owner, 0, self.me):
                    return TAKEN
                continue
            if now >= look:
                look = now + LOOK_S
                if not self.is_alive(who):
                    if rango_word_swap(owner, who, self.me):
                        return TAKEN_FROM_DEAD
                    continue
            if now >= end:
                return 0
            rango_word_add(self.words + word + 2, 1)
            status = 0
            if rango_word_load(owner) == who:
                status = rango_sleep(
                    self.words + word + 1, seen, LOOK_S if end - now > LOOK_S else end - now
                )
            rango_word_add(self.words + word + 2, <uint64_t>-1)
            if status == -EINTR:
                return -EINTR
            now = rango_now()

    cdef int owner_take_dead(self, int word) noexcept nogil:
        cdef uint64_t who = rango_word_load(self.words + word)
        if who == 0 or self.is_alive(who):
            return 0
        return TAKEN_FROM_DEAD if rango_word_swap(self.words + word, who, self.me) else 0

    cdef void owner_drop(self, int word) noexcept nogil:
        if not self.is_ours():
            return
        # not ours any more: closed while it was held, and taken over
        if not rango_word_swap(self.words + word, self.me, 0):
            return
        if rango_word_load(self.words + word + 2):
            rango_word_add(self.words + word + 1, 1)
            rango_wake(self.words + word + 1, 1)

    cdef void signal(self, int word) noexcept nogil:
        rango_word_add(self.words + word, 1)
        if rango_word_load(self.words + word + 1):
            rango_wake(self.words + word, WAKE_ALL)

    cdef int signal_wait(self, int word, uint64_t seen, double seconds) noexcept nogil:
        cdef int status
        rango_word_add(self.words + word + 1, 1)
        status = rango_sleep(self.words + word, seen, seconds)
        rango_word_add(self.words + word + 1, <uint64_t>-1)
        return status

    # --- doors

    def begin(
        self, uint64_t appended, uint64_t durable, uint64_t generation, uint64_t keys,
        uint64_t segment, uint64_t position
    ) -> None:
        """Rebuild the words. By whoever is alone, before the first append; tell() lets others
        believe them. Ids go on from where they were: no owner word outlives this.
        """
        self.end()
        self.store(WORD_APPENDED, appended)
        self.store(WORD_DURABLE, durable)
        self.store(WORD_VISIBLE, durable)
        self.store(WORD_GENERATION, generation)
        self.store(WORD_KEYS, keys)
        self.store(WORD_SEGMENT, segment)
        self.store(WORD_POSITION, position)
        self.store(WORD_DURABLE_SEGMENT, segment)
        self.store(WORD_DURABLE_POSITION, position)
        self.has_begun = True

    def tell(self) -> None:
        """What begin() has said is what others may go by: the recovery is over."""
        if self.has_begun:
            self.store(WORD_STATE, 1)

    def end(self) -> None:
        """The words mean nothing from now on. By whoever is alone."""
        cdef uint64_t ids = self.load(WORD_NEXT_ID)
        memset(self.words + FIRST_WORD, 0, (TABLE_WORD - FIRST_WORD) * 8)
        self.store(WORD_NEXT_ID, ids)

    @property
    def is_ready(self) -> bool:
        """Whether somebody who was alone has rebuilt the words."""
        return self.load(WORD_STATE) == 1

    @property
    def appended(self) -> int:
        """The last ordinal in the log."""
        return self.load(WORD_APPENDED)

    @property
    def durable(self) -> int:
        """The last ordinal that a flush has covered."""
        return self.load(WORD_DURABLE)

    @property
    def visible(self) -> int:
        """The last ordinal that may be seen."""
        return max(self.load(WORD_DURABLE), self.load(WORD_VISIBLE))

    @property
    def segment(self) -> int:
        """The segment that the last append went to."""
        return self.load(WORD_SEGMENT)

    @property
    def generation(self) -> int:
        """The generation that the newest superblock slot names."""
        return self.load(WORD_GENERATION)

    @generation.setter
    def generation(self, uint64_t number) -> None:
        self.raise_to(WORD_GENERATION, number)

    @property
    def keys(self) -> int:
        """The generation of the keys file."""
        return self.load(WORD_KEYS)

    @keys.setter
    def keys(self, uint64_t number) -> None:
        self.raise_to(WORD_KEYS, number)

    @property
    def newest(self) -> int:
        """Id of the user that came last."""
        return self.load(WORD_NEXT_ID)

    @property
    def overruled(self) -> int:
        """Generations before this one may have lost pages although somebody reads them."""
        return self.load(WORD_OVERRULED)

    @overruled.setter
    def overruled(self, uint64_t number) -> None:
        self.raise_to(WORD_OVERRULED, number)

    @property
    def is_overruled(self) -> bool:
        """Whether a generation that this user pins may have lost pages."""
        cdef uint64_t overruled = self.load(WORD_OVERRULED)
        cdef size_t at
        for at in range(self.pin_count):
            if self.pins[at].generation < overruled:
                return True
        return False

    @property
    def is_appending(self) -> bool:
        """Whether somebody is in the middle of an append, or died there."""
        return self.load(WORD_APPENDING) != 0

    @property
    def failed(self):
        """(errno, pid) of a write or flush with unknown outcome (I-10), or None."""
        cdef uint64_t code = self.load(WORD_FAILED)
        return (code, self.load(WORD_FAILED_BY)) if code else None

    def fail(self, uint64_t code) -> None:
        """Latch the database for everybody (I-10); the first one stays."""
        self.fail_with(code)

    cdef void fail_with(self, uint64_t code) noexcept nogil:
        if rango_word_swap(self.words + WORD_FAILED, 0, code):
            self.store(WORD_FAILED_BY, <uint64_t>getpid())
        self.signal(WORD_FLUSH_SIGNAL)
        self.watchers_tell()

    # --- watchers

    cdef void watchers_tell(self) noexcept nogil:
        # `durable` was stored before, the mark is read now; a watcher does it the other way round,
        # so one of the two sees the other. Cleared before the signal moves: see watch_wait.
        if rango_word_load(self.words + WORD_WATCHED):
            rango_word_store(self.words + WORD_WATCHED, 0)
            rango_word_add(self.words + WORD_WATCH_SIGNAL, 1)
            rango_wake(self.words + WORD_WATCH_SIGNAL, WAKE_ALL)

    def watch_signal(self) -> int:
        """A number to take before one looks whether there is anything to wait for."""
        return self.load(WORD_WATCH_SIGNAL)

    def watch_wait(self, uint64_t signal, uint64_t ordinal, double seconds) -> None:
        """Sleep until more than `ordinal` is durable, or watch_wake() was called since `signal`
        was taken, or a signal handler is due, or so long. May return early.
        """
        if not self.is_ours():
            return
        with nogil:
            rango_word_store(self.words + WORD_WATCHED, 1)
            if self.load(WORD_DURABLE) <= ordinal and self.load(WORD_FAILED) == 0:
                rango_sleep(self.words + WORD_WATCH_SIGNAL, signal, seconds)

    def watch_wake(self) -> None:
        """Let everybody who is in watch_wait() look again, in all processes."""
        if self.is_ours():
            rango_word_add(self.words + WORD_WATCH_SIGNAL, 1)
            rango_wake(self.words + WORD_WATCH_SIGNAL, WAKE_ALL)
