"""What is run before a push: all of `python3 ci test`, and unit and property tests on a debug
build, whose asserts are on.
"""

from __future__ import annotations

import argparse
from functools import partial

from ci import builds, checks
from ci.commands import test
from ci.stages import Stages
from ci.suites import SUITES

SUMMARY = "everything that is run before a push"
DEBUG = "debug"
DEBUG_SUITES = ("unit", "property")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ci test`, which stands in the middle of this."""
    test.add_arguments(parser)


def main(options: argparse.Namespace) -> int:
    """Run the stages."""
    stages = Stages("python3 ci", only=frozenset(options.only))
    options.seed = checks.seed_of(options)
    test.run_stages(stages, options)
    stages.run("build-debug", lambda: builds.build(DEBUG))
    for suite in SUITES:
        if suite.name in DEBUG_SUITES:
            stages.run(
                f"{suite.name}-debug",
                partial(checks.run_suite, suite, seed=options.seed, folder=builds.folder_of(DEBUG)),
            )
    return stages.finish()
