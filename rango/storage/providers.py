"""What a user gives to open a database, and how it becomes the key that wraps the root key.

Terms       secret: a passphrase, 32 raw bytes, a file that holds them, a token, or the keyring of
            the operating system. Wrapping key: 32 bytes made from a secret and a slot's salt.
            Token: a thing that answers a challenge with bytes that nobody can work out without it,
            always the same for the same challenge. OS keyring: where the system keeps the
            passwords of the user who is logged in (Secret Service, Keychain, Credential Locker).
Invariants  a secret never appears in repr(), in a message or in a file.
Failure     a secret that cannot be one (empty, wrong type or size): InvalidArgument. Parameters
            below the floor are refused (a header that was made cheaper), parameters above the
            ceiling too (a header that asks for 1 TiB). A token that fails: InvalidArgument for an
            OSError or an answer that is none; what else it raises passes through. No OS keyring,
            or one that refuses: KeyRejected.
Sources     RFC 9106 (Argon2id; its second recommended choice is the default here, with one lane,
            as libsodium has it); RFC 2104 (HMAC); architecture section 4; ADR-0009.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final, NamedTuple, Protocol

from rango._ext.layout import (
    KEYS_KIND_KEYRING,
    KEYS_KIND_PASSPHRASE,
    KEYS_KIND_RAW,
    KEYS_KIND_TOKEN,
)
from rango._ext.seal import blake2b
from rango.errors import InvalidArgument, KeyRejected

SECRET_SIZE: Final = 32
CHALLENGE_SIZE: Final = 64
"""Bytes that a token is asked; what the HMAC slots of hardware tokens take at most."""
ANSWER_SIZE_MIN: Final = 20
"""Bytes of HMAC-SHA1, the shortest answer that is no guess."""
ANSWER_SIZE_MAX: Final = 1024
KEY_FILE_SIZE_MAX: Final = 4096
"""A key file is read up to here, bytes: room for white space; never all of /dev/zero."""

SERVICE: Final = "rango"
"""Under which name the OS keyring holds keys; the user of an entry is the slot's salt in hex."""

MEBIBYTE: Final = 1024 * 1024


class Kdf(NamedTuple):
    """Cost of Argon2id: passes over the memory, and the memory in bytes."""

    operations: int
    memory: int

    def is_within(self, floor: Kdf, ceiling: Kdf) -> bool:
        """Neither cheaper than `floor` nor dearer than `ceiling`, in passes and in memory."""
        return (
            floor.operations <= self.operations <= ceiling.operations
            and floor.memory <= self.memory <= ceiling.memory
        )


INTERACTIVE: Final = Kdf(3, 64 * MEBIBYTE)
MODERATE: Final = Kdf(3, 256 * MEBIBYTE)
SENSITIVE: Final = Kdf(4, 1024 * MEBIBYTE)
KDF_FLOOR: Final = INTERACTIVE
KDF_CEILING: Final = Kdf(32, 4096 * MEBIBYTE)


class Passphrase:
    """Text that a person remembers, as UTF-8 in NFC: every keyboard gives the same key."""

    __slots__ = ("_bytes",)
    is_stretched: Final = True
    kind: Final = KEYS_KIND_PASSPHRASE

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise InvalidArgument(f"passphrase= takes text (str), not {type(text).__name__}")
        if not text:
            raise InvalidArgument(
                "the passphrase is empty; leave passphrase= out for a database without a key"
            )
        from unicodedata import normalize

        try:
            self._bytes = normalize("NFC", text).encode()
        except UnicodeEncodeError:
            raise InvalidArgument(
                "the passphrase holds a lone surrogate, which is not text"
            ) from None

    def wrapping_key(self, salt: bytes, kdf: Kdf) -> bytes:
        """Argon2id of the passphrase. Slow on purpose."""
        # imported here: PyNaCl's bindings are 20 modules, and no other secret needs one of them
        from nacl.bindings import crypto_pwhash_alg, crypto_pwhash_ALG_ARGON2ID13

        return crypto_pwhash_alg(
            SECRET_SIZE, self._bytes, salt, kdf.operations, kdf.memory, crypto_pwhash_ALG_ARGON2ID13
        )

    def __repr__(self) -> str:
        return "Passphrase(...)"


class RawKey:
    """32 bytes from a key service or an environment; random already, so nothing is stretched."""

    __slots__ = ("_bytes",)
    is_stretched: Final = False
    kind: Final = KEYS_KIND_RAW

    def __init__(self, key: bytes | bytearray) -> None:
        if not isinstance(key, bytes | bytearray):
            raise InvalidArgument(f"key= takes {SECRET_SIZE} bytes, not {type(key).__name__}")
        if len(key) != SECRET_SIZE:
            raise InvalidArgument(f"key= takes exactly {SECRET_SIZE} bytes, not {len(key)}")
        self._bytes = bytes(key)

    def wrapping_key(self, salt: bytes, _kdf: Kdf) -> bytes:
        """A key of its own for each slot."""
        return blake2b(salt, SECRET_SIZE, key=self._bytes, person=b"rango raw key")

    def reveal(self) -> bytes:
        """The key itself."""
        return self._bytes

    def __repr__(self) -> str:
        return "RawKey(...)"


class KeyFile:
    """A file of 32 raw bytes or 64 hexadecimal digits.

    Links are followed and permissions are the user's affair: secret stores mount files as both.
    """

    __slots__ = ("_path",)
    is_stretched: Final = False
    kind: Final = KEYS_KIND_RAW

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise InvalidArgument(f"keyfile= takes a path, not {type(path).__name__}")
        self._path = os.fspath(path)

    def wrapping_key(self, salt: bytes, kdf: Kdf) -> bytes:
        """Go on as with the bytes of the file. Raises InvalidArgument if it cannot be read."""
        return self.read().wrapping_key(salt, kdf)

    def read(self) -> RawKey:
        """The key in the file."""
        try:
            with open(self._path, "rb") as file:
                content = file.read(KEY_FILE_SIZE_MAX)
        except OSError as error:
            raise InvalidArgument(
                f"the key file {self._path} cannot be read: {error.strerror}"
            ) from error
        if len(content) == SECRET_SIZE:
            return RawKey(content)
        digits = content.strip()
        if len(digits) == 2 * SECRET_SIZE and all(
            digit in b"0123456789abcdefABCDEF" for digit in digits
        ):
            return RawKey(bytes.fromhex(digits.decode("ascii")))
        raise InvalidArgument(
            f"the key file {self._path} holds neither {SECRET_SIZE} raw bytes"
            f" nor {2 * SECRET_SIZE} hexadecimal digits"
        )

    def __repr__(self) -> str:
        return f"KeyFile({self._path!r})"


class Token(Protocol):
    """What a hardware token has to offer, or a program that stands for one."""

    def respond(self, challenge: bytes) -> bytes:
        """20 to 1024 bytes, always the same for the same 64 bytes, secret without the token."""


class ChallengeResponse:
    """A token: what it answers to a challenge made from the slot's salt opens the slot."""

    __slots__ = ("_token",)
    is_stretched: Final = False
    kind: Final = KEYS_KIND_TOKEN

    def __init__(self, token: Token) -> None:
        if not callable(getattr(token, "respond", None)):
            raise InvalidArgument(
                f"token= takes an object with respond(challenge), not {type(token).__name__}"
            )
        self._token = token

    def wrapping_key(self, salt: bytes, _kdf: Kdf) -> bytes:
        """Ask the token. Raises InvalidArgument if it has no usable answer."""
        challenge = blake2b(salt, CHALLENGE_SIZE, person=b"rango challenge")
        try:
            answer: object = self._token.respond(challenge)
        except OSError as error:
            raise InvalidArgument(
                f"the token did not answer: {error.strerror}; plug it in"
            ) from error
        if not isinstance(answer, bytes | bytearray):
            raise InvalidArgument(f"the token answered {type(answer).__name__}, not bytes")
        if not ANSWER_SIZE_MIN <= len(answer) <= ANSWER_SIZE_MAX:
            raise InvalidArgument(
                f"the token answered {len(answer)} bytes; it must be from {ANSWER_SIZE_MIN} to "
                f"{ANSWER_SIZE_MAX}"
            )
        return blake2b(salt + answer, SECRET_SIZE, person=b"rango token key")

    def __repr__(self) -> str:
        return "ChallengeResponse(...)"


class SoftwareToken:
    """A token in software: HMAC-SHA256 under 32 bytes. For tests, and to show what a token is."""

    __slots__ = ("_key",)

    def __init__(self, key: object) -> None:
        if not isinstance(key, bytes) or len(key) != SECRET_SIZE:
            raise InvalidArgument(f"a software token has a key of {SECRET_SIZE} bytes")
        self._key = key

    def respond(self, challenge: bytes) -> bytes:
        """HMAC-SHA256 of the challenge."""
        # imported here: it loads OpenSSL
        import hmac

        return hmac.digest(self._key, challenge, "sha256")

    def __repr__(self) -> str:
        return "SoftwareToken(...)"


class OsKeyring:
    """The keyring of the operating system holds 32 random bytes for each slot of this kind.

    Whoever is logged in as this user opens the database; nobody types anything. Through the library
    `keyring`, which is loaded only here.
    """

    __slots__ = ()
    is_stretched: Final = False
    kind: Final = KEYS_KIND_KEYRING

    def keep(self, salt: bytes, key: bytes) -> None:
        """Give the keyring the key of a new slot. Raises KeyRejected if it does not take it."""
        with os_keyring_named() as library:
            library.set_password(SERVICE, salt.hex(), key.hex())

    def wrapping_key(self, salt: bytes, _kdf: Kdf) -> bytes | None:
        """What the keyring holds for a slot; None if that is nothing (another user or machine)."""
        with os_keyring_named() as library:
            digits = library.get_password(SERVICE, salt.hex())
        try:
            key = b"" if digits is None else bytes.fromhex(digits)
        except ValueError:
            return None
        if len(key) != SECRET_SIZE:
            return None
        return blake2b(salt, SECRET_SIZE, key=key, person=b"rango os keyring")

    def __repr__(self) -> str:
        return "OsKeyring()"


@contextmanager
def os_keyring_named() -> Iterator[ModuleType]:
    """The library, loaded; what it refuses becomes KeyRejected."""
    from importlib import import_module

    try:
        library = import_module("keyring")
        errors = import_module("keyring.errors")
    except ImportError as error:
        raise InvalidArgument(
            f"the OS keyring needs the library `keyring` ({error}); pip install 'rango[keyring]'"
        ) from error
    try:
        yield library
    except errors.NoKeyringError as error:
        raise KeyRejected(
            "there is no OS keyring here (a server without a desktop session, for example); "
            "use a passphrase, a key file or a token"
        ) from error
    except errors.KeyringError as error:
        raise KeyRejected(
            f"the OS keyring refused ({error}); unlock it, or use another secret"
        ) from error


Secret = Passphrase | RawKey | KeyFile | ChallengeResponse | OsKeyring


def secret_from(
    passphrase: str | None = None,
    key: bytes | bytearray | None = None,
    keyfile: str | os.PathLike[str] | None = None,
    token: Token | None = None,
    keyring: bool = False,
) -> Secret | None:
    """The secret that was given, or None. Raises InvalidArgument for several, or a bad one."""
    if not isinstance(keyring, bool):
        raise InvalidArgument(f"keyring= takes True or False, not {type(keyring).__name__}")
    given = [
        name
        for name, is_given in (
            ("passphrase", passphrase is not None),
            ("key", key is not None),
            ("keyfile", keyfile is not None),
            ("token", token is not None),
            ("keyring", keyring),
        )
        if is_given
    ]
    if len(given) > 1:
        raise InvalidArgument(f"give one of {', '.join(given)}, not several")
    if passphrase is not None:
        return Passphrase(passphrase)
    if key is not None:
        return RawKey(key)
    if keyfile is not None:
        return KeyFile(keyfile)
    if token is not None:
        return ChallengeResponse(token)
    return OsKeyring() if keyring else None
