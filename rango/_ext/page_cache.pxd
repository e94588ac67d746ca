# Opened pages of one data file in memory, found by the unit and tag of their links.
#
# The caller holds the cache's lock around everything but page_retain and page_release.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from rango._ext.page cimport prefetch_lines


ctypedef struct Column:
    # one field of every record of a leaf: see page_column.pyx
    Column *next                # another field's
    double *values              # of each slot
    uint8_t *kinds              # VALUE_*
    char *name
    uint32_t name_size
    uint32_t size               # of all this, in bytes


ctypedef struct Templates:
    # decoded documents of a leaf: see template.pyx
    Templates *next             # in the line of those that nobody can find any more
    uint32_t size               # of them and of this, in bytes
    uint32_t count              # slots
    uint8_t recent              # read since the template hand passed
    void **slots                # of each slot of the leaf a PyObject, or NULL


ctypedef struct Page:
    int refs                    # readers, and 1 for the cache while it holds the page
    uint8_t kind
    uint8_t recent              # seen since the clock hand passed
    uint8_t is_young            # the hand passes it by
    uint32_t size               # of the opened page, which follows the struct
    uint32_t place              # index in the clock ring
    uint64_t unit
    uint64_t tag                # first 8 bytes of the image's tag
    Page *chain                 # next in the same bucket
    Page *younger               # of the young ones the next
    Column *columns             # added by readers, never removed
    Templates *templates        # changed by whoever holds the cache's lock
    uint32_t added_size         # bytes of columns and templates, ...
    uint32_t counted            # ... and how many the cache has counted


cdef enum:
    PAGE_LINES = 5              # the struct, and the heads and offsets of cells of 400 bytes
    SEEN_COUNT = 2048


ctypedef struct Ghost:
    # a young page that was evicted
    uint32_t name               # bits of its unit and tag
    uint32_t number             # how many had been evicted by then


ctypedef struct PageCache:
    Page **buckets
    uint64_t bucket_mask
    Page **ring
    uint64_t ring_size
    uint64_t ring_count         # pages in the cache
    uint64_t hand               # index in the ring where the search for a victim goes on
    Page *young_first           # they are in the ring too, but go in the order in which they came
    Page *young_last
    uint64_t young_count
    uint64_t young_size         # bytes, without what was added to them
    Ghost *ghosts               # two to a place, as many as buckets; or NULL
    uint32_t evicted            # pages, so far
    uint64_t bytes_used
    uint64_t bytes_max
    uint64_t templates_size     # bytes of templates, which are a part of bytes_used
    # of templates, changed under the GIL: how many found no room, and marks of documents decoded,
    # the lowest bit set when they were decoded twice
    uint32_t templates_refused
    uint32_t seen[SEEN_COUNT]


cdef inline const uint8_t *page_bytes(const Page *page) noexcept nogil:
    return <const uint8_t *>page + sizeof(Page)


cdef inline Page *cache_find(const PageCache *cache, uint64_t unit, uint64_t tag) noexcept nogil:
    cdef Page *page = cache.buckets[(unit ^ tag) & cache.bucket_mask]
    prefetch_lines(page, PAGE_LINES)
    while page != NULL:
        if page.unit == unit and page.tag == tag:
            return page
        page = page.chain
    return NULL


# free the templates of pages that are gone; with the GIL, and no lock
cdef void buried_free() noexcept
cdef Templates *buried            # those that wait for it
cdef void page_retain(Page *page) noexcept nogil
cdef void page_release(Page *page) noexcept nogil
# room for a page of this size, with one reference; NULL when memory ran out
cdef Page *page_new(uint8_t kind, uint32_t size, uint64_t unit, uint64_t tag) noexcept nogil

# 0, or -1 when memory ran out
cdef int cache_init(PageCache *cache, uint64_t bytes_max) noexcept nogil
cdef void cache_free(PageCache *cache) noexcept nogil
cdef void cache_recount(PageCache *cache, Page *page) noexcept nogil


cdef inline void cache_count(PageCache *cache, Page *page) noexcept nogil:
    # columns that were added to a page since it was last counted; the caller holds it
    if page.added_size != page.counted:
        cache_recount(cache, page)


cdef inline uint64_t templates_max(const PageCache *cache) noexcept nogil:
    # a copy of a template beats decoding only while both lie in the processor's caches
    return cache.bytes_max >> 3


cdef enum:
    ROOM_MIN = 1024             # a template that needs more is made if there is room


cdef inline bint has_room(const PageCache *cache) noexcept nogil:
    # for another template
    return (
        cache.templates_size + ROOM_MIN <= templates_max(cache)
        and cache.bytes_used + ROOM_MIN <= cache.bytes_max
    )


# room for templates of a page in the cache, which then has some: False, there is none
cdef bint cache_admit(
    PageCache *cache, Page *page, Templates *templates, uint32_t size
) noexcept nogil
# let go of what the hand meets next: of idle templates, or if pages fill the cache, an idle page
cdef void cache_step(PageCache *cache) noexcept nogil
# evict what is over bytes_max, which has changed, and templates over theirs
cdef void cache_fit(PageCache *cache) noexcept nogil


# a page that cannot be kept (no memory for the tables, or there already) stays outside the cache
cdef void cache_put(PageCache *cache, Page *page) noexcept nogil
cdef void cache_trim(PageCache *cache) noexcept nogil      # evict what is over bytes_max
cdef void cache_clear(PageCache *cache) noexcept nogil
