"""Moves page images from the end of the data file to free units lower down, so that it can shrink.

Terms       unit, page image, link, generation: see the glossary. Limit: the unit that the file
            shall end at; an image that reaches beyond it is to move.
Invariants  I-2: copy-on-write as in any checkpoint: a moved image goes to units that no kept
            generation uses, and the path to it is written anew. I-5. The trees say the same before
            and after; the ordinal stays.
States      one call makes one generation and moves at most `budget` units; call it again until it
            moves none. What it frees is free in the next generation but one.
Failure     as a build: nothing names what was written.
Sources     ADR-0032; storage-notes, details: free space as a bitmap.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from rango._ext.btree cimport Tree
from rango._ext.builder cimport Builder
from rango._ext.layout cimport (
    LINK_KIND, LINK_SIZE, LINK_UNIT, LINK_UNITS, OVERFLOW_LINKS, PAGE_BRANCH, PAGE_OVERFLOW,
    SLOT_UNITS,
)
from rango._ext.merge cimport TreeMerge
from rango._ext.page cimport branch_link, leaf_is_overflow, leaf_value, page_cell, page_count
from rango._ext.page_cache cimport Page, page_bytes, page_release
from rango._ext.pager cimport Pager
from rango._ext.span cimport load_u48
from rango._ext.units cimport units_copy, units_find
from rango._ext.view cimport Generation

ctypedef struct Move:
    uint64_t limit
    uint64_t budget
    uint64_t moved              # units that left the end of the file


cdef int raise_memory() except -1 with gil:
    raise MemoryError


cdef bint is_movable(Pager pager, Move *move, const uint8_t *link) except -1 nogil:
    # it lies beyond the limit, and there is room before it
    cdef uint64_t units = link[LINK_UNITS]
    if load_u48(link + LINK_UNIT) + units <= move.limit or move.moved + units > move.budget:
        return False
    return units_find(&pager.used, &pager.kept, SLOT_UNITS, move.limit, units) < move.limit


cdef int image_move(
    Pager pager, Move *move, const uint8_t *link, const uint8_t *data, size_t size, bint is_moved,
    uint8_t *out
) except -1 nogil:
    # the page once more, at the lowest place that there is
    cdef uint8_t kind = link[LINK_KIND]
    pager.free_link(link)
    pager.search = SLOT_UNITS
    pager.write(kind, data, size, kind != PAGE_BRANCH, kind != PAGE_OVERFLOW, out)
    if is_moved:
        move.moved += link[LINK_UNITS]
    return 0


cdef int overflow_move(
    Pager pager, Move *move, const uint8_t *link, uint8_t *out
) except -1 nogil:
    cdef Page *page
    if not is_movable(pager, move, link):
        return 0
    page = pager.read(link)
    try:
        image_move(pager, move, link, page_bytes(page), page.size, True, out)
    finally:
        page_release(page)
    return 1


cdef int page_move(
    Pager pager, Move *move, const uint8_t *link, int height, uint8_t *out
) except -1 nogil:
    # 1: this page, or one below it, has moved, and `out` is its link now
    cdef Page *page = pager.read(link)
    cdef uint8_t *copy = NULL
    cdef const uint8_t *data = page_bytes(page)
    cdef const uint8_t *cell
    cdef const uint8_t *value
    cdef size_t size
    cdef size_t at
    cdef int slot
    cdef int changed = 0
    cdef bint is_moved
    try:
        copy = <uint8_t *>malloc(page.size)
        if copy == NULL:
            raise_memory()
        memcpy(copy, data, page.size)
        for slot in range(page_count(data)):
            if move.moved >= move.budget:
                break
            cell = page_cell(data, slot)
            if height > 1:
                at = <size_t>(branch_link(cell) - data)
                changed |= page_move(pager, move, data + at, height - 1, copy + at)
            elif leaf_is_overflow(cell):
                value = leaf_value(cell, &size)
                at = OVERFLOW_LINKS
                while at + LINK_SIZE <= size:
                    changed |= overflow_move(
                        pager, move, value + at, copy + (value + at - data))
                    at += LINK_SIZE
        is_moved = is_movable(pager, move, link)
        if changed or is_moved:
            image_move(pager, move, link, copy, page.size, is_moved, out)
            changed = 1
    finally:
        free(copy)
        page_release(page)
    return changed


def generation_relocated(
    Builder builder not None, Generation old not None, dict definitions not None, uint64_t number,
    uint64_t limit, uint64_t budget
) -> tuple:
    """(generation `number`, units moved): what `old` holds, with up to `budget` units of it moved
    from behind `limit` to before it. `definitions`: those of `old`.

    Nothing names it yet. Under the checkpoint lock. Raises LowDisk, IoFailed, PageCorrupted.
    """
    cdef Generation new = Generation(number, old.ordinal)
    cdef Pager pager = builder.pager
    cdef Move move
    cdef set changed = set()
    cdef uint8_t link[LINK_SIZE]
    cdef uint32_t tree
    cdef int found
    move.limit = limit
    move.budget = budget
    move.moved = 0
    builder._begin_build(old)
    new.reserve(old.tree_count)
    if old.tree_count:
        memcpy(new.trees, old.trees, old.tree_count * sizeof(Tree))
    new.catalog = old.catalog
    for tree in range(old.tree_count):
        if not old.trees[tree].height or move.moved >= budget:
            continue
        with nogil:
            found = page_move(pager, &move, old.trees[tree].link, old.trees[tree].height, link)
        if found:
            memcpy(new.trees[tree].link, link, LINK_SIZE)
            changed.add(tree)
    if changed or old.catalog.height and is_movable(pager, &move, old.catalog.link):
        # the catalog is small: all of it is written anew
        changed.update(definitions)
    pager.search = SLOT_UNITS
    builder._merge_catalog(
        TreeMerge(pager, builder.page_size), old, new, definitions, set(), changed)
    pager.search = SLOT_UNITS
    new.roots_link = old.roots_link
    builder._write_bitmap(old, new)
    units_copy(&new.used, &pager.used)
    return new, move.moved
