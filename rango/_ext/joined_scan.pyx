"""Scans of two indexes at once: of documents that have a key in both.

Terms       own, other: the scan that leads and the one that is asked. Own keys and other keys are
            those of one value each, so both come in the order of `_id`.
Invariants  A document that matches has a key in both, so one that only one of them has is not
            fetched; the program runs on every one that is. The other scan starts after `join_after`
            own keys, at the `_id` reached, so that a short scan pays nothing for it. It is given
            up for good when it has read more than COST_MAX keys for each own key since (and
            COST_FREE), or when after PROBES of them more than 7 of 8 were shared: then the rest is
            read as if it were not there. All this depends on the keys only, so a run on the same
            data does the same.
Failure     that of the scans.
Sources     ADR-0019.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset
from rango._ext.filter cimport Program, raise_failure
from rango._ext.layout cimport RECORD_FLAG_TOMBSTONE, RECORD_FLAGS
from rango._ext.page cimport key_compare
from rango._ext.scan cimport Entry, Scan
from rango._ext.view cimport Found, found_document, found_release

cdef enum:
    COST_FREE = 64
    COST_MAX = 8                    # other keys that one own key may cost: a document costs 24
    PROBES = 256                    # own keys after which the share is looked at
    WAITING = 0
    RUNNING = 1
    ENDED = 2
    GIVEN_UP = 3


@cython.final
cdef class JoinedScan:
    """A running scan of two indexes; both must go the same way. One thread at a time."""

    def __cinit__(
        self, Scan own not None, Scan other not None, Program program not None, bint reverse,
        uint64_t join_after
    ):
        self.own = own
        self.other = other
        self.program = program
        self.reverse = reverse
        self.join_after = join_after
        self.state = WAITING

    cdef int _start(self, const uint8_t *id_key, size_t size) except -1 with gil:
        # at the `_id` reached; what lies before it in a key is known from the first one
        cdef bytes key
        self.state = RUNNING
        if self.other.start() == 0:
            self.state = ENDED
            return 0
        self._step()
        if self.state == ENDED:
            return 0
        key = (
            PyBytes_FromStringAndSize(<const char *>self.entry.key, <Py_ssize_t>self.split)
            + PyBytes_FromStringAndSize(<const char *>id_key, <Py_ssize_t>size)
        )
        lower, upper, _, _ = self.other.intervals[0]
        self.other.intervals = (
            ((lower, key + b"\0", None, None),) if self.reverse else ((key, upper, None, None),)
        )
        self.other.turn = 0
        self.other.start()
        return self._step()

    cdef int _step(self) except -1 nogil:
        # to the other's next key
        if self.other.entry(&self.entry) == 0:
            self.state = ENDED
            return 0
        self.split = self.other._split(&self.entry)
        return 0

    cdef int _is_shared(self, const Entry *entry, size_t split) except -1 nogil:  # hot
        # whether the document has a key in both, as far as that is still asked
        cdef int order
        if self.state == GIVEN_UP or self.own.keys_examined <= self.join_after:
            return 1
        if self.state == WAITING:
            self._start(entry.key + split, entry.key_size - split)
        self.probed += 1
        while self.state == RUNNING:
            order = key_compare(
                self.entry.key + self.split, self.entry.key_size - self.split,
                entry.key + split, entry.key_size - split,
            )
            if order == 0:
                self.shared += 1
                if self.probed >= PROBES and self.shared * 8 > self.probed * 7:
                    self.state = GIVEN_UP
                return 1
            if (order < 0) if self.reverse else (order > 0):
                return 0
            if self.other.keys_examined > COST_FREE + COST_MAX * self.probed:
                self.state = GIVEN_UP
                return 1
            self._step()
        return 0

    cdef int _next(self, Found *out) except -1 nogil:  # hot
        # the next document that matches: 1 (release it), or 0 at the end
        cdef Entry entry
        cdef int answer
        while self.own.entry(&entry):
            if self._is_shared(&entry, self.own._split(&entry)) == 0:
                if self.state == ENDED:
                    return 0
                continue
            if self.own._document(&entry, out) == 0:
                continue
            if out.value[RECORD_FLAGS] == RECORD_FLAG_TOMBSTONE:
                found_release(out)
                continue
            self.own.records_examined += 1
            answer = self.program.run(out.value, out.size)
            if answer <= 0:
                found_release(out)
                if answer < 0:
                    with gil:
                        raise_failure(answer, "record")
                continue
            self.own.matched += 1
            return 1
        return 0

    def next_documents(self, Py_ssize_t limit) -> list:
        """At most `limit` more documents, decoded; an empty list at the end."""
        return self._fetch(limit, True)

    def next_records(self, Py_ssize_t limit) -> list:
        """At most `limit` more records as bytes; an empty list at the end."""
        return self._fetch(limit, False)

    def count(self) -> int:
        """Run to the end and return how many documents matched in all."""
        cdef Found found
        memset(&found, 0, sizeof(Found))
        if not self._enter():
            return self.own.matched
        try:
            with nogil:
                while self._next(&found):
                    found_release(&found)
        finally:
            self._end()
            self.own.is_running = False
        return self.own.matched

    cdef list _fetch(self, Py_ssize_t limit, bint is_decoded):
        cdef list items = []
        cdef Found found
        cdef int is_there
        memset(&found, 0, sizeof(Found))
        if not self._enter():
            return items
        try:
            while len(items) < limit:
                with nogil:
                    is_there = self._next(&found)
                if is_there == 0:
                    self._end()
                    break
                try:
                    if is_decoded:
                        items.append(found_document(
                            self.own.pager, &found, self.own.names, self.own.is_kept
                        ))
                    else:
                        items.append(PyBytes_FromStringAndSize(
                            <const char *>found.value, <Py_ssize_t>found.size
                        ))
                finally:
                    found_release(&found)
        except BaseException:
            self._end()
            raise
        finally:
            self.own.is_running = False
        return items

    cdef bint _enter(self) except -1:
        # False at the end
        if self.own.done:
            return False
        self.own.enter()
        if self.own.taken < 0 and self.own.start() == 0:
            self._end()
            self.own.is_running = False
            return False
        return True

    cdef void _end(self) noexcept:
        self.own._end()
        self.other._end()
