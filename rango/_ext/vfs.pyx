"""The only door to files: a table of C functions, POSIX or Python below, and doors for storage.

Terms       door, kernel: architecture section 9. Flush: make data and size durable (fdatasync), not
            the directory entry. Short: fewer bytes than asked for, and not an error.
Invariants  I-10 (a flush is tried once: EINTR is handed up, never retried), I-12 (nothing here
            reads a clock or draws randomness).
Failure     table functions return -errno; doors raise OSError(errno, text, path). ENOSPC and EDQUOT
            stay distinct from EIO. What a Python implementation raises besides OSError is reported
            as -EIO and raised by the next door.
Sources     architecture sections 3 and 4.
"""

import os

from rango._ext import posix

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EBADF, EINTR, EIO
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy
from rango._ext.posix cimport posix_file_system, posix_forks, posix_table

# A signal storm may interrupt a call often, a broken driver for ever.
cdef enum:
    INTERRUPTS_MAX = 1000

# Above this a read is first cut to the file's size, so that a hostile length allocates nothing.
cdef enum:
    READ_UNCHECKED_MAX = 65536

RANGE_LOCKS = posix.RANGE_LOCKS


cpdef uint64_t fork_count() noexcept nogil:
    """How often this process image was forked off; a handle that recalls another number is dead."""
    return posix_forks()


# Python: each function takes the GIL and calls the method of the same name; OSError becomes -errno.

cdef int failure_of(PythonVfs vfs, error) noexcept:
    """The -errno of an exception; one that is no OSError is kept for the next door."""
    if isinstance(error, OSError) and isinstance(error.errno, int) and 0 < error.errno < 4096:
        return -<int>error.errno
    vfs.kept.append(error)
    return -EIO


cdef int python_open(void *context, const char *path, int flags) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    cdef int fd
    try:
        fd = vfs.impl.open(os.fsdecode(<bytes>path), flags)
        return fd if fd >= 0 else -EBADF
    except BaseException as error:
        return failure_of(vfs, error)


cdef int python_close(void *context, int fd) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    try:
        vfs.impl.close(fd)
        return 0
    except BaseException as error:
        return failure_of(vfs, error)


cdef int64_t python_read(
        void *context, int fd, void *into, size_t size, uint64_t offset) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    cdef bytes data
    try:
        data = vfs.impl.read(fd, size, offset)
        if data is None or <size_t>PyBytes_GET_SIZE(data) > size:
            raise ValueError(f"read() of the implementation must return at most {size} bytes")
        memcpy(into, PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data))
        return <int64_t>PyBytes_GET_SIZE(data)
    except BaseException as error:
        return failure_of(vfs, error)


cdef int64_t python_write(
        void *context, int fd, const void *source, size_t size, uint64_t offset) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    cdef int64_t done
    try:
        done = vfs.impl.write(
            fd, PyBytes_FromStringAndSize(<const char *>source, <Py_ssize_t>size), offset)
        if done < 0 or <uint64_t>done > size:
            raise ValueError(f"write() of the implementation must return 0 to {size}, not {done}")
        return done
    except BaseException as error:
        return failure_of(vfs, error)


cdef int python_flush(void *context, int fd) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    try:
        vfs.impl.flush(fd)
        return 0
    except BaseException as error:
        return failure_of(vfs, error)


cdef int python_truncate(void *context, int fd, uint64_t size) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    try:
        vfs.impl.truncate(fd, size)
        return 0
    except BaseException as error:
        return failure_of(vfs, error)


cdef int64_t python_size(void *context, int fd) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    cdef int64_t size
    try:
        size = vfs.impl.size(fd)
        if size < 0:
            raise ValueError(f"size() of the implementation must not be negative, it is {size}")
        return size
    except BaseException as error:
        return failure_of(vfs, error)


cdef int python_rename(void *context, const char *source, const char *target) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    try:
        vfs.impl.rename(os.fsdecode(<bytes>source), os.fsdecode(<bytes>target))
        return 0
    except BaseException as error:
        return failure_of(vfs, error)


cdef int python_remove(void *context, const char *path) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    try:
        vfs.impl.remove(os.fsdecode(<bytes>path))
        return 0
    except BaseException as error:
        return failure_of(vfs, error)


cdef int python_flush_directory(void *context, const char *path) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    try:
        vfs.impl.flush_directory(os.fsdecode(<bytes>path))
        return 0
    except BaseException as error:
        return failure_of(vfs, error)


cdef int python_lock(
        void *context, int fd, uint64_t start, uint64_t size, int mode) noexcept with gil:
    cdef PythonVfs vfs = <PythonVfs>context
    try:
        vfs.impl.lock(fd, start, size, mode)
        return 0
    except BaseException as error:
        return failure_of(vfs, error)


# Kernels.

cdef int64_t vfs_read_all(
        Vfs vfs, int fd, void *into, size_t size, uint64_t offset) noexcept nogil:
    cdef size_t done = 0
    cdef int64_t got
    cdef int interrupts = 0
    while done < size:
        got = vfs.table.read(vfs.context, fd, <uint8_t *>into + done, size - done, offset + done)
        if got == -EINTR and interrupts < INTERRUPTS_MAX:
            interrupts += 1
            continue
        if got < 0:
            return got
        if got == 0:
            break
        interrupts = 0
        done += <size_t>got
    return <int64_t>done


cdef int vfs_write_all(
        Vfs vfs, int fd, const void *source, size_t size, uint64_t offset) noexcept nogil:
    cdef size_t done = 0
    cdef int64_t put
    cdef int interrupts = 0
    while done < size:
        put = vfs.table.write(
            vfs.context, fd, <const uint8_t *>source + done, size - done, offset + done)
        if put == -EINTR and interrupts < INTERRUPTS_MAX:
            interrupts += 1
            continue
        if put < 0:
            return <int>put
        if put == 0:        # no progress and no reason given: a loop would never end
            return -EIO
        interrupts = 0
        done += <size_t>put
    return 0


cdef int vfs_kept_raise(Vfs vfs) except -1:
    if vfs.kept:
        raise vfs.kept.pop(0)
    return 0


# Doors.

cdef bytes path_encode(path):
    cdef bytes encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("a path contains a NUL character; remove it")
    return encoded


cdef class Vfs:
    """The doors of storage; each raises OSError(errno, text, path). POSIX unless subclassed."""

    def __cinit__(self, *arguments, **more):
        self.names = {}
        self.kept = []
        self.context = NULL
        posix_table(&self.table)

    cdef object answer(self, int64_t status, path):
        """The status as an int; raises what is kept, or the OSError of a negative status."""
        if self.kept:
            raise self.kept.pop(0)
        if status < 0:
            raise OSError(<int>-status, os.strerror(<int>-status), path)
        return status

    cdef int64_t block_of(self, int fd, uint64_t ordinal) noexcept nogil:
        return -1

    def open(self, path, int flags):
        """A descriptor. A link at the path's end is ELOOP; what is no file is EISDIR or EINVAL."""
        cdef bytes encoded = path_encode(path)
        cdef const char *name = encoded
        cdef int fd
        with nogil:
            fd = self.table.open(self.context, name, flags)
        self.answer(fd, path)
        self.names[fd] = path
        return fd

    def close(self, int fd):
        """Closes a descriptor; EBADF if it is not open here (or was closed by a fork)."""
        cdef int status
        path = self.names.pop(fd, None)
        with nogil:
            status = self.table.close(self.context, fd)
        self.answer(status, path)

    def read(self, int fd, uint64_t size, uint64_t offset):
        """The bytes at offset; shorter than size only at the end of the file."""
        cdef int64_t got, end
        cdef bytes data
        cdef char *into
        cdef size_t room
        if size > READ_UNCHECKED_MAX:
            with nogil:
                end = self.table.size(self.context, fd)
            self.answer(end, self.names.get(fd))
            size = min(size, <uint64_t>end - offset if <uint64_t>end > offset else <uint64_t>0)
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        into = PyBytes_AS_STRING(data)
        room = <size_t>size
        with nogil:
            got = vfs_read_all(self, fd, into, room, offset)
        self.answer(got, self.names.get(fd))
        return data if <uint64_t>got == size else data[:got]

    def write(self, int fd, const uint8_t[::1] data not None, uint64_t offset):
        """Writes all of data at offset. After an error any part of it may be in the file."""
        cdef size_t size = <size_t>data.shape[0]
        cdef const uint8_t *source = NULL
        cdef int status
        if size:
            source = &data[0]
        with nogil:
            status = vfs_write_all(self, fd, source, size, offset)
        self.answer(status, self.names.get(fd))

    def flush(self, int fd):
        """Makes data and size durable. Never repeat a failed one: its outcome is unknown (I-10)."""
        cdef int status
        with nogil:
            status = self.table.flush(self.context, fd)
        self.answer(status, self.names.get(fd))

    def truncate(self, int fd, uint64_t size):
        """Sets the file's size; what is added reads as zeros."""
        cdef int status
        with nogil:
            status = self.table.truncate(self.context, fd, size)
        self.answer(status, self.names.get(fd))

    def size(self, int fd):
        """The file's size in bytes."""
        cdef int64_t status
        with nogil:
            status = self.table.size(self.context, fd)
        return self.answer(status, self.names.get(fd))

    def rename(self, source, target):
        """Renames, replacing target; durable after a flush of both directories."""
        cdef bytes encoded_source = path_encode(source)
        cdef bytes encoded_target = path_encode(target)
        cdef const char *source_name = encoded_source
        cdef const char *target_name = encoded_target
        cdef int status
        with nogil:
            status = self.table.rename(self.context, source_name, target_name)
        self.answer(status, source)

    def remove(self, path):
        """Removes a file's name, or a directory that is empty; durable after a flush of the
        directory it is in."""
        cdef bytes encoded = path_encode(path)
        cdef const char *name = encoded
        cdef int status
        with nogil:
            status = self.table.remove(self.context, name)
        self.answer(status, path)

    def flush_directory(self, path):
        """Makes the names in a directory durable."""
        cdef bytes encoded = path_encode(path)
        cdef const char *name = encoded
        cdef int status
        with nogil:
            status = self.table.flush_directory(self.context, name)
        self.answer(status, path)

    def lock(self, int fd, uint64_t start, uint64_t size, int mode):
        """Locks or unlocks a byte range without waiting; False if somebody else has it."""
        cdef int status
        with nogil:
            status = self.table.lock(self.context, fd, start, size, mode)
        if status == -EAGAIN and not self.kept:
            return False
        self.answer(status, self.names.get(fd))
        return True

    def exists(self, path):
        """Whether a name is there (a dangling link counts)."""
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def list_directory(self, path):
        """The names in a directory, sorted."""
        return sorted(os.listdir(path))

    def make_directory(self, path, int mode=0o700):
        """Makes a directory; FileExistsError if the name is taken."""
        os.mkdir(path, mode)

    def free_bytes(self, path):
        """Bytes that this user may still allocate on the file system that holds path."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def shared_memory(self, path):
        """None: whoever wants to share a file maps it."""
        return None

    def file_system(self, path):
        """The type of the file system of path: "ext", "nfs", "fuse" ..., or its number in hex."""
        cdef bytes encoded = path_encode(path)
        cdef const char *name = encoded
        cdef uint64_t number = 0
        label = bytearray()
        self.answer(posix_file_system(name, &number, label), path)
        if number:
            return FILE_SYSTEMS.get(number, hex(number))
        return label.decode("ascii", "replace")


@cython.final
cdef class PosixVfs(Vfs):
    """Files of the operating system."""


@cython.final
cdef class PythonVfs(Vfs):
    """Files of a Python object (`VfsImplementation` in the stub); its OSError becomes -errno."""

    cdef readonly object impl

    def __init__(self, impl not None):
        self.impl = impl
        self.context = <void *>self
        self.table.open = python_open
        self.table.close = python_close
        self.table.read = python_read
        self.table.write = python_write
        self.table.flush = python_flush
        self.table.truncate = python_truncate
        self.table.size = python_size
        self.table.rename = python_rename
        self.table.remove = python_remove
        self.table.flush_directory = python_flush_directory
        self.table.lock = python_lock

    def exists(self, path):
        """Whether a name is there, says the implementation."""
        return self.impl.exists(os.fspath(path))

    def list_directory(self, path):
        """The names in a directory, sorted."""
        return sorted(self.impl.list_directory(os.fspath(path)))

    def make_directory(self, path, int mode=0o700):
        """Makes a directory; FileExistsError if the name is taken."""
        self.impl.make_directory(os.fspath(path), mode)

    def free_bytes(self, path):
        """Bytes that may still be allocated."""
        return self.impl.free_bytes(os.fspath(path))

    def shared_memory(self, path):
        """What stands for a mapping of this file: a writable buffer, the same for all who ask.
        None: the implementation has none, and one user at a time has the file.
        """
        shared_memory = getattr(self.impl, "shared_memory", None)
        return None if shared_memory is None else shared_memory(os.fspath(path))

    def file_system(self, path):
        """Always "python": no operating system is asked."""
        return "python"


# statfs(2) and linux/magic.h.
FILE_SYSTEMS = {
    0xEF53: "ext", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x2FC12FC1: "zfs", 0xF2F52010: "f2fs",
    0xCA451A4E: "bcachefs", 0x3153464A: "jfs", 0x52654973: "reiserfs", 0x794C7630: "overlay",
    0x01021994: "tmpfs", 0x858458F6: "ramfs", 0xF15F: "ecryptfs", 0x73717368: "squashfs",
    0xE0F5E1E2: "erofs", 0x9660: "iso9660", 0x4D44: "fat", 0x2011BAB0: "exfat",
    0x5346544E: "ntfs", 0x7366746E: "ntfs3", 0x786F4256: "vboxsf",
    0x6969: "nfs", 0x517B: "smb", 0xFF534D42: "cifs", 0xFE534D42: "smb2", 0x01021997: "9p",
    0x65735546: "fuse", 0x00C36400: "ceph", 0x0BD00BD0: "lustre", 0x01161970: "gfs2",
    0x7461636F: "ocfs2", 0x5346414F: "afs", 0x73757245: "coda",
}


POSIX = PosixVfs()
