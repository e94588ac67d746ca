"""The hand of a workload: each statement goes to the database and, as what it must mean, to the
ledger.

Terms       durable: acknowledged when the statement returns (durability "commit"); otherwise only
            `flush` acknowledges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from rango.database import Database
from rango.engine.check import index_described
from rango.errors import BulkWriteError, RangoError
from rango.indexes import IndexKeys, asked_check
from tests.crash.ledger import State
from tests.crash.simulator import Session

Changes = dict[Any, Any]


class Scribe:
    """Statements with their expected effect."""

    def __init__(self, session: Session, *, is_durable: bool = True) -> None:
        self.session = session
        self.ledger = session.ledger
        self.is_durable = is_durable
        self.database: Database = session.open()

    def acknowledge(self) -> None:
        if self.is_durable:
            self.ledger.acknowledge()

    def ids(self, collection: str) -> list[Any]:
        """The ids that the collection should have."""
        return [k[1] for k in self.ledger.now if k[0] == collection]

    def _collection(self, collection: str) -> Changes:
        return {("#collection", collection): True}

    def insert(self, collection: str, document: dict[str, Any]) -> None:
        self.ledger.attempt(
            {**self._collection(collection), (collection, document["_id"]): document}
        )
        self.database[collection].insert_one(document)
        self.acknowledge()

    def insert_many(self, collection: str, documents: list[dict[str, Any]]) -> None:
        changes = self._collection(collection)
        changes |= {(collection, document["_id"]): document for document in documents}
        self.ledger.attempt(changes)
        self.database[collection].insert_many(documents)
        self.acknowledge()

    def update(self, collection: str, key: Any, fields: dict[str, Any]) -> None:
        self.ledger.attempt({(collection, key): {**self.ledger.now[collection, key], **fields}})
        result = self.database[collection].update_one({"_id": key}, {"$set": fields})
        assert result.matched_count == 1
        self.acknowledge()

    def replace(self, collection: str, document: dict[str, Any]) -> None:
        self.ledger.attempt({(collection, document["_id"]): document})
        result = self.database[collection].replace_one({"_id": document["_id"]}, document)
        assert result.matched_count == 1
        self.acknowledge()

    def delete(self, collection: str, keys: Iterable[Any]) -> None:
        keys = list(keys)
        self.ledger.attempt({(collection, key): None for key in keys})
        result = self.database[collection].delete_many({"_id": {"$in": keys}})
        assert result.deleted_count == len(keys)
        self.acknowledge()

    def purge(self, collection: str, keys: Iterable[Any]) -> None:
        keys = list(keys)
        self.ledger.attempt({(collection, key): None for key in keys})
        result = self.database[collection].purge({"_id": {"$in": keys}})
        assert result.purged_count == len(keys)
        self.acknowledge()

    def transaction(self, changes: Changes) -> None:
        """Several documents, several collections: (collection, id) -> document or None."""
        whole = dict(changes)
        for collection, _ in changes:
            whole |= self._collection(collection)
        self.ledger.attempt(whole)
        now = self.ledger.models[-2]
        with self.database.transaction():
            for (collection, key), document in changes.items():
                target = self.database[collection]
                if document is None:
                    target.delete_one({"_id": key})
                elif (collection, key) in now:
                    target.replace_one({"_id": key}, document)
                else:
                    target.insert_one(document)
        self.acknowledge()

    def create_index(self, collection: str, keys: IndexKeys, **options: Any) -> None:
        # One commit announces the index, some fill it, one makes it ready.
        self.ledger.attempt(self._collection(collection))
        asked = asked_check(keys, options)
        self.ledger.attempt({("#index", collection, asked.name): index_described(asked)})
        self.database[collection].create_index(keys, **options)
        self.acknowledge()

    def build_index(
        self, collection: str, keys: IndexKeys, between: Callable[[int], None], **options: Any
    ) -> None:
        """An index filled in several commits; `between` writes after each but the last."""
        steps = count()
        self.ledger.attempt(self._collection(collection))
        asked = asked_check(keys, options)
        ready = {("#index", collection, asked.name): index_described(asked)}

        def progress(done: int, total: int) -> None:
            if done < total:
                between(next(steps))
            else:
                self.ledger.attempt(ready)

        self.database[collection].create_index(keys, progress=progress, **options)
        assert self.ledger.now.keys() >= ready.keys()
        assert next(steps) > 0, "it was filled in one commit"
        self.acknowledge()

    def refused(self, statement: Callable[[], object], kind: type[RangoError]) -> None:
        """A statement that is refused, and leaves nothing."""
        try:
            statement()
        except kind:
            self.verify()
            return
        raise AssertionError(f"{kind.__name__} was not raised")

    def aggregate(self, collection: str, pipeline: list[dict[str, Any]], changes: Changes) -> None:
        """A pipeline that ends with $out or $merge: one commit, or none if nothing changes."""
        now = self.ledger.now
        is_any = any(now.get(key) != value for key, value in changes.items())
        if is_any:
            self.ledger.attempt(changes)
        self.database[collection].aggregate(pipeline)
        if is_any:
            self.acknowledge()

    def bulk(
        self,
        collection: str,
        requests: list[Any],
        commits: list[Changes],
        *,
        ordered: bool,
        is_refused: bool,
    ) -> None:
        """A bulk write, with the commits that it has to make; is one of its requests refused?"""
        for changes in commits:
            self.ledger.attempt(changes)
        try:
            self.database[collection].bulk_write(requests, ordered=ordered)
        except BulkWriteError:
            assert is_refused
        else:
            assert not is_refused
        self.acknowledge()

    def drop_index(self, collection: str, name: str) -> None:
        self.ledger.attempt({("#index", collection, name): None})
        self.database[collection].drop_index(name)
        self.acknowledge()

    def expire(self, collection: str, path: str, after_s: int, now: datetime) -> None:
        """What is due at `now`, at most as much as one commit deletes."""
        latest = now - timedelta(seconds=after_s)
        due = [
            key for key in self.ids(collection) if self.ledger.now[collection, key][path] <= latest
        ]
        if not due:
            # no commit, so nothing that could be acknowledged
            assert self.database.expire(now) == 0
            return
        self.ledger.attempt({(collection, key): None for key in due})
        assert self.database.expire(now) == len(due)
        self.acknowledge()

    def expire_in_commits(
        self, collection: str, path: str, after_s: int, now: datetime, size: int
    ) -> None:
        """What is due at `now`, the earliest first, `size` documents a commit."""
        latest = now - timedelta(seconds=after_s)
        due = []
        for key in self.ids(collection):
            at = self.ledger.now[collection, key][path]
            first = min(at) if isinstance(at, list) else at
            if first <= latest:
                due.append((first, key))
        due.sort()
        for start in range(0, len(due), size):
            self.ledger.attempt({(collection, key): None for _, key in due[start : start + size]})
        assert self.database.expire(now) == len(due)
        if due:
            self.acknowledge()

    def drop(self, collection: str) -> None:
        self.ledger.attempt(gone(self.ledger.now, collection))
        self.database[collection].drop()
        self.acknowledge()

    def rename(self, old: str, new: str) -> None:
        changes: Changes = gone(self.ledger.now, old)
        for key, value in self.ledger.now.items():
            if key[0] == old:
                changes[new, key[1]] = value
            elif key[0] == "#collection" and key[1] == old:
                changes["#collection", new] = value
            elif key[0] == "#index" and key[1] == old:
                changes["#index", new, key[2]] = value
        self.ledger.attempt(changes)
        self.database[old].rename(new)
        self.acknowledge()

    def checkpoint(self) -> None:
        self.database.checkpoint()
        self.ledger.acknowledge()  # what a superblock slot names is durable (I-18)

    def compact(self, keep: Any) -> dict[str, Any]:
        """History goes, the documents stay."""
        done = self.database.compact(keep)
        self.ledger.acknowledge()  # both slots hold all that was committed
        return done

    def rotate(self) -> None:
        self.database.keys.rotate()
        self.ledger.acknowledge()  # it takes a checkpoint

    def rekey(self, key: bytes | None, *, removes: bool) -> None:
        """Another root key, or none; the database is closed meanwhile."""
        self.session.close()
        self.ledger.acknowledge()
        self.session.disk.failed_directories.clear()
        self.session.subject.rekey(self.session.disk, key, removes=removes)
        self.database = self.session.open()

    def flush(self) -> None:
        self.database.flush()
        self.ledger.acknowledge()

    def reopen(self) -> None:
        self.session.close()
        self.ledger.acknowledge()
        self.database = self.session.open()

    def verify(self) -> None:
        """Reads while the workload runs, too, are what the ledger says."""
        found = self.session.subject.observe(self.database)
        assert found == self.ledger.now, self.ledger.explain(found, 0, len(self.ledger.starts))


def gone(state: State, collection: str) -> Changes:
    """The changes that leave nothing of a collection."""
    kinds = ("#collection", "#index")
    return {k: None for k in state if k[0] == collection or (k[0] in kinds and k[1] == collection)}
