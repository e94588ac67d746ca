"""The four operations that a small board must do in time; docs/howto/measure-on-a-board.md.

`python -m asv_benchmarks --board` prints median, 99th percentile and bound of each; 1 if a median
is above its bound. An insertion may take the time of the disk's own flush on top, measured beside.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Final

import rango
from asv_benchmarks.benchmarks.database import fill
from asv_benchmarks.benchmarks.workload import COLLECTION, KEY, Workload

COUNT: Final = 1000
SAMPLES: Final = 200
NEVER: Final = 2.0
BOUNDS_MS: Final = {"find_one": 1.0, "insert_one": 2.0, "scan of 1,000": 5.0, "by index": 1.0}


def timed_ms(call: Callable[[Any], object], arguments: Iterable[Any]) -> list[float]:
    """Milliseconds of each call, in order of length."""
    samples = []
    for argument in arguments:
        start = perf_counter()
        call(argument)
        samples.append((perf_counter() - start) * 1000)
    return sorted(samples)


def flushes_ms(folder: str, samples: int) -> list[float]:
    """What pwrite of 400 bytes into a prewritten file and fdatasync take here."""
    fd = os.open(f"{folder}/flushed", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(fd, bytes(samples * 400), 0)
        os.fsync(fd)

        def flush(at: int) -> None:
            os.pwrite(fd, bytes(400), at * 400)
            os.fdatasync(fd)

        return timed_ms(flush, range(samples))
    finally:
        os.close(fd)


def measured(folder: str, samples: int) -> dict[str, list[float]]:
    """Sorted milliseconds of each operation, and of a flush."""
    workload = Workload(COUNT)
    fill(f"{folder}/db", workload)
    with rango.open(f"{folder}/db", key=KEY) as db:
        memory = db[COLLECTION]
        agents = workload.sample_agents(samples, 1)
        return {
            "find_one": timed_ms(memory.find_one, workload.sample_ids(samples, 1)),
            "insert_one": timed_ms(memory.insert_one, workload.take(samples)),
            "scan of 1,000": timed_ms(
                lambda _: memory.find_many({"importance": {"$gte": NEVER}}), range(samples)
            ),
            "by index": timed_ms(lambda each: memory.find_many({"agent_id": each}), agents),
            "flush": flushes_ms(folder, samples),
        }


def main(disk: str, samples: int = SAMPLES) -> int:
    """Measure, print, judge."""
    with tempfile.TemporaryDirectory(prefix="board-", dir=disk) as folder:
        found = measured(folder, samples)
    medians = {name: statistics.median(each) for name, each in found.items()}
    code = 0
    print(f"{'milliseconds':16} {'median':>9} {'p99':>9} {'at most':>9}")
    for name, each in found.items():
        most = BOUNDS_MS.get(name)
        if most is not None and name == "insert_one":
            most += medians["flush"]
        is_late = most is not None and medians[name] > most
        code = code or int(is_late)
        limit = "" if most is None else f"{most:9.3f}{' too slow' if is_late else ''}"
        print(f"{name:16} {medians[name]:9.3f} {each[len(each) * 99 // 100]:9.3f} {limit}")
    return code
