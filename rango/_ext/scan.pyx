"""Scans: records or index entries in key order, filtered without the GIL.

Terms       overlay, base, cursor: see the glossary. Entry: a key and its value, wherever they lie.
            Interval: encoded keys from a lower (inclusive) to an upper (exclusive) bound; a scan
            walks several, disjoint and ascending, in the order of its direction.
Invariants  A scan merges overlay and base in key order, the overlay winning where both have a key.
            It reads one View, so what it gives is a state of the committed history (I-16).
States      fresh -> running -> done (exhausted, closed, or failed). A done scan holds no page.
Failure     PageCorrupted and IoFailed come up from the pager, QueryCancelled and Timeout from
            its Stop, which it looks at every CHECK_EVERY entries; the scan is then done.
Sources     architecture section 8.
"""

from rango.errors import PageCorrupted, RangoError

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp
from rango._ext.btree cimport (
    Tree, tree_cell, tree_close, tree_next, tree_previous, tree_seek, tree_seek_before,
)
from rango._ext.buffer cimport Buffer, buffer_free, buffer_init, buffer_put
from rango._ext.filter cimport Program, raise_failure
from rango._ext.layout cimport RECORD_FLAG_TOMBSTONE, RECORD_FLAGS
from rango._ext.leaf_run cimport Limit, leaf_left, leaf_pass
from rango._ext.overlay cimport (
    CELL_TOMBSTONE, cell_key, cell_retain, cell_value, overlay_next, overlay_previous,
    overlay_seek, overlay_seek_before,
)
from rango._ext.page cimport key_compare, leaf_is_overflow, leaf_key, leaf_value
from rango._ext.page_cache cimport page_retain
from rango._ext.pager cimport Pager
from rango._ext.span cimport load_u16
from rango._ext.stop cimport Stop, signals_look
from rango._ext.view cimport (
    TREE_PREFIX, Found, View, append_prefix, found_clear, found_document, found_release,
    prefixed,
)


cdef extern from "Python.h":
    int PyGC_Disable()
    int PyGC_Enable()


cdef enum:
    CHECK_EVERY = 64                # entries between two looks at stop and clock, 60 ns
    BATCH = 256                     # matches collected without the GIL before they are decoded
    HELD_MAX = 4194304              # bytes of them that are copies (from overflow pages)


cdef int raise_overflow(Pager pager) except -1 with gil:
    raise PageCorrupted(pager.path, "a record is too short to hold its header")


@cython.final
cdef class Scan:
    """A running scan. One thread at a time."""

    def __cinit__(
        self, View view not None, uint32_t tree, uint32_t index_tree, intervals not None,
        bint reverse, Program program, set seen
    ):
        self.view = view
        self.tree = tree
        self.index_tree = index_tree
        self.scanned = index_tree if index_tree else tree
        self.reverse = reverse
        self.program = program
        self.seen = seen
        self.is_unique = seen is not None
        self.is_plain = not (index_tree or reverse or seen is not None)
        self.pager = view.pager
        self.intervals = intervals
        self.points = intervals if type(intervals) is Points else None
        self.taken = -1

    def __dealloc__(self):
        tree_close(&self.base)

    def end_with(self, Stop stop) -> None:
        """Raise what `stop` says, once it does; to be called before the first fetch."""
        self.stop = stop
        self.may_stop = stop is not None

    cdef int start(self) except -1:
        # on the first interval that is left: 1, or 0 if there is none
        cdef Py_ssize_t count = len(self.intervals)
        cdef tuple interval
        if self.turn >= count:
            return 0
        interval = self.intervals[count - 1 - self.turn if self.reverse else self.turn]
        self.turn += 1
        self.lower = prefixed(self.scanned, interval[0])
        self.is_open = interval[1] is None
        self.upper = prefixed(self.scanned + self.is_open, interval[1])
        self.lower_key = <const uint8_t *>PyBytes_AS_STRING(self.lower)
        self.lower_size = <size_t>PyBytes_GET_SIZE(self.lower)
        self.upper_key = <const uint8_t *>PyBytes_AS_STRING(self.upper)
        self.upper_size = <size_t>PyBytes_GET_SIZE(self.upper)
        tree_close(&self.base)
        self._seek()
        return 1

    cdef int _start_next(self) except -1 with gil:
        # of many points all that lie before the next key that there is have none
        cdef const uint8_t *key = NULL
        cdef size_t size = 0
        self.look()
        if self.points is not None:
            if self.has_base:
                key = leaf_key(tree_cell(&self.base), &size)
            if self.cell != NULL and (
                self._order(key, size) > 0 if self.has_base
                else memcmp(cell_key(self.cell), self.lower_key, TREE_PREFIX) == 0
            ):
                key = cell_key(self.cell) + TREE_PREFIX
                size = self.cell.key_size - TREE_PREFIX
            self.turn = self.points.turn_at(self.turn, key, size, self.reverse)
        return self.start()

    cdef int _seek(self) except -1:
        cdef Tree *tree = self.view.generation.tree(self.scanned)
        # an upper bound that is only the next tree's id: from the last key of this one
        cdef const uint8_t *above = NULL
        cdef size_t above_size = 0
        self.taken = TAKEN_NOTHING
        self.has_base = False
        if self.reverse:
            if tree != NULL:
                if not self.is_open:
                    above = self.upper_key + TREE_PREFIX
                    above_size = self.upper_size - TREE_PREFIX
                self.has_base = tree_seek_before(
                    self.pager, tree, above, above_size, &self.base
                ) == 1
            self.cell = overlay_seek_before(
                &self.over, self.view.root, self.upper_key, self.upper_size
            )
        else:
            if tree != NULL:
                self.has_base = tree_seek(self.pager, tree, self.lower_key + TREE_PREFIX,
                                          self.lower_size - TREE_PREFIX, &self.base) == 1
            self.cell = overlay_seek(&self.over, self.view.root, self.lower_key, self.lower_size)
        return 0

    cdef int advance(self) except -1 nogil:
        # leave what the last entry was made of
        if self.taken & TAKEN_BASE:
            if self.reverse:
                self.has_base = tree_previous(self.pager, &self.base) == 1
            else:
                self.has_base = tree_next(self.pager, &self.base) == 1
        if self.taken & TAKEN_OVER:
            self.cell = overlay_previous(&self.over) if self.reverse else overlay_next(&self.over)
        self.taken = TAKEN_NOTHING
        return 0

    cdef int entry(self, Entry *out) except -1 nogil:  # hot
        # the next entry in order: 1, or 0 at the end. Valid until the next call.
        while self._entry_within(out) == 0:
            if self._start_next() == 0:
                return 0
        self.keys_examined += 1
        return 1

    cdef int look(self) except -1 nogil:
        if self.may_stop:
            self.stop.look()
        return signals_look(&self.signals_due_ns)

    cdef int _entry_within(self, Entry *out) except -1 nogil:  # hot
        # the same inside the interval in hand
        cdef const uint8_t *leaf = NULL
        cdef int order, outside
        cdef const uint8_t *bound = self.lower_key if self.reverse else self.upper_key
        cdef size_t bound_size = self.lower_size if self.reverse else self.upper_size
        while True:
            self.steps += 1
            if self.steps % CHECK_EVERY == 0:
                self.look()
            self.advance()
            if not self.has_base and self.cell == NULL:
                return 0
            order = 1
            if self.has_base:
                leaf = tree_cell(&self.base)
                out.key = leaf_key(leaf, &out.key_size)
                order = -1
                if self.cell != NULL:
                    order = self._order(out.key, out.key_size)
            if order < 0:
                self.taken = TAKEN_BASE
                out.value = leaf_value(leaf, &out.value_size)
                out.overflow = leaf_is_overflow(leaf)
                out.cell = NULL
                # an upper bound that is only the next tree's id bounds no base key
                if self.reverse or not self.is_open:
                    outside = key_compare(
                        out.key, out.key_size, bound + TREE_PREFIX, bound_size - TREE_PREFIX
                    )
                    if (outside < 0) if self.reverse else (outside >= 0):
                        return 0
                return 1
            self.taken = TAKEN_OVER if order > 0 else TAKEN_BOTH
            outside = key_compare(cell_key(self.cell), self.cell.key_size, bound, bound_size)
            if (outside < 0) if self.reverse else (outside >= 0):
                # the base, if it has anything left, lies behind the overlay here
                return 0
            if self.cell.flags & CELL_TOMBSTONE:
                continue
            out.key = cell_key(self.cell) + TREE_PREFIX
            out.key_size = self.cell.key_size - TREE_PREFIX
            out.value = cell_value(self.cell)
            out.value_size = self.cell.value_size
            out.overflow = False
            out.cell = self.cell
            return 1

    cdef int _order(self, const uint8_t *key, size_t size) noexcept nogil:
        # of the base's key against the overlay's, in the direction of the scan; cells of other
        # trees lie behind
        cdef const uint8_t *other = cell_key(self.cell)
        cdef int order = key_compare(other, TREE_PREFIX, self.lower_key, TREE_PREFIX)
        if order != 0:
            return -1
        order = key_compare(key, size, other + TREE_PREFIX, self.cell.key_size - TREE_PREFIX)
        return -order if self.reverse else order

    cdef int next_match(self, Found *out) except -1 nogil:  # hot
        # the next record that the program matches: 1 (release it), or 0 at the end
        cdef Entry entry
        cdef int answer
        while self.entry(&entry):
            if self.index_tree:
                if self._document(&entry, out) == 0:
                    continue
            else:
                if self.is_unique and not self._is_fresh(entry.key, entry.key_size):
                    continue
                found_clear(out)
                out.value = entry.value
                out.size = entry.value_size
                if entry.overflow:
                    self.view._find_whole(out)
            if out.value[RECORD_FLAGS] == RECORD_FLAG_TOMBSTONE:
                found_release(out)
                continue
            self.records_examined += 1
            if self.program is not None:
                answer = self.program.run(out.value, out.size)
                if answer <= 0:
                    found_release(out)
                    if answer < 0:
                        with gil:
                            raise_failure(answer, "record")
                    self._pass()
                    continue
            if not self.index_tree and out.owned == NULL:
                if entry.cell != NULL:
                    cell_retain(entry.cell)
                    out.cell = entry.cell
                else:
                    out.page = self.base.pages[self.base.height - 1]
                    page_retain(out.page)
                    out.slot = self.base.slots[self.base.height - 1]
            self.matched += 1
            return 1
        return 0

    cdef int _pass(self) except -1 nogil:
        # over what follows in this leaf and does not match either
        cdef uint32_t records = 0
        cdef uint32_t cells = leaf_pass(&self.base, self.cells_left(), self.program, &records)
        return self.gone_over(cells, records)

    cdef int cells_left(self) noexcept nogil:
        cdef Limit overlay = Limit(NULL, 0)
        cdef Limit bound = Limit(NULL, 0)
        if not self.is_plain or self.taken != TAKEN_BASE:
            return 0
        if self.cell != NULL and memcmp(cell_key(self.cell), self.lower_key, TREE_PREFIX) == 0:
            overlay = Limit(cell_key(self.cell) + TREE_PREFIX, self.cell.key_size - TREE_PREFIX)
        if not self.is_open:
            bound = Limit(self.upper_key + TREE_PREFIX, self.upper_size - TREE_PREFIX)
        return leaf_left(&self.base, overlay, bound)

    cdef int gone_over(self, uint32_t cells, uint32_t records) except -1 nogil:
        if cells == 0:
            return 0
        self.base.slots[self.base.height - 1] += cells
        self.keys_examined += cells
        self.records_examined += records
        if self.steps % CHECK_EVERY + cells >= CHECK_EVERY:
            self.look()
        self.steps += cells

    cdef int _document(self, const Entry *entry, Found *out) except -1 nogil:
        # the record that an index entry names: 1, or 0 if this scan has given it already
        cdef size_t split = self._split(entry)
        cdef Buffer key
        cdef int found
        if self.is_unique and not self._is_fresh(entry.key + split, entry.key_size - split):
            return 0
        buffer_init(&key)
        try:
            append_prefix(&key, self.tree)
            if buffer_put(&key, entry.key + split, entry.key_size - split) < 0:
                with gil:
                    raise MemoryError
            found = self.view.find(key.data, key.size, out)
        finally:
            buffer_free(&key)
        return found

    cdef size_t _split(self, const Entry *entry) except? 0 nogil:
        # where the key of the `_id` starts in an index key
        cdef size_t split = load_u16(entry.value) if entry.value_size >= 2 else entry.key_size
        if split >= entry.key_size:
            raise_overflow(self.pager)
        return split

    cdef int _is_fresh(self, const uint8_t *id_key, size_t size) except -1 with gil:
        name = PyBytes_FromStringAndSize(<const char *>id_key, <Py_ssize_t>size)
        if name in self.seen:
            return 0
        self.seen.add(name)
        return 1

    cdef int enter(self) except -1:
        # before a thread works in here; is_running is taken back when it is through
        if self.is_running:
            raise RangoError("a cursor was used by two threads at once; give each thread its own")
        self.is_running = True
        return 0

    cdef int _fill(self, Found *found, int limit) except -1:
        # up to `limit` matches, without the GIL; the scan is done at the end or on an error
        cdef int count = 0
        cdef size_t held = 0
        cdef bint is_end = False
        if self.done:
            return 0
        self.enter()
        try:
            if self.taken < 0:
                is_end = self.start() == 0
            with nogil:
                while not is_end and count < limit and held < HELD_MAX:
                    if self.next_match(&found[count]) == 0:
                        is_end = True
                        break
                    if found[count].owned != NULL:
                        held += found[count].size
                    count += 1
            if is_end:
                self._end()
        except BaseException:
            self._end()
            while count:
                count -= 1
                found_release(&found[count])
            raise
        finally:
            self.is_running = False
        return count

    def next_documents(self, Py_ssize_t limit) -> list:
        """At most `limit` more documents, decoded; an empty list at the end.

        Of `names`, if that is set, only those top-level fields, or (not `is_kept`) the others.
        """
        cdef Found found[BATCH]
        cdef list documents = []
        cdef Pager pager = self.pager
        cdef object names = self.names
        cdef int count
        cdef int at
        while limit > 0:
            count = self._fill(found, <int>(limit if limit < BATCH else BATCH))
            at = 0
            # decoding makes no garbage, only containers: a collection for every few hundred
            was_enabled = PyGC_Disable()
            try:
                while at < count:
                    documents.append(found_document(pager, &found[at], names, self.is_kept))
                    found_release(&found[at])
                    at += 1
            finally:
                if was_enabled:
                    PyGC_Enable()
                while at < count:
                    found_release(&found[at])
                    at += 1
            if self.done:
                break
            limit -= count
        return documents

    def next_records(self, Py_ssize_t limit) -> list:
        """At most `limit` more records as bytes; an empty list at the end."""
        cdef Found found[BATCH]
        cdef list records = []
        cdef int count
        cdef int at
        while limit > 0:
            count = self._fill(found, <int>(limit if limit < BATCH else BATCH))
            for at in range(count):
                records.append(PyBytes_FromStringAndSize(
                    <const char *>found[at].value, <Py_ssize_t>found[at].size
                ))
                found_release(&found[at])
            if self.done:
                break
            limit -= count
        return records

    def next_entries(self, Py_ssize_t limit) -> list:
        """At most `limit` more (key, value) pairs as they lie in the tree, nothing filtered."""
        cdef list entries = []
        cdef Entry entry
        cdef Found whole
        if self.done:
            return entries
        self.enter()
        try:
            is_end = self.taken < 0 and self.start() == 0
            while len(entries) < limit:
                if is_end or self.entry(&entry) == 0:
                    self._end()
                    break
                found_clear(&whole)
                whole.value, whole.size = entry.value, entry.value_size
                if entry.overflow:
                    self.view._find_whole(&whole)
                entries.append((
                    PyBytes_FromStringAndSize(<const char *>entry.key, <Py_ssize_t>entry.key_size),
                    PyBytes_FromStringAndSize(<const char *>whole.value, <Py_ssize_t>whole.size),
                ))
                found_release(&whole)
        except BaseException:
            self._end()
            raise
        finally:
            self.is_running = False
        return entries

    def count(self) -> int:
        """Run to the end and return how many records matched in all; nothing is decoded."""
        return self._counted(False)

    def count_keys(self) -> int:
        """The same of entries, each document once if `seen` was given; nothing is filtered."""
        return self._counted(True)

    cdef object _counted(self, bint is_keys):
        cdef Found found
        if self.done:
            return self.matched
        self.enter()
        try:
            if self.taken < 0 and self.start() == 0:
                return 0
            with nogil:
                if is_keys:
                    self._count_keys()
                else:
                    while self.next_match(&found):
                        found_release(&found)
        finally:
            self._end()
            self.is_running = False
        return self.matched

    cdef int _count_keys(self) except -1 nogil:
        cdef Entry entry
        cdef size_t split
        while self.entry(&entry):
            if self.is_unique:
                split = self._split(&entry) if self.index_tree else 0
                self.matched += self._is_fresh(entry.key + split, entry.key_size - split)
            else:
                self.matched += 1
        return 0

    def close(self) -> None:
        """Let the pages go. A closed scan is at its end."""
        self.enter()
        self.is_running = False
        self._end()

    cdef void _end(self) noexcept:
        self.done = True
        self.has_base = False
        self.cell = NULL
        tree_close(&self.base)
