"""What the tests of the keys share: secrets, and ways to make, open and damage the file."""

from __future__ import annotations

from pathlib import Path

from rango._ext import layout
from rango._ext.seal import Entropy
from rango._ext.vfs import POSIX
from rango.storage.keyring import (
    Kdf,
    Keyring,
    Passphrase,
    RawKey,
    Secret,
)
from rango.storage.keys_file import keys_check

KEYS_COPY_SIZE = layout.KEYS_COPY_SIZE
CHEAP = Kdf(1, 8192)
KEY = RawKey(b"k" * 32)
OTHER = RawKey(b"o" * 32)
WORDS = Passphrase("correct horse")
CANARY = "correct horse battery"


def create(place: str, secret: Secret | None = KEY, entropy: Entropy | None = None) -> Keyring:
    return Keyring.create(POSIX, place, secret, entropy or Entropy(), kdf=CHEAP)


def reopen(place: str, secret: Secret | None = KEY) -> Keyring:
    return Keyring.open(POSIX, place, secret, Entropy(), kdf_floor=CHEAP)


def content(place: str) -> bytearray:
    return bytearray(Path(place, "keys").read_bytes())


def damage(place: str, *places: int) -> None:
    """Flip a bit at each place of the file."""
    data = content(place)
    for at in places:
        data[at] ^= 0x10
    Path(place, "keys").write_bytes(data)


def forge(place: str, at: int, value: bytes) -> None:
    """Change both copies, with a check that fits: what somebody without the key can do."""
    data = content(place)
    for start in (0, KEYS_COPY_SIZE):
        copy = data[start : start + KEYS_COPY_SIZE]
        copy[at : at + len(value)] = value
        copy[layout.KEYS_CHECK :] = keys_check(copy)
        data[start : start + KEYS_COPY_SIZE] = copy
    Path(place, "keys").write_bytes(data)


def same_keys(one: Keyring, other: Keyring) -> bool:
    """Whether what one seals, the other opens."""
    salt = bytes(range(16))
    for mine, its in (
        (one.page_key(1), other.page_key(1)),
        (one.superblock_key(1), other.superblock_key(1)),
        (one.segment_key(7, salt, 1), other.segment_key(7, salt, 1)),
    ):
        nonce, sealed = mine.seal_bytes(b"aad", b"data")
        if its.open_bytes(b"aad", nonce, sealed) != b"data":
            return False
    return one.segment_mac(1, b"header") == other.segment_mac(1, b"header")
