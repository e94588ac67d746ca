"""`python3 ci [command]`: set up, build, check, test, measure. `python3 ci --help` lists the
commands.
"""

from __future__ import annotations

import os
import sys

# `python3 ci` puts this folder first on the path, where ci/commands would be found as a top-level
# package: import from the root.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse  # noqa: E402
import importlib  # noqa: E402

COMMANDS = (
    "demo",
    "test",
    "quick",
    "nightly",
    "bench",
    "peers",
    "lint",
    "types",
    "sanitize",
    "docs",
    "annotate",
    "arm64",
    "wheel",
)
EVERYTHING = "everything"
VERSION_NEEDED = (3, 11)

EXAMPLES = """\
examples:
  python3 ci                              everything that is run before a push
  python3 ci demo                         the main job on real input
  python3 ci test                         what a reviewer runs (at most 20 minutes on 2 cores, cold)
  python3 ci test --only unit crash       set-up, build and these stages
  python3 ci test --seed 7                the same random order and the same random cases again
  python3 ci quick                        a minute: build, lint, tidy, unit
  python3 ci nightly --minutes 60 --seed 1
  python3 ci bench

The first run makes a virtual environment (.venv, or $RANGO_VENV) and installs into it; later runs
reuse it. exit codes: 0 all well, 1 something failed, 2 this machine lacks something (it says what)
"""


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 ci",
        description="Rango's own checks. Without a command: everything.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=EVERYTHING)
    commands = parser.add_subparsers(dest="command", metavar="command")
    modules = {
        name: importlib.import_module(f"ci.commands.{name}") for name in (EVERYTHING, *COMMANDS)
    }
    for name in COMMANDS:
        module = modules[name]
        command = commands.add_parser(name, help=module.SUMMARY, description=module.__doc__)
        module.add_arguments(command)
    modules[EVERYTHING].add_arguments(parser)
    options, rest = parser.parse_known_args(arguments)
    module = modules[options.command or EVERYTHING]
    if rest and not getattr(module, "PASSES_ON", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    return int(module.main(options))


if __name__ == "__main__":
    if sys.version_info < VERSION_NEEDED:
        sys.exit(
            f"Rango needs Python {'.'.join(map(str, VERSION_NEEDED))} or newer; "
            f"this is {sys.version.split()[0]}"
        )
    os.chdir(sys.path[0])
    sys.exit(main(sys.argv[1:]))
