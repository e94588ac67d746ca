"""The bytes of the `keys` file: two copies, and slots that wrap the root key.

Terms       root key: 32 random bytes that seal no data. Slot: the root key wrapped for one secret
            (providers.py). Generation: number of a state of this file.
Invariants  I-12. The file is changed only under the append lock, through a temporary file, a flush,
            a rename and a flush of the directory; so it is always whole, old or new.

Layout      two equal copies; offsets in bytes, integers little-endian (layout.pxd KEYS_*)

            copy    0     8  magic "RANGOKEY"
                    8     4  version 1
                   12     4  feature bits; an unknown one means refuse
                   16    16  database id, random
                   32     8  generation, from 1
                   40     4  newest key epoch, from 1
                   44     1  cipher: 0 none (plain), 1 AES-256-GCM
                   45     3  zeros
                   48    32  verify key: Ed25519 public key
                   80    12  nonce of the signing seed
                   92    48  signing seed, sealed under a subkey of the root key; AAD =
                             file kind 4 u8 | "sign" | database id | verify key.
                             Plain: in clear with a plain tag; a signature then proves
                             nothing against somebody who can read this file
                  140   116  zeros
                  256  2048  8 slots of 256
                 2304  1744  zeros
                 4048    32  BLAKE2b-256 of bytes 0..4047, keyed by a subkey of the root key;
                             zeros in a plain database
                 4080    16  BLAKE2b-128 of bytes 0..4079
                 4096        end; the second copy follows
            slot    0     1  kind: 0 empty, 1 passphrase (Argon2id 1.3, one lane), 2 raw key,
                             3 token, 4 the operating system's keyring
                    1     1  slot version 1
                    2     2  zeros
                    4     4  Argon2id passes, 0 unless it is a passphrase
                    8     8  Argon2id memory in bytes, 0 unless it is a passphrase
                   16    16  salt
                   32    12  nonce
                   44    48  root key, sealed under the wrapping key; AAD = file kind 4 u8 |
                             "wrap" | database id | slot bytes 0..31 | slot bytes 92..255
                   92   164  zeros

            Wrapping key: Argon2id(passphrase as UTF-8 in NFC, salt), or BLAKE2b-256(key = raw key,
            person = "rango raw key", data = salt), or BLAKE2b-256(person = "rango token key",
            data = salt | the token's answer to BLAKE2b-512(person = "rango challenge",
            data = salt)), or BLAKE2b-256(key = 32 bytes of the operating system's keyring,
            person = "rango os keyring", data = salt). Magic, version, features and the check
            keep their places in every version.

Failure     one copy damaged: the other is used. Both damaged: KeysCorrupted. Newer version, unknown
            feature or cipher: FormatTooNew. A slot whose Argon2id parameters are out of bounds:
            KeyRejected. A crash before the rename leaves `keys.new`, which the next write replaces.
            OSError of the disk passes through.
Sources     architecture section 4; RFC 7693 (BLAKE2b); RFC 9106 (Argon2id).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rango._ext.layout import (
    FILE_KIND_KEYS,
    FORMAT_VERSION,
    KEY_SIZE,
    KEYS_CHECK,
    KEYS_CIPHER,
    KEYS_CIPHER_AES256GCM,
    KEYS_CIPHER_PLAIN,
    KEYS_COPIES,
    KEYS_COPY_SIZE,
    KEYS_DATABASE_ID,
    KEYS_EPOCH,
    KEYS_FEATURES,
    KEYS_FILE_SIZE,
    KEYS_GENERATION,
    KEYS_MAC,
    KEYS_MAGIC,
    KEYS_SIGN_NONCE,
    KEYS_SIGN_SEED,
    KEYS_SLOT_EXTRA,
    KEYS_SLOT_KIND,
    KEYS_SLOT_MEMORY,
    KEYS_SLOT_NONCE,
    KEYS_SLOT_OPERATIONS,
    KEYS_SLOT_SALT,
    KEYS_SLOT_SIZE,
    KEYS_SLOT_VERSION,
    KEYS_SLOT_WRAPPED,
    KEYS_SLOTS,
    KEYS_SLOTS_MAX,
    KEYS_VERIFY_KEY,
    KEYS_VERSION,
    TAG_SIZE,
)
from rango._ext.seal import Entropy, Provider, blake2b
from rango._ext.vfs import VFS_CREATE, VFS_EXCLUSIVE, VFS_READ, VFS_WRITE, Vfs
from rango.errors import FormatTooNew, KeyRejected, KeysCorrupted
from rango.storage.providers import KDF_CEILING, Kdf, OsKeyring, Secret

MAGIC: Final = b"RANGOKEY"
FEATURES_KNOWN: Final = 0
SLOT_VERSION: Final = 1
SALT_SIZE: Final = 16
EMPTY_SLOT: Final = bytes(KEYS_SLOT_SIZE)


def keys_path(directory: str) -> str:
    """Where the keys of a database lie."""
    return f"{directory}/keys"


def keys_exist(vfs: Vfs, directory: str) -> bool:
    """Whether there is a keys file. A half-made one (`keys.new`) does not count."""
    return vfs.exists(keys_path(directory))


class KeysState(NamedTuple):
    """One copy, taken apart. Slots stay bytes: those of an unknown kind survive a rewrite."""

    database_id: bytes
    generation: int
    epoch: int
    cipher: int
    verify_key: bytes
    sign_nonce: bytes
    sign_seed: bytes
    slots: tuple[bytes, ...]

    def __repr__(self) -> str:
        # no seed, no slot: a plain database has its seed in clear
        return f"KeysState(generation={self.generation}, epoch={self.epoch})"

    def encode(self, mac_key: bytes | None) -> bytes:
        """One copy, with its keyed hash (zeros without a key) and its check."""
        copy = bytearray(KEYS_COPY_SIZE)

        def put(at: int, value: bytes) -> None:
            copy[at : at + len(value)] = value

        put(KEYS_MAGIC, MAGIC)
        put(KEYS_VERSION, FORMAT_VERSION.to_bytes(4, "little"))
        put(KEYS_DATABASE_ID, self.database_id)
        put(KEYS_GENERATION, self.generation.to_bytes(8, "little"))
        put(KEYS_EPOCH, self.epoch.to_bytes(4, "little"))
        put(KEYS_CIPHER, bytes([self.cipher]))
        put(KEYS_VERIFY_KEY, self.verify_key)
        put(KEYS_SIGN_NONCE, self.sign_nonce)
        put(KEYS_SIGN_SEED, self.sign_seed)
        put(KEYS_SLOTS, b"".join(self.slots))
        if mac_key is not None:
            put(KEYS_MAC, keys_mac(copy, mac_key))
        put(KEYS_CHECK, keys_check(copy))
        return bytes(copy)


def keys_check(copy: bytes | bytearray) -> bytes:
    """The check of a copy: finds damage."""
    return blake2b(copy[:KEYS_CHECK], TAG_SIZE)


def keys_mac(copy: bytes | bytearray, mac_key: bytes) -> bytes:
    """The keyed hash of a copy: finds changes by somebody without the key."""
    return blake2b(copy[:KEYS_MAC], KEY_SIZE, key=mac_key)


def copy_is_whole(copy: bytes) -> bool:
    """Whether a copy has its magic and its check fits."""
    return (
        len(copy) == KEYS_COPY_SIZE
        and copy.startswith(MAGIC)
        and copy[KEYS_CHECK:] == keys_check(copy)
    )


def integer(copy: bytes, at: int, size: int) -> int:
    """The little-endian integer at an offset."""
    return int.from_bytes(copy[at : at + size], "little")


def refuse_newer(copy: bytes, path: str) -> None:
    """Raise FormatTooNew if a newer Rango wrote this copy."""
    version, features = integer(copy, KEYS_VERSION, 4), integer(copy, KEYS_FEATURES, 4)
    if version > FORMAT_VERSION:
        raise FormatTooNew(
            f"{path} has format {version}, this Rango reads up to {FORMAT_VERSION}; update Rango"
        )
    if features & ~FEATURES_KNOWN:
        raise FormatTooNew(
            f"{path} uses features (bits {features:#x}) unknown to this Rango; update Rango"
        )
    if copy[KEYS_CIPHER] not in (KEYS_CIPHER_PLAIN, KEYS_CIPHER_AES256GCM):
        raise FormatTooNew(
            f"{path} names cipher {copy[KEYS_CIPHER]}, unknown to this Rango; update Rango"
        )


def choose_copy(content: bytes, path: str) -> tuple[bytes, tuple[int, ...]]:
    """The newest whole copy, and the damaged ones. Raises KeysCorrupted, FormatTooNew."""
    copies = [content[at : at + KEYS_COPY_SIZE] for at in range(0, KEYS_FILE_SIZE, KEYS_COPY_SIZE)]
    damaged = tuple(number for number, copy in enumerate(copies) if not copy_is_whole(copy))
    whole = [copy for copy in copies if copy_is_whole(copy)]
    if not whole:
        first, second = (copy[:KEYS_DATABASE_ID] for copy in copies)
        if first == second and first.startswith(MAGIC):
            # two equal beginnings are no accident: a version whose check is made otherwise
            refuse_newer(copies[0], path)
        raise KeysCorrupted(path, "both copies are damaged; restore this file from a backup")
    newest = max(whole, key=lambda copy: integer(copy, KEYS_GENERATION, 8))
    refuse_newer(newest, path)
    return newest, damaged


def decode(copy: bytes, path: str) -> KeysState:
    """A whole copy taken apart. Raises KeysCorrupted when it is not what any Rango writes."""
    state = KeysState(
        database_id=copy[KEYS_DATABASE_ID:KEYS_GENERATION],
        generation=integer(copy, KEYS_GENERATION, 8),
        epoch=integer(copy, KEYS_EPOCH, 4),
        cipher=copy[KEYS_CIPHER],
        verify_key=copy[KEYS_VERIFY_KEY:KEYS_SIGN_NONCE],
        sign_nonce=copy[KEYS_SIGN_NONCE:KEYS_SIGN_SEED],
        sign_seed=copy[KEYS_SIGN_SEED : KEYS_SIGN_SEED + KEY_SIZE + TAG_SIZE],
        slots=tuple(
            copy[at : at + KEYS_SLOT_SIZE]
            for at in range(
                KEYS_SLOTS, KEYS_SLOTS + KEYS_SLOTS_MAX * KEYS_SLOT_SIZE, KEYS_SLOT_SIZE
            )
        ),
    )
    if state.generation == 0 or state.epoch == 0:
        raise KeysCorrupted(path, "generation or key epoch is 0; restore this file from a backup")
    return state


def read_keys(vfs: Vfs, directory: str) -> tuple[bytes, tuple[int, ...]]:
    """The copy to believe and the damaged ones. OSError (no such file ...) passes through."""
    path = keys_path(directory)
    fd = vfs.open(path, VFS_READ)
    try:
        content = vfs.read(fd, KEYS_FILE_SIZE, 0)
    finally:
        vfs.close(fd)
    return choose_copy(content, path)


def write_keys(vfs: Vfs, directory: str, copy: bytes) -> None:
    """Replace the file, so that at any moment either the old or the new one is whole."""
    path = keys_path(directory)
    fresh = f"{path}.new"
    if vfs.exists(fresh):
        vfs.remove(fresh)
    fd = vfs.open(fresh, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE)
    try:
        vfs.write(fd, copy * KEYS_COPIES, 0)
        vfs.flush(fd)
    finally:
        vfs.close(fd)
    vfs.rename(fresh, path)
    vfs.flush_directory(directory)


class Sealer(NamedTuple):
    """With what slots are sealed: the library and the source of nonces."""

    provider: Provider
    entropy: Entropy


def slot_aad(database_id: bytes, slot: bytes) -> bytes:
    """What a wrapped root key is bound to: its database and everything else in its slot."""
    return (
        bytes([FILE_KIND_KEYS])
        + b"wrap"
        + database_id
        + slot[:KEYS_SLOT_NONCE]
        + slot[KEYS_SLOT_EXTRA:]
    )


def slot_make(database_id: bytes, root: bytes, secret: Secret, kdf: Kdf, sealer: Sealer) -> bytes:
    """A slot in which `secret` wraps the root key."""
    slot = bytearray(KEYS_SLOT_SIZE)
    slot[KEYS_SLOT_KIND] = secret.kind
    slot[KEYS_SLOT_VERSION] = SLOT_VERSION
    if secret.is_stretched:
        slot[KEYS_SLOT_OPERATIONS:KEYS_SLOT_MEMORY] = kdf.operations.to_bytes(4, "little")
        slot[KEYS_SLOT_MEMORY:KEYS_SLOT_SALT] = kdf.memory.to_bytes(8, "little")
    salt = sealer.entropy.bytes(SALT_SIZE)
    slot[KEYS_SLOT_SALT:KEYS_SLOT_NONCE] = salt
    if isinstance(secret, OsKeyring):
        secret.keep(salt, sealer.entropy.bytes(KEY_SIZE))
    wrapping = secret.wrapping_key(salt, kdf)
    if wrapping is None:
        raise KeyRejected(
            "the operating system's keyring did not keep the key; give another secret"
        )
    key = sealer.provider.key(wrapping, sealer.entropy)
    nonce, wrapped = key.seal_bytes(slot_aad(database_id, bytes(slot)), root)
    slot[KEYS_SLOT_NONCE:KEYS_SLOT_WRAPPED] = nonce
    slot[KEYS_SLOT_WRAPPED:KEYS_SLOT_EXTRA] = wrapped
    return bytes(slot)


def slot_open(
    state: KeysState, slot: bytes, secret: Secret, floor: Kdf, sealer: Sealer
) -> bytes | None:
    """The root key, or None if this slot is not for this secret.

    Raises KeyRejected for parameters out of bounds.
    """
    if slot[KEYS_SLOT_KIND] != secret.kind or slot[KEYS_SLOT_VERSION] != SLOT_VERSION:
        return None
    kdf = slot_kdf(slot)
    if secret.is_stretched and not kdf.is_within(floor, KDF_CEILING):
        raise KeyRejected(
            f"a passphrase slot asks for Argon2id with {kdf.operations} passes over {kdf.memory}"
            " bytes, outside of what is allowed; somebody may have changed the keys file:"
            " restore it from a backup"
        )
    wrapping = secret.wrapping_key(slot[KEYS_SLOT_SALT:KEYS_SLOT_NONCE], kdf)
    if wrapping is None:
        return None
    key = sealer.provider.key(wrapping, sealer.entropy)
    nonce = slot[KEYS_SLOT_NONCE:KEYS_SLOT_WRAPPED]
    return key.open_bytes(
        slot_aad(state.database_id, slot), nonce, slot[KEYS_SLOT_WRAPPED:KEYS_SLOT_EXTRA]
    )


def slot_kdf(slot: bytes) -> Kdf:
    """The cost of Argon2id that a passphrase slot asks for."""
    return Kdf(integer(slot, KEYS_SLOT_OPERATIONS, 4), integer(slot, KEYS_SLOT_MEMORY, 8))
