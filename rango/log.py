"""The history of a database as its log has it: `rango.read_log`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from rango.arguments import StrPath, options_of

if TYPE_CHECKING:
    from rango.engine.log import Change, Commit
    from rango.storage.keyring import Token

FOLLOW_INTERVAL_S: Final = 0.5
"""How long follow waits before it looks again: nobody tells another process of a commit."""


def read_log(
    path: StrPath,
    *,
    start: int = 1,
    end: int | None = None,
    collection: str | None = None,
    values: bool = False,
    follow: bool = False,
    passphrase: str | None = None,
    key: bytes | None = None,
    keyfile: StrPath | None = None,
    token: Token | None = None,
    keyring: bool = False,
) -> Iterator[dict[str, Any]]:
    """The commits of a database, oldest first, without opening the database.

    Works while any process has it open, and writes nothing. A commit that another process has just
    written may be shown a moment before it is on disk.

    `start`, `end`  ordinals of the first and the last commit; numbers of commits that are no
    changes (a closed log) are left out
    `collection`    only changes of this collection, and only commits that have one
    `values`        with the documents as the commit left them
    `follow`        wait for new commits, for ever or up to `end`

    Each is {"ordinal", "changes": [...]}, a change {"kind", "collection", "_id"} and, where it has
    them, "_rev", "at" (a datetime), "node", "actor", "document"; "key" (hex) instead of "_id" if
    the log does not tell that any more. Kinds: insert, replace, delete; define and drop (a
    collection, an index, a setting); forget and purged: a real deletion, and what it left of older
    commits.

    Raises NotADatabase, KeyRejected, ReadOnly (rekey() was interrupted: open it once), Corrupted
    and its kin, FormatTooNew, IoFailed.
    """
    from rango.engine.log import Reader
    from rango.engine.recovery import keys_read

    options = options_of(path, (passphrase, key, keyfile, token, keyring), read_only=True)
    opened = keys_read(options)
    reader = Reader(options.vfs, options.path, opened, values=values)
    try:
        while True:
            for commit in reader.read(start):
                if end is not None and commit.ordinal > end:
                    return
                shown = shown_commit(commit, collection, values)
                if shown is not None:
                    yield shown
                if commit.ordinal == end:
                    return
            if not follow:
                return
            time.sleep(FOLLOW_INTERVAL_S)
    finally:
        opened.close()


def shown_commit(commit: Commit, collection: str | None, values: bool) -> dict[str, Any] | None:
    """A commit as a dict; None if nothing of it is asked for."""
    changes = [
        shown_change(change, values)
        for change in commit.changes
        if collection is None or change.collection == collection
    ]
    if not changes and collection is not None:
        return None
    return {"ordinal": commit.ordinal, "changes": changes}


def shown_change(change: Change, values: bool) -> dict[str, Any]:
    """A change as a dict."""
    from datetime import UTC, datetime

    shown: dict[str, Any] = {"kind": change.kind, "collection": change.collection}
    if change.kind == "purged":
        return shown
    if change.kind in ("define", "drop"):
        shown["index"] = change.id
    elif change.key:
        shown["key"] = change.key
    else:
        shown["_id"] = change.id
    if change.revision:
        shown["_rev"] = change.revision
        shown["at"] = datetime.fromtimestamp(change.ms / 1000, UTC)
        shown["node"] = change.node
    if change.actor:
        shown["actor"] = change.actor
    if values and change.document is not None:
        shown["document"] = change.document
    return shown
