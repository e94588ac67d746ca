"""Threads that read beside a process that writes: the short way of following, the long one, and all
that comes between them.

Method      A writing process counts: every commit moves two documents to the next number, in one
            transaction, and once it is acknowledged the number is stored in a word that both
            processes map. A thread reads the word first and the documents then: it must find at
            least that number, no less than any thread of its process found before it began, and
            the same in both. Now and then the writer does what is not short. Choices follow the
            seed; the schedule is the operating system's.
Invariants  I-16.
"""

from __future__ import annotations

import mmap
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.vfs import RANGE_LOCKS
from tests.engine_case import present
from tests.race.model import together

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")

KEY = bytes(range(32))
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 6.0
SHORT_MIN = 20
"""So often the short way has to be gone."""
WAIT_S = 30.0
UNUSUAL = 40
"""One of so many commits is followed by something that is not short."""


class Word:
    """A number that two processes share."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def load(self) -> int:
        """What it is now."""
        return int(struct.unpack_from("=Q", self.map)[0])

    def store(self, value: int) -> None:
        """In one store of eight aligned bytes."""
        memoryview(self.map).cast("Q")[0] = value


def write(path: Path, seed: int, durability: str) -> None:
    """The writing process, until it is killed."""
    chance = random.Random(seed)
    word = Word(path / "word")
    db = rango.open(path / "db", key=KEY, durability=durability)
    rows, pads = db["rows"], db["pads"]
    number = word.load()
    while True:
        number += 1
        with db.transaction():
            for name in ("one", "two"):
                rows.update_one({"_id": name}, {"$set": {"n": number}}, upsert=True)
            if chance.random() < 0.5:
                size = chance.choice((10, 300, 3_000, 90_000 if chance.random() < 0.05 else 50))
                pads.replace_one({"_id": number % 50}, {"pad": "x" * size}, upsert=True)
        word.store(number)
        if chance.randrange(UNUSUAL) == 0:
            unusual(db, chance)
        if chance.random() < 0.1:
            # readers find everything read, too
            time.sleep(0.001)


def unusual(db: rango.Database, chance: random.Random) -> None:
    """Something that the short way leaves to the long one."""
    what = chance.randrange(5)
    names = {index["name"] for index in db["rows"].list_indexes()}
    if what == 0:
        db.checkpoint()
    elif what == 1 and "n_1" not in names:
        db["rows"].create_index("n")
    elif what == 1:
        db["rows"].drop_index("n_1")
    elif what == 2:
        db["pads"].insert_many([{"_id": f"m{n}"} for n in range(chance.randrange(1, 300))])
        db["pads"].delete_many({"_id": {"$gte": "m"}})
    elif what == 3:
        db.keys.rotate()
    else:
        db.compact("now")


class Looker:
    """What the threads of the reading process found."""

    def __init__(self, db: rango.Database, word: Word) -> None:
        self.db = db
        self.word = word
        self.seen = 0
        self.looks = 0

    def judge(self, begun: tuple[int, int], numbers: list[int]) -> None:
        """One state, not older than what was acknowledged or seen when the look began."""
        assert len(set(numbers)) == 1, f"half of a commit: {numbers}"
        assert numbers[0] >= max(begun), f"{numbers[0]}, but {begun} before"
        self.seen = max(self.seen, numbers[0])
        self.looks += 1

    def by_id(self, chance: random.Random) -> None:
        """A point read."""
        begun = self.word.load(), self.seen
        found = self.db["rows"].find_one(chance.choice(("one", "two")))
        self.judge(begun, [present(found)["n"]])

    def by_scan(self, _chance: random.Random) -> None:
        """Both documents of one view."""
        begun = self.word.load(), self.seen
        found = self.db["rows"].find_many({})
        self.judge(begun, [each["n"] for each in found])

    def by_snapshot(self, chance: random.Random) -> None:
        """A state that is held while others go on is the same as long as it is held."""
        begun = self.word.load(), self.seen
        with self.db.snapshot() as held:
            numbers = []
            for _ in range(3):
                numbers += [present(held["rows"].find_one(name))["n"] for name in ("one", "two")]
                self.by_id(chance)
            self.judge(begun, numbers)

    def by_writing(self, chance: random.Random) -> None:
        """A commit of its own comes behind all others, and is seen at once."""
        begun = self.word.load(), self.seen
        name = chance.getrandbits(40)
        self.db["mine"].insert_one({"_id": name})
        assert self.db["mine"].find_one(name) == {"_id": name}
        self.judge(begun, [each["n"] for each in self.db["rows"].find_many({})])


@pytest.mark.parametrize("durability", ["commit", "memory"])
@pytest.mark.parametrize("read_only", [False, True])
def test_threads_that_read_beside_a_writing_process_see_what_was_acknowledged(
    tmp_path: Path,
    seed: int,
    minutes: float,
    count_cases: Callable[[str, int], None],
    durability: str,
    read_only: bool,
) -> None:
    rango.open(tmp_path / "db", key=KEY).close()
    word = Word(tmp_path / "word")
    command = [sys.executable, "-m", "tests.race.test_near", str(tmp_path), str(seed), durability]
    options: dict[str, Any] = {"read_only": True} if read_only else {"durability": durability}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as writer:
        try:
            while word.load() < 2:
                assert writer.poll() is None
                time.sleep(0.01)
            with rango.open(tmp_path / "db", key=KEY, **options) as db:
                looker, near = Looker(db, word), db._handle.core.follow_lock
                end = time.monotonic() + max(SECONDS, minutes * 15)

                def is_on() -> bool:
                    # on a machine that is busy with other things the writer needs time, too
                    now = time.monotonic()
                    is_enough = now > end and near.count >= SHORT_MIN
                    return not is_enough and now < end + WAIT_S and writer.poll() is None

                looks = [looker.by_id, looker.by_id, looker.by_scan, looker.by_snapshot]
                if not read_only:
                    looks[-1:] = [looker.by_writing, looker.by_snapshot]

                def look(number: int) -> None:
                    chance = random.Random(seed + number)
                    while is_on():
                        looks[number](chance)

                together(*(partial(look, number) for number in range(len(looks))))
                assert writer.poll() is None
                short = near.count
        finally:
            writer.kill()
            _out, errors = writer.communicate()
        assert errors == b""
    assert short >= SHORT_MIN
    count_cases("reads beside a writing process", looker.looks)
    count_cases("followed the short way", short)
    with rango.open(tmp_path / "db", key=KEY) as db:
        assert list(db.check()) == []
        assert present(db["rows"].find_one("one"))["n"] >= max(word.load(), looker.seen)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
