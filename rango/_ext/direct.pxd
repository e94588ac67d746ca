# Writes of one document, each in one call from Python.

from libc.stdint cimport uint8_t, uint64_t
from rango._ext.batch cimport Batch
from rango._ext.bson_set cimport SetFields
from rango._ext.buffer cimport Buffer
from rango._ext.collection_info cimport CollectionInfo
from rango._ext.core_state cimport CoreState
from rango._ext.histogram cimport Histogram
from rango._ext.point_reads cimport PointReader
from rango._ext.record cimport RecordHeader
from rango._ext.store cimport Store

cdef enum:
    WRITE_INSERT = 0
    WRITE_UPDATE = 1
    WRITE_DELETE = 2

    # answers
    ELSEWHERE = -1                  # nothing was done: the general way knows what to do
    NOT_FOUND = 0
    UNCHANGED = 1
    CHANGED = 2


ctypedef struct Write:
    # one write that was checked
    int op                          # WRITE_*
    Buffer key                      # of the document, behind room for the tree's id; not of inserts
    SetFields fields                # of an update
    const uint8_t *bson             # of an insert
    size_t size


cdef class DirectWrites:
    cdef CoreState core
    cdef object metrics
    cdef Histogram inserts          # of the metrics: how long they took
    cdef Histogram updates
    cdef Histogram deletes
    cdef Histogram commits          # of the core
    cdef bytes actor
    cdef object catch_up            # of the core, under the append lock
    cdef object transactions        # context variables: what is in the first is running,
    cdef object scope               # and what is in the second may cancel
    cdef tuple reserved             # names that no document may have at its top
    cdef frozenset id_types         # whose values mean equality and nothing else
    cdef uint64_t calm_entries      # up to here an overlay asks for no checkpoint, whoever is there
    cdef uint64_t calm_bytes
    cdef bint waits                 # a commit is answered when it is durable
    cdef object inserted            # makes what insert_one returns, of an `_id`
    cdef tuple updated              # what update_one returns of each answer
    cdef tuple deleted
    cdef object catalog             # of the newest commit, when this was last used; what it says:
    cdef dict collections
    cdef size_t document_size_max
    cdef Buffer room                # for a call to encode into: a document, or operands,
    cdef Buffer key_room            # and a key
    cdef object insert_new(self, str name, object document)
    cdef int update_named(self, str name, object filter, object update) except -2
    cdef int delete_named(self, str name, object filter) except -2
    cdef bint is_free(self) except -1
    cdef int is_id(self, object value) except -1
    cdef int key(self, object filter, Buffer *out) except -1
    cdef int insert_bytes(self, str name, const uint8_t *bson, size_t size) except -2
    cdef Store entered(self)
    cdef int run(self, str name, Write *write) except -2
    cdef int apply(self, Store store, Batch batch, str name, Write *write) except -2
    cdef int change(self, Store store, Batch batch, CollectionInfo info, Write *write) except -2
    cdef int replace(
        self, Store store, Batch batch, CollectionInfo info, const RecordHeader *old, Write *write
    ) except -2
    cdef uint64_t now_ms(self) except? 0
    cdef int settle(self, Store store, uint64_t ordinal) except -1


cdef class DirectWriter(PointReader):
    pass
