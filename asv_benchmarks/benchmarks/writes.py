"""Writes to an encrypted database, in each durability mode."""

# ruff: noqa: ARG002 - asv hands the parameters to every benchmark

from __future__ import annotations

import os
import shutil
import tempfile

import rango
from rango.database import Durability

from .database import INDEXES
from .workload import COLLECTION, KEY, Workload

PRELOADED = 1000
WRITES = 100
BATCH = 200


class Writes:
    """100 commits a time (a flush each with "commit"), or one of 200 documents.

    Every call takes fresh documents, so it runs once a sample.
    """

    params = ("commit", "group", "memory")
    param_names = ("durability",)
    number = 1
    warmup_time = 0.0

    def setup(self, durability: Durability) -> None:
        """A loaded database, and what is to be written."""
        self.workload = Workload(PRELOADED)
        self.fresh = self.workload.take(WRITES)
        self.batch = self.workload.take(BATCH)
        self.ids = self.workload.ids[:WRITES]
        self.folder = tempfile.mkdtemp(prefix="rango-writes-", dir=os.getcwd())
        self.db = rango.open(f"{self.folder}/db", key=KEY, durability=durability)
        self.memory = self.db[COLLECTION]
        for name in INDEXES:
            self.memory.create_index(name)
        self.memory.insert_many(self.workload.documents)
        self.db.flush()

    def teardown(self, durability: Durability) -> None:
        """Nothing stays."""
        self.db.close()
        shutil.rmtree(self.folder)

    def time_insert_one(self, durability: Durability) -> None:
        """100 commits."""
        for document in self.fresh:
            self.memory.insert_one(document)

    def time_update_one(self, durability: Durability) -> None:
        """100 commits."""
        for identity in self.ids:
            self.memory.update_one({"_id": identity}, {"$set": {"importance": 0.5}})

    def time_delete_one(self, durability: Durability) -> None:
        """100 commits."""
        for identity in self.ids:
            self.memory.delete_one({"_id": identity})

    def time_insert_many(self, durability: Durability) -> None:
        """One commit of 200 documents."""
        self.memory.insert_many(self.batch)

    def time_transaction(self, durability: Durability) -> None:
        """One commit of 100 inserts and 100 updates."""
        with self.db.transaction():
            for document, identity in zip(self.fresh, self.ids, strict=True):
                self.memory.insert_one(document)
                self.memory.update_one({"_id": identity}, {"$set": {"importance": 0.5}})

    def time_checkpoint(self, durability: Durability) -> None:
        """1,000 documents into the data file."""
        self.db.checkpoint()
