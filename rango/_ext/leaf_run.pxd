# Cells of one leaf gone over without a step of the scan each.

from libc.stdint cimport uint8_t, uint32_t
from rango._ext.btree cimport TreeCursor
from rango._ext.filter cimport Program
from rango._ext.page cimport leaf_is_overflow, leaf_value, page_cell
from rango._ext.page_cache cimport page_bytes


ctypedef struct Limit:
    const uint8_t *key              # NULL: there is none
    size_t size


# how many cells behind the cursor's, in the same leaf but for its last one, lie before both
cdef int leaf_left(TreeCursor *cursor, Limit overlay, Limit bound) noexcept nogil


cdef inline const uint8_t *leaf_record(
    const TreeCursor *cursor, int ahead, size_t *size
) noexcept nogil:
    # the record in the cell that is so many further, or NULL: it is in overflow pages
    cdef const uint8_t *leaf = page_bytes(cursor.pages[cursor.height - 1])
    cdef const uint8_t *cell = page_cell(leaf, cursor.slots[cursor.height - 1] + ahead)
    if leaf_is_overflow(cell):
        return NULL
    return leaf_value(cell, size)


# how many of the `left` cells behind the cursor's do not match, up to the first that may; adds
# those that are no tombstones to `records`
cdef int leaf_pass(
    TreeCursor *cursor, int left, Program program, uint32_t *records
) noexcept nogil
