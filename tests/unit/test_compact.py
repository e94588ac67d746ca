"""Giving history up: the documents stay, the chain goes on, and the log alone rebuilds all."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rango
from rango import errors
from rango.cli import root
from rango.engine import compact, recovery
from rango.storage.base_segment import base_statement
from rango.storage.keyring import signature_is_valid
from rango.storage.oplog import Oplog
from tests.unit.compact_case import digest, files, fill, segments_small
from tests.unit.engine_case import threads

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    segments_small(monkeypatch)


def clock() -> Any:
    """A minute passes with every reading."""
    start = int(START.timestamp() * 1000)
    return itertools.count(start, 60_000).__next__


def whole(path: Path, expected: str, secret: dict[str, Any]) -> None:
    """The log alone gives the same database, and nothing is wrong with it."""
    (path / "data.rango").unlink(missing_ok=True)
    with rango.open(path, **secret) as db:
        assert list(db.check()) == []
        assert digest(db) == expected


def test_the_state_stays_and_the_log_alone_rebuilds_it(
    tmp_path: Path, secret: dict[str, Any]
) -> None:
    path = tmp_path / "db"
    with rango.open(path, **secret) as db:
        fill(db)
        expected, before = digest(db), db._handle.core.store.appender.mark()
        tree_next = db._handle.core.store.head.catalog.tree_next
        done = db.compact("now")
        assert done["is_done"] and done["segments"] > 1 and done["ordinal"] == before[2]
        assert digest(db) == expected and list(db.check()) == []
        # one file holds the state, one goes on
        assert len(files(path)) == 2
        # the chain goes on where it was
        assert db._handle.core.store.appender.mark()[2:] == before[2:]
    with rango.open(path, **secret) as db:
        assert digest(db) == expected
    whole(path, expected, secret)
    with rango.open(path, **secret) as db:
        assert db._handle.core.store.head.catalog.tree_next == tree_next
        assert db.limits() == {"document_size_bytes_max": 5_000_000}
        db["notes"].update_one({"_id": 5}, {"$set": {"k": 99}})
        assert db["notes"].find_one({"k": 99})["_id"] == 5
        assert len(db["notes"].find_many({"k": "three"})) == len(
            [each for each in db["notes"].find_many({}) if each["k"] == "three"]
        )
        expected = digest(db)
    whole(path, expected, secret)


def test_revisions_go_on_above_those_that_were_given_up(tmp_path: Path) -> None:
    late = 1_900_000_000_000
    path = tmp_path / "db"
    with rango.open(path, clock=lambda: late) as db:
        db["notes"].insert_one({"_id": 1})
        # the record with the greatest revision is forgotten, not only replaced
        db["notes"].purge({"_id": 1})
        db["notes"].insert_one({"_id": 2})
        db["notes"].purge({"_id": 2})
        db.compact("now")
    (path / "data.rango").unlink()
    with rango.open(path, clock=lambda: 1_000) as db:
        db["notes"].insert_one({"_id": 3})
        assert int(db["notes"].find_one(3, meta=True)["_rev"].split("-")[0]) >= late


def test_history_ends_with_the_version_that_was_kept(
    tmp_path: Path, secret: dict[str, Any]
) -> None:
    with rango.open(tmp_path / "db", **secret) as db:
        notes = db["notes"]
        notes.insert_many([{"_id": n, "n": n} for n in range(5)])
        notes.update_one({"_id": 1}, {"$set": {"n": 10}})
        notes.delete_one({"_id": 2})
        db.compact("now")
        (kept,) = notes.history(1)
        assert (kept["kind"], kept["document"]) == ("kept", {"_id": 1, "n": 10})
        notes.update_one({"_id": 1}, {"$set": {"n": 11}})
        newest, kept = notes.history(1)
        assert (newest["kind"], newest["set"]) == ("replace", {"n": 11})
        assert (kept["kind"], kept["document"]) == ("kept", {"_id": 1, "n": 10})
        (gone,) = notes.history(2)
        assert (gone["kind"], gone["document"]) == ("kept", None)
        notes.insert_one({"_id": 2, "n": 22})
        assert [each["kind"] for each in notes.history(2)] == ["insert", "kept"]
        notes.purge({"_id": 1})
        assert list(notes.history(1)) == [] and list(db.check()) == []
        with pytest.raises(errors.HistoryGivenUp) as caught:
            db._handle.core.log.commit_of(3)
        assert caught.value.oldest > 3


def test_a_base_is_given_up_like_anything_else(tmp_path: Path, secret: dict[str, Any]) -> None:
    path = tmp_path / "db"
    with rango.open(path, **secret) as db:
        fill(db, 100)
        for n in range(3):
            db["notes"].update_many({}, {"$set": {"round": n}})
            assert db.compact("now")["is_done"]
            assert len(files(path)) == 2
        assert not db.compact("now")["is_done"]
        expected = digest(db)
    whole(path, expected, secret)


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, clock=clock()) as db:
        fill(db)
        before = files(path)
        said = db.compact("now", dry_run=True)
        assert files(path) == before and not said["is_done"]
        done = db.compact("now")
        for name in ("ordinal", "commits", "segments", "bytes", "oldest", "snapshots"):
            assert said[name] == done[name], name
        assert done["oldest"] >= START


def versions(db: rango.Database, ordinal: int) -> list[list[Any]]:
    """What history says of everything behind a commit."""
    return [
        [each for each in db["notes"].history(n) if each["ordinal"] > ordinal] for n in range(300)
    ]


@pytest.mark.parametrize("entries_max", [400_000, 200], ids=["memory", "pages"])
def test_what_is_kept_stays_as_it_was(
    tmp_path: Path, secret: dict[str, Any], monkeypatch: pytest.MonkeyPatch, entries_max: int
) -> None:
    monkeypatch.setattr(recovery, "REPLAY_ENTRIES_MAX", entries_max)
    path = tmp_path / "db"
    with rango.open(path, **secret) as db:
        fill(db)
        middle = db.stats()["ordinal"]
        db["notes"].update_many({"_id": {"$lt": 250}}, {"$inc": {"round": 1}})
        for n in range(250):
            db["notes"].update_one({"_id": n}, {"$set": {"last": "x" * 500}})
        expected, log = digest(db), list(rango.read_log(path, **secret))
        known = versions(db, middle)
        done = db.compact(middle)
        assert 0 < done["ordinal"] <= middle and done["is_done"]
        assert digest(db) == expected and versions(db, middle) == known
        kept = list(rango.read_log(path, **secret))
        assert kept == [each for each in log if each["ordinal"] > done["ordinal"]]
        assert list(db.check()) == []
    whole(path, expected, secret)


def test_where_the_log_is_cut(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", clock=clock()) as db:
        fill(db)
        end = db.stats()["ordinal"]
        assert not db.compact(0)["is_done"]
        assert not db.compact(-end)["is_done"]
        assert not db.compact(START)["is_done"]
        heads = {each.first_ordinal - 1 for each in db._handle.core.log.segments}
        for keep in (end // 2, -(end // 3), timedelta(minutes=100)):
            said = db.compact(keep, dry_run=True)
            assert said["ordinal"] in heads, keep
        half = db.compact(end // 2)
        assert half["ordinal"] == max(each for each in heads if each <= end // 2)
        last = db.compact(-10)
        assert half["ordinal"] < last["ordinal"] <= db.stats()["ordinal"] - 10
        assert db.compact(timedelta(0))["ordinal"] == db.stats()["ordinal"]


@pytest.mark.parametrize("keep", ["", "30 days", True, 1.5, None, timedelta(-1)])
def test_what_is_no_keep_point_is_refused(tmp_path: Path, keep: Any) -> None:
    with rango.open(tmp_path / "db") as db:
        with pytest.raises(errors.InvalidArgument):
            db.compact(keep)
        with db.transaction(), pytest.raises(errors.TransactionError):
            db.compact("now")


def test_the_base_says_what_it_is_and_its_node_has_signed_it(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", node_id="node-a") as db:
        fill(db, 30)
        done = db.compact("now")
        core = db._handle.core
        said = base_statement(core.log)
        assert (said["ordinal"], said["node"]) == (done["ordinal"], "node-a")
        signed = b"rango base" + core.keyring.database_id
        signed += said["ordinal"].to_bytes(8, "little") + said["chain"]
        assert signature_is_valid(core.keyring.verify_key, signed, said["signature"])


def test_backups_rekey_salvage_and_purge_know_the_base(tmp_path: Path) -> None:
    path = tmp_path / "db"
    secret = {"key": b"k" * 32}
    with rango.open(path, **secret) as db:
        fill(db, 120)
        db.backup(tmp_path / "backup")
        db.compact("now")
        db["notes"].update_one({"_id": 7}, {"$set": {"k": "after"}})
        expected, notes = digest(db), db["notes"].find_many({}, sort=[("_id", 1)])
        # what is gone here goes from the backup, too
        db.backup(tmp_path / "backup")
        assert len(os.listdir(tmp_path / "backup" / "segments")) == 2
        assert db.salvage(tmp_path / "salvaged")["lost"] == []
    rango.restore(tmp_path / "backup", to=tmp_path / "restored", **secret)
    with rango.open(tmp_path / "restored", **secret) as db:
        assert digest(db) == expected
    with rango.open(tmp_path / "salvaged", **secret) as db:
        assert db["notes"].find_many({}, sort=[("_id", 1)]) == notes
    rango.rekey(path, **secret, new_key=b"n" * 32)
    secret = {"key": b"n" * 32}
    whole(path, expected, secret)
    with rango.open(path, **secret) as db:
        assert db["notes"].purge({"_id": {"$lt": 50}}).purged_count == 50
        expected = digest(db)
    whole(path, expected, secret)
    with rango.open(path, **secret) as db:
        db.compact("now")
        assert digest(db) == expected


def test_nothing_of_a_purged_document_is_left_in_a_base(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path) as db:
        db["notes"].create_index("text")
        db["notes"].insert_many([{"_id": n, "text": f"kept {n}"} for n in range(20)])
        db["notes"].insert_one({"_id": 100, "text": "canary-in-the-mine"})
        db.compact("now")
        base = path / "oplog" / files(path)[0]
        assert b"canary-in-the-mine" in base.read_bytes()
        db["notes"].purge({"_id": 100})
    for file in path.rglob("*"):
        assert not file.is_file() or b"canary-in-the-mine" not in file.read_bytes(), file


def test_a_damaged_base_is_found_and_the_data_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path, key=b"k" * 32) as db:
        fill(db, 600)
        db.compact("now")
        expected = digest(db)
    base = path / "oplog" / files(path)[0]
    data = bytearray(base.read_bytes())
    data[len(data) // 2] ^= 1
    base.write_bytes(data)
    with rango.open(path, key=b"k" * 32) as db:
        assert digest(db) == expected
        assert "log" in [finding.kind for finding in db.check()]
    (path / "data.rango").unlink()
    with pytest.raises(errors.LogCorrupted):
        rango.open(path, key=b"k" * 32)
    report = rango.salvage(path, to=tmp_path / "salvaged", key=b"k" * 32)
    assert report["lost"] and report["documents"] > 0


def test_a_base_that_is_cut_short_is_found(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path) as db:
        fill(db, 100)
        db.compact("now")
    base = path / "oplog" / files(path)[0]
    data = base.read_bytes()
    base.write_bytes(data[: len(data) // 2])
    with rango.open(path) as db:
        assert "log" in [finding.kind for finding in db.check()]
    assert rango.salvage(path, to=tmp_path / "salvaged")["lost"]


def test_the_past_begins_with_the_base(tmp_path: Path, secret: dict[str, Any]) -> None:
    with rango.open(tmp_path / "db", **secret) as db:
        fill(db, 60)
        early = db.stats()["ordinal"]
        db["notes"].insert_one({"_id": "x"})
        kept = db.compact("now")["ordinal"]
        state = db["notes"].find_many({}, sort=[("_id", 1)])
        db["notes"].insert_one({"_id": "y"})
        between = db.stats()["ordinal"]
        db["notes"].delete_many({"_id": {"$lt": 30}})
        for _ in range(3):
            db["notes"].insert_one({"n": 1})
            db.checkpoint()
        with db.at(kept) as past:
            assert past["notes"].find_many({}, sort=[("_id", 1)]) == state
        with db.at(between) as past:
            assert past["notes"].count_documents({}) == len(state) + 1
        with pytest.raises(errors.HistoryGone):
            db.at(early)


def test_anybody_can_verify_what_is_left(tmp_path: Path, secret: dict[str, Any]) -> None:
    with rango.open(tmp_path / "db", **secret) as db:
        fill(db, 60)
        db.compact("now")
        db["notes"].insert_one({"_id": "later"})
    assert not rango.verify(tmp_path / "db").findings


def test_an_interrupted_removal_is_finished_by_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"

    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    with rango.open(path) as db:
        fill(db)
        expected = digest(db)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(compact, "remove_given_up", stop)
            db.compact("now")
        assert len(files(path)) > 2 and digest(db) == expected
    with rango.open(path, read_only=True) as db:
        assert digest(db) == expected and len(files(path)) > 2
    with rango.open(path) as db:
        assert digest(db) == expected and len(files(path)) == 2
    whole(path, expected, {})


def test_a_full_disk_gives_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db"
    with rango.open(path) as db:
        fill(db)
        before, expected = files(path), digest(db)
        with monkeypatch.context() as patched, pytest.raises(errors.LowDisk):

            def full(*_args: object) -> None:
                raise errors.LowDisk("no space")

            patched.setattr(compact.BaseWriter, "put", full)
            db.compact("now")
        # only the segment that was begun is new
        assert files(path)[: len(before)] == before and len(files(path)) == len(before) + 1
        assert digest(db) == expected
        db["notes"].insert_one({"_id": "later"})
        assert db.compact("now")["is_done"] and list(db.check()) == []


def test_asyncio_and_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "db"

    async def work() -> dict[str, Any]:
        async with await rango.aio.open(path) as db:
            await db["notes"].insert_one({"_id": "first"})
            found: dict[str, Any] = await db.compact("now")
            return found

    assert asyncio.run(work())["is_done"]
    with rango.open(path) as db:
        fill(db, 100)
    run = CliRunner().invoke
    dry = run(root, ["compact", str(path), "--keep", "now", "--dry-run"])
    assert dry.exit_code == 0 and "This would give up" in dry.output
    refused = run(root, ["compact", str(path), "--keep", "now"])
    assert refused.exit_code == 2 and "--yes" in refused.output
    with rango.open(path) as db:
        db.create_snapshot("spring")
    for text in ("5 days", "last:0", "30", "5d", "2026-01-31", "last:10", "spring"):
        done = run(root, ["compact", str(path), "--keep", text, "--dry-run", "--json"])
        assert done.exit_code in ((2,) if text in ("5 days", "last:0") else (0, 1)), done.output
    unknown = run(root, ["compact", str(path), "--keep", "soon", "--dry-run"])
    assert isinstance(unknown.exception, errors.NotFound)
    done = run(root, ["compact", str(path), "--keep", "now", "--yes", "--json"])
    assert json.loads(done.output)["is_done"] is True
    again = run(root, ["compact", str(path), "--keep", "now", "--yes"])
    assert again.exit_code == 1 and "nothing to give up" in again.output


def test_others_write_and_read_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path) as db:
        notes = db["notes"]
        notes.create_index("k")
        notes.insert_many([{"_id": n, "k": n % 5, "round": 0} for n in range(200)])
        written: list[int] = []

        def write() -> None:
            for n in range(400):
                notes.update_one({"_id": n % 200}, {"$inc": {"round": 1}})
                notes.insert_one({"_id": 1_000 + n, "k": n})
                written.append(n)

        def look_back() -> None:
            while len(written) < 400:
                found = [each["kind"] for each in notes.history(7)]
                # never less than what is there now, and nothing that is no version
                assert found and set(found) <= {"insert", "replace", "kept", "gone"}
                assert not {"kept", "gone"} & set(found[:-1])
                assert notes.count_documents({"_id": {"$lt": 200}}) == 200

        def give_up() -> None:
            while len(written) < 400:
                db.compact("now")

        with threads(write, look_back, give_up):
            pass
        assert notes.count_documents({}) == 600
        assert [each["round"] for each in notes.find({"_id": {"$lt": 200}})] == [2] * 200
        assert list(db.check()) == []
        expected = digest(db)
    whole(path, expected, {})


def test_a_log_that_goes_on_without_its_base_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path) as db:
        fill(db, 50)
        db.compact("now")
        keyring = db._handle.core.keyring
        (path / "oplog" / files(path)[0]).rename(tmp_path / "base")
        with pytest.raises(errors.LogCorrupted):
            Oplog.open(db._handle.core.vfs, str(path), keyring)
        (tmp_path / "base").rename(path / "oplog" / "0000000000000001.rgo")
