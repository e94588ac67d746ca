"""One open database, below the files' names: commits, visibility, replay, and the building of
generations.

Terms       commit, ordinal, generation, overlay, checkpoint: see the glossary.
Invariants  I-1, I-16: `current` moves only to commits that are durable (or, in "group" and
            "memory", appended), in order.
            I-2: a generation is built into units that no reachable generation uses. I-5: its bitmap
            marks what it reaches.
            Between the write of a frame and the moment when its view is queued no Python bytecode
            runs, so that neither a signal nor another thread finds the log ahead of the memory.
States      replaying (apply) -> open (begin, commit, publish) ; build -> adopt is one checkpoint.
Failure     A commit that raises has changed nothing in memory; the appender says whether the log
            may have it (IoFailed) or not (LowDisk). A build that raises leaves garbage in units
            that nothing names.
Sources     architecture sections 3 and 8; ADR-0006.
"""

from collections import deque

from rango.errors import FormatTooNew, LogCorrupted

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport ESTALE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from rango._ext.batch cimport Batch, batch_begin
from rango._ext.builder cimport Builder
from rango._ext.clock cimport Clock
from rango._ext.file_place cimport FilePlace
from rango._ext.entries cimport ENTRY_ARRAY, INDEX_FIELDS_MAX, MARK_SHORTENED
from rango._ext.layout cimport (
    COMMIT_COUNT, COMMIT_HEADER_SIZE, COMMIT_VERSION, COMMIT_VERSION_ACTORS, INDEX_ADD,
    INDEX_ENTRY_HEADER_SIZE, INDEX_ENTRY_KEY_SIZE, INDEX_ENTRY_OP, INDEX_ENTRY_SPLIT,
    INDEX_ENTRY_TREE, INDEX_PUT, INDEX_REMOVE, INDEX_VALUE_SIZE, MUTATION_DELETE, MUTATION_FORGET,
    MUTATION_HEADER_SIZE, MUTATION_INDEX_COUNT, MUTATION_INSERT, MUTATION_KEY_SIZE, MUTATION_OP,
    MUTATION_PURGED, MUTATION_SIZE, MUTATION_TREE, MUTATION_VALUE_SIZE, TREE_CATALOG,
)
from rango._ext.overlay cimport (
    CELL_TOMBSTONE, Bloom, overlay_bytes, overlay_count, overlay_owner_next, loans_end,
)
from rango._ext.pager cimport Pager
from rango._ext.pins cimport lease_new
from rango._ext.rebase cimport view_rebased
from rango._ext.record cimport RecordHeader, record_header_read
from rango._ext.scratch cimport Scratch
from rango._ext.shared cimport (
    WORD_APPENDED, WORD_APPENDING, WORD_DURABLE, WORD_FAILED, WORD_GENERATION, WORD_SEGMENT,
    WORD_STATE, WORD_VISIBLE, Shared, visible_of, word_of,
)
from rango._ext.span cimport Span, load_u16, load_u32, span_of, span_take, store_u16, store_u32
from rango._ext.view cimport (
    TREE_PREFIX, Counts, Generation, View, overlay_apply, prefix_write, tree_of,
)

cdef enum:
    BLOOM_KEYS_MIN = 8192
    BLOOM_KEYS_MAX = 262144
    KEY_SIZE_MAX = 1024             # a key of this size was shortened: its index gives no order
    TREE_ID_MAX = 16777215          # bounds the arrays by tree id that a forged log could ask for


# marks of an index of version 1, which does not say which field met the array
cdef uint64_t FIELDS_ALL = (<uint64_t>1 << INDEX_FIELDS_MAX) - 1


cdef int raise_body(uint64_t ordinal) except -1:
    raise LogCorrupted(
        f"oplog, commit {ordinal}", "the commit's body is malformed although its tag is right; "
        "it was written by a faulty program")


@cython.final
cdef class Store:
    """The committed state and what may be seen of it. Methods say who holds the append lock."""

    def __init__(
        self, Pager pager not None, Generation generation not None, bytes node not None,
        size_t page_size=0
    ):
        # page_size: opened size at which a page closes; 0: what ships, less: small trees are high
        self.pager = pager
        self.builder = Builder(pager, generation, page_size)
        self.node = node
        self.clock = Clock()
        self.pending = deque()
        self.scratch = Scratch()
        self.marks = {}
        self.bloom_keys = BLOOM_KEYS_MIN
        self.head = self._view_of(generation)
        self.seen = self.head
        for tree in range(generation.tree_count):
            if generation.trees[tree].marks:
                self.marks[tree] = generation.trees[tree].marks

    cdef View _view_of(self, Generation generation):
        cdef View view = View.__new__(View)
        self.builder.watch(generation)
        view.ordinal = generation.ordinal
        view.generation = generation
        view.pager = self.pager
        view.bloom = Bloom(self.bloom_keys)
        view.counts = Counts()
        return view

    # --- commits

    def begin(self, bytes actor not None=b"") -> Batch:
        """A batch on top of the newest commit.

        Under the append lock, which is held until commit or drop.
        """
        return self.begun(actor)

    cdef Batch begun(self, bytes actor):
        loans_end(&self.head.loans)
        return batch_begin(
            self.head, self.clock, self.node, self.scratch, self.appender.ordinal + 1, actor)

    def commit(self, Batch batch not None) -> int:
        """Append the batch and queue its view; returns its ordinal.

        Under the append lock. Durable only after a flush.
        """
        return self.committed(batch)

    cdef uint64_t committed(self, Batch batch) except? 0:
        cdef uint64_t ordinal = 0
        cdef View view = batch.work
        cdef list entry = None if self.visible_at_once else [0, view]
        if batch.is_broken:
            raise MemoryError("this transaction ran out of memory half-way; abort it")
        if batch.count == 0:
            return self.head.ordinal
        if batch.first_ordinal != self.appender.ordinal + 1:
            raise AssertionError("somebody appended meanwhile: the append lock was lost")
        store_u32(batch.body.data + COMMIT_COUNT, batch.count)
        # whatever may fail for want of memory comes before the append; too wide a plan is not wrong
        for tree, marks in batch.marks.items():
            self._mark(tree, marks)
        if entry is not None:
            self.pending.append(entry)
        try:
            self.appender.append(batch.body.data, batch.body.size, &ordinal)
        except BaseException:
            if entry is not None:
                self.pending.pop()
            raise
        # before any other thread runs: it would take the commit for that of another process
        self.reached = ordinal
        batch.is_over = True
        view.ordinal = ordinal
        if entry is not None:
            entry[0] = ordinal
        self.head = view
        if batch.body.data[COMMIT_VERSION] == COMMIT_VERSION_ACTORS:
            self.has_actors = True
        if self.visible_at_once:
            self.seen = view
            self.appender.shared.raise_to(WORD_VISIBLE, ordinal)
            loans_end(&view.loans)
        return ordinal

    cpdef int publish(self) except -1:
        """Let everything be seen that is durable by now. Any thread; never goes back."""
        cdef Shared shared = self.appender.shared if self.shared is None else self.shared
        cdef uint64_t durable = max(shared.load(WORD_DURABLE), shared.load(WORD_VISIBLE))
        cdef View view
        while self.pending and 0 < self.pending[0][0] <= durable:
            view = self.pending.popleft()[1]
            if view.ordinal > self.seen.ordinal:
                self.seen = view
        if self.seen is self.head:
            # what it was made of may have gone with the view that was seen before
            loans_end(&self.head.loans)
        return 0

    # --- other processes

    def attach(self, Shared shared not None, follower, FilePlace place) -> None:
        """Follow other processes: `follower()` is called when there is something."""
        self.shared = shared
        self.place = place
        self.follower = follower

    cpdef bint is_behind(self) except -1:
        """Whether other processes have gone on since this store last followed them."""
        if self.shared is None or self.shared.load(WORD_STATE) != 1:
            return False    # alone, or somebody is recovering
        if self.shared.load(WORD_GENERATION) != self.known_generation or self.has_unread():
            return True
        # ordinal 0: a commit that is being appended
        return bool(self.pending) and 0 < self.pending[0][0] <= self.shared.visible

    cpdef bint has_unread(self) except -1:
        """Whether other processes have appended what this store has not taken over."""
        return self.shared.load(
            WORD_DURABLE if self.shared.load(WORD_FAILED) else WORD_APPENDED) > self.reached

    cpdef bint must_follow(self) except -1:
        """Whether something must be done before an append. Under the append lock."""
        if self.place is not None and not self.place.is_kept(not self.visible_at_once):
            self.shared.fail_with(ESTALE)
        return self.shared is not None and (
            (self.is_behind() and not self.take_near(True)) or self.shared.load(WORD_APPENDING)
            or self.shared.load(WORD_FAILED)
            or self.shared.load(WORD_SEGMENT) != self.appender.segment_id
        )

    cdef bint is_stale(self) except -1:
        # whether something may be seen that this store does not show
        cdef Shared shared = self.shared
        cdef uint64_t visible
        if shared is None or word_of(shared, WORD_STATE) != 1:
            return False
        if word_of(shared, WORD_FAILED):
            return self.is_behind()
        visible = visible_of(shared)
        return (
            visible > self.reached or word_of(shared, WORD_GENERATION) != self.known_generation
            or (bool(self.pending) and 0 < self.pending[0][0] <= visible)
        )

    cdef bint take_near(self, bint is_all) except -1:
        # take over a few commits, all or those that may be seen: whether nothing else is to be done
        return self.near_take != NULL and self.near_take(self, is_all)

    cdef View newest(self):
        if self.is_stale() and not self.take_near(False):
            self.follower()
        return self.seen

    @property
    def current(self) -> View:
        """What may be seen now, of what any process has committed."""
        return self.newest()

    @current.setter
    def current(self, View view not None) -> None:
        self.seen = view

    def view(self) -> View:
        """The same, and its pages stay as they are as long as it is held."""
        cdef View view
        cdef uint64_t known
        if self.shared is None:
            return self.seen
        while True:
            known = self.known_generation
            view = self.leased(self.current)
            # whoever writes the next but one checkpoint looks at the pins after it has named one
            if (self.shared.load(WORD_GENERATION) == known == self.known_generation
                    or self.shared.load(WORD_STATE) != 1):
                return view

    def leased(self, View view not None) -> View:
        """A view whose generation nobody can give up yet, with a lease."""
        if self.shared is None:
            return view
        return view.leased(lease_new(self.shared, view.generation.number))

    def look(self) -> None:
        """Take over all that other processes have done, seen or not."""
        if self.is_behind():
            self.follower()

    @property
    def overlay_count(self) -> int:
        """Entries in memory since the checkpoint."""
        return overlay_count(self.head.root)

    @property
    def overlay_bytes(self) -> int:
        """Bytes in memory since the checkpoint."""
        return overlay_bytes(self.head.root)

    @property
    def revision_floor(self) -> tuple[int, int]:
        """(ms, counter) of the last revision given out or seen."""
        return self.clock.ms, self.clock.counter

    def build(
        self, View view not None, dict definitions not None, uint64_t number, uint64_t ordinal
    ) -> Generation:
        """What `view` has on top of its generation, as generation `number` (Builder.build)."""
        return self.builder.build(view, definitions, self.marks, number, ordinal)

    def keep(self, Generation generation not None) -> None:
        """Leave the pages of the other slot's generation alone (Builder.keep)."""
        self.builder.keep(generation)

    def floor(self, uint64_t ms, uint16_t counter) -> None:
        """No revision at or below this one will be given out again."""
        self.clock.observe(ms, counter)

    # --- replay

    def apply(self, bytes body not None, uint64_t first_ordinal, uint64_t ordinal) -> list:
        """One commit of the log, in order; returns what it changed in the catalog: [(tree id,
        definition or None)].
        """
        cdef list changes = []
        self._apply(
            <const uint8_t *>PyBytes_AS_STRING(body), <size_t>PyBytes_GET_SIZE(body),
            first_ordinal, overlay_owner_next(), changes)
        self.head.ordinal = ordinal
        return changes

    cdef int _apply(self, const uint8_t *body, size_t size, uint64_t first_ordinal, uint64_t owner,
                    list changes) except -1:
        cdef Span span = span_of(body, size)
        cdef const uint8_t *head = span_take(&span, COMMIT_HEADER_SIZE)
        cdef const uint8_t *mutation
        cdef uint32_t count
        cdef uint32_t _at
        cdef uint32_t mutation_size
        if head == NULL:
            raise_body(first_ordinal)
        if not 1 <= head[COMMIT_VERSION] <= COMMIT_VERSION_ACTORS:
            raise FormatTooNew(
                f"oplog, commit {first_ordinal} has version {head[COMMIT_VERSION]}; this Rango "
                "knows versions 1 to 3. Update Rango."
            )
        if head[COMMIT_VERSION] == COMMIT_VERSION_ACTORS:
            self.has_actors = True
        count = load_u32(head + COMMIT_COUNT)
        for _at in range(count):
            if span.size - span.at < MUTATION_HEADER_SIZE:
                raise_body(first_ordinal)
            mutation_size = load_u32(span.base + span.at + MUTATION_SIZE)
            mutation = span_take(&span, mutation_size)
            if mutation == NULL or mutation_size < MUTATION_HEADER_SIZE:
                raise_body(first_ordinal)
            self._apply_one(mutation, mutation_size, first_ordinal, owner, changes)
        return 0

    cdef int _apply_one(
        self, const uint8_t *mutation, size_t size, uint64_t ordinal, uint64_t owner, list changes
    ) except -1:  # hot
        cdef Span span = span_of(mutation, size)
        cdef uint8_t room[TREE_PREFIX + 65536]
        cdef const uint8_t *key
        cdef const uint8_t *value
        cdef size_t key_size = load_u16(mutation + MUTATION_KEY_SIZE)
        cdef size_t value_size = load_u32(mutation + MUTATION_VALUE_SIZE)
        cdef uint32_t entries = load_u32(mutation + MUTATION_INDEX_COUNT)
        cdef uint32_t tree = load_u32(mutation + MUTATION_TREE)
        cdef uint8_t op = mutation[MUTATION_OP]
        cdef RecordHeader header
        span_take(&span, MUTATION_HEADER_SIZE)
        key = span_take(&span, key_size)
        value = span_take(&span, value_size)
        if key == NULL or value == NULL:
            raise_body(ordinal)
        if tree > TREE_ID_MAX:
            raise_body(ordinal)
        if op == MUTATION_PURGED:
            # what it did to the number of documents is all that is left of it
            if size <= MUTATION_HEADER_SIZE:
                raise_body(ordinal)
            op = mutation[MUTATION_HEADER_SIZE]
            if op == MUTATION_INSERT or op == MUTATION_DELETE:
                self.head.counts.add(tree, 1 if op == MUTATION_INSERT else -1)
            return 0
        prefix_write(room, tree)
        memcpy(room + TREE_PREFIX, key, key_size)
        if tree == TREE_CATALOG:
            if key_size != TREE_PREFIX:
                raise_body(ordinal)
            overlay_apply(self.head, owner, room, TREE_PREFIX + key_size, value, value_size,
                          CELL_TOMBSTONE if op == MUTATION_DELETE else 0, ordinal, False)
            changes.append((tree_of(key), None if op == MUTATION_DELETE else value[:value_size]))
        elif key_size and op == MUTATION_FORGET:
            if value_size != 1:
                raise_body(ordinal)
            overlay_apply(self.head, owner, room, TREE_PREFIX + key_size, NULL, 0, CELL_TOMBSTONE,
                          ordinal, False)
            if value[0]:
                self.head.counts.add(tree, -1)
        elif key_size:
            if record_header_read(value, value_size, &header) < 0:
                raise_body(ordinal)
            overlay_apply(
                self.head, owner, room, TREE_PREFIX + key_size, value, value_size, 0,
                header.ordinal if self.is_base else ordinal, True)
            self.clock.observe(header.ms, header.counter)
            if op == MUTATION_INSERT:
                self.head.counts.add(tree, 1)
            elif op == MUTATION_DELETE:
                self.head.counts.add(tree, -1)
        return self._apply_entries(&span, entries, op == MUTATION_INSERT, room, ordinal, owner)

    cdef int _apply_entries(
        self, Span *span, uint32_t entries, bint is_insert, uint8_t *room, uint64_t ordinal,
        uint64_t owner
    ) except -1:
        # the index entries of one mutation; room: where prefixed keys are put together
        cdef uint8_t value[INDEX_VALUE_SIZE + INDEX_FIELDS_MAX]
        cdef const uint8_t *key
        cdef const uint8_t *entry
        cdef size_t key_size
        cdef size_t fields
        cdef uint32_t _at
        cdef uint32_t tree
        cdef uint32_t index = 0
        cdef int64_t grown = 0
        for _at in range(entries):
            entry = span_take(span, INDEX_ENTRY_HEADER_SIZE)
            if entry == NULL:
                raise_body(ordinal)
            key_size = load_u16(entry + INDEX_ENTRY_KEY_SIZE)
            key = span_take(span, key_size)
            if key == NULL:
                raise_body(ordinal)
            tree = load_u32(entry + INDEX_ENTRY_TREE)
            prefix_write(room, tree)
            memcpy(room + TREE_PREFIX, key, key_size)
            if entry[INDEX_ENTRY_OP] == INDEX_REMOVE:
                overlay_apply(self.head, owner, room, TREE_PREFIX + key_size, NULL, 0,
                              CELL_TOMBSTONE, ordinal, False)
            else:
                store_u16(value, load_u16(entry + INDEX_ENTRY_SPLIT))
                fields = 0
                if entry[INDEX_ENTRY_OP] == INDEX_PUT:
                    fields = self._apply_types(span, tree, value, ordinal)
                elif load_u16(value) == KEY_SIZE_MAX:
                    self._mark(tree, MARK_SHORTENED)
                overlay_apply(
                    self.head, owner, room, TREE_PREFIX + key_size, value,
                    INDEX_VALUE_SIZE + fields, 0, ordinal, False
                )
            # version 1: a document that gains keys on balance has several (it had one at the least)
            if tree != index:
                if grown > 0:
                    self._mark(index, FIELDS_ALL)
                index = tree
                grown = -1 if is_insert else 0
            if entry[INDEX_ENTRY_OP] != INDEX_PUT:
                grown += 1 if entry[INDEX_ENTRY_OP] == INDEX_ADD else -1
        if grown > 0:
            self._mark(index, FIELDS_ALL)
        return 0

    cdef size_t _apply_types(
        self, Span *span, uint32_t tree, uint8_t *value, uint64_t ordinal
    ) except? 0:
        # the type bytes of one entry, behind the split in `value`; how many there are
        cdef uint64_t marks = 0
        cdef size_t fields
        cdef size_t at
        cdef const uint8_t *types = span_take(span, 1)
        if types == NULL or types[0] > INDEX_FIELDS_MAX:
            raise_body(ordinal)
        fields = types[0]
        types = span_take(span, fields)
        if types == NULL:
            raise_body(ordinal)
        memcpy(value + INDEX_VALUE_SIZE, types, fields)
        for at in range(fields):
            if types[at] == ENTRY_ARRAY:
                marks |= <uint64_t>1 << at
        if load_u16(value) == KEY_SIZE_MAX:
            marks |= MARK_SHORTENED
        if marks:
            self._mark(tree, marks)
        return fields

    cdef int _mark(self, uint32_t tree, uint64_t marks) except -1:
        cdef uint64_t known = self.marks.get(tree, 0)
        if known | marks != known:
            self.marks[tree] = known | marks
            self.marked += 1
        return 0

    # --- generations

    def adopt(self, Generation generation not None, bint is_named) -> None:
        """Go on from a generation; is_named: its slot is durable. Nobody in this process appends.

        Commits behind its ordinal stay in the overlay; views that others hold are not touched.
        """
        cdef View head = self.head
        cdef View seen = self.seen
        cdef uint64_t count = overlay_count(head.root)
        cdef Bloom bloom
        cdef list entry
        # behind the head's commit there can only be closed frames
        if seen.ordinal < min(generation.ordinal, head.ordinal):
            raise AssertionError("a checkpoint was adopted that holds more than may be seen")
        self.bloom_keys = min(max(count * 2, <uint64_t>BLOOM_KEYS_MIN), <uint64_t>BLOOM_KEYS_MAX)
        if is_named:
            self.builder.name(generation)
        self.builder.watch(generation)
        bloom = Bloom(self.bloom_keys)
        self.head = view_rebased(head, generation, bloom)
        self.seen = self.head if seen is head else view_rebased(seen, generation, bloom)
        for entry in self.pending:
            entry[1] = (
                self.head if entry[1] is head else view_rebased(entry[1], generation, bloom)
            )
