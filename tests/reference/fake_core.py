"""The engine as a dictionary: the readable twin of rango.engine.core, without files, threads or
durability.

A state is {collection name: {key of `_id`: record}} and the indexes by name; a transaction is a
copy of it. Index entries are computed from the documents whenever they are read, so they cannot be
wrong. Documents are stored as record bytes, made by the codec under test: this twin doubts the
store, not the codec (tests/reference/record.py does that).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from rango._ext.collection_info import MARKS_ALL, IndexInfo
from rango._ext.filter import Program
from rango._ext.key import key_of
from rango._ext.record import decode, record_build, record_parts
from rango.engine.index import copy_of, find_same
from rango.errors import Conflict, DuplicateKey, InvalidName, NotFound
from rango.ids import HybridLogicalClock


class Info(NamedTuple):
    """See CollectionInfo."""

    name: str
    tree_id: int
    indexes: tuple[IndexInfo, ...]

    @property
    def ready(self) -> tuple[IndexInfo, ...]:
        return self.indexes

    @property
    def maintained(self) -> tuple[IndexInfo, ...]:
        return self.indexes


def mark(index: IndexInfo, bson: bytes) -> None:
    """An index that holds several keys of a document, or a shortened one, gives no order."""
    entries = index.entries(bson)
    if len(entries) > 1 or any(0xFE in types or len(key) == 1024 for key, types in entries):
        index.marks |= MARKS_ALL


class FakeScan:
    """Records that were computed when the scan was made."""

    pages_read = 0

    names: frozenset[str] | None = None
    is_kept = False

    def __init__(self, records: list[bytes], program: Program | None) -> None:
        self.keys_examined = self.records_examined = len(records)
        self._records = iter([each for each in records if program is None or program.matches(each)])

    def next_records(self, limit: int) -> list[bytes]:
        return [record for _, record in zip(range(limit), self._records, strict=False)]

    def next_documents(self, limit: int) -> list[dict[str, Any]]:
        documents = [decode(record_parts(record)[6]) for record in self.next_records(limit)]
        names = self.names
        if names is None:
            return documents
        return [
            {name: each[name] for name in each if (name in names) == self.is_kept}
            for each in documents
        ]

    def count(self) -> int:
        return len(list(self._records))

    count_keys = count

    def end_with(self, _stop: Any) -> None:
        """Its records are there already."""

    def close(self) -> None:
        self._records = iter(())


class FakeView:
    """One state; also the catalog of itself."""

    def __init__(self) -> None:
        self.ordinal = 0
        self.collections: dict[str, Info] = {}
        self.trees: dict[int, dict[bytes, bytes]] = {}

    @property
    def catalog(self) -> FakeView:
        return self

    def copy(self) -> FakeView:
        other = copy.copy(self)
        other.collections = dict(self.collections)
        other.trees = {tree: dict(records) for tree, records in self.trees.items()}
        return other

    def get(self, tree: int, key: bytes) -> bytes | None:
        return self.trees.get(tree, {}).get(key)

    def find_id(self, tree: int, value: object) -> dict[str, Any] | None:
        record = self.get(tree, key_of(value))
        return None if record is None else decode(record_parts(record)[6])

    def find_named(self, name: str, value: object) -> dict[str, Any] | None:
        info = self.collections.get(name)
        return None if info is None else self.find_id(info.tree_id, value)

    def count(self, tree: int) -> int:
        return len(self.trees.get(tree, {}))

    def scan(
        self, tree: int, lower: bytes | None, upper: bytes | None, reverse: bool, program: Any
    ) -> FakeScan:
        records = self.trees.get(tree, {})
        return FakeScan([records[key] for key in within(records, lower, upper, reverse)], program)

    def index_scan(
        self,
        index_tree: int,
        tree: int,
        lower: bytes | None,
        upper: bytes | None,
        reverse: bool,
        program: Any,
        is_multikey: bool = True,
    ) -> FakeScan:
        info = next(each for each in self.collections.values() if each.tree_id == tree)
        index = next(each for each in info.indexes if each.tree_id == index_tree)
        entries = dict(self.entries(info, index))
        met = dict.fromkeys(entries[key] for key in within(entries, lower, upper, reverse))
        return FakeScan([self.trees[tree][key] for key in met], program)

    def scan_intervals(
        self,
        tree: int,
        index_tree: int,
        intervals: tuple[tuple[Any, ...], ...],
        reverse: bool,
        program: Any,
        seen: set[bytes] | None,
    ) -> FakeScan:
        records = self.trees.get(tree, {})
        entries = {key: key for key in records}
        if index_tree:
            info = next(each for each in self.collections.values() if each.tree_id == tree)
            index = next(each for each in info.indexes if each.tree_id == index_tree)
            entries = dict(self.entries(info, index))
        met: dict[bytes, None] = {}
        for interval in reversed(intervals) if reverse else intervals:
            keys = within(entries, interval[0], interval[1], reverse)
            met.update(dict.fromkeys(entries[key] for key in keys))
        fresh = [key for key in met if seen is None or key not in seen]
        if seen is not None:
            seen.update(fresh)
        return FakeScan([records[key] for key in fresh], program)

    def entries(self, info: Info, index: IndexInfo) -> Iterator[tuple[bytes, bytes]]:
        for id_key, record in self.trees[info.tree_id].items():
            for key, _types in index.entries(record_parts(record)[6]):
                yield key + id_key, id_key


def within(
    entries: dict[bytes, Any], lower: bytes | None, upper: bytes | None, reverse: bool
) -> list[bytes]:
    """The keys from lower (inclusive) to upper (exclusive), in order."""
    found = [each for each in entries if each >= (lower or b"") and (upper is None or each < upper)]
    return sorted(found, reverse=reverse)


class FakeTxn:
    """A private copy of the newest state."""

    def __init__(self, core: FakeCore) -> None:
        self.core = core
        self.base = core.current
        self.work = self.base.copy()
        self.has_read = False
        self.is_writing = False

    def lock(self) -> None:
        self._write()

    @property
    def view(self) -> FakeView:
        self.has_read = True
        return self.work.copy()

    def collections(self) -> dict[str, Info]:
        return self.view.collections

    def _write(self) -> None:
        if not self.is_writing and self.core.current is not self.base:
            if self.has_read:
                raise Conflict("another commit came first")
            self.base = self.core.current
            self.work = self.base.copy()
        self.is_writing = True

    def create_collection(self, name: str) -> Info:
        self._write()
        if name not in self.work.collections:
            self.core.trees += 1
            self.work.collections[name] = Info(name, self.core.trees, ())
            self.work.trees[self.core.trees] = {}
        return self.work.collections[name]

    def insert(self, info: Info, bson: bytes) -> None:
        self._write()
        info = self._current(info)
        id_value = decode(bson)["_id"]
        if key_of(id_value) in self.work.trees[info.tree_id]:
            raise DuplicateKey("_id_", {"_id": id_value})
        self._put(info, key_of(id_value), bson)

    def insert_run(
        self, info: Info, documents: list[bytes], start: int, end: int
    ) -> tuple[int, DuplicateKey | None]:
        for place in range(start, end):
            try:
                self.insert(info, documents[place])
            except DuplicateKey as error:
                return place, error
        return end, None

    def replace(self, info: Info, old_record: bytes, bson: bytes) -> None:
        self._write()
        self._put(self._current(info), self._key(info, old_record), bson)

    def delete(self, info: Info, old_record: bytes) -> None:
        self._write()
        del self.work.trees[info.tree_id][self._key(info, old_record)]

    def _current(self, info: Info) -> Info:
        if info.name not in self.work.collections:
            raise NotFound(f"collection {info.name!r} is gone")
        return self.work.collections[info.name]

    def _key(self, info: Info, old_record: bytes) -> bytes:
        key = key_of(decode(record_parts(old_record)[6])["_id"])
        assert self.work.trees[info.tree_id][key] == old_record, "a record that is not the newest"
        return key

    def _put(self, info: Info, id_key: bytes, bson: bytes) -> None:
        records = self.work.trees[info.tree_id]
        for index in info.indexes:
            keys = [key for key, _types in index.entries(bson)]
            others = [each for key, each in records.items() if key != id_key]
            taken = {key for each in others for key, _ in index.entries(record_parts(each)[6])}
            if index.unique and not taken.isdisjoint(keys):
                raise DuplicateKey(index.name, {index.path: keys})
            mark(index, bson)
        now = self.core.clock()
        milliseconds, counter = self.core.hlc.tick(now)
        node = self.core.node_id.encode()
        ordinal = self.work.ordinal + 1
        records[id_key] = record_build(bson, 0, milliseconds, counter, now, ordinal, node)

    def commit(self) -> None:
        if self.is_writing:
            self.work.ordinal += 1
            self.core.current = self.work

    def abort(self) -> None:
        pass


class FakeCore:
    """See rango.engine.core.Core."""

    def __init__(self, clock: Any = lambda: 1_700_000_000_000, node_id: str = "node-a") -> None:
        self.current = FakeView()
        self.clock = clock
        self.node_id = node_id
        self.hlc = HybridLogicalClock()
        self.trees = 0
        self.released = 0

    @property
    def store(self) -> FakeCore:
        return self

    def view(self) -> FakeView:
        return self.current

    def collections(self) -> dict[str, Info]:
        return self.current.collections

    def begin(self, actor: bytes = b"") -> FakeTxn:
        del actor
        return FakeTxn(self)

    def point_reads(self, *_given: Any, **_named: Any) -> None:
        """There is no shorter way."""

    def prepared_finds(self, *_given: Any, **_named: Any) -> None:
        """There is no shorter way."""

    def direct_writes(self, *_given: Any, **_named: Any) -> None:
        """It has one way for everything."""

    def insert_one(self, info: Info, bson: bytes, actor: bytes = b"") -> None:
        txn = self.begin(actor)
        txn.insert(info, bson)
        txn.commit()

    def write_point(
        self,
        name: str,
        key: bytes,
        change: Callable[[FakeTxn, Info, bytes], object],
        actor: bytes = b"",
    ) -> None:
        txn = self.begin(actor)
        info = txn.view.catalog.collections.get(name)
        record = None if info is None else txn.view.get(info.tree_id, key)
        if info is not None and record is not None:
            change(txn, info, record)
        txn.commit()

    def create_collection(self, name: str) -> Info:
        txn = self.begin()
        info = txn.create_collection(name)
        txn.commit()
        return info

    def drop_collection(self, name: str) -> bool:
        self.current = self.current.copy()
        return self.current.collections.pop(name, None) is not None

    def rename_collection(self, old: str, new: str) -> None:
        if old not in self.current.collections:
            raise NotFound(f"there is no collection {old!r}")
        if new in self.current.collections:
            raise InvalidName(f"there is already a collection {new!r}")
        self.current = self.current.copy()
        info = self.current.collections.pop(old)
        self.current.collections[new] = info._replace(name=new)

    def create_index(self, name: str, asked: IndexInfo, _progress: Any = None) -> None:
        if name not in self.current.collections:
            self.create_collection(name)
        info = self.current.collections[name]
        if find_same(info, asked) is not None:  # type: ignore[arg-type]
            return
        self.trees += 1
        index = copy_of(asked, self.trees)
        keys: list[bytes] = []
        for record in self.current.trees[info.tree_id].values():
            bson = record_parts(record)[6]
            keys += [key for key, _types in index.entries(bson)]
            mark(index, bson)
        if index.unique and len(set(keys)) < len(keys):
            raise DuplicateKey(index.name, index.path)
        self.current = self.current.copy()
        self.current.collections[name] = info._replace(indexes=(*info.indexes, index))

    def drop_index(self, name: str, *index_names: str) -> None:
        info = self.current.collections[name]
        kept = tuple(each for each in info.indexes if each.name not in index_names)
        self.current = self.current.copy()
        self.current.collections[name] = info._replace(indexes=kept)

    def stats(self) -> dict[str, Any]:
        return {"node_id": self.node_id, "ordinal": self.current.ordinal}

    def checkpoint(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def check(self) -> Iterator[object]:
        return iter(())

    def release(self) -> None:
        self.released += 1
