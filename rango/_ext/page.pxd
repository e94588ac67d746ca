# Slotted pages: search and access for readers, a builder for the checkpoint. Layout: PAGE_*,
# LEAF_CELL_*, BRANCH_CELL_*.
#
# Trust rule: the tag authenticates an image, page_check validates the opened page once when it
# enters the cache, and the
# functions below then trust its offsets.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp
from rango._ext.buffer cimport Buffer
from rango._ext.layout cimport (
    BRANCH_CELL_ENTRIES,
    BRANCH_CELL_HEADER_SIZE,
    BRANCH_CELL_LINK,
    LEAF_CELL_HEADER_SIZE,
    LEAF_CELL_OVERFLOW,
    LEAF_CELL_VALUE_SIZE,
    PAGE_COUNT,
    PAGE_HEAD_SIZE,
    PAGE_HEADER_SIZE,
    PAGE_OFFSET_SIZE,
)
from rango._ext.span cimport load_u16, load_u32, load_u64


cdef extern from *:
    void __builtin_prefetch(const void *) noexcept nogil


cdef inline void prefetch_lines(const void *p, int count) noexcept nogil:
    # what will be read soon, all at once instead of one after the other
    cdef int at
    for at in range(count):
        __builtin_prefetch(<const uint8_t *>p + at * 64)


cdef inline int key_compare(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size
) noexcept nogil:
    cdef int order = memcmp(a, b, a_size if a_size < b_size else b_size)
    if order != 0:
        return order
    if a_size == b_size:
        return 0
    return -1 if a_size < b_size else 1


cdef inline int page_count(const uint8_t *page) noexcept nogil:
    return load_u16(page + PAGE_COUNT)


cdef inline uint32_t page_head(const uint8_t *page, int slot) noexcept nogil:
    return load_u32(page + PAGE_HEADER_SIZE + slot * PAGE_HEAD_SIZE)


cdef inline const uint8_t *page_cell(const uint8_t *page, int slot) noexcept nogil:
    return page + load_u16(
        page + PAGE_HEADER_SIZE + page_count(page) * PAGE_HEAD_SIZE + slot * PAGE_OFFSET_SIZE
    )


cdef inline const uint8_t *leaf_key(const uint8_t *cell, size_t *size) noexcept nogil:
    size[0] = load_u16(cell)
    return cell + LEAF_CELL_HEADER_SIZE


cdef inline bint leaf_is_overflow(const uint8_t *cell) noexcept nogil:
    return (load_u32(cell + LEAF_CELL_VALUE_SIZE) & LEAF_CELL_OVERFLOW) != 0


cdef inline const uint8_t *leaf_value(const uint8_t *cell, size_t *size) noexcept nogil:
    size[0] = load_u32(cell + LEAF_CELL_VALUE_SIZE) & 0x7fffffffU
    return cell + LEAF_CELL_HEADER_SIZE + load_u16(cell)


cdef inline const uint8_t *branch_key(const uint8_t *cell, size_t *size) noexcept nogil:
    size[0] = load_u16(cell)
    return cell + BRANCH_CELL_HEADER_SIZE


cdef inline const uint8_t *branch_link(const uint8_t *cell) noexcept nogil:
    return cell + BRANCH_CELL_LINK


cdef inline uint64_t branch_entries(const uint8_t *cell) noexcept nogil:
    return load_u64(cell + BRANCH_CELL_ENTRIES)


# first slot whose key is >= key; found[0] = 1 if it is equal
cdef int leaf_find(
    const uint8_t *page, const uint8_t *key, size_t key_size, bint *found
) noexcept nogil
# slot whose key is key, or -1
cdef int leaf_get(const uint8_t *page, const uint8_t *key, size_t key_size) noexcept nogil
# slot of the child that covers key
cdef int branch_find(const uint8_t *page, const uint8_t *key, size_t key_size) noexcept nogil
# 0, or -1 when an offset, a size, a count, a head or the order of the keys is wrong
cdef int page_check(const uint8_t *page, size_t size, int kind) noexcept nogil


ctypedef struct PageBuilder:
    # cells of one page in key order; the page is `header | heads | offsets | cells` when it is
    # finished
    int kind
    Buffer cells
    Buffer offsets              # u32 offset of each cell inside `cells`
    int count
    uint64_t entries            # leaf entries at and below


cdef void builder_init(PageBuilder *builder, int kind) noexcept nogil
cdef void builder_free(PageBuilder *builder) noexcept nogil
cdef void builder_clear(PageBuilder *builder) noexcept nogil
# of the page with all cells
cdef size_t builder_size(const PageBuilder *builder) noexcept nogil
cdef const uint8_t *builder_cell(const PageBuilder *builder, int slot) noexcept nogil
cdef size_t builder_cell_size(const PageBuilder *builder, int slot) noexcept nogil
cdef int builder_add_leaf(
    PageBuilder *builder, const uint8_t *key, size_t key_size, const uint8_t *value,
    size_t value_size, bint overflow
) except -1 nogil
cdef int builder_add_branch(
    PageBuilder *builder, const uint8_t *key, size_t key_size, const uint8_t *link,
    uint64_t entries
) except -1 nogil
# the page made of cells first..last-1, appended to an empty `out`
cdef int builder_page(const PageBuilder *builder, int first, int last, Buffer *out) except -1 nogil
# forget cells 0..count-1
cdef int builder_drop(PageBuilder *builder, int count) except -1 nogil
