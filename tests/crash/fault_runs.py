"""I/O errors: run a workload into one, then read, write, close, reopen, crash.

Terms       plan: see faults.py. Unknown: the outcome of the commit in flight when the disk failed;
            the database may have it or not, whole. Latched: refuses to write until reopened.
Invariants  I-10: after an unknown outcome reads go on and writes are refused; a failed flush is not
            repeated; after a reopening the content is a prefix that holds what was acknowledged.
Sources     reliability facts 2.1 (S5, S6).
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.crash.choices import choices
from tests.crash.disk import Disk
from tests.crash.faults import Counts, FaultPlan, every_plan
from tests.crash.ledger import Ledger
from tests.crash.report import JUDGED, Report, Violation
from tests.crash.simulator import (
    Judge,
    Recording,
    Session,
    Subject,
    Workload,
    record,
    untidy,
    where_raised,
)

# After one of these has failed with an unknown outcome, a database must refuse to write.
LATCHING_CALLS = frozenset({"write", "flush", "truncate"})

# Of the reopenings after a fault so many are crashed at each of their operations, too.
TWICE_SHARE = 0.25


@dataclass
class FaultRun:
    """One workload against many plans."""

    workload: Workload
    subject: Subject
    judge: Judge
    rng: random.Random
    crashes_each: int
    disk_factory: Callable[[], Disk]

    def fail(self, plan: FaultPlan) -> None:
        """One run with one plan."""
        report = self.judge.report
        report.fault_runs += 1
        disk = self.disk_factory()
        start = disk.copy()
        log = disk.record()
        ledger = Ledger(lambda: len(log))
        session = Session(disk, ledger, self.subject, random.Random(report.seed))
        disk.plan = plan
        try:
            problem = self._survive(session, plan)
        except JUDGED:
            problem = "raised " + where_raised()
        plan.lift()
        for key in plan.fired:
            report.count_fault(key)
        recording = Recording(start, log, disk.log_sites, ledger)
        end = len(log)
        if problem is None:
            problem = self._crash(recording)
        if problem is None:
            bounds = (ledger.acknowledged(end), len(ledger.starts))
            # The processes die, the disk is well again, and a new process finds what is there.
            found = disk.copy()
            if self.rng.random() < TWICE_SHARE:
                problem = self.judge.judge_twice(found, ledger, bounds, self.rng)
            else:
                problem = self.judge.judge(found, ledger, bounds).problem
        if problem is not None:
            violation = Violation(end, None, problem, recording.operation(end), plan=str(plan))
            report.violations.append(violation)

    def _survive(self, session: Session, plan: FaultPlan) -> str | None:
        """Runs the workload into the fault; afterwards reads must work and close must end."""
        problem = None
        try:
            self.workload(session)
        except self.subject.failures as failure:
            plan.lift()
            if session.database is not None:
                problem = self._use(session, plan, failure)
        if session.database is not None:
            try:
                session.close()
            except self.subject.failures:
                session.database = None
        return problem or untidy(session.disk)

    def _use(self, session: Session, plan: FaultPlan, failure: Exception) -> str | None:
        """Reads go on; writes are refused after an unknown outcome, and go on after a known one."""
        ledger, subject = session.ledger, self.subject
        bounds = (ledger.acknowledged(ledger.position()), len(ledger.starts))
        found = subject.observe(session.database)
        if ledger.match(found, *bounds) is None:
            return "after the failure, reads show " + ledger.explain(found, *bounds)
        # the lock file's contents are a hint: an opening that cannot write them is refused, only
        failed = {kind for kind, owner in plan.fired if owner != "lock"}
        start = ledger.position()
        try:
            changes = subject.probe(session.database)
        except subject.latching:
            return None
        if isinstance(failure, subject.latching) and failed & LATCHING_CALLS:
            return f"a write was accepted after {type(failure).__name__} by a failed {failed}"
        ledger.go_on_from(found, changes, start)
        return None

    def _crash(self, recording: Recording) -> str | None:
        """A few crashes at the last positions of a run that met a fault."""
        last = len(recording.log)
        wanted = {last, max(0, last - 1), max(0, last - self.rng.randrange(2, 6))}
        ledger = recording.ledger
        for position, disk in recording.walk():
            if position not in wanted:
                continue
            bounds = (ledger.acknowledged(position), ledger.attempted(position))
            for choice in choices(disk, self.rng, self.crashes_each):
                problem = self.judge.judge(disk.image(choice), ledger, bounds).problem
                if problem is not None:
                    return f"{problem}; crash at {recording.operation(position)}, {choice}"
        return None


def counts_of(workload: Workload, subject: Subject, seed: int) -> Counts:
    """How often a run without a fault makes each kind of call to each class of file."""
    counts: Counts = {}
    for site, count in record(workload, subject, seed)[1].sites.items():
        key = (site.kind, site.file_class)
        counts[key] = counts.get(key, 0) + count
    return counts


def sampled_plans(counts: Counts, rng: random.Random, limit: int) -> list[FaultPlan]:
    """About `limit` plans: each call and class once, whatever the limit, then as many errors and
    manners as fit.
    """
    groups: dict[tuple[str, ...], list[FaultPlan]] = {}
    for sticky in (False, True):
        for plan in every_plan(counts, sticky=sticky):
            groups.setdefault((*plan.kinds, *(plan.classes or ())), []).append(plan)
    for plans in groups.values():
        rng.shuffle(plans)
    chosen: list[FaultPlan] = []
    limit = max(limit, len(groups))
    while groups and len(chosen) < limit:
        for key in list(groups):
            chosen.append(groups[key].pop())
            if not groups[key]:
                del groups[key]
    return chosen[:limit]


def enumerate_faults(
    workload: Workload,
    subject: Subject,
    plans: Iterable[FaultPlan],
    *,
    seed: int = 0,
    name: str = "",
    crashes_each: int = 4,
    disk_factory: Callable[[], Disk] = Disk,
    deadline: float = float("inf"),
    second_max: int = sys.maxsize,
) -> Report:
    """Runs a workload once for each plan."""
    report = Report(name or getattr(workload, "__name__", "workload") + " (faults)", seed)
    judge = Judge(subject, report, replay_every=8, probe_every=4, second_max=second_max)
    started = time.monotonic()
    rng = random.Random(seed * 1_000_003 + 17)
    run = FaultRun(workload, subject, judge, rng, crashes_each, disk_factory)
    for plan in plans:
        if report.is_full or time.monotonic() > deadline:
            break
        run.fail(plan)
    report.seconds = time.monotonic() - started
    return report
