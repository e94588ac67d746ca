"""Write what is generated: docs/reference/errors.md and limits.md from the docstrings, cli.md from
the commands, layout.pyx and layout.pyi from layout.pxd.

The suites compare; nothing is written unless this command is called.
"""

from __future__ import annotations

import argparse
import subprocess

from ci import builds, environment, generated
from ci.environment import ROOT, child_environment, venv_python

SUMMARY = "write the generated documents"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit code 1 if something is out of date",
    )


def main(options: argparse.Namespace) -> int:
    """Write or compare every generated file."""
    stale = 0
    for name, text in [*generated.all_files().items(), ("docs/reference/cli.md", cli_page())]:
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if options.check:
            print(f"{name} is out of date: run `python3 ci docs`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    if not stale:
        print("everything is up to date")
    return 1 if stale and options.check else 0


def cli_page() -> str:
    """docs/reference/cli.md: the commands have to be imported, which needs a build."""
    environment.set_up("ci")
    builds.build(builds.RELEASE)
    return subprocess.run(
        [venv_python(), "-c", "from rango.cli.manual import manual; print(manual(), end='')"],
        cwd=ROOT,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
