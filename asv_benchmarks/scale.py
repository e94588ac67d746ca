"""`python -m asv_benchmarks.scale`: what grows with the number of documents, and what must not.

Prints, for each size: the medians of find_one and of a durable insert_one with a cache that is
large enough, and how they grew; then, for the largest: the resident memory of a process that opens
it and answers, with the default cache and with a small one, page reads a find with the small one,
and how far over its size a cache went. Last, how fast commits are replayed after a crash.

Method      The sizes take turns in every round, in one process, with all pages in the cache; the
            medians of the rounds' medians are printed. Memory, page reads and replay come from
            processes of their own.
            Ten million documents take about ten minutes to make and 8 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import rango
from asv_benchmarks.benchmarks.workload import COLLECTION, KEY, Document, Workload
from asv_benchmarks.peers.memory import resident

MIB: Final = 1 << 20
SMALL_CACHE: Final = 4 * MIB
BATCH: Final = 1000
ASKED: Final = 20_000
"""Of so many `_id`s the finds choose."""
FIGURES: Final = ("find_one", "insert_one")
NEVER: Final = 2.0
"""More than any document's importance."""
GROWTH_MAX: Final = 4.0
PAGE_READS_MAX: Final = 2.0
RESIDENT_MAX_MB: Final = 100.0
OVER_MAX: Final = 1.1
REPLAYED_MIN: Final = 300_000.0


def fill(folder: Path, count: int) -> list[str]:
    """`count` documents with one index, checkpointed; some of their `_id`s."""
    workload = Workload(1)
    workload.agents = max(1, count // 50)
    kept: list[str] = []
    every = max(1, count // ASKED)
    with rango.open(folder, key=KEY) as db:
        memory = db[COLLECTION]
        memory.create_index("agent_id")
        for done in range(0, count, BATCH):
            batch = workload.take(min(BATCH, count - done))
            kept += [document["_id"] for document in batch[::every]]
            memory.insert_many(batch)
            if done % 500_000 == 0:
                print(f"  {done:,} of {count:,}", file=sys.stderr, flush=True)
        db.checkpoint()
    return kept


def spent_us(call: Callable[[Any], object], argument: Any) -> float:
    """One call, in microseconds."""
    began = time.perf_counter_ns()
    call(argument)
    return (time.perf_counter_ns() - began) / 1e3


def fresh(turn: int, samples: int) -> list[Document]:
    """Documents that no round had before."""
    documents = Workload(samples, seed=100 + turn).documents
    return [{**each, "_id": f"{turn}-{each['_id']}"} for each in documents]


def compared(
    databases: dict[int, tuple[Path, list[str]]], rounds: int, samples: int, cache: int
) -> dict[int, dict[str, float]]:
    """By size: the medians of the rounds, in microseconds."""
    found: dict[int, dict[str, list[float]]] = {
        size: {name: [] for name in FIGURES} for size in databases
    }
    opened = {
        size: rango.open(folder, key=KEY, cache_size=cache)
        for size, (folder, _ids) in databases.items()
    }
    memories = {size: db[COLLECTION] for size, db in opened.items()}
    chance = random.Random(3)
    try:
        for memory in memories.values():
            # reads every page in
            memory.count_documents({"importance": {"$gte": NEVER}})
        for turn in range(rounds):
            for size, memory in memories.items():
                asked = chance.choices(databases[size][1], k=samples)
                spent = [spent_us(memory.find_one, each) for each in asked]
                found[size]["find_one"].append(statistics.median(spent))
            inserts: dict[int, list[float]] = {size: [] for size in memories}
            # one for each in turn: the time of a flush changes from second to second
            for document in fresh(turn, samples // 4):
                for size, memory in memories.items():
                    inserts[size].append(spent_us(memory.insert_one, dict(document)))
            for size, each in inserts.items():
                found[size]["insert_one"].append(statistics.median(each))
    finally:
        for db in opened.values():
            db.close()
    return {
        size: {name: statistics.median(each) for name, each in rows.items()}
        for size, rows in found.items()
    }


def answer(folder: str, cache: int, samples: int) -> None:
    """In a process of its own: open, answer, and print JSON about memory and page reads."""
    ids = json.loads(Path(folder).with_suffix(".json").read_text())
    chance = random.Random(4)
    with rango.open(folder, key=KEY, cache_size=cache or None) as db:
        memory = db[COLLECTION]
        for each in chance.choices(ids, k=samples):
            memory.find_one(each)
        before = db.stats()["pages"]["reads"]
        for each in chance.choices(ids, k=samples):
            memory.find_one(each)
        pages = db.stats()["pages"]
        found = {
            "resident_mb": resident(),
            "page_reads": (pages["reads"] - before) / samples,
            "over": pages["cache_bytes"] / pages["cache_size"],
        }
    print(json.dumps(found))


def crash(folder: str, count: int) -> None:
    """In a process of its own: insert and end without a close or a checkpoint at the end."""
    db = rango.open(folder, key=KEY, durability="memory")
    memory = db[COLLECTION]
    documents = Workload(count, seed=9).documents
    for at in range(0, count, 100):
        memory.insert_many(documents[at : at + 100])
    sys.stdout.write(json.dumps({"entries": db.stats()["overlay_entries"]}))
    sys.stdout.flush()
    os._exit(0)


def told(arguments: list[str]) -> dict[str, float]:
    """What a process of this module printed."""
    command = [sys.executable, "-m", "asv_benchmarks.scale", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def replayed(place: Path, count: int) -> tuple[float, float]:
    """Documents replayed at the open after a crash, and how many of them a second."""
    folder = place / "crashed"
    entries = told(["--crash", str(folder), str(count)])["entries"]
    began = time.perf_counter()
    with rango.open(folder, key=KEY) as db:
        spent = time.perf_counter() - began
        if db[COLLECTION].count_documents({}) != count:
            raise SystemExit("documents are missing after the crash")
    return entries, entries / spent


def judged(name: str, value: float, limit: float, *, is_most: bool = True) -> str:
    """One line of the table."""
    is_met = value <= limit if is_most else value >= limit
    word = "at most" if is_most else "at least"
    return f"{name:58} {value:12,.2f}  {word} {limit:,.2f}{'' if is_met else '  not met'}"


def lines(options: argparse.Namespace, place: Path) -> Iterator[str]:
    """Measure, a line at a time."""
    databases = {}
    for size in sorted(options.sizes):
        folder = place / f"db{size}"
        ids = fill(folder, size)
        folder.with_suffix(".json").write_text(json.dumps(ids))
        databases[size] = (folder, ids)
    found = compared(databases, options.rounds, options.samples, options.cache * MIB)
    for size, row in found.items():
        figures = ", ".join(f"{name} {value:,.2f} us" for name, value in row.items())
        yield f"{size:12,} documents: {figures}"
    least, most = min(found), max(found)
    for name in FIGURES:
        yield judged(f"{name}: times longer", found[most][name] / found[least][name], GROWTH_MAX)
    folder = str(databases[most][0])
    for title, cache in (("default cache", 0), ("4 MiB of cache", SMALL_CACHE)):
        answers = told(["--answer", folder, str(cache), str(options.samples)])
        yield judged(f"{title}: MB resident", answers["resident_mb"], RESIDENT_MAX_MB)
        yield judged(f"{title}: size of the cache / its bound", answers["over"], OVER_MAX)
        if cache:
            yield judged(f"{title}: page reads a find", answers["page_reads"], PAGE_READS_MAX)
    entries, rate = replayed(place, min(most, 100_000))
    yield judged(
        f"after a crash: entries replayed a second ({entries:,.0f})",
        rate,
        REPLAYED_MIN,
        is_most=False,
    )


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="asv_benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--cache", type=int, default=8192, help="MiB that are large enough")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="on a disk")
    parser.add_argument("--answer", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--crash", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.answer:
        answer(options.answer[0], int(options.answer[1]), int(options.answer[2]))
        return 0
    if options.crash:
        crash(options.crash[0], int(options.crash[1]))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        for line in lines(options, Path(place)):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
