"""Taking over the few commits that other processes have just appended, in one compiled call.

Terms       to follow: see engine/attach.py. Short way: this, for what is new in the segment that is
            open here already, within one block, while nothing else has changed. Long way:
            attach.follow, for everything.
Invariants  I-16. What may be seen is read from the shared words before the place where the log
            ends, so the log reaches it. A reader takes over what may be seen and no more; whoever
            is about to append, all. Commits that are seen at once get one view together: nobody
            could have seen one between two of them.
            One thread follows at a time. A reader that finds another one at it goes the long way,
            which waits. The GIL is held from the first word to the last, so no other thread sees
            what is half done; files that are Python's let it go, and then `is_taken` holds.
            No Python code runs in between, unless the catalog changes or files are Python's.
States      far (no scanner) -> near (approach) -> far (another segment, closed, forked)
Failure     0 from near_take: nothing was done, or not all that there is; the long way does the
            rest. LogCorrupted, IoFailed, MemoryError: the store is as it was, and so is the place
            that it goes on from.
Sources     architecture section 3; ADR-0034, ADR-0043.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport nanosleep, timespec
from rango._ext.append_lock cimport (
    LOCK_ACQUIRED, PyThread_acquire_lock_timed, PyThread_allocate_lock, PyThread_free_lock,
    PyThread_release_lock,
)
from rango._ext.appender cimport Appender
from rango._ext.layout cimport BLOCK_SIZE, CHAIN_SIZE
from rango._ext.log_follow cimport allocated_read, appender_move
from rango._ext.overlay cimport loans_end, overlay_owner_next
from rango._ext.segment_scan cimport Entry, Scanner
from rango._ext.shared cimport (
    WORD_APPENDED, WORD_FAILED, WORD_GENERATION, WORD_KEYS, WORD_POSITION, WORD_SEGMENT, Shared,
    visible_of, word_of,
)
from rango._ext.store cimport Store
from rango._ext.view cimport View

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef enum:
    WAIT_STEP = 1000000             # microseconds; a wait is as long as it takes

cdef timespec LOOK
LOOK.tv_sec = 0
LOOK.tv_nsec = 100000


@cython.final
cdef class Near:
    """`with near:` one thread of this process follows at a time. Not reentrant."""

    def __cinit__(self):
        self.changes = []
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def __enter__(self):
        cdef int got = PyThread_acquire_lock_timed(self.lock, 0, 0)
        while got != LOCK_ACQUIRED or self.is_taken:
            if got == LOCK_ACQUIRED:
                # a thread is on the short way, in files that are Python's
                PyThread_release_lock(self.lock)
                with nogil:
                    nanosleep(&LOOK, NULL)
            PyErr_CheckSignals()
            with nogil:
                got = PyThread_acquire_lock_timed(self.lock, WAIT_STEP, 1)
        self.is_taken = True
        return self

    def __exit__(self, *_error):
        self.is_taken = False
        PyThread_release_lock(self.lock)

    def serve(self, Store store not None) -> None:
        """Let the store's readers go the short way from now on."""
        store.near = self
        store.near_take = near_take

    def approach(self, Scanner scanner, uint64_t keys) -> None:
        """Go on with this scanner; None: its file is about to be closed. Under the lock."""
        self.scanner = scanner
        self.keys = keys

    def read_all(self, Store store not None, uint64_t keys) -> bool:
        """Take over all that was appended: whether that was all others did. Under the lock."""
        self.keys = keys
        return self.take(store, True)

    cdef bint take(self, Store store, bint is_all) except -1:
        cdef Shared shared = store.shared
        cdef uint64_t segment = word_of(shared, WORD_SEGMENT)
        cdef uint64_t target = word_of(shared, WORD_APPENDED) if is_all else visible_of(shared)
        # it moves before the ordinal does, and behind the segment: see Shared.publish
        cdef uint64_t position = word_of(shared, WORD_POSITION)
        if (self.scanner is None or segment != self.scanner.segment_id
                or word_of(shared, WORD_SEGMENT) != segment
                or word_of(shared, WORD_GENERATION) != store.known_generation
                or word_of(shared, WORD_KEYS) > self.keys or word_of(shared, WORD_FAILED)):
            return False
        if target > store.reached and not self.read(store, target, position):
            return False
        if store.pending:
            store.publish()
        return True

    cdef bint read(self, Store store, uint64_t target, uint64_t position) except -1:
        # the commits up to `target`, which end before `position`
        cdef Scanner scanner = self.scanner
        cdef Appender appender = store.appender
        cdef uint8_t[CHAIN_SIZE] chain
        cdef uint64_t offset
        cdef uint64_t ordinal
        cdef bint is_whole = False
        if appender is None:
            offset, ordinal = scanner.end_offset, scanner.end_ordinal
            memcpy(chain, scanner.end_chain_value, CHAIN_SIZE)
        elif appender.segment_id == scanner.segment_id:
            offset, ordinal = appender.position, appender.ordinal
            memcpy(chain, appender.chain_value, CHAIN_SIZE)
        else:
            return False
        if position - offset > <uint64_t>BLOCK_SIZE or (appender is not None and appender.fd < 0):
            return False
        try:
            scanner.go_on(offset, ordinal, chain, target, position)
            scanner.walk(<size_t>-1)
            is_whole = scanner.end_ordinal == target
            if is_whole:
                if appender is not None and scanner.end_offset > appender.allocated:
                    allocated_read(appender)
                self.apply(store)
                store.reached = target
        finally:
            if store.reached != target:
                # the scanner's end says how far the store has come
                scanner.go_on(offset, ordinal, chain, ordinal, offset)
        if is_whole and appender is not None:
            appender.frames += target - appender.ordinal
            appender.is_closed = scanner.is_closed
            appender_move(appender, scanner.end_offset, target, scanner.end_chain_value)
        return is_whole

    cdef int apply(self, Store store) except -1:
        cdef Entry *entries = <Entry *>self.scanner.entries.data
        cdef size_t count = self.scanner.entries.size // sizeof(Entry)
        cdef const uint8_t *bodies = self.scanner.arena.data
        cdef size_t together = 0
        cdef size_t i
        # later than in take(): what is durable by now needs no view of its own
        cdef uint64_t visible = visible_of(store.shared)
        while together < count and entries[together].ordinal <= visible:
            together += 1
        if together and commits_apply(store, bodies, entries, together, self.changes):
            # what waited to be seen came before
            if store.pending:
                store.pending.clear()
            store.seen = store.head
        for i in range(together, count):
            if commits_apply(store, bodies, entries + i, 1, self.changes):
                store.pending.append([store.head.ordinal, store.head])
        return 0


cdef bint commits_apply(
    Store store, const uint8_t *bodies, const Entry *entries, size_t count, list changes
) except -1:
    # a new head behind these commits; False: one that was interrupted had come as far. `changes`:
    # an empty list, which is empty again afterwards
    cdef View before = store.head
    cdef uint64_t owner = overlay_owner_next()
    cdef size_t i
    if entries[count - 1].ordinal <= before.ordinal:
        return False
    loans_end(&before.loans)
    store.head = before.derive(before.root, before.counts.copy(), entries[count - 1].ordinal)
    try:
        for i in range(count):
            if entries[i].ordinal > before.ordinal:
                store._apply(
                    bodies + entries[i].start, entries[i].size, entries[i].first_ordinal, owner,
                    changes)
        # not the marks of this attempt alone: one before may have been interrupted behind them
        if changes or store.marked != store.marked_known:
            store.head.catalog = before.known.changed(list(changes), store.marks)
            store.marked_known = store.marked
    except BaseException:
        store.head = before
        raise
    finally:
        if changes:
            changes.clear()
    return True


cdef int near_take(Store store, bint is_all) except -1:
    cdef Near near = <Near>store.near
    cdef object known = store.head.known
    cdef bint is_done
    if near.is_taken:
        return 0
    near.is_taken = True
    try:
        is_done = near.take(store, is_all)
    finally:
        near.is_taken = False
    # the core has to know of another catalog
    if not is_done or store.head.known is not known:
        return 0
    near.count += 1
    return 1


def follow_commit(
    Store store not None, bytes body not None, uint64_t first_ordinal, uint64_t ordinal
) -> None:
    """One commit of another process, in order: the new head, to be seen once it is durable."""
    cdef Entry entry
    entry.ordinal = ordinal
    entry.first_ordinal = first_ordinal
    entry.start = 0
    entry.size = <size_t>PyBytes_GET_SIZE(body)
    if commits_apply(store, <const uint8_t *>PyBytes_AS_STRING(body), &entry, 1, []):
        store.pending.append([ordinal, store.head])
