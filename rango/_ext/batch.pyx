"""One commit in the making.

Terms       mutation, overlay, transaction, revision: see the glossary. Marks: see collection_info.
Invariants  I-7: a mutation carries the post-image and the index keys removed and added, so that
            applying it reads nothing. I-8: a document and its index entries are one mutation.
            Everything that can be refused (a duplicate key, a limit) is refused before the first
            byte of a mutation is written; if memory runs out in the middle the batch is broken and
            can only be dropped.
Layout      layout.pxd COMMIT_*, MUTATION_*, INDEX_ENTRY_*, RECORD_*;
            docs/reference/format.md#commit.
States      open -> committed | dropped. Whoever uses a batch holds the append lock, so
            first_ordinal cannot move.
Failure     DuplicateKey and LimitExceeded leave the batch as it was before the call.
Sources     ADR-0003.
"""

from rango.errors import DuplicateKey, InvalidDocument, LimitExceeded, RangoError
from rango.limits import TRANSACTION_SIZE_BYTES_MAX

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from rango._ext.bson_element cimport Element
from rango._ext.bson_set cimport SetFields
from rango._ext.buffer cimport Buffer, buffer_free, buffer_grow, buffer_put
from rango._ext.clock cimport Clock
from rango._ext.collection_info cimport CollectionInfo, IndexInfo
from rango._ext.entries cimport INDEX_FIELDS_MAX
from rango._ext.key cimport key_append, key_cap
from rango._ext.layout cimport (
    COMMIT_COUNT, COMMIT_HEADER_SIZE, COMMIT_VERSION, COMMIT_VERSION_ACTORS,
    INDEX_ENTRY_HEADER_SIZE, INDEX_ENTRY_KEY_SIZE, INDEX_ENTRY_OP, INDEX_ENTRY_SPLIT,
    INDEX_ENTRY_TREE, INDEX_PUT, INDEX_REMOVE, INDEX_VALUE_SIZE, MUTATION_DELETE, MUTATION_FORGET,
    MUTATION_HEADER_SIZE, MUTATION_INDEX_COUNT, MUTATION_INSERT, MUTATION_KEY_SIZE, MUTATION_OP,
    MUTATION_REPLACE, MUTATION_SIZE, MUTATION_TREE, MUTATION_VALUE_SIZE, RECORD_FLAG_TOMBSTONE,
    RECORD_FLAGS, RECORD_ORDINAL, TREE_CATALOG,
)
from rango._ext.overlay cimport CELL_TOMBSTONE, overlay_owner_next, loans_end
from rango._ext.page cimport key_compare
from rango._ext.record cimport (
    RecordHeader, document_decode, document_find, record_header_read, record_header_write,
)
from rango._ext.scratch cimport Scratch, buffer_lend, buffer_return, scratch_shrink
from rango._ext.span cimport load_u16, load_u64, store_u16, store_u32
from rango._ext.view cimport (
    TREE_PREFIX, Found, View, append_prefix, found_release, overlay_apply, prefix_write,
)

cdef uint64_t BODY_SIZE_MAX = TRANSACTION_SIZE_BYTES_MAX


@cython.final
@cython.freelist(4)
cdef class Batch:
    """Mutations that will be one commit. Made by Store.begin under the append lock."""

    def __dealloc__(self):
        if self.scratch is not None:
            buffer_return(&self.scratch.body, &self.body)
            buffer_return(&self.scratch.key, &self.key)
            buffer_return(&self.scratch.entry, &self.entry)
        else:
            # the garbage collector was here first
            buffer_free(&self.body)
            buffer_free(&self.key)
            buffer_free(&self.entry)

    # --- doors

    def insert(self, CollectionInfo info not None, bytes bson not None, uint64_t now_ms) -> None:
        """A new document. Raises DuplicateKey, LimitExceeded before anything changes."""
        self.insert_bytes(
            info, <const uint8_t *>PyBytes_AS_STRING(bson), <size_t>PyBytes_GET_SIZE(bson), now_ms)

    cdef int insert_bytes(
            self, CollectionInfo info, const uint8_t *data, size_t size, uint64_t now_ms) except -1:
        cdef Found found
        cdef uint64_t previous = 0
        cdef bint is_live = False
        self._start(info, data, size)
        if self.work.find(self.key.data, self.key.size, &found):
            is_live = found.value[RECORD_FLAGS] != RECORD_FLAG_TOMBSTONE
            previous = load_u64(found.value + RECORD_ORDINAL)
            found_release(&found)
            if is_live:
                raise DuplicateKey("_id_", {"_id": document_decode(data, size)["_id"]})
        self._keys(info, data, size, self.fresh, True)
        self._check_unique(info, data, size)
        self._counted(info.tree_id, 0)
        self._mutation(MUTATION_INSERT, info, data, size, previous, now_ms, False)
        return self._counted(info.tree_id, 1)

    def replace(self, CollectionInfo info not None, bytes old_record not None, bytes bson not None,
                uint64_t now_ms) -> None:
        """Another version of a document; old_record is the one that it replaces.

        Raises as insert does.
        """
        cdef RecordHeader old
        read_header(old_record, &old)
        self.replace_bytes(
            info, &old, <const uint8_t *>PyBytes_AS_STRING(bson), <size_t>PyBytes_GET_SIZE(bson),
            now_ms, NULL)

    cdef int replace_bytes(
            self, CollectionInfo info, const RecordHeader *old, const uint8_t *data, size_t size,
            uint64_t now_ms, const SetFields *changed) except -1:
        self._start(info, data, size)
        self._keys(info, old.bson, old.bson_size, self.stale, False, changed)
        self._keys(info, data, size, self.fresh, True, changed)
        self._check_unique(info, data, size)
        return self._mutation(MUTATION_REPLACE, info, data, size, old.ordinal, now_ms, True)

    def delete(self, CollectionInfo info not None, bytes old_record not None,
               uint64_t now_ms) -> None:
        """A document becomes a tombstone."""
        cdef RecordHeader old
        read_header(old_record, &old)
        self.delete_bytes(info, &old, now_ms)

    cdef int delete_bytes(
            self, CollectionInfo info, const RecordHeader *old, uint64_t now_ms) except -1:
        self._start(info, old.bson, old.bson_size)
        self._keys(info, old.bson, old.bson_size, self.stale, False)
        self._counted(info.tree_id, 0)
        self._mutation(MUTATION_DELETE, info, NULL, 0, old.ordinal, now_ms, True)
        return self._counted(info.tree_id, -1)

    def forget(self, CollectionInfo info not None, bytes id_key not None, bytes old_record) -> None:
        """A record goes with its index entries and leaves no tombstone: for a purge.

        `old_record` is the live one, None if there is only a tombstone.
        """
        cdef RecordHeader old
        cdef size_t start
        cdef uint32_t count = 0
        cdef uint8_t *head
        self.key.size = 0
        append_prefix(&self.key, info.tree_id)
        if buffer_put(&self.key, PyBytes_AS_STRING(id_key), <size_t>PyBytes_GET_SIZE(id_key)) < 0:
            raise MemoryError
        self._room(MUTATION_HEADER_SIZE + self.key.size + 4096)
        if old_record is not None:
            self._counted(info.tree_id, 0)
            read_header(old_record, &old)
            self._keys(info, old.bson, old.bson_size, self.stale, False)
        start = self.body.size
        head = buffer_grow(&self.body, MUTATION_HEADER_SIZE)
        if head == NULL:
            raise MemoryError
        self.is_broken = True
        head[MUTATION_OP] = MUTATION_FORGET
        store_u32(head + MUTATION_TREE, info.tree_id)
        store_u16(head + MUTATION_KEY_SIZE, <uint16_t>(self.key.size - TREE_PREFIX))
        store_u32(head + MUTATION_VALUE_SIZE, 1)
        if buffer_put(
            &self.body, self.key.data + TREE_PREFIX, self.key.size - TREE_PREFIX
        ) < 0 or buffer_put(&self.body, b"\0" if old_record is None else b"\1", 1) < 0:
            raise MemoryError
        self._put(self.key.data, self.key.size, NULL, 0, CELL_TOMBSTONE, False)
        if old_record is not None:
            self._index_entries(info, False, True, &count)
            self._counted(info.tree_id, -1)
        store_u32(self.body.data + start + MUTATION_INDEX_COUNT, count)
        store_u32(self.body.data + start + MUTATION_SIZE, <uint32_t>(self.body.size - start))
        self.count += 1
        self.is_broken = False

    def define(self, uint32_t tree, bytes definition, bint is_new) -> None:
        """A tree's definition in the catalog; None drops the tree."""
        cdef size_t size = 0 if definition is None else <size_t>PyBytes_GET_SIZE(definition)
        cdef const uint8_t *value = NULL
        cdef uint8_t *head
        cdef size_t start = self.body.size
        if definition is not None:
            value = <const uint8_t *>PyBytes_AS_STRING(definition)
        self.key.size = 0
        append_prefix(&self.key, TREE_CATALOG)
        append_prefix(&self.key, tree)
        self._room(MUTATION_HEADER_SIZE + self.key.size + size)
        head = buffer_grow(&self.body, MUTATION_HEADER_SIZE)
        if head == NULL:
            raise MemoryError
        if definition is None:
            head[MUTATION_OP] = MUTATION_DELETE
        else:
            head[MUTATION_OP] = MUTATION_INSERT if is_new else MUTATION_REPLACE
        store_u32(head + MUTATION_TREE, TREE_CATALOG)
        store_u16(head + MUTATION_KEY_SIZE, TREE_PREFIX)
        store_u32(head + MUTATION_VALUE_SIZE, <uint32_t>size)
        store_u32(head + MUTATION_INDEX_COUNT, 0)
        if buffer_put(&self.body, self.key.data + TREE_PREFIX, TREE_PREFIX) < 0 or buffer_put(
            &self.body, value, size
        ) < 0:
            raise MemoryError
        store_u32(self.body.data + start + MUTATION_SIZE, <uint32_t>(self.body.size - start))
        self._put(
            self.key.data, self.key.size, value, size, CELL_TOMBSTONE if definition is None else 0,
            False)
        self.count += 1

    def fill_index(
        self, CollectionInfo info not None, IndexInfo index not None, bytes record not None
    ) -> None:
        """Add the entries of one existing document to an index that is being built.

        Raises DuplicateKey.
        """
        cdef RecordHeader header
        cdef CollectionInfo only = CollectionInfo(info.name, info.tree_id, (index,))
        cdef uint32_t count = 0
        cdef size_t start
        cdef uint8_t *head
        read_header(record, &header)
        self._start(info, header.bson, header.bson_size)
        self._keys(only, header.bson, header.bson_size, self.fresh, True)
        self._check_unique(only, header.bson, header.bson_size)
        self._room(MUTATION_HEADER_SIZE + self.key.size)
        start = self.body.size
        head = buffer_grow(&self.body, MUTATION_HEADER_SIZE)
        if head == NULL:
            raise MemoryError
        # no document changes: a mutation of the index's own tree that only carries entries
        head[MUTATION_OP] = MUTATION_INSERT
        store_u32(head + MUTATION_TREE, index.tree_id)
        store_u16(head + MUTATION_KEY_SIZE, 0)
        store_u32(head + MUTATION_VALUE_SIZE, 0)
        self.is_broken = True
        self._index_entries(only, True, False, &count)
        store_u32(self.body.data + start + MUTATION_INDEX_COUNT, count)
        store_u32(self.body.data + start + MUTATION_SIZE, <uint32_t>(self.body.size - start))
        self.count += 1
        self.is_broken = False

    def snapshot(self):
        """A View that sees what this batch has done so far."""
        cdef View view = self.work.derive(self.work.root, self.work.counts, self.work.ordinal)
        # the nodes are shared from now on, and the counts
        loans_end(&self.work.loans)
        self.owner = overlay_owner_next()
        self.has_counts = False
        return view

    @property
    def catalog(self):
        """The catalog that this batch works with; what it sets here goes with its view."""
        return self.work.known

    @catalog.setter
    def catalog(self, value) -> None:
        self.work.catalog = value

    @property
    def size_bytes(self) -> int:
        """Bytes of the commit body so far."""
        return self.body.size

    # --- kernels

    cdef int _counted(self, uint32_t tree, int amount) except -1:
        # memory may run out at the first one for a tree only: begin with 0
        if not self.has_counts:
            self.work.counts = self.work.counts.copy()
        self.has_counts = True
        return self.work.counts.add(tree, amount)

    cdef int _room(self, size_t more) except -1:
        if self.is_broken or self.is_over:
            raise RangoError("this transaction ran out of memory half-way, or is over; abort it")
        if self.body.size + more > BODY_SIZE_MAX:
            raise LimitExceeded(
                "TRANSACTION_SIZE_BYTES_MAX", self.body.size + more,
                f"a transaction may hold {BODY_SIZE_MAX} bytes of changes; commit in smaller pieces"
            )
        return 0

    cdef int _start(self, CollectionInfo info, const uint8_t *bson, size_t size) except -1:
        # the key of the document at hand
        cdef Element element
        cdef size_t start
        self.key.size = 0
        append_prefix(&self.key, info.tree_id)
        start = self.key.size
        if document_find(bson, size, "_id", 3, &element) != 1:
            raise AssertionError("a document without _id reached the engine")
        key_append(&self.key, element.type, element.value, element.value_size)
        key_cap(&self.key, start)
        return self._room(MUTATION_HEADER_SIZE + self.key.size + size + 4096)

    cdef int _keys(
            self, CollectionInfo info, const uint8_t *bson, size_t size, Buffer *into, bint is_new,
            const SetFields *changed=NULL) except -1:  # hot
        cdef int at
        cdef uint64_t marks
        cdef IndexInfo index
        for at, index in enumerate(info.maintained):
            marks = 0
            if changed != NULL and not index.reads(changed) and index in info.ready:
                # it has its entries, and they stay
                into[at].size = 0
                continue
            try:
                index.make(bson, size, &into[at], &marks)
            except InvalidDocument:
                if is_new:
                    raise
                # it was stored before this index, which is still being filled and has not met it
                into[at].size = 0
            if is_new and marks:
                # set before the entries can be seen, and kept if the commit fails: too wide a plan
                # is never wrong
                index.marks |= marks
                self.marks[index.tree_id] = self.marks.get(index.tree_id, 0) | marks
        return 0

    cdef int _check_unique(self, CollectionInfo info, const uint8_t *bson, size_t size) except -1:
        cdef int at
        cdef size_t place
        cdef size_t key_size
        cdef IndexInfo index
        for at, index in enumerate(info.maintained):
            if not index.unique:
                continue
            place = 0
            while place < self.fresh[at].size:
                key_size = load_u16(self.fresh[at].data + place)
                self.entry.size = 0
                append_prefix(&self.entry, index.tree_id)
                if buffer_put(&self.entry, self.fresh[at].data + place + 2, key_size) < 0:
                    raise MemoryError
                if self.work.other_entry(
                    self.entry.data, self.entry.size, self.key.data + TREE_PREFIX,
                    self.key.size - TREE_PREFIX
                ):
                    raise DuplicateKey(
                        index.name,
                        index.maker.values(bson, size, self.fresh[at].data + place + 2, key_size),
                        pattern=dict(index.fields),
                    )
                place += 2 + key_size + <size_t>index.maker.count
        return 0

    cdef int _mutation(
            self, int op, CollectionInfo info, const uint8_t *bson, size_t size, uint64_t previous,
            uint64_t now_ms, bint has_old) except -1:
        cdef size_t start = self.body.size
        cdef size_t record
        cdef uint32_t count = 0
        cdef Py_ssize_t at
        cdef uint8_t *head = buffer_grow(&self.body, MUTATION_HEADER_SIZE)
        if head == NULL:
            raise MemoryError
        self.is_broken = True
        head[MUTATION_OP] = <uint8_t>op
        store_u32(head + MUTATION_TREE, info.tree_id)
        store_u16(head + MUTATION_KEY_SIZE, <uint16_t>(self.key.size - TREE_PREFIX))
        if buffer_put(&self.body, self.key.data + TREE_PREFIX, self.key.size - TREE_PREFIX) < 0:
            raise MemoryError
        record = self.body.size
        if self.actor:
            # what older readers would misread they have to refuse
            self.body.data[COMMIT_VERSION] = COMMIT_VERSION_ACTORS
        self.clock.tick(now_ms)
        record_header_write(
            &self.body, RECORD_FLAG_TOMBSTONE if op == MUTATION_DELETE else 0, self.clock.ms,
            self.clock.counter, <int64_t>now_ms, previous,
            <const uint8_t *>PyBytes_AS_STRING(self.node), <size_t>PyBytes_GET_SIZE(self.node),
            <const uint8_t *>PyBytes_AS_STRING(self.actor), <size_t>PyBytes_GET_SIZE(self.actor))
        if buffer_put(&self.body, bson, size) < 0:
            raise MemoryError
        store_u32(self.body.data + start + MUTATION_VALUE_SIZE, <uint32_t>(self.body.size - record))
        self._put(
            self.key.data, self.key.size, self.body.data + record, self.body.size - record, 0, True
        )
        self._index_entries(info, op != MUTATION_DELETE, has_old, &count)
        store_u32(self.body.data + start + MUTATION_INDEX_COUNT, count)
        store_u32(self.body.data + start + MUTATION_SIZE, <uint32_t>(self.body.size - start))
        self.count += 1
        self.is_broken = False
        for at in range(len(info.maintained)):
            scratch_shrink(&self.fresh[at])
            scratch_shrink(&self.stale[at])
        return 0

    cdef int _index_entries(
            self, CollectionInfo info, bint has_new, bint has_old,
            uint32_t *count) except -1:  # hot
        # both lists are sorted and distinct: what is in one of them only is put or removed
        cdef int at
        cdef IndexInfo index
        cdef const uint8_t *new
        cdef const uint8_t *old
        cdef const uint8_t *new_end
        cdef const uint8_t *old_end
        cdef size_t fields
        cdef int order
        for at, index in enumerate(info.maintained):
            fields = <size_t>index.maker.count
            new = self.fresh[at].data
            old = self.stale[at].data
            new_end = new + (self.fresh[at].size if has_new else 0)
            old_end = old + (self.stale[at].size if has_old else 0)
            while new < new_end or old < old_end:
                if new == new_end:
                    order = 1
                elif old == old_end:
                    order = -1
                else:
                    order = key_compare(new + 2, load_u16(new), old + 2, load_u16(old))
                # a value of another type may have the same key: 5 and 5.0
                if order < 0 or (
                    order == 0
                    and memcmp(new + 2 + load_u16(new), old + 2 + load_u16(old), fields) != 0
                ):
                    self._index_entry(INDEX_PUT, index.tree_id, new + 2, load_u16(new), fields)
                    count[0] += 1
                elif order > 0:
                    self._index_entry(INDEX_REMOVE, index.tree_id, old + 2, load_u16(old), 0)
                    count[0] += 1
                if order <= 0:
                    new += 2 + load_u16(new) + fields
                if order >= 0:
                    old += 2 + load_u16(old) + fields
        return 0

    cdef int _index_entry(
        self, uint8_t op, uint32_t tree, const uint8_t *key, size_t size, size_t fields
    ) except -1:
        # the type bytes lie behind the key
        cdef uint8_t value[INDEX_VALUE_SIZE + INDEX_FIELDS_MAX]
        cdef size_t id_size = self.key.size - TREE_PREFIX
        cdef size_t whole = size + id_size
        cdef uint8_t *head = buffer_grow(
            &self.body, INDEX_ENTRY_HEADER_SIZE + whole + (1 + fields if op == INDEX_PUT else 0))
        cdef uint8_t *entry
        self.entry.size = 0
        entry = buffer_grow(&self.entry, TREE_PREFIX + whole)
        if head == NULL or entry == NULL:
            raise MemoryError
        prefix_write(entry, tree)
        memcpy(entry + TREE_PREFIX, key, size)
        memcpy(entry + TREE_PREFIX + size, self.key.data + TREE_PREFIX, id_size)
        head[INDEX_ENTRY_OP] = op
        store_u32(head + INDEX_ENTRY_TREE, tree)
        store_u16(head + INDEX_ENTRY_SPLIT, <uint16_t>size)
        store_u16(head + INDEX_ENTRY_KEY_SIZE, <uint16_t>whole)
        memcpy(head + INDEX_ENTRY_HEADER_SIZE, entry + TREE_PREFIX, whole)
        if op == INDEX_REMOVE:
            return self._put(entry, self.entry.size, NULL, 0, CELL_TOMBSTONE, False)
        head += INDEX_ENTRY_HEADER_SIZE + whole
        head[0] = <uint8_t>fields
        memcpy(head + 1, key + size, fields)
        store_u16(value, <uint16_t>size)
        memcpy(value + INDEX_VALUE_SIZE, key + size, fields)
        return self._put(entry, self.entry.size, value, INDEX_VALUE_SIZE + fields, 0, False)

    cdef int _put(
            self, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size,
            uint32_t flags, bint is_record) except -1:
        return overlay_apply(
            self.work, self.owner, key, key_size, value, value_size, flags, self.first_ordinal,
            is_record, True)


cdef Batch batch_begin(
    View view, Clock clock, bytes node, Scratch scratch, uint64_t first_ordinal, bytes actor
):
    # on top of a view, whose counts it shares until it changes them
    cdef Batch batch = Batch.__new__(Batch)
    cdef uint8_t *head
    batch.scratch = scratch
    batch.fresh = scratch.fresh
    batch.stale = scratch.stale
    buffer_lend(&scratch.body, &batch.body)
    buffer_lend(&scratch.key, &batch.key)
    buffer_lend(&scratch.entry, &batch.entry)
    batch.work = view.derive(view.root, view.counts, view.ordinal)
    batch.owner = overlay_owner_next()
    batch.clock = clock
    batch.node = node
    batch.actor = actor
    batch.marks = {}
    batch.first_ordinal = first_ordinal
    batch.base_ordinal = view.ordinal
    head = buffer_grow(&batch.body, COMMIT_HEADER_SIZE)
    if head == NULL:
        raise MemoryError
    head[COMMIT_VERSION] = 2
    store_u32(head + COMMIT_COUNT, 0)
    return batch


cdef int read_header(bytes record, RecordHeader *out) except -1:
    if record_header_read(
        <const uint8_t *>PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record), out
    ) < 0:
        raise AssertionError("the engine was given something that is not a record")
    return 0
