"""Slotted pages.

Terms       page, slot, cell, leaf, branch: see the glossary.
Invariants  Keys of a page are strictly ascending. The first cell of a branch has an empty key: it
            covers everything below the second. Cells lie behind the slots and do not overlap. A
            page is at most 64 KiB, so 16-bit offsets reach every cell. Each slot has the head of
            its key beside those of the others: a search touches a few cache lines of heads and,
            unless heads tie, one cell.
Layout      layout.pxd PAGE_*, LEAF_CELL_*, BRANCH_CELL_*; docs/reference/format.md#pages.
Failure     page_check refuses whatever a search could trip over; it runs once, when a page enters
            the cache.
Sources     Graefe, Modern B-Tree Techniques (2011), 3.3-3.5; ADR-0002, ADR-0010, ADR-0012.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove
from rango._ext.buffer cimport (
    Buffer,
    buffer_free,
    buffer_grow,
    buffer_init,
)
from rango._ext.layout cimport (
    BRANCH_CELL_ENTRIES,
    BRANCH_CELL_HEADER_SIZE,
    BRANCH_CELL_LINK,
    LEAF_CELL_HEADER_SIZE,
    LEAF_CELL_OVERFLOW,
    LEAF_CELL_VALUE_SIZE,
    LINK_SIZE,
    PAGE_BRANCH,
    PAGE_COUNT,
    PAGE_FLAGS,
    PAGE_HEAD_SIZE,
    PAGE_HEADER_SIZE,
    PAGE_KIND,
    PAGE_LEAF,
    PAGE_OFFSET_SIZE,
    PAGE_PREFIX,
    PAGE_SLOT_SIZE,
    PAGE_USED,
)
from rango._ext.span cimport load_u16, load_u32, store_u16, store_u32, store_u64


cdef enum:
    CELL_LINES = 7              # of a document of 400 bytes: whoever finds it reads it


cdef inline uint32_t key_head(const uint8_t *key, size_t size, size_t shared) noexcept nogil:
    # the 4 bytes behind the shared ones, so that comparing two heads compares two keys as far as
    # they go
    cdef uint32_t head = 0
    cdef size_t at
    cdef size_t left
    if size >= shared + 4:
        key += shared
        head = (<uint32_t>key[0] << 24) | (<uint32_t>key[1] << 16)
        return head | (<uint32_t>key[2] << 8) | key[3]
    left = size - shared if size > shared else 0
    for at in range(left):
        head |= <uint32_t>key[shared + at] << (24 - 8 * at)
    return head


# hot
cdef int heads_find(
    const uint8_t *page, int low, int high, uint32_t head, bint is_above
) noexcept nogil:
    # first slot in low..high-1 whose head is >= head (is_above: > head), or high
    cdef int middle
    cdef uint32_t found
    while low < high:
        middle = (low + high) >> 1
        found = page_head(page, middle)
        if found < head or (is_above and found == head):
            low = middle + 1
        else:
            high = middle
    return low


# hot
cdef int leaf_find(
    const uint8_t *page, const uint8_t *key, size_t key_size, bint *found
) noexcept nogil:
    cdef size_t shared = load_u16(page + PAGE_PREFIX)
    cdef int count = page_count(page)
    cdef int low
    cdef int high
    cdef int middle
    cdef int order
    cdef size_t size
    cdef uint32_t head
    cdef const uint8_t *cell_key
    found[0] = False
    if shared:
        cell_key = leaf_key(page_cell(page, 0), &size)
        order = key_compare(key, key_size if key_size < shared else shared, cell_key, shared)
        if order != 0:
            return 0 if order < 0 else count
    head = key_head(key, key_size, shared)
    low = heads_find(page, 0, count, head, False)
    if low == count or page_head(page, low) != head:
        return low
    high = low + 1
    if high < count and page_head(page, high) == head:
        high = heads_find(page, high, count, head, True)
    while low < high:
        middle = (low + high) >> 1
        cell_key = leaf_key(page_cell(page, middle), &size)
        order = key_compare(cell_key, size, key, key_size)
        if order < 0:
            low = middle + 1
        else:
            high = middle
            if order == 0:
                found[0] = True
    return low


cdef int leaf_get(const uint8_t *page, const uint8_t *key, size_t key_size) noexcept nogil:  # hot
    # a key that does not share what all keys of the page share ties with no cell, so the shared
    # bytes need no look of their own
    cdef size_t shared = load_u16(page + PAGE_PREFIX)
    cdef int count = page_count(page)
    cdef uint32_t head = key_head(key, key_size, shared)
    cdef int slot = heads_find(page, 0, count, head, False)
    cdef size_t size
    cdef const uint8_t *cell_key
    cdef int order
    while slot < count and page_head(page, slot) == head:
        prefetch_lines(page_cell(page, slot), CELL_LINES)
        cell_key = leaf_key(page_cell(page, slot), &size)
        order = key_compare(cell_key, size, key, key_size)
        if order == 0:
            return slot
        if order > 0:
            break
        slot += 1
    return -1


# hot
cdef int branch_find(const uint8_t *page, const uint8_t *key, size_t key_size) noexcept nogil:
    # slot 0 covers everything below slot 1, so its key is never looked at
    cdef size_t shared = load_u16(page + PAGE_PREFIX)
    cdef int count = page_count(page)
    cdef int low
    cdef int high
    cdef int middle
    cdef int order
    cdef size_t size
    cdef uint32_t head
    cdef const uint8_t *cell_key
    if count == 1:
        return 0
    if shared:
        cell_key = branch_key(page_cell(page, 1), &size)
        order = key_compare(key, key_size if key_size < shared else shared, cell_key, shared)
        if order != 0:
            return 0 if order < 0 else count - 1
    head = key_head(key, key_size, shared)
    low = heads_find(page, 1, count, head, False)
    high = low
    if low < count and page_head(page, low) == head:
        high = heads_find(page, low, count, head, True)
    while low < high:
        middle = (low + high) >> 1
        cell_key = branch_key(page_cell(page, middle), &size)
        if key_compare(cell_key, size, key, key_size) <= 0:
            low = middle + 1
        else:
            high = middle
    return low - 1


cdef int page_check(const uint8_t *page, size_t size, int kind) noexcept nogil:
    cdef size_t slots_end
    cdef size_t offset
    cdef size_t header_size = BRANCH_CELL_HEADER_SIZE
    cdef size_t shared
    cdef size_t key_size
    cdef size_t value_size
    cdef size_t previous_size = 0
    cdef const uint8_t *previous = NULL
    cdef const uint8_t *heads_end
    cdef const uint8_t *key
    cdef int first = 1 if kind == PAGE_BRANCH else 0
    cdef int count
    cdef int slot
    if size < PAGE_HEADER_SIZE or size > 65536 or page[PAGE_KIND] != kind:
        return -1
    if load_u32(page + PAGE_USED) != size:
        return -1
    if kind == PAGE_LEAF:
        header_size = LEAF_CELL_HEADER_SIZE
    if kind != PAGE_LEAF and kind != PAGE_BRANCH:
        return -1
    count = page_count(page)
    shared = load_u16(page + PAGE_PREFIX)
    slots_end = PAGE_HEADER_SIZE + <size_t>count * PAGE_SLOT_SIZE
    heads_end = page + PAGE_HEADER_SIZE + count * PAGE_HEAD_SIZE
    if count == 0 or slots_end > size:
        return -1
    for slot in range(count):
        offset = load_u16(heads_end + slot * PAGE_OFFSET_SIZE)
        if offset < slots_end or offset > size or header_size > size - offset:
            return -1
        key_size = load_u16(page + offset)
        value_size = 0
        if kind == PAGE_LEAF:
            value_size = load_u32(page + offset + LEAF_CELL_VALUE_SIZE) & 0x7fffffffU
        if key_size > size - offset - header_size:
            return -1
        if value_size > size - offset - header_size - key_size:
            return -1
        key = page + offset + header_size
        if previous != NULL and key_compare(previous, previous_size, key, key_size) >= 0:
            return -1
        if slot < first:
            if key_size != 0 or page_head(page, slot) != 0:
                return -1
        elif key_size < shared or page_head(page, slot) != key_head(key, key_size, shared):
            return -1
        elif slot > first and memcmp(previous, key, shared) != 0:
            return -1
        previous = key
        previous_size = key_size
    return 0


# --- builder


cdef void builder_init(PageBuilder *builder, int kind) noexcept nogil:
    builder.kind = kind
    builder.count = 0
    builder.entries = 0
    buffer_init(&builder.cells)
    buffer_init(&builder.offsets)


cdef void builder_free(PageBuilder *builder) noexcept nogil:
    buffer_free(&builder.cells)
    buffer_free(&builder.offsets)
    builder.count = 0
    builder.entries = 0


cdef void builder_clear(PageBuilder *builder) noexcept nogil:
    builder.cells.size = 0
    builder.offsets.size = 0
    builder.count = 0
    builder.entries = 0


cdef size_t builder_size(const PageBuilder *builder) noexcept nogil:
    return PAGE_HEADER_SIZE + <size_t>builder.count * PAGE_SLOT_SIZE + builder.cells.size


cdef const uint8_t *builder_cell(const PageBuilder *builder, int slot) noexcept nogil:
    return builder.cells.data + load_u32(builder.offsets.data + slot * 4)


cdef size_t builder_cell_size(const PageBuilder *builder, int slot) noexcept nogil:
    cdef size_t start = load_u32(builder.offsets.data + slot * 4)
    if slot + 1 < builder.count:
        return load_u32(builder.offsets.data + (slot + 1) * 4) - start
    return builder.cells.size - start


cdef uint8_t *_builder_room(PageBuilder *builder, size_t size) except NULL nogil:
    cdef uint8_t *offset
    cdef uint8_t *cell
    cdef uint32_t start = <uint32_t>builder.cells.size
    offset = buffer_grow(&builder.offsets, 4)
    if offset == NULL:
        with gil:
            raise MemoryError
    cell = buffer_grow(&builder.cells, size)
    if cell == NULL:
        builder.offsets.size -= 4
        with gil:
            raise MemoryError
    store_u32(offset, start)
    builder.count += 1
    return cell


cdef int builder_add_leaf(
    PageBuilder *builder, const uint8_t *key, size_t key_size, const uint8_t *value,
    size_t value_size, bint overflow
) except -1 nogil:
    cdef uint8_t *cell = _builder_room(builder, LEAF_CELL_HEADER_SIZE + key_size + value_size)
    store_u16(cell, <uint16_t>key_size)
    store_u32(
        cell + LEAF_CELL_VALUE_SIZE,
        <uint32_t>value_size | (<uint32_t>LEAF_CELL_OVERFLOW if overflow else 0)
    )
    # an empty key or value may be NULL, which memcpy must not be given
    if key_size:
        memcpy(cell + LEAF_CELL_HEADER_SIZE, key, key_size)
    if value_size:
        memcpy(cell + LEAF_CELL_HEADER_SIZE + key_size, value, value_size)
    builder.entries += 1
    return 0


cdef int builder_add_branch(
    PageBuilder *builder, const uint8_t *key, size_t key_size, const uint8_t *link,
    uint64_t entries
) except -1 nogil:
    cdef uint8_t *cell = _builder_room(builder, BRANCH_CELL_HEADER_SIZE + key_size)
    store_u16(cell, <uint16_t>key_size)
    memcpy(cell + BRANCH_CELL_LINK, link, LINK_SIZE)
    store_u64(cell + BRANCH_CELL_ENTRIES, entries)
    if key_size:
        memcpy(cell + BRANCH_CELL_HEADER_SIZE, key, key_size)
    builder.entries += entries
    return 0


cdef int builder_page(const PageBuilder *builder, int first, int last, Buffer *out) except -1 nogil:
    # the first cell of a branch loses its key here: the parent keeps it as the separator
    cdef int slot
    cdef size_t size = 0
    cdef size_t cell_size
    cdef size_t at
    cdef uint8_t *page
    cdef uint8_t *offsets
    cdef const uint8_t *cell
    cdef size_t dropped = 0
    if builder.kind == PAGE_BRANCH:
        dropped = load_u16(builder_cell(builder, first))
    for slot in range(first, last):
        size += builder_cell_size(builder, slot)
    at = PAGE_HEADER_SIZE + <size_t>(last - first) * PAGE_SLOT_SIZE
    size += at - dropped
    page = buffer_grow(out, size)
    if page == NULL:
        with gil:
            raise MemoryError
    page[PAGE_KIND] = <uint8_t>builder.kind
    page[PAGE_FLAGS] = 0
    store_u16(page + PAGE_COUNT, <uint16_t>(last - first))
    store_u32(page + PAGE_USED, <uint32_t>size)
    _write_heads(builder, first, last, page)
    offsets = page + PAGE_HEADER_SIZE + (last - first) * PAGE_HEAD_SIZE
    for slot in range(first, last):
        cell = builder_cell(builder, slot)
        cell_size = builder_cell_size(builder, slot)
        store_u16(offsets + (slot - first) * PAGE_OFFSET_SIZE, <uint16_t>at)
        if slot == first and dropped:
            memcpy(page + at, cell, BRANCH_CELL_HEADER_SIZE)
            store_u16(page + at, 0)
            at += BRANCH_CELL_HEADER_SIZE
        else:
            memcpy(page + at, cell, cell_size)
            at += cell_size
    return 0


cdef const uint8_t *_builder_key(const PageBuilder *builder, int slot, size_t *size) noexcept nogil:
    if builder.kind == PAGE_LEAF:
        return leaf_key(builder_cell(builder, slot), size)
    return branch_key(builder_cell(builder, slot), size)


cdef void _write_heads(
    const PageBuilder *builder, int first, int last, uint8_t *page
) noexcept nogil:
    # keys are sorted, so what the first and the last share is shared by all
    cdef int start = first + 1 if builder.kind == PAGE_BRANCH else first
    cdef size_t shared = 0
    cdef size_t size
    cdef size_t last_size
    cdef const uint8_t *key
    cdef const uint8_t *last_key
    cdef int slot
    if start < last:
        key = _builder_key(builder, start, &size)
        last_key = _builder_key(builder, last - 1, &last_size)
        while shared < size and shared < last_size and key[shared] == last_key[shared]:
            shared += 1
    store_u16(page + PAGE_PREFIX, <uint16_t>shared)
    store_u16(page + PAGE_PREFIX + 2, 0)
    if start > first:
        store_u32(page + PAGE_HEADER_SIZE, 0)
    for slot in range(start, last):
        key = _builder_key(builder, slot, &size)
        store_u32(
            page + PAGE_HEADER_SIZE + (slot - first) * PAGE_HEAD_SIZE, key_head(key, size, shared)
        )


cdef int builder_drop(PageBuilder *builder, int count) except -1 nogil:
    cdef uint32_t start
    cdef int slot
    if count >= builder.count:
        builder_clear(builder)
        return 0
    start = load_u32(builder.offsets.data + count * 4)
    memmove(builder.cells.data, builder.cells.data + start, builder.cells.size - start)
    builder.cells.size -= start
    builder.count -= count
    for slot in range(builder.count):
        store_u32(
            builder.offsets.data + slot * 4,
            load_u32(builder.offsets.data + (slot + count) * 4) - start
        )
    builder.offsets.size = <size_t>builder.count * 4
    builder.entries = 0
    for slot in range(builder.count):
        if builder.kind == PAGE_LEAF:
            builder.entries += 1
        else:
            builder.entries += branch_entries(builder_cell(builder, slot))
    return 0
