"""Salvage: what is intact in the oplog, written to a new database. The original is only read.

Terms       intact commit: one whose frames all open; lost: a stretch of the log where none does.
Invariants  Nothing is written below the original directory. The new database is an ordinary one:
            documents and indexes are
            written anew, so that it is whole even where the log is not (a document whose insert was
            lost but whose later
            version is intact is there; one whose newest version was lost is there in the newest
            intact one).
Failure     InvalidArgument if the target exists. A unique index that the salvaged documents violate
            is left out and reported.
"""

from __future__ import annotations

from typing import Any, Final

from rango._ext import layout
from rango._ext.collection_info import CollectionInfo
from rango._ext.generation import generation_empty
from rango._ext.layout import RECORD_FLAG_TOMBSTONE, RECORD_FLAGS
from rango._ext.pager import Pager
from rango._ext.record import record_parts
from rango._ext.store import Store
from rango.engine.catalog import Catalog, collection_definition
from rango.engine.check import entries_of
from rango.engine.mutation import MUTATION
from rango.engine.named import NAMES
from rango.engine.options import OpenOptions
from rango.engine.recovery import keys_read
from rango.errors import DuplicateKey, InvalidArgument
from rango.storage.keyring import Keyring
from rango.storage.segment import BASE_ORDINAL, LogFinding
from rango.storage.segment import salvage as salvage_log

RECOVERED: Final = "recovered_"
"""What a collection is called, with its tree's number, when its name was lost."""

TXN_DOCUMENTS = 1_000
TXN_BYTES = 16 * 1024 * 1024
"""What one commit of the copy holds: a document more than this at most."""


def salvage(options: OpenOptions, to: str, *, keyring: Keyring | None = None) -> dict[str, Any]:
    """Write every intact document to a new database at `to`, under the same secret.

    Returns {"documents", "collections", "commits", "lost": [(place, what)], "indexes_left_out":
    [(index, why)]}.
    Raises InvalidArgument (`to` exists), NotADatabase, KeyRejected, ReadOnly (a change of the root
    key was interrupted: open it once for writing), IoFailed.
    """
    if options.vfs.exists(to):
        raise InvalidArgument(f"{to} exists already; salvage writes to a new place")
    own = keys_read(options) if keyring is None else keyring
    try:
        lost: list[LogFinding] = []
        store = Store(
            Pager(options.vfs, to, -1, own.database_id, own, own.epoch, 1 << 20),
            generation_empty(),
            b"",
        )
        changes: list[tuple[int, bytes | None]] = []
        commits = 0
        trees: set[int] = set()
        for _lsn, ordinal, body in salvage_log(options.vfs, options.path, own, lost):
            # records of a base know which commit wrote them
            store.is_base = ordinal >= BASE_ORDINAL
            changes += store.apply(body, ordinal, ordinal)
            trees |= document_trees(body)
            commits += 1
        for tree in sorted(trees.difference(tree for tree, _ in changes)):
            # the commit that gave the collection its name is among the lost
            name = f"{RECOVERED}{tree}"
            changes.append((tree, collection_definition(name)))
            lost.append(LogFinding(f"tree {tree}", f"its name was lost: see collection {name!r}"))
        store.head.catalog = Catalog({}, {}, 1).changed(changes, store.marks)
        report = {"commits": commits, "lost": [(each.where, each.what) for each in lost]}
        return {**report, **write_copy(options, store, to)}
    finally:
        if keyring is None:
            own.close()


def document_trees(body: bytes) -> set[int]:
    """The trees in which a commit writes documents."""
    trees: set[int] = set()
    at = layout.COMMIT_HEADER_SIZE
    while at < len(body):
        size, _op, tree, key_size = MUTATION.unpack_from(body, at)
        if key_size and tree != layout.TREE_CATALOG:
            trees.add(tree)
        at += size
    return trees


def write_copy(options: OpenOptions, store: Store, to: str) -> dict[str, Any]:
    """Make the new database from what the store holds."""
    from rango.engine.core import Core

    core = Core.open(options._replace(path=to, create=True, read_only=False, durability="memory"))
    left_out: list[tuple[str, str]] = []
    documents = 0
    try:
        collections: dict[str, CollectionInfo] = store.head.catalog.collections
        for name, info in sorted(collections.items()):
            if name == NAMES:
                # the copy has a history of its own, whose commits have other numbers
                continue
            documents += copy_collection(core, store, info)
            for index in info.ready:
                try:
                    core.create_index(name, index)
                except DuplicateKey as error:
                    left_out.append((f"{name}.{index.name}", str(error)))
    finally:
        core.release()
    return {"documents": documents, "collections": len(collections), "indexes_left_out": left_out}


def copy_collection(core: Any, store: Store, info: CollectionInfo) -> int:
    """Insert the live documents of one collection; how many there were."""
    target = core.create_collection(info.name)
    count = 0
    txn = core.begin()
    try:
        for _key, record in entries_of(store.head, info.tree_id):
            if record[RECORD_FLAGS] == RECORD_FLAG_TOMBSTONE:
                continue
            txn.insert(target, record_parts(record)[6])
            count += 1
            if count % TXN_DOCUMENTS == 0 or txn.size_bytes > TXN_BYTES:
                txn.commit()
                txn = core.begin()
        txn.commit()
    finally:
        # a transaction that an error leaves open would keep the append lock from close()
        txn.abort()
    return count
