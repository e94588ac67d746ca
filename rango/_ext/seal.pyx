"""Sealing: AES-256-GCM by one of two libraries, or a checksum tag without a key; and hashes.

Terms       seal, open: glossary. Provider: the library that does AES. Sealed bytes: ciphertext,
            then a tag of 16 bytes.
Invariants  I-6 (a fresh nonce of 12 random bytes for every seal, from the system or the injected
            source, never kept in a buffer of ours, so that a fork, a copied machine or a crash
            cannot repeat one; what the kernel draws ahead in its own code it takes back itself:
            vdso_random.h), I-12.
Layout      libsodium and OpenSSL: AES-256-GCM, 96-bit nonce, 128-bit tag (NIST SP 800-38D); the
            same bytes from both. plain: the bytes as they are, nonce of zeros, tag = BLAKE2b-128
            (person "rango plain tag") of aad size u64 | aad | nonce | size u64 | bytes. It finds
            damage; anybody can compute it.
Failure     open answers 0 for bytes that are not authentic, whatever is wrong with them; only the
            caller knows the place. Unknown or missing provider: InvalidArgument. A source of
            randomness that fails: its own exception. The copy of a key that is kept here is wiped
            when its SealKey goes; OpenSSL's own copy is OpenSSL's to wipe.
Sources     architecture section 4; ADR-0044; RFC 7693 (BLAKE2b); ISO 3309 (CRC-32).
"""

import os

from nacl import _sodium
from rango.errors import InvalidArgument

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uintptr_t
from libc.string cimport memcpy, memset
from posix.dlfcn cimport RTLD_NOW, dlopen, dlsym

from rango._ext.layout cimport KEY_SIZE, NONCE_SIZE, TAG_SIZE
from rango._ext.span cimport load_u32, store_u64

cdef extern from "vdso_random.h":
    int rango_random(uint8_t *into, size_t size) noexcept nogil
    bint rango_vdso_switch(bint is_wanted) noexcept nogil

cdef enum:
    KIND_PLAIN = 0
    KIND_LIBSODIUM = 1
    KIND_OPENSSL = 2
    HASH_STATE_SIZE = 384       # crypto_generichash_blake2b_state, to be aligned at 64
    HASH_STATE_ALIGN = 64

ctypedef int (*aead_seal_t)(
    uint8_t *into, unsigned long long *into_size, const uint8_t *source, unsigned long long size,
    const uint8_t *aad, unsigned long long aad_size, const uint8_t *unused,
    const uint8_t *nonce, const uint8_t *key,
) noexcept nogil
ctypedef int (*aead_open_t)(
    uint8_t *into, unsigned long long *into_size, uint8_t *unused,
    const uint8_t *sealed, unsigned long long size,
    const uint8_t *aad, unsigned long long aad_size, const uint8_t *nonce, const uint8_t *key,
) noexcept nogil
ctypedef int (*schedule_t)(uint8_t *state, const uint8_t *key) noexcept nogil
ctypedef size_t (*size_of_t)() noexcept nogil
ctypedef void (*wipe_t)(void *start, size_t size) noexcept nogil
ctypedef int (*hash_init_t)(
    void *state, const uint8_t *key, size_t key_size, size_t out_size,
    const uint8_t *salt, const uint8_t *person,
) noexcept nogil
ctypedef int (*hash_update_t)(
    void *state, const uint8_t *data, unsigned long long size,
) noexcept nogil
ctypedef int (*hash_final_t)(void *state, uint8_t *out, size_t out_size) noexcept nogil

cdef aead_seal_t sodium_seal = NULL
cdef aead_open_t sodium_open = NULL
cdef aead_seal_t sodium_seal_scheduled = NULL       # NULL where PyNaCl's library hides the symbol
cdef aead_open_t sodium_open_scheduled = NULL
cdef schedule_t sodium_schedule = NULL
cdef wipe_t sodium_wipe = NULL
cdef hash_init_t hash_init = NULL
cdef hash_update_t hash_update = NULL
cdef hash_final_t hash_final = NULL

cdef uint8_t[16] PLAIN_PERSON
memset(PLAIN_PERSON, 0, 16)
memcpy(PLAIN_PERSON, b"rango plain tag", 15)

cdef uint32_t[8][256] crc_tables

cdef object nonce_observer = None
cdef bint is_observed = False


cdef void *cffi_function(str name) except NULL:
    """The C function behind a name of PyNaCl's CFFI module. The module is never unloaded."""
    ffi = _sodium.ffi
    return <void *><uintptr_t>int(ffi.cast("uintptr_t", ffi.addressof(_sodium.lib, name)))


cdef int load_hidden() except -1:
    """Look for the calls that take an expanded key: not declared to CFFI, hidden in some builds."""
    global sodium_schedule, sodium_seal_scheduled, sodium_open_scheduled
    cdef bytes path = os.fsencode(_sodium.__file__)
    cdef void *library = dlopen(path, RTLD_NOW)
    cdef size_of_t size_of
    if library == NULL:
        return 0
    size_of = <size_of_t>dlsym(library, b"crypto_aead_aes256gcm_statebytes")
    if size_of == NULL or size_of() > SCHEDULE_SIZE:
        return 0
    sodium_seal_scheduled = <aead_seal_t>dlsym(library, b"crypto_aead_aes256gcm_encrypt_afternm")
    sodium_open_scheduled = <aead_open_t>dlsym(library, b"crypto_aead_aes256gcm_decrypt_afternm")
    if sodium_seal_scheduled != NULL and sodium_open_scheduled != NULL:
        sodium_schedule = <schedule_t>dlsym(library, b"crypto_aead_aes256gcm_beforenm")
    return 0


cdef int load_functions() except -1:
    global sodium_seal, sodium_open, sodium_wipe, hash_init, hash_update, hash_final
    hash_init = <hash_init_t>cffi_function("crypto_generichash_blake2b_init_salt_personal")
    hash_update = <hash_update_t>cffi_function("crypto_generichash_blake2b_update")
    hash_final = <hash_final_t>cffi_function("crypto_generichash_blake2b_final")
    sodium_wipe = <wipe_t>cffi_function("sodium_memzero")
    if _sodium.lib.crypto_generichash_statebytes() > HASH_STATE_SIZE:
        raise ImportError(
            "this libsodium's BLAKE2b state is larger than 384 bytes; install PyNaCl's wheel")
    if _sodium.lib.crypto_aead_aes256gcm_is_available():
        sodium_seal = <aead_seal_t>cffi_function("crypto_aead_aes256gcm_encrypt")
        sodium_open = <aead_open_t>cffi_function("crypto_aead_aes256gcm_decrypt")
        load_hidden()
    return 0


cdef void fill_crc_tables() noexcept nogil:
    cdef uint32_t crc
    cdef int i, _bit, lane
    for i in range(256):
        crc = <uint32_t>i
        for _bit in range(8):
            crc = (crc >> 1) ^ (0xedb88320U if crc & 1 else 0U)
        crc_tables[0][i] = crc
    for i in range(256):
        for lane in range(1, 8):
            crc = crc_tables[lane - 1][i]
            crc_tables[lane][i] = (crc >> 8) ^ crc_tables[0][crc & 0xff]


# without it libsodium says that it has no AES-GCM; calling it again does nothing. Not through
# nacl.bindings: its modules take as long to load as ten of these
if _sodium.lib.sodium_init() < 0:
    raise ImportError("libsodium cannot be initialised on this machine; reinstall PyNaCl")
load_functions()
fill_crc_tables()
rango_vdso_switch(True)


cdef inline void *aligned(uint8_t *room, uintptr_t align) noexcept nogil:
    return <void *>((<uintptr_t>room + align - 1) & ~(align - 1))


cdef void blake2b_256(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out32,
) noexcept nogil:  # hot
    cdef uint8_t[HASH_STATE_SIZE + HASH_STATE_ALIGN] room
    cdef void *state = aligned(room, HASH_STATE_ALIGN)
    hash_init(state, NULL, 0, 32, NULL, NULL)
    hash_update(state, a, a_size)
    if b_size:
        hash_update(state, b, b_size)
    hash_final(state, out32, 32)


cdef uint32_t crc32(const uint8_t *data, size_t size) noexcept nogil:  # hot
    # eight bytes a step through eight tables ("slicing by 8"): 0.4 ns a byte (m)
    cdef uint32_t crc = 0xffffffffU
    cdef uint32_t low, high
    while size >= 8:
        low = crc ^ load_u32(data)
        high = load_u32(data + 4)
        crc = (
            crc_tables[7][low & 0xff] ^ crc_tables[6][(low >> 8) & 0xff]
            ^ crc_tables[5][(low >> 16) & 0xff] ^ crc_tables[4][low >> 24]
            ^ crc_tables[3][high & 0xff] ^ crc_tables[2][(high >> 8) & 0xff]
            ^ crc_tables[1][(high >> 16) & 0xff] ^ crc_tables[0][high >> 24]
        )
        data += 8
        size -= 8
    while size:
        crc = (crc >> 8) ^ crc_tables[0][(crc ^ data[0]) & 0xff]
        data += 1
        size -= 1
    return crc ^ 0xffffffffU


def chain_hash(bytes a not None, bytes b not None = b"") -> bytes:
    """BLAKE2b-256 of `a` followed by `b`."""
    cdef uint8_t[32] out
    blake2b_256(a, <size_t>len(a), b, <size_t>len(b), out)
    return out[:32]


def blake2b(data not None, size_t size, *, key not None = b"", bytes person not None = b""):
    """The BLAKE2b digest of so many bytes (at most 64), as hashlib's: that one would load OpenSSL.

    `key` (at most 64 bytes) makes it a MAC, `person` (at most 16) says what for.
    """
    cdef Py_buffer source
    cdef Py_buffer secret
    cdef uint8_t[64] out
    cdef uint8_t[16] purpose
    cdef uint8_t[HASH_STATE_SIZE + HASH_STATE_ALIGN] room
    cdef void *state = aligned(room, HASH_STATE_ALIGN)
    if not 0 < size <= 64 or len(key) > 64 or len(person) > 16:
        raise ValueError("a digest has 1 to 64 bytes, a key at most 64, a purpose at most 16")
    memset(purpose, 0, 16)
    memcpy(purpose, <const uint8_t *>person, <size_t>len(person))
    PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(key, &secret, PyBUF_SIMPLE)
        hash_init(
            state, <const uint8_t *>secret.buf, <size_t>secret.len, size, NULL, purpose)
        PyBuffer_Release(&secret)
        hash_update(state, <const uint8_t *>source.buf, <unsigned long long>source.len)
        hash_final(state, out, size)
        sodium_wipe(room, sizeof(room))
    finally:
        PyBuffer_Release(&source)
    return out[:size]


def crc32_bytes(bytes data not None) -> int:
    """CRC-32 of ISO 3309, the same as zlib.crc32."""
    return crc32(data, <size_t>len(data))


cdef int source_fill(object source, uint8_t *into, size_t size) except -1 with gil:
    cdef object given = source(size)
    if type(given) is not bytes or <size_t>len(given) != size:
        raise InvalidArgument(f"the source of randomness has to return exactly {size} bytes")
    memcpy(into, <const uint8_t *><bytes>given, size)
    return 0


cdef int entropy_failed() except -1 with gil:
    raise OSError("the operating system gives no random bytes (getentropy); nothing was written")


@cython.final
cdef class Entropy:
    """Where random bytes come from: the operating system, or an injected (size) -> bytes."""

    def __cinit__(self, object source=None):
        if source is not None and not callable(source):
            raise InvalidArgument("the source of randomness is a callable (size) -> bytes, or None")
        self.source = source

    cdef int fill(self, uint8_t *into, size_t size) except -1 nogil:
        if self.source is not None:
            return source_fill(self.source, into, size)
        return 0 if rango_random(into, size) == 0 else entropy_failed()

    def bytes(self, size: int) -> bytes:
        """`size` fresh random bytes."""
        cdef bytearray room = bytearray(size)
        cdef uint8_t *into = room
        cdef size_t wanted = <size_t>len(room)
        with nogil:
            self.fill(into, wanted)
        return bytes(room)

    def __reduce__(self):
        raise TypeError("a source of randomness cannot be pickled")


def random_by_vdso(bint is_wanted) -> bool:
    """For tests: whether to draw without system calls from now on; whether it is done."""
    return rango_vdso_switch(is_wanted)


def nonce_observer_set(object observer) -> None:
    """For tests: call `observer(key fingerprint, nonce)` for every AES seal; None stops that."""
    global nonce_observer, is_observed
    nonce_observer = observer
    is_observed = observer is not None


cdef int observe(SealKey key, const uint8_t *nonce) except -1 with gil:
    if nonce_observer is not None:
        nonce_observer(key.fingerprint, <bytes>nonce[:NONCE_SIZE])
    return 0


cdef int openssl_seal(
    SealKey key, const uint8_t *aad, size_t aad_size, const uint8_t *source, size_t size,
    const uint8_t *nonce, uint8_t *into,
) except -1 with gil:
    cdef bytes sealed = key.aead.encrypt(
        <bytes>nonce[:NONCE_SIZE], <bytes>source[:size], <bytes>aad[:aad_size])
    memcpy(into, <const uint8_t *>sealed, size + TAG_SIZE)
    return 0


cdef int openssl_open(
    SealKey key, const uint8_t *aad, size_t aad_size, const uint8_t *nonce,
    const uint8_t *sealed, size_t sealed_size, uint8_t *into,
) except -1 with gil:
    cdef bytes opened
    try:
        opened = key.aead.decrypt(
            <bytes>nonce[:NONCE_SIZE], <bytes>sealed[:sealed_size], <bytes>aad[:aad_size])
    except key.provider.refusal:
        return 0
    memcpy(into, <const uint8_t *>opened, sealed_size - TAG_SIZE)
    return 1


cdef void plain_tag(
    const uint8_t *aad, size_t aad_size, const uint8_t *nonce,
    const uint8_t *data, size_t size, uint8_t *tag,
) noexcept nogil:
    cdef uint8_t[HASH_STATE_SIZE + HASH_STATE_ALIGN] room
    cdef void *state = aligned(room, HASH_STATE_ALIGN)
    cdef uint8_t[8] length
    hash_init(state, NULL, 0, TAG_SIZE, NULL, PLAIN_PERSON)
    store_u64(length, aad_size)
    hash_update(state, length, 8)
    hash_update(state, aad, aad_size)
    hash_update(state, nonce, NONCE_SIZE)
    store_u64(length, size)
    hash_update(state, length, 8)
    hash_update(state, data, size)
    hash_final(state, tag, TAG_SIZE)


cdef bint is_equal(const uint8_t *a, const uint8_t *b, size_t size) noexcept nogil:
    cdef uint8_t difference = 0
    cdef size_t i
    for i in range(size):
        difference |= a[i] ^ b[i]
    return difference == 0


@cython.final
cdef class SealKey:
    """One subkey, ready for use, from Provider.key(). Wiped when it goes, and never shown."""

    def __cinit__(self, Provider provider not None, bytes key not None, Entropy entropy not None):
        if len(key) != KEY_SIZE:
            raise InvalidArgument(f"a key has exactly {KEY_SIZE} bytes, not {len(key)}")
        self.provider = provider
        self.entropy = entropy
        self.secret = <uint8_t *>aligned(self.memory, SCHEDULE_ALIGN)
        self.fingerprint = chain_hash(b"rango key fingerprint", key)[:8]
        if provider.kind == KIND_LIBSODIUM:
            if provider.is_scheduled:
                sodium_schedule(self.secret, key)
            else:
                memcpy(self.secret, <const uint8_t *>key, KEY_SIZE)
        elif provider.kind == KIND_OPENSSL:
            self.aead = provider.aead(key)

    def __dealloc__(self):
        sodium_wipe(self.memory, sizeof(self.memory))

    cdef int seal(
        self, const uint8_t *aad, size_t aad_size, const uint8_t *source, size_t size,
        uint8_t *nonce, uint8_t *into,
    ) except -1 nogil:  # hot
        if self.provider.kind == KIND_PLAIN:
            memset(nonce, 0, NONCE_SIZE)
        else:
            self.entropy.fill(nonce, NONCE_SIZE)
            if is_observed:
                observe(self, nonce)
        return self.seal_as(aad, aad_size, source, size, nonce, into)

    cdef int seal_as(
        self, const uint8_t *aad, size_t aad_size, const uint8_t *source, size_t size,
        const uint8_t *nonce, uint8_t *into,
    ) except -1 nogil:  # hot
        if self.provider.kind == KIND_LIBSODIUM:
            if self.provider.is_scheduled:
                sodium_seal_scheduled(
                    into, NULL, source, size, aad, aad_size, NULL, nonce, self.secret)
            else:
                sodium_seal(into, NULL, source, size, aad, aad_size, NULL, nonce, self.secret)
            return 0
        if self.provider.kind == KIND_OPENSSL:
            return openssl_seal(self, aad, aad_size, source, size, nonce, into)
        memcpy(into, source, size)
        plain_tag(aad, aad_size, nonce, source, size, into + size)
        return 0

    cdef int open(
        self, const uint8_t *aad, size_t aad_size, const uint8_t *nonce,
        const uint8_t *sealed, size_t sealed_size, uint8_t *into,
    ) except -1 nogil:  # hot
        cdef uint8_t[TAG_SIZE] tag
        cdef size_t size
        if sealed_size < TAG_SIZE:
            return 0
        if self.provider.kind == KIND_LIBSODIUM:
            if self.provider.is_scheduled:
                return 0 == sodium_open_scheduled(
                    into, NULL, NULL, sealed, sealed_size, aad, aad_size, nonce, self.secret)
            return 0 == sodium_open(
                into, NULL, NULL, sealed, sealed_size, aad, aad_size, nonce, self.secret)
        if self.provider.kind == KIND_OPENSSL:
            return openssl_open(self, aad, aad_size, nonce, sealed, sealed_size, into)
        size = sealed_size - TAG_SIZE
        plain_tag(aad, aad_size, nonce, sealed, size, tag)
        if not is_equal(tag, sealed + size, TAG_SIZE):
            return 0
        memcpy(into, sealed, size)
        return 1

    def seal_bytes(self, bytes aad not None, bytes data not None) -> tuple[bytes, bytes]:
        """Seal under a fresh nonce: (nonce, sealed bytes)."""
        cdef uint8_t[NONCE_SIZE] nonce
        cdef bytearray into = bytearray(len(data) + TAG_SIZE)
        self.seal(aad, <size_t>len(aad), data, <size_t>len(data), nonce, into)
        return nonce[:NONCE_SIZE], bytes(into)

    def seal_with_nonce(
        self, bytes aad not None, bytes nonce not None, bytes data not None,
    ) -> bytes:
        """For test vectors only: seal under a given nonce. One used twice gives secrets away."""
        cdef bytearray into = bytearray(len(data) + TAG_SIZE)
        if len(nonce) != NONCE_SIZE:
            raise InvalidArgument(f"a nonce has exactly {NONCE_SIZE} bytes, not {len(nonce)}")
        self.seal_as(aad, <size_t>len(aad), data, <size_t>len(data), nonce, into)
        return bytes(into)

    def open_bytes(
        self, bytes aad not None, bytes nonce not None, bytes sealed not None,
    ) -> bytes | None:
        """The bytes that were sealed, or None if anything about them is not authentic."""
        cdef bytearray into = bytearray(max(len(sealed) - TAG_SIZE, 0))
        if len(nonce) != NONCE_SIZE or len(sealed) < TAG_SIZE:
            return None
        if not self.open(aad, <size_t>len(aad), nonce, sealed, <size_t>len(sealed), into):
            return None
        return bytes(into)

    def __repr__(self) -> str:
        return f"<SealKey {self.fingerprint.hex()} of {self.provider.name}>"

    def __reduce__(self):
        raise TypeError("a key cannot be pickled")


@cython.final
cdef class Provider:
    """What seals: "libsodium", "openssl", or "plain" (no secrecy, a checksum tag)."""

    def __cinit__(
        self, str name not None, int kind, bint is_scheduled, object aead=None, object refusal=None,
    ):
        self.name = name
        self.kind = kind
        self.is_scheduled = is_scheduled
        self.aead = aead
        self.refusal = refusal

    def key(self, bytes key32 not None, Entropy entropy not None) -> SealKey:
        """A key of 32 bytes made ready for use."""
        return SealKey(self, key32, entropy)

    def __repr__(self) -> str:
        return f"<Provider {self.name}>"

    def __reduce__(self):
        raise TypeError("a provider belongs to its process and cannot be pickled")


PLAIN = Provider("plain", KIND_PLAIN, False)


def provider_libsodium(*, bint scheduled=True) -> Provider:
    """libsodium, or InvalidArgument. `scheduled=False`, for tests: as where symbols are hidden."""
    if sodium_seal == NULL:
        raise InvalidArgument(
            "libsodium has no AES-256-GCM on this machine; leave RANGO_CRYPTO unset or at openssl")
    return Provider("libsodium", KIND_LIBSODIUM, scheduled and sodium_schedule != NULL)


def provider_openssl() -> Provider:
    """OpenSSL through the `cryptography` package, imported here and not before."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return Provider("openssl", KIND_OPENSSL, False, AESGCM, InvalidTag)


def provider_choose(force: str | None = None) -> Provider:
    """What `force` or RANGO_CRYPTO names; else libsodium if it has AES-GCM; else OpenSSL."""
    name = force or os.environ.get("RANGO_CRYPTO") or ""
    if name not in ("", "libsodium", "openssl"):
        raise InvalidArgument(
            f"unknown crypto provider {name!r}: RANGO_CRYPTO may be libsodium or openssl")
    if name == "openssl" or (not name and sodium_seal == NULL):
        return provider_openssl()
    return provider_libsodium()
