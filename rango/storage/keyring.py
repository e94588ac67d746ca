"""Every key of a database, from its `keys` file (keys_file.py has the bytes).

Terms       root key: 32 random bytes that seal no data. Epoch key: from the root key, one for each
            key epoch. Subkey: from an epoch key: one for pages, one for superblock slots, one for
            each segment. Slot: the root key wrapped for one secret.
Invariants  I-6 (a subkey for each segment and page epoch), I-12.
Layout      every derived key is BLAKE2b-256(key = parent, person = purpose, data = ids):

            parent     purpose               ids
            root key   "rango epoch"         database id 16 | epoch u32
            root key   "rango sign seed"     -     seals the Ed25519 seed
            root key   "rango keys mac"      -     keys the hash of a copy
            epoch key  "rango pages"         -
            epoch key  "rango superblock"    -
            epoch key  "rango segment"       segment id u64 | salt 16; "rango packed": the same
            epoch key  "rango header mac"    -     keys BLAKE2b-128 of a segment header

            A plain database has no root key: the tags are plain (seal.pyx), and a header's hash is
            BLAKE2b-128 with person "rango header mac".
Failure     no slot opens, a secret for a plain database, none for an encrypted one: KeyRejected.
            A file changed by somebody without the key: KeysCorrupted. One damaged copy: opened
            from the other, named in `damaged_copies`, mended by the next write.
Sources     architecture section 4; RFC 7693 (BLAKE2b); RFC 8032 (Ed25519).
"""

from __future__ import annotations

from rango._ext.layout import (
    DATABASE_ID_SIZE,
    FILE_KIND_KEYS,
    KEY_SIZE,
    KEYS_CHECK,
    KEYS_CIPHER_AES256GCM,
    KEYS_CIPHER_PLAIN,
    KEYS_KIND_EMPTY,
    KEYS_KIND_PASSPHRASE,
    KEYS_MAC,
    KEYS_SLOT_KIND,
    KEYS_SLOTS_MAX,
    NONCE_SIZE,
    TAG_SIZE,
)
from rango._ext.seal import PLAIN, Entropy, Provider, SealKey, blake2b, provider_choose
from rango._ext.vfs import Vfs
from rango.errors import (
    DatabaseClosed,
    InvalidArgument,
    KeyRejected,
    KeysCorrupted,
    LastKeySlot,
    NotFound,
)
from rango.events import INFO, emit
from rango.storage import ed25519
from rango.storage.keys_file import (
    EMPTY_SLOT,
    SALT_SIZE,
    KeysState,
    Sealer,
    decode,
    keys_exist,
    keys_mac,
    keys_path,
    read_keys,
    slot_kdf,
    slot_make,
    slot_open,
    write_keys,
)
from rango.storage.providers import (
    INTERACTIVE,
    KDF_CEILING,
    KDF_FLOOR,
    MODERATE,
    SENSITIVE,
    ChallengeResponse,
    Kdf,
    KeyFile,
    OsKeyring,
    Passphrase,
    RawKey,
    Secret,
    SoftwareToken,
    Token,
    secret_from,
)

__all__ = [
    "INTERACTIVE",
    "KDF_CEILING",
    "KDF_FLOOR",
    "MODERATE",
    "SENSITIVE",
    "ChallengeResponse",
    "Kdf",
    "KeyFile",
    "Keyring",
    "OsKeyring",
    "Passphrase",
    "RawKey",
    "Secret",
    "SoftwareToken",
    "Token",
    "keys_exist",
    "secret_from",
    "signature_is_valid",
]


def subkey(parent: bytes | bytearray, purpose: bytes, ids: bytes = b"") -> bytes:
    """A key of 32 bytes for one purpose. `ids` have fixed sizes, so no two lists look the same."""
    return blake2b(ids, KEY_SIZE, key=parent, person=purpose)


def salted(segment_id: int, salt: bytes) -> bytes:
    """What the keys of one segment are derived with."""
    if len(salt) != SALT_SIZE:
        raise InvalidArgument(f"a segment's salt has exactly {SALT_SIZE} bytes, not {len(salt)}")
    return segment_id.to_bytes(8, "little") + salt


def signature_is_valid(verify_key: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) of `data` was made by the owner of `verify_key`."""
    return ed25519.is_valid(signature, data, verify_key)


def sign_aad(database_id: bytes, verify_key: bytes) -> bytes:
    """What the sealed signing seed is bound to."""
    return bytes([FILE_KIND_KEYS]) + b"sign" + database_id + verify_key


class Keyring:
    """The keys of one open database. Made by create() or open(); close() wipes the root key."""

    __slots__ = (
        "_directory",
        "_entropy",
        "_is_closed",
        "_pages",
        "_root",
        "_signing",
        "_state",
        "_vfs",
        "damaged_copies",
        "provider",
    )

    def __init__(
        self, vfs: Vfs, directory: str, state: KeysState, root: bytes | None, entropy: Entropy
    ) -> None:
        self._vfs = vfs
        self._directory = directory
        self._entropy = entropy
        self._state = state
        self._root = None if root is None else bytearray(root)
        self._is_closed = False
        self._pages: dict[int, SealKey] = {}
        self._signing = b""
        self.damaged_copies: tuple[int, ...] = ()
        self.provider: Provider = PLAIN if root is None else provider_choose()

    @classmethod
    def create(
        cls,
        vfs: Vfs,
        directory: str,
        secret: Secret | None,
        entropy: Entropy,
        *,
        kdf: Kdf = INTERACTIVE,
        database_id: bytes | None = None,
    ) -> Keyring:
        """Write the keys of a new database, or other keys of the one with this id.

        Raises FileExistsError when there are keys: overwriting them would lose all data.
        """
        if keys_exist(vfs, directory):
            raise FileExistsError(f"{keys_path(directory)} is there already; nothing was changed")
        root = None if secret is None else entropy.bytes(KEY_SIZE)
        seed = entropy.bytes(KEY_SIZE)
        verify_key, signing = ed25519.pair(seed)
        state = KeysState(
            database_id=database_id or entropy.bytes(DATABASE_ID_SIZE),
            generation=1,
            epoch=1,
            cipher=KEYS_CIPHER_PLAIN if root is None else KEYS_CIPHER_AES256GCM,
            verify_key=verify_key,
            sign_nonce=bytes(NONCE_SIZE),
            sign_seed=bytes(KEY_SIZE + TAG_SIZE),
            slots=(EMPTY_SLOT,) * KEYS_SLOTS_MAX,
        )
        keyring = cls(vfs, directory, state, root, entropy)
        nonce, sealed = keyring._seed_key().seal_bytes(
            sign_aad(state.database_id, verify_key), seed
        )
        state = state._replace(sign_nonce=nonce, sign_seed=sealed)
        if root is not None and secret is not None:
            first = slot_make(state.database_id, root, secret, kdf, keyring._sealer())
            state = state._replace(slots=(first, *state.slots[1:]))
        keyring._signing = signing
        keyring._write(state)
        return keyring

    @classmethod
    def open(
        cls,
        vfs: Vfs,
        directory: str,
        secret: Secret | None,
        entropy: Entropy,
        *,
        kdf_floor: Kdf = KDF_FLOOR,
    ) -> Keyring:
        """Read the keys.

        Raises KeyRejected, KeysCorrupted, FormatTooNew, and OSError when the file cannot be read.
        Parameters of Argon2id below `kdf_floor` are refused.
        """
        path = keys_path(directory)
        copy, damaged = read_keys(vfs, directory)
        state = decode(copy, path)
        if state.cipher == KEYS_CIPHER_PLAIN and secret is not None:
            raise KeyRejected(
                f"{directory} is not encrypted; open it without passphrase, key or keyfile"
            )
        if state.cipher != KEYS_CIPHER_PLAIN and secret is None:
            raise KeyRejected(
                f"{directory} is encrypted; open it with passphrase=, key=, keyfile=, token= or "
                "keyring=True"
            )
        root = None if secret is None else unwrap(state, secret, kdf_floor, entropy, directory)
        keyring = cls(vfs, directory, state, root, entropy)
        keyring.damaged_copies = damaged
        keyring._accept(copy)
        keyring._open_signing()
        return keyring

    @property
    def database_id(self) -> bytes:
        """16 random bytes, the same for ever."""
        return self._state.database_id

    @property
    def is_encrypted(self) -> bool:
        """Whether there is a root key."""
        return self._state.cipher != KEYS_CIPHER_PLAIN

    @property
    def epoch(self) -> int:
        """The newest key epoch: what is written now is sealed under it. Older ones still open."""
        return self._state.epoch

    @property
    def generation(self) -> int:
        """Grows with every change of the file."""
        return self._state.generation

    @property
    def verify_key(self) -> bytes:
        """The Ed25519 public key of this database."""
        return self._state.verify_key

    @property
    def slots(self) -> dict[int, int]:
        """Number and kind (KEYS_KIND_*) of the slots in use."""
        kinds = {number: slot[KEYS_SLOT_KIND] for number, slot in enumerate(self._state.slots)}
        return {number: kind for number, kind in kinds.items() if kind != KEYS_KIND_EMPTY}

    def page_key(self, epoch: int) -> SealKey:
        """The key of page images of an epoch. Kept, because every cache miss asks for it."""
        key = self._pages.get(epoch)
        if key is None:
            key = self._pages[epoch] = self._seal_key(epoch, b"rango pages")
        return key

    def superblock_key(self, epoch: int) -> SealKey:
        """The key of superblock slots of an epoch."""
        return self._seal_key(epoch, b"rango superblock")

    def segment_key(self, segment_id: int, salt: bytes, epoch: int) -> SealKey:
        """The key of one segment: `salt` is the one in its header."""
        return self._seal_key(epoch, b"rango segment", salted(segment_id, salt))

    def packed_key(self, segment_id: int, salt: bytes, epoch: int) -> SealKey:
        """The key of the pieces of one segment that is packed."""
        return self._seal_key(epoch, b"rango packed", salted(segment_id, salt))

    def segment_mac(self, epoch: int, data: bytes) -> bytes:
        """16 bytes that authenticate a segment header (without a key: that find damage)."""
        root = self._live_root()
        if root is None:
            return blake2b(data, TAG_SIZE, person=b"rango header mac")
        key = subkey(self._epoch_key(root, epoch), b"rango header mac")
        return blake2b(data, TAG_SIZE, key=key)

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of `data`, 64 bytes."""
        self._live_root()
        return ed25519.sign(data, self._signing)

    def close(self) -> None:
        """Wipe the root key. Subkeys already handed out work until they go; nothing else does."""
        self._is_closed = True
        if self._root is not None:
            self._root[:] = bytes(KEY_SIZE)
        self._pages.clear()
        self._signing = b""

    def refresh(self) -> None:
        """Read what another process changed. The root key stays, so no secret is needed."""
        copy, damaged = read_keys(self._vfs, self._directory)
        path = keys_path(self._directory)
        found = decode(copy, path)
        if found.database_id != self.database_id or found.generation < self.generation:
            raise KeysCorrupted(path, "other or older keys took this file's place; put it back")
        self._accept(copy)
        self.damaged_copies = damaged

    def add_slot(self, secret: Secret, *, kdf: Kdf = INTERACTIVE) -> int:
        """Let one more secret open the database; returns the number of its slot.

        The caller holds the append lock. Raises KeyRejected in a plain database.
        """
        self.refresh()
        root = self._live_root()
        if root is None:
            raise KeyRejected(f"{self._directory} is not encrypted and has no key slots")
        free = [number for number, slot in enumerate(self._state.slots) if slot == EMPTY_SLOT]
        if not free:
            raise InvalidArgument(f"all {KEYS_SLOTS_MAX} key slots are taken; remove one first")
        self._write_slot(free[0], self._slot_tried(root, secret, kdf))
        return free[0]

    def replace_slot(self, number: int, secret: Secret, *, kdf: Kdf = INTERACTIVE) -> None:
        """Let `secret` open the database in place of what the slot held.

        One write: at any moment the old or the new one opens it. The caller holds the append lock.
        Raises KeyRejected in a plain database, NotFound.
        """
        self.refresh()
        root = self._live_root()
        if root is None:
            raise KeyRejected(f"{self._directory} is not encrypted and has no key slots")
        self._in_use(number)
        self._write_slot(number, self._slot_tried(root, secret, kdf))

    def slot_of(self, secret: Secret, *, kdf_floor: Kdf = KDF_FLOOR) -> int:
        """The number of the first slot that `secret` opens. Raises KeyRejected when none does."""
        self.refresh()
        for number, slot in enumerate(self._state.slots):
            if slot_open(self._state, slot, secret, kdf_floor, self._sealer()) is not None:
                return number
        raise KeyRejected(f"that secret opens no key slot of {self._directory}; nothing changed")

    def slot_costs(self) -> dict[int, Kdf]:
        """Number and cost of the passphrase slots."""
        return {
            number: slot_kdf(self._state.slots[number])
            for number, kind in self.slots.items()
            if kind == KEYS_KIND_PASSPHRASE
        }

    def remove_slot(self, number: int) -> None:
        """Take a slot out of both copies. The caller holds the append lock.

        Old backups still hold it, and so may the medium until it reuses the place.
        """
        self.refresh()
        self._in_use(number)
        if len(self.slots) == 1:
            raise LastKeySlot(
                "this is the last key slot: nobody could open the database; add another one first"
            )
        self._write_slot(number, EMPTY_SLOT)

    def advance_epoch(self) -> int:
        """Begin a new key epoch: what is written from now on has new keys. Returns it."""
        self.refresh()
        self._write(
            self._state._replace(epoch=self._state.epoch + 1, generation=self._state.generation + 1)
        )
        return self.epoch

    def repair(self) -> None:
        """Write the file again, so that both copies are whole."""
        self.refresh()
        self._write(self._state._replace(generation=self._state.generation + 1))

    def _in_use(self, number: int) -> None:
        if number not in self.slots:
            raise NotFound(f"key slot {number} is not in use; in use: {sorted(self.slots)}")

    def _slot_tried(self, root: bytearray, secret: Secret, kdf: Kdf) -> bytes:
        """A slot that was opened once: a token that answers otherwise the next time is no key."""
        slot = slot_make(self.database_id, bytes(root), secret, kdf, self._sealer())
        if slot_open(self._state, slot, secret, kdf, self._sealer()) != bytes(root):
            raise InvalidArgument("the new secret does not open what it closed; nothing changed")
        return slot

    def _write_slot(self, number: int, slot: bytes) -> None:
        slots = (*self._state.slots[:number], slot, *self._state.slots[number + 1 :])
        self._write(self._state._replace(slots=slots, generation=self._state.generation + 1))

    def _write(self, state: KeysState) -> None:
        write_keys(self._vfs, self._directory, state.encode(self._mac_key()))
        self._state = state
        self.damaged_copies = ()
        emit(
            "storage",
            INFO,
            "keys",
            "the keys file was written",
            path=self._directory,
            generation=state.generation,
            epoch=state.epoch,
            slots=len(self.slots),
        )

    def _accept(self, copy: bytes) -> None:
        """Believe a copy once its keyed hash fits the root key."""
        path = keys_path(self._directory)
        mac_key = self._mac_key()
        expected = bytes(KEY_SIZE) if mac_key is None else keys_mac(copy, mac_key)
        if not ed25519.is_same(copy[KEYS_MAC:KEYS_CHECK], expected):
            raise KeysCorrupted(
                path, "changed by somebody without the key; restore this file from a backup"
            )
        self._state = decode(copy, path)

    def _open_signing(self) -> None:
        state = self._state
        seed = self._seed_key().open_bytes(
            sign_aad(state.database_id, state.verify_key), state.sign_nonce, state.sign_seed
        )
        verify_key, signing = (b"", b"") if seed is None else ed25519.pair(seed)
        if verify_key != state.verify_key:
            raise KeysCorrupted(
                keys_path(self._directory),
                "the signing key does not fit; restore this file from a backup",
            )
        self._signing = signing

    def _mac_key(self) -> bytes | None:
        root = self._live_root()
        return None if root is None else subkey(root, b"rango keys mac")

    def _seed_key(self) -> SealKey:
        root = self._live_root()
        key = bytes(KEY_SIZE) if root is None else subkey(root, b"rango sign seed")
        return self.provider.key(key, self._entropy)

    def _live_root(self) -> bytearray | None:
        """The root key. After close() it is zeros, and a key from zeros would be no secret."""
        if self._is_closed:
            raise DatabaseClosed("the keys of this database were closed; open it again")
        return self._root

    def _sealer(self) -> Sealer:
        return Sealer(self.provider, self._entropy)

    def _epoch_key(self, root: bytearray, epoch: int) -> bytes:
        return subkey(root, b"rango epoch", self.database_id + epoch.to_bytes(4, "little"))

    def _seal_key(self, epoch: int, purpose: bytes, ids: bytes = b"") -> SealKey:
        root = self._live_root()
        if root is None:
            return PLAIN.key(bytes(KEY_SIZE), self._entropy)
        key = subkey(self._epoch_key(root, epoch), purpose, ids)
        return self.provider.key(key, self._entropy)

    def __repr__(self) -> str:
        kind = self.provider.name
        place = f"database={self.database_id.hex()} generation={self.generation}"
        return f"<Keyring {kind} {place} epoch={self.epoch}>"


def unwrap(state: KeysState, secret: Secret, floor: Kdf, entropy: Entropy, directory: str) -> bytes:
    """The root key from the first slot that the secret opens. Raises KeyRejected when none does."""
    sealer = Sealer(provider_choose(), entropy)
    for slot in state.slots:
        root = slot_open(state, slot, secret, floor, sealer)
        if root is not None:
            return root
    raise KeyRejected(f"the key or passphrase does not open {directory}; nothing was changed")
