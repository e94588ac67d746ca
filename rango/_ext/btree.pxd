# B+trees of sealed pages: descent and cursors for readers.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from rango._ext.buffer cimport Buffer
from rango._ext.page_cache cimport Page
from rango._ext.pager cimport Pager

cdef enum:
    TREE_HEIGHT_MAX = 10            # 100 entries a branch and 10 a leaf would reach 10^19


ctypedef struct Tree:
    uint8_t link[16]                # of the root
    int height                      # levels; 0 = empty, 1 = the root is a leaf
    uint64_t entries
    uint64_t live                   # entries that are not tombstones
    uint64_t marks                  # of an index: see collection_info


ctypedef struct TreeCursor:
    Page *pages[10]                 # from the root down, retained
    int slots[10]
    int height                      # 0 = not on a cell


# raises PageCorrupted naming the place of a link
cdef int raise_tree(Pager pager, const uint8_t *link, str what) except -1 with gil
# the leaf cell of key: 1, a retained page and the slot in it, or 0
cdef int tree_get(
    Pager pager, Tree *tree, const uint8_t *key, size_t key_size, Page **page, int *slot
) except -1 nogil
# Cursors: whoever calls these closes the cursor in the end, after an exception too.
# on the first cell with key >= key (NULL: the first of all): 1, or 0 = there is none
cdef int tree_seek(
    Pager pager, Tree *tree, const uint8_t *key, size_t key_size, TreeCursor *cursor
) except -1 nogil
# on the last cell with key < key (NULL: the last of all)
cdef int tree_seek_before(
    Pager pager, Tree *tree, const uint8_t *key, size_t key_size, TreeCursor *cursor
) except -1 nogil
cdef int tree_next(Pager pager, TreeCursor *cursor) except -1 nogil
cdef int tree_previous(Pager pager, TreeCursor *cursor) except -1 nogil
cdef const uint8_t *tree_cell(const TreeCursor *cursor) noexcept nogil
cdef void tree_close(TreeCursor *cursor) noexcept nogil
# the whole value of a leaf cell whose value is an overflow list, into `out` (cleared first)
cdef int overflow_read(Pager pager, const uint8_t *value, size_t size, Buffer *out) except -1 nogil
