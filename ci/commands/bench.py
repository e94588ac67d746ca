"""Costs that are exact (flushes, bytes, pages), compared for equality, and times, measured by asv
base against head.
"""

from __future__ import annotations

import argparse

from ci import builds, environment
from ci.environment import ROOT, venv_python
from ci.stages import StageAbsent, Stages, run_command

SUMMARY = "benchmarks"
PASSES_ON = True
FOLDER = "asv_benchmarks"
HOURS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows is for the program itself."""
    parser.epilog = "other arguments are passed on to `python -m asv_benchmarks`"


def main(options: argparse.Namespace) -> int:
    """Run the stages."""
    return run_benchmarks("bench", FOLDER, options.rest)


def run_benchmarks(title: str, module: str, arguments: list[str]) -> int:
    """Set up with the bench dependencies, build, and run one package of benchmarks."""
    stages = Stages(f"python3 ci {title}")
    stages.run("set-up", lambda: environment.set_up("run", "build", "bench"), is_needed=True)
    stages.run("build", lambda: builds.build(builds.RELEASE), is_needed=True)
    stages.run(title, lambda: run(module, arguments))
    return stages.finish()


def run(module: str, arguments: list[str]) -> None:
    """`python -m module`."""
    path = ROOT / module.replace(".", "/")
    if not (path / "__main__.py").exists():
        raise StageAbsent(f"{path.relative_to(ROOT)}/__main__.py is not written yet")
    run_command([venv_python(), "-m", module, *arguments], minutes=HOURS * 60)
