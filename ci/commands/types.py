"""mypy --strict on the Python code, stubtest on the compiled core."""

from __future__ import annotations

import argparse

from ci import builds, checks, environment
from ci.stages import Stages

SUMMARY = "mypy --strict, stubtest"


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """No options."""


def main(_options: argparse.Namespace) -> int:
    """Run the stages."""
    stages = Stages("python3 ci types")
    stages.run("set-up", lambda: environment.set_up("ci"), is_needed=True)
    stages.run("build", lambda: builds.build(builds.RELEASE), is_needed=True)
    stages.run("types", checks.types)

    return stages.finish()
