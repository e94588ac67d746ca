"""Stages: run one after the other, timed, none hidden; a table at the end.

Terms       A stage is a function that returns a short note, or raises StageFailed (it failed) or
            StageAbsent (the files that it is about are not there). A failure does not stop the
            stages after it, except where they need it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci.environment import ROOT, MachineIncomplete, child_environment

PASSED, FAILED, ABSENT, NOT_RUN = "passed", "FAILED", "absent", "not run"
EXIT_FAILED, EXIT_MACHINE = 1, 2


class StageFailed(Exception):
    """A stage found something wrong; what was printed says what."""


class StageAbsent(Exception):
    """What the stage is about does not exist yet, and is not required yet (ci/suites.py)."""


@dataclass(frozen=True)
class Result:
    """How one stage ended."""

    name: str
    outcome: str
    seconds: float
    note: str


@dataclass
class Stages:
    """The stages of one command."""

    title: str
    only: frozenset[str] = frozenset()
    results: list[Result] = field(default_factory=list)
    is_blocked: bool = False
    is_incomplete: bool = False

    @property
    def has_failed(self) -> bool:
        """True if some stage failed or could not run."""
        return any(result.outcome in {FAILED, NOT_RUN} for result in self.results)

    def run(self, name: str, stage: Callable[[], str | None], *, is_needed: bool = False) -> None:
        """Run a stage. If a needed one fails, those after it are not run."""
        if self.only and name not in self.only and not is_needed:
            return
        if self.is_blocked:
            self.results.append(Result(name, NOT_RUN, 0.0, ""))
            return
        print(f"\n=== {name}", flush=True)
        start = time.monotonic()
        outcome, note = PASSED, ""
        try:
            note = stage() or ""
        except StageAbsent as error:
            outcome, note = ABSENT, str(error)
        except MachineIncomplete as error:
            outcome, note = FAILED, "see above"
            self.is_incomplete = True
            print(f"{error}", flush=True)
        except (StageFailed, subprocess.CalledProcessError) as error:
            outcome, note = FAILED, str(error)
        seconds = time.monotonic() - start
        self.results.append(Result(name, outcome, seconds, note))
        self.is_blocked = is_needed and outcome == FAILED
        print(f"=== {name}: {outcome} in {seconds:.1f} s{f' ({note})' if note else ''}", flush=True)

    def finish(self) -> int:
        """Print the table; the exit code."""
        failed = [result.name for result in self.results if result.outcome == FAILED]
        unrun = sum(result.outcome == NOT_RUN for result in self.results)
        seconds = sum(result.seconds for result in self.results)
        total = Result("total", FAILED if failed else PASSED, seconds, ", ".join(failed))
        width = max(len(result.name) for result in (*self.results, total))
        print(f"\n{self.title}")
        for result in (*self.results, total):
            line = f"  {result.name:<{width}}  {result.outcome:<7}  {result.seconds:7.1f} s  "
            print(f"{line}{result.note}".rstrip())
        if unrun:
            print(f"  {unrun} stages were not run")
        sys.stdout.flush()
        if self.is_incomplete:
            return EXIT_MACHINE
        return EXIT_FAILED if failed or unrun else 0


def run_command(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    minutes: float = 15,
) -> None:
    """Run a command, its output passed through; StageFailed if it fails or takes too long (then its
    whole group ends).
    """
    words = [str(word) for word in command]
    print(f"$ {' '.join(words)}", flush=True)
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=dict(environment if environment is not None else child_environment()),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = process.wait(timeout=minutes * 60)
    except subprocess.TimeoutExpired:
        end_group(process)
        raise StageFailed(f"still running after {minutes:g} minutes") from None
    except KeyboardInterrupt:
        end_group(process)
        raise
    if code != 0:
        raise StageFailed(f"exit code {code}" if code > 0 else f"ended by signal {-code}")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started in its own session, with its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
