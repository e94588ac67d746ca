"""I-1, I-10, I-11, I-17, I-18: power cuts, kills and I/O errors at every call of mixed workloads.

`ci test` tries at least 15,000 states; `ci nightly --minutes N` goes on until the time is over.
Both use one process for each core.
"""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import pytest

from rango.database import Database
from rango.errors import LowDisk
from tests.crash.disk import Disk, Site
from tests.crash.engine import EngineSubject
from tests.crash.fault_runs import counts_of, enumerate_faults, sampled_plans
from tests.crash.faults import FaultPlan
from tests.crash.ledger import Ledger
from tests.crash.report import Report
from tests.crash.scribe import Scribe
from tests.crash.simulator import NOTHING_KEPT, Session, enumerate_crashes
from tests.crash.workloads import WORKLOADS, document

# 33 workloads make 5,900 states, and more than that after kills and faults.
STATES_EACH = 180
STATES_MIN = 15_000
SECOND_MAX = 6
"""Second crashes of one recovery in the short form (Judge.second_max)."""
FAULT_PLANS_EACH = 40
LONG_ROUNDS = 300
KILLED: set[Site] = set()
"""Call sites after which the short form has tried a kill in this process, in any workload."""

WHOLE_ROUND_MINUTES = 15


def crash_workload(name: str, seed: int, states: int, deadline: float) -> Report:
    """One workload, crashed; a function of the module so that another process can run it."""
    workload, subject = WORKLOADS[name]
    is_short = deadline == math.inf
    return enumerate_crashes(
        workload,
        subject(),
        budget=states,
        seed=seed,
        name=name,
        deadline=deadline,
        killed=KILLED if is_short else set(),
        second_max=SECOND_MAX if is_short else sys.maxsize,
    )


def fail_workload(name: str, seed: int, plans: int, deadline: float) -> Report:
    """One workload with failing calls."""
    workload, subject = WORKLOADS[name]
    chosen = sampled_plans(counts_of(workload, subject(), seed), random.Random(seed), plans)
    is_short = deadline == math.inf
    return enumerate_faults(
        workload,
        subject(),
        chosen,
        seed=seed,
        name=name,
        crashes_each=1 if is_short else 3,
        deadline=deadline,
        second_max=SECOND_MAX if is_short else sys.maxsize,
    )


class Task(NamedTuple):
    """One call of one of the two functions above."""

    function: Callable[[str, int, int, float], Report]
    name: str
    seed: int
    size: int
    deadline: float

    def run(self) -> Report:
        if time.monotonic() > self.deadline:
            return Report(self.name, self.seed)
        return self.function(self.name, self.seed, self.size, self.deadline)


def rounds(seed: int, deadline: float) -> Iterator[Task]:
    """Round after round, each with the next seed; tasks past the deadline end at once."""
    for turn in range(LONG_ROUNDS):
        for function, size in ((crash_workload, STATES_EACH * 2), (fail_workload, 400)):
            for name in WORKLOADS:
                yield Task(function, name, seed + turn, size, deadline)


def one_round(seed: int) -> Iterator[Task]:
    """The short form: every workload once."""
    for function, size in ((crash_workload, STATES_EACH), (fail_workload, FAULT_PLANS_EACH)):
        for name in WORKLOADS:
            yield Task(function, name, seed, size, math.inf)


def run_all(seed: int, minutes: float) -> Report:
    """Every workload, once or for minutes, in one process for each core."""
    total = Report("all workloads", seed)
    tasks = rounds(seed, time.monotonic() + minutes * 60) if minutes else one_round(seed)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count() or 1, context) as pool:
        for report in pool.map(Task.run, tasks):
            total.add(report)
    return total


def test_every_crash_and_every_fault_keeps_the_promises(
    seed: int,
    minutes: float,
    count_cases: Callable[[str, int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = run_all(seed, minutes)
    with capsys.disabled():
        print(f"\n{report}")
    count_cases("crash states", report.states)
    count_cases("fault runs", report.fault_runs)
    assert not report.violations, str(report)
    if 0 < minutes < WHOLE_ROUND_MINUTES:
        return  # cut off before it has been everywhere
    assert report.states >= STATES_MIN
    assert not report.missed(), "call sites without a crash: " + str(report.missed())
    # data.rango is removed by the workload, not by the engine
    failing = report.called.keys() - {("remove", "data")}
    assert failing <= report.faulted.keys(), f"never failed: {failing - report.faulted.keys()}"


@pytest.mark.parametrize("step", range(6))
def test_no_space_stops_writes_and_nothing_else(step: int, seed: int) -> None:
    """I-10: a full disk is LowDisk; reads go on, and so do writes once there is space again."""
    subject = EngineSubject()
    disk = Disk()
    rng = random.Random(seed)
    log = disk.record()
    start = Disk()
    session = Session(disk, Ledger(lambda: len(log)), subject, rng)
    scribe = Scribe(session)
    scribe.insert("a", document(rng, 0))
    disk.capacity = used(disk) + step * 9_000
    number = fill(scribe, rng)
    with pytest.raises(LowDisk):
        scribe.database["a"].insert_one({"_id": "large", "text": "x" * 50_000})
    scribe.verify()
    recording_end = len(log)
    disk.capacity = None
    for n in range(5):
        scribe.insert("a", document(rng, number + 1 + n))
    scribe.verify()
    session.close()
    twin = start.copy()
    for position, operation in enumerate(log, 1):
        twin.replay(operation)
        if position in (recording_end, len(log)):
            again = subject.open(twin.image(NOTHING_KEPT))
            number_found = session.ledger.match(
                subject.observe(again),
                session.ledger.acknowledged(position),
                session.ledger.attempted(position),
            )
            assert number_found is not None
            subject.close(again)


@pytest.mark.parametrize("at", range(2, 14))
def test_a_slot_whose_flush_failed_is_durable_before_older_pages_are_reused(at: int) -> None:
    # the cache shows such a slot to the next process; on the disk the one before the last stands
    subject, disk, rng = EngineSubject(overlay_entries_max=1000), Disk(), random.Random(at)
    disk.plan = FaultPlan(at, errno.EIO, frozenset({"flush"}), frozenset({"data"}))
    database = subject.open(disk)
    with suppress(*subject.failures):
        churn(database, rng, 6)
    disk.plan.lift()
    living = disk.copy()
    churn(subject.open(living), rng, 1)
    worst = living.image(NOTHING_KEPT)
    assert subject.verify(subject.open(worst), worst) == []


def churn(database: Database, rng: random.Random, turns: int) -> None:
    """Change most pages, and checkpoint, so often."""
    for _ in range(turns):
        for n in range(40):
            database["a"].replace_one({"_id": n}, document(rng, n, 200), upsert=True)
        database.checkpoint()


def used(disk: Disk) -> int:
    """Bytes that the files take."""
    return sum(file.allocated for file in disk.files.values())


def fill(scribe: Scribe, rng: random.Random) -> int:
    """Insert until there is no space; the number of the document that did not fit."""
    for number in range(1, 2_000):
        try:
            scribe.insert("a", document(rng, number, 600))
        except LowDisk:
            scribe.ledger.withdraw()
            return number
    raise AssertionError("the disk never filled up")


def test_a_read_only_mount_is_said_so() -> None:
    subject = EngineSubject()
    disk = Disk()
    disk.plan = FaultPlan(1, errno.EROFS, frozenset({"create"}), sticky=True)
    with pytest.raises(subject.failures):
        subject.open(disk)
    assert disk.handles == {}
