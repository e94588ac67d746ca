"""One process of test_processes.py: works on a database that others have open until it is killed.

    python -m tests.race.worker DIRECTORY NUMBER SEED ACKNOWLEDGED [ROLE]

Every write takes the next number of one sequence in the same transaction, so any state that is not
a prefix of the history has a gap. What was acknowledged is written to a file of this process, one
line each, in one write.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import sys
from typing import Any

import rango
from rango.engine import kept
from rango.errors import Conflict, DuplicateKey, HistoryGone, NotFound

KEY = bytes(range(32))
ROWS_KEPT = 400
"""Newer rows than these are there; older ones are deleted, so the database does not only grow."""


class Worker:
    """A process with one open database."""

    def __init__(self, directory: str, number: int, seed: int, acknowledged: str) -> None:
        self.directory = directory
        self.number = number
        self.random = random.Random(seed)
        self.name = f"{number}.{seed}"
        self.file = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.seen = 0
        self.past: list[tuple[int, int]] = []
        """(commit, last number as of it)."""
        self.open()

    def open(self) -> None:
        """Open, with any durability."""
        durability = self.random.choice(["commit", "commit", "group", "memory"])
        self.db = rango.open(self.directory, key=KEY, durability=durability)
        self.rows = self.db["rows"]

    def acknowledge(self, line: str) -> None:
        """What a write returned from."""
        os.write(self.file, f"{line}\n".encode())

    def add(self, count: int = 1) -> None:
        """Add rows with the next numbers, and delete those that are too old."""
        try:
            with self.db.transaction():
                last = self.last(self.rows.find_one("last"))
                rows = [
                    {
                        "_id": f"r{number}",
                        "n": number,
                        "by": self.name,
                        "group": number % 7,
                        "pad": "x" * self.random.randrange(1500),
                    }
                    for number in range(last + 1, last + count + 1)
                ]
                self.rows.insert_many(rows)
                self.rows.delete_many({"n": {"$lte": last - ROWS_KEPT}, "_id": {"$ne": "last"}})
                self.rows.update_one({"_id": "last"}, {"$set": {"n": last + count}}, upsert=True)
        except Conflict:
            return
        self.acknowledge(f"add {last + 1} {last + count}")

    def mark(self) -> None:
        """One insert without a transaction."""
        name = f"m{self.name}.{self.random.getrandbits(40)}"
        self.db["marks"].insert_one({"_id": name, "by": self.name})
        self.acknowledge(f"mark {name}")

    @staticmethod
    def last(found: dict[str, Any] | None) -> int:
        """The last number given out."""
        return 0 if found is None else int(found["n"])

    def look(self) -> None:
        """One view is a prefix of the history, and later than the one before."""
        if self.random.random() < 0.5:
            rows = list(self.rows.find({}))
        else:
            # a cursor that is held open over other work
            cursor = self.rows.find({}).batch_size(10)
            rows = [row for row in (next(cursor, None),) if row is not None]
            self.mark()
            rows += list(cursor)
        self.judge(rows)
        group = self.random.randrange(7)
        found = {row["n"] for row in self.rows.find({"group": group})}
        if found and max(found) < self.seen - 7:
            raise AssertionError(f"group {group} ends at {max(found)}, but {self.seen} was seen")

    def judge(self, rows: list[dict[str, Any]]) -> None:
        """What is there: the last numbers without a gap."""
        last = next((int(row["n"]) for row in rows if row["_id"] == "last"), 0)
        numbers = sorted(row["n"] for row in rows if row["_id"] != "last")
        if numbers and numbers != list(range(numbers[0], last + 1)):
            raise AssertionError(f"not a prefix: last {last}, {numbers[:3]} ... {numbers[-3:]}")
        if not numbers and last:
            raise AssertionError(f"last is {last}, but there are no rows")
        if last < self.seen:
            raise AssertionError(f"{last} is older than {self.seen}, which was seen before")
        self.seen = last

    def look_back(self) -> None:
        """A state that was seen is the same as long as its history is kept."""
        with self.db.snapshot() as now:
            self.past.append((now.ordinal, self.last(now["rows"].find_one("last"))))
        del self.past[: -self.random.randrange(5, 40)]
        ordinal, last = self.random.choice(self.past)
        try:
            rows = list(self.db.at(ordinal)["rows"].find({}))
        except HistoryGone as error:
            # somebody has given it up, and nothing after it
            if error.ordinal <= ordinal:
                raise
            return
        numbers = sorted(row["n"] for row in rows if row["_id"] != "last")
        if numbers != list(range(last - len(numbers) + 1, last + 1)):
            raise AssertionError(f"commit {ordinal} ended with {last}, now with {numbers[-3:]}")

    def remember(self) -> None:
        """The versions of one document go back without a gap, over as many commits."""
        newest = list(itertools.islice(self.rows.history("last"), self.random.randrange(1, 200)))
        numbers = [version["document"]["n"] for version in newest]
        if numbers != sorted(set(numbers), reverse=True):
            raise AssertionError(f"versions out of order: {numbers[:5]} ... {numbers[-5:]}")
        if numbers and numbers[0] < self.seen:
            raise AssertionError(f"the newest version is {numbers[0]}, {self.seen} was seen")

    def look_into_history(self) -> None:
        """What a process does that only reads, and most of it in the past."""
        chance = self.random.random()
        if chance < 0.4:
            self.look_back()
        elif chance < 0.8:
            self.remember()
        elif chance < 0.9:
            self.look()
        elif chance < 0.95:
            self.reopen()
        elif not (found := rango.verify(self.directory)).ok:
            raise AssertionError(f"verify(): {found.findings}")

    def reopen(self) -> None:
        """Close and open."""
        self.db.close()
        self.open()

    def index(self) -> None:
        """Make or drop an index."""
        if self.random.random() < 0.7:
            self.rows.create_index("group")
        elif "group_1" in {index["name"] for index in self.rows.list_indexes()}:
            with contextlib.suppress(NotFound):  # somebody else may be faster
                self.rows.drop_index("group_1")

    def step(self, role: str) -> None:
        """One thing that a process of this role does."""
        chance = self.random.random()
        if role == "historian":
            self.look_into_history()
        elif role == "reader" or chance < 0.25:
            self.look()
        elif chance < 0.55:
            self.add()
        elif chance < 0.6:
            self.add(self.random.randrange(2, 60))
        elif chance < 0.9:
            self.mark()
        elif chance < 0.93:
            self.db.checkpoint()
        elif chance < 0.95:
            self.index()
        elif chance < 0.955:
            self.look_back()
        elif chance < 0.96 and self.number == 0:
            self.db.keys.rotate()
        elif chance < 0.98:
            self.reopen()
        else:
            with contextlib.suppress(DuplicateKey):
                self.db["marks"].insert_one({"_id": "same"})


def main() -> None:
    """Work for ever."""
    # roots come often here
    kept.ROOT_GAP = 128 * 1024
    directory, number, seed, acknowledged = sys.argv[1:5]
    role = sys.argv[5] if len(sys.argv) > 5 else "writer"
    worker = Worker(directory, int(number), int(seed), acknowledged)
    while True:
        worker.step(role)


if __name__ == "__main__":
    main()
