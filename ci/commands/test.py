"""Everything that decides whether a change is good: set-up, build, lint, types, imports, every
suite, sanitizers, wheel.
"""

from __future__ import annotations

import argparse
import os
from functools import partial

from ci import builds, checks, environment
from ci.commands import bench, sanitize
from ci.stages import Stages
from ci.suites import PUSH_SUITES

SUMMARY = "what a reviewer runs: at most 20 minutes on 2 cores, cold"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    names = [
        "lint",
        "types",
        "imports",
        *(suite.name for suite in PUSH_SUITES),
        "benchmarks",
        "sanitize",
        "wheel",
    ]
    parser.add_argument(
        "--seed",
        type=int,
        help="of the random order and the random cases (default: drawn, printed)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="STAGE",
        choices=names,
        default=[],
        help=f"only these of: {', '.join(names)}",
    )
    parser.add_argument(
        "--require-corpus", action="store_true", help="a missing corpus fails (so does CI=true)"
    )


def main(options: argparse.Namespace) -> int:
    """Run the stages."""
    stages = Stages("python3 ci test", only=frozenset(options.only))
    run_stages(stages, options)
    return stages.finish()


def run_stages(stages: Stages, options: argparse.Namespace) -> None:
    """All stages of `ci test`, in the order in which they find mistakes soonest."""
    seed = checks.seed_of(options)
    require_corpus = options.require_corpus or os.environ.get("CI") == "true"
    stages.run("set-up", lambda: environment.set_up("ci"), is_needed=True)
    stages.run("build", lambda: builds.build(builds.RELEASE), is_needed=True)
    stages.run("lint", checks.lint)
    stages.run("types", checks.types)
    stages.run("imports", checks.imports)
    for suite in PUSH_SUITES:
        stages.run(
            suite.name, partial(checks.run_suite, suite, seed=seed, require_corpus=require_corpus)
        )
    stages.run("benchmarks", partial(bench.run, bench.FOLDER, ["--smoke"]))
    stages.run("sanitize", lambda: sanitize.run(seed))
    stages.run("wheel", checks.wheel)
