"""The real `rango` command, killed before its N-th change of a file, for many N: import, rotate,
rotate --root, encrypt, restore, compact, rollback.

Method      a library that counts is preloaded (killer.py); one run that is not killed says how many
            changes there are. Each kill starts from a fresh copy of the same files. Afterwards
            another process opens what is there, and the command is simply given once more.
Invariants  I-1, I-11, I-17: whole or absent, and the second time it is done.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import KeyRejected
from tests.crash.killer import POINTS, Killer, compiled
from tests.engine_case import content_of, folder_read

pytestmark = pytest.mark.slow

CANARY = b"canary-55e1"
FIRST, SECOND = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("killer"))


@pytest.fixture
def killer(library: Path, tmp_path: Path, minutes: float) -> Killer:
    return Killer(library, tmp_path, sys.maxsize if minutes else POINTS)


def key_file(folder: Path, key: bytes) -> Path:
    path = folder / f"{key[0]}.key"
    path.write_text(key.hex())
    return path


def filled(place: Path, **secret: Any) -> dict[str, Any]:
    """A database with documents, an index and a purge; its content."""
    with rango.open(place, **secret) as db:
        db["a"].create_index("n")
        db["a"].insert_many({"_id": n, "n": n % 9, "text": CANARY * 20} for n in range(300))
        db["a"].delete_many({"n": 4})
        db["a"].purge({"_id": 3})
        return content_of(db)


def whole(place: Path, **secret: Any) -> dict[str, Any]:
    """What is in the database, after all of its checks."""
    with rango.open(place, create=False, **secret) as db:
        assert list(db.check()) == []
        return content_of(db)


def opening(place: Path, *secrets: dict[str, Any]) -> dict[str, Any]:
    """The only one of these secrets that opens the database."""
    found = []
    for secret in secrets:
        try:
            rango.open(place, create=False, **secret).close()
        except KeyRejected:
            continue
        found.append(secret)
    assert len(found) == 1
    return found[0]


Count = Callable[[str, int], None]


def test_a_killed_rotation_loses_nothing_and_is_done_again(
    killer: Killer, tmp_path: Path, seed: int, count_cases: Count
) -> None:
    expected = filled(tmp_path / "template", key=FIRST)
    place, file = tmp_path / "db", key_file(tmp_path, FIRST)
    words = ("key", "rotate", "-P", place, "--keyfile", file, "--json")
    shutil.copytree(tmp_path / "template", place)
    epochs = set()
    for at in killer.points(*words, seed=seed):
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "template", place)
        killer.kill(*words, at=at)
        assert whole(place, key=FIRST) == expected
        assert killer(*words) == 0, killer.stderr
        epochs.add(json.loads(killer.stdout)["epoch"])
        assert whole(place, key=FIRST) == expected
        count_cases("crash: killed commands", 1)
    assert epochs == {2, 3}  # killed before the epoch was there, and after


@pytest.mark.parametrize("options", [(), ("--remove-old",)])
def test_a_killed_change_of_the_root_key_leaves_the_old_or_the_new_one(
    killer: Killer, tmp_path: Path, seed: int, count_cases: Count, options: tuple[str, ...]
) -> None:
    expected = filled(tmp_path / "template", key=FIRST)
    place = tmp_path / "db"
    files = {key: key_file(tmp_path, key) for key in (FIRST, SECOND)}
    words = ("key", "rotate", "--root", "-P", place, *options, "--new-keyfile", files[SECOND])
    shutil.copytree(tmp_path / "template", place)
    seen = set()
    for at in killer.points(*words, "--keyfile", files[FIRST], seed=seed):
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "template", place)
        killer.kill(*words, "--keyfile", files[FIRST], at=at)
        key = opening(place, {"key": FIRST}, {"key": SECOND})["key"]
        seen.add(key)
        assert whole(place, key=key) == expected
        assert not (place / "rekey").exists()
        assert (place / "replaced").exists() is (key == SECOND and not options)
        assert killer(*words, "--keyfile", files[key]) == 0, killer.stderr
        assert whole(place, key=SECOND) == expected
        count_cases("crash: killed commands", 1)
    assert seen == {FIRST, SECOND}


def test_a_killed_encryption_leaves_plain_files_or_none_at_all(
    killer: Killer, tmp_path: Path, seed: int, count_cases: Count
) -> None:
    expected = filled(tmp_path / "template")
    place, file = tmp_path / "db", key_file(tmp_path, FIRST)
    words = ("key", "encrypt", "-P", place, "--remove-old", "--new-keyfile", file)
    shutil.copytree(tmp_path / "template", place)
    encrypted = set()
    for at in killer.points(*words, seed=seed):
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "template", place)
        killer.kill(*words, at=at)
        secret = opening(place, {}, {"key": FIRST})
        encrypted.add(bool(secret))
        assert whole(place, **secret) == expected
        if not secret:
            assert killer(*words) == 0, killer.stderr
            assert whole(place, key=FIRST) == expected
        assert not any(CANARY in data for data in folder_read(place).values())
        count_cases("crash: killed commands", 1)
    assert encrypted == {True, False}


def test_a_killed_restore_is_nothing_or_a_whole_node_of_its_own(
    killer: Killer, tmp_path: Path, seed: int, count_cases: Count
) -> None:
    expected = filled(tmp_path / "template", key=FIRST)
    with rango.open(tmp_path / "template", key=FIRST) as db:
        db.backup(tmp_path / "backup")
        node = db.node_id
    place, file = tmp_path / "db", key_file(tmp_path, FIRST)
    words = ("restore", tmp_path / "backup", "--to", place, "--keyfile", file)
    for at in killer.points(*words, seed=seed):
        shutil.rmtree(place)
        killer.kill(*words, at=at)
        if not place.exists():
            assert killer(*words) == 0, killer.stderr
        assert whole(place, key=FIRST) == expected
        with rango.open(place, key=FIRST) as db:
            assert db.node_id != node
        assert not (tmp_path / "db.restoring").exists()
        count_cases("crash: killed commands", 1)


def test_a_killed_import_goes_on_and_each_document_is_there_once(
    killer: Killer, tmp_path: Path, seed: int, count_cases: Count
) -> None:
    source, state, place = tmp_path / "in.jsonl", tmp_path / "state", tmp_path / "db"
    # without an _id, only the resumption keeps a document from coming twice
    lines = [json.dumps({"n": n}) for n in range(15_000)]
    source.write_text("\n".join(lines))
    rango.open(tmp_path / "template").close()
    shutil.copytree(tmp_path / "template", place)
    words = ("import", source, "-c", "a", "-P", place, "--resume", state, "--json")
    found_after_kill = set()
    for at in killer.points(*words, seed=seed):
        shutil.rmtree(place)
        state.unlink(missing_ok=True)
        shutil.copytree(tmp_path / "template", place)
        killer.kill(*words, at=at)
        found = sorted(each["n"] for each in whole(place).get("a", {}).values())
        assert found == list(range(len(found)))
        found_after_kill.add(len(found))
        assert killer(*words) == 0, killer.stderr
        numbers = sorted(each["n"] for each in whole(place)["a"].values())
        assert numbers == list(range(len(lines)))
        count_cases("crash: killed commands", 1)
    assert found_after_kill >= {0, len(lines)}


def test_a_killed_compaction_leaves_the_old_log_or_the_new_one(
    killer: Killer, tmp_path: Path, seed: int, count_cases: Count
) -> None:
    filled(tmp_path / "template", key=FIRST)
    with rango.open(tmp_path / "template", key=FIRST) as db:
        # a second segment, so that more than one file goes
        db.compact("now")
        db["b"].insert_many({"_id": n, "text": "x" * 3_000} for n in range(300))
        db["b"].delete_many({"_id": {"$gte": 20}})
        expected = content_of(db)
    place, file = tmp_path / "db", key_file(tmp_path, FIRST)
    words = ("compact", place, "--keep", "now", "--yes", "--keyfile", file, "--json")
    shutil.copytree(tmp_path / "template", place)
    given_up = set()
    for at in killer.points(*words, seed=seed):
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "template", place)
        killer.kill(*words, at=at)
        assert whole(place, key=FIRST) == expected
        # 1: there was nothing to give up any more
        code = killer(*words)
        assert code in (0, 1), killer.stderr
        given_up.add(code)
        assert len(list((place / "oplog").glob("*.rgo"))) == 2
        (place / "data.rango").unlink()
        assert whole(place, key=FIRST) == expected
        count_cases("crash: killed commands", 1)
    assert 0 in given_up


def test_a_killed_rollback_is_whole_or_absent(
    killer: Killer, tmp_path: Path, seed: int, count_cases: Count
) -> None:
    """Two collections and an index that comes back; only the index may be missing for a while."""
    filled(tmp_path / "template", key=FIRST)
    with rango.open(tmp_path / "template", key=FIRST) as db:
        db["b"].insert_many({"_id": n, "text": "x" * 300} for n in range(50))
        then = documents_of(db)
        db.create_snapshot("then")
        db["b"].delete_many({"_id": {"$gte": 20}})
        db["a"].update_many({"n": 2}, {"$set": {"n": 100}})
        db["a"].drop_index("n_1")
        now = documents_of(db)
    place, file = tmp_path / "db", key_file(tmp_path, FIRST)
    words = ("rollback", "then", "-P", place, "--yes", "--keyfile", file, "--json")
    shutil.copytree(tmp_path / "template", place)
    done = set()
    for at in killer.points(*words, seed=seed):
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "template", place)
        killer.kill(*words, at=at)
        with rango.open(place, create=False, key=FIRST) as db:
            assert list(db.check()) == []
            found = documents_of(db)
        assert found in (now, then)
        done.add(found == then)
        assert killer(*words) in (0, 1), killer.stderr
        with rango.open(place, create=False, key=FIRST) as db:
            assert list(db.check()) == []
            assert documents_of(db) == then
            assert [each["name"] for each in db["a"].list_indexes()] == ["_id_", "n_1"]
        count_cases("crash: killed commands", 1)
    assert done == {True, False}


def documents_of(db: rango.Database) -> dict[str, list[dict[str, Any]]]:
    """The documents without their revisions, which a rollback gives anew."""
    return {name: db[name].find_many({}) for name in db.list_collection_names()}
