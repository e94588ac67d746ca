"""Backups: consistent, incremental, verified, and restored as a node of their own."""

from __future__ import annotations

import errno
import json
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import database, errors
from rango._ext.vfs import PythonVfs
from rango.engine import backup as backups
from tests.unit.memory_disk import MemoryDisk


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Several segments, so that some are not copied again."""
    made = database.options_of

    def options(*args: Any, **more: Any) -> Any:
        return made(*args, **more)._replace(segment_size_max=65536)

    monkeypatch.setattr(database, "options_of", options)
    yield


def fill(db: rango.Database, start: int, count: int) -> None:
    for number in range(start, start + count):
        db["a"].insert_one({"_id": number, "text": f"{number} " * 100})


def test_a_backup_is_restored_equal(tmp_path: Path, secret: dict[str, Any]) -> None:
    with rango.open(tmp_path / "db", **secret) as db:
        fill(db, 0, 300)
        db["a"].create_index("text")
        db["a"].delete_many({"_id": {"$lt": 10}})
        report = db.backup(tmp_path / "backup")
        assert report["segments"] == report["copied"] > 1
        expected = db["a"].find_many({}, meta=True)
        node = db.node_id
        fill(db, 1000, 5)
    found = rango.restore(tmp_path / "backup", to=tmp_path / "copy", **secret)
    assert (found["documents"], found["ordinal"]) == (290, report["ordinal"])
    with rango.open(tmp_path / "copy", **secret) as db:
        assert db["a"].find_many({}, meta=True) == expected
        assert db.node_id == found["node_id"] != node
        assert [each["name"] for each in db["a"].list_indexes()] == ["_id_", "text_1"]
        assert list(db.check()) == []
        fill(db, 2000, 3)
        (written,) = db["a"].find_many({"_id": 2000}, meta=True)
        assert written["_source_node"] == found["node_id"]


def test_only_what_is_new_is_copied(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        fill(db, 0, 300)
        first = db.backup(tmp_path / "backup")
        again = db.backup(tmp_path / "backup")
        assert (again["copied"], again["bytes_copied"]) == (0, 0)
        fill(db, 300, 200)
        later = db.backup(tmp_path / "backup")
        assert 0 < later["copied"] < later["segments"]
        assert later["bytes_copied"] < first["bytes_copied"]
    names = {path.name for path in (tmp_path / "backup" / "segments").iterdir()}
    assert len(names) == later["segments"]
    rango.restore(tmp_path / "backup", to=tmp_path / "copy")
    with rango.open(tmp_path / "copy") as db:
        assert db["a"].count_documents({}) == 500


def test_what_was_purged_is_not_in_a_backup_that_is_made_later(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        fill(db, 0, 300)
        db["a"].insert_one({"_id": "secret", "text": "canary-91"})
        fill(db, 300, 300)
        db.backup(tmp_path / "backup")
        db["a"].purge({"_id": "secret"})
        db.backup(tmp_path / "backup")
    files = [path for path in (tmp_path / "backup").rglob("*") if path.is_file()]
    assert not [path for path in files if b"canary-91" in path.read_bytes()]
    rango.restore(tmp_path / "backup", to=tmp_path / "copy")
    with rango.open(tmp_path / "copy") as db:
        assert db["a"].count_documents({}) == 600
        assert list(db.check()) == []


def test_writes_go_on_during_a_backup(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", durability="group") as db:
        fill(db, 0, 200)
        stop = threading.Event()

        def write() -> None:
            number = 1000
            while not stop.is_set():
                db["a"].insert_one({"_id": number, "text": "x" * 300})
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            reports = [db.backup(tmp_path / f"backup{turn % 2}") for turn in range(6)]
        finally:
            stop.set()
            writer.join()
    assert reports[-1]["ordinal"] > reports[0]["ordinal"]
    for turn in range(2):
        found = rango.restore(tmp_path / f"backup{turn}", to=tmp_path / f"copy{turn}")
        with rango.open(tmp_path / f"copy{turn}") as copy:
            numbers = [each["_id"] for each in copy["a"].find({}, ["_id"])]
            # a prefix of what was written
            assert numbers == [*range(200), *range(1000, 1000 + len(numbers) - 200)]
            assert found["documents"] == len(numbers)


@pytest.mark.parametrize("place", ["list", "segment", "keys", "missing"])
def test_a_damaged_backup_is_not_restored(tmp_path: Path, place: str) -> None:
    with rango.open(tmp_path / "db", key=b"k" * 32) as db:
        fill(db, 0, 50)
        db.backup(tmp_path / "backup")
    folder = tmp_path / "backup"
    victim = {
        "list": folder / "backup.json",
        "segment": next((folder / "segments").iterdir()),
        "keys": next(folder.glob("keys-*")),
        "missing": next((folder / "segments").iterdir()),
    }[place]
    if place == "missing":
        victim.unlink()
    elif place == "list":
        fields = json.loads(victim.read_text(encoding="utf-8"))
        fields["ordinal"] -= 1
        victim.write_text(json.dumps(fields), encoding="utf-8")
    else:
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    with pytest.raises(errors.Corrupted):
        rango.verify_backup(folder)
    with pytest.raises(errors.Corrupted):
        rango.restore(folder, to=tmp_path / "copy", key=b"k" * 32)
    assert not (tmp_path / "copy").exists()


def test_the_wrong_place_and_the_wrong_secret(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", key=b"k" * 32) as db, rango.open(tmp_path / "other") as other:
        fill(db, 0, 5)
        fill(other, 0, 5)
        db.backup(tmp_path / "backup")
        with pytest.raises(errors.InvalidArgument, match="another database"):
            other.backup(tmp_path / "backup")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis.tex").write_text("x", encoding="ascii")
        with pytest.raises(errors.InvalidArgument, match="no backup"):
            db.backup(tmp_path / "full")
    with pytest.raises(errors.InvalidArgument, match="exists"):
        rango.restore(tmp_path / "backup", to=tmp_path / "db", key=b"k" * 32)
    with pytest.raises(errors.InvalidArgument, match="no backup"):
        rango.restore(tmp_path / "full", to=tmp_path / "copy")
    with pytest.raises(errors.KeyRejected):
        rango.restore(tmp_path / "backup", to=tmp_path / "copy", key=b"x" * 32)
    assert not (tmp_path / "copy").exists()
    assert rango.restore(tmp_path / "backup", to=tmp_path / "copy", key=b"k" * 32)["documents"] == 5


def test_a_backup_that_is_interrupted_anywhere_leaves_a_whole_one() -> None:
    rng = random.Random(1)
    disk = MemoryDisk()
    db = rango.open("/db", vfs=PythonVfs(disk), key=b"k" * 32)
    fill(db, 0, 60)
    db.backup("/backup")
    stopped = 0
    for turn in range(60):
        fill(db, 1000 + turn * 5, 5)
        if turn % 5 == 0:
            db["a"].purge({"_id": 1000 + turn * 5 + rng.randrange(5)})
        left = [rng.randrange(1, 30)]

        def fault(called: str, path: str, _size: int, left: list[int] = left) -> int | None:
            if not path.startswith("/backup") or called in ("close", "read", "size"):
                return None
            left[0] -= 1
            return errno.EIO if left[0] <= 0 else None

        disk.fault = fault
        try:
            db.backup("/backup")
        except errors.IoFailed:
            stopped += 1
        disk.fault = None
        backups.verify(PythonVfs(disk), "/backup")
        backups.verify(PythonVfs(disk.after_power_cut(rng)), "/backup")
    assert stopped > 20
    db.backup("/backup")
    assert list(db.check()) == []
    db.close()


def test_a_restore_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        fill(db, 0, 100)
        db.backup(tmp_path / "backup")
    half = tmp_path / "copy.restoring"
    shutil.copytree(tmp_path / "db", half)
    (half / "oplog" / "0000000000000099.rgo").write_bytes(b"of another backup")
    rango.restore(tmp_path / "backup", to=tmp_path / "copy")
    assert not half.exists()
    with rango.open(tmp_path / "copy") as db:
        assert db["a"].count_documents({}) == 100
