"""What the engine knows of a collection and its indexes, as the compiled writes need it.

Invariants  Both are immutable but for `multikey`, which only ever turns true; the catalog makes new
            ones when something changes.
"""

cimport cython
from libc.stdint cimport uint32_t
from rango._ext.key cimport IndexPath


@cython.final
cdef class IndexInfo:
    """What a collection's index is: its name, path and tree."""

    def __init__(
        self, str name not None, uint32_t tree_id, str path not None, int direction, bint unique,
        bint multikey
    ):
        self.name = name
        self.tree_id = tree_id
        self.path = path
        self.direction = direction
        self.unique = unique
        self.multikey = multikey
        self.index_path = IndexPath(path)

    def __repr__(self) -> str:
        return f"IndexInfo({self.name!r}, path={self.path!r}, unique={self.unique})"


@cython.final
cdef class CollectionInfo:
    """What a collection is: its name, tree and indexes. Immutable; the catalog makes a new one when
    something changes.

    `indexes` can answer queries; `maintained` adds those that are still being filled.
    """

    def __init__(
        self, str name not None, uint32_t tree_id, tuple indexes not None, tuple maintained=None
    ):
        self.name = name
        self.tree_id = tree_id
        self.indexes = indexes
        self.maintained = indexes if maintained is None else maintained

    def __repr__(self) -> str:
        return f"CollectionInfo({self.name!r}, indexes={[index.name for index in self.indexes]})"
