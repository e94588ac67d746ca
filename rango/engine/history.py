"""The versions of one document, newest first, as the oplog has them.

Terms       version: what one write of a document left, or its deletion; previous ordinal: see
            RECORD_ORDINAL in layout.pxd, the commit that wrote the version before.
Invariants  One commit is read for each version at most: the tree names the newest one, each record
            in the log the one before. Deletions leave a tombstone in the tree, so the chain crosses
            them; a collection keeps its tree when it is renamed, and another one of the same name
            has another tree.
            Where the history was given up, the base segment has one version more: it is searched.
            Only what was committed is shown, a transaction's own writes are not.
Failure     LogCorrupted: a commit that the chain names is damaged or does not have the document.
            A reading that came between two writes of somebody else (a new segment, a purge that
            rewrites one) is done once more, with fresh headers.
Sources     architecture section 8 (History).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from rango._ext import layout
from rango._ext.key import key_of
from rango._ext.record import decode, encode, record_actor, record_parts
from rango.engine.kept_state import record_of
from rango.engine.log import KINDS, revision_text
from rango.engine.mutation import MUTATION, VERSIONED, mutations, value_of
from rango.engine.values import MISSING
from rango.errors import HistoryGivenUp, IoFailed, LogCorrupted, NotFound
from rango.storage.oplog import Oplog
from rango.storage.segment import is_gone

if TYPE_CHECKING:
    from rango._ext.view import View
    from rango.engine.core import Core


R = TypeVar("R")

TRIES: Final = 20
"""Readings of a log of which others give up more and more, before it counts as damaged."""


class Version(NamedTuple):
    """One version of a document."""

    kind: Literal["insert", "replace", "delete", "purged", "kept", "gone"]
    """"purged": this one and all before it were purged while the history was read. "kept": the
    version that a `compact` has kept; what came before was given up. "gone": this one was given up
    while the history was read."""
    ordinal: int
    """Of the commit that wrote it."""
    revision: str
    """`<ms>-<counter>-<4 hex>`; "" of what was purged."""
    ms: int
    """When it was written, milliseconds since the epoch; 0 of what was purged."""
    node: str
    """Which node wrote it; "" of what was purged."""
    document: dict[str, Any] | None
    """None of a deletion, and of what was purged."""
    actor: str = ""
    """Who wrote it; "" if nobody was named, and of what was purged."""


def newest_ordinal(view: View, name: str, id_value: object) -> tuple[int, int, bytes]:
    """(ordinal, tree, key) of the newest version of a document, or deletion; ordinal 0: none."""
    info = view.catalog.collections.get(name)
    key = key_of(id_value)
    if info is None:
        return 0, 0, key
    # get() does not show tombstones
    scan = view.scan(info.tree_id, key, key + b"\0", False, None)
    try:
        for _key, record in scan.next_entries(1):
            return record_parts(record)[4], info.tree_id, key
        return 0, info.tree_id, key
    finally:
        scan.close()


def versions(core_of: Callable[[], Core], ordinal: int, tree: int, key: bytes) -> Iterator[Version]:
    """The versions of a document from the one that commit `ordinal` wrote backwards.

    `core_of` gives the core for as long as its handle is open. Raises LogCorrupted, DatabaseClosed,
    ForkedHandle, IoFailed.
    """
    while ordinal:
        try:
            number, body = commit_read(core_of(), ordinal)
        except HistoryGivenUp:
            yield kept_version(core_of(), ordinal, tree, key)
            return
        found, is_purged = records_of(body, tree, key)
        if not found:
            if not is_purged:
                raise LogCorrupted(
                    f"oplog, ordinal {ordinal}", "this commit should have a version of a document"
                )
            yield Version("purged", number, "", 0, "", None)
            return
        previous = 0
        # one commit may have written a document several times
        for op, record in reversed(found):
            _flags, ms, counter, updated_at, previous, node, bson = record_parts(record)
            writer = node.decode()
            kind: Any = KINDS[op]
            document = decode(bson) if bson else None
            revision = revision_text(ms, counter, writer)
            actor = record_actor(record).decode()
            yield Version(kind, number, revision, updated_at, writer, document, actor)
        if previous >= ordinal:
            raise LogCorrupted(
                f"oplog, ordinal {ordinal}", f"a version says that {previous} came before it"
            )
        ordinal = previous


def kept_version(core: Core, ordinal: int, tree: int, key: bytes) -> Version:
    """The version that commit `ordinal` wrote, if the base holds it: what came before is gone."""
    record = fresh_read(core, lambda log: record_of(log, tree, key))
    if record is None:
        return Version("purged", ordinal, "", 0, "", None)
    _flags, ms, counter, updated_at, written, node, bson = record_parts(record)
    if written != ordinal:
        # more was given up since the version after this one was read
        return Version("gone", ordinal, "", 0, "", None)
    writer = node.decode()
    document = decode(bson) if bson else None
    revision, actor = revision_text(ms, counter, writer), record_actor(record).decode()
    return Version("kept", ordinal, revision, updated_at, writer, document, actor)


def commit_read(core: Core, ordinal: int) -> tuple[int, bytes]:
    """The number and the body of a commit."""
    # raises if the database was closed, and takes over what other processes did to the log
    _ = core.store.current
    try:
        return core.log.commit_of(ordinal)
    except (NotFound, LogCorrupted, IoFailed):
        pass
    try:
        return fresh_read(core, lambda log: log.commit_of(ordinal))
    except HistoryGivenUp:
        raise
    except NotFound as error:
        raise LogCorrupted(f"oplog, ordinal {ordinal}", "this commit is missing") from error


def fresh_read(core: Core, read: Callable[[Oplog], R]) -> R:
    """Read with fresh headers, and once more if somebody gave up what was about to be read."""
    for _ in range(TRIES - 1):
        try:
            return read(Oplog.open(core.vfs, core.path, core.keyring))
        except IoFailed as error:
            if not is_gone(error):
                raise
    return read(Oplog.open(core.vfs, core.path, core.keyring))


def records_of(body: bytes, tree: int, key: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """(operation, record) of what a commit did to a document; whether some of it was purged."""
    found = []
    is_purged = False
    start = layout.MUTATION_HEADER_SIZE
    for mutation in mutations(body):
        _size, op, of, key_size = MUTATION.unpack_from(mutation)
        if op == layout.MUTATION_PURGED:
            is_purged = is_purged or of == tree
        elif of == tree and op in VERSIONED and mutation[start : start + key_size] == key:
            found.append((op, value_of(mutation, key_size)))
    return found, is_purged


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any], path: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """(fields set, fields removed) by dotted path: embedded documents field by field, arrays whole.

    Two values are the same if they are stored as the same bytes: 1 and 1.0 differ. The order of
    fields does not count.
    """
    changed: dict[str, Any] = {}
    removed = [path + name for name in before if name not in after]
    for name, value in after.items():
        old = before.get(name, MISSING)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and value and old:
            inner_changed, inner_removed = difference(old, value, f"{path}{name}.")
            changed |= inner_changed
            removed += inner_removed
        elif old is MISSING or encode({"": old}) != encode({"": value}):
            changed[path + name] = value
    return changed, removed
