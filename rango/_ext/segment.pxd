# Log segments: their header and their creation.

from libc.errno cimport EDQUOT, ENOSPC
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from rango._ext.vfs cimport Vfs


cdef class SegmentHeader:
    cdef readonly uint64_t id
    cdef readonly uint64_t predecessor          # id of the segment before, 0 = none
    cdef readonly uint64_t predecessor_end      # where its last frame ended
    cdef readonly uint64_t first_ordinal
    cdef readonly bytes chain                   # chain value before the first frame
    cdef readonly bytes salt
    cdef readonly uint32_t epoch
    cdef readonly bytes database_id
    cdef readonly uint32_t features             # SEGMENT_PURGED, _BASE, _PACKED


cdef enum:
    # how far segment_create came
    STAGE_CREATE = 0
    STAGE_WRITE = 1
    STAGE_FLUSH = 2
    STAGE_RENAME = 3
    STAGE_DIRECTORY = 4


# raises IoFailed, or what a Python implementation raised, for a read that gave -errno
cdef int raise_read(
    Vfs vfs, uint64_t segment_id, uint64_t offset, int64_t status) except -1 with gil
# Writes `size` zeros from `offset` on, in pieces: 0, or -errno.
cdef int zeros_write(Vfs vfs, int fd, uint64_t offset, uint64_t size) noexcept nogil
# Creates `temporary` (header, then zeros up to `size`), flushes, renames it to `path`, flushes the
# directory. A descriptor for reading and writing, or -errno; *stage says what failed.
cdef int segment_create(
    Vfs vfs, const char *directory, const char *temporary, const char *path,
    const uint8_t *header, uint64_t size, int *stage) noexcept nogil

# How much of a new segment is prewritten: less than usual where segments are tiny.
cpdef uint64_t first_size(uint64_t segment_size_max) noexcept


cdef inline bint is_no_space(int status) noexcept nogil:
    # a failed allocation: nothing was half done
    return status == -ENOSPC or status == -EDQUOT
