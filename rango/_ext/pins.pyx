"""Pins: which generations the processes that have one database open read.

Terms       pin, user, word: see shared.pyx. Lease: what keeps one pin. More: pins that have no word
            of their own, known by the oldest of them only.
Invariants  I-2: every generation that a user reads is in its place of the table from before it is
            sure that the generation is still the newest one, until the last lease of it is gone.
            A pin is one word, written whole, so whoever looks finds each there or not.
            What a pin does is C alone: the collector may run a lease's end wherever Python
            allocates, and must not find half a change.
Layout      of a user's place, from USER_PINS on: twelve words, generation + 1 each or 0; then the
            word of those that found none free (USER_MORE): the oldest of them + 1.
Failure     MemoryError: nothing is pinned. A forked child and a user that has left change no word.
Sources     architecture section 3; ADR-0038.
"""

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from rango._ext.shared cimport (
    TABLE_WORD, USER_MORE, USER_PINS, USER_WORDS, Pin, Shared,
)


cdef int word_of(int place, int word) noexcept nogil:
    return TABLE_WORD + place * USER_WORDS + word


cdef bint says(Shared shared) noexcept nogil:
    return shared.place >= 0 and shared.is_ours()


cdef uint64_t oldest_more(Shared shared) noexcept nogil:
    # of the pins without a word of their own, + 1; 0: there are none
    cdef uint64_t oldest = 0
    cdef size_t at
    for at in range(shared.pin_count):
        if shared.pins[at].word == USER_MORE and (
            oldest == 0 or shared.pins[at].generation + 1 < oldest
        ):
            oldest = shared.pins[at].generation + 1
    return oldest


cdef Pin *pin_find(Shared shared, uint64_t generation) noexcept nogil:
    cdef size_t at
    for at in range(shared.pin_count):
        if shared.pins[at].generation == generation:
            return &shared.pins[at]
    return NULL


cdef int pin_take(Shared shared, uint64_t generation) noexcept nogil:
    # 0, or -1: no memory
    cdef Pin *pin = pin_find(shared, generation)
    cdef Pin *grown
    cdef int word
    if pin != NULL:
        pin.count += 1
        return 0
    if shared.pin_count == shared.pin_capacity:
        grown = <Pin *>realloc(shared.pins, (2 * shared.pin_capacity + 8) * sizeof(Pin))
        if grown == NULL:
            return -1
        shared.pins = grown
        shared.pin_capacity = 2 * shared.pin_capacity + 8
    pin = &shared.pins[shared.pin_count]
    shared.pin_count += 1
    pin.generation = generation
    pin.count = 1
    pin.word = 0
    if not says(shared):
        return 0
    for word in range(USER_PINS, USER_MORE):
        if shared.load(word_of(shared.place, word)) == 0:
            pin.word = word
            shared.store(word_of(shared.place, word), generation + 1)
            return 0
    pin.word = USER_MORE
    shared.store(word_of(shared.place, USER_MORE), oldest_more(shared))
    return 0


cdef void pin_drop(Shared shared, uint64_t generation) noexcept nogil:
    cdef Pin *pin = pin_find(shared, generation)
    cdef Pin *next
    cdef int word
    if pin == NULL:
        return
    pin.count -= 1
    if pin.count:
        return
    word = pin.word
    shared.pin_count -= 1
    pin[0] = shared.pins[shared.pin_count]
    if word == 0 or not says(shared):
        return
    if word != USER_MORE:
        # one that has no word gets this one; whoever looks in between sees it twice
        next = pin_find(shared, oldest_more(shared) - 1)
        if next == NULL:
            shared.store(word_of(shared.place, word), 0)
            return
        next.word = word
        shared.store(word_of(shared.place, word), next.generation + 1)
    shared.store(word_of(shared.place, USER_MORE), oldest_more(shared))


cdef Lease lease_new(Shared shared, uint64_t generation):
    cdef Lease lease = Lease.__new__(Lease)
    if pin_take(shared, generation) < 0:
        raise MemoryError
    lease.shared = shared
    lease.generation = generation
    return lease


def lease(Shared shared not None, uint64_t generation) -> Lease:
    """Keep the pages of a generation as long as the lease lives, whoever writes checkpoints.

    It holds only if the generation is still the newest one afterwards, or under the checkpoint
    lock for one that a slot names or lists.
    """
    return lease_new(shared, generation)


def pinned_by_others(Shared shared not None) -> tuple:
    """(numbers of the generations that other users read, from which one on any may be: or None)."""
    cdef int place
    cdef int word
    cdef set numbers = set()
    since = None
    for place in range(shared.places()):
        if place == shared.place or shared.load(word_of(place, 0)) == 0:
            continue
        # in this order: a pin may move from the last word to one before it
        more = shared.load(word_of(place, USER_MORE))
        found = [shared.load(word_of(place, word)) for word in range(USER_PINS, USER_MORE)]
        if not (more or any(found)) or not shared.place_is_locked(place):
            continue
        if more and (since is None or more - 1 < since):
            since = more - 1
        numbers.update([pin - 1 for pin in found if pin])
    return numbers, since


def pinned_here(Shared shared not None) -> set:
    """Numbers of the generations that this user reads."""
    cdef size_t count = shared.pin_count
    cdef uint64_t *numbers = <uint64_t *>malloc((count + 1) * sizeof(uint64_t))
    cdef size_t at
    if numbers == NULL:
        raise MemoryError
    # a copy: making a set allocates, and the end of a lease moves what is behind it
    for at in range(count):
        numbers[at] = shared.pins[at].generation
    try:
        return {numbers[at] for at in range(count)}
    finally:
        free(numbers)


@cython.final
@cython.no_gc
cdef class Lease:
    """See lease()."""

    def __dealloc__(self):
        if self.shared is not None:
            pin_drop(self.shared, self.generation)
