"""Rango as the simulator sees it: how to open, read, check and rebuild it on a simulated disk.

Terms       state: (collection, _id) -> document, ("#collection", name) -> True, ("#index",
            collection, name) -> its fields and options.
Invariants  the same seed gives the same bytes: clock, randomness and ids are the subject's own.
Failure     any exception but a RangoError after a fault is a finding of the simulator.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rango._ext.vfs import PythonVfs
from rango.arguments import options_of
from rango.database import Database
from rango.engine.check import index_described
from rango.engine.core import Core, OpenOptions
from rango.engine.rekey import rekey
from rango.errors import IoFailed, KeyRejected, RangoError
from rango.storage.keyring import RawKey
from rango.transaction import Handle
from tests.crash.disk import Disk
from tests.crash.ledger import State

ROOT = "/simulated"
DATA_FILE = f"{ROOT}/data.rango"
KEY = bytes(range(32))
KEYS = (KEY, bytes(range(1, 33)), bytes(range(2, 34)))


class Clock:
    """Milliseconds that pass by one at each look."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


class EngineSubject:
    """Opens databases with small bounds, so that segments roll, checkpoints come early, and older
    generations are kept.
    """

    failures: tuple[type[Exception], ...] = (RangoError,)
    latching: tuple[type[Exception], ...] = (IoFailed,)

    def __init__(
        self,
        *,
        key: bytes | None = KEY,
        durability: str = "commit",
        segment_size_max: int = 16 * 1024,
        overlay_entries_max: int = 60,
        overlay_bytes_max: int = 1 << 20,
        root_gap: int = 4 * 1024,
        node_id: str | None = "node",
        wrap: Callable[[Disk], Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.key = key
        self.durability = durability
        self.bounds: dict[str, Any] = {
            "segment_size_max": segment_size_max,
            "overlay_entries_max": overlay_entries_max,
            "overlay_bytes_max": overlay_bytes_max,
            "root_gap": root_gap,
        }
        self.node_id = node_id
        self.wrap = wrap
        self.clock = Clock()
        self.draw: Callable[[int], bytes] = random.Random(seed).randbytes
        self.probes = 0
        self.digest = ""

    def options(self, disk: Disk) -> OpenOptions:
        options = options_of(
            ROOT,
            (None, self.key, None),
            node_id=self.node_id,
            durability=self.durability,
            group_delay_ms=1,
            ttl_interval_s=0,
            clock=self.clock,
            random=self.draw,
            vfs=PythonVfs(disk if self.wrap is None else self.wrap(disk)),
        )
        return options._replace(**self.bounds)

    def open(self, disk: Disk) -> Database:
        options = self.options(disk)
        return Database(Handle(Core.open(options), options.path, options.ids))

    def rekey(self, disk: Disk, key: bytes | None, *, removes: bool) -> None:
        """Give the database, which is closed, another root key."""
        secret = None if key is None else RawKey(key)
        rekey(self.options(disk), secret, removes=removes, progress=None)

    def observe(self, database: Database) -> State:
        state: State = {}
        view = database._handle.core.view()
        for name, info in view.catalog.collections.items():
            if name.startswith("system."):  # Rango's own, not a statement of the workload's
                continue
            state["#collection", name] = True
            for index in info.ready:
                state["#index", name, index.name] = index_described(index)
            scan = view.scan(info.tree_id, None, None, False, None)
            while documents := scan.next_documents(1000):
                for document in documents:
                    state[name, document["_id"]] = document
            scan.close()
        return state

    def verify(self, database: Database, disk: Disk) -> list[str]:
        self.digest = database._handle.core.digest()
        return [str(finding) for finding in database.check()]

    def replayed(self, disk: Disk) -> State | None:
        digest = self.digest
        if disk.exists(DATA_FILE):
            disk.remove(DATA_FILE)
        database = self.open(disk)
        state = self.observe(database)
        again = database._handle.core.digest()
        database.close()
        # A database that is not there yet is made twice, with two beginnings.
        if state and again != digest:
            raise AssertionError("the rebuilt database has another digest")
        return state

    def probe(self, database: Database) -> dict[Any, Any]:
        self.probes += 1
        document = {"_id": self.probes, "probe": "p" * 40}
        database["probe"].insert_one(document)
        database.flush()
        return {("#collection", "probe"): True, ("probe", self.probes): document}

    def close(self, database: Database) -> None:
        database.close()


class ManyKeys(EngineSubject):
    """A database whose secret changes: one of `keys` has to open it, whatever happened."""

    keys: tuple[bytes | None, ...] = KEYS

    def open(self, disk: Disk) -> Database:
        for key in self.keys[:-1]:
            self.key = key
            try:
                return super().open(disk)
            except KeyRejected:
                continue
        self.key = self.keys[-1]
        return super().open(disk)


class NewRoots(ManyKeys):
    """A database that is plain at first and whose root key changes."""

    keys = (None, *KEYS[:2])
