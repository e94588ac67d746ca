"""The long suites (property, crash, race, fuzz, soak) in rounds until the minutes are over; round n
takes seed S + n - 1. Before them, once, the tests and the instruction counts on an emulated ARM.

A suite sees the minutes and the seed as pytest's options --minutes and --randomly-seed, and the
hypothesis profile `nightly`.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from functools import partial

from ci import builds, checks, environment
from ci.stages import Stages, run_command
from ci.suites import SUITES, Suite

SUMMARY = "the long suites: --minutes N --seed S"
LONG = tuple(suite for suite in SUITES if suite.is_long)
SHARE_MINUTES_MIN = 0.1
ARM64, ARM64_MINUTES = "arm64", 120
GRACE_MINUTES = 10  # past its share a suite is ended


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--minutes", type=float, default=60, help="for all suites together (default: 60)"
    )
    parser.add_argument("--seed", type=int, help="of the first round (default: drawn, printed)")
    names = [ARM64, *(suite.name for suite in LONG)]
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="SUITE",
        choices=names,
        default=[],
        help=f"only these of: {', '.join(names)}",
    )


def main(options: argparse.Namespace) -> int:
    """Run rounds until the minutes are over; the first failure ends it, so that its output is the
    last.
    """
    stages = Stages("python3 ci nightly")
    seed = checks.seed_of(options)
    stages.run("set-up", lambda: environment.set_up("ci"), is_needed=True)
    stages.run("build", lambda: builds.build(builds.RELEASE), is_needed=True)
    if not options.only or ARM64 in options.only:
        stages.run(ARM64, partial(arm64, seed))
    suites = [suite for suite in LONG if not options.only or suite.name in options.only]
    deadline = time.monotonic() + options.minutes * 60
    number = 0
    while suites and (not number or (time.monotonic() < deadline and not stages.has_failed)):
        for position, suite in enumerate(suites):
            left = max(0.0, deadline - time.monotonic()) / 60
            share = max(SHARE_MINUTES_MIN, left / (len(suites) - position))
            stages.run(
                f"{suite.name} {number + 1}",
                partial(run, suite, (seed + number) % checks.SEED_MAX, share),
            )
        number += 1
    return stages.finish()


def arm64(seed: int) -> str:
    """`python3 ci arm64`, which names what the machine lacks."""
    run_command([sys.executable, "ci", ARM64, "--seed", str(seed)], minutes=ARM64_MINUTES)
    return f"seed {seed}"


def run(suite: Suite, seed: int, minutes: float) -> str:
    """One suite for its share of the time."""
    return checks.run_suite(
        # what goes on for minutes uses the cores by itself
        replace(suite, minutes=minutes + GRACE_MINUTES, is_required=False, is_parallel=False),
        seed=seed,
        environment={"RANGO_PROFILE": "nightly"},
        arguments=(f"--minutes={minutes:.2f}",),
    )
