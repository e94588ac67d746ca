# THE byte offsets and sizes of everything that Rango stores. Nothing else defines an offset;
# layout.pyx shows the same
# numbers to Python, and tests/unit/test_layout.py compares them with docs/reference/format.md.
# All integers are little-endian and read byte by byte (span.pxd). Sizes and offsets are bytes
# unless the name says otherwise.

cdef enum:
    # --- sizes that every file shares
    TAG_SIZE = 16
    NONCE_SIZE = 12
    KEY_SIZE = 32
    CHAIN_SIZE = 32                 # a chain value H(n): BLAKE2b-256
    DATABASE_ID_SIZE = 16
    FORMAT_VERSION = 1

    # --- kinds of file, one byte of every AAD
    FILE_KIND_SUPERBLOCK = 1
    FILE_KIND_PAGE = 2
    FILE_KIND_FRAME = 3
    FILE_KIND_KEYS = 4
    FILE_KIND_SPILL = 5
    FILE_KIND_PACKED = 6

    # --- data.rango: units, page images
    UNIT_SIZE = 4096
    SLOT_UNITS = 2                  # units 0 and 1 are the superblock slots
    IMAGE_UNITS_MAX = 16            # so an image is at most 64 KiB
    IMAGE_EPOCH = 0                 # u32
    IMAGE_NONCE = 4                 # 12
    # u32: bytes of ciphertext; bit 31 set: the opened bytes are LZ4 (u32 size, then the block)
    IMAGE_LENGTH = 16
    IMAGE_HEADER_SIZE = 20          # ciphertext starts here, the tag follows it
    IMAGE_OVERHEAD = 36             # header + tag
    IMAGE_COMPRESSED = 0x80000000

    # --- a link to a page image: place + part of its tag
    LINK_UNIT = 0                   # u48: first unit
    LINK_UNITS = 6                  # u8: units of the image
    LINK_KIND = 7                   # u8: PAGE_*
    LINK_TAG = 8                    # first 8 bytes of the image's tag
    LINK_SIZE = 16

    # --- an opened page
    PAGE_LEAF = 1
    PAGE_BRANCH = 2
    PAGE_OVERFLOW = 3               # opened bytes are a piece of one record, no header
    PAGE_BITMAP = 4                 # opened bytes are bits, one per unit, 1 = used; no header
    PAGE_ROOTS = 5                  # opened bytes are kept roots, one behind the other; no header
    PAGE_KIND = 0                   # u8
    PAGE_FLAGS = 1                  # u8, 0
    PAGE_COUNT = 2                  # u16: slots
    PAGE_USED = 4                   # u32: size of the opened page
    # u16: leading bytes that all keys share (of a branch: all keys but the first, which is empty)
    PAGE_PREFIX = 8
    # u16 at 10 is 0; then heads, then offsets, both in key order, then cells
    PAGE_HEADER_SIZE = 12
    # u32: the 4 key bytes behind the shared ones, as a big-endian number, padded with zeros
    PAGE_HEAD_SIZE = 4
    PAGE_OFFSET_SIZE = 2            # u16: of the cell
    PAGE_SLOT_SIZE = 6              # head and offset

    # leaf cell: key_size u16, value_size u32 (bit 31: value is an overflow list), key, value
    LEAF_CELL_KEY_SIZE = 0
    LEAF_CELL_VALUE_SIZE = 2
    LEAF_CELL_HEADER_SIZE = 6
    LEAF_CELL_OVERFLOW = 0x80000000

    # overflow list: size of the whole record u32, then a link for each piece
    OVERFLOW_SIZE = 0
    OVERFLOW_LINKS = 4
    OVERFLOW_PIECE_SIZE = 61440     # 15 units of content leave room for header and tag in 16 units

    # branch cell: key_size u16, link 16, entries below u64, key (the first cell's key is empty)
    BRANCH_CELL_KEY_SIZE = 0
    BRANCH_CELL_LINK = 2
    BRANCH_CELL_ENTRIES = 18
    BRANCH_CELL_HEADER_SIZE = 26

    # --- record: the value of a collection's tree
    RECORD_FLAGS = 0                # u8: 0 live, 1 tombstone (no BSON follows)
    RECORD_NODE_SIZE = 1            # u8: bytes of the node id
    RECORD_COUNTER = 2              # u16: counter of the revision
    RECORD_MS = 4                   # u64: milliseconds of the revision
    RECORD_UPDATED_AT = 12          # i64: wall clock, milliseconds since the epoch
    # u64: first ordinal of a commit. In a tree: the one that wrote this version. In the log: the
    # one that wrote the version before it, 0 = none.
    RECORD_ORDINAL = 20
    # then the node id, then the actor if there is one (size u8, and so many bytes), then the BSON
    RECORD_HEADER_SIZE = 28
    RECORD_FLAG_TOMBSTONE = 1       # what a tombstone has behind its node id is its actor
    RECORD_FLAG_ACTOR = 2           # of a live record: there is an actor

    # --- oplog: segments and frames
    SEGMENT_MAGIC = 0               # 8 bytes "RANGOLOG"
    SEGMENT_VERSION = 8             # u32
    SEGMENT_FEATURES = 12           # u32: bits; an unknown one means refuse
    SEGMENT_DATABASE_ID = 16        # 16
    SEGMENT_ID = 32                 # u64
    SEGMENT_PREDECESSOR = 40        # u64: id of the segment before, 0 = none
    SEGMENT_PREDECESSOR_END = 48    # u64: where its last frame ended
    SEGMENT_FIRST_ORDINAL = 56      # u64: ordinal of the first frame of this segment
    SEGMENT_CHAIN = 64              # 32: chain value before the first frame
    SEGMENT_SALT = 96               # 16: for the subkey
    SEGMENT_EPOCH = 112             # u32: key epoch
    SEGMENT_TAG = 120               # 16: keyed BLAKE2b-128 of bytes 0..119 (unkeyed without a key)
    SEGMENT_HEADER_SIZE = 136
    SEGMENT_PURGED = 1              # feature bit: some frames are purged; a table ends the file
    SEGMENT_BASE = 2                # feature bit: a base segment, see format.md
    SEGMENT_PACKED = 4              # feature bit: packed, see format.md
    # purge table: entries, then a footer that ends the file
    PURGE_OFFSET = 0                # u64: where a purged frame starts
    PURGE_DIGEST = 8                # 32: digest of the frame as it was first written
    PURGE_ENTRY_SIZE = 40
    PURGE_STAMP = 0                 # 8: random, another one each time that the segment is rewritten
    PURGE_COUNT = 8                 # u32: entries before the footer
    PURGE_MAGIC = 12                # u32
    PURGE_MAGIC_VALUE = 0x55505247  # "GRPU" as stored
    PURGE_FOOTER_SIZE = 16

    # --- a packed segment: header, pieces, their table, heads, purged ordinals, footer
    PIECE_MAGIC = 0                 # u32
    PIECE_MAGIC_VALUE = 0x43505247  # "GRPC" as stored
    PIECE_SIZE = 4                  # u32: bytes of ciphertext, without the tag
    PIECE_BLOCK = 8                 # u32: number of the block of the segment, or PIECE_TAIL
    PIECE_TAIL = 0xffffffff         # what follows the frames: the purge table
    PIECE_NONCE = 12                # 12
    PIECE_HEADER_SIZE = 24          # then the ciphertext and the tag
    PIECE_OVERHEAD = 40             # header and tag
    # the opened bytes of a piece: u32 size, then an LZ4 block of so many bytes, which are
    CONTENT_COUNT = 0               # u16: frames
    CONTENT_ORDINAL = 2             # u64: ordinal of the first of them
    CONTENT_CHAIN = 10              # 32: chain value before it
    CONTENT_HEADER_SIZE = 42        # block 0: the segment's header; nonces, entries, bodies
    CONTENT_SIZE_MAX = 65792        # of a block's content
    ENTRY_KIND = 3                  # bits of the first byte of an entry: the frame's kind
    ENTRY_PURGED = 4                # bit: purged; the digest of what it was ends the entry
    ENTRY_LATER = 8                 # bit: not the first frame of its commit; by how many
    ENTRY_BEHIND = 16               # bit: durable lies further behind; by how many
    TABLE_SIZE = 0                  # u32: bytes of the piece, header and tag included
    TABLE_ORDINAL = 4               # u64: ordinal of its first frame, or of the next one
    TABLE_DIGEST = 12               # 32: BLAKE2b-256 of the piece
    TABLE_ENTRY_SIZE = 44
    MARK_ORDINAL = 0                # u64: of a head that was signed
    MARK_CHAIN = 8                  # 32: the chain value there
    MARK_SIZE = 40
    PACKED_LIMIT = 0                # u64: where the frames end in the segment as it was
    PACKED_TAIL_SIZE = 8            # u32: bytes behind that, 0 or the purge table
    PACKED_PIECES = 12              # u32
    PACKED_MARKS = 16               # u32
    PACKED_PURGED = 20              # u32: ordinals of purged frames, u64 each
    PACKED_FRAMES = 24              # u64
    PACKED_COMMITS = 32             # u64
    PACKED_ORDINAL = 40             # u64: of the last frame
    PACKED_CHAIN = 48               # 32: chain value after it
    PACKED_PURGES = 80              # 32: what a purge signature names, zeros if nothing is purged
    PACKED_VERIFY_KEY = 112         # 32: Ed25519
    PACKED_SIGNATURE = 144          # 64
    PACKED_MAGIC = 208              # 8 bytes "RANGOPAK"
    PACKED_FOOTER_SIZE = 216

    FRAME_MAGIC_VALUE = 0x4d465247  # "GRFM" as stored
    FRAME_MAGIC = 0                 # u32
    FRAME_CHECK = 4                 # u32: CRC-32 of header bytes 8..67
    FRAME_BODY_SIZE = 8             # u32: ciphertext bytes, without the tag
    FRAME_KIND = 12                 # u8: FRAME_PART, FRAME_COMMIT or FRAME_CLOSED
    FRAME_FLAGS = 13                # u8: 0, or FRAME_PURGED
    FRAME_RESERVED = 14             # u16: 0
    FRAME_ORDINAL = 16              # u64
    FRAME_FIRST_ORDINAL = 24        # u64: ordinal of the first frame of this commit
    # u64: greatest ordinal known to be durable when this frame was written
    FRAME_DURABLE = 32
    FRAME_PREVIOUS = 40             # 16: first half of the chain value before this frame
    FRAME_NONCE = 56                # 12
    FRAME_HEADER_SIZE = 68          # ciphertext, then the tag, then zeros to a multiple of 8
    FRAME_ALIGN = 8
    FRAME_OVERHEAD = 84             # header + tag
    FRAME_PART = 1                  # a piece of a commit that goes on in the next frame
    FRAME_COMMIT = 2                # the last (or only) frame of a commit
    FRAME_CLOSED = 3                # written and flushed by close(): empty body
    FRAME_PURGED = 1                # flag: sealed again without what a purge took out
    # no frame crosses a multiple of this: one can find any ordinal by bisection over blocks
    BLOCK_SIZE = 65536
    SEGMENT_SIZE_MAX = 67108864
    SEGMENT_FRAMES_MAX = 1048576    # AES-GCM with random nonces: 2^20 seals a subkey
    SEGMENT_FIRST_STEP = 262144     # prewritten at creation
    SEGMENT_STEP_MAX = 4194304      # prewritten ahead in steps that double up to this

    # --- commit body: mutations, back to back
    COMMIT_VERSION = 0              # u8, 1 to 3
    COMMIT_VERSION_ACTORS = 3       # that number: some record has an actor
    COMMIT_COUNT = 1                # u32: mutations
    COMMIT_HEADER_SIZE = 5
    MUTATION_SIZE = 0               # u32: bytes of this mutation, this field included
    MUTATION_OP = 4                 # u8: MUTATION_*
    MUTATION_TREE = 5               # u32: tree that holds the record
    MUTATION_KEY_SIZE = 9           # u16
    # u32: record bytes (a tombstone record for a delete of a document)
    MUTATION_VALUE_SIZE = 11
    MUTATION_INDEX_COUNT = 15       # u32: index entries
    MUTATION_HEADER_SIZE = 19       # key, value, index entries
    MUTATION_INSERT = 1             # no live document had this key
    MUTATION_REPLACE = 2            # a live document is replaced
    # a live document becomes a tombstone (in the catalog: the tree is gone)
    MUTATION_DELETE = 3
    # a record goes without a tombstone; the value is one byte: was it live?
    MUTATION_FORGET = 4
    # what a purge leaves: zeros of the same size; the byte behind the header is the operation that
    # it was, 0 for a forget of a record that was not live
    MUTATION_PURGED = 5
    # index entry; the key is the key of the fields, then the key of the document's _id. INDEX_PUT
    # goes on with the number of the index's fields, u8, and so many type bytes
    INDEX_ENTRY_OP = 0              # u8: INDEX_*
    INDEX_ENTRY_TREE = 1            # u32
    INDEX_ENTRY_SPLIT = 5           # u16: size of the first of the two keys
    INDEX_ENTRY_KEY_SIZE = 7        # u16
    INDEX_ENTRY_HEADER_SIZE = 9
    INDEX_ADD = 1                   # in commits of version 1: without type bytes
    INDEX_REMOVE = 2
    INDEX_PUT = 3
    INDEX_VALUE_SIZE = 2            # the value in the index's tree: split, u16, then type bytes

    TREE_CATALOG = 0                # tree 0 is the catalog; keys are tree ids (u32 big-endian)

    # --- superblock slot (one unit)
    SLOT_MAGIC = 0                  # 8 bytes "RANGODAT"
    SLOT_VERSION = 8                # u32
    SLOT_FEATURES = 12              # u32: bits; an unknown one means refuse
    SLOT_FEATURE_MARKS = 1          # catalog values may have marks
    SLOT_FEATURE_ROOTS = 2          # SLOT_ROOTS names a page
    SLOT_FEATURE_ACTORS = 4         # records may have an actor
    SLOT_DATABASE_ID = 16           # 16
    SLOT_EPOCH = 32                 # u32: key epoch
    SLOT_NONCE = 36                 # 12
    SLOT_BODY = 48                  # ciphertext of the body, then the tag
    SLOT_BODY_SIZE = 4032           # 4096 - 48 - 16
    # body
    SLOT_GENERATION = 0             # u64
    SLOT_ORDINAL = 8                # u64: T, the last ordinal that the trees hold
    SLOT_CHAIN = 16                 # 32: H(T)
    SLOT_LOG_SEGMENT = 48           # u64: where the frame after T starts
    SLOT_LOG_OFFSET = 56            # u64
    SLOT_FILE_UNITS = 64            # u64: the file is at least this long
    SLOT_CATALOG = 72               # link of the catalog tree's root (zeros = empty)
    SLOT_CATALOG_HEIGHT = 88        # u8
    SLOT_CLEAN = 89                 # u8: 1 = written by close(), trees as in the slot before
    SLOT_TREE_NEXT = 92             # u32: next tree id
    SLOT_HLC_MS = 96                # u64: greatest revision logged up to T
    SLOT_HLC_COUNTER = 104          # u16
    SLOT_BITMAP_COUNT = 106         # u16: links of bitmap pages
    SLOT_SEALS = 108                # u64: pages sealed under this epoch so far
    SLOT_REACH = 116                # u64: ordinal that the log must reach, at least T
    SLOT_BITMAP = 128               # then links, BITMAP_LINKS_MAX at most
    BITMAP_LINKS_MAX = 240
    SLOT_ROOTS = 3968               # link of the page of kept roots (zeros = none)
    # bytes of bits in one bitmap page = 491,520 units = 1.9 GiB of file
    BITMAP_PIECE_SIZE = 61440

    # catalog value, then the definition as BSON
    CATALOG_LINK = 0
    CATALOG_HEIGHT = 16
    CATALOG_ENTRIES = 17            # u64: keys in the tree
    CATALOG_LIVE = 25               # u64: entries that are not tombstones
    CATALOG_FLAGS = 33              # u8: CATALOG_FLAG_*
    CATALOG_HEADER_SIZE = 34
    CATALOG_FLAG_MULTIKEY = 1       # sticky: some document had an array on the path of this index
    CATALOG_FLAG_MARKS = 2          # the marks of an index come before the definition, u64
    CATALOG_MARKS_SIZE = 8

    # --- keys: two equal copies of one unit each
    # Magic, version, features and check lie where they lie in every version, so that an older Rango
    # can say "too new".
    KEYS_MAGIC = 0                  # 8 bytes "RANGOKEY"
    KEYS_VERSION = 8                # u32
    KEYS_FEATURES = 12              # u32: bits; an unknown one means refuse
    KEYS_DATABASE_ID = 16           # 16
    KEYS_GENERATION = 32            # u64: number of this state of the file, from 1
    KEYS_EPOCH = 40                 # u32: newest key epoch, from 1
    KEYS_CIPHER = 44                # u8: KEYS_CIPHER_*
    KEYS_RESERVED = 45              # 3: 0
    KEYS_VERIFY_KEY = 48            # 32: Ed25519 public key, in clear
    KEYS_SIGN_NONCE = 80            # 12
    # 48: Ed25519 seed sealed under the root key (without a key: checksummed only)
    KEYS_SIGN_SEED = 92
    KEYS_SLOTS = 256                # KEYS_SLOTS_MAX key slots
    KEYS_SLOTS_MAX = 8
    KEYS_SLOT_SIZE = 256
    # 32: BLAKE2b-256 keyed by the root key over bytes 0..4047 (zeros without a key)
    KEYS_MAC = 4048
    KEYS_CHECK = 4080               # 16: BLAKE2b-128 of bytes 0..4079
    KEYS_COPY_SIZE = 4096
    KEYS_COPIES = 2
    KEYS_FILE_SIZE = 8192
    KEYS_CIPHER_PLAIN = 0
    KEYS_CIPHER_AES256GCM = 1

    # key slot: one secret that unwraps the root key
    KEYS_SLOT_KIND = 0              # u8: KEYS_KIND_*
    # u8: 1; of the slot, so that a newer file may keep older slots unopened
    KEYS_SLOT_VERSION = 1
    KEYS_SLOT_OPERATIONS = 4        # u32: Argon2id passes
    KEYS_SLOT_MEMORY = 8            # u64: Argon2id memory, bytes
    KEYS_SLOT_SALT = 16             # 16
    KEYS_SLOT_NONCE = 32            # 12
    # 48: the root key, sealed under the key that comes from the secret
    KEYS_SLOT_WRAPPED = 44
    KEYS_SLOT_EXTRA = 92            # 164: 0; room for a challenge or a credential name
    KEYS_KIND_EMPTY = 0
    KEYS_KIND_PASSPHRASE = 1        # Argon2id 1.3, one lane
    KEYS_KIND_RAW = 2               # 32 random bytes, given or from a key file
    KEYS_KIND_TOKEN = 3             # the answer of a token to a challenge made from the salt
    KEYS_KIND_KEYRING = 4           # 32 random bytes that the operating system's keyring holds
