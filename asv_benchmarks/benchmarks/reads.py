"""Reads of a checkpointed, encrypted database that was opened before."""

# ruff: noqa: ARG002 - asv hands the parameters to every benchmark

from __future__ import annotations

import os

import rango

from .database import fill
from .workload import COLLECTION, KEY, Workload

COUNTS = [1000, 100_000]
READS = 1000


class Reads:
    """Every kind of question, over a small and a large collection."""

    params = COUNTS
    param_names = ("documents",)
    timeout = 600.0

    def setup_cache(self) -> dict[int, str]:
        """Fill one database for each size."""
        folders = {}
        for count in self.params:
            folders[count] = os.path.abspath(f"reads-{count}")
            fill(folders[count], Workload(count))
        return folders

    def setup(self, folders: dict[int, str], count: int) -> None:
        """Open it, and choose what to ask for."""
        workload = Workload(count)
        self.ids = workload.sample_ids(READS, 1)
        self.agents = workload.sample_agents(READS // 10, 1)
        self.db = rango.open(folders[count], key=KEY)
        self.memory = self.db[COLLECTION]

    def teardown(self, folders: dict[int, str], count: int) -> None:
        """Close it."""
        self.db.close()

    def time_find_one(self, folders: dict[int, str], count: int) -> None:
        """1,000 by _id."""
        for identity in self.ids:
            self.memory.find_one({"_id": identity})

    def time_find_one_missing(self, folders: dict[int, str], count: int) -> None:
        """1,000 that are not there."""
        for number in range(READS):
            self.memory.find_one({"_id": f"{number:024x}"})

    def time_filter_one_percent(self, folders: dict[int, str], count: int) -> None:
        """No index, 1 % match."""
        self.memory.find_many({"importance": {"$gte": 0.99}})

    def time_filter_twenty_percent(self, folders: dict[int, str], count: int) -> None:
        """No index, 20 % match."""
        self.memory.find_many({"importance": {"$gte": 0.8}})

    def time_filter_count(self, folders: dict[int, str], count: int) -> None:
        """No index, 20 % match, nothing decoded."""
        self.memory.count_documents({"importance": {"$gte": 0.8}})

    def time_find_by_index(self, folders: dict[int, str], count: int) -> None:
        """100 agents, about 50 documents each."""
        for agent in self.agents:
            self.memory.find_many({"agent_id": agent})

    def time_sort_limit(self, folders: dict[int, str], count: int) -> None:
        """Top 10 without an index."""
        self.memory.find_many({}, sort=[("importance", -1)], limit=10)

    def time_sort_limit_index(self, folders: dict[int, str], count: int) -> None:
        """Top 10 in the order of an index."""
        self.memory.find_many({}, sort=[("created_at", -1)], limit=10)

    def time_count(self, folders: dict[int, str], count: int) -> None:
        """All of them."""
        self.memory.count_documents({})

    def time_open(self, folders: dict[int, str], count: int) -> None:
        """Close and open."""
        self.db.close()
        self.db = rango.open(folders[count], key=KEY)
        self.memory = self.db[COLLECTION]
