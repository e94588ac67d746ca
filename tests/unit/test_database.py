"""Opening, closing, and what one can ask a database as a whole."""

from __future__ import annotations

import gc
import itertools
import random
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

import rango
from rango import arguments as arguments_module
from rango import errors
from rango.database import Database
from tests.corpus import ROOT
from tests.unit.api_case import START_MS, db, engine_database, ticking  # noqa: F401 - the fixture

KEY = bytes(range(32))


def child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def test_import_loads_little() -> None:
    code = "import sys, rango; print(sorted({'bson', 'asyncio', 'nacl', 'lz4'} & set(sys.modules)))"
    assert child(code).stdout.strip() == "[]"


def test_a_first_open_loads_neither_openssl_nor_dataclasses(tmp_path: Path) -> None:
    """They cost tens of milliseconds, and nothing of an open, a write and a read needs them."""
    code = (
        "import sys, rango\n"
        f"with rango.open({str(tmp_path / 'db')!r}, key=bytes(32)) as db:\n"
        "    db['notes'].insert_one({'_id': 1})\n"
        "    db['notes'].update_one({'_id': 1}, {'$set': {'a': 1}})\n"
        "    assert list(db['notes'].find_many({'a': 1})) == [{'_id': 1, 'a': 1}]\n"
        "dear = {'_hashlib', 'hmac', 'dataclasses', 'inspect', 'pathlib', 'asyncio', 'json'}\n"
        "print(sorted(dear & set(sys.modules)))"
    )
    assert child(code).stdout.strip() == "[]"


def test_public_names_are_there() -> None:
    for name in rango.__all__:
        assert getattr(rango, name) is not None
    assert set(rango.__all__) <= set(dir(rango))
    with pytest.raises(AttributeError, match="nothing"):
        _ = rango.nothing


@pytest.mark.parametrize(
    "secret",
    [{}, {"key": KEY}, {"passphrase": "correct horse"}],
    ids=["plain", "key", "passphrase"],
)
def test_open_write_reopen(tmp_path: Path, secret: dict[str, Any]) -> None:
    path = tmp_path / "db"
    with rango.open(path, **secret) as database:
        assert database.path == str(path)
        made = database["a"].insert_one({"x": 1}).inserted_id
        database["a"].create_index("x")
        node_id = database.node_id
        assert "closed" not in repr(database)
    assert "closed" in repr(database)
    with rango.open(str(path), **secret) as database:
        assert database.node_id == node_id
        assert database["a"].find_one(made) == {"_id": made, "x": 1}
        assert [each["name"] for each in database["a"].list_indexes()] == ["_id_", "x_1"]
        assert list(database.check()) == []


def test_connect_is_open(tmp_path: Path) -> None:
    with rango.connect(tmp_path / "db", "my-node", durability="memory") as database:
        assert database.node_id == "my-node"
        database["a"].insert_one({"_id": 1})
        found = database["a"].find_one(1, meta=True)
        assert found is not None
        assert found["_source_node"] == "my-node"


def test_the_wrong_secret_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "db"
    rango.open(path, key=KEY).close()
    for secret in ({}, {"key": bytes(32)}, {"passphrase": "x"}):
        with pytest.raises(errors.KeyRejected):
            rango.open(path, **secret)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"durability": "always"}, "durability"),
        ({"group_delay_ms": -1}, "group_delay_ms"),
        ({"group_delay_ms": "5"}, "group_delay_ms"),
        ({"group_delay_ms": True}, "group_delay_ms"),
        ({"cache_size": -1}, "cache_size"),
        ({"cache_size": 1.5}, "cache_size"),
        ({"clock": 5}, "clock"),
        ({"random": "x"}, "random"),
        ({"ids": []}, "ids"),
        ({"node_id": 5}, "node_id"),
        ({"key": b"short"}, "key"),
        ({"key": KEY, "passphrase": "x"}, "passphrase"),
    ],
)
def test_arguments_are_checked(tmp_path: Path, options: dict[str, Any], word: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=word):
        rango.open(tmp_path / "db", **options)
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize("path", [5, None, "", "a\0b", b"bytes"])
def test_paths_are_checked(path: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="path"):
        rango.open(path)


def test_create_false_wants_a_database(tmp_path: Path) -> None:
    with pytest.raises(errors.NotADatabase):
        rango.open(tmp_path / "db", create=False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.NotADatabase):
        rango.open(tmp_path / "file")


def test_clock_random_and_ids_are_injected(tmp_path: Path) -> None:
    with rango.open(tmp_path / "a", clock=lambda: START_MS, random=bytes) as one:
        made = one["a"].insert_one({}).inserted_id
        assert made == uuid.UUID(int=(START_MS << 80) | (7 << 76) | (2 << 62))
        assert one.node_id == "node-00000000"
        found = one["a"].find_one(made, meta=True) or {}
        assert found["_rev"].startswith(f"{START_MS}-")
    numbers = iter(range(10, 20))
    with rango.open(tmp_path / "b", ids=lambda: next(numbers)) as two:
        assert two["a"].insert_many([{}, {"_id": "x"}, {}]).inserted_ids == [10, "x", 11]


def run_with_everything_injected(path: Path) -> tuple[str, dict[str, bytes]]:
    """The digest and the files of a run whose clock, randomness and ids are the same each time."""
    numbers = itertools.count(1)
    options: dict[str, Any] = {
        "key": KEY,
        "clock": ticking(),
        "random": random.Random(12).randbytes,
        "ids": lambda: next(numbers),
    }
    with rango.open(path, **options) as database:
        things = database["things"]
        things.create_index("n")
        things.insert_many([{"n": n % 7, "text": "x" * n} for n in range(300)])
        things.update_many({"n": 3}, {"$set": {"text": "y"}})
        with database.transaction():
            things.delete_one({"n": 4})
            database["others"].insert_one({"n": None})
        database.checkpoint()
        things.update_one({"n": 5}, {"$inc": {"n": 1}})
    with rango.open(path, **options) as database:
        digest = database._handle.core.digest()
    names = sorted(each for each in path.rglob("*") if each.is_file() and each.name != "lock")
    return digest, {str(each.relative_to(path)): each.read_bytes() for each in names}


def test_a_run_with_injected_sources_is_repeatable(tmp_path: Path) -> None:
    """I-12: nothing but what open() was given tells the time, draws randomness or makes ids."""
    first, files = run_with_everything_injected(tmp_path / "one")
    second, others = run_with_everything_injected(tmp_path / "two")
    assert first == second
    assert files.keys() == others.keys()
    assert [name for name in files if files[name] != others[name]] == []


def test_read_only(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with rango.open(path) as database:
        database["a"].insert_one({"_id": 1})
    with rango.open(path, read_only=True) as database:
        assert database["a"].find_one(1) == {"_id": 1}
        for call in (
            lambda: database["a"].insert_one({"_id": 2}),
            lambda: database["a"].delete_many({}),
            lambda: database["a"].create_index("x"),
            database["a"].drop,
            database.checkpoint,
        ):
            with pytest.raises(errors.ReadOnly):
                call()


def test_two_handles_share_the_core(tmp_path: Path) -> None:
    first, second = engine_database(tmp_path / "db"), engine_database(tmp_path / "db")
    first["a"].insert_one({"_id": 1})
    assert second["a"].find_one(1) == {"_id": 1}
    first.close()
    with pytest.raises(errors.DatabaseClosed):
        first["a"].find_one(1)
    assert second["a"].find_one(1) == {"_id": 1}
    second.close()


def test_closed_handles_say_so(db: Database) -> None:  # noqa: F811
    collection = db["a"]
    collection.insert_one({"_id": 1})
    db.close()
    db.close()
    assert db.is_closed
    for call in (
        lambda: collection.find_one(1),
        lambda: collection.find_one({"a": 1}),
        lambda: collection.insert_one({}),
        lambda: collection.update_one({}, {"$set": {"a": 1}}),
        lambda: collection.count_documents({}),
        lambda: collection.create_index("a"),
        db.list_collection_names,
        db.stats,
        db.flush,
        db.checkpoint,
        lambda: db.transaction().__enter__(),
        lambda: db.node_id,
    ):
        with pytest.raises(errors.DatabaseClosed):
            call()


def test_a_handle_that_is_dropped_is_released(tmp_path: Path) -> None:
    database = engine_database(tmp_path / "db")
    collection = database["a"]
    del database
    gc.collect()
    collection.insert_one({"_id": 1})  # a collection keeps its database open
    del collection
    gc.collect()
    with rango.open(tmp_path / "db", durability="commit") as database:  # no core with "memory" left
        assert database["a"].find_one(1) == {"_id": 1}


def test_an_unclosed_handle_is_closed_at_exit(tmp_path: Path) -> None:
    code = (
        "import sys, rango\n"
        "db = rango.open(sys.argv[1], durability='memory')\n"
        "db['a'].insert_many([{'_id': i} for i in range(10)])\n"
        "keep = db['a'].find(); next(keep)\n"
    )
    done = child(code, str(tmp_path / "db"))
    assert (done.returncode, done.stderr) == (0, "")
    with rango.open(tmp_path / "db") as database:
        assert database["a"].count_documents({}) == 10


def test_another_process_reads_and_writes_the_same_database(tmp_path: Path) -> None:
    code = (
        "import sys, rango\n"
        "with rango.open(sys.argv[1]) as db:\n"
        "    print(db['a'].find_one(1))\n"
        "    db['a'].update_one({'_id': 1}, {'$set': {'seen': True}})\n"
        "    db['b'].insert_one({'_id': 2})\n"
    )
    with rango.open(tmp_path / "db") as mine:
        mine["a"].insert_one({"_id": 1})
        assert child(code, str(tmp_path / "db")).stdout.strip() == "{'_id': 1}"
        assert mine["a"].find_one(1) == {"_id": 1, "seen": True}
        assert mine.list_collection_names() == ["a", "b"]
        assert list(mine.check()) == []


def test_a_forked_child_opens_anew(tmp_path: Path) -> None:
    code = (
        "import os, sys, rango\n"
        "db = rango.open(sys.argv[1])\n"
        "db['a'].insert_one({'_id': 1})\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    for call in (lambda: db['a'].find_one(1), lambda: db['a'].insert_one({'_id': 2})):\n"
        "        try:\n"
        "            call()\n"
        "        except rango.errors.ForkedHandle:\n"
        "            print('forked', flush=True)\n"
        "    sys.exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "db['a'].insert_one({'_id': 3})\n"
        "print(db['a'].count_documents({}))\n"
        "db.close()\n"
    )
    done = child(code, str(tmp_path / "db"))
    assert (done.stdout.split(), done.stderr) == (["forked", "forked", "2"], "")


def test_default_ids_work_after_a_fork() -> None:
    arguments_module._default_ids_reset()
    assert arguments_module._default_ids().version == 7


def test_collections_of_a_database(db: Database) -> None:  # noqa: F811
    assert db["a"] is db["a"]
    assert db.collection("a") is db["a"]
    assert db.list_collection_names() == []
    db["b"].insert_one({})
    db["a"].create_index("x")
    assert db.list_collection_names() == ["a", "b"]
    db.rename_collection("b", "c")
    db.drop_collection("a")
    db.drop_collection(db["none"])
    assert db.list_collection_names() == ["c"]
    with pytest.raises(errors.NotFound):
        db.rename_collection("b", "d")


@pytest.mark.parametrize("name", ["", "a\0b", "system.users", "a$b", "é" * 128, "\ud800"], ids=repr)
def test_collection_names_refused(db: Database, name: str) -> None:  # noqa: F811
    with pytest.raises(errors.InvalidName):
        _ = db[name]


@pytest.mark.parametrize("name", ["a.b", "é" * 127, " ", "systemx", "..", "a/b"])
def test_collection_names_taken(db: Database, name: str) -> None:  # noqa: F811
    db[name].insert_one({"_id": 1})
    assert db.list_collection_names() == [name]


@pytest.mark.parametrize("name", [5, None, ["a"], b"a"])
def test_collection_names_are_text(db: Database, name: Any) -> None:  # noqa: F811
    with pytest.raises(errors.InvalidArgument):
        _ = db[name]


def test_stats(db: Database) -> None:  # noqa: F811
    db["a"].insert_many([{"_id": i} for i in range(3)])
    db["a"].update_one({"_id": 1}, {"$set": {"x": 1}})
    db["a"].delete_one({"_id": 2})
    db["a"].find_many({"x": 1})
    db["a"].create_index("x")
    with db.transaction():
        db["b"].insert_one({"_id": 1})
    stats = db.stats()
    assert stats["collections"] == {
        "a": {"documents": 2, "indexes": ["x_1"]},
        "b": {"documents": 1, "indexes": []},
    }
    assert stats["operations"] == {
        "inserts": 4,
        "updates": 1,
        "deletes": 1,
        "queries": 1,
        "transactions": 1,
        "transactions_aborted": 0,
        "conflicts": 0,
    }
    assert stats["node_id"] == db.node_id == "node-a"


def test_flush_checkpoint_and_check(tmp_path: Path) -> None:
    with engine_database(tmp_path / "db", clock=ticking()) as database:
        database["a"].insert_many([{"_id": i, "x": "text " * i} for i in range(200)])
        database.flush()
        assert database.stats()["durable"] == database.stats()["ordinal"]
        database.checkpoint()
        assert list(database.check()) == []
        assert database["a"].count_documents({}) == 200


def test_salvage_writes_a_new_database(tmp_path: Path) -> None:
    path, target = tmp_path / "db", tmp_path / "new"
    with rango.open(path, key=KEY) as database:
        database["a"].insert_many([{"_id": i} for i in range(10)])
        assert isinstance(database.salvage(tmp_path / "live"), dict)
    assert isinstance(rango.salvage(path, to=target, key=KEY), dict)
    for copy in (target, tmp_path / "live"):
        with rango.open(copy, key=KEY) as database:
            assert database["a"].count_documents({}) == 10
    with pytest.raises(errors.RangoError):
        rango.salvage(path, to=target, key=KEY)


def test_an_id_source_that_makes_arrays_is_refused(tmp_path: Path) -> None:
    """An array cannot be an `_id`, whoever makes it."""
    with rango.open(tmp_path / "db", ids=lambda: [1]) as database:
        with pytest.raises(errors.InvalidDocument):
            database["a"].insert_one({"x": 1})
        assert database["a"].count_documents({}) == 0


def test_opening_does_not_wait_for_the_transaction_of_another_process(tmp_path: Path) -> None:
    code = (
        "import sys, rango\n"
        "with rango.open(sys.argv[1], read_only=sys.argv[2] == 'r') as db:\n"
        "    print(db['a'].find_one(1), db['a'].find_one(2))\n"
    )
    with rango.open(tmp_path / "db") as mine:
        mine["a"].insert_one({"_id": 1})
        with mine.transaction():
            mine["a"].insert_one({"_id": 2})
            for mode in ("r", "w"):
                done = child(code, str(tmp_path / "db"), mode)
                assert done.stdout.strip() == "{'_id': 1} None", done.stderr
        assert mine["a"].count_documents({}) == 2
