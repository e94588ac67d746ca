# Writes: one commit in the making. Encodes mutations and applies them to a private overlay at the
# same time.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from rango._ext.buffer cimport Buffer
from rango._ext.clock cimport Clock
from rango._ext.collection_info cimport CollectionInfo
from rango._ext.bson_set cimport SetFields
from rango._ext.overlay cimport Bloom, OverlayNode
from rango._ext.record cimport RecordHeader
from rango._ext.scratch cimport INDEXES_MAX, Scratch
from rango._ext.view cimport Counts, View


cdef class Batch:
    # its root is replaced as mutations are applied; nobody else sees it
    cdef View work
    cdef uint64_t owner
    cdef Clock clock
    cdef bytes node
    cdef bytes actor                # who acts, as UTF-8; b"": nobody was named
    cdef uint64_t first_ordinal     # of the commit that this will be
    cdef readonly uint64_t base_ordinal     # of the snapshot that it started from
    cdef Buffer body
    cdef Buffer key                 # of the document at hand, tree id first
    cdef Scratch scratch            # of the store: whose are the next two
    cdef Buffer *fresh              # index keys of the new version
    cdef Buffer *stale              # and of the old one
    cdef Buffer entry               # scratch: one prefixed key
    cdef readonly uint32_t count
    cdef readonly bint is_broken    # a mutation was half applied: only good for abort
    cdef readonly bint is_over      # committed: others see its overlay now
    cdef bint has_counts            # work.counts is its own
    cdef readonly dict marks        # index tree -> marks that its documents set
    # what the doors of these names do, of bytes. `changed`: what is not one of these fields has the
    # same bytes as before; NULL: anything may differ
    cdef int insert_bytes(
        self, CollectionInfo info, const uint8_t *data, size_t size, uint64_t now_ms
    ) except -1
    cdef int replace_bytes(
        self, CollectionInfo info, const RecordHeader *old, const uint8_t *data, size_t size,
        uint64_t now_ms, const SetFields *changed
    ) except -1
    cdef int delete_bytes(
        self, CollectionInfo info, const RecordHeader *old, uint64_t now_ms
    ) except -1
    cdef int _counted(self, uint32_t tree, int amount) except -1
    cdef int _room(self, size_t more) except -1
    cdef int _start(self, CollectionInfo info, const uint8_t *bson, size_t size) except -1
    cdef int _mutation(
        self, int op, CollectionInfo info, const uint8_t *bson, size_t size, uint64_t previous,
        uint64_t now_ms, bint has_old
    ) except -1
    cdef int _index_entries(
        self, CollectionInfo info, bint has_new, bint has_old, uint32_t *count
    ) except -1
    cdef int _index_entry(
        self, uint8_t op, uint32_t tree, const uint8_t *key, size_t size, size_t fields
    ) except -1
    cdef int _keys(
        self, CollectionInfo info, const uint8_t *bson, size_t size, Buffer *into, bint is_new,
        const SetFields *changed=*
    ) except -1
    cdef int _check_unique(self, CollectionInfo info, const uint8_t *bson, size_t size) except -1
    cdef int _put(
        self, const uint8_t *key, size_t key_size, const uint8_t *value, size_t value_size,
        uint32_t flags, bint is_record
    ) except -1


cdef Batch batch_begin(
    View view, Clock clock, bytes node, Scratch scratch, uint64_t first_ordinal, bytes actor
)
