"""Bad input and a bad world, through the public API: a typed error, and nothing half written."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import errors
from rango._ext import layout
from rango._ext.vfs import PythonVfs
from rango.limits import DOCUMENT_SIZE_BYTES_MAX, NESTING_DEPTH_MAX
from tests.unit.memory_disk import MemoryDisk, failing


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    """A database with one collection, which is found whole and unchanged afterwards."""
    with rango.open(tmp_path / "db") as database:
        database["a"].create_index("u", unique=True)
        database["a"].insert_one({"_id": 1, "u": 1, "n": 5})
        before = (database.stats()["ordinal"], database["a"].find_many({}))
        yield database
        assert (database.stats()["ordinal"], database["a"].find_many({})) == before
        assert list(database.check()) == []


def nested(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(depth - 1):
        document = {"d": document}
    return document


class Strange:
    """A value that no codec knows."""


BAD_DOCUMENTS: list[tuple[str, Any, type[Exception], str]] = [
    ("too large", {"x": "x" * DOCUMENT_SIZE_BYTES_MAX}, errors.LimitExceeded, "16777216"),
    ("too deep", nested(NESTING_DEPTH_MAX + 1), errors.LimitExceeded, "100"),
    ("NUL in a key", {"a": {"b\0c": 1}}, errors.InvalidDocument, "NUL"),
    ("lone surrogate", {"a": [{"b": "\ud800"}]}, errors.InvalidDocument, r"a\[0\]\.b"),
    ("lone surrogate in a key", {"\udc80": 1}, errors.InvalidDocument, ""),
    ("unknown type", {"a": {"b": [1, Strange()]}}, errors.InvalidDocument, r"a\.b\[1\]"),
    ("a set", {"tags": {1, 2}}, errors.InvalidDocument, "tags"),
    ("key is no str", {"a": {1: 2}}, errors.InvalidDocument, ""),
    ("int too large", {"a": 1 << 63}, errors.InvalidDocument, "a"),
    ("reserved name", {"_rev": "x"}, errors.InvalidDocument, "_rev"),
    ("duplicate _id", {"_id": 1}, errors.DuplicateKey, ""),
    ("duplicate key", {"_id": 2, "u": 1}, errors.DuplicateKey, "u"),
    ("no document", [1, 2], errors.RangoError, ""),
    ("nothing", None, errors.RangoError, ""),
]


@pytest.mark.parametrize(("document", "error", "text"), [row[1:] for row in BAD_DOCUMENTS])
@pytest.mark.parametrize("door", ["insert_one", "insert_many", "transaction", "replace"])
def test_a_bad_document_is_refused_whole(
    db: rango.Database, document: Any, error: type[Exception], text: str, door: str
) -> None:
    collection = db["a"]
    if door == "replace" and isinstance(document, dict) and error is errors.DuplicateKey:
        pytest.skip("a replacement keeps its _id and may keep its unique key")
    with pytest.raises((error, errors.BulkWriteError)) as caught:
        if door == "insert_one":
            collection.insert_one(document)
        elif door == "insert_many":
            collection.insert_many([document])
        elif door == "replace":
            collection.replace_one({"_id": 1}, document)
        else:
            with db.transaction():
                collection.insert_one({"_id": "first", "u": "first"})
                collection.insert_one(document)
    assert isinstance(caught.value, errors.RangoError)
    assert re.search(text, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.find_many({"n": {"$near": 1}}), errors.InvalidFilter),
        (lambda c: c.find_many({"$where": "1"}), errors.InvalidFilter),
        (lambda c: c.find_many({"n": {"$in": 5}}), errors.InvalidFilter),
        (lambda c: c.find_many({"$or": []}), errors.InvalidFilter),
        (lambda c: c.find_many({"n": {"$gt": 1, "plain": 2}}), errors.InvalidFilter),
        (lambda c: c.find_many({"n": Strange()}), errors.RangoError),
        (lambda c: c.find_one({5: 1}), errors.RangoError),
        (lambda c: c.update_one({"_id": 1}, {"$push": {"n": 1}}), errors.InvalidUpdate),
        (lambda c: c.update_one({"_id": 1}, {"n": 1}), errors.InvalidUpdate),
        (lambda c: c.update_one({"_id": 1}, {}), errors.InvalidUpdate),
        (lambda c: c.update_one({"_id": 1}, {"$set": {"_id": 2}}), errors.InvalidUpdate),
        (lambda c: c.update_one({"_id": 1}, {"$inc": {"u": "x"}}), errors.InvalidUpdate),
        (lambda c: c.update_one({"_id": 1}, {"$set": {"n": Strange()}}), errors.RangoError),
        (lambda c: c.update_many({}, {"$set": {"n": 1, "n.x": 2}}), errors.InvalidUpdate),
        (lambda c: c.insert_many({"a": 1}), errors.RangoError),
        (lambda c: c.insert_many([]), errors.RangoError),
        (lambda c: c.find({}, skip=-1).to_list(), errors.RangoError),
        (lambda c: c.find({}, skip="1").to_list(), errors.RangoError),
        (lambda c: c.find({}, sort=[("n", 2)]).to_list(), errors.RangoError),
        (lambda c: c.find({}, {"a": 1, "b": 0}).to_list(), errors.RangoError),
        (lambda c: c.create_index(""), errors.RangoError),
        (lambda c: c.create_index("a\0b"), errors.RangoError),
        (lambda c: c.create_index(5), errors.RangoError),
        (lambda c: c.create_index("n", unique=True, name="x" * 300), errors.RangoError),
        (lambda c: c.drop_index("none"), errors.NotFound),
        (lambda c: c.rename(""), errors.RangoError),
        (lambda c: c.distinct(5), errors.RangoError),
    ],
)
def test_a_bad_call_is_refused_and_changes_nothing(
    db: rango.Database, call: Callable[[Any], Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        call(db["a"])


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, 5, None, "\ud800"])
def test_a_bad_collection_name(db: rango.Database, name: Any) -> None:
    with pytest.raises(errors.RangoError):
        db[name].insert_one({})


@pytest.mark.parametrize(
    "arguments",
    [
        {"passphrase": 5},
        {"passphrase": "a", "key": b"k" * 32},
        {"key": b"short"},
        {"keyfile": 7},
        {"durability": "perhaps"},
        {"read_only": "no"},
        {"create": 0},
        {"group_delay_ms": -1},
        {"group_delay_ms": True},
        {"cache_size": "1"},
        {"clock": 5},
        {"node_id": ""},
        {"node_id": "x" * 300},
    ],
)
def test_bad_arguments_of_open_make_nothing(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(errors.RangoError):
        rango.open(tmp_path / "db", **arguments)
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize("path", ["", "a\0b", 5, b"bytes", None])
def test_bad_paths(path: Any) -> None:
    with pytest.raises(errors.RangoError):
        rango.open(path)


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(errors.RangoError):
            rango.open(path)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(errors.NotADatabase):
        rango.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_no_database_where_none_may_be_made(tmp_path: Path) -> None:
    for arguments in ({"create": False}, {"read_only": True}):
        with pytest.raises(errors.NotADatabase):
            rango.open(tmp_path / "db", **arguments)
    assert not (tmp_path / "db").exists()


def made(folder: Path, **arguments: Any) -> Path:
    """A database of three documents, checkpointed."""
    with rango.open(folder, **arguments) as database:
        database["a"].insert_many([{"_id": n} for n in range(3)])
        database.checkpoint()
    return folder


@pytest.mark.parametrize("name", ["keys", "oplog", "both"])
def test_files_that_are_missing(tmp_path: Path, name: str) -> None:
    path = made(tmp_path / "db", passphrase="right")
    if name in ("keys", "both"):
        (path / "keys").unlink()
    if name in ("oplog", "both"):
        shutil.rmtree(path / "oplog")
    before = sorted(str(each) for each in path.rglob("*"))
    with pytest.raises((errors.NotADatabase, errors.Corrupted)):
        rango.open(path, passphrase="right")
    assert sorted(str(each) for each in path.rglob("*")) == before


def test_the_wrong_secret_or_none(tmp_path: Path) -> None:
    path = made(tmp_path / "db", passphrase="right")
    for arguments in ({"passphrase": "wrong"}, {"key": b"k" * 32}, {}):
        with pytest.raises(errors.KeyRejected):
            rango.open(path, **arguments)
    plain = made(tmp_path / "plain")
    with pytest.raises(errors.KeyRejected):
        rango.open(plain, passphrase="x")


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("keys", layout.KEYS_VERSION),
        ("keys", layout.KEYS_FEATURES),
        (f"oplog/{1:016d}.rgo", layout.SEGMENT_VERSION),
        (f"oplog/{1:016d}.rgo", layout.SEGMENT_FEATURES),
    ],
)
def test_a_newer_format_is_never_taken_for_this_one(tmp_path: Path, name: str, offset: int) -> None:
    path = made(tmp_path / "db")
    data = bytearray((path / name).read_bytes())
    places = [offset, offset + layout.KEYS_COPY_SIZE] if name == "keys" else [offset]
    for place in places:
        data[place] = 9
    (path / name).write_bytes(data)
    with pytest.raises((errors.FormatTooNew, errors.Corrupted)):
        rango.open(path)


def as_nobody(work: Callable[[], None]) -> None:
    """Run in a child without root's rights; its assertion must hold."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setegid(65534)
            os.seteuid(65534)
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its rights up and check both")
def test_no_permission(tmp_path: Path) -> None:
    path = made(tmp_path / "db")
    os.chmod(tmp_path, 0o755)
    for parent in (tmp_path.parent, tmp_path.parent.parent):
        os.chmod(parent, 0o755)

    def refused() -> None:
        for target in (path, tmp_path / "new"):
            try:
                rango.open(target)
            except errors.RangoError as error:
                assert "permission" in str(error) or "owner" in str(error)
            else:
                raise AssertionError("it was opened")

    as_nobody(refused)
    with rango.open(path) as database:
        assert database["a"].count_documents({}) == 3


def test_no_space_reads_go_on_and_writes_work_again(tmp_path: Path) -> None:
    disk = MemoryDisk()
    database = rango.open("/db", vfs=PythonVfs(disk))
    database["a"].create_index("n")
    database["a"].insert_many([{"_id": n, "n": n} for n in range(100)])
    disk.capacity = sum(len(file.data) for file in disk.names.values())
    written = 100
    with pytest.raises(errors.LowDisk):
        for n in range(100, 4000):
            database["a"].insert_one({"_id": n, "n": n, "text": "x" * 3000})
            written += 1
    for _ in range(3):
        assert database["a"].count_documents({"n": {"$gte": 0}}) == written
        with pytest.raises(errors.LowDisk):
            database["a"].insert_one({"_id": "big", "text": "x" * 1_000_000})
        with pytest.raises(errors.LowDisk):
            database.checkpoint()
    disk.capacity = 1 << 40
    database["a"].insert_one({"_id": "big", "text": "x" * 1_000_000})
    database.checkpoint()
    assert list(database.check()) == []
    database.close()
    with rango.open("/db", vfs=PythonVfs(disk)) as again:
        assert again["a"].count_documents({}) == written + 1
        assert list(again.check()) == []


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: a real short write, then EFBIG."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            database = rango.open(tmp_path / "db")
            database["a"].insert_one({"_id": 0})
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limit[1]))
            written = 1
            try:
                while True:
                    database["a"].insert_one({"_id": written, "text": "x" * 20_000})
                    written += 1
            except (errors.LowDisk, errors.IoFailed):
                pass
            assert database["a"].count_documents({}) == written > 5
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            with contextlib.suppress(errors.IoFailed):
                database.close()
            with rango.open(tmp_path / "db") as again:
                assert again["a"].count_documents({}) >= written
                again["a"].insert_one({"_id": "more", "text": "x" * 500_000})
                assert list(again.check()) == []
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_disk_that_is_mounted_read_only() -> None:
    disk = MemoryDisk()
    with rango.open("/db", vfs=PythonVfs(disk)) as database:
        database["a"].insert_many([{"_id": n} for n in range(5)])
    for operation in ("write", "create", "truncate", "flush", "rename", "remove"):
        disk.fault = failing(operation, errno.EROFS)
        with rango.open("/db", vfs=PythonVfs(disk), read_only=True) as database:
            assert database["a"].count_documents({}) == 5
            with pytest.raises(errors.ReadOnly):
                database["a"].insert_one({})
    disk.fault = lambda _operation, _path, _size: errno.EROFS
    with pytest.raises(errors.RangoError):
        rango.open("/db", vfs=PythonVfs(disk))
    with pytest.raises(errors.RangoError):
        rango.open("/new", vfs=PythonVfs(disk))
    disk.fault = None
    with rango.open("/db", vfs=PythonVfs(disk)) as database:
        assert database["a"].count_documents({}) == 5


@pytest.mark.parametrize("answer", ["now", -5, 2**70, None, 1.5])
def test_a_clock_that_returns_nonsense_is_refused_and_nothing_is_written(
    tmp_path: Path, answer: Any
) -> None:
    answers: list[Any] = [1_700_000_000_000]
    with rango.open(tmp_path / "db", clock=lambda: answers[-1]) as database:
        database["a"].insert_one({"_id": 1})
        answers.append(answer)
        with pytest.raises(errors.InvalidArgument, match="clock"):
            database["a"].insert_one({"_id": 2})
        answers.pop()
        assert database["a"].find_many({}) == [{"_id": 1}]
        database["a"].insert_one({"_id": 3})
        assert list(database.check()) == []
