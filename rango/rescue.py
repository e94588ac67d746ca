"""New databases from what others left: salvaged, restored from a backup, replayed from a log."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rango.arguments import StrPath, integer, options_of, path_text

if TYPE_CHECKING:
    from rango.storage.keyring import Token


def salvage(
    path: StrPath,
    *,
    to: StrPath,
    passphrase: str | None = None,
    key: bytes | None = None,
    keyfile: StrPath | None = None,
    token: Token | None = None,
    keyring: bool = False,
) -> dict[str, Any]:
    """Write what is intact in a database that does not open to the new directory `to`.

    The original is not touched. Returns a report: what was kept, what was lost and where. Raises
    KeyRejected, or InvalidArgument if `to` exists.
    """
    from rango.engine.salvage import salvage as engine_salvage

    secret = (passphrase, key, keyfile, token, keyring)
    options = options_of(path, secret, read_only=True, create=False)
    report: dict[str, Any] = engine_salvage(options, os.path.abspath(path_text(to)))
    return report


def restore(
    backup: StrPath,
    *,
    to: StrPath,
    passphrase: str | None = None,
    key: bytes | None = None,
    keyfile: StrPath | None = None,
    token: Token | None = None,
    keyring: bool = False,
    node_id: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Make the new database `to` from a backup, after reading and verifying all of it.

    It has a node id of its own, drawn unless given. Returns {"ordinal", "documents", "collections",
    "node_id"}. Raises InvalidArgument (no backup, or `to` exists), Corrupted (the backup is not as
    it was written; nothing was restored), KeyRejected, LowDisk.
    """
    from rango.engine.backup import restore as engine_restore

    options = options_of(to, (passphrase, key, keyfile, token, keyring), node_id=node_id)
    return engine_restore(options, os.path.abspath(path_text(backup)), progress)


def verify_backup(
    backup: StrPath, *, progress: Callable[[int, int], object] | None = None
) -> dict[str, Any]:
    """Read a backup and compare every byte with its signed list; needs no secret.

    Returns {"ordinal", "segments", "bytes", "created_ms", "node_id"}. Raises InvalidArgument,
    Corrupted.
    """
    from rango._ext.vfs import POSIX
    from rango.engine.backup import verify

    return verify(POSIX, os.path.abspath(path_text(backup)), progress)


def replay(
    path: StrPath,
    *,
    to: StrPath,
    until: int | None = None,
    base: StrPath | None = None,
    passphrase: str | None = None,
    key: bytes | None = None,
    keyfile: StrPath | None = None,
    token: Token | None = None,
    keyring: bool = False,
    node_id: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Rebuild the state after commit `until` (the last one if not given) from the oplog in the new
    directory `to`, and say what its digest is: see Database.digest().

    The oplog is verified up to there. `base`: an earlier state of the same history, a copy or a
    restored backup under the same keys; only what came after it is replayed. The new database is a
    node of its own, with the history up to there. Returns {"ordinal", "start", "digest",
    "documents", "collections", "node_id"}. Raises InvalidArgument (`to` exists, the base is later),
    NotFound (no such commit), LogCorrupted, KeyRejected, LowDisk.
    """
    from rango.engine.replay import replay as engine_replay

    if until is not None:
        integer("until", until, 1, 1 << 62)
    options = options_of(path, (passphrase, key, keyfile, token, keyring), node_id=node_id)
    return engine_replay(
        options,
        os.path.abspath(path_text(to)),
        until,
        None if base is None else os.path.abspath(path_text(base)),
        progress,
    )
