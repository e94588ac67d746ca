"""The compiled core built with AddressSanitizer and UndefinedBehaviorSanitizer, and the unit tests
on it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from ci import builds, checks, environment
from ci.stages import Stages
from ci.suites import SUITES

SUMMARY = "unit tests on an ASan + UBSan build"
MODE = "sanitize"
MINUTES = 20
NOT_ABOUT_THE_CORE = (
    # what is Python throughout, or starts processes of its own
    "test_aggregate*",
    "test_aio*",
    "test_benchmarks*",
    "test_ci*",
    "test_cli*",
    "test_commands*",
    "test_doctor*",
    "test_events*",
    "test_exporters*",
    "test_expression*",
    "test_json_schema*",
    "test_model*",
    "test_numbers*",
    "test_os_keyring*",
    "test_rekey*",
    "test_standard_library*",
    "test_transfer*",
    "test_values*",
    "test_workspace*",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--seed",
        type=int,
        help="of the random order and the random cases (default: drawn, printed)",
    )


def main(options: argparse.Namespace) -> int:
    """Run the stages."""
    stages = Stages("python3 ci sanitize")
    seed = checks.seed_of(options)
    stages.run("set-up", lambda: environment.set_up("ci"), is_needed=True)
    stages.run("sanitize", lambda: run(seed))
    return stages.finish()


def run(seed: int) -> str:
    """Build the variant and run the suites that stand for the core on it."""
    builds.build(MODE)
    ignored = (f"--ignore-glob=tests/unit/{name}.py" for name in NOT_ABOUT_THE_CORE)
    # --capture=sys: a sanitizer writes to file descriptor 2 and ends the process
    arguments = ("-m", "not slow", "--capture=sys", *ignored)
    for suite in SUITES:
        if suite.name in checks.SANITIZED_SUITES:
            checks.run_suite(
                replace(suite, minutes=MINUTES),
                seed=seed,
                folder=builds.folder_of(MODE),
                environment={**checks.sanitizer_environment(), "RANGO_PROFILE": "short"},
                arguments=arguments,
            )
    return f"{', '.join(checks.SANITIZED_SUITES)} on ASan + UBSan"
