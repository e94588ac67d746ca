"""No key ever seals two messages under one nonce.

Method      `nonce_observer_set` sees every seal of this process: key fingerprint and nonce. The
            workload goes through everything that could repeat a state: reopening, recovery, copies
            of the directory that are continued side by side under the same subkeys, and fork.
Invariants  I-6; the argument is in docs/explanation/nonces.md.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import rango
from rango._ext.seal import nonce_observer_set
from rango.database import Database
from rango.errors import ForkedHandle
from tests.engine_case import KEY, OTHER_KEY, folder_read, line_of, open_tiny, python_start

SEALS_MIN = 100_000
PAIR_SIZE = 20
"""Key fingerprint 8, nonce 12."""


class Seals(NamedTuple):
    """What was observed: how often each key sealed, and how often each pair was used."""

    keys: Counter[bytes]
    pairs: Counter[bytes]

    def note(self, fingerprint: bytes, nonce: bytes) -> None:
        self.keys[fingerprint] += 1
        self.pairs[fingerprint + nonce] += 1

    def note_all(self, data: bytes) -> None:
        """Pairs from another process."""
        assert len(data) % PAIR_SIZE == 0
        for at in range(0, len(data), PAIR_SIZE):
            self.note(data[at : at + 8], data[at + 8 : at + PAIR_SIZE])

    @property
    def repeated(self) -> list[str]:
        return [pair.hex() for pair, count in self.pairs.items() if count > 1]


@pytest.fixture
def seals() -> Iterator[Seals]:
    """Everything that this process seals during a test."""
    observed = Seals(Counter(), Counter())
    nonce_observer_set(observed.note)
    yield observed
    nonce_observer_set(None)


def work(db: Database, count: int, chance: random.Random) -> None:
    """Single inserts, updates, deletes, transactions, large documents and checkpoints."""
    things = db["things"]
    for number in range(count):
        kind = chance.randrange(100)
        if kind < 60:
            things.insert_one({"n": number, "text": "x" * chance.randrange(60)})
        elif kind < 80:
            things.update_one({"n": chance.randrange(number + 1)}, {"$inc": {"k": 1}}, hint="n_1")
        elif kind < 90:
            things.delete_one({"n": chance.randrange(number + 1)}, hint="n_1")
        elif kind < 97:
            with db.transaction():
                things.insert_many([{"n": number, "part": part} for part in range(3)])
                db["others"].insert_one({"n": number})
        elif kind < 99:
            db["large"].replace_one({"_id": 1}, {"b": chance.randbytes(90_000)}, upsert=True)
        elif number % 7 == 0:
            db.checkpoint()


def opened(path: Path) -> Database:
    """The database, with segments and overlays small enough that all kinds of keys are used."""
    db = open_tiny(
        path,
        key=KEY,
        durability="memory",
        segment_size_max=1 << 20,
        overlay_entries_max=3_000,
        overlay_bytes_max=8 << 20,
    )
    db["things"].create_index("n")
    return db


@pytest.mark.slow
def test_a_long_mixed_life_repeats_no_nonce(
    tmp_path: Path, seals: Seals, seed: int, count_cases: Callable[[str, int], None]
) -> None:
    """At least 10^5 seals over sessions that end by close(), by a copy taken while the database is
    open (what a crash leaves), and by copies that go on side by side: two heirs of one crash image
    seal under the same segment and page keys. Defends I-6."""
    chance = random.Random(seed)
    heirs = [tmp_path / "db-0"]
    session = 0
    while sum(seals.pairs.values()) < SEALS_MIN:
        session += 1
        path = chance.choice(heirs)
        with opened(path) as db:
            work(db, 4_000, chance)
            if len(heirs) < 6:
                db.flush()
                heirs.append(tmp_path / f"db-{len(heirs)}")
                shutil.copytree(path, heirs[-1])
            work(db, 1_000, chance)
            db.compact("all")
    assert not seals.repeated
    assert session > 5
    assert len(seals.keys) > 10
    count_cases("nonces: seals observed", sum(seals.pairs.values()))


def test_two_heirs_of_one_crash_image_share_keys_but_no_nonce(tmp_path: Path, seals: Seals) -> None:
    """The premise of the test above: both heirs really seal under one segment key, at the same
    ordinals and offsets. A counter would repeat here. Defends I-6."""
    with opened(tmp_path / "db") as db:
        work(db, 200, random.Random(1))
        db.flush()
        shutil.copytree(tmp_path / "db", tmp_path / "left")
        shutil.copytree(tmp_path / "db", tmp_path / "right")
    used: list[set[bytes]] = []
    for name in ("left", "right"):
        before = seals.keys.copy()
        with opened(tmp_path / name) as db:
            for number in range(50):
                db["things"].insert_one({"_id": number})
            db.checkpoint()
        used.append(set(seals.keys - before))
    assert len(used[0] & used[1]) >= 3  # of a segment, of pages, of superblock slots
    assert not seals.repeated


def test_a_new_root_key_shares_no_key_and_no_nonce_with_the_old_one(
    tmp_path: Path, seals: Seals, seed: int
) -> None:
    """Every frame is sealed again at its place, under other keys; twice. Defends I-6."""
    path = tmp_path / "db"
    with opened(path) as db:
        work(db, 2_000, random.Random(seed))
    before = set(seals.keys)
    rango.rekey(path, key=KEY, new_key=OTHER_KEY, remove_old=True)
    rango.rekey(path, key=OTHER_KEY, remove_old=True)
    old = Counter(seals.keys)
    with rango.open(path, key=OTHER_KEY) as db:
        db["things"].insert_one({"n": 1})
        db.checkpoint()
    used = {key for key, count in seals.keys.items() if count > old[key]}
    assert used
    assert not used & before
    assert not seals.repeated


def child_writes(path: Path, output: int) -> None:
    """In a forked child: seal under the keys of the parent's copy, and report every pair."""
    pairs: list[bytes] = []
    nonce_observer_set(lambda fingerprint, nonce: pairs.append(fingerprint + nonce))
    with opened(path) as db:
        for number in range(300):
            db["things"].insert_one({"_id": number})
        db.checkpoint()
    with os.fdopen(output, "wb") as pipe:
        pipe.write(b"".join(pairs))


def test_a_forked_child_repeats_no_nonce_of_its_parent(tmp_path: Path, seals: Seals) -> None:
    """The child inherits all memory, so whatever state a generator of nonces had would be there
    twice. Parent and child continue two copies of one directory. Defends I-6."""
    with opened(tmp_path / "db") as db:
        work(db, 200, random.Random(2))
        db.flush()
        shutil.copytree(tmp_path / "db", tmp_path / "copy")
        before = set(seals.keys)
        source, target = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(source)
                child_writes(tmp_path / "copy", target)
                with pytest.raises(ForkedHandle):
                    db["things"].insert_one({"_id": "child"})
                status = 0
            finally:
                os._exit(status)
        os.close(target)
        for number in range(300):
            db["things"].insert_one({"_id": number})
        db.checkpoint()
        with os.fdopen(source, "rb") as pipe:
            reported = pipe.read()
        assert os.waitpid(pid, 0)[1] == 0
    theirs = {reported[at : at + 8] for at in range(0, len(reported), PAIR_SIZE)}
    assert len(theirs & before) >= 3
    assert len(reported) // PAIR_SIZE > 300
    seals.note_all(reported)
    assert not seals.repeated


KILLED = """
import sys
from pathlib import Path
from rango._ext.seal import nonce_observer_set
from tests.security.test_nonces import opened
report = open(sys.argv[2], "ab", buffering=0)
nonce_observer_set(lambda fingerprint, nonce: report.write(fingerprint + nonce))
db = opened(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    number += 1
    db["things"].insert_one({"text": "x" * (number % 50)})
    if number % 500 == 0:
        db.checkpoint()
"""


def test_processes_that_are_killed_repeat_no_nonce(tmp_path: Path, seals: Seals) -> None:
    """Five processes, each killed in the middle of its commits; each next one continues the segment
    of the one before. Every pair was written down before its frame was. Defends I-6."""
    path, report = tmp_path / "db", tmp_path / "pairs"
    for _round in range(5):
        process = python_start(KILLED, path, report)
        assert line_of(process) == "ready"
        size = report.stat().st_size
        while report.stat().st_size < size + 600 * PAIR_SIZE:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    data = report.read_bytes()
    seals.note_all(data[: len(data) // PAIR_SIZE * PAIR_SIZE])
    assert sum(seals.pairs.values()) > 3_000
    assert not seals.repeated


def test_the_observer_notices_a_repetition(tmp_path: Path, seals: Seals) -> None:
    """Were randomness broken, the tests above would see it: here it is, by `random=`."""
    with rango.open(tmp_path / "db", key=KEY, random=lambda size: b"\x07" * size) as db:
        for number in range(20):
            db["things"].insert_one({"_id": number})
    assert len(seals.repeated) >= 1


def test_every_frame_and_page_was_observed(tmp_path: Path, seals: Seals) -> None:
    """No seal goes past the observer: every nonce in the log and in the slots was seen."""
    with open_tiny(tmp_path / "db", key=KEY) as db:
        for number in range(200):
            db["things"].insert_one({"_id": number})
        db.checkpoint()
    nonces = {pair[8:] for pair in seals.pairs}
    files = folder_read(tmp_path / "db")
    found = 0
    for name, data in files.items():
        at = data.find(b"GRFM") if name.endswith(".rgo") else -1
        while at >= 0:
            found += data[at + 56 : at + 68] in nonces
            at = data.find(b"GRFM", at + 1)
    assert found >= 200
    for slot in (files["data.rango"][:4096], files["data.rango"][4096:8192]):
        assert slot[36:48] in nonces


def test_a_plain_database_draws_no_nonce(tmp_path: Path, seals: Seals) -> None:
    """Without a key there is nothing to keep apart: nonces are zeros, and tags are checksums."""
    with rango.open(tmp_path / "db") as db:
        db["things"].insert_one({"_id": 1})
        db.checkpoint()
    assert {pair[8:] for pair in seals.pairs} <= {bytes(12)}
