# Files of the operating system, for vfs.pyx only.

from libc.stdint cimport uint64_t
from rango._ext.vfs cimport vfs_table


cdef void posix_table(vfs_table *table) noexcept nogil
cdef uint64_t posix_forks() noexcept nogil
# 0 and the number of the type (0: none, then its name is appended to name), or -errno
cdef int posix_file_system(const char *path, uint64_t *number, bytearray name) except 1
