"""A snapshot on top of a newer generation.

Terms       generation, overlay, checkpoint: see the glossary.
Invariants  I-16: the snapshot says the same before and after; what the generation holds already
            leaves the overlay.
Failure     MemoryError; the old snapshot is not touched.
Sources     ADR-0006.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from rango._ext.btree cimport Tree
from rango._ext.overlay cimport (
    Bloom,
    Cell,
    OverlayCursor,
    OverlayNode,
    cell_key,
    cell_release,
    cell_retain,
    overlay_next,
    overlay_owner_next,
    overlay_put,
    overlay_release,
    overlay_seek,
)
from rango._ext.view cimport Counts, Generation, View


cdef View view_rebased(View old, Generation generation, Bloom bloom):
    # the same snapshot on top of a generation that holds a part of it
    cdef OverlayCursor cursor
    cdef Cell *cell
    cdef OverlayNode *root = NULL
    cdef OverlayNode *grown
    cdef uint64_t owner = overlay_owner_next()
    cdef View view = View.__new__(View)
    view.ordinal = old.ordinal
    view.generation = generation
    view.pager = old.pager
    view.bloom = bloom
    view.known = old.known
    view.trees = old.trees
    cell = overlay_seek(&cursor, old.root, NULL, 0)
    while cell != NULL:
        if cell.ordinal > generation.ordinal:
            cell_retain(cell)
            bloom.add(cell_key(cell), cell.key_size)
            grown = overlay_put(root, owner, cell, NULL)
            if grown == NULL:
                cell_release(cell)
                overlay_release(root)
                raise MemoryError
            root = grown
        cell = overlay_next(&cursor)
    view.root = root
    view.counts = counts_after(old, generation)
    return view


cdef Counts counts_after(View head, Generation generation):
    # documents are base + counts before and after, so the difference of the bases moves over
    cdef Counts counts = Counts()
    cdef uint32_t tree
    cdef Tree *base
    cdef int64_t was
    cdef int64_t now
    cdef uint32_t count = max(generation.tree_count, head.generation.tree_count)
    for tree in range(max(head.counts.size, count)):
        base = head.generation.tree(tree)
        was = (0 if base == NULL else <int64_t>base.live) + head.counts.get(tree)
        base = generation.tree(tree)
        now = 0 if base == NULL else <int64_t>base.live
        if was != now:
            counts.add(tree, was - now)
    return counts
