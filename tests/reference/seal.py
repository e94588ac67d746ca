"""Readable twin of seal and of the keys file: what is stored, by other libraries.

AES-256-GCM and Argon2id by `cryptography`, BLAKE2b by hashlib, CRC-32 by its definition. Written
from the layout (docs/reference/format.md), not from the kernel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

TAG = 16
COPY = 4096
FILE_KIND_KEYS = b"\x04"


def seal(key: bytes, aad: bytes, nonce: bytes, data: bytes) -> bytes:
    """Ciphertext, then the tag."""
    return AESGCM(key).encrypt(nonce, data, aad)


def unseal(key: bytes, aad: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    """The bytes, or None."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        return None


def plain_seal(aad: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Nonce of zeros; the bytes as they are, then a tag that anybody can compute."""
    nonce = bytes(12)
    hashed = struct.pack("<Q", len(aad)) + aad + nonce + struct.pack("<Q", len(data)) + data
    return nonce, data + blake2b(hashed, digest_size=TAG, person=b"rango plain tag").digest()


def plain_unseal(aad: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    """The bytes, or None."""
    data = sealed[:-TAG]
    return data if (nonce, sealed) == plain_seal(aad, data) else None


def crc32(data: bytes) -> int:
    """ISO 3309, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def derive(parent: bytes, purpose: bytes, ids: bytes = b"") -> bytes:
    """Every key but the root key."""
    return blake2b(ids, digest_size=32, key=parent, person=purpose).digest()


@dataclass
class Keys:
    """A keys file, opened."""

    database_id: bytes
    generation: int
    epoch: int
    verify_key: bytes
    seed: bytes
    root: bytes

    def epoch_key(self, epoch: int) -> bytes:
        """The parent of an epoch's subkeys."""
        return derive(self.root, b"rango epoch", self.database_id + struct.pack("<I", epoch))


def keys_open(copy: bytes, *, passphrase: str = "", raw: bytes = b"") -> Keys | None:
    """One copy of an encrypted database's keys file; None if the secret does not open it."""
    magic, version, features = struct.unpack_from("<8sII", copy)
    assert (magic, version, features) == (b"RANGOKEY", 1, 0)
    assert copy[4080:COPY] == blake2b(copy[:4080], digest_size=16).digest()
    database_id, generation, epoch, cipher = struct.unpack_from("<16sQIB", copy, 16)
    assert cipher == 1
    verify_key, sign_nonce, sign_sealed = struct.unpack_from("<32s12s48s", copy, 48)
    for at in range(256, 256 + 8 * 256, 256):
        slot = copy[at : at + 256]
        kind, slot_version, passes, memory, salt, nonce = struct.unpack_from("<BBxxIQ16s12s", slot)
        if (kind, slot_version) != ((1, 1) if passphrase else (2, 1)):
            continue
        if passphrase:
            argon = Argon2id(
                salt=salt, length=32, iterations=passes, lanes=1, memory_cost=memory // 1024
            )
            wrapping = argon.derive(passphrase.encode())
        else:
            wrapping = derive(raw, b"rango raw key", salt)
        aad = FILE_KIND_KEYS + b"wrap" + database_id + slot[:32] + slot[92:]
        root = unseal(wrapping, aad, nonce, slot[44:92])
        if root is None:
            continue
        mac = blake2b(copy[:4048], digest_size=32, key=derive(root, b"rango keys mac")).digest()
        assert copy[4048:4080] == mac
        aad = FILE_KIND_KEYS + b"sign" + database_id + verify_key
        seed = unseal(derive(root, b"rango sign seed"), aad, sign_nonce, sign_sealed)
        assert seed is not None
        return Keys(database_id, generation, epoch, verify_key, seed, root)
    return None
