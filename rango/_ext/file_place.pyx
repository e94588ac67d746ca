"""Whether a name still leads to the file that is open.

Terms       place: a path, and which file it led to when that was opened (device and number).
Invariants  The lock file is what all users of a database have in common. If it is deleted or
            replaced, whoever comes next makes another one and knows nothing of those who have the
            first: two would append to one log. So a writer asks before it appends; beside a flush
            that costs nothing, without one it is asked every SKIPPED_MAX times.
Failure     On doubt (no permission, an I/O error) the file counts as being in its place.
Sources     storage-notes, scenario 5.
"""

import os

cimport cython
from libc.stdint cimport uint64_t

cdef extern from "file_place.h":
    int rango_same_file(const char *path, uint64_t device, uint64_t number) nogil

cdef enum:
    SKIPPED_MAX = 64


@cython.final
@cython.no_gc
cdef class FilePlace:
    """The place of one open file."""

    def __init__(self, path, int fd):
        status = os.fstat(fd)
        self.path = os.fsencode(path)
        self.device = status.st_dev
        self.number = status.st_ino

    cpdef bint is_kept(self, bint is_flushed=True):
        """Whether the name leads to the file. `is_flushed`: a flush follows, so ask every time."""
        self.asked += 1
        if not is_flushed and self.asked % SKIPPED_MAX:
            return True
        return rango_same_file(self.path, self.device, self.number)
