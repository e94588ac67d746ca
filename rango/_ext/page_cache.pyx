"""Opened pages in memory.

Terms       page, link, unit: see the glossary. Ring: every page of the cache, in no order; the
            clock hand goes round it and takes the first page that nobody has read since it passed.
Invariants  A page lies in the ring and in the chain of its bucket, or in neither. Its columns count
            from the next time that it is read here on. Readers hold
            pages by reference, so that one that is evicted under them stays whole.
Layout      A chained hash table over (unit, tag): a reused unit has another tag, so stale pages
            simply age out.
Failure     Without memory for its tables the cache stays as it is; the page is just not kept.
Sources     The clock after Corbato (1968).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

cdef extern from *:
    """
    #define rango_add(p, n) __atomic_add_fetch((p), (n), __ATOMIC_ACQ_REL)
    """
    int rango_add(int *place, int amount) noexcept nogil

cdef enum:
    FIRST_BUCKETS = 1024
    FIRST_RING = 256


cdef void page_retain(Page *page) noexcept nogil:
    rango_add(&page.refs, 1)


cdef void page_release(Page *page) noexcept nogil:
    cdef Column *column
    if page != NULL and rango_add(&page.refs, -1) == 0:
        while page.columns != NULL:
            column = page.columns
            page.columns = column.next
            free(column)
        free(page)


cdef Page *page_new(uint8_t kind, uint32_t size, uint64_t unit, uint64_t tag) noexcept nogil:
    cdef Page *page = <Page *>malloc(sizeof(Page) + size)
    if page == NULL:
        return NULL
    page.refs = 1
    page.kind = kind
    page.recent = 0
    page.size = size
    page.unit = unit
    page.tag = tag
    page.place = 0
    page.chain = NULL
    page.columns = NULL
    page.columns_size = 0
    page.counted = 0
    return page


cdef int cache_init(PageCache *cache, uint64_t bytes_max) noexcept nogil:
    memset(cache, 0, sizeof(PageCache))
    cache.bytes_max = bytes_max
    cache.bucket_mask = FIRST_BUCKETS - 1
    cache.buckets = <Page **>calloc(FIRST_BUCKETS, sizeof(Page *))
    return -1 if cache.buckets == NULL else 0


cdef void cache_free(PageCache *cache) noexcept nogil:
    cdef uint64_t at
    for at in range(cache.ring_count):
        page_release(cache.ring[at])
    free(cache.ring)
    free(cache.buckets)


cdef void cache_put(PageCache *cache, Page *page) noexcept nogil:
    cdef uint64_t bucket
    if cache_find(cache, page.unit, page.tag) != NULL or grow_ring(cache) < 0:
        return
    if cache.ring_count > cache.bucket_mask:
        grow_buckets(cache)
    bucket = (page.unit ^ page.tag) & cache.bucket_mask
    page.chain = cache.buckets[bucket]
    cache.buckets[bucket] = page
    page.place = cache.ring_count
    cache.ring[cache.ring_count] = page
    cache.ring_count += 1
    cache.bytes_used += page.size + sizeof(Page) + page.counted
    page_retain(page)
    cache_trim(cache)


cdef void cache_recount(PageCache *cache, Page *page) noexcept nogil:
    cdef uint32_t size = page.columns_size
    cache.bytes_used += size - page.counted
    page.counted = size
    cache_trim(cache)


cdef void cache_trim(PageCache *cache) noexcept nogil:
    while cache.bytes_used > cache.bytes_max and cache.ring_count > 1:
        evict(cache)


cdef void cache_clear(PageCache *cache) noexcept nogil:
    while cache.ring_count:
        evict(cache)


cdef void evict(PageCache *cache) noexcept nogil:
    cdef Page *page
    cdef Page **place
    while True:
        if cache.hand >= cache.ring_count:
            cache.hand = 0
        page = cache.ring[cache.hand]
        if not page.recent:
            break
        page.recent = 0
        cache.hand += 1
    place = &cache.buckets[(page.unit ^ page.tag) & cache.bucket_mask]
    while place[0] != page:
        place = &place[0].chain
    place[0] = page.chain
    cache.ring_count -= 1
    cache.ring[page.place] = cache.ring[cache.ring_count]
    cache.ring[page.place].place = page.place
    cache.bytes_used -= page.size + sizeof(Page) + page.counted
    page_release(page)


cdef int grow_ring(PageCache *cache) noexcept nogil:
    # 0 when there is room for one more
    cdef uint64_t size
    cdef Page **grown
    if cache.ring_count < cache.ring_size:
        return 0
    size = cache.ring_size * 2 if cache.ring_size else FIRST_RING
    grown = <Page **>realloc(cache.ring, size * sizeof(Page *))
    if grown == NULL:
        return -1
    cache.ring = grown
    cache.ring_size = size
    return 0


cdef int grow_buckets(PageCache *cache) noexcept nogil:
    # without memory chains just get longer
    cdef uint64_t mask = cache.bucket_mask * 2 + 1
    cdef Page **buckets = <Page **>calloc(mask + 1, sizeof(Page *))
    cdef uint64_t at
    cdef uint64_t bucket
    if buckets == NULL:
        return -1
    for at in range(cache.ring_count):
        bucket = (cache.ring[at].unit ^ cache.ring[at].tag) & mask
        cache.ring[at].chain = buckets[bucket]
        buckets[bucket] = cache.ring[at]
    free(cache.buckets)
    cache.buckets = buckets
    cache.bucket_mask = mask
    return 0
