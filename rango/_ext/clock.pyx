"""The clock of revisions: hybrid logical time of one node; and the system's clock.

Terms       revision: see the glossary.
Invariants  It ticks only under the append lock, and never backwards: what was logged once is a
            floor, whatever the wall clock says.
Sources     Kulkarni et al., Logical Physical Clocks (2014).
"""

cimport cython
from libc.stdint cimport uint16_t, uint64_t
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec


cdef uint64_t system_now() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    if now.tv_sec < 0:
        return 0    # revisions are not negative, and what was logged is a floor
    return <uint64_t>now.tv_sec * 1000 + <uint64_t>now.tv_nsec // 1000000


def system_ms() -> int:
    """Milliseconds since the epoch. What a core's clock is unless another one is given."""
    return system_now()


@cython.final
cdef class Clock:
    """The last revision of this node; ticks only under the append lock."""

    cdef int tick(self, uint64_t now_ms) noexcept nogil:
        if now_ms > self.ms:
            self.ms = now_ms
            self.counter = 0
        elif self.counter == 0xffff:
            self.ms += 1
            self.counter = 0
        else:
            self.counter += 1
        return 0

    cdef int observe(self, uint64_t ms, uint16_t counter) noexcept nogil:
        # what was logged once is a floor
        if ms > self.ms or (ms == self.ms and counter > self.counter):
            self.ms = ms
            self.counter = counter
        return 0
