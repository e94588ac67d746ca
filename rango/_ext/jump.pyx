"""A store that goes on from a generation, whatever it knew before: the log in between is gone.

Terms       generation, overlay: see the glossary.
Invariants  I-16: all that the store knew is durable and part of the generation; views that others
            hold are not touched.
Failure     MemoryError; the store is as it was.
Sources     architecture section 3 ("prefers to re-root at a newer generation"); ADR-0032.
"""

from libc.stdint cimport uint32_t
from rango._ext.store cimport Store
from rango._ext.view cimport Generation, View


def store_jump(Store store not None, Generation generation not None, catalog_of) -> None:
    """Let a generation be all that is committed, and all that may be seen.

    catalog_of(marks): its catalog.
    """
    cdef View view = store._view_of(generation)
    cdef uint32_t tree
    for tree in range(generation.tree_count):
        if generation.trees[tree].marks:
            store._mark(tree, generation.trees[tree].marks)
    view.catalog = catalog_of(store.marks)
    store.builder.rename(generation)
    store.head = view
    store.seen = view
    store.pending.clear()
    store.reached = generation.ordinal
