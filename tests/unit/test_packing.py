"""Packing the history of a whole database: nothing that anybody asks for is another."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rango
from rango import errors
from rango._ext.layout import SEGMENT_PACKED
from rango._ext.vfs import POSIX, RANGE_LOCKS
from rango.cli import root
from rango.engine import compact, packing
from rango.engine.compact import Keep
from rango.engine.core import Core
from rango.engine.history import newest_ordinal, versions
from rango.storage.oplog import Oplog
from rango.storage.verification import Verifier
from tests.unit.compact_case import digest, files, fill, segments_small
from tests.unit.engine_case import documents_of, insert, replace, two_cores

PIECE_SIZE = 64 * 1024


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    segments_small(monkeypatch)


@pytest.fixture(params=[{}, {"key": b"k" * 32}], ids=["plain", "sealed"])
def secret(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


def clock() -> Any:
    """A minute passes with every reading."""
    start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    return itertools.count(start, 60_000).__next__


def features(path: Path) -> list[int]:
    """The feature bits of each segment, as the file has them."""
    return [(path / "oplog" / name).read_bytes()[12] for name in files(path)]


def packed_where_it_pays(path: Path) -> Iterator[bool]:
    """Of every segment but the newest: a few frames are not worth table and footer."""
    for name in files(path)[:-1]:
        data = (path / "oplog" / name).read_bytes()
        yield bool(data[12] & SEGMENT_PACKED) or len(data.rstrip(b"\0")) < 2048


def grown(path: Path, secret: dict[str, Any]) -> dict[str, Any]:
    """A database with history, and what is known of it."""
    with rango.open(path, clock=clock(), **secret) as db:
        fill(db)
        db.create_snapshot("early")
        middle = db.stats()["ordinal"]
        db["notes"].update_many({"_id": {"$lt": 150}}, {"$inc": {"round": 1}})
        for n in range(0, 150, 3):
            db["notes"].update_one({"_id": n}, {"$set": {"last": "x" * 500}})
        db.checkpoint()
        return {"middle": middle, **known(db, middle), "log": list(rango.read_log(path, **secret))}


def known(db: rango.Database, middle: int) -> dict[str, Any]:
    """What people ask a history for."""
    with db.at(middle) as past, db.at("early") as early:
        return {
            "digest": digest(db),
            "middle state": past["notes"].find_many({}, sort=[("_id", 1)]),
            "early state": early["notes"].count_documents({}),
            "history": [list(db["notes"].history(n)) for n in (0, 3, 7, 149, 290)],
            "difference": list(db.diff(middle, db.stats()["ordinal"])),
        }


def same(db: rango.Database, before: dict[str, Any]) -> None:
    found = known(db, before["middle"])
    for name, value in found.items():
        assert value == before[name], name
    assert list(db.check()) == []


def test_all_of_a_history_is_there_and_smaller(tmp_path: Path, secret: dict[str, Any]) -> None:
    path = tmp_path / "db"
    before = grown(path, secret)
    with rango.open(path, **secret) as db:
        done = db.compact("all")
        assert not done["is_done"] and done["segments"] == 0 and done["base_bytes"] == 0
        assert done["packed"] == len(files(path)) - 1 > 3
        assert done["packed_bytes_after"] < 0.4 * done["packed_bytes_before"]
        same(db, before)
        assert list(rango.read_log(path, **secret)) == before["log"]
        # what is packed stays, and an empty segment is not followed by another
        assert db.compact("all")["packed"] == 0
        db["notes"].insert_one({"_id": "later"})
        assert len(list(db["notes"].history(0))) == len(before["history"][0])
        db["notes"].delete_one({"_id": "later"})
    assert features(path) == [SEGMENT_PACKED] * (len(files(path)) - 1) + [0]
    with rango.open(path, **secret) as db:
        expected = digest(db)
        assert list(db.check()) == []
    # the log alone rebuilds it
    (path / "data.rango").unlink()
    with rango.open(path, **secret) as db:
        assert digest(db) == expected
        assert list(db.check()) == []


def test_what_a_compaction_keeps_is_packed(tmp_path: Path, secret: dict[str, Any]) -> None:
    path = tmp_path / "db"
    before = grown(path, secret)
    with rango.open(path, **secret) as db:
        done = db.compact(before["middle"])
        assert done["is_done"] and done["packed"] > 1
        found = known(db, before["middle"])
        assert found["middle state"] == before["middle state"]
        assert found["digest"] == before["digest"]
        # the base
        assert db.compact("now")["packed"] == 1
        assert digest(db) == before["digest"] and len(files(path)) == 2


def test_everything_that_copies_or_rewrites_a_log_knows_packed_segments(tmp_path: Path) -> None:
    path = tmp_path / "db"
    secret = {"key": b"k" * 32}
    before = grown(path, secret)
    with rango.open(path, **secret) as db:
        backup = db.backup(tmp_path / "backup")
        assert db.compact("all")["packed"] > 3
        again = db.backup(tmp_path / "backup")
        # every packed file is another one, and smaller
        assert again["copied"] == len(files(path))
        assert again["bytes_copied"] < backup["bytes_copied"]
        assert db.backup(tmp_path / "backup")["copied"] <= 1
        notes = db["notes"].find_many({}, sort=[("_id", 1)])
        assert db.salvage(tmp_path / "salvaged")["lost"] == []
    rango.verify_backup(tmp_path / "backup")
    rango.restore(tmp_path / "backup", to=tmp_path / "restored", **secret)
    with rango.open(tmp_path / "restored", **secret) as db:
        assert known(db, before["middle"])["history"] == before["history"]
        assert digest(db) == before["digest"] and list(db.check()) == []
    with rango.open(tmp_path / "salvaged", **secret) as db:
        assert db["notes"].find_many({}, sort=[("_id", 1)]) == notes
    for until in (None, before["middle"], before["middle"] + 7):
        to = tmp_path / f"replayed {until}"
        found = rango.replay(path, to=to, until=until, **secret)
        with rango.open(to, **secret) as db:
            assert list(db.check()) == []
            if until is None:
                assert found["digest"] == digest(db)
            elif until == before["middle"]:
                assert db["notes"].find_many({}, sort=[("_id", 1)]) == before["middle state"]
            db["notes"].insert_one({"_id": "it goes on"})
    rango.rekey(path, **secret, new_key=b"n" * 32)
    secret = {"key": b"n" * 32}
    assert features(path) == [0] * len(files(path))
    with rango.open(path, **secret) as db:
        same(db, before)
        assert db.compact("all")["packed"] > 3
        same(db, before)


def test_what_is_purged_is_in_no_packed_segment(tmp_path: Path, secret: dict[str, Any]) -> None:
    path = tmp_path / "db"
    before = grown(path, secret)
    with rango.open(path, **secret) as db:
        db["notes"].insert_one({"_id": "gone", "text": "canary-in-the-mine"})
        db.compact("all")
        db.backup(tmp_path / "backup")
        assert db["notes"].purge({"_id": {"$in": ["gone", 7]}}).purged_count == 2
        assert list(db["notes"].history(7)) == [] and list(db.check()) == []
        assert 0 in features(path)[:-1] or 1 in features(path)[:-1]
        log = list(rango.read_log(path, **secret))
        assert db.compact("all")["packed"] > 0
        assert all(packed_where_it_pays(path))
        assert list(rango.read_log(path, **secret)) == log
        assert list(db["notes"].history(7)) == [] and list(db.check()) == []
        assert list(db["notes"].history(3)) == before["history"][1]
        # purged again, in segments that are purged and packed already
        assert db["notes"].purge({"_id": 3}).purged_count == 1
        assert db.compact("all")["packed"] > 0
        assert list(db["notes"].history(3)) == [] and list(db.check()) == []
        db.backup(tmp_path / "backup")
        expected = digest(db)
    assert b"canary" not in b"".join(
        file.read_bytes() for file in path.rglob("*") if file.is_file()
    )
    rango.restore(tmp_path / "backup", to=tmp_path / "restored", **secret)
    for folder in (path, tmp_path / "restored"):
        (folder / "data.rango").unlink()
        with rango.open(folder, **secret) as db:
            assert digest(db) == expected and list(db.check()) == []
    assert rango.verify(path).ok


def test_no_space_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db"
    before = grown(path, {})
    with rango.open(path) as db:
        monkeypatch.setattr(packing, "SPARE", 1 << 60)
        count = len(files(path))
        with pytest.raises(errors.LowDisk, match="nothing was changed"):
            db.compact("all")
        assert len(files(path)) == count and not any(features(path))
        # giving up needs no such space, and is not refused for it
        done = db.compact(before["middle"])
        assert done["is_done"] and done["packed"] == 0
        assert digest(db) == before["digest"]
        monkeypatch.undo()
        db["notes"].insert_one({"_id": "later"})


def test_a_damaged_segment_stays_for_others_to_find(tmp_path: Path, secret: dict[str, Any]) -> None:
    path = tmp_path / "db"
    grown(path, secret)
    place = path / "oplog" / files(path)[1]
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    with rango.open(path, **secret) as db:
        with pytest.raises(errors.LogCorrupted, match="stays as it is"):
            db.compact("all")
        assert place.read_bytes() == data
        assert features(path)[:2] == [SEGMENT_PACKED, 0]
        assert "log" in [finding.kind for finding in db.check()]
        db["notes"].insert_one({"_id": "goes on"})


def test_a_damaged_packed_segment_is_found_and_the_present_stays(
    tmp_path: Path, secret: dict[str, Any]
) -> None:
    path = tmp_path / "db"
    before = grown(path, secret)
    with rango.open(path, **secret) as db:
        db.compact("all")
    place = path / "oplog" / files(path)[1]
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    with rango.open(path, **secret) as db:
        assert digest(db) == before["digest"]
        assert "log" in [finding.kind for finding in db.check()]
        with pytest.raises(errors.LogCorrupted):
            for n in range(300):
                list(db["notes"].history(n))
    result = rango.verify(path)
    assert [each.kind for each in result.findings] == ["altered"]
    assert result.findings[0].segment == 2 and "commits" in result.findings[0].what
    report = rango.salvage(path, to=tmp_path / "salvaged", **secret)
    assert report["lost"] and report["documents"] > 0


# --- processes


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Core]]:
    """Two cores on one directory, as two processes have."""
    yield from two_cores(tmp_path / "db", segment_size_max=PIECE_SIZE)


@pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")
def test_another_process_reads_on_with_the_headers_that_it_had(pair: list[Core]) -> None:
    one, other = pair
    insert(one, "a", [{"_id": n, "text": "x" * 400} for n in range(400)])
    for n in range(5):
        replace(one, "a", {"_id": 5, "text": f"later {n}"})
    assert len(documents_of(other, "a")) == 400
    old = [(h.id, h.features) for h in other.log.segments]
    bodies = {n: other.log.commit_of(n) for n in (2, 300, 403)}
    done = compact.compact(one, Keep(is_all=True))
    assert done["packed"] >= 3
    assert [(h.id, h.features) for h in other.log.segments] == old
    assert {n: other.log.commit_of(n) for n in bodies} == bodies
    for n in range(3):
        replace(other, "a", {"_id": 5, "text": f"other {n}"})
        replace(one, "a", {"_id": 6, "text": f"one {n}"})
    for core in pair:
        found = list(versions(lambda core=core: core, *newest_ordinal(core.view(), "a", 5)))
        assert len(found) == 9
        assert list(core.check()) == []
    assert one.digest() == other.digest()
    # it packs what is left, and purges what the first one has packed
    assert compact.compact(other, Keep(is_all=True))["packed"] >= 1
    assert all(h.features == SEGMENT_PACKED for h in other.log.segments[:-1])
    log = Oplog.open(one.vfs, one.path, one.keyring)
    assert [h.features for h in log.segments] == [h.features for h in other.log.segments]
    assert one.digest() == other.digest() and list(one.check()) == []


@pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")
def test_a_walk_that_has_begun_goes_on_while_its_files_are_packed(pair: list[Core]) -> None:
    one, other = pair
    insert(one, "a", [{"_id": n, "text": "x" * 400} for n in range(600)])
    expected = [c[2] for batch in one.log.replay(*one.log.start(), written=10) for c in batch]
    one.log.reread()
    other.log.reread()
    walk = other.log.replay(*other.log.start(), written=one.store.appender.ordinal)
    found = [commit[2] for commit in next(walk)]
    assert compact.compact(one, Keep(is_all=True))["packed"] >= 3
    found += [commit[2] for batch in walk for commit in batch]
    assert found[: len(expected)] == expected or len(found) >= len(expected)
    whole = [c[2] for batch in one.log.replay(*one.log.start(), written=10**9) for c in batch]
    assert found == whole


def test_change_streams_go_on_through_packed_segments(
    tmp_path: Path, secret: dict[str, Any]
) -> None:
    with rango.open(tmp_path / "db", **secret) as db:
        notes = db["notes"]
        with notes.watch() as stream:
            notes.insert_one({"_id": -1})
            token = stream.next()["_id"]
        notes.insert_many([{"_id": n, "text": "x" * 1000} for n in range(300)])
        for n in range(200):
            notes.update_one({"_id": n}, {"$set": {"m": n, "text": "y" * 900}})
        with notes.watch(resume_after=token) as stream:
            first = [stream.next() for _ in range(100)]
            assert db.compact("all")["packed"] > 3
            rest = [stream.next() for _ in range(400)]
        with notes.watch(resume_after=token) as stream:
            again = [stream.next() for _ in range(500)]
        assert first + rest == again


def test_verifying_beside_one_that_gives_history_up(tmp_path: Path) -> None:
    path = tmp_path / "db"
    grown(path, {"key": b"k" * 32})
    with rango.open(path, key=b"k" * 32) as db:
        # it has read what was signed
        verifier = Verifier(POSIX, str(path), (), None)
        assert db.compact(-100)["is_done"]
        db["notes"].insert_one({"_id": "later"})
        result = verifier.run()
    assert result.findings == [] and result.first > 1


# --- the command line


def test_the_command_line_packs(tmp_path: Path) -> None:
    path = tmp_path / "db"
    grown(path, {})
    said = CliRunner().invoke(root, ["compact", str(path), "--keep", "all", "--dry-run"])
    assert said.exit_code == 1 and not any(features(path))
    said = CliRunner().invoke(root, ["compact", str(path), "--keep", "all"])
    assert said.exit_code == 0, said.output
    assert "Packed: " in said.output and "segments of the history" in said.output
    said = CliRunner().invoke(root, ["compact", str(path), "--keep", "all", "--json"])
    assert json.loads(said.output)["packed"] <= 1
    assert os.listdir(path / "oplog")
    found = json.loads(CliRunner().invoke(root, ["doctor", str(path), "--json"]).output)
    assert not [each for each in found["findings"] if each["severity"] == "error"]
