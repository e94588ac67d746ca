"""Format and lint of the Python and Cython code, and the import contract."""

from __future__ import annotations

import argparse

from ci import builds, checks, environment
from ci.stages import Stages

SUMMARY = "ruff format, ruff, cython-lint, import-linter"


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """No options."""


def main(_options: argparse.Namespace) -> int:
    """Run the stages."""
    stages = Stages("python3 ci lint")
    stages.run("set-up", lambda: environment.set_up("ci"), is_needed=True)
    stages.run("build", lambda: builds.build(builds.RELEASE), is_needed=True)
    stages.run("lint", checks.lint)
    stages.run("imports", checks.imports)
    return stages.finish()
