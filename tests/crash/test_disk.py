"""The simulator itself: the disk forgets what it may forget and nothing else, and planted bugs in a
toy store are found, each of them."""

from __future__ import annotations

import errno
import random

import pytest

from rango._ext.vfs import (
    VFS_CREATE,
    VFS_EXCLUSIVE,
    VFS_EXCLUSIVE_LOCK,
    VFS_READ,
    VFS_SHARED,
    VFS_UNLOCK,
    VFS_WRITE,
    PythonVfs,
)
from tests.crash.choices import choices
from tests.crash.disk import Disk
from tests.crash.fault_runs import counts_of, enumerate_faults
from tests.crash.faults import ERRORS, FaultPlan, every_plan
from tests.crash.ledger import Ledger
from tests.crash.model import (
    BOTH_NAMES,
    BYTES,
    GARBAGE,
    PREFIX,
    SECTORS,
    SIZE_GARBAGE,
    SIZE_KEPT_BACK,
    SIZE_ZEROS,
    SUFFIX,
    WHOLE,
    ZEROS,
    Choice,
)
from tests.crash.simulator import enumerate_crashes
from tests.crash.toy import BUGS, FAULT_BUGS, ToySubject, toy_workload

NEW = VFS_WRITE | VFS_CREATE
NOTHING = Choice({}, {}, 0)


def everything(disk: Disk) -> Choice:
    return Choice({item[1].sequence: (WHOLE, 0) for item in disk.pending()}, {}, 0)


def content(disk: Disk, path: str) -> bytes | None:
    if not disk.exists(path):
        return None
    fd = disk.open(path, VFS_READ)
    found = disk.read(fd, 1 << 20, 0)
    disk.close(fd)
    return found


@pytest.fixture
def disk() -> Disk:
    """A disk with one durable file /f of 2,048 bytes `o`, open for writing."""
    disk = Disk()
    fd = disk.open("/f", NEW)
    disk.write(fd, b"o" * 2048, 0)
    disk.flush(fd)
    disk.flush_directory("/")
    return disk


def opened(disk: Disk) -> int:
    return next(fd for fd, handle in disk.handles.items() if handle.path == "/f")


def test_what_was_flushed_survives_and_what_was_not_may_vanish(disk: Disk) -> None:
    fd = opened(disk)
    disk.write(fd, b"new", 0)
    assert content(disk, "/f") == b"new" + b"o" * 2045
    assert content(disk.image(NOTHING), "/f") == b"o" * 2048
    assert content(disk.image(everything(disk)), "/f") == b"new" + b"o" * 2045
    disk.flush(fd)
    assert disk.pending() == []
    assert content(disk.image(NOTHING), "/f") == b"new" + b"o" * 2045


def test_a_flush_of_a_file_does_not_flush_its_name() -> None:
    disk = Disk()
    fd = disk.open("/f", NEW)
    disk.write(fd, b"data", 0)
    disk.flush(fd)
    assert content(disk.image(NOTHING), "/f") is None
    assert content(disk.image(everything(disk)), "/f") == b"data"
    disk.flush_directory("/")
    assert content(disk.image(NOTHING), "/f") == b"data"


def test_a_flush_of_a_name_does_not_flush_the_file() -> None:
    disk = Disk()
    fd = disk.open("/f", NEW)
    disk.write(fd, b"data", 0)
    disk.flush_directory("/")
    assert content(disk.image(NOTHING), "/f") == b""


def test_subsets_keep_writes_apart(disk: Disk) -> None:
    fd = opened(disk)
    disk.write(fd, b"A", 0)
    disk.write(fd, b"B", 1)
    first, second = (item[1].sequence for item in disk.pending())
    image = disk.image(Choice({second: (WHOLE, 0)}, {}, 0))
    assert content(image, "/f")[:3] == b"oBo"  # type: ignore[index]
    image = disk.image(Choice({first: (WHOLE, 0)}, {}, 0))
    assert content(image, "/f")[:3] == b"Aoo"  # type: ignore[index]


@pytest.mark.parametrize("mode", [PREFIX, SUFFIX, SECTORS, GARBAGE, ZEROS, BYTES])
def test_torn_writes_change_only_their_own_bytes_at_sector_edges(disk: Disk, mode: int) -> None:
    fd = opened(disk)
    disk.write(fd, b"N" * 1500, 100)
    (item,) = disk.pending()
    seen = set()
    for argument in range(40):
        found = content(disk.image(Choice({item[1].sequence: (mode, argument)}, {}, 0)), "/f")
        assert found is not None and len(found) == 2048
        assert found[:100] == b"o" * 100 and found[1600:] == b"o" * 448
        for start, end in ((100, 512), (512, 1024), (1024, 1536), (1536, 1600)):
            piece = found[start:end]
            if mode in (PREFIX, SUFFIX, SECTORS):
                assert piece in (b"o" * (end - start), b"N" * (end - start))
            elif mode == ZEROS:
                assert piece in (bytes(end - start), b"N" * (end - start))
        seen.add(found)
    assert len(seen) >= 3


def test_a_torn_write_of_the_same_bytes_is_harmless(disk: Disk) -> None:
    # I-17 rewrites a tail in place; the media assumption is that this cannot damage it.
    fd = opened(disk)
    disk.write(fd, b"o" * 2048, 0)
    (item,) = disk.pending()
    for mode in (PREFIX, SUFFIX, SECTORS, GARBAGE, ZEROS, BYTES):
        for argument in range(20):
            image = disk.image(Choice({item[1].sequence: (mode, argument)}, {}, 0))
            assert content(image, "/f") == b"o" * 2048


def test_growth_is_lost_or_kept_apart_from_the_data(disk: Disk) -> None:
    fd = opened(disk)
    disk.write(fd, b"tail", 4096)
    (item,) = disk.pending()
    kept, number = {item[1].sequence: (WHOLE, 0)}, item[0].number
    assert content(disk.image(Choice(kept, {}, 0)), "/f") == b"o" * 2048 + bytes(2048) + b"tail"
    assert content(disk.image(Choice(kept, {number: SIZE_KEPT_BACK}, 0)), "/f") == b"o" * 2048
    assert content(disk.image(Choice({}, {number: SIZE_ZEROS}, 0)), "/f") == b"o" * 2048 + bytes(
        2052
    )
    rotten = content(disk.image(Choice({}, {number: SIZE_GARBAGE}, 0)), "/f")
    assert rotten is not None and len(rotten) == 4100 and rotten[2048:] != bytes(2052)


def test_truncation_is_pending_too(disk: Disk) -> None:
    fd = opened(disk)
    disk.truncate(fd, 10)
    assert disk.size(fd) == 10
    assert content(disk.image(NOTHING), "/f") == b"o" * 2048
    assert content(disk.image(everything(disk)), "/f") == b"o" * 10
    disk.truncate(fd, 20)
    disk.flush(fd)
    assert content(disk.image(NOTHING), "/f") == b"o" * 10 + bytes(10)


def test_a_rename_leaves_the_old_name_or_the_new_one_or_both(disk: Disk) -> None:
    fd = disk.open("/f.tmp", NEW)
    disk.write(fd, b"second", 0)
    disk.flush(fd)
    disk.flush_directory("/")
    disk.rename("/f.tmp", "/f")
    (item,) = disk.pending()
    states = []
    for mode in (None, WHOLE, BOTH_NAMES):
        modes = {} if mode is None else {item[1].sequence: (mode, 0)}
        image = disk.image(Choice(modes, {}, 0))
        states.append((content(image, "/f"), content(image, "/f.tmp")))
    assert states == [(b"o" * 2048, b"second"), (b"second", None), (b"second", b"second")]
    disk.flush_directory("/")
    assert content(disk.image(NOTHING), "/f") == b"second"


def test_a_removal_may_be_undone_and_an_open_file_lives_on(disk: Disk) -> None:
    fd = opened(disk)
    disk.remove("/f")
    assert disk.read(fd, 3, 0) == b"ooo"
    assert not disk.exists("/f")
    assert content(disk.image(NOTHING), "/f") == b"o" * 2048
    assert content(disk.image(everything(disk)), "/f") is None
    fd = disk.open("/f", NEW)
    disk.write(fd, b"again", 0)
    disk.flush(fd)
    found = {content(disk.image(choice), "/f") for choice in choices(disk, random.Random(0), 50)}
    assert found == {b"o" * 2048, None, b"again"}


def test_a_directory_without_its_name_takes_its_files_with_it() -> None:
    disk = Disk()
    disk.make_directory("/db", 0o700)
    fd = disk.open("/db/f", NEW)
    disk.write(fd, b"x", 0)
    disk.flush(fd)
    disk.flush_directory("/db")
    assert not disk.image(NOTHING).exists("/db")
    disk.flush_directory("/")
    assert content(disk.image(NOTHING), "/db/f") == b"x"


def test_a_failed_flush_drops_what_was_dirty_and_the_next_one_succeeds(disk: Disk) -> None:
    fd = opened(disk)
    disk.write(fd, b"lost", 0)
    disk.plan = FaultPlan(1, errno.EIO, frozenset({"flush"}))
    with pytest.raises(OSError, match="Input/output"):
        disk.flush(fd)
    disk.write(fd, b"kept", 100)
    disk.flush(fd)
    assert disk.flush_retries == 1
    assert content(disk, "/f")[:4] == b"lost"  # type: ignore[index]
    for image in (disk.image(NOTHING), disk.copy().image(NOTHING)):
        found = content(image, "/f")
        assert found is not None and found[:4] == b"oooo" and found[100:104] == b"kept"
    disk.write(fd, b"lost", 0)
    disk.flush(fd)
    assert content(disk.image(NOTHING), "/f")[:4] == b"lost"  # type: ignore[index]


def test_an_evicted_page_shows_the_old_content(disk: Disk) -> None:
    fd = opened(disk)
    disk.write(fd, b"lost", 0)
    disk.plan = FaultPlan(1, errno.EIO, frozenset({"flush"}), evicted=True)
    with pytest.raises(OSError):
        disk.flush(fd)
    assert content(disk, "/f") == b"o" * 2048


def moved(disk: Disk) -> None:
    """/f goes to /d/f, and nothing of that is durable."""
    disk.make_directory("/d", 0o700)
    disk.flush_directory("/")
    disk.rename("/f", "/d/f")


def test_a_file_that_moves_to_another_directory_is_never_gone(disk: Disk) -> None:
    moved(disk)
    arrival, departure = (item[1].sequence for item in disk.pending())
    for kept, names in (((), "/f"), ((departure,), "/f"), ((arrival,), "/f /d/f")):
        image = disk.image(Choice({sequence: (WHOLE, 0) for sequence in kept}, {}, 0))
        assert [name for name in ("/f", "/d/f") if image.exists(name)] == names.split()
    image = disk.image(everything(disk))
    assert (content(image, "/f"), content(image, "/d/f")) == (None, b"o" * 2048)
    disk.flush_directory("/d")
    departure_only = disk.image(Choice({departure: (WHOLE, 0)}, {}, 0))
    assert [name for name in ("/f", "/d/f") if departure_only.exists(name)] == ["/d/f"]


def test_the_directory_that_a_file_moves_to_is_flushed_first(disk: Disk) -> None:
    moved(disk)
    with pytest.raises(AssertionError, match="moved to"):
        disk.flush_directory("/")
    disk.flush_directory("/d")
    disk.flush_directory("/")
    assert content(disk.image(NOTHING), "/d/f") == b"o" * 2048
    assert not disk.image(NOTHING).exists("/f")


def test_the_removal_of_a_directory_may_be_lost(disk: Disk) -> None:
    moved(disk)
    disk.flush_directory("/d")
    disk.flush_directory("/")
    disk.remove("/d/f")
    disk.remove("/d")
    assert not disk.exists("/d")
    again = disk.copy()
    assert content(disk.image(NOTHING), "/d/f") == content(again.image(NOTHING), "/d/f")
    assert content(disk.image(NOTHING), "/d/f") == b"o" * 2048
    disk.make_directory("/d", 0o700)
    assert disk.image(everything(disk)).list_directory("/d") == []
    disk.flush_directory("/")
    assert disk.image(NOTHING).list_directory("/d") == []


def test_a_kill_keeps_what_the_system_has(disk: Disk) -> None:
    fd = opened(disk)
    disk.write(fd, b"cached", 0)
    disk.lock(fd, 0, 1, VFS_EXCLUSIVE_LOCK)
    after = disk.copy()
    assert content(after, "/f")[:6] == b"cached"  # type: ignore[index]
    assert content(after.image(NOTHING), "/f") == b"o" * 2048
    assert after.handles == {}
    again = after.open("/f", VFS_WRITE)
    after.lock(again, 0, 1, VFS_EXCLUSIVE_LOCK)
    after.write(again, b"C", 0)
    assert content(disk, "/f")[:6] == b"cached"  # type: ignore[index]


def test_replaying_a_log_gives_the_same_disk(disk: Disk) -> None:
    start = disk.copy()
    log = disk.record()
    rng = random.Random(5)
    disk.make_directory("/d", 0o700)
    fd = disk.open("/d/a", NEW)
    for _ in range(200):
        action = rng.randrange(8)
        if action < 4:
            disk.write(fd, rng.randbytes(rng.randrange(1, 900)), rng.randrange(4000))
        elif action == 4:
            disk.truncate(fd, rng.randrange(4000))
        elif action == 5:
            disk.flush(fd)
        elif action == 6:
            disk.flush_directory(rng.choice(["/", "/d"]))
        else:
            disk.close(disk.open(f"/d/{rng.randrange(3)}", NEW))
            disk.rename(f"/d/{rng.choice(disk.list_directory('/d'))}", "/d/z")
            fd = disk.open("/d/a", NEW)
        if rng.random() < 0.2 and disk.exists("/d/z"):
            disk.remove("/d/z")
    twin = start.copy()
    for operation in log:
        twin.replay(operation)
    for choice in choices(disk, random.Random(1), 60):
        one, two = disk.image(choice), twin.image(choice)
        assert one.list_directory("/") == two.list_directory("/")
        for name in one.list_directory("/d") if one.exists("/d") else []:
            assert content(one, f"/d/{name}") == content(two, f"/d/{name}")


def test_capacity_is_used_up_and_freed() -> None:
    disk = Disk(capacity=1000)
    fd = disk.open("/f", NEW)
    assert disk.write(fd, b"x" * 900, 0) == 900
    assert disk.write(fd, b"y" * 200, 900) == 100
    with pytest.raises(OSError) as caught:
        disk.write(fd, b"z", 1000)
    assert caught.value.errno == errno.ENOSPC
    assert disk.write(fd, b"over", 0) == 4
    assert disk.free_bytes("/") == 0
    disk.truncate(fd, 500)
    assert disk.free_bytes("/") == 500
    disk.close(fd)
    disk.remove("/f")
    assert disk.free_bytes("/") == 1000


def test_locks_of_two_descriptors_conflict_by_range(disk: Disk) -> None:
    door = PythonVfs(disk)
    one, two = door.open("/f", VFS_WRITE), door.open("/f", VFS_WRITE)
    assert door.lock(one, 0, 10, VFS_EXCLUSIVE_LOCK)
    assert not door.lock(two, 5, 1, VFS_SHARED)
    assert door.lock(two, 10, 1, VFS_EXCLUSIVE_LOCK)
    assert door.lock(one, 4, 2, VFS_UNLOCK)
    assert door.lock(two, 4, 2, VFS_EXCLUSIVE_LOCK)
    assert not door.lock(two, 3, 1, VFS_SHARED)
    assert not door.lock(two, 6, 1, VFS_SHARED)
    assert door.lock(one, 0, 4, VFS_SHARED)
    assert door.lock(two, 3, 1, VFS_SHARED)
    door.close(one)
    assert door.lock(two, 0, 0, VFS_EXCLUSIVE_LOCK)


def test_errors_are_those_of_the_system_calls(disk: Disk) -> None:
    disk.make_directory("/d", 0o700)
    disk.make_directory("/full", 0o700)
    disk.close(disk.open("/full/f", NEW))
    for call, code in (
        (lambda: disk.open("/missing", VFS_WRITE), errno.ENOENT),
        (lambda: disk.open("/no/where", NEW), errno.ENOENT),
        (lambda: disk.open("/f", NEW | VFS_EXCLUSIVE), errno.EEXIST),
        (lambda: disk.open("/d", VFS_READ), errno.EISDIR),
        (lambda: disk.write(disk.open("/f", VFS_READ), b"x", 0), errno.EBADF),
        (lambda: disk.close(17), errno.EBADF),
        (lambda: disk.remove("/missing"), errno.ENOENT),
        (lambda: disk.remove("/full"), errno.ENOTEMPTY),
        (lambda: disk.rename("/missing", "/x"), errno.ENOENT),
        (lambda: disk.rename("/f", "/d"), errno.EISDIR),
        (lambda: disk.make_directory("/d", 0o700), errno.EEXIST),
        (lambda: disk.flush_directory("/missing"), errno.ENOENT),
        (lambda: disk.list_directory("/f"), errno.ENOTDIR),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == code


def test_plans_fail_the_nth_call_once_or_for_good(disk: Disk) -> None:
    fd = opened(disk)
    for sticky, expected in ((False, [1, 0, 1, 1]), (True, [1, 0, 0, 0])):
        plan = FaultPlan(2, errno.ENOSPC, frozenset({"write"}), sticky=sticky)
        disk.plan = plan
        results = []
        for _ in range(4):
            try:
                results.append(disk.write(fd, b"x", 0))
            except OSError as error:
                assert error.errno == errno.ENOSPC
                results.append(0)
        assert results == expected
        plan.lift()
        assert disk.write(fd, b"x", 0) == 1
        assert set(plan.fired) == {("write", "f")}


def test_short_and_interrupted_transfers_are_invisible_through_the_doors(disk: Disk) -> None:
    door = PythonVfs(disk)
    fd = door.open("/f", VFS_WRITE)
    for error in (0, errno.EINTR):
        disk.plan = FaultPlan(1, error, frozenset({"write", "read"}), sticky=True)
        door.write(fd, b"hello world", 7)
        assert door.read(fd, 11, 7) == b"hello world"
        assert len(disk.plan.fired) > 1


def test_every_plan_covers_each_kind_and_error() -> None:
    plans = list(every_plan({("write", "f"): 2, ("flush", ""): 1}, sticky=True))
    assert {(p.at, p.error) for p in plans if p.kinds == {"write"}} == {
        (at, error) for at in (1, 2) for error in ERRORS["write"]
    }
    assert any(p.evicted for p in plans) and any(p.performed for p in plans)
    assert "sticky" in str(plans[0])


def test_choices_start_with_nothing_and_everything_and_repeat_with_the_seed(disk: Disk) -> None:
    fd = opened(disk)
    for n in range(5):
        disk.write(fd, bytes([n]) * 700, 600 * n)
    one = list(choices(disk, random.Random(3), 40))
    two = list(choices(disk, random.Random(3), 40))
    assert one == two and len(one) == 40
    assert one[0] == NOTHING and one[1] == everything(disk)
    assert list(choices(disk, random.Random(4), 40)) != one
    disk.flush(fd)
    assert list(choices(disk, random.Random(3), 40)) == [NOTHING]


def test_a_sound_store_survives_every_crash(capsys: pytest.CaptureFixture[str]) -> None:
    report = enumerate_crashes(toy_workload, ToySubject(), budget=3000, seed=1)
    with capsys.disabled():
        print(f"\n{report}")
    assert not report.violations
    assert report.states >= 3000 and report.recovery_states > 300 and report.kill_states > 5
    assert report.missed() == []


def test_a_sound_store_survives_every_fault() -> None:
    counts = counts_of(toy_workload, ToySubject(), 1)
    plans = [p for s in (False, True) for p in every_plan(counts, sticky=s, step=9)]
    report = enumerate_faults(toy_workload, ToySubject(), plans, seed=1)
    assert not report.violations, report
    assert {kind for kind, _ in report.faulted} >= {"write", "flush", "rename", "read", "create"}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_by_crashing(bug: str) -> None:
    report = enumerate_crashes(toy_workload, ToySubject(bug), budget=3000, seed=1)
    assert report.violations


@pytest.mark.parametrize("bug", FAULT_BUGS)
def test_a_planted_bug_is_found_by_failing(bug: str) -> None:
    plans = every_plan({("flush", ""): 40}, sticky=False)
    report = enumerate_faults(toy_workload, ToySubject(bug), plans, seed=1)
    assert report.violations


def test_a_statement_that_changes_nothing_may_write_nothing() -> None:
    """An acknowledged one is no promise then, and one that changes something is."""
    ledger = Ledger(lambda: 7)
    ledger.attempt({("a", 1): {"n": 1}})
    ledger.acknowledge()
    assert (ledger.acknowledged(7), ledger.attempted(7)) == (1, 0)
    ledger = Ledger(lambda: 7, {("a", 1): {"n": 1}})
    ledger.attempt({("a", 1): {"n": 1}})
    ledger.acknowledge()
    assert (ledger.acknowledged(7), ledger.attempted(7)) == (0, 0)
