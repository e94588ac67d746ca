"""`python -m asv_benchmarks.peers.memory SHORT FOLDER`: what an existing store adds to a process.

Prints JSON, megabytes over the process before the store's modules were imported: "opened" after
open and one count, "scanned" after a read of everything as dictionaries that were then dropped.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from asv_benchmarks.peers.choice import store_class

KILOBYTES = 1024.0


def resident() -> float:
    """Megabytes of this process in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / KILOBYTES
    raise SystemExit("/proc/self/status has no VmRSS")


def main(argv: list[str]) -> int:
    """Measure one store."""
    short, folder = argv
    before = resident()
    store = store_class(short)(Path(folder))
    store.open()
    store.count()
    opened = resident() - before
    found = len(store.find_at_least(0.0))
    gc.collect()
    scanned = resident() - before
    store.close()
    print(json.dumps({"opened": opened, "scanned": scanned, "documents": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
