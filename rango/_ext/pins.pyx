"""Pins: which generations the processes that have one database open read.

Terms       pin, user, word: see shared.pyx. Lease: what keeps one pin. More: pins that have no word
            of their own, known by the oldest of them only.
Invariants  I-2: every generation that a user reads is in its place of the table from before it is
            sure that the generation is still the newest one, until the last lease of it is gone.
            A pin is one word, written whole, so whoever looks finds each there or not.
Layout      of a user's place, from USER_PINS on: twelve words, generation + 1 each or 0; then the
            word of those that found none free (USER_MORE): the oldest of them + 1, which stays
            until all of them are gone.
Failure     None: a forked child and a user that has left change no word.
Sources     architecture section 3; ADR-0038.
"""

cimport cython
from libc.stdint cimport uint64_t
from rango._ext.shared cimport TABLE_WORD, USER_MORE, USER_PINS, USER_WORDS, Shared


cdef int word_of(int place, int word) noexcept nogil:
    return TABLE_WORD + place * USER_WORDS + word


cdef int pin_put(Shared shared, uint64_t generation) noexcept nogil:
    # the word that says it
    cdef int word
    cdef uint64_t oldest
    if shared.place < 0 or not shared.is_ours():
        return 0
    for word in range(USER_PINS, USER_MORE):
        if shared.load(word_of(shared.place, word)) == 0:
            shared.store(word_of(shared.place, word), generation + 1)
            return word
    oldest = shared.load(word_of(shared.place, USER_MORE))
    if oldest == 0 or generation + 1 < oldest:
        shared.store(word_of(shared.place, USER_MORE), generation + 1)
    shared.pins_more += 1
    return USER_MORE


cdef void pin_drop(Shared shared, int word) noexcept nogil:
    if word == 0 or shared.place < 0 or not shared.is_ours():
        return
    if word == USER_MORE:
        shared.pins_more -= 1
        if shared.pins_more:
            return
    shared.store(word_of(shared.place, word), 0)


cdef Lease lease_new(Shared shared, uint64_t generation):
    cdef Lease lease = Lease.__new__(Lease)
    cdef int word
    cdef list pin = shared.pins.get(generation)
    if pin is None:
        word = pin_put(shared, generation)
        shared.pins[generation] = [1, word]
    else:
        pin[0] += 1
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
    cdef uint64_t pin
    cdef set numbers = set()
    since = None
    for place in range(shared.places()):
        if place == shared.place or shared.load(word_of(place, 0)) == 0:
            continue
        found = [
            shared.load(word_of(place, word))
            for word in range(USER_PINS, USER_WORDS)
        ]
        if not any(found) or not shared.place_is_locked(place):
            continue
        pin = found.pop()
        if pin and (since is None or pin - 1 < since):
            since = pin - 1
        numbers.update([pin - 1 for pin in found if pin])
    return numbers, since


def pinned_here(Shared shared not None) -> set:
    """Numbers of the generations that this user reads."""
    return set(shared.pins)


@cython.final
@cython.no_gc
cdef class Lease:
    """See lease()."""

    def __dealloc__(self):
        cdef list pin
        if self.shared is None:
            return
        pin = self.shared.pins.get(self.generation)
        if pin is None:
            return
        pin[0] -= 1
        if pin[0] == 0:
            del self.shared.pins[self.generation]
            pin_drop(self.shared, pin[1])
