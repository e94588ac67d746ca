"""Write what is generated: docs/reference/errors.md and limits.md from the docstrings, layout.pyx
and layout.pyi from layout.pxd.

The suites compare; nothing is written unless this command is called.
"""

from __future__ import annotations

import argparse

from ci import generated
from ci.environment import ROOT

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
    for name, text in generated.all_files().items():
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
