"""Reads: snapshots, and point reads from them.

Terms       generation, overlay, snapshot, cursor: see the glossary.
Invariants  I-16: a View is (generation, overlay root); neither changes while it is held. A read
            asks the overlay (behind a Bloom
            filter), then the base.
            Nobody below a View takes a lock: nodes and pages are reference counted, and a
            generation's units are not given out
            again while a View holds it.
Failure     PageCorrupted and IoFailed come up from the pager.
Sources     architecture sections 0 and 8.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset
from rango._ext.btree cimport (
    Tree,
    overflow_read,
    tree_cell,
    tree_close,
    tree_get,
    tree_next,
    tree_seek,
)
from rango._ext.buffer cimport Buffer, buffer_free, buffer_grow, buffer_init, buffer_put
from rango._ext.key cimport key_append_value, key_cap
from rango._ext.layout cimport (
    RECORD_FLAG_TOMBSTONE,
    RECORD_FLAGS,
    RECORD_ORDINAL,
)
from rango._ext.overlay cimport (
    CELL_TOMBSTONE,
    Cell,
    OverlayNode,
    cell_key,
    cell_new,
    cell_release,
    cell_retain,
    cell_value,
    overlay_count,
    overlay_get,
    overlay_next,
    overlay_put,
    overlay_release,
    overlay_retain,
    overlay_seek,
)
from rango._ext.page cimport key_compare, leaf_is_overflow, leaf_key, leaf_value, page_cell
from rango._ext.page_cache cimport page_bytes, page_release
from rango._ext.record cimport record_some
from rango._ext.span cimport store_u64
from rango._ext.template cimport document_of
from rango._ext.units cimport units_free, units_init

cdef int raise_memory() except -1 with gil:
    raise MemoryError


cdef void found_release(Found *found) noexcept nogil:
    page_release(found.page)
    if found.cell != NULL:
        cell_release(found.cell)
    free(found.owned)
    found.page = NULL
    found.cell = NULL
    found.owned = NULL


cdef void found_clear(Found *found) noexcept nogil:
    memset(found, 0, sizeof(Found))


cdef object found_document(Pager pager, const Found *found, object names, bint is_kept):
    if names is None:
        return document_of(pager, found.page, found.slot, found.value, found.size, False)
    return record_some(found.value, found.size, names, is_kept)


cdef int append_prefix(Buffer *out, uint32_t tree) except -1 nogil:
    cdef uint8_t *p = buffer_grow(out, TREE_PREFIX)
    if p == NULL:
        raise_memory()
    prefix_write(p, tree)
    return 0


cdef bytes prefixed(uint32_t tree, bytes key):
    cdef Py_ssize_t size = 0 if key is None else PyBytes_GET_SIZE(key)
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, TREE_PREFIX + size)
    cdef uint8_t *into = <uint8_t *>PyBytes_AS_STRING(whole)
    prefix_write(into, tree)
    if size:
        memcpy(into + TREE_PREFIX, PyBytes_AS_STRING(key), <size_t>size)
    return whole


cdef int append_key_of(Buffer *out, object value) except -1:  # hot
    # the key of a Python value, capped
    cdef size_t start = out.size
    key_append_value(out, value)
    key_cap(out, start)
    return 0


cdef object _scan_class = None


cdef object scan_class():
    # scan cimports view, so view can only look it up once both are there
    global _scan_class
    if _scan_class is None:
        from rango._ext.scan import Scan
        _scan_class = Scan
    return _scan_class


@cython.final
cdef class Generation:
    """The trees as of one checkpoint."""

    def __cinit__(self, uint64_t number, uint64_t ordinal):
        self.number = number
        self.ordinal = ordinal
        self.bitmap_links = []
        self.roots_link = b""
        memset(&self.catalog, 0, sizeof(Tree))
        units_init(&self.used)

    def __dealloc__(self):
        free(self.trees)
        units_free(&self.used)

    cdef Tree *tree(self, uint32_t tree) noexcept nogil:
        if tree >= self.tree_count:
            return NULL
        return &self.trees[tree]

    cdef int reserve(self, uint32_t count) except -1:
        cdef Tree *grown
        if count <= self.tree_count:
            return 0
        grown = <Tree *>realloc(self.trees, count * sizeof(Tree))
        if grown == NULL:
            raise MemoryError
        memset(grown + self.tree_count, 0, (count - self.tree_count) * sizeof(Tree))
        self.trees = grown
        self.tree_count = count
        return 0


@cython.final
@cython.freelist(4)
cdef class Counts:
    """Documents inserted minus documents deleted since the checkpoint, by tree id."""

    def __dealloc__(self):
        free(self.values)

    cdef int add(self, uint32_t tree, int64_t amount) except -1:
        cdef int64_t *grown
        cdef uint32_t size
        if tree >= self.size:
            size = tree + 8
            grown = <int64_t *>realloc(self.values, size * sizeof(int64_t))
            if grown == NULL:
                raise MemoryError
            memset(grown + self.size, 0, (size - self.size) * sizeof(int64_t))
            self.values = grown
            self.size = size
        self.values[tree] += amount
        return 0

    cdef int64_t get(self, uint32_t tree) noexcept nogil:
        return self.values[tree] if tree < self.size else 0

    cdef Counts copy(self):
        cdef Counts other = Counts.__new__(Counts)
        if self.size:
            other.values = <int64_t *>malloc(self.size * sizeof(int64_t))
            if other.values == NULL:
                raise MemoryError
            memcpy(other.values, self.values, self.size * sizeof(int64_t))
            other.size = self.size
        return other


@cython.final
@cython.freelist(8)
cdef class View:
    """An immutable snapshot: read from it as long as it is held. Threads may share it."""

    def __dealloc__(self):
        overlay_release(self.root)

    cdef View derive(self, OverlayNode *root, Counts counts, uint64_t ordinal):
        # the same generation under another overlay root (retained here)
        cdef View view = View.__new__(View)
        view.ordinal = ordinal
        view.known = self.known
        view.trees = self.trees
        view.generation = self.generation
        view.pager = self.pager
        view.bloom = self.bloom
        view.counts = counts
        view.root = overlay_retain(root)
        return view

    def leased(self, lease) -> View:
        """The same snapshot, holding `lease` as long as it lives."""
        cdef View view = self.derive(self.root, self.counts, self.ordinal)
        view.lease = lease
        return view

    cdef int find(self, const uint8_t *key, size_t size, Found *out) except -1 nogil:  # hot
        cdef Cell *cell
        cdef Tree *tree
        cdef const uint8_t *leaf
        cdef uint32_t tree_id
        out.page = NULL
        out.cell = NULL
        out.owned = NULL
        if self.root != NULL and self.bloom.may_contain(key, size):
            cell = overlay_get(self.root, key, size)
            if cell != NULL:
                if cell.flags & CELL_TOMBSTONE:
                    return 0
                cell_retain(cell)
                out.cell = cell
                out.value = cell_value(cell)
                out.size = cell.value_size
                return 1
        tree_id = tree_of(key)
        tree = self.generation.tree(tree_id)
        if tree == NULL or tree_get(
            self.pager, tree, key + TREE_PREFIX, size - TREE_PREFIX, &out.page, &out.slot
        ) == 0:
            return 0
        leaf = page_cell(page_bytes(out.page), out.slot)
        out.value = leaf_value(leaf, &out.size)
        if leaf_is_overflow(leaf):
            self._find_whole(out)
        return 1

    cdef int _find_whole(self, Found *out) except -1 nogil:
        # what was found names overflow pages: put the whole value in its place
        cdef Buffer whole
        buffer_init(&whole)
        try:
            overflow_read(self.pager, out.value, out.size, &whole)
            out.owned = whole.data
            out.value = whole.data
            out.size = whole.size
            buffer_init(&whole)
        finally:
            buffer_free(&whole)
            page_release(out.page)
            out.page = NULL
        return 0

    cdef int other_entry(
        self, const uint8_t *prefix, size_t size, const uint8_t *id_key, size_t id_size
    ) except -1 nogil:
        cdef OverlayCursor over
        cdef Cell *cell = overlay_seek(&over, self.root, prefix, size)
        cdef Tree *tree
        cdef TreeCursor cursor
        cdef const uint8_t *key
        cdef size_t key_size
        cdef int found = 0
        while cell != NULL and cell.key_size >= size and key_compare(
            cell_key(cell), size, prefix, size
        ) == 0:
            if not (cell.flags & CELL_TOMBSTONE) and key_compare(
                cell_key(cell) + size, cell.key_size - size, id_key, id_size
            ) != 0:
                return 1
            cell = overlay_next(&over)
        tree = self.generation.tree(tree_of(prefix))
        if tree == NULL:
            return 0
        cursor.height = 0
        try:
            if tree_seek(self.pager, tree, prefix + TREE_PREFIX, size - TREE_PREFIX, &cursor) == 0:
                return 0
            while True:
                key = leaf_key(tree_cell(&cursor), &key_size)
                if key_size < size - TREE_PREFIX or key_compare(
                    key, size - TREE_PREFIX, prefix + TREE_PREFIX, size - TREE_PREFIX
                ) != 0:
                    break
                if key_compare(
                    key + size - TREE_PREFIX, key_size - (size - TREE_PREFIX), id_key, id_size
                ) != 0:
                    found = self._is_current(prefix, key, key_size)
                    if found:
                        break
                if tree_next(self.pager, &cursor) == 0:
                    break
        finally:
            tree_close(&cursor)
        return found

    cdef int _is_current(
        self, const uint8_t *prefix, const uint8_t *key, size_t key_size
    ) except -1 nogil:
        # whether the overlay has not removed this base entry of the tree that prefix starts with
        cdef Buffer whole
        cdef Cell *cell
        if self.root == NULL:
            return 1
        buffer_init(&whole)
        if buffer_put(&whole, prefix, TREE_PREFIX) < 0 or buffer_put(&whole, key, key_size) < 0:
            buffer_free(&whole)
            raise_memory()
        cell = overlay_get(self.root, whole.data, whole.size)
        buffer_free(&whole)
        return 0 if cell != NULL and cell.flags & CELL_TOMBSTONE else 1

    # --- doors

    def get(self, uint32_t tree, bytes key not None):
        """The record under an encoded key, or None."""
        cdef Buffer whole
        cdef Found found
        cdef bytes record = None
        buffer_init(&whole)
        try:
            append_prefix(&whole, tree)
            if buffer_put(&whole, PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key)) < 0:
                raise MemoryError
            if self.find(whole.data, whole.size, &found):
                if found.value[RECORD_FLAGS] != RECORD_FLAG_TOMBSTONE:
                    record = PyBytes_FromStringAndSize(
                        <const char *>found.value, <Py_ssize_t>found.size
                    )
                found_release(&found)
        finally:
            buffer_free(&whole)
        return record

    cpdef object find_id(self, uint32_t tree, object id_value):  # hot
        """The document with this `_id`, decoded, or None: key, lookup and decoding in one call."""
        cdef Buffer key
        cdef Found found
        cdef object document = None
        buffer_init(&key)
        try:
            append_prefix(&key, tree)
            append_key_of(&key, id_value)
            if self.find(key.data, key.size, &found):
                try:
                    if found.value[RECORD_FLAGS] != RECORD_FLAG_TOMBSTONE:
                        document = document_of(
                            self.pager, found.page, found.slot, found.value, found.size, True
                        )
                finally:
                    found_release(&found)
        finally:
            buffer_free(&key)
        return document

    def find_named(self, str name not None, object id_value):  # hot
        """find_id in the collection of this name; None if there is no such collection."""
        cdef object tree = self.trees.get(name)
        return None if tree is None else self.find_id(tree, id_value)

    @property
    def catalog(self):
        """The engine's catalog as of this snapshot."""
        return self.known

    @catalog.setter
    def catalog(self, catalog) -> None:
        self.known = catalog
        self.trees = catalog.trees

    def recount(self, uint32_t tree, int64_t documents) -> None:
        """Say how many documents a collection has. Before anybody else has this view."""
        self.counts.add(tree, documents - <int64_t>self.count(tree))

    def count(self, uint32_t tree) -> int:
        """Documents of a collection, without looking at any."""
        cdef Tree *base = self.generation.tree(tree)
        cdef int64_t live = 0 if base == NULL else <int64_t>base.live
        return live + self.counts.get(tree)

    def scan(self, uint32_t tree, bytes lower, bytes upper, bint reverse, object program):
        """Records of a collection's tree with lower <= key < upper (None: no bound) that the
        program (None: all) matches.
        """
        return scan_class()(self, tree, 0, ((lower, upper),), reverse, program, None)

    def index_scan(
        self, uint32_t index_tree, uint32_t tree, bytes lower, bytes upper, bint reverse,
        object program, bint is_multikey=True
    ):
        """The same through an index: bounds are index keys, order is the index's; each document
        comes once.
        """
        cdef object seen = set() if is_multikey else None
        return scan_class()(self, tree, index_tree, ((lower, upper),), reverse, program, seen)

    def scan_intervals(
        self, uint32_t tree, uint32_t index_tree, object intervals, bint reverse, object program,
        set seen
    ):
        """The same over several intervals, of index keys if `index_tree` is not 0.

        Intervals are tuples that start with (lower, upper), disjoint and ascending, or
        Points. With `seen`, a set of keys of `_id`s, each document comes once and is added; scans
        may share it.
        """
        return scan_class()(self, tree, index_tree, intervals, reverse, program, seen)

    @property
    def generation_number(self) -> int:
        """Number of the checkpoint under this snapshot."""
        return self.generation.number

    @property
    def generation_ordinal(self) -> int:
        """The last commit that the checkpoint under this snapshot holds."""
        return self.generation.ordinal

    @property
    def overlay_entries(self) -> int:
        """Entries in memory on top of the checkpoint."""
        return overlay_count(self.root)

    def close(self) -> None:
        """Nothing to do but let go: kept so that a snapshot can be closed like a cursor."""


cdef int overlay_apply(
    View work, uint64_t owner, const uint8_t *key, size_t key_size, const uint8_t *value,
    size_t value_size, uint32_t flags, uint64_t ordinal, bint is_record, bint borrows=False
) except -1:  # hot
    # one entry into work's private root; a record learns which commit it belongs to
    cdef Cell *cell = cell_new(key, key_size, value, value_size, flags, ordinal)
    cdef OverlayNode *root
    if cell == NULL:
        raise MemoryError
    if is_record:
        store_u64(cell_value(cell) + RECORD_ORDINAL, ordinal)
    work.bloom.add(key, key_size)
    root = overlay_put(work.root, owner, cell, &work.loans if borrows else NULL)
    if root == NULL:
        cell_release(cell)
        raise MemoryError
    work.root = root
    return 0
