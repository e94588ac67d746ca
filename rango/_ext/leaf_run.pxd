# Records that do not match, passed over inside their leaf.

from libc.stdint cimport uint8_t, uint32_t
from rango._ext.btree cimport TreeCursor
from rango._ext.filter cimport Program


ctypedef struct Limit:
    const uint8_t *key              # NULL: there is none
    size_t size


ctypedef struct Passed:
    uint32_t keys
    uint32_t records                # those of them that are no tombstones


# From a cell that is done with to the last one behind it, in the same leaf, that the program does
# not match; it stays where it is if there is none.
cdef void leaf_pass(
    TreeCursor *cursor, Program program, Limit overlay, Limit bound, Passed *passed
) noexcept nogil
