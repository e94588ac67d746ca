"""Builds the next generation, for a checkpoint.

Terms       generation, checkpoint, overlay, unit: see the glossary. Kept: a generation that a slot
            names or that somebody still reads.
Invariants  I-2: a generation is built into units that no kept generation uses. I-5: its bitmap
            marks exactly what it reaches.
States      building (begin, merge, bitmap) -> built: nothing names it until its slot is written.
Failure     A build that raises leaves garbage in units that nothing names.
Sources     ADR-0006; storage-notes, scenario 4.
"""

import weakref

from rango._ext.pins import pinned_by_others
from rango.errors import LowDisk

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset
from rango._ext.btree cimport Tree
from rango._ext.buffer cimport Buffer, buffer_free, buffer_init, buffer_put
from rango._ext.layout cimport (
    BITMAP_LINKS_MAX,
    BITMAP_PIECE_SIZE,
    CATALOG_ENTRIES,
    CATALOG_FLAG_MARKS,
    CATALOG_FLAGS,
    CATALOG_HEADER_SIZE,
    CATALOG_HEIGHT,
    CATALOG_LINK,
    CATALOG_LIVE,
    CATALOG_MARKS_SIZE,
    IMAGE_OVERHEAD,
    LINK_SIZE,
    OVERFLOW_LINKS,
    PAGE_BITMAP,
    PAGE_ROOTS,
    SLOT_UNITS,
    TREE_CATALOG,
    UNIT_SIZE,
)
from rango._ext.merge cimport TreeMerge
from rango._ext.overlay cimport (
    CELL_TOMBSTONE,
    Cell,
    OverlayCursor,
    cell_key,
    cell_new,
    cell_release,
    overlay_count,
    overlay_next,
    overlay_seek,
)
from rango._ext.page cimport (
    branch_link,
    leaf_is_overflow,
    leaf_value,
    page_cell,
    page_count,
)
from rango._ext.page_cache cimport Page, page_bytes, page_release
from rango._ext.pager cimport Pager
from rango._ext.span cimport store_u64
from rango._ext.units cimport (
    units_copy, units_end, units_get, units_mark, units_merge, units_resize, units_used,
)
from rango._ext.view cimport TREE_PREFIX, Generation, View, prefix_write, tree_of

cdef enum:
    PIECE_UNITS = 491520            # BITMAP_PIECE_SIZE * 8: units that one bitmap page speaks of
    PINNED_UNITS_MAX = 16384        # 64 MiB; see pinned_units_max
    MORE_MAX = 1024                 # older generations that a pin without a word is looked for in


cdef uint64_t bitmap_piece_size(uint64_t file_units, uint64_t piece) noexcept nogil:
    cdef uint64_t size = (file_units + 7) >> 3
    cdef uint64_t start = piece * BITMAP_PIECE_SIZE
    if start >= size:
        return 0
    return BITMAP_PIECE_SIZE if size - start > BITMAP_PIECE_SIZE else size - start


@cython.final
cdef class Builder:
    """Builds the generations of one data file; knows which ones must stay whole.

    One build at a time.
    """

    def __init__(self, Pager pager not None, Generation generation not None, size_t page_size=0):
        self.pager = pager
        self.page_size = page_size
        self.named = [generation]
        self.generations = []
        self.roots = []
        self.pinned_units_max = PINNED_UNITS_MAX

    def watch(self, Generation generation not None) -> None:
        """Leave its pages alone as long as anybody holds it."""
        self.generations.append(weakref.ref(generation))

    def keep(self, Generation generation not None) -> None:
        """Leave its pages alone until the next checkpoint is adopted: the other slot names it
        (I-2).
        """
        self.watch(generation)
        self.named.insert(0, generation)

    def name(self, Generation generation not None) -> None:
        """Its slot is durable: the slot before it stays whole, the one before that does not matter
        any more.
        """
        self.named = [self.named[len(self.named) - 1], generation]

    def rename(self, Generation generation not None) -> None:
        """Another process wrote its slot; keep() comes before the next build, for the other slot's.
        """
        self.named = [generation]

    @property
    def pinned(self) -> list:
        """Numbers of the generations that somebody still reads and no slot names."""
        named = {(<Generation>generation).number for generation in self.named}
        alive = [reference() for reference in self.generations]
        found = {each.number for each in alive if each is not None and each.number not in named}
        if self.shared is not None:
            numbers, since = pinned_by_others(self.shared)
            found |= numbers - named - {0}
            if since is not None and since < min(named):
                found.add(since)
        return sorted(found)

    def scrub(self) -> int:
        """Write zeros over every unit that no slot's generation and no reader reaches; how many.

        Under the checkpoint lock; the flush is the caller's. OSError of the disk passes through.
        """
        cdef Generation other
        cdef Pager pager = self.pager
        cdef uint64_t end = <uint64_t>pager.vfs.size(pager.fd) // UNIT_SIZE
        cdef uint64_t unit
        cdef uint64_t count = 0
        cdef bytes zeros = bytes(UNIT_SIZE)
        units_copy(&pager.kept, &pager.used)
        for each in [*self.named, *self.roots, *[each() for each in self.generations]]:
            if each is not None:
                other = <Generation>each
                units_merge(&pager.kept, &other.used)
        for unit in range(SLOT_UNITS, end):
            if not units_get(&pager.kept, unit):
                pager.vfs.write(pager.fd, zeros, unit * UNIT_SIZE)
                count += 1
        return count

    def build(
        self, View view not None, dict definitions not None, dict marks not None,
        uint64_t number, uint64_t ordinal
    ) -> Generation:
        """Write everything that `view` has on top of its generation as generation `number`; nothing
        names it yet.

        definitions: tree id -> BSON of every tree that `view` knows. No append lock is needed; one
        build at a time.
        """
        cdef Generation old = view.generation
        cdef Generation new = Generation(number, ordinal)
        cdef size_t count = overlay_count(view.root)
        cdef Cell **cells = <Cell **>malloc((count + 1) * sizeof(Cell *))
        cdef OverlayCursor cursor
        cdef Cell *cell
        cdef size_t at = 0
        cdef set dropped = set()
        cdef set changed = set()
        if cells == NULL:
            raise MemoryError
        try:
            self._begin_build(old)
            new.reserve(max(old.tree_count, <uint32_t>(max(definitions, default=0) + 1)))
            if old.tree_count:
                memcpy(new.trees, old.trees, old.tree_count * sizeof(Tree))
            new.catalog = old.catalog
            cell = overlay_seek(&cursor, view.root, NULL, 0)
            while cell != NULL:
                cells[at] = cell
                at += 1
                cell = overlay_next(&cursor)
            self._merge_all(new, old, definitions, marks, cells, at, dropped, changed)
        finally:
            free(cells)
        self._write_roots(old, new)
        self._write_bitmap(old, new)
        units_copy(&new.used, &self.pager.used)
        return new

    cdef int _begin_build(self, Generation old) except -1:
        # what must stay readable: this generation, the other slot's, and those that somebody still
        # reads
        cdef Generation other
        cdef list alive = []
        units_copy(&self.pager.used, &old.used)
        units_copy(&self.pager.kept, &old.used)
        for reference in self.generations:
            generation = reference()
            if generation is not None:
                alive.append(reference)
                other = <Generation>generation
                units_merge(&self.pager.kept, &other.used)
        self.generations = alive
        for root in self.roots:
            other = <Generation>root
            units_merge(&self.pager.kept, &other.used)
        self._keep_foreign()
        # what nobody uses at the end of the file is given back (checkpoint.adopt truncates)
        self.pager.file_units = max(units_end(&self.pager.kept), self.pager.floor)
        units_resize(&self.pager.kept, self.pager.file_units)
        units_resize(&self.pager.used, self.pager.file_units)
        self.pager.search = self.pager.floor
        return 0

    cdef int _keep_foreign(self) except -1:
        # Another process reads a generation that is neither named nor a kept root: its pin came
        # before it had company, or its root could not be listed or read (kept.choose). Which units
        # it uses is unknown, so none is given out again: the file grows until it lets go, at most
        # by pinned_units_max, then the reader gets SnapshotTooOld.
        cdef uint64_t units
        if self.shared is None or not self._is_any_unknown():
            return 0
        units = <uint64_t>self.pager.vfs.size(self.pager.fd) // UNIT_SIZE
        if units > 2 * units_used(&self.pager.kept) + self.pinned_units_max:
            self.shared.overruled = min([(<Generation>each).number for each in self.named])
            return 0
        units_resize(&self.pager.kept, units)
        units_mark(&self.pager.kept, 0, units, True)
        return 0

    cdef bint _is_any_unknown(self) except -1:
        # whether others read a generation whose units are not among those that are kept
        cdef set known = {(<Generation>each).number for each in self.named}
        oldest = min(known)
        known.add(0)        # it has no pages
        numbers, since = pinned_by_others(self.shared)
        if since is not None and oldest - since > MORE_MAX:
            return True
        if since is not None:
            numbers.update(range(since, oldest))
        known.update([(<Generation>each).number for each in self.roots])
        for reference in self.generations:
            generation = reference()
            if generation is not None:
                known.add((<Generation>generation).number)
        return not known.issuperset(numbers)

    cdef int _merge_all(
        self, Generation new, Generation old, dict definitions, dict marks, Cell **cells,
        size_t count, set dropped, set changed
    ) except -1:
        cdef TreeMerge merge = TreeMerge(self.pager, self.page_size)
        cdef size_t first = 0
        cdef size_t last
        cdef uint32_t tree
        cdef uint32_t inner
        while first < count:
            tree = tree_of(cell_key(cells[first]))
            last = first
            while last < count and tree_of(cell_key(cells[last])) == tree:
                last += 1
            if tree == TREE_CATALOG:
                while first < last:
                    inner = tree_of(cell_key(cells[first]) + TREE_PREFIX)
                    if cells[first].flags & CELL_TOMBSTONE:
                        dropped.add(inner)
                    else:
                        changed.add(inner)
                    first += 1
            elif tree in definitions:
                changed.add(tree)
                new.reserve(tree + 1)
                with nogil:
                    self._merge_one(merge, &new.trees[tree], cells + first, last - first)
            first = last
        for tree in dropped:
            if tree < old.tree_count and old.trees[tree].height:
                with nogil:
                    self._free_tree(old.trees[tree].link, old.trees[tree].height)
            if tree < new.tree_count:
                memset(&new.trees[tree], 0, sizeof(Tree))
        for tree in range(new.tree_count):
            if tree in marks and tree in definitions and new.trees[tree].marks != marks[tree]:
                new.trees[tree].marks = marks[tree]
                changed.add(tree)
        return self._merge_catalog(merge, old, new, definitions, dropped, changed)

    cdef int _merge_one(
        self, TreeMerge merge, Tree *tree, Cell **cells, size_t count
    ) except -1 nogil:
        cdef size_t at
        cdef uint64_t marks = tree.marks
        merge.begin()
        merge.live = tree.live
        merge.appending = True
        if tree.height:
            merge.feed(
                tree.link, tree.height - 1, <const uint8_t *>b"", 0, tree.entries, cells, count
            )
        else:
            for at in range(count):
                merge.add_cell(cells[at])
        merge.finish(tree)
        tree.marks = marks
        return 0

    cdef int _merge_catalog(
        self, TreeMerge merge, Generation old, Generation new, dict definitions, set dropped,
        set changed
    ) except -1:
        cdef list ids = sorted((changed & definitions.keys()) | dropped)
        cdef size_t count = len(ids)
        cdef Cell **cells = <Cell **>malloc((count + 1) * sizeof(Cell *))
        cdef size_t at = 0
        cdef Buffer value
        cdef uint8_t head[CATALOG_HEADER_SIZE + CATALOG_MARKS_SIZE]
        cdef size_t head_size
        cdef uint8_t key[TREE_PREFIX + TREE_PREFIX]
        cdef Tree *tree
        cdef bytes definition
        if cells == NULL:
            raise MemoryError
        buffer_init(&value)
        try:
            prefix_write(key, TREE_CATALOG)
            for tree_id in ids:
                prefix_write(key + TREE_PREFIX, tree_id)
                value.size = 0
                definition = definitions.get(tree_id)
                if definition is not None:
                    new.reserve(tree_id + 1)
                    tree = new.tree(tree_id)
                    memcpy(head + CATALOG_LINK, tree.link, LINK_SIZE)
                    head[CATALOG_HEIGHT] = <uint8_t>tree.height
                    store_u64(head + CATALOG_ENTRIES, tree.entries)
                    store_u64(head + CATALOG_LIVE, tree.live)
                    head[CATALOG_FLAGS] = CATALOG_FLAG_MARKS if tree.marks else 0
                    store_u64(head + CATALOG_HEADER_SIZE, tree.marks)
                    head_size = CATALOG_HEADER_SIZE + (CATALOG_MARKS_SIZE if tree.marks else 0)
                    if (
                        buffer_put(&value, head, head_size) < 0
                        or buffer_put(
                            &value, PyBytes_AS_STRING(definition),
                            <size_t>PyBytes_GET_SIZE(definition)
                        ) < 0
                    ):
                        raise MemoryError
                cells[at] = cell_new(key, 2 * TREE_PREFIX, value.data, value.size,
                                     0 if definition is not None else CELL_TOMBSTONE, 0)
                if cells[at] == NULL:
                    raise MemoryError
                at += 1
            self._merge_one(merge, &new.catalog, cells, at)
        finally:
            buffer_free(&value)
            while at:
                at -= 1
                cell_release(cells[at])
            free(cells)
        return 0

    cdef int _free_tree(self, const uint8_t *link, int height) except -1 nogil:
        # give up every page of a tree, overflow pages too
        cdef Page *page = self.pager.read(link)
        cdef int slot
        cdef const uint8_t *cell
        cdef const uint8_t *value
        cdef size_t size
        cdef size_t at
        try:
            for slot in range(page_count(page_bytes(page))):
                cell = page_cell(page_bytes(page), slot)
                if height > 1:
                    self._free_tree(branch_link(cell), height - 1)
                elif leaf_is_overflow(cell):
                    value = leaf_value(cell, &size)
                    at = OVERFLOW_LINKS
                    while at + LINK_SIZE <= size:
                        self.pager.free_link(value + at)
                        at += LINK_SIZE
            self.pager.free_link(link)
        finally:
            page_release(page)
        return 0

    cdef int _write_roots(self, Generation old, Generation new) except -1:
        cdef Pager pager = self.pager
        cdef bytes content = self.roots_content
        cdef uint8_t link[LINK_SIZE]
        cdef uint64_t first
        cdef uint32_t units
        new.roots_link = old.roots_link
        if content is None:
            return 0
        if old.roots_link:
            pager.free_link(<const uint8_t *>PyBytes_AS_STRING(old.roots_link))
            new.roots_link = b""
        if content:
            units = <uint32_t>((len(content) + IMAGE_OVERHEAD + UNIT_SIZE - 1) // UNIT_SIZE)
            pager.allocate(units, &first)
            pager.write_at(
                PAGE_ROOTS, first, units, <const uint8_t *>PyBytes_AS_STRING(content),
                <size_t>len(content), False, link)
            new.roots_link = link[:LINK_SIZE]
        return 0

    cdef int _write_bitmap(self, Generation old, Generation new) except -1:
        # pieces that changed get new places; finding places changes pieces, so repeat until nothing
        # moves
        cdef Pager pager = self.pager
        cdef dict places = {}
        cdef set given_up = set()
        cdef list links
        cdef uint64_t first
        cdef uint64_t size
        cdef uint64_t piece
        cdef uint32_t need
        cdef uint8_t link[LINK_SIZE]
        piece = (pager.file_units + PIECE_UNITS - 1) // PIECE_UNITS
        while piece < <uint64_t>len(old.bitmap_links):
            given_up.add(piece)
            pager.free_link(<const uint8_t *>PyBytes_AS_STRING(old.bitmap_links[piece]))
            piece += 1
        moved = True
        while moved:
            moved = False
            piece = 0
            while piece * PIECE_UNITS < pager.file_units:
                size = bitmap_piece_size(pager.file_units, piece)
                need = <uint32_t>((size + IMAGE_OVERHEAD + UNIT_SIZE - 1) // UNIT_SIZE)
                if piece in places:
                    first, units = places[piece]
                    if units < need:
                        units_mark(&pager.used, first, units, False)
                        del places[piece]
                if piece not in places and not self._bitmap_same(old, piece, size):
                    if piece < <uint64_t>len(old.bitmap_links) and piece not in given_up:
                        given_up.add(piece)
                        pager.free_link(<const uint8_t *>PyBytes_AS_STRING(old.bitmap_links[piece]))
                    pager.allocate(need, &first)
                    places[piece] = (first, need)
                    moved = True
                piece += 1
        if piece > BITMAP_LINKS_MAX:
            raise LowDisk(
                f"{pager.path}: the data file would grow beyond {BITMAP_LINKS_MAX} bitmap pages, "
                "the most that a slot can name; nothing was lost, delete documents"
            )
        links = list(old.bitmap_links[:piece])
        while <uint64_t>len(links) < piece:
            links.append(b"")
        for number, (start, units) in places.items():
            size = bitmap_piece_size(pager.file_units, number)
            pager.write_at(
                PAGE_BITMAP, start, units, pager.used.bits + <uint64_t>number * BITMAP_PIECE_SIZE,
                size, False, link
            )
            links[number] = link[:LINK_SIZE]
        new.bitmap_links = links
        return 0

    cdef bint _bitmap_same(self, Generation old, uint64_t piece, uint64_t size):
        cdef uint64_t start = piece * BITMAP_PIECE_SIZE
        if piece >= <uint64_t>len(old.bitmap_links) or bitmap_piece_size(
            old.used.count, piece
        ) != size:
            return False
        return memcmp(self.pager.used.bits + start, old.used.bits + start, size) == 0
