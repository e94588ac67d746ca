"""Kept roots: generations of the past that stay whole in the data file."""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext import layout
from rango._ext.vfs import PythonVfs
from rango.database import Database
from rango.engine import checkpoint, kept
from rango.engine.core import Core
from rango.engine.kept import Place, thinned
from rango.errors import IoFailed
from rango.storage.superblock import Slot, roots_pack
from tests.engine_case import FOLDER, KEY, ROOT, SECRETS, open_tiny
from tests.unit.memory_disk import MemoryDisk

GAP = 8 * 1024
States = dict[int, dict[Any, Any]]


@pytest.fixture(params=SECRETS.values(), ids=SECRETS.keys())
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    database = open_tiny(tmp_path / "db", durability="memory", root_gap=GAP, **request.param)
    yield database
    if not database.is_closed:
        assert list(database.check()) == []
        database.close()


def change(db: Database, seed: int, count: int = 2_000) -> States:
    """Changes of some 150 documents; what there was after every hundredth commit."""
    chance = random.Random(seed)
    states: States = {}
    now: dict[Any, Any] = {each["_id"]: each for each in db["a"].find({})}
    for number in range(count):
        key = chance.randrange(150)
        if key in now and chance.random() < 0.3:
            db["a"].delete_one({"_id": key})
            del now[key]
        else:
            document = {"_id": key, "n": number, "text": "x" * chance.randrange(80)}
            db["a"].replace_one({"_id": key}, document, upsert=True)
            now[key] = document
        if number % 100 == 0:
            states[db._handle.core.view().ordinal] = dict(now)
    return states


def roots(db: Database) -> list[Slot]:
    core = db._handle.core
    with core.checkpoint_lock:
        return [root for slot in kept.slots_of(core)[-1:] for root in listed(core, slot)]


def listed(core: Core, slot: Slot) -> list[Slot]:
    return kept.listed_by(core.store.pager, slot)


def assert_past(db: Database, states: States) -> None:
    for ordinal, state in states.items():
        assert {each["_id"]: each for each in db.at(ordinal)["a"].find({})} == state, ordinal


def replayed(db: Database, ordinal: int) -> int:
    """How many bytes of log a view of this commit reads."""
    sizes = [0]
    db.at(ordinal, progress=lambda _done, total: sizes.append(total))
    return max(sizes)


def test_every_past_is_right_and_replays_little(db: Database, seed: int) -> None:
    states = change(db, seed)
    found = roots(db)
    assert len(found) > 5
    assert [root.ordinal for root in found] == sorted({root.ordinal for root in found})
    assert_past(db, states)
    log = db._handle.core.log
    end = kept.position_of(log, found[-1].log_segment, found[-1].log_offset)
    for left, right in pairwise(found):
        first, last = (kept.position_of(log, x.log_segment, x.log_offset) for x in (left, right))
        # a gap, a half of the distance, and what one checkpoint spans
        assert last - first <= max(GAP, (end - last) // 2) + 48 * 1024
    assert max(replayed(db, ordinal) for ordinal in states) < end // 2


def test_they_survive_closing_and_a_lost_data_file_loses_only_them(
    tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "db"
    with open_tiny(path, key=KEY, root_gap=GAP, durability="memory") as db:
        states = change(db, seed)
        db.checkpoint()
        before = [root.ordinal for root in roots(db)]
    with open_tiny(path, key=KEY, root_gap=GAP) as db:
        assert [root.ordinal for root in roots(db)][: len(before)] == before
        assert_past(db, states)
        states |= change(db, seed + 1)
        assert_past(db, states)
    (path / "data.rango").unlink()
    with open_tiny(path, key=KEY, root_gap=GAP) as db:
        assert roots(db) == []
        assert_past(db, states)
        assert list(db.check()) == []


def test_a_view_of_a_root_stays_whole_when_the_root_is_given_up(db: Database, seed: int) -> None:
    change(db, seed)
    oldest = roots(db)[0].ordinal
    view = db.at(oldest)
    expected = view["a"].find_many({})
    checkpoint.forget_roots(db._handle.core)
    assert roots(db) == []
    change(db, seed + 1)
    assert view["a"].find_many({}) == expected
    assert db.at(oldest)["a"].find_many({}) == expected


def test_the_root_before_a_named_snapshot_stays(db: Database, seed: int) -> None:
    change(db, seed, 600)
    db.create_snapshot("here")
    ordinal = db.snapshots()[0]["ordinal"]
    db.checkpoint()
    nearest = max(root.ordinal for root in roots(db) if root.ordinal <= ordinal)
    change(db, seed + 1, 6_000)
    assert nearest in [root.ordinal for root in roots(db)]
    db.drop_snapshot("here")
    change(db, seed + 2, 4_000)
    assert nearest not in [root.ordinal for root in roots(db)]


def test_what_is_purged_is_in_no_root(tmp_path: Path, seed: int) -> None:
    """Plain, so that the bytes can be looked at."""
    canary = b"canary-7731"
    with open_tiny(tmp_path / "db", root_gap=GAP, durability="memory") as db:
        db["a"].insert_one({"_id": "secret", "text": canary.decode()})
        change(db, seed)
        db["a"].delete_one({"_id": "secret"})
        change(db, seed + 1)
        assert roots(db)
        db.flush()
        assert canary in (tmp_path / "db" / "data.rango").read_bytes()
        db["a"].purge({"_id": "secret"})
        assert roots(db) == []
        files = [path for path in (tmp_path / "db").rglob("*") if path.is_file()]
        assert not [path.name for path in files if canary in path.read_bytes()]
        change(db, seed + 2)
        assert roots(db)
        assert list(db.check()) == []


def test_compaction_gives_them_up(db: Database, seed: int) -> None:
    change(db, seed)
    assert roots(db)
    db.compact("now")
    assert roots(db) == []
    assert_past(db, change(db, seed + 1))
    assert roots(db)


def test_they_take_no_more_than_their_budget(
    db: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "ROOT_UNITS_MIN", 24)
    change(db, seed, 4_000)
    db.checkpoint()
    core, found = db._handle.core, roots(db)
    assert found
    assert core.vfs.size(core.data_fd) < 100 * layout.UNIT_SIZE


def test_a_damaged_page_of_roots_is_found_and_passed_over(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "db"
    with open_tiny(path, key=KEY, root_gap=GAP, durability="memory") as db:
        states = change(db, seed)
        db.checkpoint()
        core = db._handle.core
        unit = int.from_bytes(kept.slots_of(core)[-1].roots_link[:6], "little")
    with (path / "data.rango").open("r+b") as file:
        file.seek(unit * layout.UNIT_SIZE + 40)
        file.write(b"\xff" * 16)
    with open_tiny(path, key=KEY, root_gap=GAP) as db:
        assert [finding.kind for finding in db.check()] == ["page"]
        assert_past(db, states)
        # the next list is whole
        change(db, seed + 1)
        assert roots(db)
        assert list(db.check()) == []


def test_a_damaged_root_is_passed_over(tmp_path: Path, seed: int) -> None:
    """Its bitmap is whole and its catalog is not: what the log has is there all the same."""
    path = tmp_path / "db"
    with open_tiny(path, key=KEY, root_gap=GAP, durability="memory") as db:
        states = change(db, seed)
        db.checkpoint()
        units = [int.from_bytes(root.catalog_link[:6], "little") for root in roots(db)[:3]]
    with (path / "data.rango").open("r+b") as file:
        for unit in units:
            file.seek(unit * layout.UNIT_SIZE + 40)
            file.write(b"\xff" * 16)
    with open_tiny(path, key=KEY, root_gap=GAP) as db:
        assert_past(db, states)
        assert {finding.kind for finding in db.check()} == {"page"}


class BadSector(MemoryDisk):
    """A unit of the data file that cannot be read any more."""

    unit = -1

    def read(self, fd: int, size: int, offset: int) -> bytes:
        if self.fds[fd][0].endswith("data.rango") and offset == self.unit * layout.UNIT_SIZE:
            raise OSError(errno.EIO, "I/O error")
        return super().read(fd, size, offset)


@pytest.mark.parametrize("what", ["bitmap", "catalog"])
def test_a_bad_sector_of_the_past_stops_no_checkpoint(what: str, seed: int) -> None:
    """Nothing of the present lies there, so nothing is latched."""
    disk = BadSector()
    vfs = PythonVfs(disk)
    with open_tiny(FOLDER, vfs=vfs, root_gap=GAP, durability="memory") as db:
        states = change(db, seed)
        db.checkpoint()
        root = roots(db)[0]
    link = root.bitmap_links[0] if what == "bitmap" else root.catalog_link
    disk.unit = int.from_bytes(link[:6], "little")
    with open_tiny(FOLDER, vfs=vfs, root_gap=GAP, durability="memory") as db:
        assert_past(db, states)
        assert_past(db, change(db, seed + 1))
        db.checkpoint()


def test_the_page_of_many_roots_of_a_large_file_is_no_larger_than_a_page_may_be(
    db: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(db, seed)
    core = db._handle.core
    places = [Place(each.ordinal, each) for each in roots(db)]
    monkeypatch.setattr(kept, "LIST_SIZE_MAX", 3 * len(roots_pack([places[0].root])))
    assert len(kept.within_budget(core, places, places[-1].position + 1, [])) == 3


def test_a_base_from_before_a_purge_brings_nothing_back(tmp_path: Path, seed: int) -> None:
    """The base's own pages of the past show what was purged since."""
    canary = "canary-9920"
    secret = tmp_path / "db"
    with open_tiny(secret, root_gap=GAP, durability="memory") as db:
        db["a"].insert_one({"_id": "secret", "text": canary})
        change(db, seed)
        db["a"].delete_one({"_id": "secret"})
        change(db, seed + 1)
        assert roots(db)
    shutil.copytree(secret, tmp_path / "base")
    with open_tiny(secret, root_gap=GAP, durability="memory") as db:
        db["a"].purge({"_id": "secret"})
        change(db, seed + 2, 200)
    rango.replay(secret, to=tmp_path / "made", base=tmp_path / "base")
    with open_tiny(tmp_path / "made", create=False) as db:
        for ordinal in range(500, 4_000, 500):
            assert db.at(ordinal)["a"].find_one("secret") is None
    files = [path for path in (tmp_path / "made").rglob("*") if path.is_file()]
    assert not [path.name for path in files if canary.encode() in path.read_bytes()]


def test_only_a_file_with_roots_asks_for_a_newer_rango(tmp_path: Path, seed: int) -> None:
    def features() -> int:
        data = (tmp_path / "db" / "data.rango").read_bytes()
        return max(
            int.from_bytes(data[at : at + 4], "little")
            for at in (layout.SLOT_FEATURES, layout.UNIT_SIZE + layout.SLOT_FEATURES)
        )

    with rango.open(tmp_path / "db") as db:
        db["a"].insert_many({"_id": n} for n in range(100))
    assert features() == layout.SLOT_FEATURE_MARKS
    with open_tiny(tmp_path / "db", root_gap=GAP) as db:
        change(db, seed)
    assert features() == layout.SLOT_FEATURE_MARKS | layout.SLOT_FEATURE_ROOTS


@pytest.mark.parametrize("turn", range(5))
def test_gaps_grow_with_the_distance_and_roots_stay_few(turn: int, seed: int) -> None:
    chance = random.Random(seed + turn)
    gap, places = 1_000, list[Place]()
    end = 0
    blank = Slot(0, 0, b"", 0, 0, 0, b"", 0, False, 0, 0, 0, (), 0, 0, 1)
    step = chance.randrange(100, 3_000)
    for number in range(1, 3_000):
        end += chance.randrange(1, step)
        places = thinned(places, end, gap, [])
        places.append(Place(end, blank._replace(ordinal=number)))
        ends = [0, *(place.position for place in places)]
        for left, right in pairwise(ends):
            assert right - left <= max(gap, (end - right) // 2) + 2 * step
    assert len(places) < 40


ROTATE_AND_DIE = """
import os, sys
from rango.engine import checkpoint, keys
from tests.engine_case import KEY, open_tiny
db = open_tiny(sys.argv[1], key=KEY)
checkpoint.adopt = lambda *_: os._exit(7)
keys.rotate(db._handle.core)
"""


def test_a_checkpoint_leaves_the_slot_of_a_rotation_whose_process_died(
    tmp_path: Path, seed: int
) -> None:
    """It died between its slot and telling of it. The slot of the new epoch was not seen: the next
    checkpoint wrote over its pages, and over the slot. Defends I-2."""
    path = tmp_path / "db"
    with open_tiny(path, key=KEY, overlay_entries_max=10**6) as db:
        change(db, seed, 300)
        db.checkpoint()
        db["a"].insert_one({"_id": "last"})
        words = [sys.executable, "-c", ROTATE_AND_DIE, str(path)]
        assert subprocess.run(words, cwd=ROOT, check=False).returncode == 7
        data = (path / "data.rango").read_bytes()
        units = [data[at : at + layout.UNIT_SIZE] for at in (0, layout.UNIT_SIZE)]
        (newest,) = (unit for unit in units if unit[layout.SLOT_EPOCH] == 2)
        db.checkpoint()
        assert newest in (path / "data.rango").read_bytes()
        assert list(db.check()) == []


@pytest.mark.parametrize("failures", [1, 2])
def test_a_root_that_cannot_be_read_before_a_checkpoint_is_not_listed_after_it(
    db: Database, seed: int, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """Its pages were left to the build, and the next slot listed it all the same."""
    change(db, seed)
    read = kept.generation_units_only
    for turn in range(4):
        left = dict.fromkeys((root.generation for root in roots(db)), failures)
        assert left

        def failing(
            pager: Any, number: int, links: list[bytes], units: int, left: dict[int, int] = left
        ) -> Any:
            if left.get(number):
                left[number] -= 1
                raise IoFailed("a read that fails for once")
            return read(pager, number, links, units)

        monkeypatch.setattr(kept, "generation_units_only", failing)
        db["a"].update_many({}, {"$set": {"turn": turn}})
        db.checkpoint()
        monkeypatch.undo()
        assert list(db.check()) == []
        change(db, seed + turn, 300)
