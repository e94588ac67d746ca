"""Differences of two states: what changed, not what there is."""

from __future__ import annotations

import shutil
import tempfile

import rango


class Diff:
    """Ten documents changed, in databases of two sizes."""

    params = (10_000, 100_000)
    param_names = ("documents",)

    def setup(self, documents: int) -> None:
        self.folder = tempfile.mkdtemp()
        self.db = rango.open(f"{self.folder}/db", key=bytes(32), durability="memory")
        notes = self.db["notes"]
        notes.insert_many([{"_id": n, "text": "x" * 200} for n in range(documents)])
        self.db.checkpoint()
        self.past = self.db.snapshot()
        for n in range(10):
            notes.update_one({"_id": n * documents // 10}, {"$set": {"text": "y"}})
        self.db.checkpoint()

    def teardown(self, documents: int) -> None:  # noqa: ARG002
        self.past.close()
        self.db.close()
        shutil.rmtree(self.folder)

    def time_ten_changes(self, documents: int) -> None:  # noqa: ARG002
        assert sum(1 for _ in self.db.diff(self.past)) == 10
