"""The driver: runs a workload once, then crashes it everywhere, reopens, and judges what is found.

Terms       position: a crash point, "after the first n operations of the log". State: one image that
            was reopened and judged. Recovery state: an image of a crash during such a reopening.
            Subject: the database under test, behind five small methods.
Invariants  the workload runs once; every image is rebuilt from its log. What a reopened database
            shows is durable from then on: a crash after a finished recovery must show it again
            (I-17), and nothing before an acknowledged commit is ever missing (I-1).
Failure     a violation carries seed, position and choice: `image_at` rebuilds the image.
Sources     reliability facts 2.1 (S1-S3, S5, S6, S9).
"""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.crash.choices import choices
from tests.crash.disk import Choice, Disk, Site
from tests.crash.faults import FaultPlan
from tests.crash.ledger import Ledger, State

VIOLATIONS_MAX = 10

# Of three states one is a crash during the recovery of another.
RECOVERY_SHARE = 1 / 3


class Subject(Protocol):
    """The database under test."""

    failures: tuple[type[Exception], ...]
    """What it may raise when the disk fails."""

    def open(self, disk: Disk) -> Any: ...

    def observe(self, database: Any) -> State:
        """All content."""

    def verify(self, database: Any, disk: Disk) -> list[str]:
        """What its own checks find; empty when all is well."""

    def replayed(self, disk: Disk) -> State | None:
        """The content as rebuilt from the log alone; `disk` may be used up. None: no such thing."""

    def probe(self, database: Any) -> dict[Any, Any]:
        """Commits one more change durably, and says which."""

    def close(self, database: Any) -> None: ...


@dataclass
class Session:
    """What a workload gets: it opens the database through it and tells the ledger what it does."""

    disk: Disk
    ledger: Ledger
    subject: Subject
    rng: random.Random
    database: Any = None

    def open(self) -> Any:
        self.disk.failed_directories.clear()
        self.database = self.subject.open(self.disk)
        return self.database

    def close(self) -> None:
        database, self.database = self.database, None
        self.subject.close(database)


Workload = Callable[[Session], None]


@dataclass
class Violation:
    position: int
    choice: Choice | None
    what: str
    operation: str
    during_recovery: bool = False
    plan: str = ""

    def __str__(self) -> str:
        where = f"position {self.position} ({self.operation})"
        if self.during_recovery:
            where = "recovery, " + where
        return f"{where} {self.plan}: {self.what}\n    {self.choice}"


@dataclass
class Report:
    """What a run did and found; `str()` is what CI prints."""

    name: str
    seed: int
    states: int = 0
    recovery_states: int = 0
    fault_runs: int = 0
    positions: int = 0
    duplicates: int = 0
    seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    crashed: dict[tuple[str, str], int] = field(default_factory=dict)
    faulted: dict[tuple[str, str], int] = field(default_factory=dict)
    sites: dict[Site, int] = field(default_factory=dict)
    called: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return len(self.violations) >= VIOLATIONS_MAX

    def add(self, other: Report) -> None:
        """Sums up the runs of several workloads."""
        for name in ("states", "recovery_states", "fault_runs", "positions", "duplicates"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds += other.seconds
        self.violations += other.violations
        for mine, theirs in (
            (self.crashed, other.crashed),
            (self.faulted, other.faulted),
            (self.called, other.called),
        ):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for site, count in other.sites.items():
            self.sites[site] = self.sites.get(site, 0) + count

    def __str__(self) -> str:
        rate = self.states / self.seconds if self.seconds else 0.0
        lines = [
            f"[crash] {self.name}: {self.states} states ({self.recovery_states} during recovery, "
            f"{self.fault_runs} fault runs, {self.positions} crash points), "
            f"{len(self.violations)} violations, {rate:.0f} states/s, seed {self.seed}"
        ]
        for key in sorted(self.crashed.keys() | self.faulted.keys() | self.called.keys()):
            lines.append(
                f"    {key[0]:<16}{key[1]:<14} called {self.called.get(key, 0):>7}  "
                f"crashed {self.crashed.get(key, 0):>7}  failed {self.faulted.get(key, 0):>6}"
            )
        lines += [f"    VIOLATION {violation}" for violation in self.violations]
        return "\n".join(lines)


@dataclass
class Recording:
    """One run of a workload: the disk before it, the log of it, and what the ledger knows."""

    start: Disk
    log: list[tuple[object, ...]]
    sites: list[Site]
    ledger: Ledger
    finished: bool

    def operation(self, position: int) -> str:
        if position == 0:
            return "start"
        parts = [
            part if not isinstance(part, bytes) else f"<{len(part)} bytes>"
            for part in self.log[position - 1]
        ]
        return f"after {parts} by {self.sites[position - 1].function}"


def record(
    workload: Workload, subject: Subject, seed: int, disk_factory: Callable[[], Disk] = Disk
) -> tuple[Recording, Disk]:
    """Pass 1: run the workload on a recording disk."""
    disk = disk_factory()
    start = disk.clone()
    log = disk.record()
    ledger = Ledger(lambda: len(log))
    session = Session(disk, ledger, subject, random.Random(seed))
    workload(session)
    if session.database is not None:
        session.close()
    return Recording(start, log, disk.log_sites, ledger, True), disk


def walk(start: Disk, log: list[tuple[object, ...]]) -> Iterable[tuple[int, Disk]]:
    """The disk at each crash point. It is one object that goes on: use it before the next."""
    disk = start.clone()
    yield 0, disk
    for position, operation in enumerate(log, 1):
        disk.replay(operation)
        yield position, disk


def image_at(recording: Recording, position: int, choice: Choice) -> Disk:
    """The image of a violation, for debugging."""
    for at, disk in walk(recording.start, recording.log):
        if at == position:
            return disk.image(choice)
    raise IndexError(position)


class Judge:
    """Reopens images and says what is wrong with them."""

    def __init__(self, subject: Subject, report: Report, *, replay_every: int, probe_every: int):
        self.subject = subject
        self.report = report
        self.replay_every = max(1, replay_every)
        self.probe_every = max(1, probe_every)

    def judge(
        self, image: Disk, ledger: Ledger, lower: int, upper: int, recorded: bool = False
    ) -> tuple[str | None, int, int]:
        """(what is wrong or None, the commit found, operations when the content was known)."""
        subject = self.subject
        self.report.states += 1
        untouched = image.clone() if self.report.states % self.replay_every == 0 else None
        image.failed_directories.clear()
        try:
            database = subject.open(image)
            found = subject.observe(database)
            number = ledger.match(found, lower, upper)
            known = len(image.log) if image.log is not None else 0
            if number is None:
                return "wrong content: " + ledger.explain(found, lower, upper), 0, 0
            findings = subject.verify(database, image)
            if findings:
                return f"check() finds {findings[:3]}", 0, 0
            if not recorded and self.report.states % self.probe_every == 0:
                problem = self._probe(database, image, found)
                if problem:
                    return problem, 0, 0
            else:
                subject.close(database)
            if image.flush_retries:
                return "a failed flush was repeated on the same descriptor", 0, 0
            if untouched is not None:
                replayed = subject.replayed(untouched)
                if replayed is not None and replayed != found:
                    return "the log replayed from the start is not the content", 0, 0
        except Exception:  # noqa: BLE001 - whatever it is, it is what the run is looking for
            lines = traceback.format_exc().strip().splitlines()
            return "raised " + " | ".join([lines[-1], *lines[-7:-1]]), 0, 0
        return None, number, known

    def _probe(self, database: Any, image: Disk, found: State) -> str | None:
        """The recovered database takes one more commit, which survives the worst crash at once."""
        changes = self.subject.probe(database)
        expected = dict(found)
        expected.update(changes)
        worst = image.image(Choice({}, {}, 0))
        self.subject.close(database)
        again = self.subject.open(worst)
        seen = self.subject.observe(again)
        self.subject.close(again)
        if seen != expected:
            return "a commit after the recovery was lost, or brought something back"
        return None


def enumerate_crashes(
    workload: Workload,
    subject: Subject,
    *,
    budget: int,
    seed: int = 0,
    name: str = "",
    share: tuple[int, int] = (0, 1),
    disk_factory: Callable[[], Disk] = Disk,
    replay_every: int = 4,
    probe_every: int = 4,
    deadline: float = float("inf"),
) -> Report:
    """Crashes a workload at every position, in about `budget` ways altogether.

    `share` = (n, of) leaves every position but each of-th to other processes.
    """
    report = Report(name or getattr(workload, "__name__", "workload"), seed)
    started = time.monotonic()
    recording, disk = record(workload, subject, seed, disk_factory)
    for site, count in disk.sites.items():
        report.sites[site] = report.sites.get(site, 0) + count
        key = (site.kind, site.file_class)
        report.called[key] = report.called.get(key, 0) + count
    judge = Judge(subject, report, replay_every=replay_every, probe_every=probe_every)
    rng = random.Random(seed * 1_000_003 + share[0])
    positions = (len(recording.log) + 1) // share[1] + 1
    limit = max(3, round(budget * (1 - RECOVERY_SHARE) / positions))
    seen: set[tuple[object, ...]] = set()
    budget += report.states
    rounds = 0
    while report.states < budget and rounds < 20 and not report.is_full:
        before = report.states
        crash_everywhere(recording, judge, rng, limit, share, seen, budget, deadline)
        rounds += 1
        if report.states == before or time.monotonic() > deadline:
            break
    report.seconds = time.monotonic() - started
    return report


def crash_everywhere(
    recording: Recording,
    judge: Judge,
    rng: random.Random,
    limit: int,
    share: tuple[int, int],
    seen: set[tuple[object, ...]],
    budget: int,
    deadline: float,
) -> None:
    """One walk over all positions."""
    report, ledger = judge.report, recording.ledger
    for position, disk in walk(recording.start, recording.log):
        if position % share[1] != share[0]:
            continue
        if report.is_full or time.monotonic() > deadline or report.states >= budget:
            return
        report.positions += 1
        lower, upper = ledger.acknowledged(position), ledger.attempted(position)
        for choice in choices(disk, rng, limit):
            key = (disk.epoch, choice.signature(), lower)
            if key in seen:
                report.duplicates += 1
                continue
            seen.add(key)
            count_crash(report, recording, position)
            image = disk.image(choice)
            wants_recovery = report.recovery_states <= report.states * RECOVERY_SHARE
            if wants_recovery and rng.random() < 0.2:
                start = image.clone()
                log = image.record()
                problem, number, known = judge.judge(image, ledger, lower, upper, recorded=True)
                if problem is None:
                    again = Recording(start, log, image.log_sites, ledger, True)
                    problem = crash_recovery(
                        again, judge, rng, (lower, upper), (number, known)
                    )
            else:
                problem = judge.judge(image, ledger, lower, upper)[0]
            if problem is not None:
                report.violations.append(
                    Violation(position, choice, problem, recording.operation(position))
                )
                if report.is_full:
                    return


def count_crash(report: Report, recording: Recording, position: int) -> None:
    if position:
        site = recording.sites[position - 1]
        key = (site.kind, site.file_class)
        report.crashed[key] = report.crashed.get(key, 0) + 1


def crash_recovery(
    recovery: Recording,
    judge: Judge,
    rng: random.Random,
    bounds: tuple[int, int],
    recovered: tuple[int, int],
) -> str | None:
    """Crashes the reopening of an image at each of its operations."""
    number, known = recovered
    report = judge.report
    for position, disk in walk(recovery.start, recovery.log):
        # What a finished recovery has shown must never be taken back.
        lower, upper = (number, number) if position >= known else bounds
        for choice in choices(disk, rng, 3):
            count_crash(report, recovery, position)
            report.recovery_states += 1
            problem = judge.judge(disk.image(choice), recovery.ledger, lower, upper)[0]
            if problem is not None:
                return f"{problem}; second crash {recovery.operation(position)}, {choice}"
    return None


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
) -> Report:
    """Runs a workload once for each plan; after the failure: read, close, reopen, crash, reopen."""
    report = Report(name or getattr(workload, "__name__", "workload") + " (faults)", seed)
    judge = Judge(subject, report, replay_every=8, probe_every=4)
    started = time.monotonic()
    rng = random.Random(seed * 1_000_003 + 17)
    for plan in plans:
        if report.is_full or time.monotonic() > deadline:
            break
        fail_once(workload, subject, plan, judge, rng, crashes_each, disk_factory)
    report.seconds = time.monotonic() - started
    return report


def fail_once(
    workload: Workload,
    subject: Subject,
    plan: FaultPlan,
    judge: Judge,
    rng: random.Random,
    crashes_each: int,
    disk_factory: Callable[[], Disk],
) -> None:
    """One run with one plan."""
    report = judge.report
    disk = disk_factory()
    start = disk.clone()
    log = disk.record()
    ledger = Ledger(lambda: len(log))
    session = Session(disk, ledger, subject, random.Random(report.seed))
    disk.plan = plan
    report.fault_runs += 1
    problem: str | None = None
    try:
        problem = survive(workload, session, plan)
    except Exception:  # noqa: BLE001 - an error that the subject does not declare is a finding
        lines = traceback.format_exc().strip().splitlines()
        problem = "raised " + " | ".join([lines[-1], *lines[-7:-1]])
    plan.lift()
    for key in plan.fired:
        report.faulted[key] = report.faulted.get(key, 0) + 1
    recording = Recording(start, log, disk.log_sites, ledger, False)
    end = len(log)
    lower, upper = ledger.acknowledged(end), len(ledger.starts)
    if problem is None:
        problem = crash_after_fault(recording, judge, rng, crashes_each)
    if problem is None:
        problem = judge.judge(disk, ledger, lower, upper)[0]
    if problem is not None:
        report.violations.append(
            Violation(end, None, problem, recording.operation(end), plan=str(plan))
        )


def survive(workload: Workload, session: Session, plan: FaultPlan) -> str | None:
    """Runs the workload into the fault; afterwards reads must work and close must end."""
    subject = session.subject
    try:
        workload(session)
    except subject.failures:
        plan.lift()
        if session.database is not None:
            found = subject.observe(session.database)
            lower = session.ledger.acknowledged(session.ledger.position())
            if session.ledger.match(found, lower, len(session.ledger.starts)) is None:
                return "after the failure, reads show " + session.ledger.explain(
                    found, lower, len(session.ledger.starts)
                )
    if session.database is not None:
        try:
            session.close()
        except subject.failures:
            session.database = None
    if session.disk.flush_retries:
        return "a failed flush was repeated on the same descriptor"
    return None


def crash_after_fault(
    recording: Recording, judge: Judge, rng: random.Random, crashes_each: int
) -> str | None:
    """A few crashes at the last positions of a run that met a fault."""
    last = len(recording.log)
    wanted = {last, max(0, last - 1), max(0, last - rng.randrange(2, 6))}
    ledger = recording.ledger
    for position, disk in walk(recording.start, recording.log):
        if position not in wanted:
            continue
        lower, upper = ledger.acknowledged(position), ledger.attempted(position)
        for choice in choices(disk, rng, crashes_each):
            problem = judge.judge(disk.image(choice), ledger, lower, upper)[0]
            if problem is not None:
                return f"{problem}; crash at {recording.operation(position)}, {choice}"
    return None
