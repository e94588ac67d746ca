# The only door to files: a table of C functions. POSIX below; PythonVfs is the twin that a Python
# object can implement, which is what the crash simulator and the fault injector plug in.
#
# Every function of the table returns >= 0, or -errno; none sets a Python exception and none needs
# the GIL from its caller.

from libc.stdint cimport int64_t, uint8_t, uint64_t

cpdef enum:
    VFS_READ = 0            # open for reading
    VFS_WRITE = 1           # open for reading and writing
    VFS_CREATE = 2          # with VFS_WRITE: create it if it is missing (mode 0600)
    VFS_EXCLUSIVE = 4       # with VFS_CREATE: fail with EEXIST if it is there

    VFS_UNLOCK = 0
    VFS_SHARED = 1
    VFS_EXCLUSIVE_LOCK = 2


ctypedef struct vfs_table:
    int (*open)(void *context, const char *path, int flags) noexcept nogil
    int (*close)(void *context, int fd) noexcept nogil
    # read and write may be short
    int64_t (*read)(
        void *context, int fd, void *into, size_t size, uint64_t offset) noexcept nogil
    int64_t (*write)(
        void *context, int fd, const void *source, size_t size, uint64_t offset) noexcept nogil
    # data and size are durable, the directory entry is not: fdatasync; on macOS F_FULLFSYNC
    int (*flush)(void *context, int fd) noexcept nogil
    int (*truncate)(void *context, int fd, uint64_t size) noexcept nogil
    int64_t (*size)(void *context, int fd) noexcept nogil
    int (*rename)(void *context, const char *source, const char *target) noexcept nogil
    int (*remove)(void *context, const char *path) noexcept nogil
    int (*flush_directory)(void *context, const char *path) noexcept nogil
    # open-file-description lock, never waits: -EAGAIN
    int (*lock)(void *context, int fd, uint64_t start, uint64_t size, int mode) noexcept nogil


cdef class Vfs:
    cdef vfs_table table
    cdef void *context
    cdef dict names         # descriptor -> path, for error messages only
    cdef list kept          # exceptions of a Python implementation that wait for the next door
    cdef object answer(self, int64_t status, path)
    # the block of a log segment to look for an ordinal in first, -1: nobody knows
    cdef int64_t block_of(self, int fd, uint64_t ordinal) noexcept nogil


# Whole transfers for kernels: loop over short reads and writes and EINTR.
# Bytes read (less at the end of the file), or -errno.
cdef int64_t vfs_read_all(
    Vfs vfs, int fd, void *into, size_t size, uint64_t offset) noexcept nogil
# 0, or -errno; a short write that is followed by an error is that error.
cdef int vfs_write_all(
    Vfs vfs, int fd, const void *source, size_t size, uint64_t offset) noexcept nogil

# Raises what a Python implementation raised besides OSError (it was reported as -EIO); else 0.
cdef int vfs_kept_raise(Vfs vfs) except -1

# How often this process image was forked off: a handle that recalls another number is dead
# (ForkedHandle).
cpdef uint64_t fork_count() noexcept nogil
