# A lock among threads and processes for work that is rare and long.

from libc.stdint cimport uint64_t

from rango._ext.append_lock cimport AppendLock
from rango._ext.vfs cimport Vfs


cdef class ProcessLock:
    cdef readonly AppendLock threads        # among the threads of this process
    cdef Vfs vfs
    cdef int fd                     # -1: no other process has what this lock guards
    cdef int place
    cdef uint64_t forks             # fork_count() when it was made
    cdef double seconds
    cdef str work
    cdef int range_take(self) noexcept nogil
