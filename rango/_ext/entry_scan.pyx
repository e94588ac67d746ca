"""Scans of an index that ask its entries first: filters and documents made of keys.

Terms       entry, field, type byte: see the format's page on trees. plain: of an entry: the keys of
            the fields that are needed give their values back, bit for bit.
Invariants  What a plain entry says of its document is what the document says: a field that the
            entry calls missing is missing, every other has that very value. So a program that names
            only fields of the index decides on the entry, and a document is fetched only if it
            matches, or not at all. Entries that are not plain are decided by their documents.
Failure     Corrupted: a key that is none. Otherwise that of the scan.
Sources     ADR-0019; key_decode.pyx.
"""

from rango.errors import Corrupted

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset
from rango._ext.bson_element cimport (
    BSON_BINARY,
    BSON_BOOL,
    BSON_DATE,
    BSON_OBJECTID,
    BSON_STRING,
    BSON_TIMESTAMP,
)
from rango._ext.buffer cimport (
    Buffer,
    buffer_free,
    buffer_grow,
    buffer_init,
    buffer_put,
    buffer_put_byte,
)
from rango._ext.entries cimport ENTRY_ARRAY, ENTRY_MISSING, ENTRY_OPAQUE, INDEX_FIELDS_MAX
from rango._ext.filter cimport Program, raise_failure
from rango._ext.key cimport (
    CLASS_BINARY,
    CLASS_BOOL,
    CLASS_DATE,
    CLASS_OBJECTID,
    CLASS_STRING,
    CLASS_TIMESTAMP,
)
from rango._ext.key_decode cimport KeyReader, key_reader, key_value
from rango._ext.match cimport program_run
from rango._ext.layout cimport INDEX_VALUE_SIZE, RECORD_FLAG_TOMBSTONE, RECORD_FLAGS
from rango._ext.record cimport value_decode
from rango._ext.scan cimport Entry, Scan
from rango._ext.span cimport store_u32
from rango._ext.view cimport Found, found_document, found_release

cdef enum:
    KEY_SIZE_MAX = 1024             # limits.KEY_SIZE_BYTES_MAX: a key of this size was shortened
    BATCH = 256


cdef int raise_memory() except -1 with gil:
    raise MemoryError


cdef int raise_corrupted() except -1 with gil:
    raise Corrupted("index entry", "its key does not hold the fields of its index")


cdef uint8_t id_type(uint8_t kind) noexcept nogil:
    # the type of an `_id` whose class tells it; 0: numbers, which come in several types, and others
    if kind == CLASS_OBJECTID:
        return BSON_OBJECTID
    if kind == CLASS_STRING:
        return BSON_STRING
    if kind == CLASS_BINARY:
        return BSON_BINARY
    if kind == CLASS_DATE:
        return BSON_DATE
    if kind == CLASS_BOOL:
        return BSON_BOOL
    return BSON_TIMESTAMP if kind == CLASS_TIMESTAMP else 0


@cython.final
cdef class EntryScan:
    """A scan of an index whose program, if any, names fields of the index only."""

    def __cinit__(
        self, Scan scan not None, tuple names not None, tuple shown not None, bint with_id,
        Program program
    ):
        # names: of the index's fields, None for one that is not needed; shown: those returned
        cdef int at
        assert len(names) == len(shown) <= INDEX_FIELDS_MAX
        self.scan = scan
        self.shown = shown
        self.with_id = with_id
        self.program = program
        self.field_count = <int>len(names)
        self.held = [None if name is None else name.encode() + b"\0" for name in names]
        for at in range(self.field_count):
            self.names[at] = NULL
            if self.held[at] is not None:
                self.names[at] = PyBytes_AS_STRING(self.held[at])
                self.name_sizes[at] = <size_t>PyBytes_GET_SIZE(self.held[at])
        buffer_init(&self.values)
        buffer_init(&self.document)

    def __dealloc__(self):
        buffer_free(&self.values)
        buffer_free(&self.document)

    cdef int _read(self, const Entry *entry, size_t split) except -1 nogil:
        # the values of the entry: 1, or 0 if it is not plain
        cdef KeyReader reader = key_reader(entry.key, split)
        cdef const uint8_t *types = entry.value + INDEX_VALUE_SIZE
        cdef int at
        cdef int found
        if entry.overflow or split >= KEY_SIZE_MAX:
            return 0
        if entry.value_size < INDEX_VALUE_SIZE + <size_t>self.field_count:
            return 0
        for at in range(self.field_count):
            if self.names[at] != NULL and (types[at] == ENTRY_ARRAY or types[at] == ENTRY_OPAQUE):
                return 0
        self.values.size = 0
        for at in range(self.field_count):
            self.starts[at] = self.values.size
            self.types[at] = types[at]
            found = key_value(&reader, types[at], &self.values)
            if found < 0:
                raise_corrupted()
            self.is_there[at] = found == 1 and types[at] != ENTRY_MISSING
        self.starts[self.field_count] = self.values.size
        return self._read_id(entry, split) if self.with_id else 1

    cdef int _read_id(self, const Entry *entry, size_t split) except -1 nogil:
        cdef KeyReader reader = key_reader(entry.key + split, entry.key_size - split)
        self.id_type = id_type(entry.key[split])
        if self.id_type == 0 or entry.key_size - split >= KEY_SIZE_MAX:
            return 0
        if key_value(&reader, self.id_type, &self.values) != 1:
            raise_corrupted()
        return 1

    cdef int _matches(self) except -1 nogil:
        # the program's answer about the entry that was read
        cdef Buffer *out = &self.document
        cdef int at
        cdef int answer
        if self.program is None:
            return 1
        out.size = 0
        if buffer_grow(out, 4) == NULL:
            raise_memory()
        for at in range(self.field_count):
            if self.names[at] != NULL and self.is_there[at]:
                if (
                    buffer_put_byte(out, self.types[at]) < 0
                    or buffer_put(out, self.names[at], self.name_sizes[at]) < 0
                    or buffer_put(
                        out, self.values.data + self.starts[at],
                        self.starts[at + 1] - self.starts[at],
                    ) < 0
                ):
                    raise_memory()
        if buffer_put_byte(out, 0) < 0:
            raise_memory()
        store_u32(out.data, <uint32_t>out.size)
        answer = program_run(&self.program.code.program, NULL, out.data, out.size)
        if answer < 0:
            with gil:
                raise_failure(answer, "index entry")
        return answer

    cdef int _next(self, Found *out, bint wants_record) except -1 nogil:  # hot
        # the next entry of a document that matches: 1, or 0 at the end. `is_plain`: the values were
        # read; else, or if records are wanted, `out` holds the record (release it).
        cdef Entry entry
        cdef size_t split
        cdef int answer
        while self.scan.entry(&entry):
            split = self.scan._split(&entry)
            self.is_plain = self._read(&entry, split) == 1
            if self.is_plain and self._matches() == 0:
                continue
            if self.is_plain and not wants_record:
                if self.scan.is_unique and not self.scan._is_fresh(
                    entry.key + split, entry.key_size - split
                ):
                    continue
                self.scan.matched += 1
                return 1
            if self.scan._document(&entry, out) == 0:
                continue
            if out.value[RECORD_FLAGS] == RECORD_FLAG_TOMBSTONE:
                found_release(out)
                continue
            self.scan.records_examined += 1
            if not self.is_plain and self.program is not None:
                answer = self.program.run(out.value, out.size)
                if answer <= 0:
                    found_release(out)
                    if answer < 0:
                        with gil:
                            raise_failure(answer, "record")
                    continue
            self.scan.matched += 1
            return 1
        return 0

    cdef dict _shown(self):
        # the fields that are returned, of the entry that was read
        cdef dict found = {}
        cdef int at
        if self.with_id:
            found["_id"] = value_decode(
                self.id_type, self.values.data + self.starts[self.field_count],
                self.values.size - self.starts[self.field_count],
            )
        for at in range(self.field_count):
            if self.is_there[at] and self.shown[at] is not None:
                found[self.shown[at]] = value_decode(
                    self.types[at], self.values.data + self.starts[at],
                    self.starts[at + 1] - self.starts[at],
                )
        return found

    def next_shown(self, Py_ssize_t limit) -> list:
        """At most `limit` more: a document of the fields shown, or where the entry does not tell
        them, the record as bytes. An empty list at the end.
        """
        cdef list items = []
        cdef Found found
        cdef int is_there
        memset(&found, 0, sizeof(Found))
        if self.scan.done or not self._enter():
            return items
        try:
            while len(items) < limit:
                with nogil:
                    is_there = self._next(&found, False)
                if is_there == 0:
                    self.scan._end()
                    break
                if self.is_plain:
                    items.append(self._shown())
                    continue
                items.append(PyBytes_FromStringAndSize(
                    <const char *>found.value, <Py_ssize_t>found.size
                ))
                found_release(&found)
        except BaseException:
            self.scan._end()
            raise
        finally:
            self.scan.is_running = False
        return items

    def next_documents(self, Py_ssize_t limit) -> list:
        """At most `limit` more documents, decoded; an empty list at the end."""
        return self._fetch(limit, True)

    def next_records(self, Py_ssize_t limit) -> list:
        """At most `limit` more records as bytes; an empty list at the end."""
        return self._fetch(limit, False)

    cdef list _fetch(self, Py_ssize_t limit, bint is_decoded):
        cdef list items = []
        cdef Found found
        cdef int is_there
        memset(&found, 0, sizeof(Found))
        if self.scan.done or not self._enter():
            return items
        try:
            while len(items) < limit:
                with nogil:
                    is_there = self._next(&found, True)
                if is_there == 0:
                    self.scan._end()
                    break
                try:
                    if is_decoded:
                        items.append(found_document(
                            self.scan.pager, &found, self.scan.names, self.scan.is_kept
                        ))
                    else:
                        items.append(PyBytes_FromStringAndSize(
                            <const char *>found.value, <Py_ssize_t>found.size
                        ))
                finally:
                    found_release(&found)
        except BaseException:
            self.scan._end()
            raise
        finally:
            self.scan.is_running = False
        return items

    cdef bint _enter(self) except -1:
        # False at the end
        self.scan.enter()
        if self.scan.taken < 0 and self.scan.start() == 0:
            self.scan._end()
            self.scan.is_running = False
            return False
        return True

    def count(self) -> int:
        """Run to the end and return how many documents matched in all."""
        cdef Found found
        memset(&found, 0, sizeof(Found))
        if self.scan.done or not self._enter():
            return self.scan.matched
        try:
            with nogil:
                while self._next(&found, False):
                    if not self.is_plain:
                        found_release(&found)
        finally:
            self.scan._end()
            self.scan.is_running = False
        return self.scan.matched
