"""Log segments: the header of one, and how one comes into being.

Terms       segment, ordinal, chain value: see glossary. Void: a segment whose header is not one.
Invariants  I-6 (a salt, hence a subkey, of its own for each segment). A file has its name only when
            its header and its first zeros are durable.
Layout      layout.pxd SEGMENT_*; frames from SEGMENT_HEADER_SIZE on (frame.pyx).
Failure     bytes that are not a header under the keyring's tag: None. Unknown version or features
            under a good tag: FormatTooNew.
Sources     storage-notes scenario 10.
"""

import os

from rango.errors import FormatTooNew, IoFailed

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from rango._ext.layout cimport (
    CHAIN_SIZE, DATABASE_ID_SIZE, FORMAT_VERSION, SEGMENT_BASE, SEGMENT_CHAIN, SEGMENT_DATABASE_ID,
    SEGMENT_EPOCH, SEGMENT_FEATURES, SEGMENT_FIRST_ORDINAL, SEGMENT_FIRST_STEP,
    SEGMENT_HEADER_SIZE, SEGMENT_ID, SEGMENT_MAGIC, SEGMENT_PACKED, SEGMENT_PREDECESSOR,
    SEGMENT_PREDECESSOR_END, SEGMENT_PURGED, SEGMENT_SALT, SEGMENT_TAG, SEGMENT_VERSION, UNIT_SIZE,
)
from rango._ext.span cimport load_u32, load_u64, store_u32, store_u64
from rango._ext.vfs cimport VFS_CREATE, VFS_WRITE, Vfs, vfs_kept_raise, vfs_write_all

cdef enum:
    ZEROS_SIZE = 65536

cdef uint8_t[ZEROS_SIZE] zeros
memset(zeros, 0, ZEROS_SIZE)
cdef bytes MAGIC = b"RANGOLOG"


cdef int raise_read(
        Vfs vfs, uint64_t segment_id, uint64_t offset, int64_t status) except -1 with gil:
    vfs_kept_raise(vfs)
    raise IoFailed(
        f"oplog segment {segment_id} cannot be read at {offset}: {os.strerror(<int>-status)};"
        " check the disk, then try again")


# --- the header ---

@cython.final
cdef class SegmentHeader:
    """The first bytes of a segment file: who it is and what it continues."""

    def __init__(
            self, uint64_t id, uint64_t predecessor, uint64_t predecessor_end,
            uint64_t first_ordinal, bytes chain not None, bytes salt not None, uint32_t epoch,
            bytes database_id not None, uint32_t features=0):
        if len(chain) != CHAIN_SIZE or len(salt) != 16 or len(database_id) != DATABASE_ID_SIZE:
            raise ValueError("chain is 32 bytes, salt 16 and database id 16")
        self.id = id
        self.predecessor = predecessor
        self.predecessor_end = predecessor_end
        self.first_ordinal = first_ordinal
        self.chain = chain
        self.salt = salt
        self.epoch = epoch
        self.database_id = database_id
        self.features = features

    def pack(self, keyring) -> bytes:
        """The stored header, under the keyring's tag."""
        cdef uint8_t[SEGMENT_HEADER_SIZE] packed
        memset(packed, 0, SEGMENT_HEADER_SIZE)
        memcpy(packed + SEGMENT_MAGIC, <const uint8_t *>MAGIC, 8)
        store_u32(packed + SEGMENT_VERSION, FORMAT_VERSION)
        store_u32(packed + SEGMENT_FEATURES, self.features)
        memcpy(packed + SEGMENT_DATABASE_ID, <const uint8_t *>self.database_id, DATABASE_ID_SIZE)
        store_u64(packed + SEGMENT_ID, self.id)
        store_u64(packed + SEGMENT_PREDECESSOR, self.predecessor)
        store_u64(packed + SEGMENT_PREDECESSOR_END, self.predecessor_end)
        store_u64(packed + SEGMENT_FIRST_ORDINAL, self.first_ordinal)
        memcpy(packed + SEGMENT_CHAIN, <const uint8_t *>self.chain, CHAIN_SIZE)
        memcpy(packed + SEGMENT_SALT, <const uint8_t *>self.salt, 16)
        store_u32(packed + SEGMENT_EPOCH, self.epoch)
        cdef bytes covered = (<const char *>packed)[:SEGMENT_TAG]
        cdef bytes tag = keyring.segment_mac(self.epoch, covered)
        return covered + tag

    @staticmethod
    def unpack(bytes data not None, keyring):
        """The header in these bytes, or None when they are not one (a void segment)."""
        cdef SegmentHeader header = SegmentHeader.unpack_unproven(data)
        if header is None:
            return None
        tag = keyring.segment_mac(header.epoch, data[:SEGMENT_TAG])
        if tag != data[SEGMENT_TAG:SEGMENT_HEADER_SIZE]:
            return None
        cdef const uint8_t *source = data
        cdef uint32_t version = load_u32(source + SEGMENT_VERSION)
        cdef uint32_t features = load_u32(source + SEGMENT_FEATURES)
        cdef uint32_t known = SEGMENT_PURGED | SEGMENT_BASE | SEGMENT_PACKED
        if version != FORMAT_VERSION or features & ~known:
            raise FormatTooNew(
                f"oplog segment {header.id} has format {version} and features {features:#x}, this"
                f" Rango knows format {FORMAT_VERSION} and features {known:#x}; update"
                " Rango")
        return header

    @staticmethod
    def unpack_unproven(bytes data not None):
        """What the bytes say, whatever their tag says: for salvage. None: too short, no magic."""
        cdef const uint8_t *source = data
        if len(data) < SEGMENT_HEADER_SIZE or data[:8] != MAGIC:
            return None
        return SegmentHeader(
            load_u64(source + SEGMENT_ID), load_u64(source + SEGMENT_PREDECESSOR),
            load_u64(source + SEGMENT_PREDECESSOR_END), load_u64(source + SEGMENT_FIRST_ORDINAL),
            data[SEGMENT_CHAIN:SEGMENT_CHAIN + CHAIN_SIZE], data[SEGMENT_SALT:SEGMENT_SALT + 16],
            load_u32(source + SEGMENT_EPOCH),
            data[SEGMENT_DATABASE_ID:SEGMENT_DATABASE_ID + DATABASE_ID_SIZE],
            load_u32(source + SEGMENT_FEATURES))


# --- creation ---

def segment_path(directory: str, segment_id: int) -> str:
    """Where a segment is stored: 16 decimal digits, so that names sort as numbers do."""
    return os.path.join(directory, f"{segment_id:016d}.rgo")


cpdef uint64_t first_size(uint64_t segment_size_max) noexcept:
    """How much of a new segment is prewritten: less than usual where segments are tiny."""
    cdef uint64_t size = (segment_size_max + 2 * UNIT_SIZE - 1) & ~(<uint64_t>(UNIT_SIZE - 1))
    return SEGMENT_FIRST_STEP if size > SEGMENT_FIRST_STEP else size


cdef int zeros_write(Vfs vfs, int fd, uint64_t offset, uint64_t size) noexcept nogil:
    cdef size_t piece
    cdef int status
    while size:
        piece = ZEROS_SIZE if size > ZEROS_SIZE else <size_t>size
        status = vfs_write_all(vfs, fd, zeros, piece, offset)
        if status < 0:
            return status
        offset += piece
        size -= piece
    return 0


cdef int segment_create(
        Vfs vfs, const char *directory, const char *temporary, const char *path,
        const uint8_t *header, uint64_t size, int *stage) noexcept nogil:
    cdef int status
    cdef int fd
    stage[0] = STAGE_CREATE
    fd = vfs.table.open(vfs.context, temporary, VFS_WRITE | VFS_CREATE)
    if fd < 0:
        return fd
    stage[0] = STAGE_WRITE
    # what a crash left under this name goes first: a shorter rest would stay behind the zeros
    status = vfs.table.truncate(vfs.context, fd, 0)
    if status == 0:
        status = vfs_write_all(vfs, fd, header, SEGMENT_HEADER_SIZE, 0)
    if status == 0 and size > <uint64_t>SEGMENT_HEADER_SIZE:
        status = zeros_write(vfs, fd, SEGMENT_HEADER_SIZE, size - SEGMENT_HEADER_SIZE)
    if status == 0:
        stage[0] = STAGE_FLUSH
        status = vfs.table.flush(vfs.context, fd)
    if status >= 0:
        stage[0] = STAGE_RENAME
        status = vfs.table.rename(vfs.context, temporary, path)
    if status >= 0:
        stage[0] = STAGE_DIRECTORY
        status = vfs.table.flush_directory(vfs.context, directory)
    if status >= 0:
        return fd
    vfs.table.close(vfs.context, fd)
    if stage[0] == STAGE_WRITE or stage[0] == STAGE_RENAME:
        vfs.table.remove(vfs.context, temporary)
    return status


def create_segment(
        Vfs vfs not None, str directory not None, str path not None, bytes header not None,
        uint64_t size):
    """Create a segment file that nothing is written to yet and return its descriptor."""
    cdef bytes place = os.fsencode(directory)
    cdef bytes target = os.fsencode(path)
    cdef bytes temporary = target + b".new"
    cdef int stage = STAGE_CREATE
    cdef int fd
    if len(header) != SEGMENT_HEADER_SIZE:
        raise ValueError("a segment header is 136 bytes")
    fd = segment_create(vfs, place, temporary, target, header, size, &stage)
    vfs_kept_raise(vfs)
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd), path)
    return fd
