# Cells and single nodes of the overlay. overlay.pyx tells what holds of them; only it changes them.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

cdef enum:
    CELL_TOMBSTONE = 1

    # cells of a leaf, children of a branch. 16 copies 20 % cheaper, 64 finds no faster (measured)
    OVERLAY_FANOUT = 32
    OVERLAY_SHARED_MAX = 32         # leading key bytes that a node keeps once


cdef extern from *:
    int ATOMIC_RELAXED "__ATOMIC_RELAXED"
    int ATOMIC_ACQUIRE "__ATOMIC_ACQUIRE"
    int ATOMIC_ACQ_REL "__ATOMIC_ACQ_REL"
    int atomic_add_int "__atomic_add_fetch"(int *place, int amount, int order) noexcept nogil
    int atomic_sub_int "__atomic_sub_fetch"(int *place, int amount, int order) noexcept nogil
    int atomic_load_int "__atomic_load_n"(int *place, int order) noexcept nogil
    uint64_t atomic_add_u64 "__atomic_add_fetch"(
        uint64_t *place, uint64_t amount, int order) noexcept nogil
    uint64_t atomic_load_u64 "__atomic_load_n"(uint64_t *place, int order) noexcept nogil
    void atomic_store_u64 "__atomic_store_n"(
        uint64_t *place, uint64_t value, int order) noexcept nogil


ctypedef struct Cell:
    int refs
    uint32_t flags
    uint32_t key_size
    uint32_t value_size
    uint64_t ordinal                # commit that wrote it
    # key bytes, then value bytes, follow


cdef struct OverlayNode:
    int refs
    uint16_t used                   # items
    uint8_t level                   # 0 = leaf
    uint8_t shared_size             # leading bytes that all keys of this node have in common
    uint64_t owner
    OverlayNode *lender             # whose references to what both have this copy uses; or NULL
    OverlayNode *next_loan          # of the same writer
    uint64_t count                  # cells below
    uint64_t bytes                  # their size: header, key and value
    uint8_t shared[OVERLAY_SHARED_MAX]
    # the 8 key bytes after the shared ones, big-endian; a branch's first is unused
    uint64_t heads[OVERLAY_FANOUT]
    void *items[OVERLAY_FANOUT]     # Cell * in a leaf, OverlayNode * in a branch


ctypedef struct Loans:
    # the copies of one writer that borrow, in the order in which they were made: a parent first
    OverlayNode *first
    OverlayNode *last


cdef inline uint8_t *cell_key(Cell *cell) noexcept nogil:
    return <uint8_t *>cell + sizeof(Cell)


cdef inline uint8_t *cell_value(Cell *cell) noexcept nogil:
    return <uint8_t *>cell + sizeof(Cell) + cell.key_size


cdef inline void cell_retain(Cell *cell) noexcept nogil:
    atomic_add_int(&cell.refs, 1, ATOMIC_RELAXED)


# refs = 1; NULL: no memory
cdef Cell *cell_new(
    const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size,
    uint32_t flags, uint64_t ordinal,
) noexcept nogil
cdef void cell_release(Cell *cell) noexcept nogil

# node_find among the slots from low on whose head is that of low: whole keys decide
cdef int heads_equal_find(
    OverlayNode *node, int low, const uint8_t *key, size_t key_size, int *is_equal
) noexcept nogil
# refs = 1, nothing in it; NULL: no memory
cdef OverlayNode *node_new(uint64_t owner, uint8_t level) noexcept nogil
# the node alone, not what it refers to
cdef void node_free(OverlayNode *node) noexcept nogil
cdef void node_release(OverlayNode *node) noexcept nogil
cdef void items_retain(OverlayNode *node, int skipped) noexcept nogil
# whether the lender of a copy has this item, too: then the reference is not the copy's
cdef bint is_lent(OverlayNode *node, void *item) noexcept nogil
# a copy gets references of its own: those of its lender if nobody else needs that one any more
cdef void loan_end(OverlayNode *node) noexcept nogil
cdef void loan_take(OverlayNode *copy, OverlayNode *lender, Loans *loans) noexcept nogil
# of all copies: before a root that was written with loans is shared or kept, and best after what it
# was made of is let go
cdef void loans_end(Loans *loans) noexcept nogil
# shared and heads anew from the keys; count and bytes anew
cdef void node_heads(OverlayNode *node) noexcept nogil
cdef void node_measure(OverlayNode *node) noexcept nogil
# there is room; `key` is the least key below item
cdef void node_insert(OverlayNode *node, int slot, void *item, Cell *key) noexcept nogil
# put item into a full node, whose upper part moves to the empty `right`
cdef void node_split(
    OverlayNode *node, OverlayNode *right, int slot, void *item, Cell *key
) noexcept nogil


cdef inline uint64_t cell_bytes(const Cell *cell) noexcept nogil:
    return sizeof(Cell) + cell.key_size + <uint64_t>cell.value_size


cdef inline uint64_t head_of(const uint8_t *key, size_t size) noexcept nogil:
    # the first 8 bytes as a big-endian number; a shorter key counts as if zeros followed
    cdef uint64_t head = 0
    cdef size_t i
    if size >= 8:
        return (
            <uint64_t>key[0] << 56 | <uint64_t>key[1] << 48 | <uint64_t>key[2] << 40
            | <uint64_t>key[3] << 32 | <uint64_t>key[4] << 24 | <uint64_t>key[5] << 16
            | <uint64_t>key[6] << 8 | <uint64_t>key[7]
        )
    for i in range(size):
        head |= <uint64_t>key[i] << (56 - 8 * i)
    return head


cdef inline int key_order(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size
) noexcept nogil:
    cdef size_t both = a_size if a_size < b_size else b_size
    cdef int order = memcmp(a, b, both)
    if order != 0:
        return order
    return (a_size > b_size) - (a_size < b_size)


cdef inline size_t common_size(const uint8_t *a, const uint8_t *b, size_t limit) noexcept nogil:
    cdef size_t i = 0
    while i < limit and a[i] == b[i]:
        i += 1
    return i


cdef inline Cell *node_key(OverlayNode *node, int slot) noexcept nogil:
    # the cell whose key is the key of this slot
    while node.level:
        node = <OverlayNode *>node.items[slot]
        slot = 0
    return <Cell *>node.items[slot]


cdef inline int node_find(
    OverlayNode *node, const uint8_t *key, size_t key_size, int *is_equal
) noexcept nogil:
    # first slot (of a branch: from 1 on) whose key is >= key, or `used`
    cdef int low = node.level != 0
    cdef int left = node.used - low
    cdef int half
    cdef size_t shared_size = node.shared_size
    cdef uint64_t head
    cdef int order = memcmp(
        key, node.shared, shared_size if shared_size < key_size else key_size)
    is_equal[0] = 0
    if order < 0 or (order == 0 and key_size < shared_size):
        return low
    if order > 0:
        return node.used
    head = head_of(key + shared_size, key_size - shared_size)
    while left > 1:
        half = left >> 1
        low += half if node.heads[low + half - 1] < head else 0
        left -= half
    low += left == 1 and node.heads[low] < head
    if low < node.used and node.heads[low] == head:
        return heads_equal_find(node, low, key, key_size, is_equal)
    return low
