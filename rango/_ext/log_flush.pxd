# One flush of the oplog for all processes that wait for one.

from libc.stdint cimport uint64_t

from rango._ext.shared cimport Shared
from rango._ext.vfs cimport Vfs


# Flush the segment behind fd, or wait for somebody's flush, until `wanted` is durable; is_forced:
# flush in any case. `target`: what this process has appended; then, what is durable. 0, or the
# -errno that latched the database.
cdef int flush_lead(
    Shared shared, Vfs vfs, int fd, uint64_t segment_id, uint64_t wanted, bint is_forced,
    uint64_t *target,
) noexcept nogil
