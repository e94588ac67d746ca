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
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from rango._ext.bson_set cimport SetFields
from rango._ext.buffer cimport Buffer, buffer_free, buffer_init
from rango._ext.entries cimport INDEX_FIELDS_MAX, MARK_SHORTENED, EntryMaker
from rango._ext.filter cimport raise_failure
from rango._ext.match cimport program_run
from rango._ext.span cimport load_u16

from rango._ext.filter import compile_filter

MARKS_ALL = (<uint64_t>1 << INDEX_FIELDS_MAX) - 1


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
        self.maker = EntryMaker(fields, sparse)

    cdef int make(
        self, const uint8_t *bson, size_t size, Buffer *out, uint64_t *marks
    ) except -1:  # hot
        cdef int answer = 1
        out.size = 0
        if self.program is not None:
            answer = program_run(&self.program.code.program, NULL, bson, size)
            if answer < 0:
                raise_failure(answer, "document")
        return self.maker.entries(bson, size, out, marks) if answer else 0

    cdef bint reads(self, const SetFields *changed) except -1:  # hot
        return self.program is not None or self.maker.reads(changed)

    def entries(self, bytes bson not None) -> list[tuple[bytes, bytes]]:
        """The entries of a document: keys, ascending, each with the type bytes of its fields.

        Raises InvalidDocument (two arrays side by side).
        """
        cdef Buffer out
        cdef uint64_t marks = 0
        cdef size_t at = 0
        cdef size_t count = len(self.fields)
        cdef size_t size
        cdef list entries = []
        buffer_init(&out)
        try:
            self.make(
                <const uint8_t *>PyBytes_AS_STRING(bson), <size_t>PyBytes_GET_SIZE(bson), &out,
                &marks
            )
            while at < out.size:
                size = load_u16(out.data + at)
                at += 2
                entries.append((
                    out.data[at:at + size], out.data[at + size:at + size + count]
                ))
                at += size + count
        finally:
            buffer_free(&out)
        return entries

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
