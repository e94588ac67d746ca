"""`db.keys`: the secrets that open a database, and new keys for what is written from now on.
rekey(): new keys for what is there.

Terms       slot: one of eight places in the `keys` file, each holding the root key locked by one
            secret. Any one of them opens the database.
Invariants  No secret leaves through a message, a repr() or a file. Only rekey() rewrites data.
Failure     A change is whole or absent, after a crash too. Refused: read_only (ReadOnly), a plain
            database (KeyRejected), the last slot (LastKeySlot), an open transaction
            (TransactionError).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rango.errors import InvalidArgument, KeyRejected

if TYPE_CHECKING:
    from rango.engine.core import Core
    from rango.storage.keyring import Secret, Token
    from rango.transaction import Handle

StrPath = str | os.PathLike[str]

KINDS: Final = ("empty", "passphrase", "key", "token", "keyring")
"""Names of KEYS_KIND_*, by number."""


class KeySlot(NamedTuple):
    """One slot in use, without anything secret."""

    number: int
    kind: str
    """"passphrase", "key" (given as such, or in a key file), "token", "keyring" (the operating
    system's), or "unknown" (of a newer Rango)."""
    operations: int | None
    """Passes of Argon2id; None unless it is a passphrase."""
    memory_bytes: int | None
    """Memory of Argon2id; None unless it is a passphrase."""


Slots = list[KeySlot]
Links = list[dict[str, Any]]


class Keys:
    """The keys of one open database; `db.keys` makes it."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def list(self) -> Slots:
        """The slots in use, by number. Raises KeyRejected for a plain database."""
        keyring = self._handle.core.keyring
        if not keyring.is_encrypted:
            raise KeyRejected(f"{self._handle.path} is not encrypted and has no key slots")
        costs = keyring.slot_costs()
        slots = []
        for number, kind in sorted(keyring.slots.items()):
            name = KINDS[kind] if kind < len(KINDS) else "unknown"
            cost = costs.get(number)
            passes, memory = (None, None) if cost is None else (cost.operations, cost.memory)
            slots.append(KeySlot(number, name, passes, memory))
        return slots

    @property
    def epoch(self) -> int:
        """The newest key epoch, from 1; rotate() adds one."""
        return int(self._handle.core.keyring.epoch)

    def add(
        self,
        *,
        passphrase: str | None = None,
        key: bytes | None = None,
        keyfile: StrPath | None = None,
        token: Token | None = None,
        keyring: bool = False,
    ) -> int:
        """Let one more secret open the database; returns the number of its slot.

        With `keyring=True` the keyring of the operating system gets a random key, and whoever is
        logged in as this user opens the database. Raises InvalidArgument (none or several secrets,
        or all eight slots are taken), KeyRejected (no keyring), LowDisk, IoFailed, and what the
        module says.
        """
        from rango.engine.keys import changed

        core = self._core("keys.add()")
        secret = _one(passphrase=passphrase, key=key, keyfile=keyfile, token=token, keyring=keyring)
        return changed(core, lambda keyring: keyring.add_slot(secret))

    def find(
        self,
        *,
        passphrase: str | None = None,
        key: bytes | None = None,
        keyfile: StrPath | None = None,
        token: Token | None = None,
        keyring: bool = False,
    ) -> int:
        """The number of the first slot that a secret opens. Raises KeyRejected if none does."""
        secret = _one(passphrase=passphrase, key=key, keyfile=keyfile, token=token, keyring=keyring)
        return self._handle.core.keyring.slot_of(secret)

    def remove(self, number: int) -> None:
        """Let the secret of a slot open the database no more.

        A copy of the old `keys` file, in a backup for example, is still opened by it, and then the
        root key is known, which rotate() does not change. Raises NotFound (no such slot),
        LastKeySlot, LowDisk, IoFailed, and what the module says.
        """
        from rango.engine.keys import changed

        core = self._core("keys.remove()")
        slot = _number(number)
        changed(core, lambda keyring: keyring.remove_slot(slot))

    def change(
        self,
        old: int | str | bytes | os.PathLike[str] | Token,
        *,
        passphrase: str | None = None,
        key: bytes | None = None,
        keyfile: StrPath | None = None,
        token: Token | None = None,
        keyring: bool = False,
    ) -> int:
        """Replace a secret by another one; returns the number of the slot.

        `old` is a slot's number, or the secret itself: a passphrase (str), a key (bytes), a key
        file (a path, not a str) or a token. The new one is tried before the old one goes, and both
        happen in one write, so at any moment one of them opens the database. Raises KeyRejected
        (`old` opens no slot), NotFound (no such slot), LowDisk, IoFailed, and what the module says.
        """
        from rango.engine.keys import replace

        core = self._core("keys.change()")
        secret = _one(passphrase=passphrase, key=key, keyfile=keyfile, token=token, keyring=keyring)
        return replace(core, _old(old), secret)

    def rotate(self) -> int:
        """Seal what is written from now on under new keys; returns the number of the new epoch.

        What was written before stays under its keys and readable. Rotate to bound how much is
        sealed under one key; it does not lock out somebody who knows the root key. Takes a
        checkpoint. Raises LowDisk, IoFailed, and what the module says.
        """
        from rango.engine.keys import rotate

        return rotate(self._core("keys.rotate()"))

    def rekeys(self) -> Links:
        """Every rekey() of the database, oldest first: when, from which keys to which.

        `ordinal` is the last commit that was sealed again; `old` and `new` have the signing key and
        the chain value there, `is_signed` says whether both keys have signed that they belong
        together. For who kept an older key and chain value and wants to go on from them.
        """
        from rango.collection import Collection
        from rango.engine.rekey import LINKS, link_is_valid

        database_id = self._handle.core.keyring.database_id
        links = Collection(self._handle, LINKS).find_many({}, sort=[("ordinal", 1)])
        return [{**link, "is_signed": link_is_valid(link, database_id)} for link in links]

    def _core(self, what: str) -> Core:
        return self._handle.outside(what)

    def __repr__(self) -> str:
        return f"<rango.Keys of {self._handle.path!r}>"


def rekey(
    path: StrPath,
    *,
    passphrase: str | None = None,
    key: bytes | None = None,
    keyfile: StrPath | None = None,
    token: Token | None = None,
    keyring: bool = False,
    new_passphrase: str | None = None,
    new_key: bytes | None = None,
    new_keyfile: StrPath | None = None,
    new_token: Token | None = None,
    new_keyring: bool = False,
    decrypt: bool = False,
    remove_old: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Seal all of a database again: under a new root key, for the first time, or not at all.

    The first five arguments open it, as in rango.open; none: it is plain. One of the new ones
    becomes the only secret (add others with Database.keys); without one the present secret opens
    the new root key; `decrypt=True` makes the database plain. Documents and history stay.

    The new files are made beside the old ones, which needs their space once more, and take their
    place when they are whole and checked; after a crash at any moment the database is the old or
    the new one. The old files, readable with the old secret, stay in a directory below `path` until
    you delete it; with `remove_old=True` they are removed (but not wiped: a disk may go on holding
    what they held). `progress` is called with (done, total) steps.

    Returns {"ordinal", "segments", "bytes", "kept"}: the last commit, what was sealed, and where
    the old files are (None: removed). Raises DatabaseBusy (it is open), KeyRejected (also: to
    decrypt a plain database), InvalidArgument, LowDisk, Corrupted, IoFailed.
    """
    from rango.arguments import flag, options_of
    from rango.engine.rekey import rekey as engine_rekey
    from rango.storage.keyring import secret_from

    options = options_of(path, (passphrase, key, keyfile, token, keyring), create=False)
    new = secret_from(new_passphrase, new_key, new_keyfile, new_token, new_keyring)
    if flag("decrypt", decrypt):
        if new is not None:
            raise InvalidArgument("give a new secret or decrypt=True, not both")
    elif new is None:
        new = options.secret
        if new is None:
            raise InvalidArgument(
                "give the new secret: new_passphrase=, new_key=, new_keyfile=, new_token= or "
                "new_keyring=True; or decrypt=True"
            )
    return engine_rekey(options, new, removes=flag("remove_old", remove_old), progress=progress)


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"a key slot is named by its number, not {type(value).__name__}")
    return value


def _one(**given: Any) -> Secret:
    from rango.storage.keyring import secret_from

    secret = secret_from(**given)
    if secret is None:
        raise InvalidArgument("give a secret: passphrase=, key=, keyfile=, token= or keyring=True")
    return secret


def _old(old: object) -> int | Secret:
    if isinstance(old, int):
        return _number(old)
    if isinstance(old, str):
        return _one(passphrase=old)
    if isinstance(old, bytes | bytearray):
        return _one(key=old)
    return _one(keyfile=old) if isinstance(old, os.PathLike) else _one(token=old)
