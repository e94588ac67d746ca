"""The checkpoint's merge: an old tree and sorted overlay cells become a new tree.

Terms       tree, leaf, branch, link, overlay, checkpoint: see the glossary. Separator: the least
            key that a page may hold.
Invariants  I-2 (nothing is overwritten: new pages are written and the old ones given up). A
            separator is greater than every key before it and not greater than any key behind it. A
            branch counts the leaf entries below each child (ADR-0010).
Layout      TreeMerge streams the old tree and the cells into one builder a level. A child that no
            cell touches keeps its link, so each touched leaf is written once, parents after
            children. A touched page that comes out small takes its neighbour in; an overfull one is
            cut into equal halves, except at the right edge, where appends fill pages to the brim.
Failure     A merge that fails leaves the old tree as it is.
Sources     Bayer and Unterauer, Prefix B-Trees (1977) for separators; Rodeh, B-trees, shadowing and
            clones (2008).
"""

cimport cython
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset
from rango._ext.buffer cimport Buffer, buffer_free, buffer_init, buffer_put
from rango._ext.layout cimport (
    LINK_SIZE,
    OVERFLOW_LINKS,
    OVERFLOW_PIECE_SIZE,
    PAGE_BRANCH,
    PAGE_LEAF,
    PAGE_OVERFLOW,
    PAGE_SLOT_SIZE,
    RECORD_FLAG_TOMBSTONE,
    RECORD_FLAGS,
)
from rango._ext.overlay cimport CELL_TOMBSTONE, Cell, cell_key, cell_value
from rango._ext.page cimport (
    PageBuilder,
    branch_entries,
    branch_key,
    branch_link,
    builder_add_branch,
    builder_add_leaf,
    builder_cell,
    builder_clear,
    builder_drop,
    builder_free,
    builder_init,
    builder_page,
    builder_size,
    key_compare,
    leaf_is_overflow,
    leaf_key,
    leaf_value,
    page_cell,
    page_count,
)
from rango._ext.page_cache cimport Page, page_bytes, page_release
from rango._ext.pager cimport Pager
from rango._ext.span cimport store_u32
from rango._ext.btree cimport TREE_HEIGHT_MAX, Tree, raise_tree

cdef enum:
    TREE_PREFIX = 4                 # overlay keys start with the tree's id
    # opened size at which a page closes (ADR-0002: 8, 16 and 32 KiB were measured)
    PAGE_SIZE_MAX = 16384
    PAGE_SIZE_SPARE = 64            # a page that is filled to the brim stays this far below it
    SMALL_SHARE = 4                 # a touched page below page_size / 4 takes its neighbour in
    # children of a branch, so that each level has fewer pages than the one below
    BRANCH_COUNT_MIN = 4
    # a greater value is kept in overflow pages: at least four records a leaf
    OVERFLOW_THRESHOLD = 4096


cdef int raise_memory() except -1 with gil:
    raise MemoryError


cdef bint _is_tombstone(const uint8_t *cell) noexcept nogil:
    # of a leaf cell: documents leave a tombstone record, index entries and catalog values are never
    # one
    cdef size_t size
    cdef const uint8_t *value = leaf_value(cell, &size)
    return size > 0 and not leaf_is_overflow(cell) and value[RECORD_FLAGS] == RECORD_FLAG_TOMBSTONE


@cython.final
cdef class TreeMerge:
    """One tree's merge at a checkpoint: begin, feed or add_cell in key order, finish."""

    def __cinit__(self, Pager pager not None, size_t page_size=0):
        cdef int level
        self.pager = pager
        self.page_size = page_size if page_size else PAGE_SIZE_MAX
        buffer_init(&self.scratch)
        for level in range(TREE_HEIGHT_MAX):
            builder_init(&self.levels[level], PAGE_LEAF if level == 0 else PAGE_BRANCH)
            buffer_init(&self.separators[level])

    def __dealloc__(self):
        cdef int level
        buffer_free(&self.scratch)
        for level in range(TREE_HEIGHT_MAX):
            builder_free(&self.levels[level])
            buffer_free(&self.separators[level])

    cdef int begin(self) except -1 nogil:
        cdef int level
        for level in range(TREE_HEIGHT_MAX):
            builder_clear(&self.levels[level])
            self.separators[level].size = 0
        self.top = 0
        self.live = 0
        self.appending = False
        return 0

    cdef int feed(
        self, const uint8_t *link, int level, const uint8_t *separator, size_t separator_size,
        uint64_t entries, Cell **cells, size_t count
    ) except -1 nogil:
        # the old subtree under link (level 0 = a leaf), and the overlay cells that fall into it
        cdef Page *page
        cdef int below
        cdef bint joins = False
        if count == 0:
            for below in range(level + 1):
                if self.levels[below].count == 0:
                    continue
                if builder_size(&self.levels[below]) < self.page_size // SMALL_SHARE:
                    joins = True
                    break
                self._flush(below)
            if not joins:
                return self._add_entry(level + 1, separator, separator_size, link, entries)
        page = self.pager.read(link)
        try:
            if page.kind != (PAGE_LEAF if level == 0 else PAGE_BRANCH):
                raise_tree(self.pager, link, "a page of another kind was expected in this tree")
            self.pager.free_link(link)
            if level == 0:
                if self.levels[0].count == 0:
                    self._set_separator(0, separator, separator_size)
                self._feed_leaf(page, cells, count)
            else:
                self._feed_branch(page, level, separator, separator_size, cells, count)
        finally:
            page_release(page)
        return 0

    cdef int _feed_branch(
        self, const Page *page, int level, const uint8_t *separator, size_t separator_size,
        Cell **cells, size_t count
    ) except -1 nogil:
        cdef int slot
        cdef int children = page_count(page_bytes(page))
        cdef const uint8_t *cell
        cdef const uint8_t *key = separator
        cdef size_t key_size = separator_size
        cdef const uint8_t *next_key = NULL
        cdef size_t next_size = 0
        cdef size_t taken = 0
        cdef size_t last
        cdef bint rightmost = self.appending
        for slot in range(children):
            cell = page_cell(page_bytes(page), slot)
            last = count
            if slot + 1 < children:
                next_key = branch_key(page_cell(page_bytes(page), slot + 1), &next_size)
                last = taken
                while last < count and key_compare(
                    cell_key(cells[last]) + TREE_PREFIX, cells[last].key_size - TREE_PREFIX,
                    next_key, next_size
                ) < 0:
                    last += 1
            self.appending = rightmost and slot + 1 == children
            self.feed(
                branch_link(cell), level - 1, key, key_size, branch_entries(cell), cells + taken,
                last - taken
            )
            taken = last
            if slot + 1 < children:
                key = next_key
                key_size = next_size
        return 0

    cdef int _feed_leaf(self, const Page *page, Cell **cells, size_t count) except -1 nogil:
        cdef int slot = 0
        cdef int slots = page_count(page_bytes(page))
        cdef size_t taken = 0
        cdef int order
        cdef const uint8_t *cell = NULL
        cdef const uint8_t *key
        cdef const uint8_t *value
        cdef size_t key_size
        cdef size_t value_size
        while slot < slots or taken < count:
            order = 1
            if slot < slots:
                cell = page_cell(page_bytes(page), slot)
                key = leaf_key(cell, &key_size)
                order = -1
                if taken < count:
                    order = key_compare(key, key_size, cell_key(cells[taken]) + TREE_PREFIX,
                                        cells[taken].key_size - TREE_PREFIX)
            if order < 0:
                value = leaf_value(cell, &value_size)
                self._add(key, key_size, value, value_size, leaf_is_overflow(cell))
                slot += 1
                continue
            if order == 0:
                # replaced or gone
                value = leaf_value(cell, &value_size)
                self.live -= 0 if _is_tombstone(cell) else 1
                if leaf_is_overflow(cell):
                    self._free_overflow(value, value_size)
                slot += 1
            self.add_cell(cells[taken])
            taken += 1
        return 0

    cdef int _free_overflow(self, const uint8_t *value, size_t size) except -1 nogil:
        cdef size_t at = OVERFLOW_LINKS
        while at + LINK_SIZE <= size:
            self.pager.free_link(value + at)
            at += LINK_SIZE
        return 0

    cdef int add_cell(self, Cell *cell) except -1 nogil:
        # one overlay cell: `live` counts against what the old tree had, so the caller starts it
        # with the old number
        cdef const uint8_t *value = cell_value(cell)
        cdef const uint8_t *key = cell_key(cell) + TREE_PREFIX
        cdef size_t key_size = cell.key_size - TREE_PREFIX
        cdef size_t left = cell.value_size
        cdef size_t piece
        cdef uint8_t link[LINK_SIZE]
        if cell.flags & CELL_TOMBSTONE:
            return 0
        if cell.value_size <= OVERFLOW_THRESHOLD:
            if not (cell.value_size and value[RECORD_FLAGS] == RECORD_FLAG_TOMBSTONE):
                self.live += 1
            return self._add(key, key_size, value, cell.value_size, False)
        self.live += 1
        self.scratch.size = 0
        memset(link, 0, LINK_SIZE)
        store_u32(link, cell.value_size)
        if buffer_put(&self.scratch, link, OVERFLOW_LINKS) < 0:
            raise_memory()
        while left:
            piece = left if left < OVERFLOW_PIECE_SIZE else OVERFLOW_PIECE_SIZE
            self.pager.write(PAGE_OVERFLOW, value, piece, True, False, link)
            if buffer_put(&self.scratch, link, LINK_SIZE) < 0:
                raise_memory()
            value += piece
            left -= piece
        return self._add(key, key_size, self.scratch.data, self.scratch.size, True)

    cdef int _add(
        self, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size,
        bint overflow
    ) except -1 nogil:
        cdef PageBuilder *builder = &self.levels[0]
        builder_add_leaf(builder, key, key_size, value, value_size, overflow)
        if builder_size(builder) > 2 * self.page_size and builder.count > 1:
            self._cut(0)
        return 0

    cdef int _add_entry(
        self, int level, const uint8_t *separator, size_t separator_size, const uint8_t *link,
        uint64_t entries
    ) except -1 nogil:
        cdef PageBuilder *builder
        if level >= TREE_HEIGHT_MAX:
            raise_tree(self.pager, link, "the tree would grow too high")
        builder = &self.levels[level]
        if level > self.top:
            self.top = level
        if builder.count == 0:
            self._set_separator(level, separator, separator_size)
        builder_add_branch(builder, separator, separator_size, link, entries)
        if builder_size(builder) > 2 * self.page_size and builder.count > BRANCH_COUNT_MIN:
            self._cut(level)
        return 0

    cdef int _set_separator(self, int level, const uint8_t *key, size_t key_size) except -1 nogil:
        self.separators[level].size = 0
        if buffer_put(&self.separators[level], key, key_size) < 0:
            raise_memory()
        return 0

    cdef int _cut(self, int level) except -1 nogil:
        # write one page's worth off the front of an overfull builder; the last cell stays, for the
        # separator before it
        cdef PageBuilder *builder = &self.levels[level]
        cdef size_t size = 0
        cdef int slot = BRANCH_COUNT_MIN if level > 0 else 1
        while slot < builder.count - 1:
            size = <size_t>(builder_cell(builder, slot + 1) - builder.cells.data)
            size += <size_t>(slot + 1) * PAGE_SLOT_SIZE
            if size > self.page_size - PAGE_SIZE_SPARE:
                break
            slot += 1
        return self._emit(level, 0, slot)

    cdef int _emit(self, int level, int first, int last) except -1 nogil:
        # write cells first..last-1 (always from the front), tell the parent, forget them
        cdef PageBuilder *builder = &self.levels[level]
        cdef Buffer page
        cdef uint8_t link[LINK_SIZE]
        cdef uint64_t entries = 0
        cdef int slot
        cdef const uint8_t *before
        cdef const uint8_t *behind
        cdef size_t before_size
        cdef size_t behind_size
        cdef size_t common = 0
        buffer_init(&page)
        try:
            builder_page(builder, first, last, &page)
            self.pager.write(builder.kind, page.data, page.size, level == 0, True, link)
        finally:
            buffer_free(&page)
        if last == builder.count:
            entries = builder.entries
        else:
            for slot in range(first, last):
                entries += 1 if level == 0 else branch_entries(builder_cell(builder, slot))
        self._add_entry(
            level + 1, self.separators[level].data, self.separators[level].size, link, entries
        )
        if last < builder.count:
            if level == 0:
                # the shortest prefix of the next key that is greater than the last one written
                before = leaf_key(builder_cell(builder, last - 1), &before_size)
                behind = leaf_key(builder_cell(builder, last), &behind_size)
                while common < before_size and common < behind_size:
                    if before[common] != behind[common]:
                        break
                    common += 1
                self._set_separator(
                    level, behind, common + 1 if common < behind_size else behind_size
                )
            else:
                behind = branch_key(builder_cell(builder, last), &behind_size)
                self._set_separator(level, behind, behind_size)
        return builder_drop(builder, last)

    cdef int _flush(self, int level) except -1 nogil:
        cdef PageBuilder *builder = &self.levels[level]
        cdef size_t half
        cdef int slot = BRANCH_COUNT_MIN if level > 0 else 1
        if builder.count == 0:
            return 0
        if builder_size(builder) > self.page_size and builder.count > slot:
            if self.appending:
                self._cut(level)
            else:
                half = builder.cells.size // 2
                while slot < builder.count - 1:
                    if <size_t>(builder_cell(builder, slot) - builder.cells.data) >= half:
                        break
                    slot += 1
                self._emit(level, 0, slot)
            return self._flush(level)
        return self._emit(level, 0, builder.count)

    cdef int finish(self, Tree *out) except -1 nogil:
        # write what is pending, level by level, until one page stands alone: the root
        cdef int level = 0
        cdef PageBuilder *builder
        cdef const uint8_t *cell
        while True:
            builder = &self.levels[level]
            if level > 0 and level >= self.top and builder.count == 1:
                cell = builder_cell(builder, 0)
                memcpy(out.link, branch_link(cell), LINK_SIZE)
                out.height = level
                out.entries = branch_entries(cell)
                out.live = self.live
                builder_clear(builder)
                return 0
            if builder.count == 0 and level >= self.top:
                memset(out.link, 0, LINK_SIZE)
                out.height = 0
                out.entries = 0
                out.live = 0
                return 0
            self._flush(level)
            level += 1
