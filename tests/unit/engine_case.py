"""An engine under test, below the public API: options, documents in and out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rango._ext.collection_info import IndexInfo
from rango._ext.key import key_of
from rango._ext.record import decode, encode, record_parts
from rango._ext.seal import Entropy
from rango._ext.vfs import POSIX, PythonVfs
from rango.engine.core import Core, OpenOptions
from tests.unit.memory_disk import MemoryDisk

DB = "/db"


def options_of(path: object, **changes: Any) -> OpenOptions:
    """Options of a plain database with a clock of its own."""
    clock = itertools.count(1_000_000)
    options = OpenOptions(
        path=str(path),
        secret=None,
        node_id="tester",
        durability="commit",
        group_delay_ms=5,
        read_only=False,
        create=True,
        cache_size=1 << 20,
        clock=lambda: next(clock),
        entropy=Entropy(),
        ids=lambda: next(clock),
        vfs=POSIX,
    )
    return options._replace(**changes)


def opened(path: object = DB, disk: MemoryDisk | None = None, **changes: Any) -> Core:
    """A core; on a disk in memory if one is given."""
    if disk is not None:
        changes["vfs"] = PythonVfs(disk)
    return Core.open(options_of(path, **changes))


def insert(core: Core, name: str, documents: Iterable[dict[str, Any]]) -> None:
    """Each document in a commit of its own."""
    info = core.collections().get(name) or core.create_collection(name)
    for document in documents:
        core.insert_one(info, encode(document))


def replace(core: Core, name: str, document: dict[str, Any]) -> None:
    """Another version of a document."""
    txn = core.begin()
    try:
        txn.lock()
        info = txn.collections()[name]
        old = txn.view.get(info.tree_id, key_of(document["_id"]))
        assert old is not None
        txn.replace(info, old, encode(document))
        txn.commit()
    finally:
        txn.abort()


def delete(core: Core, name: str, identifier: Any) -> None:
    """A document becomes a tombstone."""
    txn = core.begin()
    try:
        txn.lock()
        info = txn.collections()[name]
        old = txn.view.get(info.tree_id, key_of(identifier))
        assert old is not None
        txn.delete(info, old)
        txn.commit()
    finally:
        txn.abort()


def asked(path: str, direction: int = 1, *more: tuple[str, int], **options: Any) -> IndexInfo:
    """An index that is asked for; its name follows from its fields."""
    fields = ((path, direction), *more)
    name = options.pop("name", "_".join(f"{path}_{direction}" for path, direction in fields))
    return IndexInfo(name, 0, fields, **options)


def documents_of(core: Core, name: str) -> dict[Any, dict[str, Any]]:
    """What the collection holds, by `_id`."""
    view = core.view()
    info = view.catalog.collections.get(name)
    if info is None:
        return {}
    scan = view.scan(info.tree_id, None, None, False, None)
    found: dict[Any, dict[str, Any]] = {}
    while records := scan.next_records(100):
        for record in records:
            document = decode(record_parts(record)[6])
            found[document["_id"]] = document
    return found


def by_index(core: Core, name: str, index_name: str) -> list[Any]:
    """The `_id`s in the order of an index."""
    view = core.view()
    info = view.catalog.collections[name]
    index = next(each for each in info.indexes if each.name == index_name)
    scan = view.index_scan(index.tree_id, info.tree_id, None, None, False, None, index.multikey)
    return [document["_id"] for document in scan.next_documents(1 << 20)]


@contextmanager
def threads(*works: Callable[[], object]) -> Iterator[None]:
    """Run each in a thread while the block runs; what one of them raises is raised at its end."""
    with ThreadPoolExecutor(len(works)) as pool:
        running = [pool.submit(work) for work in works]
        yield
    for each in running:
        each.result()


def two_cores(path: Path, **changes: Any) -> Iterator[list[Core]]:
    """Two cores on one directory, as two processes have; for a fixture."""
    cores = [Core(options_of(path, **changes)) for _ in range(2)]
    for core in cores:
        core.start()
    yield cores
    for core in cores:
        core.release()
