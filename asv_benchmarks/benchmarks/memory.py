"""Peak memory of a process that does one thing to 100,000 documents."""

from __future__ import annotations

import os
import shutil
import tempfile

import rango

from .database import fill
from .workload import COLLECTION, KEY, Workload


class Memory:
    """asv runs each in a process of its own; the database was filled by another."""

    timeout = 300.0
    count = 100_000

    def setup_cache(self) -> str:
        """Fill a database."""
        folder = os.path.abspath("memory")
        fill(folder, Workload(self.count))
        return folder

    def peakmem_open(self, folder: str) -> None:
        """Open and count."""
        with rango.open(folder, key=KEY) as db:
            db[COLLECTION].count_documents({})

    def peakmem_scan(self, folder: str) -> None:
        """Look at every document, keep none."""
        with rango.open(folder, key=KEY) as db:
            db[COLLECTION].count_documents({"importance": {"$gte": 0.5}})

    def peakmem_updates(self, folder: str) -> None:
        """20,000 updates in batches: what lies in the overlay between checkpoints."""
        copy = tempfile.mkdtemp(prefix="rango-memory-", dir=os.getcwd())
        try:
            shutil.copytree(folder, f"{copy}/db")
            with rango.open(f"{copy}/db", key=KEY, durability="memory") as db:
                for limit in range(1, 21):
                    chosen = {"importance": {"$gte": (limit - 1) / 100, "$lt": limit / 100}}
                    db[COLLECTION].update_many(chosen, {"$inc": {"meta.step": 1}})
        finally:
            shutil.rmtree(copy)
