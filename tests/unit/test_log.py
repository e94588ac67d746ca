"""The log for people: read_log() and `rango log`, beside a writer too."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from ci.environment import ROOT
from rango import database, errors
from rango import log as logs
from tests.unit.doctor_case import overwrite, segments
from tests.unit.test_cli import run

__all__ = ["run"]

KEY = b"k" * 32


@pytest.fixture
def tiny_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    made = database.options_of

    def options(*args: Any, **more: Any) -> Any:
        return made(*args, **more)._replace(segment_size_max=65536)

    monkeypatch.setattr(database, "options_of", options)


def changes(path: Path, **options: Any) -> list[tuple[Any, ...]]:
    """What was done, in order, without the settings of the database."""
    return [
        (change["kind"], change["collection"], change.get("_id", change.get("index")))
        for commit in rango.read_log(path, **options)
        for change in commit["changes"]
        if change["collection"] is not None or change["kind"] == "purged"
    ]


@pytest.mark.parametrize("secret", [{}, {"key": KEY}], ids=["plain", "sealed"])
def test_every_kind_of_change(tmp_path: Path, secret: dict[str, Any]) -> None:
    at = itertools.count(1_700_000_000_000)
    with rango.open(tmp_path / "db", node_id="n1", clock=lambda: next(at), **secret) as db:
        notes = db["notes"]
        notes.insert_one({"_id": 1, "a": "x"})
        notes.update_one({"_id": 1}, {"$set": {"a": "y"}})
        notes.create_index("a")
        db.rename_collection("notes", "texts")
        db["texts"].insert_many([{"_id": "s"}, {"_id": 2.5}])
        db["texts"].delete_many({"_id": {"$in": [1, "s"]}})
        db["texts"].drop_index("a_1")
        db["texts"].purge({"_id": 2.5})
        db["texts"].drop()
        found = changes(tmp_path / "db", **secret)
    assert [each for each in found if each[1] != "system.purges"] == [
        ("define", "notes", None),
        ("insert", "notes", 1),
        ("replace", "notes", 1),
        ("define", "notes", "a_1"),
        ("define", "notes", "a_1"),
        ("define", "texts", None),
        ("insert", "texts", "s"),
        ("purged", None, None),
        ("delete", "texts", 1),
        ("delete", "texts", "s"),
        ("drop", "texts", "a_1"),
        ("purged", None, None),
        ("drop", "texts", None),
    ]


def test_a_change_has_time_node_and_revision_and_values_only_if_asked(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", node_id="n1", clock=lambda: 1_700_000_000_000) as db:
        db["notes"].insert_one({"_id": 1, "a": "secret"})
        revision = db["notes"].find_one(1, meta=True)
    assert revision is not None
    plain = [c for each in rango.read_log(tmp_path / "db") for c in each["changes"]][-1]
    assert plain == {
        "kind": "insert",
        "collection": "notes",
        "_id": 1,
        "_rev": revision["_rev"],
        "at": datetime.datetime.fromtimestamp(1_700_000_000, datetime.UTC),
        "node": "n1",
    }
    full = [c for each in rango.read_log(tmp_path / "db", values=True) for c in each["changes"]][-1]
    assert full == {**plain, "document": {"_id": 1, "a": "secret"}}


def test_a_part_of_the_log(tmp_path: Path, tiny_segments: None) -> None:
    with rango.open(tmp_path / "db") as db:
        for number in range(40):
            db["a" if number % 2 else "b"].insert_one({"_id": number, "text": "x" * 4000})
    assert len(segments(tmp_path / "db")) > 1
    everything = list(rango.read_log(tmp_path / "db"))
    ordinals = [each["ordinal"] for each in everything]
    assert ordinals == sorted(set(ordinals))
    assert list(rango.read_log(tmp_path / "db", start=10, end=20)) == everything[9:20]
    mine = list(rango.read_log(tmp_path / "db", collection="a", start=10))
    assert {change["collection"] for each in mine for change in each["changes"]} == {"a"}
    assert changes(tmp_path / "db", start=10, collection="a") == [
        each for each in changes(tmp_path / "db", start=10) if each[1] == "a"
    ]


def test_it_reads_beside_a_writer_and_misses_nothing(tmp_path: Path, tiny_segments: None) -> None:
    """Every commit once and in order, whenever the reading comes."""
    with rango.open(tmp_path / "db", key=KEY, durability="memory") as db:
        db["notes"].insert_one({"_id": -1})

        def write() -> None:
            for number in range(3000):
                db["notes"].insert_one({"_id": number, "text": "x" * (number % 997)})

        writer = threading.Thread(target=write)
        writer.start()
        found = []
        for commit in rango.read_log(tmp_path / "db", key=KEY, follow=True, collection="notes"):
            found += [each["_id"] for each in commit["changes"] if each["kind"] == "insert"]
            if found[-1:] == [2999]:
                break
        writer.join()
    assert found == list(range(-1, 3000))


def test_another_process_is_followed(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": "first"})
        command = [sys.executable, "-m", "rango", "log", str(tmp_path / "db"), "-f", "--json"]
        with subprocess.Popen(
            [*command, "-c", "notes"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            lines: Iterator[Any] = map(json.loads, process.stdout)
            assert next(lines)["changes"][-1]["_id"] == "first"
            db["notes"].insert_one({"_id": "second"})
            assert next(lines)["changes"][0]["_id"] == "second"
            process.kill()


def test_a_delete_whose_document_is_nowhere_is_named_by_its_key(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({"_id": "gone"})
        db["notes"].delete_one({"_id": "gone"})
        db["notes"].insert_one({"_id": "kept"})
        db["notes"].purge({"_id": "gone"})
        found = [c for each in rango.read_log(tmp_path / "db") for c in each["changes"]]
    assert "gone" not in json.dumps(found, default=str)


def test_damage_is_an_error_and_what_is_before_it_was_given_out(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        for number in range(5):
            db["notes"].insert_one({"_id": number})
    data = segments(tmp_path / "db")[0].read_bytes()
    at = data.index(b"GRFM", data.index(b"GRFM", data.index(b"GRFM") + 1) + 1)
    overwrite(segments(tmp_path / "db")[0], at + 70, b"\xff\xff")
    found: list[Any] = []
    with pytest.raises(errors.LogCorrupted):
        found.extend(rango.read_log(tmp_path / "db"))
    assert [each["ordinal"] for each in found] == sorted({each["ordinal"] for each in found})


def test_no_database_and_the_wrong_key(tmp_path: Path) -> None:
    with pytest.raises(errors.NotADatabase):
        list(rango.read_log(tmp_path / "nothing"))
    with rango.open(tmp_path / "db", key=KEY):
        pass
    with pytest.raises(errors.KeyRejected):
        list(rango.read_log(tmp_path / "db"))
    with pytest.raises(errors.KeyRejected):
        list(rango.read_log(tmp_path / "db", key=b"x" * 32))


def test_a_rotation_while_it_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FOLLOW_INTERVAL_S", 0)
    with rango.open(tmp_path / "db", key=KEY) as db:
        db["notes"].insert_one({"_id": 1})
        commits = rango.read_log(tmp_path / "db", key=KEY, follow=True, collection="notes")
        assert next(commits)["changes"][-1]["_id"] == 1
        db.keys.rotate()
        db["notes"].insert_one({"_id": 2})
        assert next(commits)["changes"][0]["_id"] == 2
        commits.close()  # type: ignore[attr-defined]


def test_the_command_for_people(run: Any, tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", node_id="n1") as db:
        db["notes"].insert_one({"_id": "a b", "text": "hello"})
        db["notes"].create_index("text")
        db["notes"].delete_one({"_id": "a b"})
    path = str(tmp_path / "db")
    lines = run("log", path).out.splitlines()
    assert any('insert  notes "a b"' in line and " n1 " in line for line in lines)
    assert any("define  notes index text_1" in line for line in lines)
    assert lines[-1].endswith('delete  notes "a b"')
    assert "hello" not in run("log", path).out
    assert '{"_id": "a b", "text": "hello"}' in run("log", path, "--values").out
    last = run("log", path, "--last", "1", "--json").lines
    assert [each["changes"][0]["kind"] for each in last] == ["delete"]
    first = run("log", path, "--limit", "1", "--json").lines
    assert first[0]["ordinal"] == 1
    assert run("log", path, "--last", "1", "--follow").code == 2
    assert run("log", str(tmp_path / "none")).code == 3
    assert os.path.isdir(path)
