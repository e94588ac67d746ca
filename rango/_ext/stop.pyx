"""Why a run must end early: somebody cancelled it, its time is over, or a signal came.

Terms       run: one execution of a query, a pipeline or the filling of an index.
Invariants  Any thread may cancel; what runs looks for itself, so it ends where it can. A Stop that
            is cancelled stays so, and so does every one inside of it.
            Python runs the handlers of signals in the main thread only, between two of its own
            steps: native loops that may last look for them.
Failure     QueryCancelled or Timeout, raised by whoever looks; what a handler of a signal raises.
Sources     ADR-0025; docs/howto/cancel.md.
"""

import threading

from rango.errors import QueryCancelled, Timeout

clock = None
"""What stands for the monotonic clock in new runs, nanoseconds; None: the clock itself."""

cimport cython
from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from rango._ext.overlay_node cimport ATOMIC_RELAXED, atomic_add_int, atomic_load_int


cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil
    int PyErr_CheckSignals() except -1

cdef enum:
    SIGNALS_NS = 50000000           # taking the GIL from busy threads may last 5 ms

cdef unsigned long main_thread = threading.main_thread().ident


cdef int64_t now_ns() noexcept nogil:
    # costs 25 ns, and no GIL
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + <int64_t>now.tv_nsec


cdef int signals_look(int64_t *due_ns) except -1 nogil:
    cdef int64_t now
    if PyThread_get_thread_ident() != main_thread:
        return 0
    now = now_ns()
    if due_ns[0] == 0 or now < due_ns[0]:
        if due_ns[0] == 0:
            due_ns[0] = now + SIGNALS_NS
        return 0
    due_ns[0] = now + SIGNALS_NS
    with gil:
        PyErr_CheckSignals()
    return 0


cdef int raise_cancelled() except -1 with gil:
    raise QueryCancelled("it was cancelled; run it again if it is still wanted")


cdef int raise_timeout() except -1 with gil:
    raise Timeout(
        "it ran longer than its max_time_ms; give it more time, or an index for its filter",
        code=50,
    )


@cython.final
@cython.freelist(32)
cdef class Stop:
    def start(self, int64_t time_ms, Stop outer) -> None:
        """The run begins: it may take so many milliseconds (0: any), inside of a block."""
        self.clock = clock
        self.has_clock = clock is not None
        self.nest(outer)
        self.deadline_ns = self.now() + time_ms * 1000000 if time_ms else 0
        if self.is_cancelled:
            raise_cancelled()

    def nest(self, Stop outer) -> None:
        """What ends `outer` ends this as well."""
        self.outer = outer
        self.has_outer = outer is not None

    def cancel(self) -> None:
        """End the run soon. Any thread may call it, at any time."""
        atomic_add_int(&self.is_set, 1, ATOMIC_RELAXED)

    @property
    def is_cancelled(self) -> bool:
        """Whether it, or the block around it, was cancelled."""
        return atomic_load_int(&self.is_set, ATOMIC_RELAXED) != 0 or (
            self.has_outer and self.outer.is_cancelled
        )

    def check(self) -> None:
        """Raise QueryCancelled or Timeout if the run must end."""
        self.look()

    cdef int64_t now(self) except -1 nogil:
        if self.has_clock:
            with gil:
                return self.clock()
        return now_ns()

    cdef int look(self) except -1 nogil:
        if atomic_load_int(&self.is_set, ATOMIC_RELAXED):
            return raise_cancelled()
        if self.deadline_ns and self.now() > self.deadline_ns:
            return raise_timeout()
        if self.has_outer:
            return self.outer.look()
        return 0
