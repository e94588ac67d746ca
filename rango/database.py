"""Open a database, and what one can do with it as a whole.

Layers      Policy only: arguments are checked (rango.arguments), everything else is the engine's
            (rango.engine.core).
Failure     A handle that was closed raises DatabaseClosed; one that is not closed is released when
            it is collected, and at interpreter exit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from rango.arguments import (
    TTL_INTERVAL_S_DEFAULT,
    Durability,
    StrPath,
    ms_of,
    options_of,
    path_text,
    slow_ns,
)
from rango.collection import Collection
from rango.errors import InvalidArgument, TransactionError
from rango.models import M
from rango.names import actor_bytes, collection_name_check, listed_names
from rango.retention import Retention
from rango.time_travel import TimeTravel
from rango.transaction import Handle, Transaction
from rango.undo import Undo

if TYPE_CHECKING:
    from rango._ext.vfs import Vfs
    from rango.aggregation import CommandCursor
    from rango.engine.check import Finding
    from rango.keys import Keys
    from rango.proof import Anchor
    from rango.snapshot import Snapshot
    from rango.storage.keyring import Token
    from rango.watch import ChangeStream


def open(
    path: StrPath,
    *,
    passphrase: str | None = None,
    key: bytes | None = None,
    keyfile: StrPath | None = None,
    token: Token | None = None,
    keyring: bool = False,
    node_id: str | None = None,
    actor: str | None = None,
    durability: Durability = "commit",
    group_delay_ms: int = 5,
    ttl_interval_s: float = TTL_INTERVAL_S_DEFAULT,
    read_only: bool = False,
    create: bool = True,
    cache_size: int | None = None,
    clock: Callable[[], int] | None = None,
    random: Callable[[int], bytes] | None = None,
    ids: Callable[[], Any] | None = None,
    slow_query_ms: float | None = None,
    vfs: Vfs | None = None,
) -> Database:
    """Open the database in the directory `path`, and create it there if it is missing.

    With one of `passphrase`, `key` (32 bytes), `keyfile` (32 bytes or 64 hex digits), `token` (an
    object whose respond(challenge) answers as a hardware token does), `keyring=True` (the operating
    system's keyring holds a key) all on disk is encrypted; with none it is plain but checksummed.
    Losing the secret loses the data; Database.keys adds others.

    `node_id`         this node's name in revisions, drawn once; `actor`: who acts, for history()
    `durability`      "commit": a write returns when it is on disk; "group": at once, flushed within
                      `group_delay_ms`; "memory": at once, flushed by flush(), checkpoint(), close()
    `ttl_interval_s`  seconds between two looks at what TTL indexes end; 0: only expire() looks
    `read_only`       never write, not even to repair; `create=False`: NotADatabase, not a new one
    `cache_size`      bytes of opened pages to keep; by default what set_limits() says, or 64 MiB
    `clock`           returns milliseconds since 1970; `random(size)` bytes; `ids()` an `_id`
    `slow_query_ms`   log what takes as long, without its values, as a warning of `rango.query`

    `vfs` (file operations) is for the crash simulator. Raises KeyRejected, NotADatabase, ReadOnly,
    FormatTooNew, DatabaseBusy (retry later), Corrupted and its kin (rango.salvage helps), IoFailed.
    """
    from rango.engine.core import Core

    options = options_of(
        path,
        (passphrase, key, keyfile, token, keyring),
        node_id=node_id,
        durability=durability,
        group_delay_ms=group_delay_ms,
        ttl_interval_s=ttl_interval_s,
        read_only=read_only,
        create=create,
        cache_size=cache_size,
        clock=clock,
        random=random,
        ids=ids,
        vfs=vfs,
    )
    slow, acting = slow_ns(slow_query_ms), actor_bytes(actor)
    return Database(Handle(Core.open(options), path_text(path), options.ids, slow, acting))


def connect(path: StrPath, node_id: str | None = None, **options: Any) -> Database:
    """The same as rango.open, under the name and argument order of the original Rango."""
    return open(path, node_id=node_id, **options)


class Database(Retention, Undo, TimeTravel):
    """One open database. Share it by threads, but open it anew in a forked child (ForkedHandle).

    `db["name"]` is a collection; it comes into being with its first document or index.
    """

    __slots__ = ("__weakref__", "_collections", "_handle")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._collections: dict[str, Collection[dict[str, Any]]] = {}

    def __getitem__(self, name: str) -> Collection[dict[str, Any]]:
        """The collection with that name. Raises InvalidName if there cannot be one."""
        try:
            return self._collections[name]
        except KeyError:
            collection: Collection[dict[str, Any]] = Collection(
                self._handle, collection_name_check(name)
            )
            return self._collections.setdefault(name, collection)
        except TypeError:
            raise InvalidArgument(
                f"a collection name is a str, not {type(name).__name__}"
            ) from None

    @overload
    def collection(self, name: str) -> Collection[dict[str, Any]]: ...
    @overload
    def collection(self, name: str, model: type[M]) -> Collection[M]: ...
    def collection(self, name: str, model: type[M] | None = None) -> Collection[Any]:
        """The same as `db[name]`, or one whose documents are objects of a class.

        `model` is a dataclass or a pydantic model: what finds return is made by it, with a
        projection it is a dictionary still. Raises InvalidName, InvalidArgument (no model).
        """
        if model is None:
            return self[name]
        from rango.model_collection import ModelCollection

        return ModelCollection(self._handle, collection_name_check(name), model)

    def list_collection_names(self) -> list[str]:
        """The names of the collections that exist, sorted; not those that Rango keeps itself."""
        return listed_names(self._handle.view()[0].catalog.collections)

    def purges(self) -> list[dict[str, Any]]:
        """What was purged, oldest first: collection, number of documents, when, by which node.

        Without content: `_id collection documents at node actor is_complete`.
        """
        from rango.engine.purge import FACTS

        return Collection(self._handle, FACTS).find_many({}, sort=[("at", 1), ("_id", 1)])

    def drop_collection(self, name: str | Collection[Any]) -> None:
        """Delete a collection with its documents and indexes; nothing happens if there is none."""
        collection = name if isinstance(name, Collection) else self[name]
        collection.drop()

    def rename_collection(self, old: str, new: str) -> None:
        """Give a collection another name. Raises NotFound; InvalidName if `new` is taken."""
        self[old].rename(new)

    def aggregate(
        self,
        pipeline: Sequence[Mapping[str, Any]],
        session: None = None,  # noqa: ARG002
        **options: Any,
    ) -> CommandCursor:
        """A lazy cursor over a pipeline that begins with `$documents`, and so needs no collection.

        Arguments and errors are those of Collection.aggregate.
        """
        from rango.aggregation import aggregate

        return aggregate(self._handle, None, pipeline, options)

    def watch(
        self, pipeline: Sequence[Mapping[str, Any]] | None = None, **options: Any
    ) -> ChangeStream:
        """The changes of all collections from now on, as events; see Collection.watch().

        Drops and renames are events, and the stream goes on.
        """
        from rango.watch import watched

        return watched(self._handle, None, pipeline, options)

    def transaction(self, *, actor: str | None = None) -> Transaction:
        """Several statements as one: `with db.transaction(): ...`; Transaction says how.

        `actor`: who acts in it, if it is somebody else than this handle says. InvalidArgument.
        """
        return Transaction(self._handle, None if actor is None else actor_bytes(actor))

    def snapshot(self) -> Snapshot:
        """The whole database as of now, read-only: `with db.snapshot() as past: past["notes"] ...`

        Consistent over all collections, whatever any thread or process writes meanwhile. In a
        transaction it does not see the transaction's own writes. Close it: see Snapshot.
        """
        from rango.snapshot import Snapshot

        return Snapshot(self._handle)

    @property
    def path(self) -> str:
        """The directory, as it was given to open()."""
        return self._handle.path

    @property
    def node_id(self) -> str:
        """This node's name in revisions."""
        return self._handle.core.node_id

    @property
    def actor(self) -> str | None:
        """Who acts through this handle, as it was said to open()."""
        return self._handle.actor.decode() or None

    @property
    def is_closed(self) -> bool:
        """Whether close() was called on this handle."""
        return self._handle.is_closed

    @property
    def keys(self) -> Keys:
        """The secrets that open this database: list, add, remove, change; and rotate()."""
        from rango.keys import Keys

        return Keys(self._handle)

    def anchor(self) -> Anchor:
        """Sign the head of the history as of now. Keep what is returned where nobody who can write
        the database can write: verify(path, anchor=...) holds a database against it.

        Everything up to it is on disk then. Raises TransactionError inside a transaction, ReadOnly
        (read_anchor() gives the last one), DatabaseBusy, IoFailed.
        """
        from rango.engine.signing import sign_now
        from rango.proof import shown

        return shown(sign_now(self._handle.outside("anchor()")))

    def digest(self) -> str:
        """A hash of all documents, tombstones, revisions, collections and indexes, in hex.

        It depends on the history only: not on checkpoints, caches, keys, sizes of pages, or the
        machine. What Rango keeps itself (`system.`) is left out. Reads everything.
        """
        return self._handle.core.digest()

    def stats(self) -> dict[str, Any]:
        """Figures about the database, for people and monitors. Sizes are bytes.

        `path`, `node_id`, `encrypted`, `crypto_provider`, `read_only`, `durability`  how it is open
        `ordinal`, `durable`     number of the last commit, and of the last one that is on disk
        `generation`             number of the last checkpoint
        `overlay_entries`, `overlay_bytes`  what is in memory only (and in the log) since then
        `commits`, `checkpoints`, `flushes`  done since it was opened by this process
        `data_bytes`             size of the data file
        `pages`                  the page cache: its size, hits, reads, seals
        `findings`               remarks of recovery and maintenance, such as a torn tail cut off
        `collections`            by name: `documents` (count) and `indexes` (names)
        `operations`             what this handle did: inserts, updates, deletes, queries,
                                 transactions, transactions_aborted, conflicts
        `times`                  by what was done: count, total_ms, p50_ms, p99_ms (upper bounds)
        """
        core = self._handle.core
        own = {name: found.as_dict() for name, found in self._handle.metrics.times.items()}
        view = core.view()
        collections = {
            name: {
                "documents": view.count(info.tree_id),
                "indexes": [index.name for index in info.ready],
            }
            for name, info in sorted(view.catalog.collections.items())
        }
        shared = core.stats()
        return {
            **shared,
            "collections": collections,
            "operations": self._handle.metrics.as_dict(),
            "times": {**own, **shared.get("times", {})},
        }

    def limits(self) -> dict[str, int]:
        """The limits that this database was given by set_limits(), by name."""
        from rango.engine.settings import limits_of

        return limits_of(self._handle.core.view().catalog)

    def set_limits(self, **limits: int | None) -> dict[str, int]:
        """Give this database limits of its own, kept in it and obeyed by every process.

        `document_size_bytes_max`  a larger document is refused (LimitExceeded)
        `cache_size_bytes`         page cache of an open() that does not ask for a size

        None takes one back. Returns all that are set. Raises InvalidArgument, ReadOnly, and
        TransactionError inside a transaction.
        """
        from rango.engine.settings import set_limits

        return set_limits(self._handle.outside("set_limits()"), limits)

    def expire(self, now: datetime | None = None) -> int:
        """Delete every document that is over by a TTL index; returns how many.

        It happens by itself every `ttl_interval_s`. `now` stands for the current time. The deletes
        are committed 500 at a time. Raises TransactionError inside a transaction, ReadOnly,
        DatabaseBusy, LowDisk, IoFailed.
        """
        from rango.engine.expiry import expire

        core = self._handle.outside("expire()")
        return expire(core, core.clock() if now is None else ms_of(now))

    def checkpoint(self) -> None:
        """Bring the data file up to the log. It happens by itself as well.

        The next open then has little to replay. An index whose builder died is dropped, and a purge
        that was interrupted goes on.
        """
        from rango.engine.index import drop_all_unfinished
        from rango.engine.purge import resume

        core = self._handle.outside("checkpoint()")
        core.checkpoint()
        drop_all_unfinished(core)
        resume(core)

    def flush(self) -> None:
        """Return when every commit so far is on disk; IoFailed if that could not be done."""
        self._handle.core.flush()

    def backup(
        self, to: StrPath, *, progress: Callable[[int, int], object] | None = None
    ) -> dict[str, Any]:
        """Write a backup to the directory `to`, or bring the one that is there up to date.

        Reads and writes go on meanwhile; the backup is consistent as of one commit. Only segments
        that are new or were rewritten are copied. It is sealed as the database is. Returns
        {"ordinal", "segments", "copied", "bytes_copied"}. Raises InvalidArgument (`to` holds
        something else), LowDisk, IoFailed.
        """
        from rango.engine.backup import backup

        return backup(self._handle.outside("backup()"), os.path.abspath(path_text(to)), progress)

    def check(self) -> Iterator[Finding]:
        """Read every page, frame and index and yield what is wrong with them: file, offset, what.
        Nothing: all is well.

        Reads and writes may go on meanwhile. Takes about as long as reading all files.
        """
        return self._handle.core.check()

    def salvage(self, to: StrPath) -> dict[str, Any]:
        """Write what is intact to the new directory `to` and return a report."""
        return self._handle.core.salvage(os.path.abspath(path_text(to)))

    def close(self) -> None:
        """Flush and release the database. May be called again.

        Its collections and cursors raise DatabaseClosed from then on.
        Raises TransactionError inside a transaction of the same task, IoFailed if the last flush
        failed.
        """
        if self._handle.is_closed:
            return
        if self._handle.transaction() is not None:
            raise TransactionError("close() inside a transaction; leave the block first")
        self._handle.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<rango.Database {self.path!r}{' (closed)' if self.is_closed else ''}>"
