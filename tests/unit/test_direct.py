"""Direct writes: what goes this way, and what does not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.clock import system_ms
from rango._ext.direct import DirectWrites
from rango.errors import (
    DatabaseClosed,
    DuplicateKey,
    InvalidDocument,
    InvalidUpdate,
    LimitExceeded,
    LowDisk,
    ReadOnly,
)
from rango.metrics import INSERT_SAMPLE
from tests.engine_case import open_tiny

ELSEWHERE = -1
SET = {"$set": {"a": 2}}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[rango.Database]:
    with rango.open(tmp_path / "db", durability="memory") as db:
        db["n"].insert_many([{"_id": 1, "a": 1}, {"_id": 2, "a": 2}])
        yield db


def direct_of(db: Any) -> DirectWrites:
    direct: DirectWrites = db._handle.direct
    return direct


@pytest.mark.parametrize("durability", ["memory", "group", "commit"])
def test_usual_writes_go_this_way(
    tmp_path: Path, durability: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rango.open(tmp_path / "db", durability=durability) as db:
        db["n"].insert_one({"_id": 0})

        def refused(*_given: object) -> None:
            raise AssertionError("the long way")

        for name in ("insert_one", "write_point", "begin"):
            monkeypatch.setattr(db._handle.core, name, refused)
        given: dict[str, Any] = {"a": 1}
        assert db["n"].insert_one(given).inserted_id == given["_id"]
        assert db["n"].insert_one({"_id": 1, "a": 1}).inserted_id == 1
        done = db["n"].update_one({"_id": 1}, SET)
        assert (done.matched_count, done.modified_count) == (1, 1)
        done = db["n"].update_one({"_id": 1}, SET)
        assert (done.matched_count, done.modified_count) == (1, 0)
        assert db["n"].update_one({"_id": 9}, SET).matched_count == 0
        assert db["n"].update_one({"_id": given["_id"]}, {"$set": {"b": [{}]}}).matched_count
        assert db["n"].delete_one({"_id": 1}).deleted_count == 1
        assert db["n"].delete_one({"_id": 1}).deleted_count == 0
        assert db["nothing"].delete_one({"_id": 1}).deleted_count == 0
        monkeypatch.undo()
        assert db["n"].find_many({}) == [{"_id": 0}, {**given, "b": [{}]}]
        assert list(db.check()) == []
        stats = db.stats()
        assert (stats["operations"]["updates"], stats["operations"]["deletes"]) == (2, 1)
        assert (stats["times"]["update"]["count"], stats["times"]["delete"]["count"]) == (4, 3)


def test_one_insert_of_many_is_timed(db: rango.Database) -> None:
    before = db.stats()["times"]["insert"]["count"]
    for number in range(2 * INSERT_SAMPLE):
        db["n"].insert_one({"_id": f"x{number}"})
    assert db.stats()["operations"]["inserts"] == 2 * INSERT_SAMPLE + 2
    assert db.stats()["times"]["insert"]["count"] == before + 2 * INSERT_SAMPLE


@pytest.mark.parametrize(
    ("filter", "update"),
    [
        ({}, SET),
        ({"_id": 1, "a": 1}, SET),
        ({"a": 1}, SET),
        ({"_id": {"$eq": 1}}, SET),
        ({"_id": None}, SET),
        ({"_id": 2**63}, SET),
        ({"_id": "\ud800"}, SET),
        ([("_id", 1)], SET),
        ({"_id": 1}, {}),
        ({"_id": 1}, [SET]),
        ({"_id": 1}, {"$set": {}}),
        ({"_id": 1}, {"$set": [1]}),
        ({"_id": 1}, {"$inc": {"a": 1}}),
        ({"_id": 1}, {**SET, "$inc": {"b": 1}}),
        ({"_id": 1}, {"$set": {"a.b": 1}}),
        ({"_id": 1}, {"$set": {"_id": 1}}),
        ({"_id": 1}, {"$set": {1: 1}}),
        ({"_id": 1}, {"$set": {"a": 2**64}}),
        ({"_id": 1}, {"$set": {"a": object()}}),
    ],
)
def test_what_is_not_usual_goes_another_way(db: rango.Database, filter: Any, update: Any) -> None:
    assert direct_of(db).update("n", filter, update) == ELSEWHERE
    assert db["n"].find_one(1) == {"_id": 1, "a": 1}


def test_an_encoder_of_the_caller_may_raise_and_write(db: rango.Database) -> None:
    class Strange(dict[str, Any]):
        def items(self) -> Any:
            db["n"].update_one({"_id": 2}, {"$set": {"a": 7}})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        db["n"].update_one({"_id": 1}, {"$set": {"a": Strange(b=1)}})
    assert db["n"].find_many({}) == [{"_id": 1, "a": 1}, {"_id": 2, "a": 7}]
    with pytest.raises(ZeroDivisionError):
        db["n"].insert_one({"_id": 3, "a": Strange(b=1)})
    assert db["n"].count_documents({}) == 2


def test_inserts_that_go_another_way(db: rango.Database) -> None:
    direct = direct_of(db)
    for document in (
        {"a": 1},
        {"_id": None},
        {"_id": {"a": 1}},
        {"_id": 3, "_rev": 1},
        {"_id": 3, 1: 1},
        {"_id": 3, "a": {1}},
        [("_id", 3)],
    ):
        assert direct.insert("n", document) is None
    assert direct.insert("other", {"_id": 1}) is None
    assert not direct.insert_bson("other", b"\x05\0\0\0\0")
    assert direct.insert("n", {"_id": 1}) is None
    assert db["n"].count_documents({}) == 2 and "other" not in db.list_collection_names()


def test_refusals_are_those_of_the_long_way(db: rango.Database) -> None:
    db["n"].create_index("a", unique=True)
    for write in (
        lambda: db["n"].insert_one({"_id": 3, "a": 2}),
        lambda: db["n"].update_one({"_id": 1}, SET),
    ):
        with pytest.raises(DuplicateKey) as caught:
            write()
        assert caught.value.pattern == {"a": 1}
    with pytest.raises(DuplicateKey) as caught:
        db["n"].insert_one({"_id": 1})
    assert caught.value.pattern == {"_id": 1}
    with pytest.raises(InvalidDocument):
        db["n"].insert_one({"_id": 3, "a": object()})
    with pytest.raises(InvalidUpdate):
        db["n"].update_one({"_id": 1}, {"$set": {"_rev": 1}})
    db.set_limits(document_size_bytes_max=100)
    for write in (
        lambda: db["n"].insert_one({"_id": 3, "b": "x" * 100}),
        lambda: db["n"].update_one({"_id": 1}, {"$set": {"b": "x" * 100}}),
    ):
        with pytest.raises(LimitExceeded):
            write()
    assert db["n"].find_many({}) == [{"_id": 1, "a": 1}, {"_id": 2, "a": 2}]
    # each of them let the lock go
    assert direct_of(db).update("n", {"_id": 1}, {"$set": {"a": 3}}) == 2


def test_parallel_arrays_are_refused(db: rango.Database) -> None:
    db["n"].create_index([("a", 1), ("b", 1)])
    db["n"].update_one({"_id": 1}, {"$set": {"a": [1, 2]}})
    with pytest.raises(InvalidDocument):
        db["n"].update_one({"_id": 1}, {"$set": {"b": [1, 2]}})
    assert db["n"].find_one(1) == {"_id": 1, "a": [1, 2]}


def test_transactions_and_scopes_go_before(db: rango.Database) -> None:
    direct = direct_of(db)
    with db.transaction():
        assert direct.update("n", {"_id": 1}, SET) == ELSEWHERE
        assert direct.delete("n", {"_id": 1}) == ELSEWHERE
        assert direct.insert("n", {"_id": 3}) is None
    with rango.cancel_scope():
        assert direct.update("n", {"_id": 1}, SET) == ELSEWHERE
    assert direct.update("n", {"_id": 1}, SET) == 2


def test_what_is_closed_read_only_latched_or_a_snapshot(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", durability="memory") as db:
        db["n"].insert_one({"_id": 1})
        with db.snapshot() as past, pytest.raises(ReadOnly):
            past["n"].update_one({"_id": 1}, SET)
        direct = direct_of(db)
        db._handle.core.latch(LowDisk("a test says so"))
        assert direct.update("n", {"_id": 1}, SET) == ELSEWHERE
        with pytest.raises(LowDisk):
            db["n"].update_one({"_id": 1}, SET)
    with pytest.raises(DatabaseClosed):
        db["n"].update_one({"_id": 1}, SET)
    assert direct.update("n", {"_id": 1}, SET) == ELSEWHERE
    with rango.open(tmp_path / "db", read_only=True) as db, pytest.raises(ReadOnly):
        db["n"].update_one({"_id": 1}, SET)


def test_slow_writes_are_logged_by_the_long_way(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db", slow_query_ms=0) as db:
        assert db._handle.direct is None


def test_it_waits_for_another_thread(db: rango.Database) -> None:
    lock = db._handle.core.append_lock
    done: list[int] = []
    assert lock.take(1)
    thread = threading.Thread(
        target=lambda: done.append(direct_of(db).update("n", {"_id": 1}, SET))
    )
    thread.start()
    thread.join(0.1)
    assert not done
    lock.drop()
    thread.join()
    assert done == [2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_is_told(db: rango.Database) -> None:
    child = os.fork()
    if child == 0:
        os._exit(direct_of(db).update("n", {"_id": 1}, SET) != ELSEWHERE)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_others_commit_is_followed_first(tmp_path: Path) -> None:
    program = (
        "import sys, rango\n"
        "with rango.open(sys.argv[1]) as db:\n"
        "    print(db['n'].update_one({'_id': 1}, {'$set': {'a': 2}}).modified_count)\n"
    )

    with rango.open(tmp_path / "db") as db:
        db["n"].insert_one({"_id": 1, "a": 1})
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "db")],
            capture_output=True,
            check=True,
            text=True,
        )
        assert done.stdout == "1\n"
        assert direct_of(db).update("n", {"_id": 1}, SET) == 1
        assert direct_of(db).update("n", {"_id": 1}, {"$set": {"b": 3}}) == 2
        assert db["n"].find_one(1) == {"_id": 1, "a": 2, "b": 3}


def test_an_index_of_another_process_ends_documents_after_a_direct_write(tmp_path: Path) -> None:
    programs = [
        "db['n'].insert_one({'_id': 2})",
        "db['n'].create_index('at', expire_after_s=1)",
    ]

    def run(program: str) -> None:
        opened = "import sys, rango\nwith rango.open(sys.argv[1], ttl_interval_s=0) as db: "
        subprocess.run([sys.executable, "-c", opened + program, str(tmp_path / "db")], check=True)

    with rango.open(tmp_path / "db", ttl_interval_s=0.05) as db:
        db["n"].insert_one({"_id": 1, "a": 1})
        run(programs[0])
        assert db["n"].find_one(2) == {"_id": 2}
        run(programs[1])
        assert direct_of(db).update("n", {"_id": 1}, SET) == 2
        db["n"].insert_one({"_id": 3, "at": datetime(2000, 1, 1, tzinfo=UTC)})
        end = time.monotonic() + 20
        while db["n"].find_one(3) is not None:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.slow  # AddressSanitizer keeps what was freed
def test_a_refused_write_that_the_collector_finds_gives_its_memory_back(tmp_path: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with rango.open(tmp_path / "db", durability="memory") as db:
        rows = db["n"]
        rows.insert_one({"_id": 0})
        last: Exception | None = None
        before = 0
        for turn in range(150):
            if turn == 50:
                before = resident()
            rows.insert_one({"_id": f"n{turn}", "text": "x" * 200_000})
            rows.delete_one({"_id": f"n{turn}"})
            try:
                rows.insert_one({"_id": 0})
            except DuplicateKey as error:
                # the traceback, its frame and this make a circle
                last = error
            db.checkpoint()
            gc.collect()
        assert last is not None
        # it was 200 kB a turn
        assert resident() - before < 8_000_000


def test_a_name_that_takes_the_id_out_of_the_document_is_refused(db: rango.Database) -> None:
    class Name:
        def __hash__(self) -> int:
            return hash("_rev")

        def __eq__(self, other: object) -> bool:
            document.pop("_id", None)
            return False

    document: dict[Any, Any] = {"_id": "some text " * 5}
    document[Name()] = 1
    with pytest.raises(InvalidDocument):
        db["n"].insert_one(document)
    assert db["n"].count_documents({}) == 2


def test_checkpoints_come_when_they_are_due(tmp_path: Path) -> None:

    with open_tiny(tmp_path / "db", durability="memory") as db:
        for number in range(200):
            db["n"].insert_one({"_id": number})
            db["n"].update_one({"_id": number}, SET)
        assert db._handle.core.checkpoints >= 3
        assert db["n"].count_documents({"a": 2}) == 200


class Telling(Mapping[str, Any]):
    """A value whose encoding runs code of the program, which writes meanwhile."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        self.work()
        return iter(("t",))

    def __getitem__(self, name: str) -> str:
        return "told " * 100


def test_a_write_that_comes_while_another_one_is_encoded(db: rango.Database) -> None:
    """Each has room of its own to be encoded into."""
    rows = db["n"]

    def work() -> None:
        rows.insert_one({"_id": "inner", "text": "i" * 700})
        rows.update_one({"_id": 1}, {"$set": {"a": "j" * 900, "b": 1}})
        rows.delete_one({"_id": "inner"})

    outer = {"_id": "outer", "a": "o" * 300, "told": Telling(work), "z": "p" * 300}
    rows.insert_one(outer)
    change = {"$set": {"a": "q" * 300, "told": Telling(work), "z": 5}}
    assert direct_of(db).update("n", {"_id": 2}, change) == 2
    told = {"t": "told " * 100}
    assert rows.find_many({}, sort=[("_id", 1)]) == [
        {"_id": 1, "a": "j" * 900, "b": 1},
        {"_id": 2, "a": "q" * 300, "told": told, "z": 5},
        {"_id": "outer", "a": "o" * 300, "told": told, "z": "p" * 300},
    ]
    assert list(db.check()) == []


def test_without_a_clock_revisions_have_the_time_of_the_system(db: rango.Database) -> None:
    before = time.time_ns() // 1_000_000
    assert before <= system_ms() <= time.time_ns() // 1_000_000
    db["n"].insert_one({"_id": 3})
    db["n"].update_one({"_id": 1}, SET)
    db["n"].delete_one({"_id": 2})
    after = time.time_ns() // 1_000_000
    for key in (1, 2, 3):
        at = next(iter(db["n"].history(key)))["at"]
        assert before <= round(at.timestamp() * 1000) <= after
