# Sealing: AES-256-GCM by libsodium or OpenSSL, or (plain mode) a BLAKE2b tag over clear bytes.
# Same bytes on disk from both providers.

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    SCHEDULE_SIZE = 512     # crypto_aead_aes256gcm_statebytes(); checked at import
    SCHEDULE_ALIGN = 16


cdef class Entropy:
    # where random bytes come from: the operating system, or the injected callable (size) -> bytes
    cdef object source
    cdef int fill(self, uint8_t *into, size_t size) except -1 nogil


cdef class Provider:
    cdef readonly str name
    cdef int kind               # KIND_*
    cdef bint is_scheduled      # libsodium: keys are expanded once, not in every call
    cdef object aead            # OpenSSL: the class of its key objects
    cdef object refusal         # OpenSSL: the exception for what is not authentic


cdef class SealKey:
    # one subkey, ready for use; from Provider.key()
    cdef readonly Provider provider
    cdef readonly Entropy entropy
    cdef readonly bytes fingerprint     # 8 bytes of a hash of the key, for the nonce observer
    cdef object aead                    # OpenSSL's key object
    cdef uint8_t *secret                # key or expanded key, aligned, inside `memory`
    cdef uint8_t[528] memory            # SCHEDULE_SIZE + SCHEDULE_ALIGN
    # seal: writes a fresh nonce (12), then ciphertext and tag (size + 16) to `into`;
    # `into` may not overlap `source`
    cdef int seal(
        self, const uint8_t *aad, size_t aad_size, const uint8_t *source, size_t size,
        uint8_t *nonce, uint8_t *into,
    ) except -1 nogil
    # the same under a nonce that the caller names (I-6): for test vectors, and for what was sealed
    # like this before, with the same bytes (unpacked.pyx)
    cdef int seal_as(
        self, const uint8_t *aad, size_t aad_size, const uint8_t *source, size_t size,
        const uint8_t *nonce, uint8_t *into,
    ) except -1 nogil
    # open: 1 = authentic and written to `into`, 0 = not authentic (into is undefined);
    # sealed_size includes the tag
    cdef int open(
        self, const uint8_t *aad, size_t aad_size, const uint8_t *nonce,
        const uint8_t *sealed, size_t sealed_size, uint8_t *into,
    ) except -1 nogil


# BLAKE2b-256 of a followed by b (b may be NULL with size 0): chain values and digests
cdef void blake2b_256(
    const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out32,
) noexcept nogil
cdef uint32_t crc32(const uint8_t *data, size_t size) noexcept nogil
