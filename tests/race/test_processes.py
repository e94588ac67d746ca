"""Many processes on one database, killed at random: I-16, I-17, and what the words promise.

Each process writes with any durability, reads, holds cursors, makes indexes and checkpoints,
rotates keys, closes and opens (tests/race/worker.py). SIGKILL hits one after the other, in whatever
line it is. Then: nothing that was acknowledged is lost or there twice, no process ever saw anything
but a prefix (the workers judge that), the check finds nothing, and the file is bounded.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

import rango
from rango._ext.layout import UNIT_SIZE
from rango._ext.vfs import RANGE_LOCKS
from rango.engine import kept
from tests.race.worker import KEY

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20.0
SIZE_RATIO_MAX = 2.5
"""Times the pages that documents, tombstones and index entries take."""
SIZE_SMALL = 16 * 1024 * 1024
"""Below this the file's size says nothing: one checkpoint of all overlays may take as much."""

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")


class Crowd:
    """Processes that come, work and are killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.database = folder / "db"
        self.random = random.Random(seed)
        self.before: dict[int, int] = {}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.started = 0
        self.kills = 0
        self.roles: dict[int, str] = {}
        """Of places that have others than by their numbers."""

    def start(self, number: int) -> None:
        """Start one in a place."""
        self.started += 1
        self.before[number] = self.written(number)
        role = self.roles.get(number, "reader" if number % 4 == 3 else "writer")
        with open(self.folder / f"error.{self.started}", "wb") as error:
            self.processes[number] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.race.worker",
                    str(self.database),
                    str(number),
                    str(self.random.getrandbits(30)),
                    str(self.folder / f"acknowledged.{number}"),
                    role,
                ],
                cwd=ROOT,
                stderr=error,
            )

    def errors(self) -> str:
        """What the processes complained about."""
        texts = [path.read_text("utf-8", "replace") for path in self.folder.glob("error.*")]
        return "\n---\n".join(text[-3000:] for text in texts if text)

    def disturb(self, seconds: float) -> None:
        """Kill one after the other; another one takes its place.

        Four of five writers come to write before, so that a slow machine kills not only starts.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.random.random() * 0.4)
            number = self.random.choice(list(self.processes))
            process = self.processes[number]
            assert process.poll() is None, self.errors()
            if not self.has_written(number) and self.random.random() < 0.8:
                continue
            process.kill()
            process.wait()
            self.kills += 1
            self.start(number)

    def written(self, number: int) -> int:
        """Bytes that say what this place has acknowledged."""
        path = self.folder / f"acknowledged.{number}"
        return path.stat().st_size if path.exists() else 0

    def has_written(self, number: int) -> bool:
        """Whether the process in this place has; a reader never does, and need not."""
        return number % 4 == 3 or self.written(number) > self.before[number]

    def during(self, numbers: Iterable[int], work: Callable[[], T]) -> T:
        """Do some work while these do theirs; nobody may complain, or end by himself."""
        try:
            for number in numbers:
                self.start(number)
            result = work()
            for process in self.processes.values():
                assert process.poll() is None, self.errors()
        finally:
            self.stop()
        assert self.errors() == ""
        return result

    def stop(self) -> None:
        """Kill all."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def acknowledged(self) -> list[list[str]]:
        """Every acknowledged write."""
        lines = []
        for path in self.folder.glob("acknowledged.*"):
            # a line is one write, so only the last one may be cut
            text = path.read_text("ascii")
            lines += [line.split() for line in text.split("\n")[:-1]]
        return lines


def judge(crowd: Crowd) -> int:
    """What is there must be what was acknowledged; how many writes were."""
    lines = crowd.acknowledged()
    with rango.open(crowd.database, key=KEY) as db:
        last = (db["rows"].find_one("last") or {"n": 0})["n"]
        numbers = [row["n"] for row in db["rows"].find({"_id": {"$ne": "last"}}, sort=[("n", 1)])]
        marks = {mark["_id"] for mark in db["marks"].find({})}
        assert numbers == list(range(numbers[0], last + 1)) if numbers else last == 0
        given: set[int] = set()
        for kind, *rest in lines:
            if kind == "mark":
                assert rest[0] in marks
            else:
                added = range(int(rest[0]), int(rest[1]) + 1)
                assert added[-1] <= last
                assert given.isdisjoint(added)
                given.update(added)
        assert list(db.check()) == []
        db["marks"].delete_many({})
        assert list(db.check()) == []
    # the last one that closed has given back what nobody needs
    with rango.open(crowd.database, key=KEY) as db:
        assert list(db.check()) == []
        core = db._handle.core
        assert core.slot is not None
        newest = kept.units_of(core.store.pager, core.slot)
        assert newest is not None
        live = kept.units_in(newest).bit_count() * UNIT_SIZE
        size = (crowd.database / "data.rango").stat().st_size
        assert size <= max(SIZE_SMALL, SIZE_RATIO_MAX * live)
    return len(lines)


def test_killed_processes_lose_and_lock_nothing(
    tmp_path: Path, seed: int, minutes: float, count_cases: Callable[[str, int], None]
) -> None:
    crowd = Crowd(tmp_path, seed)
    seconds = max(SECONDS, minutes * 60)
    crowd.during(range(16), lambda: crowd.disturb(seconds))
    writes = judge(crowd)
    assert writes > 0
    count_cases("processes killed", crowd.kills)
    count_cases("acknowledged writes of many processes", writes)


def test_descriptors_do_not_grow(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        rows = db["rows"]
        rows.insert_one({"_id": 1})
        code = (
            "import sys, rango\n"
            "with rango.open(sys.argv[1]) as db:\n"
            "    db['rows'].insert_one({'_id': int(sys.argv[2])})\n"
            "    db.checkpoint()\n"
        )
        counts = []
        for number in range(2, 8):
            subprocess.run(
                [sys.executable, "-c", code, str(tmp_path / "db"), str(number)],
                check=True,
                cwd=ROOT,
            )
            assert rows.find_one(number) == {"_id": number}
            counts.append(len(os.listdir("/proc/self/fd")))
        assert counts[1:] == counts[:-1]
