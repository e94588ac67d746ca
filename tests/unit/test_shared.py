"""The words that processes share: ids, places, pins, and locks whose owner may be dead."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rango._ext.append_lock import AppendLock
from rango._ext.pins import lease, pinned_by_others, pinned_here
from rango._ext.process_lock import ProcessLock
from rango._ext.shared import PLACES_LOCK, SHARED_SIZE, TABLE_OFFSET, Shared
from rango._ext.vfs import POSIX, RANGE_LOCKS, VFS_CREATE, VFS_EXCLUSIVE_LOCK, VFS_WRITE
from rango.errors import DatabaseBusy
from rango.storage.lock import USER

pytestmark = pytest.mark.skipif(not RANGE_LOCKS, reason="the system has no range locks")

HOLD = """
import sys
from rango._ext.append_lock import AppendLock
from rango._ext.shared import Shared
from rango._ext.vfs import POSIX, VFS_WRITE
shared = Shared(POSIX, POSIX.open(sys.argv[1], VFS_WRITE), sys.argv[1])
shared.enter(1)
lock = AppendLock(shared)
assert lock.take(0)
print("held", flush=True)
sys.stdin.read()
"""


class File:
    """A lock file; each user of it has a descriptor of its own, as a process has."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.descriptors: list[int] = []
        path.write_bytes(bytes(SHARED_SIZE))

    def descriptor(self) -> int:
        self.descriptors.append(POSIX.open(self.path, VFS_WRITE | VFS_CREATE))
        return self.descriptors[-1]

    def user(self) -> Shared:
        shared = Shared(POSIX, self.descriptor(), self.path)
        shared.enter(7)
        return shared

    def close(self, descriptor: int) -> None:
        """What a death does to it."""
        self.descriptors.remove(descriptor)
        POSIX.close(descriptor)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    made = File(tmp_path / "lock")
    yield made
    for descriptor in made.descriptors:
        POSIX.close(descriptor)


def test_an_id_is_never_given_out_twice_and_a_place_is_once_it_is_free(file: File) -> None:
    first, second = file.user(), file.user()
    assert (first.me, second.me) == (1, 2)
    assert [is_this for *_rest, is_this in first.users()] == [True, False]
    first.leave()
    first.leave()
    third = file.user()
    assert third.me == 3
    assert len(second.users()) == 2
    # the one that recovers alone goes on with the ids, too
    third.begin(5, 4, 3, 2, 1, 4096)
    assert not third.is_ready
    third.tell()
    assert second.is_ready and (second.appended, second.durable, second.generation) == (5, 4, 3)
    assert file.user().me == 4


def test_a_full_table_says_so(file: File) -> None:
    places = (SHARED_SIZE - TABLE_OFFSET) // USER.size
    assert POSIX.lock(file.descriptor(), PLACES_LOCK, places, VFS_EXCLUSIVE_LOCK)
    with pytest.raises(DatabaseBusy, match=str(places)):
        file.user()


def test_the_pins_of_others_count_until_the_last_lease_is_gone(file: File) -> None:
    first, second, third = file.user(), file.user(), file.user()
    old, again, newer = lease(second, 5), lease(second, 5), lease(second, 6)
    other = lease(third, 4)
    assert pinned_by_others(first) == ({4, 5, 6}, None)
    assert pinned_by_others(second) == ({4}, None) and pinned_here(second) == {5, 6}
    assert pinned_by_others(third) == ({5, 6}, None)
    del other, old
    assert pinned_by_others(first) == ({5, 6}, None)
    del again
    assert pinned_by_others(first) == ({6}, None)
    first.overruled = 7
    assert second.is_overruled and not third.is_overruled
    del newer
    assert pinned_by_others(first) == (set(), None) and not second.is_overruled


def test_pins_without_a_word_of_their_own_are_known_by_the_oldest(file: File) -> None:
    first, second = file.user(), file.user()
    leases = {number: lease(second, number) for number in range(100, 112)}
    assert pinned_by_others(first) == (set(leases), None)
    more = {number: lease(second, number) for number in (50, 40, 60)}
    assert pinned_by_others(first) == (set(leases), 40)
    # a word that is free is given to the oldest of those that have none
    del leases[105]
    assert pinned_by_others(first) == (set(leases) | {40}, 50)
    del more[50]
    assert pinned_by_others(first) == (set(leases) | {40}, 60)
    del more[40]
    assert pinned_by_others(first) == (set(leases) | {60}, None)
    more[200] = lease(second, 200)
    assert pinned_by_others(first) == (set(leases) | {60}, 200)
    again = lease(second, 200)
    del more[200]
    assert pinned_by_others(first) == (set(leases) | {60}, 200)
    del again
    more.clear()
    assert pinned_by_others(first) == (set(leases), None)
    leases.clear()
    second.leave()
    assert pinned_by_others(file.user()) == (set(), None)


def test_the_pin_of_a_dead_user_holds_nothing(file: File) -> None:
    first, dead = file.user(), file.user()
    held = lease(dead, 5)
    assert pinned_by_others(first) == ({5}, None)
    file.close(file.descriptors[-1])
    assert pinned_by_others(first) == (set(), None)
    del held


def test_an_owner_that_lives_keeps_its_lock_and_a_killed_one_loses_it(file: File) -> None:
    lock = AppendLock(shared := file.user())
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, file.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    assert not lock.take(0.05)
    assert shared.owner() == (process.pid, 1)
    process.kill()
    process.communicate()
    assert lock.take(5)
    assert shared.owner() is not None and lock.is_mine
    lock.drop()
    assert shared.owner() is None


def test_a_long_work_is_done_by_one_at_a_time_and_waits_no_longer_than_it_says(file: File) -> None:
    first = ProcessLock(POSIX, file.descriptor(), 2, 0.01, "a checkpoint")
    second = ProcessLock(POSIX, file.descriptor(), 2, 0.01, "a checkpoint")
    other = ProcessLock(POSIX, file.descriptors[-1], 3, 0.01, "another work")
    with first:
        assert first.locked() and not second.locked()
        assert not second.take(0)
        # it has nothing to let go of
        second.drop()
        with pytest.raises(DatabaseBusy, match="a checkpoint"), second:
            pass
        with other:
            pass
        assert not second.take(0)
    with second:
        assert not first.take(0)
        file.close(file.descriptors[-1])
        assert first.take(0)
        second.close()
    first.drop()


def test_a_watcher_is_woken_by_any_user_and_does_not_wait_for_what_is_durable(file: File) -> None:
    first, second = file.user(), file.user()
    first.begin(7, 5, 1, 1, 1, 0)
    # more than 4 is durable: it does not sleep
    second.watch_wait(second.watch_signal(), 4, 600)
    signal = second.watch_signal()
    first.watch_wake()
    second.watch_wait(signal, 5, 600)
    signal = second.watch_signal()
    watcher = threading.Thread(target=second.watch_wait, args=(signal, 5, 600), daemon=True)
    watcher.start()
    first.watch_wake()
    watcher.join(60)
    assert not watcher.is_alive()
    signal = second.watch_signal()
    first.fail(5)
    second.watch_wait(signal, 5, 600)
