"""The main job on real input: remember the standard library in an encrypted database, through a
SIGKILL and a rebuild.
"""

from __future__ import annotations

import argparse

from ci import builds, environment
from ci.environment import ROOT, venv_python
from ci.stages import StageAbsent, Stages, run_command

SUMMARY = "the main job on real input"
PROGRAM = "ci/demonstration.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--keep", metavar="FOLDER", help="leave the database there (default: a temporary folder)"
    )


def main(options: argparse.Namespace) -> int:
    """Set up, build, and run the demonstration."""
    stages = Stages("python3 ci demo")
    stages.run("set-up", lambda: environment.set_up("run", "build"), is_needed=True)
    stages.run("build", lambda: builds.build(builds.RELEASE), is_needed=True)
    stages.run("demo", lambda: demonstrate(options.keep))
    return stages.finish()


def demonstrate(keep: str | None) -> None:
    """Run the program; StageFailed if it does not find what it must."""
    if not (ROOT / PROGRAM).exists():
        raise StageAbsent(f"{PROGRAM} is not written yet")
    run_command([venv_python(), "-m", "ci.demonstration", *(["--keep", keep] if keep else [])])
