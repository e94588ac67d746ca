# B+trees of sealed pages: descent and cursors for readers, the sorted merge for the checkpoint.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from rango._ext.buffer cimport Buffer
from rango._ext.overlay cimport Cell
from rango._ext.page cimport PageBuilder
from rango._ext.pager cimport Page, Pager

cdef enum:
    TREE_HEIGHT_MAX = 10            # 100 entries a branch and 10 a leaf would reach 10^19


ctypedef struct Tree:
    uint8_t link[16]                # of the root
    int height                      # levels; 0 = empty, 1 = the root is a leaf
    uint64_t entries
    uint64_t live                   # entries that are not tombstones
    uint8_t flags                   # CATALOG_FLAG_*


ctypedef struct TreeCursor:
    Page *pages[10]                 # from the root down, retained
    int slots[10]
    int height                      # 0 = not on a cell


# the leaf cell of key: 1 and a retained page, or 0
cdef int tree_get(Pager pager, Tree *tree, const uint8_t *key, size_t key_size, Page **page, const uint8_t **cell) except -1 nogil
# Cursors: whoever calls these closes the cursor in the end, after an exception too.
# on the first cell with key >= key (NULL: the first of all): 1, or 0 = there is none
cdef int tree_seek(Pager pager, Tree *tree, const uint8_t *key, size_t key_size, TreeCursor *cursor) except -1 nogil
# on the last cell with key < key (NULL: the last of all)
cdef int tree_seek_before(Pager pager, Tree *tree, const uint8_t *key, size_t key_size, TreeCursor *cursor) except -1 nogil
cdef int tree_next(Pager pager, TreeCursor *cursor) except -1 nogil
cdef int tree_previous(Pager pager, TreeCursor *cursor) except -1 nogil
cdef const uint8_t *tree_cell(const TreeCursor *cursor) noexcept nogil
cdef void tree_close(TreeCursor *cursor) noexcept nogil
# the whole value of a leaf cell whose value is an overflow list, into `out` (cleared first)
cdef int overflow_read(Pager pager, const uint8_t *value, size_t size, Buffer *out) except -1 nogil


cdef class TreeMerge:
    cdef Pager pager
    cdef PageBuilder levels[10]
    cdef Buffer scratch
    cdef Buffer separators[10]      # of the first pending cell of each level
    cdef int top                    # levels in use
    cdef bint appending             # nothing of the old tree lies behind what is being written
    cdef uint64_t live
    cdef size_t page_size           # opened size at which a page closes
    cdef int begin(self) except -1 nogil
    cdef int feed(self, const uint8_t *link, int level, const uint8_t *separator, size_t separator_size, uint64_t entries, Cell **cells, size_t count) except -1 nogil
    cdef int _feed_leaf(self, const Page *page, Cell **cells, size_t count) except -1 nogil
    cdef int _feed_branch(self, const Page *page, int level, const uint8_t *separator, size_t separator_size, Cell **cells, size_t count) except -1 nogil
    cdef int add_cell(self, Cell *cell) except -1 nogil
    cdef int _add(self, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size, bint overflow) except -1 nogil
    cdef int _add_entry(self, int level, const uint8_t *separator, size_t separator_size, const uint8_t *link, uint64_t entries) except -1 nogil
    cdef int _free_overflow(self, const uint8_t *value, size_t size) except -1 nogil
    cdef int _cut(self, int level) except -1 nogil
    cdef int _emit(self, int level, int first, int last) except -1 nogil
    cdef int _flush(self, int level) except -1 nogil
    cdef int _set_separator(self, int level, const uint8_t *key, size_t key_size) except -1 nogil
    cdef int finish(self, Tree *out) except -1 nogil
