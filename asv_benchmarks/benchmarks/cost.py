"""Costs that are exact and the same on every machine: flushes, bytes, pages, records examined.

`python -m asv_benchmarks` compares them with costs.json for equality; a change must be explained
in the commit that makes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable

from rango._ext import seal

from .database import INDEXES, CountingFiles, open_counted
from .workload import COLLECTION, Document, Workload

COMMITS = 100
LOG, DATA = ".rgo", ".rango"
PLACES = 3
"""Decimals that are kept of a quotient."""


class Costs:
    """Each figure is what counting files saw between two moments."""

    timeout = 300.0
    count = 10_000

    def setup(self) -> None:
        """A database of 10,000 documents, checkpointed."""
        self.workload = Workload(self.count)
        self.folder = tempfile.mkdtemp(prefix="rango-costs-", dir=os.getcwd())
        self.files = CountingFiles()
        self.db = open_counted(f"{self.folder}/db", self.files)
        self.memory = self.db[COLLECTION]
        for name in INDEXES:
            self.memory.create_index(name)
        for at in range(0, self.count, self.workload.batch_size):
            self.memory.insert_many(self.workload.documents[at : at + self.workload.batch_size])
        self.db.checkpoint()
        self.files.counts.clear()

    def teardown(self) -> None:
        """Nothing stays."""
        self.db.close()
        shutil.rmtree(self.folder)

    def _insert(self) -> None:
        for document in self.workload.take(COMMITS):
            self.memory.insert_one(document)

    def _update(self) -> None:
        for identity in self.workload.sample_ids(COMMITS, 1):
            self.memory.update_one({"_id": identity}, {"$set": {"importance": 0.5}})

    def track_flushes_per_insert_one(self) -> float:
        """One, and sometimes one more to make room in advance."""
        self._insert()
        return round(self.files.total("flushes") / COMMITS, PLACES)

    def track_flushes_per_insert_many(self) -> float:
        """Of 1,000 documents."""
        self.memory.insert_many(self.workload.take(self.workload.batch_size))
        return self.files.total("flushes")

    def track_log_writes_per_insert_one(self) -> float:
        """Calls of write."""
        self._insert()
        return round(self.files.counts["writes", LOG] / COMMITS, PLACES)

    def track_log_bytes_per_insert_one(self) -> float:
        """A document of about 380 bytes with two index entries."""
        self._insert()
        return round(self.files.counts["write_bytes", LOG] / COMMITS, PLACES)

    def track_log_bytes_per_update_one(self) -> float:
        """Of one number of a document of about 380 bytes."""
        self._update()
        return round(self.files.counts["write_bytes", LOG] / COMMITS, PLACES)

    def track_data_writes_per_insert_one(self) -> float:
        """None: only a checkpoint writes the data file."""
        self._insert()
        return self.files.counts["writes", DATA]

    def track_checkpoint_bytes_per_insert(self) -> float:
        """100 fresh documents, then a checkpoint."""
        self._insert()
        self.db.checkpoint()
        return round(self.files.counts["write_bytes", DATA] / COMMITS, PLACES)

    def track_checkpoint_bytes_per_random_update(self) -> float:
        """100 of 10,000 documents, then a checkpoint."""
        self._update()
        self.db.checkpoint()
        return round(self.files.counts["write_bytes", DATA] / COMMITS, PLACES)

    def track_data_bytes_per_document(self) -> float:
        """Size of the data file with both indexes."""
        return round(os.path.getsize(f"{self.folder}/db/data.rango") / self.count, PLACES)

    def track_log_size_per_document(self) -> float:
        """Size of all segments, room made in advance included."""
        folder = f"{self.folder}/db/oplog"
        size = sum(os.path.getsize(f"{folder}/{name}") for name in os.listdir(folder))
        return round(size / self.count, PLACES)

    def track_reads_per_find_one_cold(self) -> float:
        """Pages read for 100 documents by a database that was just opened and keeps none."""
        self.db.close()
        self.db = open_counted(f"{self.folder}/db", self.files, cache_size=0)
        self.memory = self.db[COLLECTION]
        self.files.counts.clear()
        for identity in self.workload.sample_ids(COMMITS, 2):
            self.memory.find_one({"_id": identity})
        return round(self.files.counts["reads", DATA] / COMMITS, PLACES)

    def track_reads_per_find_one_warm(self) -> float:
        """None, once a page is in the cache."""
        identity = self.workload.ids[0]
        self.memory.find_one({"_id": identity})
        self.files.counts.clear()
        self.memory.find_one({"_id": identity})
        return self.files.counts["reads", DATA]

    def track_flushes_per_update_one(self) -> float:
        """One."""
        self._update()
        return round(self.files.total("flushes") / COMMITS, PLACES)

    def track_seals_per_update_one(self) -> float:
        """One frame."""
        return self._seals(self._update)

    def track_pages_sealed_per_random_update(self) -> float:
        """A checkpoint after 100 updates of 10,000 documents: touched pages, superblock."""
        self._update()
        return self._seals(self.db.checkpoint)

    def _seals(self, work: Callable[[], object]) -> float:
        seen: list[bytes] = []
        seal.nonce_observer_set(lambda _, nonce: seen.append(nonce))
        try:
            work()
        finally:
            seal.nonce_observer_set(None)
        return round(len(seen) / COMMITS, PLACES)

    def _reads_cold(self, filter: Document) -> float:
        self.db.close()
        self.db = open_counted(f"{self.folder}/db", self.files, cache_size=0)
        memory = self.db[COLLECTION]
        self.files.counts.clear()
        memory.find_many(filter)
        return self.files.counts["reads", DATA]

    def track_reads_per_scan_cold(self) -> float:
        """Pages read for a filter without an index over 10,000 documents."""
        return self._reads_cold({"importance": {"$gte": 2.0}})

    def track_reads_per_index_query_cold(self) -> float:
        """Pages read for about 50 documents by an index."""
        return self._reads_cold({"agent_id": self.workload.documents[0]["agent_id"]})

    def track_records_examined_per_match_index(self) -> float:
        """Equality on an indexed field."""
        plan = self.memory.find({"agent_id": self.workload.documents[0]["agent_id"]}).explain()
        return round(int(plan["docs_examined"]) / int(plan["returned"]), PLACES)

    def track_records_examined_per_match_scan(self) -> float:
        """20 % of a collection, no index."""
        plan = self.memory.find({"importance": {"$gte": 0.8}}).explain()
        return round(int(plan["docs_examined"]) / int(plan["returned"]), PLACES)

    def track_records_examined_sort_limit_index(self) -> float:
        """Top 10 in the order of an index."""
        plan = self.memory.find({}, sort=[("created_at", -1)], limit=10).explain()
        return int(plan["docs_examined"])
