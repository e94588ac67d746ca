"""The driver: runs a workload once, then crashes it everywhere, reopens, and judges what is found.

Terms       position: a crash point, "after the first n operations of the log". State: one disk
            that was reopened and judged. Crash: the power goes, pending operations are kept,
            dropped or torn. Kill: the process dies, the system keeps everything. Subject: the
            database under test, behind a few small methods.
Invariants  the workload runs once; every disk is rebuilt from its log. What a reopened database
            shows is durable from then on: a crash after a finished recovery must show it again
            (I-17), and nothing before an acknowledged commit is ever missing (I-1).
Failure     a violation carries seed, position and choice: `image_at` rebuilds the image.
Sources     reliability facts 2.1 (S1-S3, S9).
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.crash.choices import choices
from tests.crash.disk import Disk, Site
from tests.crash.ledger import Ledger, State
from tests.crash.model import Choice
from tests.crash.report import JUDGED, VIOLATIONS_MAX, Report, Violation

# Of this many states one is a crash during the recovery of another.
RECOVERY_EVERY = 3

NOTHING_KEPT = Choice({}, {}, 0)


class Subject(Protocol):
    """The database under test."""

    failures: tuple[type[Exception], ...]
    """What it may raise when the disk fails."""
    latching: tuple[type[Exception], ...]
    """Those after which it must refuse to write."""

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
class Recording:
    """The disk before a run, the log of the run, and what the ledger knows about it."""

    start: Disk
    log: list[tuple[object, ...]]
    sites: list[Site]
    ledger: Ledger

    def operation(self, position: int) -> str:
        if position == 0:
            return "start"
        parts = [
            part if not isinstance(part, bytes) else f"<{len(part)} bytes>"
            for part in self.log[position - 1]
        ]
        return f"after {parts} by {self.sites[position - 1].function}"

    def walk(self) -> Iterator[tuple[int, Disk]]:
        """The disk at each crash point. It is one object that goes on: use it before the next."""
        disk = self.start.copy()
        yield 0, disk
        for position, operation in enumerate(self.log, 1):
            disk.replay(operation)
            yield position, disk


def record(
    workload: Workload, subject: Subject, seed: int, disk_factory: Callable[[], Disk] = Disk
) -> tuple[Recording, Disk]:
    """Pass 1: run the workload on a recording disk."""
    disk = disk_factory()
    start = disk.copy()
    log = disk.record()
    session = Session(disk, Ledger(lambda: len(log)), subject, random.Random(seed))
    workload(session)
    if session.database is not None:
        session.close()
    return Recording(start, log, disk.log_sites, session.ledger), disk


def image_at(recording: Recording, position: int, choice: Choice) -> Disk:
    """The image of a violation, for debugging."""
    for at, disk in recording.walk():
        if at == position:
            return disk.image(choice)
    raise IndexError(position)


def where_raised() -> str:
    """The exception that is being handled, and the last places that it came through."""
    lines = [line.strip() for line in traceback.format_exc().strip().splitlines()]
    places = [line for line in lines[:-1] if not set(line) <= set("^~ ")]
    return " | ".join([lines[-1], *places[-10:]])


def untidy(disk: Disk) -> str | None:
    """What a closed database must not leave behind."""
    if disk.flush_retries:
        return "a failed flush was repeated on the same descriptor"
    if disk.handles:
        left = sorted({handle.path for handle in disk.handles.values()})
        return f"descriptors left open after close: {left}"
    return None


@dataclass(frozen=True)
class Verdict:
    """What is wrong (None: nothing); where the content was known, and what is promised since."""

    problem: str | None
    known: int = 0
    after: Ledger | None = None


@dataclass
class Judge:
    """Reopens disks and says what is wrong with them."""

    subject: Subject
    report: Report
    replay_every: int = 4
    probe_every: int = 4
    second_max: int = sys.maxsize
    """Operations of a reopening at which judge_twice() crashes it; drawn if there are more."""

    def judge(self, disk: Disk, ledger: Ledger, bounds: tuple[int, int]) -> Verdict:
        """Open, compare, check, sometimes commit once more, close, sometimes rebuild."""
        report = self.report
        report.states += 1
        disk.failed_directories.clear()
        untouched = disk.copy() if report.states % self.replay_every == 0 else None
        is_probed = report.states % self.probe_every == 0
        try:
            return self._judge(disk, ledger, bounds, untouched, is_probed)
        except JUDGED:
            return Verdict("raised " + where_raised())

    def _judge(
        self,
        disk: Disk,
        ledger: Ledger,
        bounds: tuple[int, int],
        untouched: Disk | None,
        is_probed: bool,
    ) -> Verdict:
        subject = self.subject
        database = subject.open(disk)
        found = subject.observe(database)
        number = ledger.match(found, *bounds)
        known = len(disk.log) if disk.log is not None else 0
        problem = None
        if number is None:
            return Verdict("wrong content: " + ledger.explain(found, *bounds))
        findings = subject.verify(database, disk)
        if findings:
            problem = f"check() finds {findings[:3]}"
        if problem is None and untouched is not None:
            replayed = subject.replayed(untouched)
            if replayed is not None and replayed != found:
                problem = "the log replayed from the start is not the content"
        after = None
        if problem is None and disk.log is not None:
            after = self._promise(database, found, disk.log)
        elif problem is None and is_probed:
            problem = self._probe(database, disk, found)
        subject.close(database)
        return Verdict(problem or untidy(disk), known, after)

    def _promise(self, database: Any, found: State, log: list[tuple[object, ...]]) -> Ledger:
        """One more commit on a recorded disk, and the ledger of what that promises."""
        after = Ledger(lambda: len(log), found)
        start = len(log)
        after.attempt(self.subject.probe(database))
        after.starts = [start]
        after.acknowledge()
        return after

    def _probe(self, database: Any, disk: Disk, found: State) -> str | None:
        """The recovered database takes one more commit, which survives the worst crash at once."""
        expected = {**found, **self.subject.probe(database)}
        again = self.subject.open(worst := disk.image(NOTHING_KEPT))
        seen = self.subject.observe(again)
        findings = self.subject.verify(again, worst)
        self.subject.close(again)
        if seen != expected:
            return "a commit after the recovery was lost, or brought something back"
        return f"check() after one more commit finds {findings[:3]}" if findings else None

    def judge_twice(
        self, disk: Disk, ledger: Ledger, bounds: tuple[int, int], rng: random.Random
    ) -> str | None:
        """Judges a disk, then crashes the reopening at each of its operations."""
        start = disk.copy()
        log = disk.record()
        verdict = self.judge(disk, ledger, bounds)
        if verdict.problem is not None:
            return verdict.problem
        recovery = Recording(start, log, disk.log_sites, ledger)
        positions = range(len(log) + 1)
        chosen = set(rng.sample(positions, min(len(positions), self.second_max)))
        for position, again in recovery.walk():
            if position not in chosen:
                continue
            judged, allowed = ledger, bounds
            if position >= verdict.known and verdict.after is not None:
                # What a finished recovery has shown must never be taken back.
                judged = verdict.after
                allowed = (judged.acknowledged(position), judged.attempted(position))
            for choice in choices(again, rng, 3):
                if position:
                    self.report.count_crash(recovery.sites[position - 1])
                self.report.recovery_states += 1
                problem = self.judge(again.image(choice), judged, allowed).problem
                if problem is not None:
                    return f"{problem}; second crash {recovery.operation(position)}, {choice}"
        return None


@dataclass
class CrashRun:
    """Crashes one recording at every position, again and again until the budget is used."""

    recording: Recording
    judge: Judge
    rng: random.Random
    budget: int
    share: tuple[int, int]
    deadline: float
    killed: set[Site]
    seen: set[tuple[object, ...]] = field(default_factory=set)

    def run(self) -> None:
        report = self.judge.report
        for _ in range(20):
            before = report.states
            self._walk(self.budget - before)
            if self._is_over() or report.states >= self.budget or report.states == before:
                return

    def _is_over(self) -> bool:
        return self.judge.report.is_full or time.monotonic() > self.deadline

    def _walk(self, budget: int) -> None:
        """One pass over all positions that spreads the budget over them."""
        report, ledger = self.judge.report, self.recording.ledger
        before, end = report.states, len(self.recording.log) + 1
        limit = max(4, budget * self.share[1] // end)
        for position, disk in self.recording.walk():
            if position % self.share[1] != self.share[0]:
                continue
            if self._is_over():
                return
            report.positions += 1
            quota = before + budget * (position + 1) // end
            bounds = (ledger.acknowledged(position), ledger.attempted(position))
            # A kill needs something pending to differ from a crash that keeps everything.
            if disk.pending() and self._wants_kill(position, quota):
                self._kill(position, disk, bounds)
            for number, choice in enumerate(choices(disk, self.rng, limit)):
                if report.is_full or (number >= 2 and report.states >= quota):
                    break
                key = (disk.epoch, choice.signature(), bounds[0])
                if key in self.seen:
                    report.duplicates += 1
                    if position:
                        # judged as the state after another call
                        report.crashed_sites.add(self.recording.sites[position - 1])
                    continue
                self.seen.add(key)
                self._crash(position, disk, choice, bounds, quota)

    def _wants_kill(self, position: int, quota: int) -> bool:
        if position and self.recording.sites[position - 1] not in self.killed:
            self.killed.add(self.recording.sites[position - 1])
            return True
        return self._wants_recovery(quota) and self.rng.random() < 0.3

    def _wants_recovery(self, quota: int) -> bool:
        report = self.judge.report
        is_behind = report.recovery_states * RECOVERY_EVERY <= report.states
        return is_behind and report.states < quota

    def _crash(
        self, position: int, disk: Disk, choice: Choice, bounds: tuple[int, int], quota: int
    ) -> None:
        if position:
            self.judge.report.count_crash(self.recording.sites[position - 1])
        image, ledger = disk.image(choice), self.recording.ledger
        if self._wants_recovery(quota) and self.rng.random() < 0.2:
            problem = self.judge.judge_twice(image, ledger, bounds, self.rng)
        else:
            problem = self.judge.judge(image, ledger, bounds).problem
        self._note(position, choice, problem)

    def _kill(self, position: int, disk: Disk, bounds: tuple[int, int]) -> None:
        self.judge.report.kill_states += 1
        problem = self.judge.judge_twice(disk.copy(), self.recording.ledger, bounds, self.rng)
        self._note(position, None, problem and "killed, then " + problem)

    def _note(self, position: int, choice: Choice | None, problem: str | None) -> None:
        if problem is not None:
            operation = self.recording.operation(position)
            self.judge.report.violations.append(Violation(position, choice, problem, operation))


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
    killed: set[Site] | None = None,
    second_max: int = sys.maxsize,
    violations_max: int = VIOLATIONS_MAX,
) -> Report:
    """Crashes a workload at every position, in about `budget` ways altogether.

    `share` = (n, of): every of-th position only, so that several processes can divide the work.
    `killed`: call sites after which a kill was tried already; each new one gets one. `second_max`:
    see Judge. It ends with the violation number `violations_max`.
    """
    report = Report(name or getattr(workload, "__name__", "workload"), seed)
    report.violations_max = violations_max
    started = time.monotonic()
    recording, disk = record(workload, subject, seed, disk_factory)
    for site, count in disk.sites.items():
        report.count_call(site, count)
    judge = Judge(subject, report, replay_every, probe_every, second_max)
    rng = random.Random(seed * 1_000_003 + share[0])
    sites = set() if killed is None else killed
    CrashRun(recording, judge, rng, budget, share, deadline, sites).run()
    report.seconds = time.monotonic() - started
    return report
