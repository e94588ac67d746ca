"""Two cores on one directory: each has descriptors, a place in the table and an overlay of its own,
as two processes have. What one does the other finds, whatever line the first one died in.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from rango._ext.collection_info import IndexInfo
from rango._ext.record import encode
from rango._ext.shared import APPEND_OWNER_WORD
from rango._ext.vfs import POSIX, RANGE_LOCKS
from rango.engine import checkpoint, purge, recovery
from rango.engine import index as index_module
from rango.engine import keys as keys_module
from rango.engine.core import Core
from rango.engine.query import Query
from rango.errors import DatabaseBusy, IoFailed
from rango.indexes import asked_check
from rango.storage.keyring import RawKey
from rango.storage.lock import DatabaseLock
from tests.unit.engine_case import insert, options_of
from tests.unit.pair_case import (
    APPENDED_WORD,
    APPENDING_WORD,
    DURABLE_WORD,
    FLUSH_EXPECTED_WORD,
    FLUSH_OWNER_WORD,
    FLUSHING_WORD,
    POSITION_WORD,
    SEGMENT_WORD,
    Pair,
    die,
    numbers,
)

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")


def test_a_core_that_is_closed_inside_a_transaction_takes_nobodys_append_lock_later(
    pair: Pair,
) -> None:
    first, second = pair(), pair()
    first.append_lock_take()
    word = pair.word(APPEND_OWNER_WORD)
    assert word == first.lock.shared.me
    # taken over from the dead, or from one whose close did not wait any longer
    pair.word(APPEND_OWNER_WORD, second.lock.shared.me)
    first.append_lock.drop()
    assert pair.word(APPEND_OWNER_WORD) == second.lock.shared.me
    pair.word(APPEND_OWNER_WORD, 0)


def test_a_commit_is_durable_although_whoever_flushes_was_stopped(pair: Pair) -> None:
    first, stopped = pair(), pair()
    pair.word(FLUSH_OWNER_WORD, stopped.lock.shared.me)
    insert(first, "a", [{"_id": 1}])
    assert pair.word(DURABLE_WORD) == first.store.head.ordinal
    # the leader's words are the leader's still
    assert pair.word(FLUSH_OWNER_WORD) == stopped.lock.shared.me
    pair.word(FLUSH_OWNER_WORD, 0)


def test_a_flush_takes_over_from_one_that_died_and_writes_what_it_had_not_proven(
    pair: Pair,
) -> None:
    first, dead, other = pair(), pair(), pair()
    pair.word(FLUSH_OWNER_WORD, dead.lock.shared.me)
    pair.word(FLUSHING_WORD, dead.lock.shared.me)
    die(dead)
    insert(first, "a", [{"_id": 1}])
    assert pair.word(FLUSH_OWNER_WORD) == pair.word(FLUSHING_WORD) == 0
    assert numbers(other) == [1]


def test_one_that_opens_during_a_recovery_waits_although_readers_are_there(
    tmp_path: Path,
) -> None:
    Core(options_of(tmp_path)).release()
    reader = Core(options_of(tmp_path, read_only=True))
    lock = DatabaseLock.acquire(POSIX, str(tmp_path), read_only=False, now_ms=1)
    assert lock.is_alone
    lock.shared.begin(9, 9, 9, 9, 9, 9)
    # nobody believes it yet, and the reader does not wait for it either
    reader.view()
    with pytest.raises(DatabaseBusy):
        DatabaseLock.acquire(POSIX, str(tmp_path), read_only=False, now_ms=1, wait_s=0.01)
    lock.release()
    reader.view()
    writer = Core(options_of(tmp_path))
    insert(writer, "a", [{"_id": 1}])
    assert numbers(reader) == [1]
    for core in (reader, writer):
        core.release()


def test_a_checkpoint_beside_a_writer_in_memory_mode_flushes_the_log_first(pair: Pair) -> None:
    first = pair(durability="memory")
    insert(first, "a", [{"_id": n} for n in range(5)])
    assert pair.word(DURABLE_WORD) < first.store.head.ordinal
    second = pair()
    second.checkpoint()
    assert second.slot is not None
    assert pair.word(DURABLE_WORD) >= second.slot.ordinal


def test_what_is_not_durable_yet_is_not_seen_by_one_that_opens_meanwhile(pair: Pair) -> None:
    first = pair()
    insert(first, "a", [{"_id": 1}])
    info = first.collections()["a"]
    first.stand_by = lambda _ordinal: None  # type: ignore[method-assign]
    first.insert_one(info, encode({"_id": 2}))
    second = pair()
    assert numbers(second) == [1]
    first.store.appender.flush()
    assert numbers(second) == [1, 2]
    assert numbers(first) == [1, 2]


def test_one_that_opens_after_a_writer_died_behind_a_new_segment_goes_on_in_the_old_one(
    pair: Pair,
) -> None:
    first = pair()
    insert(first, "a", [{"_id": 1}])
    bystander = pair()
    segment = pair.word(SEGMENT_WORD)
    position, ordinal = pair.word(POSITION_WORD), pair.word(APPENDED_WORD)
    first.store.appender.roll_over()
    # it died before it told anybody
    pair.word(SEGMENT_WORD, segment)
    pair.word(POSITION_WORD, position)
    assert pair.word(APPENDED_WORD) == ordinal
    pair.word(APPENDING_WORD, first.lock.shared.me)
    second = pair()
    insert(second, "a", [{"_id": 2}])
    assert numbers(bystander) == numbers(second) == [1, 2]
    insert(bystander, "a", [{"_id": 3}])
    assert numbers(second) == [1, 2, 3]
    assert list(second.check()) == []
    pair.cores.remove(first)
    first.store.appender.close()
    third = pair()
    assert numbers(third) == [1, 2, 3]


def test_a_commit_does_not_fail_because_another_process_is_at_a_checkpoint(pair: Pair) -> None:
    first, second = pair(), pair(overlay_entries_max=2)
    insert(first, "a", [{"_id": 0}])
    with first.checkpoint_lock:
        insert(second, "a", [{"_id": n} for n in range(1, 6)])
    assert second.checkpoints == 0
    insert(second, "a", [{"_id": 6}])
    assert second.checkpoints == 1
    assert numbers(first) == list(range(7))


def test_a_purge_clears_no_page_of_a_checkpoint_that_another_process_has_just_made(
    pair: Pair,
) -> None:
    first, second = pair(), pair()
    insert(first, "a", [{"_id": n, "pad": "x" * 500} for n in range(50)])
    real = first.checkpoint
    calls = []

    def checkpoint_then_others() -> None:
        real()
        calls.append(1)
        if len(calls) == 2:
            for start in (100, 150, 200):
                insert(second, "a", [{"_id": start + n, "p": "y" * 500} for n in range(50)])
                second.checkpoint()

    first.checkpoint = checkpoint_then_others  # type: ignore[method-assign]
    purge.finish(first)
    assert list(second.check()) == []
    assert list(first.check()) == []
    assert numbers(first) == [*range(50), *range(100, 250)]


def test_an_index_whose_builder_died_is_built_by_the_next_one_that_asks(pair: Pair) -> None:
    first, second = pair(), pair()
    insert(first, "a", [{"_id": n, "n": n} for n in range(5)])
    asked = IndexInfo("n_1", 0, (("n", 1),))
    with pytest.MonkeyPatch.context() as patch:

        def dies(*_arguments: object) -> None:
            raise RuntimeError

        patch.setattr(index_module, "fill", dies)
        patch.setattr(index_module, "drop_unfinished", lambda *_: None)
        with pytest.raises(RuntimeError):
            first.create_index("a", asked)
    second.create_index("a", asked)
    assert [each.name for each in second.collections()["a"].ready] == ["n_1"]
    assert [each.name for each in first.collections()["a"].ready] == ["n_1"]
    assert list(second.check()) == []


def test_a_slot_whose_writer_died_before_telling_is_told_by_the_next_checkpoint(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair(), pair()
    insert(first, "a", [{"_id": 1}])

    def dies(*_arguments: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "adopt", dies)
        with pytest.raises(RuntimeError):
            first.checkpoint()
    third = pair()
    assert third.slot is not None
    named = third.slot.generation
    assert third.lock.shared.generation < named
    insert(third, "a", [{"_id": 2}])
    checkpoint.refresh(third)
    assert third.lock.shared.generation == named
    for core in (first, second, third):
        assert numbers(core) == [1, 2]
        core.checkpoint()
        assert list(core.check()) == []


def test_the_last_one_closes_behind_a_slot_whose_writer_died_before_telling(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, first = pair(), pair()
    insert(first, "a", [{"_id": 1}])
    first.checkpoint()
    insert(last, "a", [{"_id": 2}])
    before = last.slot
    assert before is not None
    insert(first, "a", [{"_id": 3}])

    def dies(*_arguments: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "adopt", dies)
        with pytest.raises(RuntimeError):
            first.checkpoint()
    die(first)
    insert(last, "a", [{"_id": 4}])
    assert last.lock.retake_alone()
    last.checkpoint()
    assert last.slot is not None
    assert last.slot.generation == before.generation + 2
    last.release()
    again = pair()
    assert numbers(again) == [1, 2, 3, 4]
    assert list(again.check()) == []


def test_following_a_neighbour_opens_no_file_until_the_segment_changes(pair: Pair) -> None:
    first, second = pair(), pair()
    reader = pair(read_only=True)
    insert(first, "a", [{"_id": 0}])
    kept = []
    for number in range(1, 40):
        insert(first if number % 3 else second, "a", [{"_id": number, "pad": "x" * number}])
        assert numbers(second) == numbers(reader) == list(range(number + 1))
        kept.append((second.follower._near_fd, reader.follower._near_fd))
    assert len(set(kept)) == 1
    names = set(os.listdir("/proc/self/fd"))
    for number in range(40, 45):
        first.append_lock_take()
        first.store.appender.roll_over()
        first.append_lock.drop()
        insert(first, "a", [{"_id": number}])
        assert numbers(second) == numbers(reader) == list(range(number + 1))
    assert len(os.listdir("/proc/self/fd")) == len(names)
    # more than one block at once, over the end of a segment
    insert(second, "a", [{"_id": 45, "pad": "x" * 200_000}])
    insert(second, "a", [{"_id": number} for number in range(46, 2_000)])
    assert numbers(first) == numbers(reader) == list(range(2_000))
    for core in (first, second, reader):
        assert list(core.check()) == []


def test_a_segment_and_a_checkpoint_that_come_while_somebody_opens_are_no_damage(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pair()
    insert(first, "a", [{"_id": 0}])
    choose, turns = recovery.choose_slot, []

    def after_a_checkpoint(*arguments: object) -> object:
        if not turns:
            turns.append(1)
            first.append_lock_take()
            first.store.appender.roll_over()
            first.append_lock.drop()
            insert(first, "a", [{"_id": 1}])
            first.checkpoint()
        return choose(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(recovery, "choose_slot", after_a_checkpoint)
    second = pair()
    assert turns and numbers(second) == [0, 1]
    insert(second, "a", [{"_id": 2}])
    assert numbers(first) == [0, 1, 2]
    assert list(second.check()) == []


def test_keys_that_are_rotated_while_somebody_opens_are_no_damage(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = RawKey(bytes(range(32)))
    first = pair(secret=secret)
    insert(first, "a", [{"_id": 0}])
    choose, turns = recovery.choose_slot, []

    def after_two_rotations(*arguments: object) -> object:
        if not turns:
            turns.append(1)
            for _ in range(2):
                keys_module.rotate(first)
                insert(first, "a", [{"_id": first.store.head.ordinal}])
        return choose(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(recovery, "choose_slot", after_two_rotations)
    second = pair(secret=secret)
    assert turns and numbers(second) == numbers(first)
    assert len(numbers(first)) == 3
    assert list(second.check()) == []


@pytest.mark.parametrize("durability", ["commit", "memory"])
def test_a_lock_file_that_is_deleted_while_it_is_open_ends_the_writing(
    pair: Pair, durability: str
) -> None:
    first, second = pair(durability=durability), pair(durability=durability)
    insert(first, "a", [{"_id": 0}])
    first.flush()
    os.remove(pair.path / "lock")
    third = pair(durability=durability)
    with pytest.raises(IoFailed, match="lock file was deleted or replaced"):
        for number in range(100, 170):
            insert(first, "b", [{"_id": number}])
    with pytest.raises(IoFailed, match="lock file was deleted or replaced"):
        insert(second, "a", [{"_id": 2}])
    assert numbers(first) == numbers(second) == [0]
    for core in (first, second):
        core.release()
    if durability == "commit":
        insert(third, "a", [{"_id": 1}])
        assert list(third.check()) == []
        assert numbers(pair(durability=durability)) == [0, 1]


def test_check_beside_another_one_that_changed_the_epoch_finds_nothing(pair: Pair) -> None:
    secret = RawKey(bytes(range(32)))
    first, second = pair(secret=secret), pair(secret=secret)
    insert(first, "a", [{"_id": 1}])
    first.checkpoint()
    assert list(second.check()) == []
    keys_module.rotate(first)
    insert(first, "a", [{"_id": 2}])
    first.checkpoint()
    # it has not looked at anything since
    assert list(second.check()) == []
    assert numbers(second) == [1, 2]


def test_a_process_expires_what_an_index_of_another_one_ends(pair: Pair) -> None:
    first, second = pair(), pair(ttl_interval_s=3_600)
    insert(first, "a", [{"_id": 0}])
    assert not second.expirer.stats()["running"]
    first.create_index("a", asked_check("at", {"expire_after_s": 60}))
    assert numbers(second) == [0]
    assert second.expirer.stats()["running"]


def test_checkpoints_come_earlier_while_others_are_there(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHARED_ENTRIES_MAX", 20)
    monkeypatch.setattr("rango.storage.lock.LOOK_ENTRIES", 5)
    first = pair()
    for number in range(40):
        insert(first, "a", [{"_id": number}])
    assert first.checkpoints == 0
    assert first.store.overlay_count >= 40
    pair().release()
    for number in range(41, 50):
        insert(first, "a", [{"_id": number}])
    # somebody was there, and read all of it
    assert first.store.overlay_count < 20
    for number in range(50, 90):
        insert(first, "a", [{"_id": number}])
    assert first.store.overlay_count >= 40


def test_whoever_flushes_expects_those_who_came_too_late_for_the_flush_before(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair(), pair()
    insert(first, "a", [{"_id": number} for number in range(3)])
    insert(first, "a", [{"_id": 3}])
    assert pair.word(FLUSH_EXPECTED_WORD) == 1
    # two that are appended and not flushed, as when their writers wait for somebody's flush
    monkeypatch.setattr(second, "stand_by", lambda _ordinal: None)
    insert(second, "a", [{"_id": 4}])
    insert(second, "a", [{"_id": 5}])
    insert(first, "a", [{"_id": 6}])
    assert pair.word(FLUSH_EXPECTED_WORD) == 3
    assert pair.word(DURABLE_WORD) == pair.word(APPENDED_WORD)
    # nobody else comes any more: one short wait, and then none
    insert(first, "a", [{"_id": 7}])
    assert pair.word(FLUSH_EXPECTED_WORD) == 1
    assert numbers(second) == list(range(8))


def test_one_that_was_idle_follows_over_a_purge_of_what_it_has_not_seen(pair: Pair) -> None:
    first, second, idle = pair(), pair(), pair()
    insert(first, "a", [{"_id": n} for n in range(5)])
    assert numbers(idle) == list(range(5))
    insert(first, "a", [{"_id": n, "pad": "x" * 99} for n in range(5, 9)])
    purge.purge(first, "a", Query({"_id": {"$in": [6, 7]}}))
    insert(first, "a", [{"_id": 9}])
    for core in (idle, second, first):
        assert numbers(core) == [0, 1, 2, 3, 4, 5, 8, 9]
        assert list(core.check()) == []
    insert(idle, "a", [{"_id": 10}])
    assert numbers(second) == numbers(idle) == [0, 1, 2, 3, 4, 5, 8, 9, 10]


def test_two_processes_purge_one_after_the_other(pair: Pair) -> None:
    first, second = pair(), pair(ids=itertools.count(9_000_000).__next__)
    insert(first, "a", [{"_id": n} for n in range(4)])
    purge.purge(first, "a", Query({"_id": 1}))
    purge.purge(second, "a", Query({"_id": 2}))
    for core in (first, second):
        assert numbers(core) == [0, 3]
        assert list(core.check()) == []
    purge.purge(first, "a", Query({"_id": 3}))
    assert list(second.check()) == []
