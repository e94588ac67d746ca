"""Page images: reading them by their links, and the writing side of a checkpoint.

Terms       unit, page image, link, generation: see the glossary.
Invariants  I-2 (allocate gives out nothing that `kept` holds), I-4 (read compares the link's tag
            bytes, then the full tag), I-6 (a fresh nonce for each image, subkey of the epoch).
Layout      layout.pxd IMAGE_*, LINK_*; docs/reference/format.md#page-image.
Failure     A wrong tag, length or content is PageCorrupted naming file and byte; a failed read is
            IoFailed. Neither latches. A failed write raises before anything names the image: the
            checkpoint is abandoned (LowDisk or IoFailed).
Sources     ADR-0002, ADR-0005.
"""

import errno

from rango.errors import (
    DatabaseClosed,
    ForkedHandle,
    IoFailed,
    LowDisk,
    PageCorrupted,
    SnapshotTooOld,
)

cimport cython
from libc.errno cimport EDQUOT, ENOSPC
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from rango._ext.compress cimport lz4_compress, lz4_decompress
from rango._ext.layout cimport (
    DATABASE_ID_SIZE,
    FILE_KIND_PAGE,
    IMAGE_COMPRESSED,
    IMAGE_EPOCH,
    IMAGE_HEADER_SIZE,
    IMAGE_LENGTH,
    IMAGE_NONCE,
    IMAGE_OVERHEAD,
    LINK_KIND,
    LINK_TAG,
    LINK_UNIT,
    LINK_UNITS,
    PAGE_BRANCH,
    PAGE_LEAF,
    SLOT_UNITS,
    TAG_SIZE,
    UNIT_SIZE,
)
from rango._ext.page cimport page_check
from rango._ext.page_cache cimport (
    Page,
    buried_free,
    cache_clear,
    cache_count,
    cache_find,
    cache_fit,
    cache_free,
    cache_init,
    cache_put,
    page_bytes,
    page_new,
    page_release,
    page_retain,
)
from rango._ext.span cimport load_u32, load_u48, load_u64, store_u32, store_u48, store_u64
from rango._ext.units cimport (
    units_find,
    units_free,
    units_get,
    units_init,
    units_mark,
    units_resize,
    units_used,
)
from rango._ext.vfs cimport fork_count, vfs_read_all, vfs_write_all


cdef extern from "<sched.h>" nogil:
    int sched_yield()


cdef enum:
    IMAGE_SIZE_MAX = 65536      # IMAGE_UNITS_MAX * UNIT_SIZE
    AAD_SIZE = 34               # kind of file 1, database id 16, epoch 4, unit 8, kind 1, length 4


cdef int raise_page(str path, uint64_t unit, str what) except -1 with gil:
    raise PageCorrupted(f"{path}:{unit * UNIT_SIZE}", what)


cdef int raise_io(str path, uint64_t unit, int64_t code, bint writing) except -1 with gil:
    cdef int number = <int>-code
    if writing and number in (ENOSPC, EDQUOT):
        raise LowDisk(
            f"{path}: no space for the checkpoint ({errno.errorcode.get(number, number)}); "
            "nothing was lost, free space and write again"
        )
    verb = "writing" if writing else "reading"
    raise IoFailed(
        f"{path}: {verb} at byte {unit * UNIT_SIZE} failed "
        f"({errno.errorcode.get(number, number)}); check the disk, then open the database "
        "again"
    )


cdef int raise_closed(str path) except -1 with gil:
    raise DatabaseClosed(
        f"{path} was closed while this cursor or snapshot was open; open the database again"
    )


cdef int raise_forked(str path) except -1 with gil:
    raise ForkedHandle(f"{path} was opened before the fork; open the database again in the child")


cdef int raise_memory() except -1 with gil:
    raise MemoryError


cdef void image_aad(
    uint8_t *into, const uint8_t *database_id, uint32_t epoch, uint64_t unit, uint8_t kind,
    uint32_t length
) noexcept nogil:
    into[0] = FILE_KIND_PAGE
    memcpy(into + 1, database_id, DATABASE_ID_SIZE)
    store_u32(into + 17, epoch)
    store_u64(into + 21, unit)
    into[29] = kind
    store_u32(into + 30, length)


@cython.final
cdef class Pager:
    """The data file's pages. One for each open database; safe for any number of threads."""

    def __cinit__(
        self, Vfs vfs not None, str path not None, int fd, bytes database_id not None,
        object keyring, uint32_t epoch, uint64_t cache_size
    ):
        self.vfs = vfs
        self.path = path
        self.fd = fd
        self.private_fd = -1
        self.floor = SLOT_UNITS
        memcpy(self.database_id, <const uint8_t *><char *>database_id, DATABASE_ID_SIZE)
        self.keyring = keyring
        self.epoch = epoch
        self.key = keyring.page_key(epoch)
        self.read_epoch = epoch
        self.read_key = self.key
        self.older_keys = {}
        self.forks = fork_count()
        if cache_init(&self.cache, cache_size) < 0:
            raise MemoryError
        pthread_mutex_init(&self.mutex, NULL)
        units_init(&self.used)
        units_init(&self.kept)
        self.search = SLOT_UNITS

    def __dealloc__(self):
        cache_free(&self.cache)
        buried_free()
        units_free(&self.used)
        units_free(&self.kept)
        pthread_mutex_destroy(&self.mutex)

    # --- reading

    cdef Page *read(self, const uint8_t *link) except NULL nogil:  # hot
        cdef uint64_t unit = load_u48(link + LINK_UNIT)
        cdef uint64_t tag = load_u64(link + LINK_TAG)
        cdef Page *page
        if self.forks != fork_count():
            # the mutex may be held for ever here, and the descriptor is somebody else's
            raise_forked(self.path)
        pthread_mutex_lock(&self.mutex)
        page = cache_find(&self.cache, unit, tag)
        if page != NULL:
            page.recent = 1
            self.hits += 1
            page_retain(page)
            cache_count(&self.cache, page)
            pthread_mutex_unlock(&self.mutex)
            return page
        pthread_mutex_unlock(&self.mutex)
        page = self._load(link)
        self._keep(page)
        return page

    cdef Page *_load(self, const uint8_t *link) except NULL nogil:
        # images are read to the heap: musl gives threads 128 KiB of stack
        cdef size_t size = <size_t>link[LINK_UNITS] * UNIT_SIZE
        cdef uint8_t *image
        cdef Page *page
        if size == 0 or size > IMAGE_SIZE_MAX or load_u48(link + LINK_UNIT) < SLOT_UNITS:
            raise_page(self.path, load_u48(link + LINK_UNIT), "a link names an impossible place")
        image = <uint8_t *>malloc(size * 2)
        if image == NULL:
            raise_memory()
        pthread_mutex_lock(&self.mutex)
        self.loading += 1
        pthread_mutex_unlock(&self.mutex)
        try:
            if self.is_closed:
                raise_closed(self.path)
            page = self._open_image(link, image, image + size)
        finally:
            free(image)
            pthread_mutex_lock(&self.mutex)
            self.loading -= 1
            pthread_mutex_unlock(&self.mutex)
        return page

    cdef Page *_open_image(
        self, const uint8_t *link, uint8_t *image, uint8_t *opened
    ) except NULL nogil:
        cdef uint64_t unit = load_u48(link + LINK_UNIT)
        cdef size_t units = link[LINK_UNITS]
        cdef uint8_t kind = link[LINK_KIND]
        cdef uint8_t aad[AAD_SIZE]
        cdef uint32_t length
        cdef uint32_t size
        cdef uint32_t epoch
        cdef int64_t got
        cdef int authentic
        if self.private_fd >= 0 and unit >= self.floor:
            got = vfs_read_all(
                self.vfs, self.private_fd, image, units * UNIT_SIZE,
                (unit - self.floor) * UNIT_SIZE
            )
        else:
            got = vfs_read_all(self.vfs, self.fd, image, units * UNIT_SIZE, unit * UNIT_SIZE)
        if got < 0:
            raise_io(self.path, unit, got, False)
        if <size_t>got < units * UNIT_SIZE:
            self._raise_stale(unit, "the file ends before the page does")
        epoch = load_u32(image + IMAGE_EPOCH)
        length = load_u32(image + IMAGE_LENGTH)
        size = length & ~<uint32_t>IMAGE_COMPRESSED
        if size > units * UNIT_SIZE - IMAGE_OVERHEAD:
            self._raise_stale(unit, "the page's length does not fit its units")
        if load_u64(image + IMAGE_HEADER_SIZE + size) != load_u64(link + LINK_TAG):
            self._raise_stale(
                unit, "the page is not the one that its link names (stale, swapped or damaged)"
            )
        image_aad(aad, self.database_id, epoch, unit, kind, length)
        if epoch == self.read_epoch:
            authentic = self.read_key.open(
                aad, AAD_SIZE, image + IMAGE_NONCE, image + IMAGE_HEADER_SIZE, size + TAG_SIZE,
                opened
            )
        else:
            with gil:
                authentic = self._open_older(epoch, aad, image, size + TAG_SIZE, opened)
        if not authentic:
            # or it was read while it was written
            self._raise_stale(
                unit, "the page's tag does not match its content (damaged or altered)"
            )
        return self._page_from(link, opened, size, (length & IMAGE_COMPRESSED) != 0)

    cdef int _raise_stale(self, uint64_t unit, str what) except -1 with gil:
        # what a link names is not there: damage, unless a checkpoint has overruled our pin
        if self.shared is not None and self.shared.is_overruled:
            raise SnapshotTooOld(
                f"{self.path}: a cursor or snapshot stayed open while other processes replaced"
                " what it reads, and its pages had to be used again; open it again"
            )
        raise_page(self.path, unit, what)

    cdef Page *_page_from(
        self, const uint8_t *link, const uint8_t *opened, uint32_t size, bint packed
    ) except NULL nogil:
        cdef uint64_t unit = load_u48(link + LINK_UNIT)
        cdef uint8_t kind = link[LINK_KIND]
        cdef uint32_t full = size
        cdef bint is_tree
        cdef Page *page
        if packed:
            if size < 4 or load_u32(opened) > IMAGE_SIZE_MAX:
                raise_page(self.path, unit, "the page's compressed form is malformed")
            full = load_u32(opened)
        page = page_new(kind, full, unit, load_u64(link + LINK_TAG))
        if page == NULL:
            raise_memory()
        if packed:
            if lz4_decompress(
                opened + 4, <int>(size - 4), <uint8_t *>page_bytes(page), <int>full
            ) != <int>full:
                page_release(page)
                raise_page(self.path, unit, "the page's compressed form is malformed")
        else:
            memcpy(<uint8_t *>page_bytes(page), opened, full)
        is_tree = kind == PAGE_LEAF or kind == PAGE_BRANCH
        if is_tree and page_check(page_bytes(page), full, kind) < 0:
            page_release(page)
            raise_page(self.path, unit, "the page's slots are malformed")
        self.reads += 1
        return page

    cdef int _open_older(
        self, uint32_t epoch, const uint8_t *aad, const uint8_t *image, size_t sealed,
        uint8_t *into
    ) except -1:
        cdef SealKey key = self.older_keys.get(epoch)
        if key is None:
            key = self.keyring.page_key(epoch)
            self.older_keys[epoch] = key
        return key.open(aad, AAD_SIZE, image + IMAGE_NONCE, image + IMAGE_HEADER_SIZE, sealed, into)

    cdef void _keep(self, Page *page) noexcept nogil:
        pthread_mutex_lock(&self.mutex)
        cache_put(&self.cache, page)
        pthread_mutex_unlock(&self.mutex)

    # --- writing a generation

    cdef int allocate(self, uint32_t units, uint64_t *first) except -1 nogil:
        cdef uint64_t unit = units_find(&self.used, &self.kept, self.search, self.file_units, units)
        if unit == self.file_units and self.search > self.floor:
            unit = units_find(&self.used, &self.kept, self.floor, self.file_units, units)
        if unit == self.file_units:
            # go on at the end, over what is free there already
            unit = self.file_units
            while unit > self.floor and not units_get(
                &self.used, unit - 1
            ) and not units_get(&self.kept, unit - 1):
                unit -= 1
            self.file_units = unit + units
            if self.used.count < self.file_units:
                units_resize(&self.used, self.file_units)
        units_mark(&self.used, unit, units, True)
        self.search = unit + units
        first[0] = unit
        return 0

    cdef int free_link(self, const uint8_t *link) except -1 nogil:
        cdef uint64_t unit = load_u48(link + LINK_UNIT)
        cdef uint64_t units = link[LINK_UNITS]
        if unit < SLOT_UNITS or unit + units > self.used.count or not units_get(&self.used, unit):
            raise_page(self.path, unit, "a page that is given up is not marked as used")
        units_mark(&self.used, unit, units, False)
        return 0

    cdef int write(
        self, int kind, const uint8_t *data, size_t size, bint squeeze, bint keep, uint8_t *link
    ) except -1 nogil:
        # squeeze: LZ4, if that saves a unit; keep: put the opened page into the cache
        cdef uint8_t *packed = NULL
        cdef uint32_t units = <uint32_t>((size + IMAGE_OVERHEAD + UNIT_SIZE - 1) // UNIT_SIZE)
        cdef uint32_t fewer
        cdef int packed_size = 0
        cdef uint64_t unit
        if squeeze and units > 1:
            packed = <uint8_t *>malloc(units * UNIT_SIZE)
            if packed == NULL:
                raise_memory()
            packed_size = lz4_compress(data, <int>size, packed + 4,
                                       <int>((units - 1) * UNIT_SIZE - IMAGE_OVERHEAD - 4))
        try:
            if packed_size > 0:
                fewer = <uint32_t>((packed_size + 4 + IMAGE_OVERHEAD + UNIT_SIZE - 1) // UNIT_SIZE)
                store_u32(packed, <uint32_t>size)
                self.allocate(fewer, &unit)
                self.write_at(kind, unit, fewer, packed, <size_t>packed_size + 4, True, link)
            else:
                self.allocate(units, &unit)
                self.write_at(kind, unit, units, data, size, False, link)
        finally:
            free(packed)
        if keep:
            self._keep_written(link, data, size)
        return 0

    cdef void _keep_written(
        self, const uint8_t *link, const uint8_t *data, size_t size
    ) noexcept nogil:
        cdef Page *page = page_new(
            link[LINK_KIND], <uint32_t>size, load_u48(link + LINK_UNIT), load_u64(link + LINK_TAG)
        )
        if page == NULL:
            return
        memcpy(<uint8_t *>page_bytes(page), data, size)
        self._keep(page)
        page_release(page)

    cdef int write_at(
        self, int kind, uint64_t unit, uint32_t units, const uint8_t *data, size_t size,
        bint packed, uint8_t *link
    ) except -1 nogil:
        cdef uint8_t *image = <uint8_t *>malloc(units * UNIT_SIZE)
        cdef uint8_t aad[AAD_SIZE]
        cdef uint32_t length = <uint32_t>size | (<uint32_t>IMAGE_COMPRESSED if packed else 0)
        cdef size_t total = size + IMAGE_OVERHEAD
        cdef int code
        if image == NULL:
            raise_memory()
        image_aad(aad, self.database_id, self.epoch, unit, <uint8_t>kind, length)
        store_u32(image + IMAGE_EPOCH, self.epoch)
        store_u32(image + IMAGE_LENGTH, length)
        try:
            self.key.seal(aad, AAD_SIZE, data, size, image + IMAGE_NONCE, image + IMAGE_HEADER_SIZE)
            self.seals += 1
            memset(image + total, 0, units * UNIT_SIZE - total)
            if self.private_fd >= 0:
                code = vfs_write_all(
                    self.vfs, self.private_fd, image, units * UNIT_SIZE,
                    (unit - self.floor) * UNIT_SIZE
                )
            else:
                code = vfs_write_all(self.vfs, self.fd, image, units * UNIT_SIZE, unit * UNIT_SIZE)
            memcpy(link + LINK_TAG, image + IMAGE_HEADER_SIZE + size, 8)
        finally:
            free(image)
        if code < 0:
            raise_io(self.path, unit, code, True)
        store_u48(link + LINK_UNIT, unit)
        link[LINK_UNITS] = <uint8_t>units
        link[LINK_KIND] = <uint8_t>kind
        return 0

    # --- doors

    def stats(self) -> dict:
        """Cache (bytes, those of templates among them, pages, hits) and file counters."""
        return {
            "cache_bytes": self.cache.bytes_used,
            "cache_pages": self.cache.ring_count,
            "template_bytes": self.cache.templates_size,
            "cache_size": self.cache.bytes_max,
            "hits": self.hits,
            "reads": self.reads,
            "seals": self.seals,
            "file_units": self.file_units,
            "used_units": units_used(&self.used),
        }

    def close(self) -> None:
        """Close the file once nobody reads from it; whoever comes later gets DatabaseClosed.

        Idempotent.
        """
        cdef bint is_busy = True
        if self.is_closed or (self.fd < 0 and self.private_fd < 0):
            self.is_closed = True
            return
        with nogil:
            pthread_mutex_lock(&self.mutex)
            self.is_closed = True
            while is_busy:
                # a read takes microseconds; it has seen is_closed or is counted
                is_busy = self.loading > 0
                if is_busy:
                    pthread_mutex_unlock(&self.mutex)
                    sched_yield()
                    pthread_mutex_lock(&self.mutex)
            pthread_mutex_unlock(&self.mutex)
        try:
            if self.private_fd >= 0:
                self.vfs.close(self.private_fd)
        finally:
            if self.fd >= 0:
                self.vfs.close(self.fd)

    def write_apart(self, int fd, uint64_t floor) -> None:
        """Put every page that is written into another file, as units from `floor` on; the data file
        is only read. Before the first read or write; close() closes both.
        """
        self.private_fd = fd
        self.floor = floor

    def epoch_use(self, uint32_t epoch) -> None:
        """Seal what is written from now on under another key epoch. Under the checkpoint lock."""
        self.key = self.keyring.page_key(epoch)
        self.epoch = epoch

    def cache_resize(self, uint64_t cache_size) -> None:
        """Keep at most this many bytes of opened pages from now on."""
        pthread_mutex_lock(&self.mutex)
        self.cache.bytes_max = cache_size
        cache_fit(&self.cache)
        pthread_mutex_unlock(&self.mutex)
        buried_free()

    def forget_cache(self) -> None:
        """Drop every cached page (tests of damage, and `check`, want to read from the file)."""
        pthread_mutex_lock(&self.mutex)
        cache_clear(&self.cache)
        pthread_mutex_unlock(&self.mutex)
        buried_free()

    def page_of(self, bytes link not None) -> tuple[int, bytes]:
        """Kind and opened bytes of the page that a link names. Raises PageCorrupted."""
        cdef Page *page = self.read(<const uint8_t *><char *>link)
        cdef bytes data = page_bytes(page)[:page.size]
        cdef int kind = page.kind
        page_release(page)
        return kind, data
