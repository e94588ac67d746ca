# What was committed since the checkpoint: an in-memory copy-on-write B+tree of refcounted cells.
# One tree holds every tree's entries: the key starts with the tree id (u32 big-endian). A root is
# immutable for whoever retained it; a writer that owns nodes (same owner number, or the only
# reference all the way from the root) changes them in place. overlay.pyx tells the whole story.

from libc.stdint cimport uint8_t, uint64_t
from rango._ext.bloom cimport Bloom
from rango._ext.overlay_node cimport (
    ATOMIC_ACQUIRE, ATOMIC_RELAXED, CELL_TOMBSTONE, OVERLAY_FANOUT, Cell, Loans, OverlayNode,
    atomic_add_int, atomic_add_u64, atomic_load_int, cell_bytes, cell_key, cell_new, cell_release,
    cell_retain, cell_value, is_lent, items_retain, key_order, loan_end, loan_take, loans_end,
    node_find, node_free, node_heads, node_insert, node_key, node_measure, node_new, node_release,
    node_split,
)

cdef enum:
    OVERLAY_DEPTH_MAX = 12          # a split needs 8 puts at the least: 8 ** 12 cells fit


# root may be NULL (empty) everywhere below
cdef OverlayNode *overlay_retain(OverlayNode *root) noexcept nogil
cdef void overlay_release(OverlayNode *root) noexcept nogil
cdef uint64_t overlay_owner_next() noexcept nogil       # a number that owns no node yet
# the cell of this key (borrowed from root), or NULL
cdef Cell *overlay_get(OverlayNode *root, const uint8_t *key, size_t key_size) noexcept nogil
# new root that also holds cell (takes over the caller's reference to cell and to root); replaces an
# equal key. NULL: no memory (root and cell are then still the caller's, and unchanged).
# In place where it can be: after sharing a root with anybody, go on with a new owner number.
# With loans, copies borrow until loans_end.
cdef OverlayNode *overlay_put(
    OverlayNode *root, uint64_t owner, Cell *cell, Loans *loans
) noexcept nogil
cdef uint64_t overlay_count(OverlayNode *root) noexcept nogil
# key, value and cell header bytes below root
cdef uint64_t overlay_bytes(OverlayNode *root) noexcept nogil


ctypedef struct OverlayCursor:
    OverlayNode *root               # retained by the cursor's owner
    OverlayNode *nodes[OVERLAY_DEPTH_MAX]
    int slots[OVERLAY_DEPTH_MAX]
    int depth                       # 0 = not on a cell


# first cell with key >= key (NULL, 0: the first of all); returns the cell or NULL
cdef Cell *overlay_seek(
    OverlayCursor *cursor, OverlayNode *root, const uint8_t *key, size_t key_size
) noexcept nogil
# last cell with key < key (NULL, 0: the last of all)
cdef Cell *overlay_seek_before(
    OverlayCursor *cursor, OverlayNode *root, const uint8_t *key, size_t key_size
) noexcept nogil
# the neighbour, or NULL at the end: the cursor is then on no cell (depth 0) and stays there
cdef Cell *overlay_next(OverlayCursor *cursor) noexcept nogil
cdef Cell *overlay_previous(OverlayCursor *cursor) noexcept nogil

# add every key below root
cdef void overlay_bloom_fill(Bloom bloom, OverlayNode *root) noexcept nogil
