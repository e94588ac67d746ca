"""Cells and single nodes of the overlay: what overlay.pyx is made of.

Terms       head, shared bytes, cell, leaf, branch: see overlay.pyx.
Invariants  heads ascend; shared and heads are those of the keys; only its writer changes a node.
Failure     cell_new and node_new give NULL without memory; nothing else here can fail.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void *place, int for_write) noexcept nogil
    int likely "__builtin_expect"(int claim, int expected) noexcept nogil

cdef enum:
    HALF = OVERLAY_FANOUT // 2

cdef uint64_t nodes_live = 0
cdef uint64_t cells_live = 0
# tests only: fails the allocation after this many; below 0 none
cdef int allocations_left = -1


cdef inline void *memory_take(size_t size) noexcept nogil:
    global allocations_left
    if not likely(allocations_left < 0, 1):
        if allocations_left == 0:
            return NULL
        allocations_left -= 1
    return malloc(size)


cdef Cell *cell_new(
    const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size,
    uint32_t flags, uint64_t ordinal,
) noexcept nogil:
    cdef Cell *cell = NULL
    if key_size <= 0xffffffffU and value_size <= 0xffffffffU:
        cell = <Cell *>memory_take(sizeof(Cell) + key_size + value_size)
    if cell == NULL:
        return NULL
    cell.refs = 1
    cell.flags = flags
    cell.key_size = <uint32_t>key_size
    cell.value_size = <uint32_t>value_size
    cell.ordinal = ordinal
    if key_size:
        memcpy(cell_key(cell), key, key_size)
    if value_size:
        memcpy(cell_value(cell), value, value_size)
    atomic_add_u64(&cells_live, 1, ATOMIC_RELAXED)
    return cell


cdef void cell_release(Cell *cell) noexcept nogil:
    if cell != NULL and atomic_sub_int(&cell.refs, 1, ATOMIC_ACQ_REL) == 0:
        atomic_add_u64(&cells_live, <uint64_t>-1, ATOMIC_RELAXED)
        free(cell)


cdef int heads_equal_find(
    OverlayNode *node, int low, const uint8_t *key, size_t key_size, int *is_equal
) noexcept nogil:
    # node_find among the slots from low on whose head is that of low: whole keys decide
    cdef uint64_t head = node.heads[low]
    cdef int high = low + 1
    cdef int left = node.used - high
    cdef int middle
    cdef int order
    cdef Cell *cell
    while left > 0:
        middle = (left + 1) >> 1
        high += middle if node.heads[high + middle - 1] == head else 0
        left -= middle
    # keys of one value of an index end with the `_id`, which mostly rises: one look is enough then
    cell = node_key(node, high - 1)
    if key_order(cell_key(cell), cell.key_size, key, key_size) < 0:
        return high
    while low < high:
        middle = (low + high) >> 1
        cell = node_key(node, middle)
        order = key_order(cell_key(cell), cell.key_size, key, key_size)
        if order == 0:
            is_equal[0] = 1
            return middle
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return low


cdef OverlayNode *node_new(uint64_t owner, uint8_t level) noexcept nogil:
    cdef OverlayNode *node = <OverlayNode *>memory_take(sizeof(OverlayNode))
    if node != NULL:
        node.refs = 1
        node.used = 0
        node.level = level
        node.shared_size = 0
        node.owner = owner
        node.lender = NULL
        node.next_loan = NULL
        node.count = 0
        node.bytes = 0
        atomic_add_u64(&nodes_live, 1, ATOMIC_RELAXED)
    return node


cdef void node_free(OverlayNode *node) noexcept nogil:
    # the node alone, not what it refers to
    atomic_add_u64(&nodes_live, <uint64_t>-1, ATOMIC_RELAXED)
    free(node)


cdef inline void item_release(OverlayNode *node, int slot) noexcept nogil:
    if node.level:
        node_release(<OverlayNode *>node.items[slot])
    else:
        cell_release(<Cell *>node.items[slot])


cdef void items_release(OverlayNode *node) noexcept nogil:
    # a locked instruction waits for its own miss before the next may start: fetch together first
    cdef int slot
    for slot in range(node.used):
        prefetch(node.items[slot], 1)
    for slot in range(node.used):
        item_release(node, slot)


cdef void items_retain(OverlayNode *node, int skipped) noexcept nogil:
    cdef int slot
    for slot in range(node.used):
        prefetch(node.items[slot], 1)
    for slot in range(node.used):
        if slot != skipped:
            # both kinds begin with their count
            atomic_add_int(<int *>node.items[slot], 1, ATOMIC_RELAXED)


# --- loans: see overlay.pyx

cdef inline int slot_of(OverlayNode *node, int start, void *item) noexcept nogil:
    # from a slot on; -1: it is not there
    cdef int slot
    for slot in range(start, node.used):
        if node.items[slot] == item:
            return slot
    return -1


cdef bint is_lent(OverlayNode *node, void *item) noexcept nogil:
    return node.lender != NULL and slot_of(node.lender, 0, item) >= 0


cdef void own_release(OverlayNode *node, OverlayNode *other) noexcept nogil:
    # what node has and other has not; both have the rest in the same order
    cdef int slot
    cdef int found
    cdef int at = 0
    for slot in range(node.used):
        found = slot_of(other, at, node.items[slot])
        if found < 0:
            item_release(node, slot)
        else:
            at = found + 1


cdef void loan_end(OverlayNode *node) noexcept nogil:
    cdef OverlayNode *lender = node.lender
    cdef int slot
    cdef int found
    cdef int at = 0
    if lender == NULL:
        return
    node.lender = NULL
    if atomic_load_int(&lender.refs, ATOMIC_ACQUIRE) == 1:
        # nobody can come to it any more: what it has alone goes with it
        own_release(lender, node)
        node_free(lender)
        return
    for slot in range(node.used):
        prefetch(node.items[slot], 1)
    for slot in range(node.used):
        found = slot_of(lender, at, node.items[slot])
        if found >= 0:
            atomic_add_int(<int *>node.items[slot], 1, ATOMIC_RELAXED)
            at = found + 1
    node_release(lender)


cdef void loan_take(OverlayNode *copy, OverlayNode *lender, Loans *loans) noexcept nogil:
    loan_end(lender)
    atomic_add_int(&lender.refs, 1, ATOMIC_RELAXED)
    copy.lender = lender
    if loans.first == NULL:
        loans.first = copy
    else:
        loans.last.next_loan = copy
    loans.last = copy


cdef void loans_end(Loans *loans) noexcept nogil:
    # a parent first: what it lets go of may be the last but one reference to a lender below it
    cdef OverlayNode *node = loans.first
    cdef OverlayNode *following
    while node != NULL:
        following = node.next_loan
        node.next_loan = NULL
        loan_end(node)
        node = following
    loans.first = NULL
    loans.last = NULL


cdef void node_heads(OverlayNode *node) noexcept nogil:
    # shared and heads anew from the keys
    cdef int first = node.level != 0
    cdef int slot
    cdef Cell *least
    cdef Cell *greatest
    cdef size_t limit
    node.shared_size = 0
    if node.used <= first:
        return
    least = node_key(node, first)
    greatest = node_key(node, node.used - 1)
    limit = least.key_size if least.key_size < greatest.key_size else greatest.key_size
    limit = limit if limit < OVERLAY_SHARED_MAX else OVERLAY_SHARED_MAX
    limit = common_size(cell_key(least), cell_key(greatest), limit)
    memcpy(node.shared, cell_key(least), limit)
    node.shared_size = <uint8_t>limit
    for slot in range(first, node.used):
        least = node_key(node, slot)
        node.heads[slot] = head_of(cell_key(least) + limit, least.key_size - limit)


cdef void node_measure(OverlayNode *node) noexcept nogil:
    # count and bytes anew
    cdef int slot
    cdef OverlayNode *child
    node.count = 0
    node.bytes = 0
    for slot in range(node.used):
        if node.level:
            child = <OverlayNode *>node.items[slot]
            node.count += child.count
            node.bytes += child.bytes
        else:
            node.count += 1
            node.bytes += cell_bytes(<Cell *>node.items[slot])


cdef void node_insert(OverlayNode *node, int slot, void *item, Cell *key) noexcept nogil:
    # there is room; `key` is the least key below item
    cdef size_t moved = <size_t>(node.used - slot)
    cdef size_t limit = node.shared_size
    cdef int is_first = node.used == (node.level != 0)
    memmove(&node.items[slot + 1], &node.items[slot], moved * sizeof(void *))
    memmove(&node.heads[slot + 1], &node.heads[slot], moved * sizeof(uint64_t))
    node.items[slot] = item
    node.used += 1
    limit = limit if limit < key.key_size else key.key_size
    if is_first or common_size(node.shared, cell_key(key), limit) < node.shared_size:
        node_heads(node)
    else:
        node.heads[slot] = head_of(cell_key(key) + limit, key.key_size - limit)


cdef void node_split(
    OverlayNode *node, OverlayNode *right, int slot, void *item, Cell *key
) noexcept nogil:
    # put item into a full node, whose upper part moves to the empty `right`. Growth at the end
    # leaves the node full, so that ascending keys fill their leaves
    cdef int kept = HALF
    cdef size_t moved = OVERLAY_FANOUT - HALF
    if slot == node.used:
        node_insert(right, 0, item, key)
        node_measure(right)
        if not node.level:
            return
        node_measure(node)
        return
    memcpy(&right.items[0], &node.items[kept], moved * sizeof(void *))
    right.used = <uint16_t>moved
    node.used = <uint16_t>kept
    node_heads(node)
    node_heads(right)
    if slot <= kept:
        node_insert(node, slot, item, key)
    else:
        node_insert(right, slot - kept, item, key)
    node_measure(node)
    node_measure(right)


cdef void node_release(OverlayNode *node) noexcept nogil:
    cdef OverlayNode *lender
    if node != NULL and atomic_sub_int(&node.refs, 1, ATOMIC_ACQ_REL) == 0:
        lender = node.lender
        if lender == NULL:
            items_release(node)
        else:
            own_release(node, lender)
        node_free(node)
        if lender != NULL:
            node_release(lender)


# --- doors for tests

def overlay_nodes_live():
    """Nodes that are allocated now, in the whole process."""
    return atomic_load_u64(&nodes_live, ATOMIC_RELAXED)


def overlay_cells_live():
    """Cells that are allocated now, in the whole process."""
    return atomic_load_u64(&cells_live, ATOMIC_RELAXED)


def overlay_allocations_fail_after(int count):
    """Let `count` allocations succeed and fail every later one; below 0: none fails."""
    global allocations_left
    allocations_left = count
