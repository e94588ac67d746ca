"""With a secret, nothing that a user wrote can be read from the files.

Method      canaries (text and bytes that occur nowhere by chance) are planted as values, field
            names, collection names, index names and paths, `_id`s, node id and embeddings; after
            each step of a database's life every byte of every file is searched, and every byte
            that was ever handed to the disk. The same search finds them all in a plain database.
Visible     on purpose: how many files there are, their sizes and times; the database's id, the
            public half of the signing key, the cost and salt of a passphrase; ids, sizes and
            ordinals of segments and frames; which units of the data file change. Who has the
            database open sees its names: stats() lists collections, indexes and the node id, and
            errors name the field or key that they are about.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.vfs import PythonVfs
from rango.database import Database
from rango.errors import Corrupted, InvalidArgument, KeyRejected
from tests.engine_case import (
    FOLDER,
    KEY,
    OTHER_KEY,
    ROOT,
    disk_folder,
    flipped,
    folder_disk,
    folder_read,
    folder_write,
    line_of,
    open_folder,
    open_tiny,
    present,
    python_start,
)
from tests.unit.memory_disk import MemoryDisk

PASSPHRASE = "canary-passphrase correct horse"
NODE = "canary-node-7"
COLLECTION = "canary_collection"
INDEX = "canary_index"
FIELD = "canary_field"
NAMES = (NODE, COLLECTION, INDEX, FIELD, "canary_path", "canary_renamed")
EMBEDDING = struct.pack("<16f", *(0.123456 + number / 7 for number in range(16)))
NUMBER = 0x5CA1AB1ECA11AB1E & (1 << 63) - 1


def canary(number: int) -> str:
    """A value that names itself; its number keeps the documents apart."""
    return f"canary-value-{number:06d}"


PATTERN = re.compile(
    rb"canary|"
    + b"|".join(re.escape(each) for each in (EMBEDDING, struct.pack("<q", NUMBER), KEY, b"yranac"))
)


def found_in(data: bytes) -> bytes | None:
    """The first canary in these bytes."""
    match = PATTERN.search(data)
    return None if match is None else match[0]


def leaks(path: Path) -> list[str]:
    """Every file below the directory that shows a canary, in its name or content."""
    return [
        f"{name}: {found!r}"
        for name, data in folder_read(path).items()
        if (found := found_in(data) or found_in(name.encode()))
    ]


@pytest.fixture(params=["passphrase", "key", "keyfile"])
def secret(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Each kind of secret, as rango.open takes it."""
    if request.param == "passphrase":
        return {"passphrase": PASSPHRASE}
    if request.param == "key":
        return {"key": KEY}
    keyfile = tmp_path / "key.file"
    keyfile.write_bytes(KEY)
    return {"keyfile": keyfile}


def plant(db: Database, start: int) -> None:
    """Documents with every kind of canary."""
    documents: list[dict[str, Any]] = [
        {
            "_id": f"canary-id-{start + number}",
            FIELD: canary(start + number),
            "canary_path": {"below": [canary(start + number), number]},
            "embedding": EMBEDDING,
            "number": NUMBER,
            "n": number,
        }
        for number in range(120)
    ]
    documents.append({"_id": f"canary-large-{start}", FIELD: canary(start) * 9_000})
    db[COLLECTION].insert_many(documents)


def life(path: Path, secret: dict[str, Any]) -> Iterator[str]:
    """A database's life, one step at a time; each step's name is yielded when it is done."""
    db = open_tiny(path, node_id=NODE, durability="memory", **secret)
    plant(db, 1_000)
    yield "inserts"
    db[COLLECTION].create_index("canary_path.below", name=INDEX)
    db[COLLECTION].create_index(FIELD)
    yield "index builds"
    db[COLLECTION].update_many({"n": {"$lt": 40}}, {"$set": {FIELD: canary(7), "canary_new": 1}})
    db[COLLECTION].delete_many({"n": {"$gte": 100}})
    yield "updates and deletes"
    db.checkpoint()
    yield "a checkpoint"
    plant(db, 3_000)
    db.rename_collection(COLLECTION, "canary_renamed")
    db.rename_collection("canary_renamed", COLLECTION)
    db.checkpoint()
    yield "a second checkpoint"
    db.close()
    yield "close"
    db = open_tiny(path, **secret)
    yield "reopen"
    db.close()
    (path / "data.rango").unlink()
    db = open_tiny(path, **secret)
    db.checkpoint()
    assert present(db[COLLECTION].find_one({"_id": "canary-id-3000"}))[FIELD] == canary(3_000)
    db.close()
    yield "a rebuild of the data file"
    rango.salvage(path, to=path.with_name("salvaged"), **secret)
    yield "salvage"


def test_no_file_shows_what_was_written(
    tmp_path: Path, secret: dict[str, Any], count_cases: Callable[[str, int], None]
) -> None:
    """Somebody copies the files at any moment of the database's life. Defends I-6 and section 4."""
    for step in life(tmp_path / "db", secret):
        found = leaks(tmp_path / "db")
        if (tmp_path / "salvaged").exists():
            found += leaks(tmp_path / "salvaged")
        assert not found, f"after {step}: {found}"
        count_cases("secrecy: searches of a whole directory", 1)
    assert (tmp_path / "salvaged" / "keys").exists()


def test_the_search_finds_every_canary_in_a_plain_database(tmp_path: Path) -> None:
    """The twin of the test above without a secret: were it silent too, it would prove nothing."""
    files: dict[str, bytes] = {}
    for step in life(tmp_path / "db", {}):
        files = folder_read(tmp_path / "db")
        assert any(found_in(data) for name, data in files.items() if name.endswith(".rgo")), step
        if step == "a second checkpoint":
            assert found_in(files["data.rango"])
    log = b"".join(data for name, data in files.items() if name.endswith(".rgo"))
    planted = [name.encode() for name in NAMES]
    planted += [canary(1_000).encode(), b"canary-id-1000", EMBEDDING, struct.pack("<q", NUMBER)]
    for each in planted:
        assert each in log, each


class RecordingDisk(MemoryDisk):
    """Remembers every byte that was ever written and every name that was ever used."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, fd: int, data: bytes, offset: int) -> int:
        self.written.append(bytes(data))
        return super().write(fd, data, offset)

    def open(self, path: str, flags: int) -> int:
        self.written.append(path.encode())
        return super().open(path, flags)


@pytest.mark.parametrize("is_encrypted", [True, False], ids=["key", "plain"])
def test_nothing_that_is_handed_to_the_disk_shows_what_was_written(is_encrypted: bool) -> None:
    """Temporary files live too short for a search of the directory (`*.new`, what a checkpoint
    writes and drops, sectors that a later write covers), so here every write is searched."""
    disk = RecordingDisk()
    secret = {"key": KEY} if is_encrypted else {}
    vfs = PythonVfs(disk)
    for round_number in range(3):
        db = open_tiny(FOLDER, vfs=vfs, node_id=NODE, **secret)
        plant(db, round_number * 1_000)
        db[COLLECTION].create_index(FIELD, name=INDEX)
        db[COLLECTION].update_many({"n": {"$lt": 30}}, {"$inc": {"n": 1}})
        db.checkpoint()
        assert db.compact("all")["packed"]
        db.close()
    assert {"create", "rename"} <= {call[0] for call in disk.calls}
    shown = sum(found_in(piece) is not None for piece in disk.written)
    assert (shown == 0) if is_encrypted else (shown > 10)


CRASHER = """
import sys, rango
from tests.security.test_secrecy import COLLECTION, FIELD, canary, plant
from tests.engine_case import open_tiny
db = open_tiny(sys.argv[1], node_id="canary-node-7", key=bytes(range(32)))
plant(db, 1000)
db[COLLECTION].create_index(FIELD)
print("ready", flush=True)
number = 0
while True:
    number += 1
    with db.transaction():
        db[COLLECTION].update_one({"n": number % 100}, {"$set": {FIELD: canary(number)}})
        db[COLLECTION].insert_one({"_id": f"canary-loop-{number}", FIELD: canary(number) * 500})
"""


def test_a_killed_process_leaves_nothing_readable(tmp_path: Path) -> None:
    """SIGKILL in the middle of commits and checkpoints, then recovery. Defends I-6 and I-11."""
    path = tmp_path / "db"
    process = python_start(CRASHER, path)
    assert line_of(process) == "ready"
    while not (path / "oplog" / "0000000000000004.rgo").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not leaks(path)
    with open_tiny(path, key=KEY) as db:
        assert db[COLLECTION].count_documents({}) >= 120
        assert not leaks(path)
    assert not leaks(path)


def test_a_torn_tail_that_is_kept_aside_stays_sealed(tmp_path: Path) -> None:
    """Recovery copies a torn frame to a `.cut` file: sealed bytes, nothing opened. Defends I-11."""
    path = tmp_path / "db"
    with open_tiny(path, key=KEY, durability="memory", overlay_entries_max=10_000) as db:
        plant(db, 1_000)
        folder = folder_read(path)
    name = max(name for name in folder if name.endswith(".rgo"))
    end = len(folder[name].rstrip(b"\0"))
    torn = folder[name][: end - 40] + bytes(len(folder[name]) - end + 40)
    folder_write({**folder, name: torn}, tmp_path / "torn")
    with open_tiny(tmp_path / "torn", key=KEY) as db:
        assert db.stats()["findings"]
    assert list((tmp_path / "torn" / "oplog").glob("*.cut"))
    assert not leaks(tmp_path / "torn")


def everything_said(error: BaseException) -> str:
    """All text that a traceback would print, without source lines (which name this test)."""
    said = []
    at: BaseException | None = error
    while at is not None:
        said += [str(at), repr(at), *getattr(at, "__notes__", [])]
        at = at.__cause__ or at.__context__
    said += traceback.format_exception_only(error)
    return "\n".join(said)


def test_a_refused_secret_says_nothing(tmp_path: Path, secret: dict[str, Any]) -> None:
    """Wrong secrets of every kind: KeyRejected, and no text from the database or the secret."""
    path = tmp_path / "db"
    with rango.open(path, node_id=NODE, **secret) as db:
        plant(db, 1_000)
    before = folder_read(path)
    wrong: list[dict[str, Any]] = [
        {"passphrase": "canary-wrong"},
        {"key": OTHER_KEY},
        {},
    ]
    for attempt in wrong:
        for door in (
            rango.open,
            lambda where, **with_: rango.salvage(where, to=path / "x", **with_),
        ):
            with pytest.raises(KeyRejected) as caught:
                door(path, **attempt)
            assert found_in(everything_said(caught.value).encode()) is None
    assert {**before, "lock": b""} == {**folder_read(path), "lock": b""}


def test_a_secret_that_cannot_be_one_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    """A key of 31 bytes, a passphrase as bytes, a file with something else in it."""
    keyfile = tmp_path / "key.file"
    keyfile.write_bytes(b"canary" * 9)
    for attempt in (
        {"key": b"canary"},
        {"passphrase": b"canary"},
        {"keyfile": keyfile},
        {"key": KEY, "passphrase": "canary"},
    ):
        with pytest.raises(InvalidArgument) as caught:
            rango.open(tmp_path / "db", **attempt)
        assert found_in(everything_said(caught.value).encode()) is None


def test_objects_do_not_print_what_they_guard(tmp_path: Path, secret: dict[str, Any]) -> None:
    """repr() in logs and debuggers: of the database, cursors, options, keys, and stats()."""
    path = tmp_path / "db"
    with rango.open(path, node_id="node-a", **secret) as db:
        db["things"].insert_one({"_id": 1, FIELD: canary(1), "embedding": EMBEDDING})
        db["things"].create_index("n")
        core = db._handle.core
        shown: list[object] = [db, db["things"], db["things"].find({}), db.transaction(), core]
        shown += [core.options, core.options.secret, core.keyring, core.keyring.page_key(1)]
        shown += [core.view(), core.begin(), core.keyring.provider, db.stats(), core.log]
        for each in shown:
            for text in (repr(each), str(each)):
                assert found_in(text.encode()) is None, text
                assert KEY.hex() not in text
        db.check()


def test_reports_of_damage_do_not_quote_what_is_damaged() -> None:
    """Errors and findings are pasted into tickets: they name places, not contents. Defends I-4."""
    disk = folder_disk({})
    disk.folders.clear()
    with open_tiny(FOLDER, vfs=PythonVfs(disk), key=KEY) as db:
        plant(db, 1_000)
        db.checkpoint()
    folder = disk_folder(disk)
    reports = 0
    for name, data in folder.items():
        for at in range(60, len(data), max(1, len(data) // 40)):
            try:
                with open_folder(flipped(folder, name, at, 0x40), key=KEY) as db:
                    said = [str(finding) for finding in db.check()] + db.stats()["findings"]
            except (Corrupted, KeyRejected) as error:
                said = [everything_said(error)]
            reports += len(said)
            assert not [text for text in said if found_in(text.replace(NODE, "").encode())]
    assert reports > 40


def test_files_and_directories_are_for_their_owner_only(tmp_path: Path) -> None:
    """Modes 0600 and 0700 whatever the umask says; O_NOFOLLOW keeps a planted link from being
    written through (section 4)."""
    before = os.umask(0)
    try:
        path = tmp_path / "db"
        with open_tiny(path, key=KEY) as db:
            plant(db, 1_000)
            db.checkpoint()
    finally:
        os.umask(before)
    for each in (path, *path.rglob("*")):
        assert each.stat().st_mode & 0o777 == (0o700 if each.is_dir() else 0o600), each
    target = tmp_path / "elsewhere"
    shutil.move(path / "data.rango", target)
    content = target.read_bytes()
    (path / "data.rango").symlink_to(target)
    with pytest.raises((rango.errors.RangoError, OSError)) as caught:
        rango.open(path, key=KEY).close()
    assert "data.rango" in everything_said(caught.value)
    assert target.read_bytes() == content


def test_the_sources_of_this_suite_exist() -> None:
    """The crash test imports this module in a child: it must be found from the project's root."""
    assert (ROOT / "tests" / "security" / "test_secrecy.py").exists()
