"""The real thing: processes that are killed, interrupted, forked, or simply end.

Method      a child writes numbered transactions and reports each acknowledgement over a pipe; the
            parent kills it at a random moment, opens the directory with other options, and
            compares.
            The simulator of this suite covers power cuts; here the kernel keeps what was written,
            but signals, descriptors, locks and interpreters are real.
Invariants  I-1, I-10, I-11, I-17.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rango
from rango.errors import ForkedHandle
from rango.storage.lock import lock_state
from tests.engine_case import KEY, line_of, open_tiny, python_run, python_start

KILLS = 50
WRITER = """
import random, sys, threading
from tests.engine_case import KEY, open_tiny
path, start, seed, durability, sizes = sys.argv[1], int(sys.argv[2]), sys.argv[3], *sys.argv[4:6]
chance = random.Random(seed)
segment, entries = map(int, sizes.split(","))
db = open_tiny(path, key=KEY, durability=durability, segment_size_max=segment,
               overlay_entries_max=entries)
db["parts"].create_index("txn")
print("ready", flush=True)
number = start
while True:
    number += 1
    parts = 2 + number % 4
    filler = "x" * chance.choice([10, 200, 40_000])
    with db.transaction():
        for part in range(parts):
            db["parts"].insert_one({"txn": number, "part": part, "of": parts, "filler": filler})
        db["counter"].update_one({"_id": 0}, {"$set": {"last": number}}, upsert=True)
    print(number, flush=True)
    if chance.random() < 0.1:
        db["parts"].delete_many({"txn": number - 20})
"""


def killed(process: subprocess.Popen[str], delay_s: float) -> list[int]:
    """Kill the child after a while; the transactions that it reported as acknowledged."""
    assert line_of(process) == "ready"
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    # by the reader of the first line, which may have taken some of what is behind it:
    # communicate() would begin in the middle of a line then
    output = process.stdout.read()
    process.communicate(timeout=60)
    lines = output.split("\n")[:-1]  # what is behind the last newline is a torn line
    return [int(line) for line in lines]


def judged(path: Path, options: dict[str, Any], acknowledged: int) -> int:
    """Open what is left; every transaction is whole or absent; the last one's number."""
    with open_tiny(path, key=KEY, **options) as db:
        # a reader leaves the tail that the kill tore where it is
        reader = options.get("read_only", False)
        assert not [each for each in db.check() if not (reader and each.kind == "tail")]
        found: dict[int, list[dict[str, Any]]] = {}
        for document in db["parts"].find({}, {"filler": 0}):
            found.setdefault(document["txn"], []).append(document)
        for number, parts in found.items():
            assert sorted(each["part"] for each in parts) == list(range(parts[0]["of"])), number
            by_index = db["parts"].count_documents({"txn": number})
            assert by_index == len(parts)
        counter = db["counter"].find_one({"_id": 0})
        last = 0 if counter is None else int(counter["last"])
        assert last == max(found, default=0)
        assert last >= acknowledged, f"{acknowledged} was acknowledged, {last} is the last one"
        assert set(range(max(1, last - 15), last + 1)) <= set(found)
        return last


@pytest.mark.slow
def test_fifty_kills_lose_nothing_that_was_acknowledged(
    tmp_path: Path, seed: int, count_cases: Callable[[str, int], None]
) -> None:
    """SIGKILL at random moments, fifty times over the same database, with random durability and
    sizes. In every mode the system has what was written, so whatever was acknowledged is there;
    every transaction is whole or absent. Defends I-1, I-11, I-17."""
    chance = random.Random(seed)
    path = tmp_path / "db"
    last = 0
    for number in range(KILLS):
        durability = chance.choice(["commit", "group", "memory"])
        sizes = f"{chance.choice([16, 64, 1024]) * 1024},{chance.choice([24, 200, 5000])}"
        process = python_start(WRITER, path, last, f"{seed}-{number}", durability, sizes)
        acknowledged = killed(process, chance.random() * 0.12)
        options: dict[str, Any] = {
            "durability": chance.choice(["commit", "group", "memory"]),
            "segment_size_max": chance.choice([16, 256]) * 1024,
            "read_only": chance.random() < 0.2,
            "cache_size": chance.choice([0, 1 << 20]),
        }
        if chance.random() < 0.15:
            (path / "data.rango").unlink(missing_ok=True)
        last = judged(path, options, max(acknowledged, default=last))
    assert last > KILLS
    count_cases("crash: real kills", KILLS)


INTERRUPTED = """
import os, random, signal, sys, threading, time
from tests.engine_case import KEY, open_tiny
path, name, seed = sys.argv[1:4]

class Stop(Exception):
    pass

def stop(number, frame):
    raise Stop

# what a shell starts in the background ignores SIGINT, and so do its children
handler = stop if name == "SIGTERM" else signal.default_int_handler
signal.signal(getattr(signal, name), handler)
number_of = getattr(signal, name)
expected = KeyboardInterrupt if name == "SIGINT" else Stop
db = open_tiny(path, key=KEY, overlay_entries_max=40)
db["parts"].create_index("txn")
chance = random.Random(seed)
acknowledged = []
over = threading.Event()
armed = [False]  # no Event: a signal inside its set() would lose the wake-up

def shoot():
    while not over.is_set():
        time.sleep(chance.random() * 0.004)
        if armed[0]:
            armed[0] = False
            os.kill(os.getpid(), number_of)

threading.Thread(target=shoot, daemon=True).start()
hits = 0
number = 0
while hits < 60:
    number += 1
    try:
        armed[0] = True
        with db.transaction():
            for part in range(3):
                db["parts"].insert_one({"txn": number, "part": part})
        acknowledged.append(number)
        number += 1
        db["parts"].insert_one({"txn": number, "part": 0})
        acknowledged.append(number)
        if number % 7 == 0:
            db.checkpoint()
    except expected:
        hits += 1
over.set()
armed[0] = False
time.sleep(0.01)
done = threading.Event()
def other():
    db["parts"].insert_one({"txn": -1, "part": 0})
    done.set()
threading.Thread(target=other, daemon=True).start()
assert done.wait(10), "the append lock stayed taken"
# an interrupted commit may have been written: then it shows up with the next one, as it does here
found = {}
for document in db["parts"].find({}):
    found.setdefault(document["txn"], set()).add(document["part"])
assert set(acknowledged) <= set(found), sorted(set(acknowledged) - set(found))
assert all(parts in ({0, 1, 2}, {0}) for parts in found.values())
assert not list(db.check()), list(db.check())
db.close()
db = open_tiny(path, key=KEY)
assert db["parts"].count_documents({"txn": -1}) == 1
again = {document["txn"] for document in db["parts"].find({})}
assert again == set(found)
db.close()
print("survived", hits)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_raises_inside_a_commit_leaves_it_whole_or_absent(
    tmp_path: Path, seed: int, name: str
) -> None:
    """Ctrl-C, and a handler of SIGTERM that raises, sixty times at random moments of transactions,
    single inserts and checkpoints: acknowledged commits are there, every transaction is whole or
    absent, and the handle goes on: other threads can write, check() is clean. Defends I-1."""
    output = python_run(INTERRUPTED, tmp_path / "db", name, seed)
    assert output.startswith("survived")


UNCLOSED = {
    "handle": "db = rango.open(path, key=KEY, durability=mode); db['t'].insert_one({'_id': 1})",
    "cursor": (
        "db = rango.open(path, key=KEY, durability=mode)\n"
        "db['t'].insert_many([{'_id': n} for n in range(500)])\n"
        "cursor = db['t'].find({}).batch_size(2); next(cursor)"
    ),
    "transaction": (
        "db = rango.open(path, key=KEY, durability=mode); db['t'].insert_one({'_id': 1})\n"
        "transaction = db.transaction(); transaction.__enter__(); db['t'].insert_one({'_id': 2})"
    ),
    "thread": (
        "import contextlib, threading, time\n"
        "db = rango.open(path, key=KEY, durability=mode); db['t'].insert_one({'_id': 1})\n"
        "def read():\n"
        "    with contextlib.suppress(rango.errors.DatabaseClosed):\n"
        "        while True: db['t'].find_many({})\n"
        "threading.Thread(target=read, daemon=True).start(); time.sleep(0.05)"
    ),
    "cycle": (
        "class Holder: pass\n"
        "holder = Holder(); holder.self = holder\n"
        "holder.db = rango.open(path, key=KEY, durability=mode)\n"
        "holder.db['t'].insert_one({'_id': 1}); del holder"
    ),
    "exit": (
        "db = rango.open(path, key=KEY, durability=mode); db['t'].insert_one({'_id': 1})\n"
        "with db.transaction():\n    db['t'].insert_one({'_id': 2}); sys.exit(0)"
    ),
}


@pytest.mark.parametrize("what", UNCLOSED)
@pytest.mark.parametrize("mode", ["commit", "group", "memory"])
def test_a_handle_that_nobody_closed_is_closed_at_exit_in_silence(
    tmp_path: Path, what: str, mode: str
) -> None:
    """The interpreter ends with handles, cursors, transactions and threads open: nothing on stderr,
    exit 0, and the log ends with a closed frame, so that the next open finds all of it. An open
    transaction is aborted. Defends I-1."""
    code = (
        "import sys, rango\nfrom tests.engine_case import KEY\n"
        f"path, mode = sys.argv[1:3]\n{UNCLOSED[what]}\n"
    )
    assert python_run(code, tmp_path / "db", mode) == ""
    with rango.open(tmp_path / "db", key=KEY, create=False) as db:
        assert db["t"].find_one({"_id": 1}) is not None
        assert db["t"].count_documents({"_id": 2}) == (1 if what == "cursor" else 0)
        assert not db.stats()["findings"]
        assert not list(db.check())


# --- fork and locks -------------------------------------------------------------------------------


def in_child(work: Callable[[], None]) -> None:
    """Run this in a forked child, which then leaves without cleaning up; its failure is ours."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_handle_is_refused_in_a_forked_child_and_works_on_in_the_parent(tmp_path: Path) -> None:
    """Whatever the child does with what it inherited, it gets ForkedHandle, and the parent's
    database is not touched; nor is it by the child's close() and exit. Defends I-1."""
    db = rango.open(tmp_path / "db", key=KEY)
    db["t"].insert_many([{"_id": number} for number in range(300)])
    cursor = db["t"].find({}).batch_size(2)
    next(cursor)

    def misuse() -> None:
        for attempt in (
            lambda: db["t"].insert_one({"_id": "child"}),
            lambda: db["t"].find_one({"_id": 1}),
            lambda: db["t"].find_many({}),
            lambda: db["t"].count_documents({}),
            lambda: db.transaction().__enter__(),
            db.checkpoint,
            db.flush,
            db.stats,
            lambda: list(db.check()),
            db.list_collection_names,
            cursor.to_list,
        ):
            with pytest.raises(ForkedHandle):
                attempt()
        db.close()
        with rango.open(tmp_path / "db", key=KEY) as own:  # beside the parent
            own["t"].insert_one({"_id": "child"})

    in_child(misuse)
    db["t"].insert_one({"_id": "parent"})
    assert len(cursor.to_list()) == 299
    db.checkpoint()
    assert not list(db.check())
    db.close()
    with rango.open(tmp_path / "db", key=KEY) as again:
        assert again["t"].count_documents({}) == 302


def test_a_fork_inside_a_transaction_leaves_it_to_the_parent(tmp_path: Path) -> None:
    """The child leaves the block with its own copy of the transaction: it must not commit it, and
    the parent's commit goes through. Defends I-1."""
    db = rango.open(tmp_path / "db", key=KEY)
    with db.transaction():
        db["t"].insert_one({"_id": 1})

        def leave() -> None:
            with pytest.raises(ForkedHandle):
                db["t"].insert_one({"_id": 2})

        in_child(leave)
        db["t"].insert_one({"_id": 3})
    assert [each["_id"] for each in db["t"].find({})] == [1, 3]
    assert not list(db.check())
    db.close()


def test_a_child_may_open_the_database_when_its_parent_has_closed_it(tmp_path: Path) -> None:
    """The rule of the caveats, in code."""
    db = rango.open(tmp_path / "db", key=KEY)
    db["t"].insert_one({"_id": 1})
    db.close()

    def use() -> None:
        with rango.open(tmp_path / "db", key=KEY) as own:
            own["t"].insert_one({"_id": 2})

    in_child(use)
    with rango.open(tmp_path / "db", key=KEY) as again:
        assert again["t"].count_documents({}) == 2


EXITING_CHILD = """
import os, sys, rango
from tests.engine_case import KEY
db = rango.open(sys.argv[1], key=KEY)
db["t"].insert_one({"_id": 1})
pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
db["t"].insert_one({"_id": 2})
assert db["t"].count_documents({}) == 2
"""


def test_a_child_that_exits_in_the_ordinary_way_does_not_hurt_its_parent(tmp_path: Path) -> None:
    """sys.exit in the child runs finalizers of handles that are not its own: silence, no frame
    written, no lock dropped."""
    assert python_run(EXITING_CHILD, tmp_path / "db") == ""
    with rango.open(tmp_path / "db", key=KEY) as db:
        assert db["t"].count_documents({}) == 2
        assert not list(db.check())


DYING_PARENT = """
import os, sys, time, rango
from tests.engine_case import KEY
db = rango.open(sys.argv[1], key=KEY)
db["t"].insert_one({"_id": 1})
pid = os.fork()
if pid == 0:
    print(os.getpid(), flush=True)  # it runs, so it has closed its copies
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


def test_the_death_of_a_parent_frees_the_lock_although_its_child_lives(tmp_path: Path) -> None:
    """A forked child shares open file descriptions, and a lock lives as long as one of them: so
    the child closes its copies at the fork."""
    process = python_start(DYING_PARENT, tmp_path / "db")
    child = int(line_of(process))
    try:
        assert [user.pid for user in lock_state(str(tmp_path / "db")).users] == [process.pid]
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        os.kill(child, 0)  # it lives
        assert lock_state(str(tmp_path / "db")) == ("no", ())
        with rango.open(tmp_path / "db", key=KEY) as db:
            assert db["t"].count_documents({}) == 1
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate(timeout=60)


HOLDER = """
import sys, rango
from tests.engine_case import KEY
with rango.open(sys.argv[1], key=KEY) as db:
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_goes_on_when_the_first_one_closes(tmp_path: Path) -> None:
    """Whoever leaves first only flushes; the last one ends the log in order."""
    process = python_start(HOLDER, tmp_path / "db")
    assert line_of(process) == "ready"
    with rango.open(tmp_path / "db", key=KEY) as db:
        db["t"].insert_one({"_id": 1})
        process.communicate("\n", timeout=60)
        db["t"].insert_one({"_id": 2})
    with rango.open(tmp_path / "db", key=KEY) as db:
        assert db["t"].count_documents({}) == 2
        assert not db.stats()["findings"]
        assert list(db.check()) == []


def test_a_change_of_the_working_directory_does_not_move_an_open_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened by a relative path; the program then changes its directory. Segments, checkpoints and
    close go where the database is, and the path can be opened again afterwards."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    db = open_tiny("db", key=KEY, durability="memory")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for number in range(400):
        db["t"].insert_one({"_id": number, "filler": "x" * 100})
    db.checkpoint()
    assert not list(db.check())
    db.close()
    assert not list((tmp_path / "elsewhere").iterdir())
    assert len(list((tmp_path / "db" / "oplog").glob("*.rgo"))) > 2
    monkeypatch.chdir(tmp_path)
    with rango.open("db", key=KEY) as again:
        assert again["t"].count_documents({}) == 400


def test_a_directory_that_is_replaced_while_open_is_another_database(tmp_path: Path) -> None:
    """rm -r and a new database in the same place, with a closed handle to the old one: its core
    must not be found again under the new directory's inode."""
    for _round in range(5):
        db = rango.open(tmp_path / "db", key=KEY, durability="memory")
        db["t"].insert_one({"_id": _round})
        (tmp_path / "db").rename(tmp_path / f"moved-{_round}")
        db.close()
        with rango.open(tmp_path / "db", key=KEY) as fresh:
            assert fresh["t"].count_documents({}) == 0
        (tmp_path / "db").rename(tmp_path / f"fresh-{_round}")
        with rango.open(tmp_path / f"moved-{_round}", key=KEY) as moved:
            assert moved["t"].count_documents({}) == 1
