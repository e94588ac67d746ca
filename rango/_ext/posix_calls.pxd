# The calls of the operating system that vfs.pyx makes, and what differs between systems. Only
# vfs.pyx may cimport this: the fork registry below is one per module that does.

from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <string.h>
    #include <sys/file.h>
    #include <sys/stat.h>
    #include <unistd.h>
    #if !defined(O_NOATIME)
    #define O_NOATIME 0
    #endif
    #if defined(__linux__)
    #include <sys/vfs.h>
    #define rango_statfs_type(s) ((uint64_t)(uint32_t)(s)->f_type)
    #define rango_statfs_name(s) ""
    #else
    #include <sys/mount.h>
    #include <sys/param.h>
    #define rango_statfs_type(s) ((uint64_t)0)
    #define rango_statfs_name(s) ((s)->f_fstypename)
    #endif
    #if defined(F_FULLFSYNC)
    #define rango_flush(fd) (fcntl(fd, F_FULLFSYNC) == -1 ? (errno == ENOTSUP ? fsync(fd) : -1) : 0)
    #else
    #define rango_flush(fd) fdatasync(fd)
    #endif
    #if defined(F_OFD_SETLK)
    #define RANGO_RANGE_LOCKS 1
    #define rango_lock(fd, l, how) ((void)(how), fcntl(fd, F_OFD_SETLK, l))
    #else
    #define RANGO_RANGE_LOCKS 0
    #define rango_lock(fd, l, how) flock(fd, how)
    #endif
    #define rango_or(p, v) __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
    #define rango_and(p, v) __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)
    #define rango_load(p) __atomic_load_n(p, __ATOMIC_RELAXED)
    #define RANGO_FD_MAX (1 << 20)
    static uint64_t rango_fd_bits[RANGO_FD_MAX / 64];
    static uint64_t rango_forks = 0;
    static int rango_fork_hooked = 0;
    static pthread_mutex_t rango_fd_mutex = PTHREAD_MUTEX_INITIALIZER;
    """
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct c_stat "struct stat":
        int64_t st_size
        unsigned int st_mode
    ctypedef struct c_flock "struct flock":
        short l_type
        short l_whence
        int64_t l_start
        int64_t l_len
        int l_pid
    ctypedef struct c_statfs "struct statfs":
        pass
    enum:
        O_RDONLY
        O_RDWR
        O_CREAT
        O_EXCL
        O_CLOEXEC
        O_NOFOLLOW
        O_NONBLOCK
        O_NOATIME
        O_DIRECTORY
        F_RDLCK
        F_WRLCK
        F_UNLCK
        SEEK_SET
        LOCK_SH
        LOCK_EX
        LOCK_UN
        LOCK_NB
        RANGO_RANGE_LOCKS
        RANGO_FD_MAX
    uint64_t rango_fd_bits[1]
    uint64_t rango_forks
    int rango_fork_hooked
    pthread_mutex_t rango_fd_mutex
    int pthread_mutex_lock(pthread_mutex_t *mutex) nogil
    int pthread_mutex_unlock(pthread_mutex_t *mutex) nogil
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                       void (*child)() noexcept nogil)
    int c_open "open"(const char *path, int flags, ...) nogil
    int c_close "close"(int fd) nogil
    int64_t c_pread "pread"(int fd, void *into, size_t size, int64_t offset) nogil
    int64_t c_pwrite "pwrite"(int fd, const void *source, size_t size, int64_t offset) nogil
    int c_ftruncate "ftruncate"(int fd, int64_t size) nogil
    int c_fsync "fsync"(int fd) nogil
    int c_fstat "fstat"(int fd, c_stat *out) nogil
    int c_statfs_call "statfs"(const char *path, c_statfs *out) nogil
    int S_ISREG(unsigned int mode) nogil
    int S_ISDIR(unsigned int mode) nogil
    int rango_flush(int fd) nogil
    int rango_lock(int fd, c_flock *lock, int how) nogil
    uint64_t rango_statfs_type(c_statfs *status) nogil
    const char *rango_statfs_name(c_statfs *status) nogil
    uint64_t rango_or(uint64_t *word, uint64_t value) nogil
    uint64_t rango_and(uint64_t *word, uint64_t value) nogil
    uint64_t rango_load(const uint64_t *word) nogil
