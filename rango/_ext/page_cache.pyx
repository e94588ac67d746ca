"""Opened pages in memory.

Terms       page, link, unit: see the glossary. Ring: every page of the cache, in no order; the
            clock hand goes round it and takes the first page that nobody has read since it passed.
            young: a page that came in lately; it goes first, unless it has been read again by then,
            and the young ones have an eighth of the room. So a walk over more than the cache holds
            pushes out little of what is read often, and what is read often from now on gets in.
Invariants  A page lies in the ring and in the chain of its bucket, or in neither. Its columns count
            from the next time that it is read here on, its templates at once. Readers hold
            pages by reference, so that one that is evicted under them stays whole.
            Templates are Python objects, and pages are let go without the GIL: so they are put in
            a line (templates_bury), and freed by somebody who has it.
Layout      A chained hash table over (unit, tag): a reused unit has another tag, so stale pages
            simply age out.
Failure     Without memory for its tables the cache stays as it is; the page is just not kept.
Sources     The clock after Corbato (1968); the young ones after S3-FIFO (Yang et al., 2023).
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

cdef extern from *:
    """
    #if PY_VERSION_HEX < 0x030D0000
    #define rango_note(call) Py_AddPendingCall((call), NULL)
    #else
    #define rango_note(call) ((void)(call), 0)
    #endif
    #define rango_add(p, n) __atomic_add_fetch((p), (n), __ATOMIC_ACQ_REL)
    #define rango_size_add(p, n) __atomic_add_fetch((p), (n), __ATOMIC_ACQ_REL)
    #define rango_templates_set(p, new) __atomic_store_n((p), (new), __ATOMIC_RELEASE)
    #define rango_templates_take(p) __atomic_exchange_n((p), NULL, __ATOMIC_ACQ_REL)
    #define rango_templates_swap(p, old, new) \\
        __atomic_compare_exchange_n((p), (old), (new), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
    """
    int rango_note(int (*call)(void *) noexcept) noexcept nogil
    int rango_add(int *place, int amount) noexcept nogil
    uint32_t rango_size_add(uint32_t *place, uint32_t amount) noexcept nogil
    void rango_templates_set(Templates **place, Templates *templates) noexcept nogil
    Templates *rango_templates_take(Templates **place) noexcept nogil
    bint rango_templates_swap(
        Templates **place, Templates **old, Templates *new
    ) noexcept nogil

cdef extern from "Python.h":
    int Py_IsInitialized() noexcept nogil
    void Py_XDECREF(PyObject *value)

cdef Templates *buried = NULL     # to be freed by whoever has the GIL next

cdef enum:
    FIRST_BUCKETS = 1024
    FIRST_RING = 256
    YOUNG_SHIFT = 3             # an eighth of the cache
    PASSED_MAX = 32             # pages without templates in one step


cdef void templates_bury(Templates *templates) noexcept nogil:
    templates.next = buried
    while not rango_templates_swap(&buried, &templates.next, templates):
        pass
    if templates.next == NULL and Py_IsInitialized():
        # one call frees all that lie there by then; if none can be noted, the next maker does.
        # From 3.13 on none is: noting may let the GIL go, and the cache's lock is held at times
        rango_note(buried_free_soon)


cdef int buried_free_soon(void *_argument) noexcept:
    buried_free()
    return 0


cdef void buried_free() noexcept:
    # what runs in between, if a value's end runs anything, may come here again: it finds the rest
    cdef Templates *templates = rango_templates_take(&buried)
    cdef Templates *after
    cdef uint32_t slot
    while templates != NULL:
        for slot in range(templates.count):
            Py_XDECREF(<PyObject *>templates.slots[slot])
        after = templates.next
        free(templates)
        templates = after


cdef void page_retain(Page *page) noexcept nogil:
    rango_add(&page.refs, 1)


cdef void page_release(Page *page) noexcept nogil:
    cdef Column *column
    if page != NULL and rango_add(&page.refs, -1) == 0:
        while page.columns != NULL:
            column = page.columns
            page.columns = column.next
            free(column)
        if page.templates != NULL:
            templates_bury(page.templates)
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
    page.is_young = 0
    page.chain = NULL
    page.younger = NULL
    page.columns = NULL
    page.templates = NULL
    page.added_size = 0
    page.counted = 0
    return page


cdef int cache_init(PageCache *cache, uint64_t bytes_max) noexcept nogil:
    memset(cache, 0, sizeof(PageCache))
    cache.bytes_max = bytes_max
    cache.bucket_mask = FIRST_BUCKETS - 1
    cache.buckets = <Page **>calloc(FIRST_BUCKETS, sizeof(Page *))
    # without memory for ghosts all pages come as young ones
    cache.ghosts = <Ghost *>calloc(FIRST_BUCKETS, sizeof(Ghost))
    return -1 if cache.buckets == NULL else 0


cdef void cache_free(PageCache *cache) noexcept nogil:
    cdef uint64_t at
    for at in range(cache.ring_count):
        page_release(cache.ring[at])
    free(cache.ring)
    free(cache.buckets)
    free(cache.ghosts)


cdef void cache_put(PageCache *cache, Page *page) noexcept nogil:
    cdef uint64_t bucket
    if cache_find(cache, page.unit, page.tag) != NULL or grow_ring(cache) < 0:
        return
    if cache.ring_count > cache.bucket_mask:
        grow_buckets(cache)
    bucket = (page.unit ^ page.tag) & cache.bucket_mask
    page.chain = cache.buckets[bucket]
    cache.buckets[bucket] = page
    page.place = <uint32_t>cache.ring_count
    cache.ring[cache.ring_count] = page
    cache.ring_count += 1
    cache.bytes_used += page.size + sizeof(Page) + page.counted
    if not ghost_take(cache, page):
        young_push(cache, page)
    page_retain(page)
    cache_trim(cache)
    while cache.young_size > young_max(cache):
        # nothing has to go for them: the first ones become what a walk leaves alone
        young_pop(cache)


cdef inline Ghost *ghost_place(PageCache *cache, const Page *page) noexcept nogil:
    return &cache.ghosts[(page.unit ^ page.tag) >> 32 & cache.bucket_mask & ~<uint64_t>1]


cdef inline uint32_t ghost_name(const Page *page) noexcept nogil:
    # 0 is no page's
    return <uint32_t>(page.unit ^ page.tag) | 1


cdef bint ghost_take(PageCache *cache, const Page *page) noexcept nogil:
    # whether it was evicted young and not long ago
    cdef Ghost *ghost
    if cache.ghosts == NULL:
        return False
    ghost = ghost_place(cache, page)
    if ghost.name != ghost_name(page):
        ghost += 1
        if ghost.name != ghost_name(page):
            return False
    ghost.name = 0
    return cache.evicted - ghost.number <= cache.ring_count


cdef void ghost_put(PageCache *cache, const Page *page) noexcept nogil:
    cdef Ghost *ghost
    if cache.ghosts == NULL:
        return
    ghost = ghost_place(cache, page)
    # in the place of the one that went before the other
    if cache.evicted - ghost.number < cache.evicted - ghost[1].number:
        ghost += 1
    ghost.name = ghost_name(page)
    ghost.number = cache.evicted


cdef inline uint64_t young_max(const PageCache *cache) noexcept nogil:
    return cache.bytes_max >> YOUNG_SHIFT


cdef void young_push(PageCache *cache, Page *page) noexcept nogil:
    page.is_young = 1
    page.younger = NULL
    if cache.young_first == NULL:
        cache.young_first = page
    else:
        cache.young_last.younger = page
    cache.young_last = page
    cache.young_count += 1
    cache.young_size += page.size + sizeof(Page)


cdef Page *young_pop(PageCache *cache) noexcept nogil:
    # the one that came first
    cdef Page *page = cache.young_first
    page.is_young = 0
    cache.young_first = page.younger
    cache.young_count -= 1
    cache.young_size -= page.size + sizeof(Page)
    return page


cdef void cache_recount(PageCache *cache, Page *page) noexcept nogil:
    cdef uint32_t size = page.added_size
    cache.bytes_used += <uint64_t>size - page.counted
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
    while True:
        if cache.young_count and (
            cache.young_size > young_max(cache)
            or cache.young_count == cache.ring_count
        ):
            page = young_pop(cache)
            if not page.recent:
                ghost_put(cache, page)
                evict_page(cache, page)
                return
            # read again: the hand looks after it from now on
            page.recent = 0
            continue
        page = hand_page(cache)
        if not page.is_young and not page.recent:
            evict_page(cache, page)
            # in its place is the page that came last, which nobody could read again yet
            cache.hand += 1
            return
        cache.hand += 1
        if page.is_young:
            continue
        page.recent = 0
        # the idle templates of a page that is in use go before another page does
        if templates_pass(cache, page) and cache.bytes_used <= cache.bytes_max:
            return


cdef Page *hand_page(PageCache *cache) noexcept nogil:
    if cache.hand >= cache.ring_count:
        cache.hand = 0
    return cache.ring[cache.hand]


cdef void evict_page(PageCache *cache, Page *page) noexcept nogil:
    cdef Page **place
    place = &cache.buckets[(page.unit ^ page.tag) & cache.bucket_mask]
    while place[0] != page:
        place = &place[0].chain
    place[0] = page.chain
    cache.evicted += 1
    cache.ring_count -= 1
    cache.ring[page.place] = cache.ring[cache.ring_count]
    cache.ring[page.place].place = page.place
    cache.bytes_used -= page.size + sizeof(Page) + page.counted
    if page.templates != NULL:
        cache.templates_size -= page.templates.size
    page_release(page)


cdef bint cache_admit(
    PageCache *cache, Page *page, Templates *templates, uint32_t size
) noexcept nogil:
    if cache_find(cache, page.unit, page.tag) != page:
        return False
    if cache.templates_size + size > templates_max(cache):
        return False
    if cache.bytes_used + size > cache.bytes_max:
        return False
    if page.templates == NULL:
        if templates.size:
            # they were the page's until the hand passed it: buried by now
            return False
        rango_templates_set(&page.templates, templates)
    elif page.templates != templates:
        return False
    templates.size += size
    cache.templates_size += size
    rango_size_add(&page.added_size, size)
    page.counted += size
    cache.bytes_used += size
    return True


cdef void templates_strip(PageCache *cache, Page *page) noexcept nogil:
    cdef Templates *templates = page.templates
    rango_templates_set(&page.templates, NULL)
    rango_size_add(&page.added_size, 0 - templates.size)
    cache.bytes_used -= templates.size
    page.counted -= templates.size
    cache.templates_size -= templates.size
    templates_bury(templates)


cdef bint templates_pass(PageCache *cache, Page *page) noexcept nogil:
    # the hand passes a page: its templates go if nobody has read any since the last time
    if page.templates == NULL:
        return False
    if page.templates.recent:
        page.templates.recent = 0
        return False
    templates_strip(cache, page)
    return True


cdef void cache_step(PageCache *cache) noexcept nogil:
    cdef Page *page
    cdef int _passed
    if cache.ring_count <= 1:
        return
    if cache.bytes_used + ROOM_MIN <= cache.bytes_max:
        # it is templates that are many: pages stay as recent as they are
        for _passed in range(PASSED_MAX):
            page = hand_page(cache)
            cache.hand += 1
            if page.templates != NULL:
                templates_pass(cache, page)
                return
        return
    page = hand_page(cache)
    if page.is_young:
        cache.hand += 1
    elif page.recent:
        page.recent = 0
        templates_pass(cache, page)
        cache.hand += 1
    else:
        evict_page(cache, page)


cdef void cache_fit(PageCache *cache) noexcept nogil:
    cdef uint64_t at = 0
    cache_trim(cache)
    while at < cache.ring_count and cache.templates_size > templates_max(cache):
        if cache.ring[at].templates != NULL:
            templates_strip(cache, cache.ring[at])
        at += 1


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
    # the old ones lay in other places
    free(cache.ghosts)
    cache.ghosts = <Ghost *>calloc(mask + 1, sizeof(Ghost))
    cache.bucket_mask = mask
    return 0
