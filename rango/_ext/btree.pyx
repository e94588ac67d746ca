"""B+trees of sealed pages.

Terms       tree, leaf, branch, link, overlay, checkpoint: see the glossary.
Invariants  I-2 (nothing is overwritten: a merge writes new pages and gives the old ones up), I-4 (a
            branch cell holds its
            child's link, so the root's tag vouches for the tree). A separator is greater than every
            key before it and not
            greater than any key behind it. A branch counts the leaf entries below each child
            (ADR-0010).
Layout      Only the checkpoint writes (merge.pyx); readers descend and step.
Failure     Whatever is wrong with a page is PageCorrupted from the pager. A merge that fails leaves
            the old tree as it is.
Sources     Bayer and Unterauer, Prefix B-Trees (1977) for separators; Rodeh, B-trees, shadowing and
            clones (2008).
"""

from rango.errors import PageCorrupted

from libc.stdint cimport uint8_t
from rango._ext.buffer cimport Buffer, buffer_put, buffer_reserve
from rango._ext.layout cimport (
    LINK_SIZE,
    LINK_UNIT,
    OVERFLOW_LINKS,
    OVERFLOW_SIZE,
    PAGE_BRANCH,
    PAGE_LEAF,
    PAGE_OVERFLOW,
    UNIT_SIZE,
)
from rango._ext.page cimport branch_find, branch_link, leaf_find, leaf_get, page_cell, page_count
from rango._ext.page_cache cimport Page, page_bytes, page_release
from rango._ext.pager cimport Pager
from rango._ext.span cimport load_u32, load_u48


cdef int raise_tree(Pager pager, const uint8_t *link, str what) except -1 with gil:
    raise PageCorrupted(f"{pager.path}:{load_u48(link + LINK_UNIT) * UNIT_SIZE}", what)


cdef int raise_memory() except -1 with gil:
    raise MemoryError


# --- reading


cdef int tree_get(
    Pager pager, Tree *tree, const uint8_t *key, size_t key_size, Page **page, int *slot
) except -1 nogil:  # hot
    cdef const uint8_t *link = tree.link
    cdef Page *at
    cdef Page *below
    cdef int level = tree.height
    if level == 0:
        return 0
    at = pager.read(link)
    while level > 1:
        if at.kind != PAGE_BRANCH:
            page_release(at)
            # not `link`: the page in which it lies may be gone
            raise_tree(pager, tree.link, "a branch was expected below this root")
        link = branch_link(page_cell(page_bytes(at), branch_find(page_bytes(at), key, key_size)))
        try:
            below = pager.read(link)
        finally:
            page_release(at)
        at = below
        level -= 1
    if at.kind != PAGE_LEAF:
        page_release(at)
        raise_tree(pager, tree.link, "a leaf was expected below this root")
    slot[0] = leaf_get(page_bytes(at), key, key_size)
    if slot[0] < 0:
        page_release(at)
        return 0
    page[0] = at
    return 1


cdef inline const uint8_t *child_link(const TreeCursor *cursor, int level) noexcept nogil:
    return branch_link(page_cell(page_bytes(cursor.pages[level]), cursor.slots[level]))


cdef int _descend(
    Pager pager, Tree *tree, const uint8_t *key, size_t key_size, TreeCursor *cursor
) except -1 nogil:
    # pages and slots from the root to the leaf that covers key (NULL: the leftmost); the leaf's
    # slot is not set
    cdef const uint8_t *link = tree.link
    cdef int level
    cdef Page *page
    cursor.height = 0
    for level in range(tree.height):
        page = pager.read(link)
        cursor.pages[level] = page
        cursor.slots[level] = 0
        cursor.height = level + 1
        if page.kind != (PAGE_LEAF if level + 1 == tree.height else PAGE_BRANCH):
            tree_close(cursor)
            raise_tree(pager, tree.link, "a page of another kind was expected below this root")
        if level + 1 < tree.height:
            if key != NULL:
                cursor.slots[level] = branch_find(page_bytes(page), key, key_size)
            link = branch_link(page_cell(page_bytes(page), cursor.slots[level]))
    return 0


cdef int _step(Pager pager, TreeCursor *cursor, int direction) except -1 nogil:
    # the leaf before or behind the current one; its slot is set to its first or last cell. 0 =
    # there is none (closed)
    cdef int level = cursor.height - 2
    cdef int height = cursor.height
    cdef Page *page
    while level >= 0:
        cursor.slots[level] += direction
        if 0 <= cursor.slots[level] < page_count(page_bytes(cursor.pages[level])):
            break
        level -= 1
    if level < 0:
        tree_close(cursor)
        return 0
    while level + 1 < height:
        page = pager.read(child_link(cursor, level))
        level += 1
        page_release(cursor.pages[level])
        cursor.pages[level] = page
        cursor.slots[level] = 0 if direction > 0 else page_count(page_bytes(page)) - 1
        if page.kind != (PAGE_LEAF if level + 1 == height else PAGE_BRANCH):
            tree_close(cursor)
            raise_tree(
                pager, <const uint8_t *>b"\0\0\0\0\0\0\0\0",
                "a page of another kind was expected in this tree"
            )
    return 1


cdef int tree_seek(
    Pager pager, Tree *tree, const uint8_t *key, size_t key_size, TreeCursor *cursor
) except -1 nogil:
    cdef int last
    cdef bint found
    if tree.height == 0:
        cursor.height = 0
        return 0
    _descend(pager, tree, key, key_size, cursor)
    last = cursor.height - 1
    if key != NULL:
        cursor.slots[last] = leaf_find(page_bytes(cursor.pages[last]), key, key_size, &found)
    if cursor.slots[last] < page_count(page_bytes(cursor.pages[last])):
        return 1
    return _step(pager, cursor, 1)


cdef int tree_seek_before(Pager pager, Tree *tree, const uint8_t *key, size_t key_size,
                          TreeCursor *cursor) except -1 nogil:
    cdef int last
    cdef int level
    cdef bint found
    if tree.height == 0:
        cursor.height = 0
        return 0
    if key == NULL:
        _descend(pager, tree, NULL, 0, cursor)
        # to the right edge: step "back" from behind the root's last child
        for level in range(cursor.height):
            cursor.slots[level] = page_count(page_bytes(cursor.pages[level])) - 1
            if level + 1 < cursor.height:
                _redescend(pager, cursor, level)
        return 1
    _descend(pager, tree, key, key_size, cursor)
    last = cursor.height - 1
    cursor.slots[last] = leaf_find(page_bytes(cursor.pages[last]), key, key_size, &found) - 1
    if cursor.slots[last] >= 0:
        return 1
    return _step(pager, cursor, -1)


cdef int _redescend(Pager pager, TreeCursor *cursor, int level) except -1 nogil:
    # replace the page below `level` by the child at its slot
    cdef Page *page = pager.read(child_link(cursor, level))
    page_release(cursor.pages[level + 1])
    cursor.pages[level + 1] = page
    return 0


cdef int tree_next(Pager pager, TreeCursor *cursor) except -1 nogil:  # hot
    cdef int last = cursor.height - 1
    cursor.slots[last] += 1
    if cursor.slots[last] < page_count(page_bytes(cursor.pages[last])):
        return 1
    return _step(pager, cursor, 1)


cdef int tree_previous(Pager pager, TreeCursor *cursor) except -1 nogil:
    cdef int last = cursor.height - 1
    cursor.slots[last] -= 1
    if cursor.slots[last] >= 0:
        return 1
    return _step(pager, cursor, -1)


cdef const uint8_t *tree_cell(const TreeCursor *cursor) noexcept nogil:
    return page_cell(page_bytes(cursor.pages[cursor.height - 1]), cursor.slots[cursor.height - 1])


cdef void tree_close(TreeCursor *cursor) noexcept nogil:
    while cursor.height > 0:
        cursor.height -= 1
        page_release(cursor.pages[cursor.height])


cdef int overflow_read(Pager pager, const uint8_t *value, size_t size, Buffer *out) except -1 nogil:
    cdef size_t pieces = (size - OVERFLOW_LINKS) // LINK_SIZE
    cdef size_t total
    cdef size_t at
    cdef Page *page
    out.size = 0
    if size < OVERFLOW_LINKS + LINK_SIZE:
        raise_tree(pager, <const uint8_t *>b"\0\0\0\0\0\0\0\0", "an overflow list is too short")
    total = load_u32(value + OVERFLOW_SIZE)
    if buffer_reserve(out, total) < 0:
        raise_memory()
    for at in range(pieces):
        page = pager.read(value + OVERFLOW_LINKS + at * LINK_SIZE)
        if page.kind != PAGE_OVERFLOW or page.size > total - out.size:
            page_release(page)
            raise_tree(
                pager, value + OVERFLOW_LINKS + at * LINK_SIZE,
                "an overflow page does not fit its list"
            )
        buffer_put(out, page_bytes(page), page.size)
        page_release(page)
    if out.size != total:
        raise_tree(
            pager, value + OVERFLOW_LINKS, "the overflow pages are shorter than their list says"
        )
    return 0
