"""Rango side by side with LMDB, SQLite, SQLCipher, LevelDB, RocksDB and stores of documents, in one
run on one machine, with the floors; the targets of issue 6 are judged below each table.
"""

from __future__ import annotations

import argparse

from ci.commands import bench

SUMMARY = "the same work on other stores, side by side"
PASSES_ON = True
USUAL = ["--n", "1000", "100000", "--charts", "build/charts"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows is for the program itself."""
    parser.epilog = (
        "other arguments are passed on to `python -m asv_benchmarks.peers` (--help lists them); "
        f"without any: {' '.join(USUAL)}"
    )


def main(options: argparse.Namespace) -> int:
    """Run the stages."""
    return bench.run_benchmarks("peers", f"{bench.FOLDER}.peers", options.rest or USUAL)
