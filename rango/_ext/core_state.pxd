# What compiled writes look at in a core.

from libc.stdint cimport uint64_t
from rango._ext.append_lock cimport AppendLock


cdef class CoreState:
    cdef public object store            # a Store, or what raises at every use: closed, forked
    cdef public object error            # why there are no more writes, or None
    cdef public object flusher          # of durability "group", or None
    cdef public dict times              # name -> Histogram
    cdef public object clock            # () -> milliseconds
    cdef public AppendLock append_lock
    cdef public bint is_read_only
    cdef public uint64_t commits
    cdef public uint64_t overlay_entries_max
    cdef public uint64_t overlay_bytes_max
