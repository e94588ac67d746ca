"""`python -m asv_benchmarks.peers`: Rango beside other stores and the floors, in one run."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from asv_benchmarks.benchmarks.workload import Workload
from asv_benchmarks.peers import charts, table, targets
from asv_benchmarks.peers.choice import STORES, store_class
from asv_benchmarks.peers.measure import run


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m asv_benchmarks.peers", description=__doc__)
    found.add_argument(
        "--n", type=int, nargs="+", default=[1000], help="documents; several give several tables"
    )
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--seed", type=int, default=1)
    found.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    found.add_argument("--charts", type=Path, metavar="FOLDER", help="draw one SVG a row")
    found.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures")
    found.add_argument(
        "--folder",
        type=Path,
        default=Path("build"),
        help="where the databases lie for the run; it must be on a disk for flushes to count",
    )
    return found


def main(argv: list[str]) -> int:
    """Measure and print."""
    options = parser().parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    results = []
    for count in options.n:
        workload = Workload(count, options.seed)
        with tempfile.TemporaryDirectory(prefix="peers-", dir=options.folder) as folder:
            stores = [store_class(short)(Path(folder) / short) for short in options.stores]
            slow = [each for each in stores if count > (each.documents_max or count)]
            stores = [each for each in stores if each not in slow]
            figures = run(stores, workload, options.rounds, _tell)
        print(f"\n{count:,} documents, {options.rounds} rounds")
        print(table.text(table.rows(stores, figures)))
        print("\nthe targets of issue 6 (times faster than the peer):")
        print("\n".join(targets.lines(stores, figures, count)))
        if options.charts:
            print(f"{charts.write(options.charts, stores, figures, count)} charts")
        for each in slow:
            print(f"{each.name} is left out above {each.documents_max:,} documents")
        results.append(table.as_json(count, options.rounds, figures))
    print(f"\n{table.NOTE}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
