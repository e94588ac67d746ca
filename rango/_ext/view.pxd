# Reads: an immutable snapshot of everything.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from rango._ext.btree cimport Tree, TreeCursor
from rango._ext.buffer cimport Buffer
from rango._ext.filter cimport Program
from rango._ext.overlay cimport Bloom, Cell, Loans, OverlayCursor, OverlayNode
from rango._ext.page_cache cimport Page
from rango._ext.pager cimport Pager
from rango._ext.units cimport Units

cdef enum:
    TREE_PREFIX = 4                 # overlay keys start with the tree's id, u32 big-endian


cdef inline uint32_t tree_of(const uint8_t *key) noexcept nogil:
    # the tree id that an overlay key starts with
    return (<uint32_t>key[0] << 24) | (<uint32_t>key[1] << 16) | (<uint32_t>key[2] << 8) | key[3]


cdef inline void prefix_write(uint8_t *into, uint32_t tree) noexcept nogil:
    into[0] = <uint8_t>(tree >> 24)
    into[1] = <uint8_t>((tree >> 16) & 0xff)
    into[2] = <uint8_t>((tree >> 8) & 0xff)
    into[3] = <uint8_t>(tree & 0xff)


cdef class Generation:
    # one checkpoint's worth of trees: what a superblock slot names
    cdef object __weakref__
    cdef readonly uint64_t number
    cdef readonly uint64_t ordinal
    cdef Tree catalog
    cdef Tree *trees                # by tree id; height 0 = empty or absent
    cdef readonly uint32_t tree_count
    cdef Units used
    cdef list bitmap_links          # bytes of each link, in order
    cdef public bytes roots_link    # of the page that says which older ones are kept; b"": none
    cdef Tree *tree(self, uint32_t tree) noexcept nogil
    cdef int reserve(self, uint32_t count) except -1


cdef class Counts:
    # documents inserted minus deleted since the checkpoint, by tree id; copied when it changes
    cdef int64_t *values
    cdef uint32_t size
    cdef int add(self, uint32_t tree, int64_t amount) except -1
    cdef int64_t get(self, uint32_t tree) noexcept nogil
    cdef Counts copy(self)


ctypedef struct Found:
    # a value somewhere, and what keeps it there
    const uint8_t *value
    size_t size
    Page *page                      # retained, or NULL
    int slot                        # in the page
    Cell *cell                      # retained, or NULL
    uint8_t *owned                  # malloc'd, or NULL


cdef void found_release(Found *found) noexcept nogil
cdef void found_clear(Found *found) noexcept nogil
# its document; of a frozenset of names (None: whole), those fields (is_kept) or the others
cdef object found_document(Pager pager, const Found *found, object names, bint is_kept)


cdef class View:
    cdef readonly uint64_t ordinal
    cdef object known               # the engine's catalog as of this view
    cdef dict trees                 # its collections: name -> tree id
    cdef Generation generation
    cdef Pager pager
    cdef Bloom bloom
    cdef Counts counts
    cdef OverlayNode *root          # retained
    cdef Loans loans                # below it; ended before another view is made of this one
    cdef object lease               # keeps the generation's pages from other processes, or None
    # key starts with the tree's id. 1 = found (release it), 0 = not there. Tombstone records are
    # found.
    cdef int find(self, const uint8_t *key, size_t size, Found *out) except -1 nogil
    # an entry of this index tree whose key starts with `prefix` (tree id first) and whose document
    # is another one: 1 or 0
    cdef int other_entry(
        self, const uint8_t *prefix, size_t size, const uint8_t *id_key, size_t id_size
    ) except -1 nogil
    cdef int _find_whole(self, Found *out) except -1 nogil
    cdef int _is_current(
        self, const uint8_t *prefix, const uint8_t *key, size_t key_size
    ) except -1 nogil
    cpdef object find_id(self, uint32_t tree, object id_value)
    cdef View derive(self, OverlayNode *root, Counts counts, uint64_t ordinal)


cdef int append_prefix(Buffer *out, uint32_t tree) except -1 nogil
cdef bytes prefixed(uint32_t tree, bytes key)       # the tree's id, then the key if it is not None
cdef int append_key_of(Buffer *out, object value) except -1

cdef int overlay_apply(
    View work, uint64_t owner, const uint8_t *key, size_t key_size, const uint8_t *value,
    size_t value_size, uint32_t flags, uint64_t ordinal, bint is_record, bint borrows=*
) except -1
