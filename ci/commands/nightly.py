"""The long suites (property, crash, race, fuzz, soak) in rounds until the minutes are over; round n
takes seed S + n - 1.

A suite sees the minutes and the seed as pytest's options --minutes and --randomly-seed, and the
hypothesis profile `nightly`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial

from ci import builds, checks, environment
from ci.stages import Stages
from ci.suites import SUITES, Suite

SUMMARY = "the long suites: --minutes N --seed S"
LONG = tuple(suite for suite in SUITES if suite.is_long)
SHARE_MINUTES_MIN = 0.1
GRACE_MINUTES = 10  # past its share a suite is ended


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--minutes", type=float, default=60, help="for all suites together (default: 60)"
    )
    parser.add_argument("--seed", type=int, help="of the first round (default: drawn, printed)")
    names = [suite.name for suite in LONG]
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
    suites = [suite for suite in LONG if not options.only or suite.name in options.only]
    deadline = time.monotonic() + options.minutes * 60
    number = 0
    while not number or (time.monotonic() < deadline and not stages.has_failed):
        for position, suite in enumerate(suites):
            left = max(0.0, deadline - time.monotonic()) / 60
            share = max(SHARE_MINUTES_MIN, left / (len(suites) - position))
            stages.run(
                f"{suite.name} {number + 1}",
                partial(run, suite, (seed + number) % checks.SEED_MAX, share),
            )
        number += 1
    return stages.finish()


def run(suite: Suite, seed: int, minutes: float) -> str:
    """One suite for its share of the time."""
    return checks.run_suite(
        replace(suite, minutes=minutes + GRACE_MINUTES, is_required=False),
        seed=seed,
        environment={"RANGO_PROFILE": "nightly"},
        arguments=(f"--minutes={minutes:.2f}",),
    )
