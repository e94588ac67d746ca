"""The short way of following: what it takes over, what it leaves to the long way, and that nobody
sees the difference.

Method      `near.count` says how often the short way was all that was needed. Each case makes one
            thing happen that is not short, looks at what is seen, and at the count; then a plain
            commit has to go the short way again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rango._ext import layout
from rango._ext.collection_info import IndexInfo
from rango._ext.overlay_node import overlay_allocations_fail_after
from rango._ext.record import encode
from rango._ext.vfs import RANGE_LOCKS
from rango.engine import compact, purge
from rango.engine import keys as keys_module
from rango.engine.compact import Keep
from rango.engine.core import Core
from rango.engine.query import Query
from rango.errors import DatabaseClosed, IoFailed, LogCorrupted
from rango.storage.keyring import RawKey
from tests.unit.engine_case import documents_of, insert
from tests.unit.pair_case import (
    APPENDED_WORD,
    APPENDING_WORD,
    DURABLE_WORD,
    POSITION_WORD,
    SEGMENT_WORD,
    Pair,
    die,
    numbers,
)

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")

SECRET = RawKey(bytes(range(32)))


def near(writer: Core, *readers: Core) -> None:
    """Let everybody stand behind the last commit, with the segment open."""
    for _ in range(2):
        insert(writer, "a", [{"_id": writer.store.head.ordinal + 1_000}])
        for reader in readers:
            reader.view()
    for reader in readers:
        assert is_short(reader, lambda: insert(writer, "a", [{"_id": writer.store.head.ordinal}]))


def is_short(reader: Core, work: Callable[[], object]) -> bool:
    """Whether what the work did was taken over the short way alone."""
    work()
    assert reader.store.is_behind()
    before = reader.follower.near.count
    reader.view()
    return reader.follower.near.count == before + 1


def roll(core: Core) -> None:
    core.append_lock_take()
    core.store.appender.roll_over()
    core.append_lock.drop()


def index(core: Core) -> None:
    core.create_index("a", IndexInfo("n_1", 0, (("n", 1),)))


def large(core: Core) -> None:
    """A commit of several frames."""
    insert(core, "a", [{"_id": "large", "pad": os.urandom(100_000).hex()}])


def many(core: Core) -> None:
    """More than a block of commits."""
    insert(core, "a", [{"_id": n, "pad": os.urandom(1_000).hex()} for n in range(100, 150)])


UNUSUAL: dict[str, Callable[[Core], object]] = {
    "another segment": lambda core: (roll(core), insert(core, "a", [{"_id": "rolled"}])),
    "a checkpoint": lambda core: core.checkpoint(),
    "a checkpoint and more": lambda core: (core.checkpoint(), insert(core, "a", [{"_id": "c"}])),
    "a new collection": lambda core: insert(core, "b", [{"_id": 1}]),
    "a collection without documents": lambda core: core.create_collection("c"),
    "a dropped collection": lambda core: core.drop_collection("a"),
    "a new index": index,
    "new keys": keys_module.rotate,
    "new keys and more": lambda core: (
        keys_module.rotate(core),
        insert(core, "a", [{"_id": "rotated"}]),
    ),
    "a large commit": large,
    "many commits": many,
    "a purge": lambda core: purge.purge(core, "a", Query({"_id": 1})),
    "history that is given up": lambda core: compact.compact(core, Keep(is_now=True)),
}


@pytest.mark.parametrize("reader_only", [False, True], ids=["writer", "reader"])
@pytest.mark.parametrize("unusual", UNUSUAL)
def test_what_is_not_short_goes_the_long_way(pair: Pair, unusual: str, reader_only: bool) -> None:
    first = pair(secret=SECRET)
    insert(first, "a", [{"_id": n, "n": n % 3, "pad": "x" * 99} for n in range(5)])
    other, plain = pair(secret=SECRET, read_only=reader_only), pair(secret=SECRET)
    near(first, other, plain)
    assert not is_short(other, lambda: UNUSUAL[unusual](first))
    for core in (other, plain):
        for name in ("a", "b", "c"):
            assert (name in core.collections()) == (name in first.collections())
        if "a" in first.collections():
            assert documents_of(core, "a") == documents_of(first, "a")
            infos = [core.collections()["a"] for core in (core, first)]
            assert [each.name for each in infos[0].ready] == [each.name for each in infos[1].ready]
    near(plain, other, first)
    near(first, other, plain)
    assert list(other.check()) == []


def test_several_commits_are_taken_over_at_once_and_views_keep_what_they_had(pair: Pair) -> None:
    first, second = pair(), pair()
    near(first, second)
    held = [(second.view(), numbers(second))]
    for count in (1, 2, 7, 30):
        added = [{"_id": count * 100 + n, "pad": "x" * n} for n in range(count)]
        assert is_short(second, partial(insert, first, "a", added))
        held.append((second.view(), numbers(second)))
    for view, seen in held:
        tree = view.catalog.collections["a"].tree_id
        assert view.count(tree) == len(seen)
        scan = view.scan(tree, None, None, False, None)
        assert len(scan.next_records(1 << 20)) == len(seen)


def test_a_reader_takes_over_what_may_be_seen_and_a_writer_everything(pair: Pair) -> None:
    first, second, reader = pair(), pair(), pair(read_only=True)
    near(first, second, reader)
    before, reached = numbers(reader), reader.store.reached
    first.stand_by = lambda _ordinal: None  # type: ignore[method-assign]
    insert(first, "a", [{"_id": 7}, {"_id": 8}])
    assert numbers(reader) == numbers(second) == before
    assert reader.store.reached == second.store.reached == reached
    # its own commit comes behind theirs, and its flush covers them
    count = second.follower.near.count
    insert(second, "a", [{"_id": 9}])
    assert second.follower.near.count == count + 1
    assert numbers(reader) == numbers(second) == sorted([*before, 7, 8, 9])
    assert numbers(first) == sorted([*before, 7, 8, 9])


def test_commits_that_wait_are_seen_once_they_are_durable_and_not_before(pair: Pair) -> None:
    first, second = pair(), pair()
    near(first, second)
    before = numbers(second)
    first.stand_by = second.stand_by = lambda _ordinal: None  # type: ignore[method-assign]
    insert(first, "a", [{"_id": 7}])
    insert(second, "a", [{"_id": 8}])
    insert(first, "a", [{"_id": 9}])
    for core in (first, second):
        core.store.look()
        assert numbers(core) == before
    assert second.store.reached == pair.word(APPENDED_WORD)
    pair.word(DURABLE_WORD, pair.word(APPENDED_WORD) - 1)
    for core in (first, second):
        assert numbers(core) == sorted([*before, 7, 8])
    pair.word(DURABLE_WORD, pair.word(APPENDED_WORD))
    for core in (first, second):
        assert numbers(core) == sorted([*before, 7, 8, 9])


def test_flush_covers_what_others_appended_and_nobody_has_seen(pair: Pair) -> None:
    first, second = pair(), pair()
    near(first, second)
    first.stand_by = lambda _ordinal: None  # type: ignore[method-assign]
    insert(first, "a", [{"_id": 7}])
    assert pair.word(DURABLE_WORD) < pair.word(APPENDED_WORD)
    second.flush()
    assert pair.word(DURABLE_WORD) == pair.word(APPENDED_WORD)
    assert 7 in numbers(second)


def test_what_a_writer_that_died_left_behind_is_not_looked_at(pair: Pair) -> None:
    dead, second, reader = pair(), pair(), pair(read_only=True)
    near(dead, second, reader)
    before = numbers(reader)
    words = {word: pair.word(word) for word in (APPENDED_WORD, SEGMENT_WORD, POSITION_WORD)}
    dead.append_lock_take()
    body = bytearray(300)
    body[layout.COMMIT_VERSION] = 2
    dead.store.appender.append_bytes(bytes(body))
    for word, value in words.items():
        pair.word(word, value)
    pair.word(APPENDING_WORD, dead.lock.shared.me)
    die(dead)
    assert numbers(reader) == numbers(second) == before
    assert is_short(reader, lambda: insert(second, "a", [{"_id": 7}]))
    assert numbers(reader) == sorted([*before, 7])
    assert list(second.check()) == []


def test_a_failed_write_ends_the_short_way_at_what_is_durable(pair: Pair) -> None:
    first, second = pair(), pair()
    near(first, second)
    before = numbers(second)
    first.stand_by = lambda _ordinal: None  # type: ignore[method-assign]
    insert(first, "a", [{"_id": 7}])
    second.lock.shared.fail(5)
    for core in (second, first):
        assert numbers(core) == before
    with pytest.raises(IoFailed):
        insert(second, "a", [{"_id": 8}])
    pair.word(DURABLE_WORD, pair.word(APPENDED_WORD))
    assert numbers(second) == sorted([*before, 7])


@pytest.mark.parametrize("read_only", [False, True])
def test_a_commit_that_cannot_be_taken_over_is_refused_each_time(
    pair: Pair, read_only: bool
) -> None:
    first, reader = pair(), pair(read_only=read_only)
    near(first, reader)
    before = numbers(reader)
    insert(first, "a", [{"_id": 7}])
    first.append_lock_take()
    body = bytearray(300)
    body[layout.COMMIT_VERSION], body[layout.COMMIT_COUNT] = 2, 1
    first.store.reached = first.store.appender.append_bytes(bytes(body))
    first.append_lock.drop()
    first.store.appender.flush()
    for _ in range(3):
        with pytest.raises(LogCorrupted, match="body is malformed"):
            reader.view()
        assert reader.store.head.ordinal < first.store.reached
    assert before == sorted({*numbers(first)} - {7})
    # nothing can be appended behind it any more, by one that closes either
    die(first)
    if not read_only:
        die(reader)


@pytest.mark.parametrize("read_only", [False, True])
def test_without_memory_nothing_is_taken_over_and_nothing_is_lost(
    pair: Pair, read_only: bool
) -> None:
    first, reader = pair(), pair(read_only=read_only)
    near(first, reader)
    failures = 0
    for turn in range(40):
        insert(first, "a", [{"_id": 100 + turn, "pad": "x" * turn}, {"_id": 200 + turn}])
        seen = reader.store.head.ordinal
        overlay_allocations_fail_after(turn % 9)
        try:
            reader.view()
        except MemoryError:
            failures += 1
            assert reader.store.head.ordinal == seen
        finally:
            overlay_allocations_fail_after(-1)
        assert numbers(reader) == numbers(first)
    assert 10 < failures < 40
    assert list(reader.check()) == []


def test_a_thread_that_follows_keeps_the_others_from_it(pair: Pair) -> None:
    first, second = pair(), pair()
    near(first, second)
    insert(first, "a", [{"_id": 7}])
    found: list[list[int]] = []
    reader = threading.Thread(target=lambda: found.append(numbers(second)))
    count = second.follower.near.count
    with second.follow_lock:
        reader.start()
        reader.join(0.05)
        assert reader.is_alive() and found == []
    reader.join()
    assert 7 in found[0]
    # it waited for the long way
    assert second.follower.near.count == count


def test_a_closed_core_says_so_whatever_others_do(pair: Pair) -> None:
    first, second = pair(), pair()
    near(first, second)
    store = second.store
    second.release()
    insert(first, "a", [{"_id": 7}])
    with pytest.raises(DatabaseClosed):
        _ = second.store.current
    # one that a thread had at hand
    with pytest.raises(DatabaseClosed):
        _ = store.current


def test_a_forked_child_says_so_whatever_others_do(tmp_path: Path) -> None:
    code = """
import os, sys, rango
path = sys.argv[1]
db, other = rango.open(path), None
rows = db["rows"]
rows.insert_one({"_id": 0})
def beside(number):
    child = os.fork()
    if child == 0:
        with rango.open(path) as mine:
            mine["rows"].insert_one({"_id": number})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
for number in range(1, 6):
    beside(number)
    assert rows.find_one(number) == {"_id": number}
store = db._handle.core.store
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.read(reading, 1)
    for look in (lambda: rows.find_one(6), lambda: store.current):
        try:
            look()
        except rango.errors.ForkedHandle:
            print("forked", flush=True)
    os._exit(0)
beside(6)
os.write(writing, b"x")
os.waitpid(child, 0)
print(rows.find_one(6))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "db")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split("\n")[:3], done.stderr) == (["forked", "forked", "{'_id': 6}"], "")


def test_an_index_that_another_process_made_is_known_to_whoever_writes_next(pair: Pair) -> None:
    first, second = pair(), pair()
    near(first, second)
    index(first)
    insert(second, "a", [{"_id": 7, "n": 1}])
    assert second.catalog is second.store.head.catalog or second.store.head.catalog.collections
    assert list(second.check()) == list(first.check()) == []
    info = second.collections()["a"]
    second.insert_one(info, encode({"_id": 8, "n": 1}))
    assert list(first.check()) == []


def test_a_flush_does_not_answer_for_a_commit_that_is_being_written(pair: Pair) -> None:
    core = pair()
    core.stand_by = lambda _ordinal: None  # type: ignore[method-assign]
    insert(core, "a", [{"_id": 7}])
    insert(core, "a", [{"_id": 8}])
    last = pair.word(APPENDED_WORD)
    # as it is between the last one's frame and its word; whoever dies there had no such commit
    pair.word(APPENDED_WORD, last - 1)
    core.store.appender.flush(last - 1)
    assert pair.word(DURABLE_WORD) == last - 1
    pair.word(APPENDED_WORD, last)
    core.store.appender.flush(last)
    assert pair.word(DURABLE_WORD) == last
