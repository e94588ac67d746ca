"""`rango.rekey`: a new root key, from plain to encrypted, and back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.vfs import PythonVfs
from rango.arguments import options_of
from rango.engine import rekey as rekeying
from rango.errors import (
    Corrupted,
    DatabaseBusy,
    InvalidArgument,
    KeyRejected,
    LogCorrupted,
    LowDisk,
    NotADatabase,
    ReadOnly,
)
from rango.storage.keyring import RawKey, SoftwareToken
from tests.engine_case import (
    FOLDER,
    content_of,
    disk_folder,
    flipped,
    folder_disk,
    folder_read,
    folder_write,
    open_tiny,
)

ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
CANARY = "canary-7f3a"
OLD = "old-canary-51"


def filled(place: Path, **secret: Any) -> dict[str, Any]:
    """Documents over several segments, an index, history, a purge, two epochs; its content."""
    with open_tiny(place, **secret) as db:
        db["a"].create_index("n")
        for n in range(60):
            db["a"].insert_one({"_id": n, "n": n % 7, "text": f"{OLD} {n} " + "x" * (n * 40)})
        db["a"].insert_one({"_id": "large", "text": CANARY * 20_000})
        db["a"].update_many({"n": 3}, {"$set": {"text": CANARY}})
        db["a"].delete_one({"_id": 5})
        db["a"].purge({"_id": 6})
        if secret:
            db.keys.rotate()
        db["b"].insert_one({"_id": 1, "text": CANARY})
        return content_of(db)


def assert_same(place: Path, expected: dict[str, Any], **secret: Any) -> None:
    """The database has this content, revisions included, and so does one rebuilt from the log."""
    for _ in range(2):
        with rango.open(place, create=False, **secret) as db:
            assert content_of(db) == expected
            assert list(db.check()) == []
        (place / "data.rango").unlink()


def places_of(place: Path, *texts: str) -> list[str]:
    """Files below `place` in which one of the texts is found."""
    return [
        name
        for name, data in folder_read(place).items()
        if any(text.encode() in data for text in texts)
    ]


def lies_as(place: Path) -> set[str]:
    """What is in the directory, segments left out."""
    return {
        file.relative_to(place).as_posix() for file in place.rglob("*") if "oplog/" not in str(file)
    }


def test_plain_becomes_encrypted_and_nothing_plain_is_left(tmp_path: Path) -> None:
    place = tmp_path / "db"
    expected = filled(place)
    (place / "oplog" / "0000000000000001-99.cut").write_text(CANARY)
    assert len(places_of(place, CANARY, OLD)) > 3
    seen: list[tuple[int, int]] = []
    done = rango.rekey(
        place, new_key=ONE, remove_old=True, progress=lambda *each: seen.append(each)
    )
    assert done["kept"] is None
    assert seen == [(n + 1, done["segments"] + 2) for n in range(done["segments"] + 2)]
    assert done["segments"] > 3
    assert places_of(place, CANARY, OLD) == []
    assert lies_as(place) == {"keys", "lock", "data.rango", "oplog"}
    assert_same(place, expected, key=ONE)
    with pytest.raises(KeyRejected):
        rango.open(place)
    assert places_of(place, CANARY, OLD) == []


def test_the_old_files_stay_a_whole_database_until_they_are_deleted(tmp_path: Path) -> None:
    place = tmp_path / "db"
    expected = filled(place, key=ONE)
    done = rango.rekey(place, key=ONE, new_key=TWO)
    kept = Path(done["kept"])
    assert kept == place / "replaced"
    assert_same(place, expected, key=TWO)
    assert_same(kept, expected, key=ONE)
    again = rango.rekey(place, key=TWO, decrypt=True)
    assert Path(again["kept"]) == place / "replaced-2"
    assert_same(place, expected)
    assert_same(place / "replaced-2", expected, key=TWO)


def test_a_new_root_key_leaves_no_key_of_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "db"
    expected = filled(place, key=ONE)
    with rango.open(place, key=ONE) as db:
        db.keys.add(key=TWO)
        old = db._handle.core.keyring
        root, verify_key, database_id = bytes(old._root or b""), old.verify_key, old.database_id
    old_keys = (place / "keys").read_bytes()
    old_segments = {name: data for name, data in folder_read(place).items() if "oplog" in name}
    rango.rekey(place, key=ONE, remove_old=True)  # the same secret, another root key
    with pytest.raises(KeyRejected):
        rango.open(place, key=TWO)
    with rango.open(place, key=ONE) as db:
        new = db._handle.core.keyring
        assert bytes(new._root or b"") != root
        assert new.verify_key != verify_key
        assert new.database_id == database_id
        assert [slot.number for slot in db.keys.list()] == [0]
    assert_same(place, expected, key=ONE)
    # neither the old keys nor a segment of the old log fit any more
    (place / "data.rango").unlink(missing_ok=True)
    name = next(iter(old_segments))
    kept = (place / name).read_bytes()
    (place / name).write_bytes(old_segments[name])
    with pytest.raises(LogCorrupted):
        rango.open(place, key=ONE)
    (place / name).write_bytes(kept)
    (place / "keys").write_bytes(old_keys)
    with pytest.raises(LogCorrupted):
        rango.open(place, key=ONE)


def test_ordinals_places_and_sizes_of_frames_stay(tmp_path: Path) -> None:
    place = tmp_path / "db"
    filled(place, key=ONE)
    with open_tiny(place, key=ONE) as db:
        log = db._handle.core.log
        ends = [header.predecessor_end for header in log.segments]
        bodies = [log.read_commit(ordinal) for ordinal in (1, 30, 60)]
    rango.rekey(place, key=ONE, new_key=TWO, remove_old=True)
    with open_tiny(place, key=TWO) as db:
        log = db._handle.core.log
        assert [header.predecessor_end for header in log.segments][: len(ends)] == ends
        assert [log.read_commit(ordinal) for ordinal in (1, 30, 60)] == bodies
        assert not any(header.features for header in log.segments)


def test_the_chains_are_linked_and_both_sides_sign(tmp_path: Path) -> None:
    place = tmp_path / "db"
    filled(place, key=ONE)
    with rango.open(place, key=ONE) as db:
        before = db._handle.core.keyring.verify_key
        assert db.keys.rekeys() == []
    done = rango.rekey(place, key=ONE, new_key=TWO)
    with rango.open(place / "replaced", key=ONE) as db:
        _segment, _offset, ordinal, chain = db._handle.core.store.appender.mark()
    rango.rekey(place, key=TWO, decrypt=True, remove_old=True)
    with rango.open(place) as db:
        first, second = db.keys.rekeys()
        assert (first["is_signed"], second["is_signed"]) == (True, True)
        assert first["ordinal"] == done["ordinal"] == ordinal
        assert bytes(first["old"]["verify_key"]) == before
        assert bytes(first["old"]["chain"]) == chain
        assert first["new"]["verify_key"] == second["old"]["verify_key"]
        assert [side["is_encrypted"] for side in (first["new"], second["new"])] == [True, False]
        core = db._handle.core
        forged = {**first, "ordinal": 7}
        assert not rekeying.link_is_valid(forged, core.keyring.database_id)
        assert "system.rekeys" not in db.list_collection_names()


def test_every_kind_of_secret(tmp_path: Path) -> None:
    place = tmp_path / "db"
    expected = filled(place)
    file = tmp_path / "raw.key"
    file.write_bytes(TWO)
    token = SoftwareToken(ONE)
    rango.rekey(place, new_passphrase="a phrase", remove_old=True)
    rango.rekey(place, passphrase="a phrase", new_keyfile=file, remove_old=True)
    rango.rekey(place, keyfile=file, new_token=token, remove_old=True)
    assert_same(place, expected, token=token)


def test_a_backup_goes_on_after_it(tmp_path: Path) -> None:
    place = tmp_path / "db"
    expected = filled(place)
    with rango.open(place) as db:
        db.backup(tmp_path / "backup")
    assert places_of(tmp_path / "backup", CANARY)
    rango.rekey(place, new_key=ONE, remove_old=True)
    with rango.open(place, key=ONE) as db:
        db.backup(tmp_path / "backup")
    assert places_of(tmp_path / "backup", CANARY, OLD) == []
    rango.restore(tmp_path / "backup", to=tmp_path / "copy", key=ONE)
    assert_same(tmp_path / "copy", expected, key=ONE)


def test_an_empty_database_too(tmp_path: Path) -> None:
    rango.open(tmp_path / "db").close()
    rango.rekey(tmp_path / "db", new_key=ONE)
    with rango.open(tmp_path / "db", key=ONE) as db:
        db["a"].insert_one({"_id": 1})
        assert list(db.check()) == []


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A small database that ONE opens."""
    with rango.open(tmp_path / "db", key=ONE) as db:
        db["a"].insert_one({"_id": 1})
    return tmp_path / "db"


def test_what_cannot_be_is_refused_and_nothing_changes(place: Path, tmp_path: Path) -> None:
    rango.open(tmp_path / "plain").close()
    before = folder_read(place)
    calls: list[tuple[type[Exception], Callable[[], Any]]] = [
        (KeyRejected, lambda: rango.rekey(place, new_key=TWO)),
        (KeyRejected, lambda: rango.rekey(place, key=TWO, new_key=ONE)),
        (KeyRejected, lambda: rango.rekey(tmp_path / "plain", decrypt=True)),
        (InvalidArgument, lambda: rango.rekey(tmp_path / "plain")),
        (InvalidArgument, lambda: rango.rekey(place, key=ONE, new_key=TWO, decrypt=True)),
        (InvalidArgument, lambda: rango.rekey(place, key=ONE, new_key=b"short")),
        (InvalidArgument, lambda: rango.rekey(place, key=ONE, remove_old=1)),  # type: ignore
        (NotADatabase, lambda: rango.rekey(tmp_path / "none", new_key=ONE)),
    ]
    for error, call in calls:
        with pytest.raises(error):
            call()
    assert {name: data for name, data in folder_read(place).items() if name != "lock"} == {
        name: data for name, data in before.items() if name != "lock"
    }
    assert not (tmp_path / "none").exists()


def test_it_is_refused_while_the_database_is_open(place: Path) -> None:
    with rango.open(place, key=ONE) as db:
        with pytest.raises(DatabaseBusy, match="close it"):
            rango.rekey(place, key=ONE, new_key=TWO)
        db["a"].insert_one({"_id": 2})
    rango.rekey(place, key=ONE, new_key=TWO)


def test_who_opens_it_meanwhile_is_told(place: Path) -> None:
    """A handle that comes in while files are sealed would write what is lost."""
    refused: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        for read_only in (False, True):
            with pytest.raises(DatabaseBusy) as caught:
                rango.open(place, key=ONE, read_only=read_only)
            refused.append(str(caught.value))

    rango.rekey(place, key=ONE, new_key=TWO, progress=meanwhile)
    assert len(refused) == 6
    assert all(f"open in process {os.getpid()}" in each for each in refused)
    with rango.open(place, key=TWO) as db:
        assert db["a"].count_documents({}) == 1


def test_no_space_changes_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = folder_disk(folder_read(place))
    monkeypatch.setattr(disk, "free_bytes", lambda _path: 1000)
    options = options_of(FOLDER, (None, ONE, None), vfs=PythonVfs(disk))
    before = disk_folder(disk)
    with pytest.raises(LowDisk, match="second copy"):
        rekeying.rekey(options, RawKey(TWO), removes=False, progress=None)
    with rango.open(FOLDER, key=ONE, vfs=PythonVfs(disk)) as db:
        assert db["a"].find_one(1) == {"_id": 1}
    assert disk_folder(disk).keys() == before.keys()


@pytest.mark.parametrize("at", [200, 400, 700])
def test_a_damaged_log_is_not_sealed_again(tmp_path: Path, at: int) -> None:
    place = tmp_path / "db"
    filled(place, key=ONE)
    (place / "keys").chmod(0o600)
    damaged = flipped(folder_read(place), "oplog/0000000000000001.rgo", at, 1)
    folder_write(damaged, place)
    with pytest.raises(LogCorrupted):
        rango.rekey(place, key=ONE, new_key=TWO)
    assert lies_as(place) == {"keys", "lock", "data.rango", "oplog"}
    rango.open(place, key=ONE).close()


class Stopped(Exception):
    """Stands for a crash."""


STEPS = ["build", "log_reseal", "settle", "give_order", "finish", "move_out", "move_in"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("removes", [True, False])
def test_an_interrupted_change_is_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, removes: bool
) -> None:
    place = tmp_path / "db"
    expected = filled(place)

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(rekeying, step, stop)
        with pytest.raises(Stopped):
            rango.rekey(place, new_key=ONE, remove_old=removes)
    is_new = step in ("finish", "move_out", "move_in")
    if is_new:
        with pytest.raises(ReadOnly, match="for writing"):
            rango.open(place, key=ONE, read_only=True)
        for call in (
            lambda: list(rango.read_log(place, key=ONE)),
            lambda: rango.salvage(place, to=tmp_path / "saved", key=ONE),
        ):
            with pytest.raises(ReadOnly, match="for writing"):
                call()
        with pytest.raises(KeyRejected):
            rango.open(place)  # the wrong secret finishes it, too
        assert bool(places_of(place, CANARY)) is not removes
        assert_same(place, expected, key=ONE)
    else:
        with rango.open(place, read_only=True) as db:
            assert content_of(db) == expected
        assert_same(place, expected)
    assert not (place / "rekey").exists()
    assert (place / "replaced").exists() is (is_new and not removes)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        '{"kept": 1, "removes": true}',
        '{"kept": "replaced"}',
        '{"kept": "../other", "removes": true}',
        '{"kept": "replaced/../..", "removes": true}',
    ],
)
def test_an_order_that_rango_did_not_write_is_not_obeyed(
    place: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    (place / "rekey").mkdir()
    (place / "rekey" / "cleared").write_text(text)
    before = folder_read(place)
    with pytest.raises(Corrupted, match="order of a change of keys"):
        rango.open(place, key=ONE)
    assert {**folder_read(place), "lock": b""} == {**before, "lock": b""}
    assert (tmp_path / "other" / "thesis.tex").exists()


@pytest.mark.parametrize("where", ["rekey", "rekey/oplog", "replaced", "replaced/oplog"])
def test_a_link_is_not_followed(place: Path, tmp_path: Path, where: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    (other / "cleared").write_text('{"kept": "replaced", "removes": true}')
    (place / where).parent.mkdir(exist_ok=True)
    (place / where).symlink_to(other)
    if where != "rekey":
        (place / "rekey").mkdir(exist_ok=True)
        shutil.copy(other / "cleared", place / "rekey" / "cleared")
    with pytest.raises(Corrupted, match="link"):
        rango.open(place, key=ONE)
    assert (other / "thesis.tex").exists()
    assert (place / "keys").exists()
