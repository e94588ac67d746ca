"""Writes of one document, each a commit and one call from Python: insert_one, update_one with $set
of fields at the top, and delete_one of the document that an `_id` names.

Terms       general way: what rango/statements.py and rango/engine/point.py do.
Invariants  A direct write does what the general way does, or answers ELSEWHERE and has changed
            nothing. It is the shorter way of what is usual; everything else is said and done in one
            place: options, other filters and updates, transactions, cancel scopes, databases that
            are closed, latched or read only, and whatever is refused. So a refusal costs a little
            more, and a write that is tried again finds what is there by then.
            The document is found and changed under the append lock. Nobody can give up a page of
            the newest generation meanwhile, so no lease is needed: a checkpoint is adopted under
            that lock.
            Arguments are encoded before the lock is taken: that may run the caller's code. What
            they are encoded into is lent (scratch.pyx): another call may come meanwhile.
Failure     What waiting for the lock, following others, the commit or its flush raises. MemoryError
            before the commit: nothing was written.
Sources     ADR-0041.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.contextvars cimport get_value
from cpython.dict cimport PyDict_Contains, PyDict_GetItem, PyDict_Next
from cpython.object cimport PyObject
from cpython.set cimport PySet_Contains
from libc.stdint cimport int64_t, uint8_t, uint64_t
from rango._ext.append_lock cimport AppendLock
from rango._ext.batch cimport Batch
from rango._ext.bson_encode cimport fields_encode
from rango._ext.bson_set cimport (
    SET_CHANGED, SET_FIELDS_MAX, SET_NO_MEMORY, SET_SAME, document_set, set_fields,
)
from rango._ext.buffer cimport Buffer, buffer_free, buffer_grow
from rango._ext.clock cimport system_now
from rango._ext.collection_info cimport CollectionInfo
from rango._ext.histogram cimport now_ns
from rango._ext.key cimport key_append_value, key_cap
from rango._ext.layout cimport RECORD_FLAG_TOMBSTONE, RECORD_FLAGS
from rango._ext.overlay cimport overlay_bytes, overlay_count
from rango._ext.point_reads cimport PointReader
from rango._ext.record cimport RecordHeader, record_header_read
from rango._ext.scratch cimport buffer_lend, buffer_return, scratch_shrink
from rango._ext.store cimport Store
from rango._ext.view cimport TREE_PREFIX, Found, found_release, prefix_write

from rango._ext.clock import system_ms
from rango.errors import InvalidDocument, LimitExceeded, RangoError


@cython.final
cdef class DirectWrites:
    """The direct writes of one handle. Made by Core.direct_writes."""

    def __init__(
        self, CoreState core not None, metrics, bytes actor not None, *, catch_up, transactions,
        scope, tuple reserved not None, frozenset id_types not None, uint64_t calm_entries,
        uint64_t calm_bytes, bint waits, inserted, tuple updated not None,
        tuple deleted not None
    ):
        self.core = core
        self.metrics = metrics
        self.inserts = metrics.times["insert"]
        self.updates = metrics.times["update"]
        self.deletes = metrics.times["delete"]
        self.commits = core.times["commit"]
        self.actor = actor
        self.catch_up = catch_up
        self.transactions = transactions
        self.scope = scope
        self.reserved = reserved
        self.id_types = id_types
        self.calm_entries = calm_entries
        self.calm_bytes = calm_bytes
        self.waits = waits
        self.inserted = inserted
        self.updated = updated
        self.deleted = deleted

    def __dealloc__(self):
        buffer_free(&self.room)
        buffer_free(&self.key_room)

    def insert(self, str name not None, document):
        """Store a new document that has an `_id`, which is returned; None: the general way."""
        return self.insert_new(name, document)

    cdef object insert_new(self, str name, object document):  # hot
        cdef Buffer bson
        cdef PyObject *id_value
        cdef object kept
        cdef int answer = ELSEWHERE
        if type(document) is not dict or not self.is_free():
            return None
        id_value = PyDict_GetItem(document, "_id")
        if id_value == NULL:
            return None
        # a name's own __eq__ may take it out of the document
        kept = <object>id_value
        if not self.is_id(kept):
            return None
        for each in self.reserved:
            if PyDict_Contains(document, each):
                return None
        buffer_lend(&self.room, &bson)
        try:
            try:
                fields_encode(&bson, document, kept)
            except (InvalidDocument, LimitExceeded):
                return None
            answer = self.insert_bytes(name, bson.data, bson.size)
        finally:
            buffer_return(&self.room, &bson)
        return None if answer == ELSEWHERE else kept

    def insert_bson(self, str name not None, bytes bson not None) -> bool:
        """Store a new document that was checked and encoded. False: the general way."""
        return self.is_free() and self.insert_bytes(
            name, <const uint8_t *>PyBytes_AS_STRING(bson), <size_t>PyBytes_GET_SIZE(bson)
        ) != ELSEWHERE

    cdef int insert_bytes(self, str name, const uint8_t *bson, size_t size) except -2:
        cdef Write write
        cdef int answer
        cdef int64_t started = 0
        cdef object metrics = self.metrics
        cdef uint64_t inserts = metrics.inserts
        cdef int sample = metrics.insert_sample
        cdef bint is_timed = inserts % sample == 0
        write.op = WRITE_INSERT
        write.bson = bson
        write.size = size
        if is_timed:
            started = now_ns()
        answer = self.run(name, &write)
        if answer != ELSEWHERE:
            metrics.inserts += 1
            if is_timed:
                self.inserts.add(now_ns() - started, sample)
        return answer

    def update(self, str name not None, filter, update) -> int:
        """Update the document that the filter names: 0 none, 1 as it was, 2 changed; -1: the
        general way.
        """
        return self.update_named(name, filter, update)

    cdef int update_named(self, str name, object filter, object update) except -2:  # hot
        cdef Write write
        cdef Buffer operands
        cdef int answer = ELSEWHERE
        cdef int64_t started = now_ns()
        write.op = WRITE_UPDATE
        buffer_lend(&self.key_room, &write.key)
        buffer_lend(&self.room, &operands)
        try:
            if self.is_free() and self.key(filter, &write.key) and operands_encode(
                update, &operands
            ) and set_fields(operands.data, operands.size, &write.fields) == 0:
                answer = self.run(name, &write)
        finally:
            buffer_return(&self.key_room, &write.key)
            buffer_return(&self.room, &operands)
        if answer != ELSEWHERE:
            if answer == CHANGED:
                self.metrics.updates += 1
            self.updates.add(now_ns() - started, 1)
        return answer

    def delete(self, str name not None, filter) -> int:
        """Delete the document that the filter names; how many there were, or -1: the general way.
        """
        return self.delete_named(name, filter)

    cdef int delete_named(self, str name, object filter) except -2:  # hot
        cdef Write write
        cdef int answer = ELSEWHERE
        cdef int64_t started = now_ns()
        write.op = WRITE_DELETE
        buffer_lend(&self.key_room, &write.key)
        try:
            if self.is_free() and self.key(filter, &write.key):
                answer = self.run(name, &write)
        finally:
            buffer_return(&self.key_room, &write.key)
        if answer == ELSEWHERE:
            return answer
        if answer == CHANGED:
            self.metrics.deletes += 1
        self.deletes.add(now_ns() - started, 1)
        return 1 if answer == CHANGED else 0

    # --- what may be written this way

    cdef bint is_free(self) except -1:
        # nothing is around this write that it had to obey
        cdef CoreState core = self.core
        return (
            core.error is None and not core.is_read_only and type(core.store) is Store
            and not get_value(self.transactions) and get_value(self.scope) is None
        )

    cdef int is_id(self, object value) except -1:
        return PySet_Contains(self.id_types, type(value))

    cdef int key(self, object filter, Buffer *out) except -1:
        # 1: the key of the one `_id` that the filter names, behind room for the tree's id
        cdef PyObject *value
        cdef object kept
        if type(filter) is not dict or len(<dict>filter) != 1:
            return 0
        value = PyDict_GetItem(filter, "_id")
        if value == NULL:
            return 0
        kept = <object>value
        if not self.is_id(kept):
            return 0
        if buffer_grow(out, TREE_PREFIX) == NULL:
            raise MemoryError
        try:
            key_append_value(out, kept)
        except (InvalidDocument, LimitExceeded):
            return 0
        key_cap(out, TREE_PREFIX)
        return 1

    # --- the write

    cdef Store entered(self):
        # the store, with the append lock, up to date; None: closed meanwhile. To wait for others
        # and to follow them is the core's, at once: asked again must_follow() does not know that
        # what it took over has changed the catalog
        cdef CoreState core = self.core
        if not core.append_lock.take_now():
            core.append_lock_take()
        elif type(core.store) is Store and (<Store>core.store).must_follow():
            self.catch_up(core)
        return core.store if type(core.store) is Store else None

    cdef int run(self, str name, Write *write) except -2:
        cdef Store store
        cdef Batch batch
        cdef AppendLock lock = self.core.append_lock
        cdef uint64_t ordinal
        cdef int answer
        try:
            store = self.entered()
            if store is None:
                return ELSEWHERE
            batch = store.begun(self.actor)
            try:
                answer = self.apply(store, batch, name, write)
            except RangoError:
                return ELSEWHERE
            if answer == ELSEWHERE:
                return ELSEWHERE
            ordinal = store.committed(batch)
        finally:
            lock.undo()
        self.settle(store, ordinal)
        return answer

    cdef int apply(self, Store store, Batch batch, str name, Write *write) except -2:
        cdef PyObject *found
        if store.head.known is not self.catalog:
            self.catalog = store.head.known
            self.collections = self.catalog.collections
            self.document_size_max = self.catalog.document_size_bytes_max
        found = PyDict_GetItem(self.collections, name)
        if found == NULL:
            return ELSEWHERE if write.op == WRITE_INSERT else NOT_FOUND
        if write.op != WRITE_INSERT:
            return self.change(store, batch, <CollectionInfo>found, write)
        if write.size > self.document_size_max:
            return ELSEWHERE
        batch.insert_bytes(<CollectionInfo>found, write.bson, write.size, self.now_ms())
        return CHANGED

    cdef int change(self, Store store, Batch batch, CollectionInfo info, Write *write) except -2:
        cdef Found found
        cdef RecordHeader old
        prefix_write(write.key.data, info.tree_id)
        if not store.head.find(write.key.data, write.key.size, &found):
            return NOT_FOUND
        try:
            if found.value[RECORD_FLAGS] == RECORD_FLAG_TOMBSTONE:
                return NOT_FOUND
            if record_header_read(found.value, found.size, &old) < 0:
                return ELSEWHERE
            if write.op == WRITE_UPDATE:
                return self.replace(store, batch, info, &old, write)
            batch.delete_bytes(info, &old, self.now_ms())
            return CHANGED
        finally:
            found_release(&found)

    cdef int replace(
        self, Store store, Batch batch, CollectionInfo info, const RecordHeader *old, Write *write
    ) except -2:
        cdef Buffer *changed = &store.scratch.document
        cdef int answer
        scratch_shrink(changed)
        changed.size = 0
        answer = document_set(old.bson, old.bson_size, &write.fields, changed)
        if answer == SET_NO_MEMORY:
            raise MemoryError
        if answer == SET_SAME:
            return UNCHANGED
        if answer != SET_CHANGED or changed.size > self.document_size_max:
            return ELSEWHERE
        batch.replace_bytes(
            info, old, changed.data, changed.size, self.now_ms(), &write.fields
        )
        scratch_shrink(changed)
        return CHANGED

    cdef uint64_t now_ms(self) except? 0:
        cdef object clock = self.core.clock
        return system_now() if clock is system_ms else clock()

    cdef int settle(self, Store store, uint64_t ordinal) except -1:
        # as Core.settle, but for a checkpoint and for the thread of "group"
        cdef CoreState core = self.core
        cdef uint64_t entries = overlay_count(store.head.root)
        cdef uint64_t size = overlay_bytes(store.head.root)
        cdef int64_t started
        if not (
            core.flusher is None and entries < self.calm_entries and size < self.calm_bytes
            and entries < core.overlay_entries_max and size < core.overlay_bytes_max
        ):
            core.settle(ordinal)
            return 0
        if self.waits:
            if store.appender.durable < ordinal:
                started = now_ns()
                store.appender.wait_durable(ordinal)
                self.commits.add(now_ns() - started, 1)
            store.publish()
        core.commits += 1
        return 0


cdef bint operands_encode(object update, Buffer *out) except -1:
    # the operands of an update that is nothing but a $set, which is as encoding them checks them
    cdef PyObject *operands
    cdef PyObject *field
    cdef Py_ssize_t at = 0
    cdef object kept
    if type(update) is not dict or len(<dict>update) != 1:
        return False
    operands = PyDict_GetItem(update, "$set")
    if operands == NULL or type(<object>operands) is not dict:
        return False
    kept = <object>operands
    if not 0 < len(<dict>kept) <= SET_FIELDS_MAX:
        return False
    while PyDict_Next(kept, &at, &field, NULL):
        if type(<object>field) is not str:
            return False
    try:
        fields_encode(out, kept, None)
    except (InvalidDocument, LimitExceeded):
        return False
    return True


cdef class DirectWriter(PointReader):
    """The usual writes of a collection: methods of compiled code, as find_one is."""

    def insert_one(self, document, bypass_document_validation=None, *, comment=None, session=None):
        """Store a new document. One without an `_id` gets one, which is also put into `document`.

        Returns when it is durable per the durability mode. Raises DuplicateKey, InvalidDocument,
        LimitExceeded.
        """
        cdef object direct = self._handle.direct
        cdef object id_value
        cdef bint has_id = type(document) is dict and "_id" in <dict>document
        if has_id and type(direct) is DirectWrites:
            id_value = (<DirectWrites>direct).insert_new(self._name, document)
            if id_value is not None:
                return (<DirectWrites>direct).inserted(id_value)
        return self._insert_one(document, None if has_id else direct)

    def update_one(
        self, filter, update, upsert=False, bypass_document_validation=None, *, array_filters=None,
        collation=None, hint=None, let=None, sort=None, max_time_ms=None, comment=None, session=None
    ):  # hot
        """Change the first document that matches, by operators or by a pipeline.

        With `upsert`, one is inserted if none matches. An upserted document starts from the
        equalities of the filter. A filter that also names `_rev` is a compare-and-set:
        matched_count is 0 when the document has changed since. Raises InvalidFilter,
        InvalidUpdate, InvalidPipeline, InvalidExpression, ExpressionFailed, DuplicateKey (a unique
        index), LimitExceeded, NotFound (`hint`); then nothing was written.
        """
        cdef object direct = self._handle.direct
        cdef int done
        if (
            type(direct) is DirectWrites and upsert is False and array_filters is None
            and collation is None and hint is None and let is None and sort is None
            and max_time_ms is None
        ):
            done = (<DirectWrites>direct).update_named(self._name, filter, update)
            if done >= 0:
                return (<DirectWrites>direct).updated[done]
        return self._update_one(
            filter, update, upsert, (array_filters, collation, hint, let, sort), max_time_ms)

    def delete_one(
        self, filter, collation=None, hint=None, *, let=None, max_time_ms=None, comment=None,
        session=None
    ):  # hot
        """Delete the first document that matches; with `_rev` in the filter a compare-and-set."""
        cdef object direct = self._handle.direct
        cdef int done
        if (
            type(direct) is DirectWrites and collation is None and hint is None and let is None
            and max_time_ms is None
        ):
            done = (<DirectWrites>direct).delete_named(self._name, filter)
            if done >= 0:
                return (<DirectWrites>direct).deleted[done]
        return self._delete_one(filter, collation, hint, let, max_time_ms)
