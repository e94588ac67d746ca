# Page images: reading them through the cache, and writing new ones for a checkpoint.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from rango._ext.page_cache cimport Page, PageCache
from rango._ext.seal cimport SealKey
from rango._ext.shared cimport Shared
from rango._ext.units cimport Units
from rango._ext.vfs cimport Vfs


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)


cdef class Pager:
    cdef readonly Vfs vfs
    cdef readonly str path
    cdef readonly int fd
    cdef readonly int private_fd        # where the units from `floor` on are; -1: in the same file
    cdef uint64_t floor                 # no unit below it is given out
    cdef uint8_t database_id[16]
    cdef readonly object keyring
    cdef SealKey key                    # of `epoch`, for writing
    cdef readonly uint32_t epoch
    # for reading: never another one, because readers hold no lock; others are the keyring's
    cdef SealKey read_key
    cdef uint32_t read_epoch
    cdef dict older_keys
    cdef pthread_mutex_t mutex          # guards the cache and `loading`
    cdef int loading                    # reads of the file under way
    cdef bint is_closed
    cdef PageCache cache
    cdef public Shared shared           # None: no other process has this database
    cdef uint64_t forks                 # fork_count() when this was made: in a child it is another
    cdef readonly uint64_t reads        # images read and opened
    cdef readonly uint64_t hits
    cdef readonly uint64_t seals        # images sealed under `epoch`
    # building a generation
    cdef Units used                     # reachable from the generation being built
    cdef Units kept                     # reachable from a generation that must stay readable
    cdef uint64_t search                # where the search for free units goes on
    # units that the file has (or will have, once what was planned is written)
    cdef uint64_t file_units

    # the page of a link, retained; NULL with PageCorrupted or IoFailed set
    cdef Page *read(self, const uint8_t *link) except NULL nogil
    cdef Page *_load(self, const uint8_t *link) except NULL nogil
    cdef Page *_open_image(
        self, const uint8_t *link, uint8_t *image, uint8_t *opened
    ) except NULL nogil
    cdef Page *_page_from(
        self, const uint8_t *link, const uint8_t *opened, uint32_t size, bint packed
    ) except NULL nogil
    cdef int _raise_stale(self, uint64_t unit, str what) except -1 with gil
    cdef int _open_older(
        self, uint32_t epoch, const uint8_t *aad, const uint8_t *image, size_t sealed,
        uint8_t *into
    ) except -1
    cdef void _keep(self, Page *page) noexcept nogil
    cdef void _keep_written(
        self, const uint8_t *link, const uint8_t *data, size_t size
    ) noexcept nogil
    # seal and write one image; fills its link
    cdef int write(
        self, int kind, const uint8_t *data, size_t size, bint squeeze, bint keep, uint8_t *link
    ) except -1 nogil
    cdef int write_at(
        self, int kind, uint64_t unit, uint32_t units, const uint8_t *data, size_t size,
        bint packed, uint8_t *link
    ) except -1 nogil
    cdef int free_link(self, const uint8_t *link) except -1 nogil
    cdef int allocate(self, uint32_t units, uint64_t *first) except -1 nogil
