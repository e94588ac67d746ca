"""Differences: the keys whose documents are not the same in two views.

Terms       view, overlay, base, link: see the glossary. Left, right: the earlier and the later of
            the two, or any two. Candidate: a key that may differ.
Invariants  I-4: two links with the same place and tag name the same page, and with it all that is
            below. So the walk reads only pages that one side alone has, and the path to them: its
            cost follows what changed, not what there is. It may not skip what the overlays say:
            their keys are candidates of their own. A candidate that the walk did not find is
            the same in both bases.
            Views of different page files may be compared: equal tags say equal pages there, too.
            Bytes of a document decide: one that was written again unchanged does not differ.
States      fresh -> running -> done (exhausted, closed, or failed). A done walk holds no page.
Failure     PageCorrupted and IoFailed come up from the pager, QueryCancelled and Timeout from its
            Stop; the walk is then done.
Sources     architecture section 8 (History); ADR-0029.
"""

from rango.errors import RangoError

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memset
from rango._ext.btree cimport overflow_read, raise_tree
from rango._ext.buffer cimport Buffer, buffer_free, buffer_init, buffer_put
from rango._ext.layout cimport (
    LINK_SIZE, PAGE_BRANCH, PAGE_LEAF, RECORD_FLAG_TOMBSTONE, RECORD_FLAGS,
)
from rango._ext.overlay cimport (
    CELL_TOMBSTONE, Cell, cell_key, cell_retain, cell_value, overlay_next, overlay_seek,
)
from rango._ext.page cimport (
    branch_key, branch_link, key_compare, leaf_is_overflow, leaf_key, leaf_value, page_cell,
    page_count,
)
from rango._ext.page_cache cimport page_bytes, page_release, page_retain
from rango._ext.pager cimport Pager
from rango._ext.record_header cimport document_start
from rango._ext.stop cimport Stop, signals_look
from rango._ext.view cimport (
    TREE_PREFIX, Found, View, found_clear, found_release, prefix_write, tree_of,
)


cdef enum:
    CHECK_EVERY = 64                # steps between two looks at stop and clock
    TAKEN_NOTHING = 0
    TAKEN_LEFT = 1
    TAKEN_RIGHT = 2
    TAKEN_BOTH = 3


cdef int raise_memory() except -1 with gil:
    raise MemoryError


# --- one side of the walk


cdef void walk_open(Walk *walk, View view, uint32_t tree) noexcept nogil:
    cdef Tree *base = view.generation.tree(tree) if tree else NULL
    walk.depth = 0
    walk.is_on = base != NULL and base.height > 0
    if walk.is_on:
        walk.tree = base[0]


cdef void walk_close(Walk *walk) noexcept nogil:
    while walk.depth > 0:
        walk.depth -= 1
        page_release(walk.pages[walk.depth])
    walk.is_on = False


cdef inline int walk_level(const Walk *walk) noexcept nogil:
    # pages from here down to a leaf's cells; 0 = on one
    return walk.tree.height - walk.depth


cdef inline const uint8_t *walk_cell(const Walk *walk, int depth) noexcept nogil:
    return page_cell(page_bytes(walk.pages[depth]), walk.slots[depth])


cdef inline const uint8_t *walk_link(const Walk *walk) noexcept nogil:
    if walk.depth == 0:
        return walk.tree.link
    return branch_link(walk_cell(walk, walk.depth - 1))


cdef const uint8_t *walk_key(const Walk *walk, size_t *size) noexcept nogil:
    # the key in hand, or a lower bound of all that are still to come
    cdef int depth = walk.depth - 1
    if walk_level(walk) == 0:
        return leaf_key(walk_cell(walk, depth), size)
    while depth >= 0:
        # the first child's separator says nothing: its parent's does
        if walk.slots[depth] > 0:
            return branch_key(walk_cell(walk, depth), size)
        depth -= 1
    size[0] = 0
    return walk.tree.link


cdef void walk_pass(Walk *walk) noexcept nogil:
    # leave the cell in hand, or all that is below the link in hand
    while walk.depth > 0:
        walk.slots[walk.depth - 1] += 1
        if walk.slots[walk.depth - 1] < page_count(page_bytes(walk.pages[walk.depth - 1])):
            return
        walk.depth -= 1
        page_release(walk.pages[walk.depth])
    walk.is_on = False


cdef bint same_value(const Walk *left, const Walk *right) noexcept nogil:
    # an overflow list is the same if it names the same pages
    cdef const uint8_t *one = walk_cell(left, left.depth - 1)
    cdef const uint8_t *other = walk_cell(right, right.depth - 1)
    cdef size_t one_size
    cdef size_t other_size
    cdef const uint8_t *one_value = leaf_value(one, &one_size)
    cdef const uint8_t *other_value = leaf_value(other, &other_size)
    return (
        one_size == other_size and leaf_is_overflow(one) == leaf_is_overflow(other)
        and memcmp(one_value, other_value, one_size) == 0
    )


# --- records


cdef int cell_take(Pager pager, const Walk *walk, Found *out) except -1 nogil:
    # the value of the leaf's cell in hand
    cdef const uint8_t *cell = walk_cell(walk, walk.depth - 1)
    cdef Buffer whole
    out.value = leaf_value(cell, &out.size)
    if not leaf_is_overflow(cell):
        out.page = walk.pages[walk.depth - 1]
        page_retain(out.page)
        return 0
    buffer_init(&whole)
    try:
        overflow_read(pager, out.value, out.size, &whole)
        out.owned = whole.data
        out.size = whole.size
        buffer_init(&whole)
    finally:
        buffer_free(&whole)
        # NULL after an error: the page is not held here
        out.value = out.owned
    return 0


cdef inline bint is_live(const Found *found) noexcept nogil:
    return found.value != NULL and found.value[RECORD_FLAGS] != RECORD_FLAG_TOMBSTONE


cdef bint same_document(const Found *one, const Found *other) noexcept nogil:
    cdef size_t left = document_start(one.value, one.size)
    cdef size_t right = document_start(other.value, other.size)
    return (
        one.size - left == other.size - right
        and memcmp(one.value + left, other.value + right, one.size - left) == 0
    )


cdef object record_of(const Found *found):
    if not is_live(found):
        return None
    return PyBytes_FromStringAndSize(<const char *>found.value, <Py_ssize_t>found.size)


@cython.final
cdef class Diff:
    """The differences between a tree of one view and a tree of another. One thread at a time."""

    def __cinit__(
        self, View left not None, uint32_t left_tree, View right not None, uint32_t right_tree,
        Stop stop=None
    ):
        self.left = left
        self.right = right
        self.left_tree = left_tree
        self.right_tree = right_tree
        self.stop = stop
        self.may_stop = stop is not None
        self.taken = -1
        buffer_init(&self.key)

    def __dealloc__(self):
        walk_close(&self.before)
        walk_close(&self.after)
        buffer_free(&self.key)

    cdef int _start(self) except -1:
        cdef uint8_t prefix[TREE_PREFIX]
        walk_open(&self.before, self.left, self.left_tree)
        walk_open(&self.after, self.right, self.right_tree)
        if self.left_tree:
            prefix_write(prefix, self.left_tree)
            self.left_cell = own_cell(
                overlay_seek(&self.left_over, self.left.root, prefix, TREE_PREFIX), self.left_tree
            )
        if self.right_tree:
            prefix_write(prefix, self.right_tree)
            self.right_cell = own_cell(
                overlay_seek(&self.right_over, self.right.root, prefix, TREE_PREFIX),
                self.right_tree
            )
        self.taken = TAKEN_NOTHING
        return 0

    cdef int _look(self) except -1 nogil:
        self.steps += 1
        if self.steps % CHECK_EVERY:
            return 0
        if self.may_stop:
            self.stop.look()
        return signals_look(&self.signals_due_ns)

    cdef int _descend(self, Pager pager, Walk *walk) except -1 nogil:
        # into the page of the link in hand
        cdef Page *page = pager.read(walk_link(walk))
        cdef bint is_leaf = walk_level(walk) == 1
        self.pages_read += 1
        if page.kind != (PAGE_LEAF if is_leaf else PAGE_BRANCH):
            page_release(page)
            raise_tree(
                pager, walk.tree.link, "a page of another kind was expected below this root"
            )
        walk.pages[walk.depth] = page
        walk.slots[walk.depth] = 0
        walk.depth += 1
        if page_count(page_bytes(page)) == 0:
            walk.slots[walk.depth - 1] = -1
            walk_pass(walk)
        return 0

    cdef int _base_seek(self) except -1 nogil:  # hot
        # to the next key that the two bases do not have alike; 0 = there is none
        cdef Walk *left = &self.before
        cdef Walk *right = &self.after
        cdef const uint8_t *left_key
        cdef const uint8_t *right_key
        cdef size_t left_size
        cdef size_t right_size
        cdef int left_level
        cdef int right_level
        cdef int order
        if self.taken & TAKEN_LEFT:
            walk_pass(left)
        if self.taken & TAKEN_RIGHT:
            walk_pass(right)
        self.taken = TAKEN_NOTHING
        while left.is_on or right.is_on:
            self._look()
            left_level = walk_level(left)
            right_level = walk_level(right)
            order = 0
            if not right.is_on:
                order = -1
            elif not left.is_on:
                order = 1
            elif left_level == right_level and left_level > 0 and memcmp(
                walk_link(left), walk_link(right), LINK_SIZE
            ) == 0:
                self.links_skipped += 1
                walk_pass(left)
                walk_pass(right)
                continue
            else:
                left_key = walk_key(left, &left_size)
                right_key = walk_key(right, &right_size)
                order = key_compare(left_key, left_size, right_key, right_size)
                if order == 0 and left_level != right_level:
                    # a bound may be the first key itself: its page has to be looked into
                    order = -1 if left_level > right_level else 1
            if order < 0:
                if left_level == 0:
                    self.taken = TAKEN_LEFT
                    return 1
                self._descend(self.left.pager, left)
            elif order > 0:
                if right_level == 0:
                    self.taken = TAKEN_RIGHT
                    return 1
                self._descend(self.right.pager, right)
            elif left_level > 0:
                self._descend(self.left.pager, left)
                self._descend(self.right.pager, right)
            elif same_value(left, right):
                walk_pass(left)
                walk_pass(right)
            else:
                self.taken = TAKEN_BOTH
                return 1
        return 0

    cdef int _choose(self) except -1 nogil:
        # the least candidate into `key`: 1, or 0 if there is none
        cdef const uint8_t *least = NULL
        cdef size_t size = 0
        cdef uint8_t prefix[TREE_PREFIX]
        if self.taken == TAKEN_NOTHING and self._base_seek() == 0:
            self.taken = TAKEN_NOTHING
        if self.taken != TAKEN_NOTHING:
            least = walk_key(
                &self.before if self.taken & TAKEN_LEFT else &self.after, &size
            )
        if self.left_cell != NULL and (
            least == NULL or cell_order(self.left_cell, least, size) < 0
        ):
            least = cell_key(self.left_cell) + TREE_PREFIX
            size = self.left_cell.key_size - TREE_PREFIX
        if self.right_cell != NULL and (
            least == NULL or cell_order(self.right_cell, least, size) < 0
        ):
            least = cell_key(self.right_cell) + TREE_PREFIX
            size = self.right_cell.key_size - TREE_PREFIX
        if least == NULL:
            return 0
        memset(prefix, 0, TREE_PREFIX)
        self.key.size = 0
        if buffer_put(&self.key, prefix, TREE_PREFIX) < 0 or buffer_put(
            &self.key, least, size
        ) < 0:
            raise_memory()
        return 1

    cdef int _pass(self, bint is_base, bint is_left, bint is_right) except -1 nogil:
        # behind the candidate in hand, on every side that has it
        if is_base:
            self._base_seek()
        if is_left:
            self.left_cell = own_cell(overlay_next(&self.left_over), self.left_tree)
        if is_right:
            self.right_cell = own_cell(overlay_next(&self.right_over), self.right_tree)
        return 0

    cdef int _take(
        self, View view, uint32_t tree, const Walk *walk, Cell *cell, bint is_base, bint is_mine,
        Found *out
    ) except -1 nogil:
        # what one view has under the candidate in hand
        if cell != NULL:
            if not cell.flags & CELL_TOMBSTONE:
                cell_retain(cell)
                out.cell = cell
                out.value = cell_value(cell)
                out.size = cell.value_size
        elif is_base:
            if is_mine:
                cell_take(view.pager, walk, out)
        elif tree:
            # only the other side's overlay named it
            prefix_write(self.key.data, tree)
            if view.find(self.key.data, self.key.size, out) == 0:
                found_clear(out)
        return 0

    cdef int _next(self, Found *before, Found *after) except -1 nogil:  # hot
        # the next difference: 1, or 0 at the end; release both after that, and after an error
        cdef const uint8_t *key
        cdef const uint8_t *base
        cdef size_t size
        cdef size_t base_size
        cdef Cell *left
        cdef Cell *right
        cdef bint is_base
        while self._choose():
            self._look()
            key = self.key.data + TREE_PREFIX
            size = self.key.size - TREE_PREFIX
            is_base = self.taken != TAKEN_NOTHING
            if is_base:
                base = walk_key(
                    &self.before if self.taken & TAKEN_LEFT else &self.after, &base_size
                )
                is_base = key_compare(base, base_size, key, size) == 0
            left = self.left_cell
            if left != NULL and cell_order(left, key, size) != 0:
                left = NULL
            right = self.right_cell
            if right != NULL and cell_order(right, key, size) != 0:
                right = NULL
            # one cell in both overlays: both views show it, whatever their bases have
            if left == NULL or left != right:
                self._take(
                    self.left, self.left_tree, &self.before, left, is_base,
                    (self.taken & TAKEN_LEFT) != 0, before
                )
                self._take(
                    self.right, self.right_tree, &self.after, right, is_base,
                    (self.taken & TAKEN_RIGHT) != 0, after
                )
            self._pass(is_base, left != NULL, right != NULL)
            if (is_live(before) or is_live(after)) and not (
                is_live(before) and is_live(after) and same_document(before, after)
            ):
                return 1
            found_release(before)
            found_release(after)
            found_clear(before)
            found_clear(after)
        return 0

    def next_records(self, Py_ssize_t limit) -> list:
        """At most `limit` more differences, by key: (record before, record after), None for none.

        An empty list at the end.
        """
        cdef list out = []
        cdef Found before
        cdef Found after
        cdef int found
        if self.done:
            return out
        if self.is_running:
            raise RangoError("a diff was used by two threads at once; give each thread its own")
        self.is_running = True
        found_clear(&before)
        found_clear(&after)
        try:
            if self.taken < 0:
                self._start()
            while len(out) < limit:
                with nogil:
                    found = self._next(&before, &after)
                if found == 0:
                    self._end()
                    break
                out.append((record_of(&before), record_of(&after)))
                found_release(&before)
                found_release(&after)
                found_clear(&before)
                found_clear(&after)
        except BaseException:
            found_release(&before)
            found_release(&after)
            self._end()
            raise
        finally:
            self.is_running = False
        return out

    def close(self) -> None:
        """Let pages and views go."""
        if not self.is_running:
            self._end()

    cdef void _end(self) noexcept:
        self.done = True
        walk_close(&self.before)
        walk_close(&self.after)
        self.left_cell = NULL
        self.right_cell = NULL


cdef inline Cell *own_cell(Cell *cell, uint32_t tree) noexcept nogil:
    # behind a tree's cells come those of the next tree
    return cell if cell != NULL and tree_of(cell_key(cell)) == tree else NULL


cdef inline int cell_order(Cell *cell, const uint8_t *key, size_t size) noexcept nogil:
    return key_compare(
        cell_key(cell) + TREE_PREFIX, cell.key_size - TREE_PREFIX, key, size
    )
