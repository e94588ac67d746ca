"""Threads and tasks on one database: snapshots hold, money is conserved, nobody crashes.

Method      after ZODB's racetest: a model says how to begin, what one step is, and what must hold
            in every snapshot (model.py); writer threads make steps while checkers look. Choices
            follow the seed; the schedule is the operating system's, so a failure names the seed but
            may need several runs to come again.
Invariants  I-1, I-2, I-8, I-16.
"""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import rango
from rango._ext.shared import SHARED_SIZE
from rango._ext.vfs import PythonVfs
from rango.database import Database
from rango.errors import (
    Conflict,
    DuplicateKey,
    InvalidName,
    LowDisk,
    NotFound,
    RangoError,
)
from tests.engine_case import FOLDER, KEY, folder_disk, open_tiny, present
from tests.race.model import (
    ACCOUNTS,
    TOTAL,
    Step,
    balances_hold,
    begin,
    move,
    mover,
    ordered,
    together,
)
from tests.unit.memory_disk import MemoryDisk


@pytest.fixture(params=["commit", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An encrypted database whose checkpoints come every few dozen commits."""
    database = open_tiny(tmp_path / "db", key=KEY, durability=request.param)
    yield database
    assert not list(database.check())
    database.close()


# --- snapshots ------------------------------------------------------------------------------------


def test_money_is_neither_made_nor_lost(db: Database, seed: int) -> None:
    """Four writers move money; two readers sum it up, by a scan and by the index, each in one
    snapshot, while checkpoints come and go. Defends I-8 and I-16."""
    begin(db)
    over = threading.Event()
    looked = [0, 0]

    def scanner() -> None:
        while not over.is_set():
            balances_hold(db["accounts"].find_many({}))
            looked[0] += 1

    def index_scanner() -> None:
        while not over.is_set():
            found = db["accounts"].find_many({}, hint="balance_1")
            balances_hold(found)
            ordered(found)
            looked[1] += 1

    def writers() -> None:
        try:
            together(*(mover(db, random.Random(f"{seed} {at}"), 120) for at in range(4)))
        finally:
            over.set()

    together(writers, scanner, index_scanner)
    assert min(looked) > 0
    assert db.stats()["checkpoints"] > 1


def test_a_cursor_that_is_held_open_sees_one_snapshot(db: Database, seed: int) -> None:
    """Readers stop in the middle of a scan while writers change everything and checkpoints free the
    pages that the scan still needs. Defends I-2 and I-16."""
    begin(db)
    chance = random.Random(seed)

    def reader(hint: str | None) -> Step:
        def work() -> None:
            for _round in range(25):
                cursor = db["accounts"].find({}, hint=hint).batch_size(2)
                documents = [next(cursor) for _ in range(3)]
                move(db, random.Random(_round))
                db.checkpoint()
                documents += cursor.to_list()
                balances_hold(documents)

        return work

    writers = [mover(db, random.Random(f"{seed} {at}"), 80) for at in range(2)]
    together(*writers, reader(None), reader("balance_1"))
    held = db["accounts"].find({}).batch_size(1)
    first = next(held)
    for _round in range(6):
        mover(db, chance, 30)()
        db.checkpoint()
    balances_hold([first, *held.to_list()])


def test_reads_in_a_transaction_agree_with_each_other(db: Database, seed: int) -> None:
    """A transaction that only reads is one snapshot over several statements. Defends I-16."""
    begin(db)
    over = threading.Event()

    def reader() -> None:
        while not over.is_set():
            with db.transaction():
                by_scan = db["accounts"].find_many({})
                by_index = db["accounts"].find_many({}, hint="balance_1")
                by_id = [db["accounts"].find_one({"_id": at}) for at in range(ACCOUNTS)]
            balances_hold(by_scan)
            assert by_scan == by_id == sorted(by_index, key=lambda each: int(each["_id"]))

    def writer() -> None:
        try:
            mover(db, random.Random(seed), 200)()
        finally:
            over.set()

    together(writer, reader, reader)


def test_the_check_finds_nothing_wrong_while_others_write(db: Database, seed: int) -> None:
    """check() of a database in use: what is half done is not damage. Defends I-5 and I-8."""
    begin(db)
    over = threading.Event()
    findings: list[str] = []

    def checker() -> None:
        while not over.is_set():
            findings.extend(str(each) for each in db.check())

    def writers() -> None:
        try:
            together(*(mover(db, random.Random(f"{seed} {at}"), 100) for at in range(2)))
        finally:
            over.set()

    together(writers, checker)
    assert not findings


# --- transactions ---------------------------------------------------------------------------------


def test_an_increment_by_reading_and_writing_is_not_lost(db: Database) -> None:
    """Six threads read a counter and write it back plus one. Without Conflict some would overwrite
    each other. Defends I-16."""
    db["counters"].insert_one({"_id": "c", "value": 0})
    conflicts = [0] * 6

    def work(at: int) -> Step:
        def increment() -> None:
            done = 0
            while done < 40:
                try:
                    with db.transaction():
                        value = present(db["counters"].find_one("c"))["value"]
                        time.sleep(0)  # let somebody else in between
                        db["counters"].replace_one({"_id": "c"}, {"value": value + 1})
                    done += 1
                except Conflict:
                    conflicts[at] += 1

        return increment

    together(*(work(at) for at in range(6)))
    assert present(db["counters"].find_one("c"))["value"] == 240
    assert db.stats()["operations"]["conflicts"] == sum(conflicts)


def test_a_check_may_be_left_or_interrupted_by_other_work(db: Database) -> None:
    """check() is a generator: between two findings the caller does what it likes, a checkpoint for
    one, and some callers look at the first finding only."""
    begin(db)
    damaged = db._handle.core.keyring.damaged_copies
    db._handle.core.keyring.damaged_copies = (1,)
    try:
        for finding in db.check():
            assert finding.kind == "keys"
            db.checkpoint()
        assert next(db.check()).kind == "keys"
    finally:
        db._handle.core.keyring.damaged_copies = damaged
    together(db.checkpoint)


def test_one_of_many_wins_a_unique_key(db: Database) -> None:
    """Eight threads insert the same unique values: each value is stored once, all others hear
    DuplicateKey, and the index agrees with the documents. Defends I-8."""
    db["users"].create_index("name", unique=True)
    won: list[int] = []
    lost: list[int] = []

    def work(at: int) -> Step:
        def insert() -> None:
            for number in range(40):
                try:
                    db["users"].insert_one({"_id": f"{at}-{number}", "name": number})
                    won.append(number)
                except DuplicateKey:
                    lost.append(number)
                    assert present(db["users"].find_one({"name": number}))["name"] == number

        return insert

    together(*(work(at) for at in range(8)))
    assert sorted(won) == list(range(40))
    assert len(lost) == 7 * 40


def test_indexes_come_and_go_while_others_write(db: Database, seed: int) -> None:
    """create_index fills from documents that change meanwhile; every finished index holds exactly
    the documents of the snapshot that uses it. Defends I-8."""
    begin(db)
    over = threading.Event()
    built = [0]

    def builder() -> None:
        for number in range(12):
            name = db["accounts"].create_index([("owner", 1)], name=f"owner-{number}")
            found = db["accounts"].find_many({}, hint=name)
            assert {document["_id"] for document in found} == set(range(ACCOUNTS))
            assert sum(document["balance"] for document in found) == TOTAL
            db["accounts"].drop_index(name)
            built[0] += 1
        over.set()

    def user() -> None:
        chance = random.Random(seed)
        while not over.is_set():
            owner = chance.randrange(3)
            db["accounts"].update_one(
                {"_id": chance.randrange(ACCOUNTS)}, {"$set": {"owner": owner}}
            )
            with suppress(NotFound):
                balances_hold(db["accounts"].find_many({}, hint="owner-3"))

    together(builder, user, mover(db, random.Random(seed), 100))
    assert built == [12]


def test_collections_come_and_go_while_others_write(db: Database) -> None:
    """Documents of a collection that is dropped or renamed under a writer: the write goes into the
    collection of that name or says NotFound; nothing is torn. Defends I-16."""
    over = threading.Event()

    def writer() -> None:
        number = 0
        while not over.is_set():
            number += 1
            with suppress(NotFound, Conflict):
                db["temporary"].insert_one({"n": number})
            with suppress(NotFound, Conflict):
                db["temporary"].update_many({"n": {"$gt": number - 5}}, {"$inc": {"k": 1}})

    def changer() -> None:
        for number in range(40):
            with suppress(NotFound, InvalidName):
                db["temporary"].rename(f"kept-{number}")
            with suppress(NotFound):
                db["temporary"].drop()
            with suppress(NotFound):
                db[f"kept-{number}"].drop()
        over.set()

    together(changer, writer, writer)


# --- flushes --------------------------------------------------------------------------------------


class SlowDisk(MemoryDisk):
    """A disk whose flush takes as long as a real one's."""

    def flush(self, fd: int) -> None:
        time.sleep(0.002)
        super().flush(fd)


def test_threads_that_commit_together_share_a_flush() -> None:
    """Eight threads, durable single inserts: fewer flushes than commits, and what was acknowledged
    was flushed: it is there after a power cut. Defends I-1."""
    disk = SlowDisk()
    db = rango.open(FOLDER, vfs=PythonVfs(disk), key=KEY)
    db["things"].insert_one({"_id": -1})
    before = db.stats()

    def work(at: int) -> Step:
        def insert() -> None:
            for number in range(25):
                db["things"].insert_one({"_id": at * 100 + number})

        return insert

    together(*(work(at) for at in range(8)))
    after = db.stats()
    commits = after["commits"] - before["commits"]
    flushes = after["flushes"] - before["flushes"]
    assert commits == 200
    assert flushes < commits * 0.7
    flushed = {
        name[len(FOLDER) + 1 :]: file.synced
        for name, file in disk.names.items()
        if name.endswith((".rgo", "keys"))
    }
    with rango.open(FOLDER, vfs=PythonVfs(folder_disk(flushed)), key=KEY, create=False) as copy:
        assert copy["things"].count_documents({}) == 201
    db.close()


def test_errors_in_threads_are_those_of_rango(db: Database, seed: int) -> None:
    """The helper of this suite reports what a thread raises: a broken invariant would be seen."""
    begin(db)
    db["accounts"].update_one({"_id": 1}, {"$inc": {"balance": seed % 7 + 1}})
    with pytest.raises(AssertionError):
        together(lambda: balances_hold(db["accounts"].find_many({})))
    with pytest.raises(RangoError):
        together(lambda: db["accounts"].drop_index("none"))


# --- what is half done ----------------------------------------------------------------------------


class SharedDisk(MemoryDisk):
    """One that other processes could come to, so the store looks at what they may have done."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = bytearray(SHARED_SIZE)
        self.opens: Callable[[str], None] = lambda _path: None

    def shared_memory(self, _path: str) -> bytearray:
        return self.memory

    def open(self, path: str, flags: int) -> int:
        self.opens(path)
        return super().open(path, flags)


@pytest.mark.parametrize("durability", ["commit", "group", "memory"])
def test_a_reader_in_the_middle_of_an_append_does_not_take_it_for_that_of_another_process(
    durability: Any,
) -> None:
    """Beginning a new segment lets other threads run. A reader that came then saw the commit at
    hand waiting, read on in the log behind the appender's back and set it to where it had been: the
    log was damaged, and a backup of it could not be restored. Defends I-16."""
    disk = SharedDisk()
    readers: list[threading.Thread] = []
    paused, appended = threading.Event(), threading.Event()
    with open_tiny(FOLDER, vfs=PythonVfs(disk), durability=durability) as db:
        things = db["things"]

        def read() -> None:
            assert things.find({}).to_list()
            paused.set()

        def opens(path: str) -> None:
            if path.endswith(".rgo.new"):
                # the appender begins a segment: a reader comes, and is either done or reads the log
                paused.clear()
                appended.clear()
                readers.append(threading.Thread(target=read))
                readers[-1].start()
                assert paused.wait(20)
            elif threading.current_thread() in readers:
                paused.set()
                assert appended.wait(20)

        disk.opens = opens
        for number in range(400):
            things.insert_one({"_id": number, "text": "x" * 200})
            appended.set()
            for reader in readers:
                reader.join()
        assert len(readers) > 5
        assert [each["_id"] for each in things.find({})] == [*range(400)]
        assert not list(db.check())


def test_a_full_disk_right_behind_a_new_segment_leaves_one_history() -> None:
    """A writer began a segment and had no space for its commit there. Nobody was told of the
    segment, so a neighbour went on in the one before, and there were two histories. Defends I-16.
    """
    disk = SharedDisk()
    begun = False

    def full(operation: str, path: str, _size: int) -> int:
        nonlocal begun
        begun = begun or path.endswith(".rgo.new")
        if begun and operation == "write" and path.endswith(".rgo"):
            disk.fault = None
            return errno.ENOSPC
        return 0

    one = open_tiny(FOLDER, vfs=PythonVfs(disk), durability="memory")
    two = open_tiny(FOLDER, vfs=PythonVfs(disk), durability="memory")
    disk.fault = full
    number = 0
    with pytest.raises(LowDisk):
        for number in range(400):
            one["things"].insert_one({"_id": number, "text": "x" * 200})
    for more in range(number, number + 100):
        (two, one)[more % 2]["things"].insert_one({"_id": more, "text": "x" * 200})
    for db in (one, two):
        assert [each["_id"] for each in db["things"].find({})] == [*range(number + 100)]
        assert not list(db.check())
    one.close()
    two.close()
    with open_tiny(FOLDER, vfs=PythonVfs(disk)) as again:
        assert again["things"].count_documents({}) == number + 100
