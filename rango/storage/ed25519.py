"""Signatures by libsodium and its comparison in constant time, without all of nacl.bindings.

Terms       pair: the key that anybody may have and checks with, and the one that signs, which is
            the seed followed by the other.
Invariants  none of its own; what is signed is the affair of storage.keyring.
Failure     a seed or a key to sign with of another size: InvalidArgument, because C would read past
            it. Such a signature or verify key is not valid.
Sources     RFC 8032 (Ed25519).
"""

from __future__ import annotations

from typing import Final

from nacl._sodium import ffi, lib

from rango.errors import InvalidArgument

SEED_SIZE: Final = 32
VERIFY_KEY_SIZE: Final = 32
SIGNING_KEY_SIZE: Final = 64
SIGNATURE_SIZE: Final = 64

# whoever is first does it; calling it again does nothing
if lib.sodium_init() < 0:
    raise ImportError("libsodium cannot be initialised on this machine; reinstall PyNaCl")


def pair(seed: bytes) -> tuple[bytes, bytes]:
    """The verify key and the signing key that a seed gives."""
    sized(seed, SEED_SIZE)
    verify_key = ffi.new("unsigned char[]", VERIFY_KEY_SIZE)
    signing = ffi.new("unsigned char[]", SIGNING_KEY_SIZE)
    lib.crypto_sign_seed_keypair(verify_key, signing, seed)
    return bytes(ffi.buffer(verify_key)), bytes(ffi.buffer(signing))


def sign(data: bytes, signing: bytes) -> bytes:
    """The signature of `data`."""
    sized(signing, SIGNING_KEY_SIZE)
    signed = ffi.new("unsigned char[]", SIGNATURE_SIZE + len(data))
    lib.crypto_sign(signed, ffi.NULL, data, len(data), signing)
    return bytes(ffi.buffer(signed, SIGNATURE_SIZE))


def is_valid(signature: bytes, data: bytes, verify_key: bytes) -> bool:
    """Whether the owner of `verify_key` made this signature of `data`."""
    if len(signature) != SIGNATURE_SIZE or len(verify_key) != VERIFY_KEY_SIZE:
        return False
    signed = signature + data
    opened = ffi.new("unsigned char[]", len(signed))
    size = ffi.new("unsigned long long *")
    return bool(lib.crypto_sign_open(opened, size, signed, len(signed), verify_key) == 0)


def is_same(a: bytes, b: bytes) -> bool:
    """Whether two secrets are the same, in a time that says nothing about where they differ."""
    return len(a) == len(b) and bool(lib.sodium_memcmp(a, b, len(a)) == 0)


def sized(data: bytes, size: int) -> None:
    """Raise InvalidArgument unless `data` has this size."""
    if len(data) != size:
        raise InvalidArgument(f"{size} bytes are needed here, not {len(data)}")
