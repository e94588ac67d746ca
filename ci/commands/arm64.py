"""The wheel for aarch64, cross-built; the core of the tests under QEMU as a Cortex-A53, with and
without AES instructions; the instructions of each operation against ci/arm64/counts.json.
"""

from __future__ import annotations

import argparse
from functools import partial

from ci import checks, environment
from ci.arm64 import counts, cross, emulate, sysroot
from ci.stages import Stages

SUMMARY = "64-bit ARM under QEMU: --accept, --only counts"
TEST_STAGES = tuple(f"tests {board}" for board in emulate.BOARDS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--accept", action="store_true", help="write counts.json anew")
    parser.add_argument("--seed", type=int, help="of the order of the tests (default: drawn)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="STAGE",
        choices=["counts", *TEST_STAGES],
        default=[],
        help=f"of: counts, {', '.join(TEST_STAGES)}",
    )


def main(options: argparse.Namespace) -> int:
    """Run the stages."""
    stages = Stages("python3 ci arm64", only=frozenset(options.only))
    run_stages(stages, checks.seed_of(options), is_accepted=options.accept)
    return stages.finish()


def run_stages(stages: Stages, seed: int, *, is_accepted: bool = False) -> None:
    """All stages; `ci nightly` has them, too."""
    stages.run("machine", sysroot.require, is_needed=True)
    stages.run("set-up", lambda: environment.set_up("ci"), is_needed=True)
    stages.run("sysroot", sysroot.make, is_needed=True)
    stages.run("cross-build", cross.wheel, is_needed=True)
    stages.run("tools", emulate.tools, is_needed=True)
    for board, name in zip(emulate.BOARDS, TEST_STAGES, strict=True):
        stages.run(name, partial(emulate.test, board, seed))
    stages.run("counts", partial(counts.compare, is_accepted=is_accepted))
