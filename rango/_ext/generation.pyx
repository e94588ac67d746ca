"""Generations: what a superblock slot names; how one is read.

Terms       generation, unit: see the glossary.
Invariants  I-5: the bitmap of a generation marks exactly what it reaches.
Failure     A catalog or bitmap that does not fit together is PageCorrupted.
Sources     ADR-0006; storage-notes, scenario 4.
"""

from rango.errors import PageCorrupted

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from rango._ext.btree cimport (
    TREE_HEIGHT_MAX,
    Tree,
    TreeCursor,
    tree_cell,
    tree_close,
    tree_next,
    tree_seek,
)
from rango._ext.entries cimport INDEX_FIELDS_MAX
from rango._ext.layout cimport (
    BITMAP_PIECE_SIZE,
    CATALOG_ENTRIES,
    CATALOG_FLAG_MARKS,
    CATALOG_FLAG_MULTIKEY,
    CATALOG_FLAGS,
    CATALOG_HEADER_SIZE,
    CATALOG_HEIGHT,
    CATALOG_LINK,
    CATALOG_LIVE,
    CATALOG_MARKS_SIZE,
    LINK_SIZE,
    PAGE_BITMAP,
    PAGE_ROOTS,
    SLOT_UNITS,
)
from rango._ext.page cimport leaf_is_overflow, leaf_key, leaf_value
from rango._ext.page_cache cimport Page, page_bytes, page_release
from rango._ext.pager cimport Pager
from rango._ext.span cimport load_u64
from rango._ext.units cimport units_mark, units_resize
from rango._ext.view cimport TREE_PREFIX, Generation, tree_of


def generation_empty() -> Generation:
    """What a new database starts from: generation 0, no trees, both slots in use."""
    cdef Generation generation = Generation(0, 0)
    units_resize(&generation.used, SLOT_UNITS)
    units_mark(&generation.used, 0, SLOT_UNITS, True)
    return generation


cdef size_t marks_read(
    Pager pager, const uint8_t *value, size_t size, uint64_t *marks
) except 0:
    # the marks of a catalog value; where its definition starts
    marks[0] = 0
    if value[CATALOG_FLAGS] & CATALOG_FLAG_MULTIKEY:
        marks[0] = (<uint64_t>1 << INDEX_FIELDS_MAX) - 1
    if not value[CATALOG_FLAGS] & CATALOG_FLAG_MARKS:
        return CATALOG_HEADER_SIZE
    if size < CATALOG_HEADER_SIZE + CATALOG_MARKS_SIZE:
        raise PageCorrupted(pager.path, "a catalog entry is malformed")
    marks[0] |= load_u64(value + CATALOG_HEADER_SIZE)
    return CATALOG_HEADER_SIZE + CATALOG_MARKS_SIZE


def generation_load(
    Pager pager not None, uint64_t number, uint64_t ordinal, bytes catalog_link not None,
    int catalog_height, list bitmap_links not None, uint64_t file_units, uint32_t next_tree
) -> tuple:
    """The generation that a slot names, and its definitions [(tree id, BSON)].

    Raises PageCorrupted.
    """
    cdef Generation generation = Generation(number, ordinal)
    cdef list definitions = []
    cdef TreeCursor cursor
    cdef const uint8_t *cell
    cdef const uint8_t *key
    cdef const uint8_t *value
    cdef size_t key_size
    cdef size_t value_size
    cdef size_t at
    cdef Tree *tree
    if not 0 <= catalog_height <= TREE_HEIGHT_MAX:
        raise PageCorrupted(pager.path, f"the slot claims a catalog of {catalog_height} levels")
    memcpy(generation.catalog.link, PyBytes_AS_STRING(catalog_link), LINK_SIZE)
    generation.catalog.height = catalog_height
    generation.bitmap_links = bitmap_links
    generation.reserve(next_tree)
    bitmap_load(pager, generation, file_units)
    cursor.height = 0
    try:
        more = tree_seek(pager, &generation.catalog, NULL, 0, &cursor)
        while more:
            cell = tree_cell(&cursor)
            key = leaf_key(cell, &key_size)
            value = leaf_value(cell, &value_size)
            if (
                key_size != TREE_PREFIX
                or value_size < CATALOG_HEADER_SIZE
                or leaf_is_overflow(cell)
                or tree_of(key) >= next_tree
                or value[CATALOG_HEIGHT] > TREE_HEIGHT_MAX
            ):
                raise PageCorrupted(pager.path, "a catalog entry is malformed")
            generation.reserve(tree_of(key) + 1)
            tree = generation.tree(tree_of(key))
            memcpy(tree.link, value + CATALOG_LINK, LINK_SIZE)
            tree.height = value[CATALOG_HEIGHT]
            tree.entries = load_u64(value + CATALOG_ENTRIES)
            tree.live = load_u64(value + CATALOG_LIVE)
            at = marks_read(pager, value, value_size, &tree.marks)
            definitions.append((tree_of(key), value[at:value_size]))
            more = tree_next(pager, &cursor)
    finally:
        tree_close(&cursor)
    generation.catalog.entries = len(definitions)
    return generation, definitions


def generation_units_only(
    Pager pager not None, uint64_t number, list bitmap_links not None, uint64_t file_units
) -> Generation:
    """A generation that is only known by the units that it uses.

    Raises PageCorrupted if its bitmap is not whole.
    """
    cdef Generation generation = Generation(number, 0)
    generation.bitmap_links = bitmap_links
    bitmap_load(pager, generation, file_units)
    return generation


cdef int bitmap_load(Pager pager, Generation generation, uint64_t file_units) except -1:
    cdef uint64_t place = 0
    cdef uint64_t size = (file_units + 7) >> 3
    cdef Page *page
    units_resize(&generation.used, file_units)
    for link in generation.bitmap_links:
        page = pager.read(<const uint8_t *>PyBytes_AS_STRING(link))
        try:
            if page.kind != PAGE_BITMAP or place >= size or page.size < min(
                size - place, <uint64_t>BITMAP_PIECE_SIZE
            ):
                raise PageCorrupted(pager.path, "the bitmap is shorter than the file")
            memcpy(
                generation.used.bits + place, page_bytes(page),
                min(size - place, <uint64_t>BITMAP_PIECE_SIZE)
            )
        finally:
            page_release(page)
        place += BITMAP_PIECE_SIZE
    if place < size:
        raise PageCorrupted(pager.path, "the bitmap is shorter than the file")
    return 0


def roots_page(Pager pager not None, bytes link not None) -> bytes:
    """What the page of kept roots says. PageCorrupted."""
    cdef Page *page
    if len(link) != LINK_SIZE:
        raise PageCorrupted(pager.path, "the link of the page of kept roots is malformed")
    page = pager.read(<const uint8_t *>PyBytes_AS_STRING(link))
    try:
        if page.kind != PAGE_ROOTS:
            raise PageCorrupted(pager.path, "the slot's kept roots are a page of another kind")
        return (<const char *>page_bytes(page))[:page.size]
    finally:
        page_release(page)


def generation_slot(Generation generation not None) -> dict:
    """What the superblock slot of this generation says about its trees."""
    return {
        "generation": generation.number,
        "ordinal": generation.ordinal,
        "catalog_link": generation.catalog.link[:LINK_SIZE],
        "catalog_height": generation.catalog.height,
        "bitmap_links": generation.bitmap_links,
        "roots_link": generation.roots_link,
        "file_units": generation.used.count,
    }


def generation_trees(Generation generation not None) -> dict:
    """Tree id -> (root link, height, entries, live) of every tree that is not empty."""
    return {
        tree: (
            generation.trees[tree].link[:LINK_SIZE], generation.trees[tree].height,
            generation.trees[tree].entries, generation.trees[tree].live,
        )
        for tree in range(generation.tree_count)
        if generation.trees[tree].height
    }


def generation_units(Generation generation not None) -> bytes:
    """The bitmap, as stored: one bit a unit, lowest first."""
    return generation.used.bits[:(generation.used.count + 7) >> 3]
