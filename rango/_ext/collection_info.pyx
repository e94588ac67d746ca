"""What the engine knows of a collection and its indexes, as the compiled writes need it.

Terms       marks: what the documents that an index has seen did to it: one bit for each of its
            fields, in order, if an array lay on the path of that field, and MARK_SHORTENED if a
            key was too long to be kept whole.
Invariants  Both classes are immutable but for `marks`, whose bits are only ever set; the catalog
            makes new ones when something changes.
Failure     InvalidName, LimitExceeded: a path that cannot be one. InvalidFilter: a partial filter
            that cannot be compiled.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from rango._ext.key cimport IndexPath

from rango._ext.filter import compile_filter

MARKS_ALL = <uint64_t>FIELDS_ALL & 0xffffffff


@cython.final
cdef class IndexInfo:
    """What a collection's index is: its name, fields, options and tree.

    `path` and `direction` are those of its first field. `multikey`: some document has several
    entries, or a key that was shortened, so that the index gives no order, and two conditions on
    one of its paths must not narrow each other. `multikey_paths` are the fields that met an array.
    """

    def __init__(
        self, str name not None, uint32_t tree_id, tuple fields not None, *, bint unique=False,
        bint sparse=False, partial=None, expire_after_s=None, bint hidden=False, uint64_t marks=0
    ):
        self.name = name
        self.tree_id = tree_id
        self.fields = fields
        self.path, self.direction = fields[0]
        self.unique = unique
        self.sparse = sparse
        self.partial = partial
        self.expire_after_s = expire_after_s
        self.hidden = hidden
        self.marks = marks
        self.program = None if partial is None else compile_filter(partial)
        self.index_path = IndexPath(self.path)

    @property
    def multikey(self) -> bool:
        return self.marks != 0

    @property
    def shortened(self) -> bool:
        """Some key was too long to be kept whole: a hash stands for its end."""
        return self.marks & MARK_SHORTENED != 0

    @property
    def multikey_paths(self) -> frozenset[str]:
        return frozenset([
            path for at, (path, _direction) in enumerate(self.fields) if self.marks >> at & 1
        ])

    def __repr__(self) -> str:
        return f"IndexInfo({self.name!r}, fields={self.fields!r}, unique={self.unique})"


@cython.final
cdef class CollectionInfo:
    """What a collection is: its name, tree and indexes. Immutable; the catalog makes a new one when
    something changes.

    `indexes` can answer queries; `ready` adds those that are hidden from them; `maintained` adds
    those that are still being filled.
    """

    def __init__(
        self, str name not None, uint32_t tree_id, tuple indexes not None, tuple maintained=None,
        tuple ready=None
    ):
        self.name = name
        self.tree_id = tree_id
        self.indexes = indexes
        self.ready = indexes if ready is None else ready
        self.maintained = self.ready if maintained is None else maintained

    def __repr__(self) -> str:
        return f"CollectionInfo({self.name!r}, indexes={[index.name for index in self.indexes]})"
