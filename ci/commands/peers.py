"""Rango side by side with lmdb + bson and sqlite3, in one run on one machine."""

from __future__ import annotations

import argparse

from ci.commands import bench

SUMMARY = "the same work on other stores, side by side"
PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows is for the program itself."""
    parser.epilog = "other arguments are passed on to `python -m asv_benchmarks.peers`"


def main(options: argparse.Namespace) -> int:
    """Run the stages."""
    return bench.run_benchmarks("peers", f"{bench.FOLDER}.peers", options.rest)
