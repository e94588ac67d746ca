"""What is run at every save: build what changed, lint, tidy and unit tests. A minute."""

from __future__ import annotations

import argparse
from functools import partial

from ci import builds, checks, environment
from ci.stages import Stages
from ci.suites import SUITES

SUMMARY = "a minute: build, lint, tidy, unit"
QUICK = ("tidy", "unit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--seed",
        type=int,
        help="of the random order and the random cases (default: drawn, printed)",
    )


def main(options: argparse.Namespace) -> int:
    """Run the stages."""
    stages = Stages("python3 ci quick")
    seed = checks.seed_of(options)
    stages.run("set-up", lambda: environment.set_up("ci"), is_needed=True)
    stages.run("build", lambda: builds.build(builds.RELEASE), is_needed=True)
    stages.run("lint", checks.lint)
    for suite in SUITES:
        if suite.name in QUICK:
            stages.run(
                suite.name,
                partial(checks.run_suite, suite, seed=seed, arguments=("-m", "not slow")),
            )
    return stages.finish()
