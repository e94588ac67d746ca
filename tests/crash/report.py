"""What a run of the simulator did and found, as CI prints it."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from rango.errors import RangoError
from tests.crash.disk import Site
from tests.crash.model import Choice

VIOLATIONS_MAX = 10

JUDGED = (
    *(RangoError, OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(ArithmeticError, RuntimeError, MemoryError, BufferError, EOFError, NameError, StopIteration),
    *(struct.error, zlib.error),
)
"""What a program under test may raise when it is wrong: it becomes a violation and the run goes on.
Anything else ends the run with its traceback, which is no less loud."""


@dataclass
class Violation:
    """One wrong answer, and how to get it again: seed (in the report), position and choice."""

    position: int
    choice: Choice | None
    what: str
    operation: str
    plan: str = ""

    def __str__(self) -> str:
        where = f"position {self.position} ({self.operation})"
        return f"{where} {self.plan}: {self.what}\n    {self.choice or ''}".rstrip()


@dataclass
class Report:
    """Counts, coverage by (kind of call, class of file), and violations."""

    name: str
    seed: int
    states: int = 0
    recovery_states: int = 0
    kill_states: int = 0
    fault_runs: int = 0
    positions: int = 0
    duplicates: int = 0
    seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    called: dict[tuple[str, str], int] = field(default_factory=dict)
    crashed: dict[tuple[str, str], int] = field(default_factory=dict)
    faulted: dict[tuple[str, str], int] = field(default_factory=dict)
    sites: dict[Site, int] = field(default_factory=dict)
    crashed_sites: set[Site] = field(default_factory=set)
    violations_max: int = VIOLATIONS_MAX

    @property
    def is_full(self) -> bool:
        return len(self.violations) >= self.violations_max

    def count_call(self, site: Site, count: int) -> None:
        self.sites[site] = self.sites.get(site, 0) + count
        key = (site.kind, site.file_class)
        self.called[key] = self.called.get(key, 0) + count

    def count_crash(self, site: Site) -> None:
        key = (site.kind, site.file_class)
        self.crashed[key] = self.crashed.get(key, 0) + 1
        self.crashed_sites.add(site)

    def count_fault(self, key: tuple[str, str]) -> None:
        self.faulted[key] = self.faulted.get(key, 0) + 1

    def add(self, other: Report) -> None:
        """Sums up the runs of several workloads."""
        for name in ("states", "recovery_states", "kill_states", "fault_runs", "positions"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.duplicates += other.duplicates
        self.seconds += other.seconds
        self.violations += other.violations
        for mine, theirs in (
            (self.called, other.called),
            (self.crashed, other.crashed),
            (self.faulted, other.faulted),
        ):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for site, count in other.sites.items():
            self.sites[site] = self.sites.get(site, 0) + count
        self.crashed_sites |= other.crashed_sites

    def missed(self) -> list[Site]:
        """Call sites that change something and met no crash."""
        silent = {"open", "read", "lock"}
        return sorted(s for s in self.sites if s.kind not in silent and s not in self.crashed_sites)

    def __str__(self) -> str:
        rate = self.states / self.seconds if self.seconds else 0.0
        lines = [
            f"[crash] {self.name}: {self.states} states ({self.recovery_states} in a recovery, "
            f"{self.kill_states} after a kill; {self.fault_runs} fault runs), "
            f"{len(self.violations)} violations, {rate:.0f} states/s, seed {self.seed}"
        ]
        for key in sorted(self.crashed.keys() | self.faulted.keys() | self.called.keys()):
            lines.append(
                f"    {key[0]:<16}{key[1]:<14} called {self.called.get(key, 0):>7}  "
                f"crashed {self.crashed.get(key, 0):>7}  failed {self.faulted.get(key, 0):>6}"
            )
        lines += [f"    no crash at {site}" for site in self.missed()]
        lines += [f"    VIOLATION {violation}" for violation in self.violations]
        return "\n".join(lines)
