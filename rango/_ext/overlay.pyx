"""The overlay: what was committed since the checkpoint, as a copy-on-write B+tree in memory.

Terms       overlay, cell, leaf, branch, snapshot: see glossary. Head: the 8 key bytes after those
            that a whole node shares, as one big-endian number, so that most comparisons are of
            integers.
Invariants  Keys ascend in a leaf and over leaves. `shared` holds bytes that every key of the node
            starts with; heads ascend. A branch's key i >= 1 is the least key below child i. Nothing
            is ever taken out (a delete puts a tombstone) and a lesser key goes to child i - 1, so
            that key never changes; it is read from the leftmost leaf when its head is not enough.
            The first child has no key. count and bytes are those of the cells below.
Sharing     A node may be changed if its owner number is the writer's or if all references from the
            root down to it are single; else it is copied. A root that others can see is never
            changed: who shares one goes on with overlay_owner_next(). Counts are atomic; a reader
            needs no lock, only a root that was retained before its writer could drop it.
            Loans: a copy refers to almost all that its original does, and most originals are let go
            as soon as the commit that copied them is the newest one. So a copy may borrow: it
            retains its original (the lender) instead of every item that both have, and its writer
            repays once it is done: if nobody else has the lender by then, the copy takes its
            references over. An item that the lender has, too, is not the copy's until then, and a
            child of a copy that borrows is never changed in place. A lender never borrows.
Failure     overlay_put allocates all that it will need before it changes anything.
Layout      none on disk. bytes = sum of sizeof(Cell) + key + value.
Sources     Bayer and Unterauer, Prefix B-trees, 1977.
"""

cimport cython
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    SPARE_MAX = 2 * OVERLAY_DEPTH_MAX + 1   # every level copied and split, and a new root

cdef uint64_t owner_last = 0


cdef OverlayNode *overlay_retain(OverlayNode *root) noexcept nogil:
    if root != NULL:
        atomic_add_int(&root.refs, 1, ATOMIC_RELAXED)
    return root


cdef void overlay_release(OverlayNode *root) noexcept nogil:
    node_release(root)


cdef uint64_t overlay_owner_next() noexcept nogil:
    return atomic_add_u64(&owner_last, 1, ATOMIC_RELAXED)


cdef uint64_t overlay_count(OverlayNode *root) noexcept nogil:
    return 0 if root == NULL else root.count


cdef uint64_t overlay_bytes(OverlayNode *root) noexcept nogil:
    return 0 if root == NULL else root.bytes


cdef Cell *overlay_get(OverlayNode *root, const uint8_t *key, size_t key_size) noexcept nogil:
    cdef OverlayNode *node = root
    cdef int slot
    cdef int is_equal
    if node == NULL:
        return NULL
    while node.level:
        slot = node_find(node, key, key_size, &is_equal)
        node = <OverlayNode *>node.items[slot - 1 + is_equal]
    slot = node_find(node, key, key_size, &is_equal)
    return <Cell *>node.items[slot] if is_equal else NULL


ctypedef struct Path:
    OverlayNode *nodes[OVERLAY_DEPTH_MAX]
    int slots[OVERLAY_DEPTH_MAX]    # of the child; in the leaf, of the key
    int depth
    int is_equal                    # the leaf has the key
    int writable                    # nodes, from the root down, that may be changed in place
    OverlayNode *spare[SPARE_MAX]   # allocated before anything is changed
    int spare_count


cdef void path_find(
    Path *path, OverlayNode *root, uint64_t owner, const Cell *key
) noexcept nogil:
    cdef OverlayNode *node = root
    cdef const uint8_t *start = <const uint8_t *>key + sizeof(Cell)
    cdef int is_equal
    cdef int slot
    cdef bint borrows = False
    path.depth = 0
    path.writable = 0
    while True:
        slot = node_find(node, start, key.key_size, &is_equal)
        if path.writable == path.depth and (
            node.owner == owner
            or (not borrows and atomic_load_int(&node.refs, ATOMIC_ACQUIRE) == 1)
        ):
            path.writable += 1
        borrows = node.lender != NULL
        path.nodes[path.depth] = node
        path.depth += 1
        if not node.level:
            break
        slot += is_equal - 1
        path.slots[path.depth - 1] = slot
        node = <OverlayNode *>node.items[slot]
    path.slots[path.depth - 1] = slot
    path.is_equal = is_equal


cdef int path_reserve(Path *path) noexcept nogil:
    # the nodes that overlay_put will need: 0, or -1 without memory (then none is held)
    cdef int need = path.depth - path.writable
    cdef int i = path.depth
    if not path.is_equal:
        while i > 0 and path.nodes[i - 1].used == OVERLAY_FANOUT:
            i -= 1
            need += 1
        if i == 0:
            need += 1
            if path.depth == OVERLAY_DEPTH_MAX:
                return -1
    path.spare_count = 0
    while path.spare_count < need:
        path.spare[path.spare_count] = node_new(0, 0)
        if path.spare[path.spare_count] == NULL:
            while path.spare_count > 0:
                path.spare_count -= 1
                node_free(path.spare[path.spare_count])
            return -1
        path.spare_count += 1
    return 0


cdef inline OverlayNode *path_spare(Path *path, uint64_t owner, uint8_t level) noexcept nogil:
    cdef OverlayNode *node
    path.spare_count -= 1
    node = path.spare[path.spare_count]
    node.owner = owner
    node.level = level
    return node


cdef void path_own(Path *path, uint64_t owner, Loans *loans) noexcept nogil:
    # make every node of the path changeable: copy those that are shared, hang the copies in
    cdef int i
    cdef int kept
    cdef int first = path.writable
    cdef OverlayNode *node
    cdef OverlayNode *copy
    cdef OverlayNode *parent
    cdef OverlayNode *shared = path.nodes[first] if first < path.depth else NULL
    cdef bint is_ours = first == 0 or not is_lent(path.nodes[first - 1], shared)
    for i in range(first):
        path.nodes[i].owner = owner
    for i in range(first, path.depth):
        node = path.nodes[i]
        copy = path_spare(path, owner, node.level)
        memcpy(copy, node, sizeof(OverlayNode))
        copy.refs = 1
        copy.owner = owner
        copy.lender = NULL
        copy.next_loan = NULL
        if loans != NULL:
            loan_take(copy, node, loans)
        else:
            # what is about to be replaced in the copy is not retained: the next copy, or the cell
            kept = path.slots[i] if node.level or path.is_equal else -1
            items_retain(copy, kept)
        path.nodes[i] = copy
        if i > 0:
            parent = path.nodes[i - 1]
            parent.items[path.slots[i - 1]] = copy
    # the reference that the first copied node's place (or the caller) held; its children hang on it
    if is_ours:
        overlay_release(shared)


cdef OverlayNode *path_insert(Path *path, uint64_t owner, Cell *cell) noexcept nogil:
    # put a new key into the leaf of an owned path, split what is full; the root
    cdef int i = path.depth
    cdef int slot = path.slots[i - 1]
    cdef void *item = cell
    cdef Cell *key = cell
    cdef OverlayNode *node
    cdef OverlayNode *right
    while item != NULL and i > 0:
        i -= 1
        node = path.nodes[i]
        slot = path.slots[i] + (node.level != 0)
        if node.used < OVERLAY_FANOUT:
            node_insert(node, slot, item, key)
            item = NULL
            i += 1
        else:
            right = path_spare(path, owner, node.level)
            loan_end(node)
            node_split(node, right, slot, item, key)
            item = right
            key = node_key(right, 0)
    if item != NULL:
        node = path_spare(path, owner, <uint8_t>(path.nodes[0].level + 1))
        node.items[0] = path.nodes[0]
        node.items[1] = item
        node.used = 2
        node_heads(node)
        node_measure(node)
        return node
    while i > 0:
        i -= 1
        path.nodes[i].count += 1
        path.nodes[i].bytes += cell_bytes(cell)
    return path.nodes[0]


cdef OverlayNode *overlay_put(
    OverlayNode *root, uint64_t owner, Cell *cell, Loans *loans
) noexcept nogil:
    cdef Path path
    cdef OverlayNode *leaf
    cdef Cell *old
    cdef uint64_t grown = 0
    cdef int i
    if root == NULL:
        leaf = node_new(owner, 0)
        if leaf != NULL:
            node_insert(leaf, 0, cell, cell)
            node_measure(leaf)
        return leaf
    path_find(&path, root, owner, cell)
    if path_reserve(&path) < 0:
        return NULL
    i = path.writable
    leaf = path.nodes[path.depth - 1]
    old = <Cell *>leaf.items[path.slots[path.depth - 1]] if path.is_equal else NULL
    if old != NULL:
        grown = cell_bytes(cell) - cell_bytes(old)
    path_own(&path, owner, loans)
    if old == NULL:
        return path_insert(&path, owner, cell)
    leaf = path.nodes[path.depth - 1]
    leaf.items[path.slots[path.depth - 1]] = cell
    if i == path.depth and not is_lent(leaf, old):
        cell_release(old)
    for i in range(path.depth):
        path.nodes[i].bytes += grown
    return path.nodes[0]


# --- cursors: the path to a cell; nodes are borrowed from the root

cdef Cell *cursor_cell(OverlayCursor *cursor) noexcept nogil:
    cdef int last = cursor.depth - 1
    return <Cell *>cursor.nodes[last].items[cursor.slots[last]]


cdef Cell *cursor_descend(
    OverlayCursor *cursor, OverlayNode *node, int is_last
) noexcept nogil:
    # to the first or last cell below node, which becomes the next step of the path
    cdef int slot
    while True:
        slot = node.used - 1 if is_last else 0
        cursor.nodes[cursor.depth] = node
        cursor.slots[cursor.depth] = slot
        cursor.depth += 1
        if not node.level:
            return <Cell *>node.items[slot]
        node = <OverlayNode *>node.items[slot]


cdef int cursor_find(
    OverlayCursor *cursor, OverlayNode *root, const uint8_t *key, size_t key_size
) noexcept nogil:
    # to the leaf where key belongs; the slot of its first key >= key, which may be `used`
    cdef OverlayNode *node = root
    cdef int is_equal
    cdef int slot
    cursor.depth = 0
    while True:
        slot = node_find(node, key, key_size, &is_equal)
        if node.level:
            slot += is_equal - 1
        cursor.nodes[cursor.depth] = node
        cursor.slots[cursor.depth] = slot
        cursor.depth += 1
        if not node.level:
            return slot
        node = <OverlayNode *>node.items[slot]


cdef Cell *overlay_seek(
    OverlayCursor *cursor, OverlayNode *root, const uint8_t *key, size_t key_size
) noexcept nogil:
    cursor.root = root
    cursor.depth = 0
    if root == NULL:
        return NULL
    if key == NULL:
        return cursor_descend(cursor, root, 0)
    if cursor_find(cursor, root, key, key_size) < cursor.nodes[cursor.depth - 1].used:
        return cursor_cell(cursor)
    cursor.slots[cursor.depth - 1] -= 1
    return overlay_next(cursor)


cdef Cell *overlay_seek_before(
    OverlayCursor *cursor, OverlayNode *root, const uint8_t *key, size_t key_size
) noexcept nogil:
    cursor.root = root
    cursor.depth = 0
    if root == NULL:
        return NULL
    if key == NULL:
        return cursor_descend(cursor, root, 1)
    cursor_find(cursor, root, key, key_size)
    return overlay_previous(cursor)


cdef Cell *overlay_next(OverlayCursor *cursor) noexcept nogil:
    cdef int last
    while cursor.depth:
        last = cursor.depth - 1
        cursor.slots[last] += 1
        if cursor.slots[last] < cursor.nodes[last].used:
            if not cursor.nodes[last].level:
                return cursor_cell(cursor)
            return cursor_descend(
                cursor, <OverlayNode *>cursor.nodes[last].items[cursor.slots[last]], 0)
        cursor.depth -= 1
    return NULL


cdef Cell *overlay_previous(OverlayCursor *cursor) noexcept nogil:
    cdef int last
    while cursor.depth:
        last = cursor.depth - 1
        cursor.slots[last] -= 1
        if cursor.slots[last] >= 0:
            if not cursor.nodes[last].level:
                return cursor_cell(cursor)
            return cursor_descend(
                cursor, <OverlayNode *>cursor.nodes[last].items[cursor.slots[last]], 1)
        cursor.depth -= 1
    return NULL


# --- Bloom filter

cdef void overlay_bloom_fill(Bloom bloom, OverlayNode *root) noexcept nogil:
    cdef OverlayCursor cursor
    cdef Cell *cell = overlay_seek(&cursor, root, NULL, 0)
    while cell != NULL:
        bloom.add(cell_key(cell), cell.key_size)
        cell = overlay_next(&cursor)


# --- doors for tests

cdef object cell_item(Cell *cell):
    return (
        cell_key(cell)[:cell.key_size],
        cell_value(cell)[:cell.value_size],
        bool(cell.flags & CELL_TOMBSTONE),
    )


cdef int node_check(OverlayNode *node, Cell **last) noexcept nogil:
    # 0 if all that the header of this file promises holds below node
    cdef OverlayNode was = node[0]
    cdef int slot
    cdef int is_equal
    cdef Cell *key
    if node.used < 1 or node.used > OVERLAY_FANOUT:
        return -1
    for slot in range(node.used):
        key = node_key(node, slot)
        if slot >= (node.level != 0):
            if node_find(node, cell_key(key), key.key_size, &is_equal) != slot or not is_equal:
                return -1
        if node.level:
            if (<OverlayNode *>node.items[slot]).level + 1 != node.level:
                return -1
            if node_check(<OverlayNode *>node.items[slot], last) < 0:
                return -1
            continue
        if last[0] != NULL and key_order(
            cell_key(last[0]), last[0].key_size, cell_key(key), key.key_size
        ) >= 0:
            return -1
        last[0] = key
    node_measure(&was)
    return -(was.count != node.count or was.bytes != node.bytes)


@cython.final
cdef class Overlay:
    """A writer's root, or a snapshot of one (which is a writer of its own). For tests."""

    cdef OverlayNode *root
    cdef uint64_t owner
    cdef Loans loans
    cdef bint borrows

    def __cinit__(self):
        self.root = NULL
        self.owner = overlay_owner_next()

    def __dealloc__(self):
        overlay_release(self.root)

    def __len__(self):
        return overlay_count(self.root)

    def size(self):
        return overlay_bytes(self.root)

    def depth(self):
        return 0 if self.root == NULL else self.root.level + 1

    def put(self, bytes key not None, bytes value not None, bint tombstone=False):
        cdef OverlayNode *root
        cdef Cell *cell = cell_new(
            <const uint8_t *><char *>key, <size_t>len(key),
            <const uint8_t *><char *>value, <size_t>len(value),
            CELL_TOMBSTONE if tombstone else 0, 0)
        if cell == NULL:
            raise MemoryError("no memory for a cell")
        root = overlay_put(self.root, self.owner, cell, &self.loans if self.borrows else NULL)
        if root == NULL:
            cell_release(cell)
            raise MemoryError("no memory for a node")
        self.root = root

    def get(self, bytes key not None):
        cdef Cell *cell = overlay_get(self.root, <const uint8_t *><char *>key, <size_t>len(key))
        return None if cell == NULL else cell_item(cell)[1:]

    def items(self, bint reverse=False, bytes start=None, limit=None):
        """From the first key >= start on; in reverse from the last key < start on."""
        cdef OverlayCursor cursor
        cdef const uint8_t *key = NULL
        cdef size_t key_size = 0
        cdef Cell *cell
        if start is not None:
            key = <const uint8_t *><char *>start
            key_size = <size_t>len(start)
        found = []
        if reverse:
            cell = overlay_seek_before(&cursor, self.root, key, key_size)
        else:
            cell = overlay_seek(&cursor, self.root, key, key_size)
        while cell != NULL and (limit is None or len(found) < limit):
            found.append(cell_item(cell))
            cell = overlay_previous(&cursor) if reverse else overlay_next(&cursor)
        return found

    def snapshot(self):
        """What is here now, kept; both sides may go on writing."""
        cdef Overlay other = Overlay()
        self.repay()
        other.root = overlay_retain(self.root)
        self.owner = overlay_owner_next()
        return other

    def borrower(self):
        """The same, and the other one borrows what it copies until repay()."""
        cdef Overlay other = self.snapshot()
        other.borrows = True
        return other

    def repay(self):
        loans_end(&self.loans)

    def check(self):
        """True if every invariant holds. Runs without the GIL."""
        cdef Cell *last = NULL
        cdef int bad = 0
        with nogil:
            if self.root != NULL:
                bad = node_check(self.root, &last)
        return bad == 0

    def retained_twice(self):
        """Retain and release everything once without the GIL, as readers in other threads do."""
        cdef OverlayCursor cursor
        cdef Cell *cell
        cdef uint64_t count = 0
        with nogil:
            cell = overlay_seek(&cursor, self.root, NULL, 0)
            while cell != NULL:
                cell_retain(cell)
                count += cell.value_size
                cell_release(cell)
                cell = overlay_next(&cursor)
        return count

    def bloom(self):
        cdef Bloom bloom = Bloom(overlay_count(self.root))
        overlay_bloom_fill(bloom, self.root)
        return bloom
