"""`pip wheel .`, a look into the wheel, and a smoke test of it in a fresh virtual environment."""

from __future__ import annotations

import argparse

from ci import checks, environment
from ci.stages import Stages

SUMMARY = "build a wheel and use it in a fresh environment"


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """No options."""


def main(_options: argparse.Namespace) -> int:
    """Run the stages."""
    stages = Stages("python3 ci wheel")
    stages.run("set-up", lambda: environment.set_up("ci"), is_needed=True)
    stages.run("wheel", checks.wheel)
    return stages.finish()
