"""Files of the operating system, for the table of vfs, and the registry that closes them in a fork.

Terms       flush, short: see vfs.pyx.
Invariants  I-10 (a flush is tried once: EINTR is handed up, never retried).
States      a descriptor is registered from open to close; a fork closes all of them in the child
            without unlocking, because a child that keeps one keeps its parent's locks alive.
Failure     functions return -errno. A descriptor that is not registered is EBADF: its number may
            belong to somebody else by now.
Sources     architecture sections 3 and 4; open(2), fcntl_locking(2), pthread_atfork(3).
"""

cimport cython
from libc.errno cimport EACCES, EAGAIN, EBADF, EINTR, EINVAL, EISDIR, EMFILE, EPERM, errno
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.stdio cimport remove as c_remove, rename as c_rename
from rango._ext.vfs cimport (
    VFS_CREATE, VFS_EXCLUSIVE, VFS_EXCLUSIVE_LOCK, VFS_SHARED, VFS_UNLOCK, VFS_WRITE, vfs_table)
from rango._ext.posix_calls cimport (
    O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR,
    F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, SEEK_SET, S_ISDIR, S_ISREG,
    RANGO_FD_MAX, RANGO_RANGE_LOCKS, c_close, c_flock, c_fstat, c_fsync, c_ftruncate, c_open,
    c_pread, c_pwrite, c_stat, c_statfs, c_statfs_call, pthread_atfork,
    pthread_mutex_lock, pthread_mutex_unlock, rango_and, rango_fd_bits, rango_fd_mutex,
    rango_flush, rango_fork_hooked, rango_forks, rango_load, rango_lock, rango_or,
    rango_statfs_name, rango_statfs_type)

RANGE_LOCKS = bool(RANGO_RANGE_LOCKS)

# A signal storm may interrupt a call often, a broken driver for ever.
cdef enum:
    INTERRUPTS_MAX = 1000


# The fork registry. The mutex is held over (open, register) and over (forget, close), and by a fork
# from before to after, so that no child inherits a descriptor that the registry does not know.

cdef inline bint fd_is_registered(int fd) noexcept nogil:
    if fd < 0 or fd >= RANGO_FD_MAX:
        return False
    return (rango_load(&rango_fd_bits[fd >> 6]) >> (fd & 63)) & 1


@cython.profile(False)
@cython.linetrace(False)
cdef void fork_prepare() noexcept nogil:
    pthread_mutex_lock(&rango_fd_mutex)


@cython.profile(False)
@cython.linetrace(False)
cdef void fork_parent() noexcept nogil:
    pthread_mutex_unlock(&rango_fd_mutex)


@cython.profile(False)
@cython.linetrace(False)
cdef void fork_child() noexcept nogil:
    # Only async-signal-safe calls are allowed between fork and exec: close and memory are.
    cdef int word, bit
    cdef uint64_t bits
    global rango_forks
    for word in range(RANGO_FD_MAX // 64):
        bits = rango_fd_bits[word]
        if bits == 0:
            continue
        for bit in range(64):
            if (bits >> bit) & 1:
                c_close(word * 64 + bit)
        rango_fd_bits[word] = 0
    rango_forks += 1
    pthread_mutex_unlock(&rango_fd_mutex)


cdef uint64_t posix_forks() noexcept nogil:
    return rango_forks


# The table.

cdef int posix_open(void *context, const char *path, int flags) noexcept nogil:
    # O_NONBLOCK: a FIFO under a file's name must not hang an open; regular files ignore it.
    cdef int how = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
    cdef int fd, failure
    cdef c_stat status
    how |= O_RDWR if flags & VFS_WRITE else O_RDONLY
    if flags & VFS_CREATE:
        if not flags & VFS_WRITE:
            return -EINVAL
        how |= O_CREAT
    if flags & VFS_EXCLUSIVE:
        how |= O_EXCL
    pthread_mutex_lock(&rango_fd_mutex)
    # O_NOATIME: else a reader beside a writer changes the inode again and again. Not where a file
    # is made: if it becomes somebody else's, it is there already when that is refused
    fd = c_open(path, how if flags & VFS_EXCLUSIVE else how | O_NOATIME, 0o600)
    if fd < 0 and errno == EPERM and not flags & VFS_EXCLUSIVE:     # somebody else's file
        fd = c_open(path, how, 0o600)
    failure = 0
    if fd < 0:
        failure = errno
    elif fd >= RANGO_FD_MAX:
        failure = EMFILE
    elif c_fstat(fd, &status) != 0:
        failure = errno
    elif not S_ISREG(status.st_mode):
        failure = EISDIR if S_ISDIR(status.st_mode) else EINVAL
    else:
        rango_or(&rango_fd_bits[fd >> 6], (<uint64_t>1) << (fd & 63))
    if failure and fd >= 0:
        c_close(fd)
    pthread_mutex_unlock(&rango_fd_mutex)
    return -failure if failure else fd


cdef int posix_close(void *context, int fd) noexcept nogil:
    cdef int status, failure = 0
    pthread_mutex_lock(&rango_fd_mutex)
    if not fd_is_registered(fd):
        # Closed already, or by the fork: the number may belong to somebody else now.
        failure = EBADF
    else:
        rango_and(&rango_fd_bits[fd >> 6], ~((<uint64_t>1) << (fd & 63)))
        status = c_close(fd)
        if status != 0 and errno != EINTR:      # Linux has released it even so; never close twice
            failure = errno
    pthread_mutex_unlock(&rango_fd_mutex)
    return -failure


cdef int64_t posix_read(
        void *context, int fd, void *into, size_t size, uint64_t offset) noexcept nogil:
    cdef int64_t got
    if not fd_is_registered(fd):
        return -EBADF
    if offset > <uint64_t>INT64_MAX:
        return -EINVAL
    got = c_pread(fd, into, size, <int64_t>offset)
    return got if got >= 0 else -errno


cdef int64_t posix_write(
        void *context, int fd, const void *source, size_t size, uint64_t offset) noexcept nogil:
    cdef int64_t done
    if not fd_is_registered(fd):
        return -EBADF
    if offset > <uint64_t>INT64_MAX:
        return -EINVAL
    done = c_pwrite(fd, source, size, <int64_t>offset)
    return done if done >= 0 else -errno


cdef int posix_flush(void *context, int fd) noexcept nogil:
    if not fd_is_registered(fd):
        return -EBADF
    return 0 if rango_flush(fd) == 0 else -errno


cdef int posix_truncate(void *context, int fd, uint64_t size) noexcept nogil:
    cdef int _try
    if not fd_is_registered(fd):
        return -EBADF
    if size > <uint64_t>INT64_MAX:
        return -EINVAL
    for _try in range(INTERRUPTS_MAX):
        if c_ftruncate(fd, <int64_t>size) == 0:
            return 0
        if errno != EINTR:
            break
    return -errno


cdef int64_t posix_size(void *context, int fd) noexcept nogil:
    cdef c_stat status
    if not fd_is_registered(fd):
        return -EBADF
    return <int64_t>status.st_size if c_fstat(fd, &status) == 0 else -errno


cdef int posix_rename(void *context, const char *source, const char *target) noexcept nogil:
    return 0 if c_rename(source, target) == 0 else -errno


cdef int posix_remove(void *context, const char *path) noexcept nogil:
    return 0 if c_remove(path) == 0 else -errno


cdef int posix_flush_directory(void *context, const char *path) noexcept nogil:
    # No O_NOFOLLOW here: a database may be named through a link to its directory.
    cdef int fd = c_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    cdef int failure = 0
    if fd < 0:
        return -errno
    if c_fsync(fd) != 0:
        failure = errno
    c_close(fd)
    return -failure


cdef int posix_lock(
        void *context, int fd, uint64_t start, uint64_t size, int mode) noexcept nogil:
    # An exclusive range needs a descriptor open for writing (EBADF otherwise). Without range locks
    # the whole file is locked (RANGE_LOCKS is False), so each lock then needs a file of its own.
    cdef c_flock lock
    cdef int how
    if not fd_is_registered(fd):
        return -EBADF
    if start > <uint64_t>INT64_MAX or size > <uint64_t>INT64_MAX:
        return -EINVAL
    lock.l_whence = SEEK_SET
    lock.l_start = <int64_t>start
    lock.l_len = <int64_t>size
    lock.l_pid = 0
    if mode == VFS_UNLOCK:
        lock.l_type = F_UNLCK
        how = LOCK_UN
    elif mode == VFS_SHARED:
        lock.l_type = F_RDLCK
        how = LOCK_SH | LOCK_NB
    elif mode == VFS_EXCLUSIVE_LOCK:
        lock.l_type = F_WRLCK
        how = LOCK_EX | LOCK_NB
    else:
        return -EINVAL
    if rango_lock(fd, &lock, how) == 0:
        return 0
    if errno == EAGAIN or errno == EACCES:
        return -EAGAIN
    return -errno


cdef void posix_table(vfs_table *table) noexcept nogil:
    table.open = posix_open
    table.close = posix_close
    table.read = posix_read
    table.write = posix_write
    table.flush = posix_flush
    table.truncate = posix_truncate
    table.size = posix_size
    table.rename = posix_rename
    table.remove = posix_remove
    table.flush_directory = posix_flush_directory
    table.lock = posix_lock


cdef int posix_file_system(const char *path, uint64_t *number, bytearray name) except 1:
    """0 and the number of the type (0: none, then its name is appended), or -errno."""
    cdef c_statfs status
    cdef int answer
    with nogil:
        answer = c_statfs_call(path, &status)
        if answer != 0:
            answer = -errno
    if answer == 0:
        number[0] = rango_statfs_type(&status)
        name += <bytes>rango_statfs_name(&status)
    return answer


if not rango_fork_hooked:
    if pthread_atfork(fork_prepare, fork_parent, fork_child) != 0:
        raise MemoryError("the fork handler of rango._ext.posix could not be registered")
    rango_fork_hooked = 1
