# One open database: what is committed, what may be seen, and the building of generations.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from rango._ext.appender cimport Appender
from rango._ext.batch cimport Batch, Clock
from rango._ext.builder cimport Builder
from rango._ext.file_place cimport FilePlace
from rango._ext.pager cimport Pager
from rango._ext.scratch cimport Scratch
from rango._ext.shared cimport Shared
from rango._ext.span cimport Span
from rango._ext.view cimport Generation, View


cdef class Store

# near.pyx: take over the next few commits, all (else: those that may be seen); 0: the long way
ctypedef int (*near_take_t)(Store store, bint is_all) except -1


cdef class Store:
    cdef readonly Pager pager
    # None while the log is replayed, and on read-only databases
    cdef public Appender appender
    cdef View seen                          # what may be seen, as far as this process knows
    cdef readonly Shared shared             # None: no other process has this database
    cdef object follower                    # brings this store up to date with other processes
    cdef object near                        # what near_take works with
    cdef near_take_t near_take              # NULL: there is nobody to follow
    cdef public uint64_t reached            # the last ordinal of the log that this store knows of
    cdef public uint64_t known_generation   # the last one that a slot named, as this store knows
    cdef readonly View head                 # the newest commit
    cdef object pending                     # of (ordinal, View): appended, not yet durable
    cdef readonly Clock clock
    cdef public bytes node
    cdef public bint has_actors             # some record, now or earlier, says who acted
    cdef public bint is_base                # what is applied is a base's: records as in a tree
    cdef public bint visible_at_once        # "group" and "memory": seen before it is durable
    cdef readonly dict marks                # index tree -> what its documents did to it
    cdef uint64_t marked                    # how often that has changed
    cdef uint64_t marked_known              # that, when a followed commit's catalog was made
    cdef readonly Builder builder
    cdef uint64_t bloom_keys
    cdef Scratch scratch                    # of its batches
    cdef FilePlace place                    # of the lock file; None: it is no system's file

    # what the doors begin and commit do
    cdef Batch begun(self, bytes actor)
    cdef uint64_t committed(self, Batch batch) except? 0
    cpdef int publish(self) except -1
    cdef int _apply(
        self, const uint8_t *body, size_t size, uint64_t first_ordinal, uint64_t owner,
        list changes
    ) except -1
    cdef int _apply_one(
        self, const uint8_t *mutation, size_t size, uint64_t ordinal, uint64_t owner, list changes
    ) except -1
    cdef int _apply_entries(
        self, Span *span, uint32_t entries, bint is_insert, uint8_t *room, uint64_t ordinal,
        uint64_t owner
    ) except -1
    cdef size_t _apply_types(
        self, Span *span, uint32_t tree, uint8_t *value, uint64_t ordinal
    ) except? 0
    cdef int _mark(self, uint32_t tree, uint64_t marks) except -1
    cpdef bint is_behind(self) except -1
    cpdef bint has_unread(self) except -1
    cpdef bint must_follow(self) except -1
    cdef View newest(self)                  # `current`
    cdef bint is_stale(self) except -1
    cdef bint take_near(self, bint is_all) except -1
    cdef View _view_of(self, Generation generation)
