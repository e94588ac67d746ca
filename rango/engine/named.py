"""Names for commits: snapshots that outlive the process that took them.

Terms       snapshot, ordinal: see the glossary. Named: a document in `system.snapshots` says which
            commit a name stands for.
Invariants  The document is a commit like any other: logged, replayed, seen by all processes, kept
            by backups, rekeys and a data file that is built anew. It names the commit before its
            own, so it is durable only if that one is (a prefix survives). It pins no pages.
Failure     InvalidName: the name is taken or cannot be one. NotFound: nobody gave it.
Sources     ADR-0028.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rango._ext.key import key_of
from rango._ext.record import decode, encode, record_parts
from rango.errors import InvalidArgument, InvalidName, NotFound

if TYPE_CHECKING:
    from rango._ext.view import View
    from rango.engine.core import Core

NAMES: Final = "system.snapshots"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,119}")
"""Begins with no digit, so it is neither an ordinal nor a time nor a revision."""

NOTE_SIZE_MAX: Final = 10_000


def name_check(name: object) -> str:
    """`name` if it can name a snapshot; InvalidName says why not."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidName(
            f"{name!r:.60} cannot name a snapshot: a letter or _, then at most 119 letters, "
            "digits, _, . and -"
        )
    return name


def create(core: Core, name: str, note: object, actor: bytes = b"") -> dict[str, Any]:
    """Name the newest commit. Raises InvalidName, InvalidArgument, and what a write raises."""
    name_check(name)
    if note is not None and (not isinstance(note, str) or len(note) > NOTE_SIZE_MAX):
        raise InvalidArgument(f"note must be a str of at most {NOTE_SIZE_MAX} characters")
    txn = core.begin(actor)
    try:
        txn.lock()
        if find(txn.view, name) is not None:
            raise InvalidName(
                f"there is already a snapshot {name!r}; drop it first or choose another name"
            )
        named = {
            "_id": name,
            # under the append lock, so nobody commits in between; not that of the head's commit:
            # history may begin behind the frames of a close, which come after that
            "ordinal": core.store.appender.mark()[2],
            "at": datetime.fromtimestamp(core.clock() / 1000, UTC),
            "node": core.node_id,
            "note": note,
        }
        txn.insert(txn.create_collection(NAMES), encode(named))
        txn.commit()
    finally:
        txn.abort()
    return shown(named)


def drop(core: Core, name: str, actor: bytes = b"") -> None:
    """Take a name back; the history stays. Raises NotFound, and what a write raises."""
    txn = core.begin(actor)
    try:
        txn.lock()
        info = txn.collections().get(NAMES)
        scan = None if info is None else record_of(txn.view, name)
        if info is None or scan is None:
            raise missing(name)
        txn.delete(info, scan)
        txn.commit()
    finally:
        txn.abort()


def listed(view: View) -> list[dict[str, Any]]:
    """All of them, oldest commit first."""
    info = view.catalog.collections.get(NAMES)
    if info is None:
        return []
    scan = view.scan(info.tree_id, None, None, False, None)
    try:
        found = [decode(record_parts(record)[6]) for record in scan.next_records(1 << 30)]
    finally:
        scan.close()
    return sorted(map(shown, found), key=lambda each: (each["ordinal"], each["name"]))


def names_between(view: View, first: int, last: int) -> list[str]:
    """The names of commits from `first` to `last`, oldest first."""
    return [each["name"] for each in listed(view) if first <= each["ordinal"] <= last]


def ordinal_named(view: View, name: str) -> int:
    """The commit that a name stands for. Raises NotFound."""
    found = find(view, name)
    if found is None:
        raise missing(name)
    return int(found["ordinal"])


def find(view: View, name: str) -> dict[str, Any] | None:
    """The document of a name."""
    return view.find_named(NAMES, name)


def record_of(view: View, name: str) -> bytes | None:
    """The record of a name's document."""
    info = view.catalog.collections.get(NAMES)
    return None if info is None else view.get(info.tree_id, key_of(name))


def shown(named: dict[str, Any]) -> dict[str, Any]:
    """A document as callers get it."""
    fields = {name: value for name, value in named.items() if name != "_id"}
    return {"name": named["_id"], **fields}


def missing(name: str) -> NotFound:
    """The error for a name that nobody gave."""
    return NotFound(
        f"there is no snapshot {name!r}; snapshots() lists those that there are, and "
        "create_snapshot() makes one"
    )
