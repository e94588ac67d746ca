"""Packing a history: how long it takes, how small it becomes, and what reading it costs then.

The sizes are exact: the clock and the random bytes are the same every time (see cost.py).
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile

import rango

from .database import even_clock
from .workload import COLLECTION, KEY, Workload

COMMITS = 500
VERSIONS = 50
"""Of one document, updated again and again."""
PLACES = 3
"""Decimals that are kept of a quotient."""


class Packing:
    """A segment of inserts and updates that both superblock slots lie behind.

    A history is packed once, so every benchmark runs once a sample.
    """

    timeout = 300.0
    count = 5_000
    number = 1
    warmup_time = 0.0

    def setup(self) -> None:
        """5,000 documents in batches, 500 updates in commits of their own."""
        self.workload = Workload(self.count)
        self.folder = tempfile.mkdtemp(prefix="rango-packing-", dir=os.getcwd())
        self.db = rango.open(
            f"{self.folder}/db",
            key=KEY,
            node_id="bench",
            durability="memory",
            clock=even_clock(),
            random=random.Random(1).randbytes,
        )
        self.memory = self.db[COLLECTION]
        for at in range(0, self.count, self.workload.batch_size):
            self.memory.insert_many(self.workload.documents[at : at + self.workload.batch_size])
        for identity in self.workload.sample_ids(COMMITS, 1):
            self.memory.update_one({"_id": identity}, {"$inc": {"meta.step": 1}})
        self.first = self.workload.ids[0]
        for number in range(VERSIONS):
            self.memory.update_one({"_id": self.first}, {"$set": {"meta.step": number}})
        self.db.checkpoint()

    def teardown(self) -> None:
        """Nothing stays."""
        self.db.close()
        shutil.rmtree(self.folder)

    def time_pack(self) -> None:
        """Give nothing up, write the history anew."""
        assert self.db.compact("all")["packed"] == 1

    def track_packed_ratio(self) -> float:
        """Bytes of the packed segment by those that it had."""
        done = self.db.compact("all")
        return round(done["packed_bytes_after"] / done["packed_bytes_before"], PLACES)

    def track_packed_bytes_per_document(self) -> float:
        """Of the history of 5,000 documents and 550 updates."""
        return round(self.db.compact("all")["packed_bytes_after"] / self.count, PLACES)


class Packed:
    """Reading a history that is packed, beside the same one that is not."""

    timeout = 300.0
    count = 5_000
    params = (False, True)
    param_names = ("packed",)

    def setup(self, packed: bool) -> None:
        """The same history."""
        self.made = Packing()
        self.made.count = self.count
        self.made.setup()
        if packed:
            self.made.db.compact("all")

    def teardown(self, packed: bool) -> None:  # noqa: ARG002
        """Nothing stays."""
        self.made.teardown()

    def time_versions(self, packed: bool) -> None:  # noqa: ARG002
        """Fifty versions of one document, newest first."""
        for _version in self.made.memory.history(self.made.first):
            pass

    def time_past(self, packed: bool) -> None:  # noqa: ARG002
        """A state in the middle of the updates, with all that lies before it."""
        with self.made.db.at(self.made.db.stats()["ordinal"] - COMMITS // 2) as past:
            past[COLLECTION].count_documents({})
