"""Change streams: reading a log, and the way from a commit to a stream that waits."""

from __future__ import annotations

import os
import shutil
import tempfile

import rango

from .workload import COLLECTION, KEY, Workload

DOCUMENTS = 2000


class Watching:
    """An encrypted database with a log of inserts and updates."""

    def setup(self) -> None:
        """A log of 2,000 inserts and as many updates."""
        workload = Workload(DOCUMENTS)
        self.folder = tempfile.mkdtemp(prefix="rango-watching-", dir=os.getcwd())
        self.db = rango.open(f"{self.folder}/db", key=KEY)
        self.memory = self.db[COLLECTION]
        self.memory.insert_many(workload.documents)
        self.memory.update_many({}, {"$set": {"seen": True}})
        self.stream = self.memory.watch()
        self.token = self.stream.resume_token
        self.number = 0

    def teardown(self) -> None:
        """Close and remove it."""
        self.db.close()
        shutil.rmtree(self.folder)

    def time_drain(self) -> None:
        """All 4,000 events of the log."""
        with self.memory.watch(start_at=1) as stream:
            for _event in iter(stream.try_next, None):
                pass

    def time_resume(self) -> None:
        """A stream that begins at a token."""
        self.memory.watch(resume_after=self.token).close()

    def time_insert_and_be_told(self) -> None:
        """A durable insert, and its event."""
        self.number += 1
        self.memory.insert_one({"_id": f"told {self.number}"})
        self.stream.next()
