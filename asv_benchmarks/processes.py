"""`python -m asv_benchmarks.processes`: several processes that write one database, and what readers
feel of it, beside SQLite (WAL, busy_timeout) and LMDB.

Method      Each figure comes from processes that open the same files, wait for one moment and work
            for so long. Stores take turns in every round; the medians of the rounds are printed.
            Every insert is a commit of its own and durable when it returns.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

KEY: Final = bytes(range(32))
TEXT: Final = "something that an agent wants to remember " * 4
ROWS: Final = 2_000
"""Documents that are there before, for readers."""

Insert = Callable[[str, dict[str, Any]], object]
Find = Callable[[str], object]


def open_rango(folder: str) -> tuple[Insert, Find]:
    """Encrypted, durability "commit"."""
    import rango

    rows = rango.open(f"{folder}/db", key=KEY)["rows"]
    return lambda name, row: rows.insert_one({"_id": name, **row}), rows.find_one


def open_sqlite(folder: str) -> tuple[Insert, Find]:
    """JSON text; a commit is durable (synchronous=FULL), writers wait (busy_timeout)."""
    db = sqlite3.connect(f"{folder}/db.sqlite", isolation_level=None, timeout=30)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID")

    def insert(name: str, row: dict[str, Any]) -> None:
        db.execute("INSERT INTO rows VALUES (?, ?)", (name, json.dumps(row)))

    def find(name: str) -> object:
        found = db.execute("SELECT body FROM rows WHERE id = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    return insert, find


def open_lmdb(folder: str) -> tuple[Insert, Find]:
    """BSON; a commit is durable (sync), one writer at a time."""
    import bson
    import lmdb

    env: Any = lmdb.open(f"{folder}/lmdb", map_size=1 << 30)

    def insert(name: str, row: dict[str, Any]) -> None:
        with env.begin(write=True) as txn:
            txn.put(name.encode(), bson.encode(row))

    def find(name: str) -> object:
        with env.begin() as txn:
            data = txn.get(name.encode())
            return None if data is None else bson.decode(data)

    return insert, find


STORES: Final = {"rango": open_rango, "sqlite": open_sqlite, "lmdb": open_lmdb}


def write(store: str, folder: str, who: int, start: Barrier, seconds: float, told: Any) -> None:
    """One writing process: how many inserts it made."""
    insert, _find = STORES[store](folder)
    start.wait()
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        insert(f"w{who}.{count}", {"n": count, "text": TEXT})
        count += 1
    told.put(("writes", count))


def read(store: str, folder: str, _who: int, start: Barrier, seconds: float, told: Any) -> None:
    """One reading process: its latencies in microseconds at 50 and 99 %."""
    _insert, find = STORES[store](folder)
    start.wait()
    end = time.monotonic() + seconds
    spent = []
    number = 0
    while time.monotonic() < end:
        number = (number + 7_919) % ROWS
        began = time.perf_counter_ns()
        find(f"r{number}")
        spent.append(time.perf_counter_ns() - began)
        time.sleep(0.0002)
    spent.sort()
    told.put(("reads", (spent[len(spent) // 2] / 1e3, spent[len(spent) * 99 // 100] / 1e3)))


def measured(store: str, folder: str, writers: int, readers: int, seconds: float) -> dict[str, Any]:
    """Run so many processes on fresh files."""
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    fill = context.Process(target=filled, args=(store, folder))
    fill.start()
    fill.join()
    start, told = context.Barrier(writers + readers), context.Queue()
    works = [write] * writers + [read] * readers
    processes = [
        context.Process(target=work, args=(store, folder, who, start, seconds, told))
        for who, work in enumerate(works)
    ]
    for process in processes:
        process.start()
    answers = [told.get(timeout=seconds + 60) for _ in processes]
    for process in processes:
        process.join()
    writes = sum(count for kind, count in answers if kind == "writes")
    reads = [figures for kind, figures in answers if kind == "reads"]
    found: dict[str, Any] = {"inserts_s": writes / seconds}
    if reads:
        found["read_p50_us"] = statistics.median(p50 for p50, _p99 in reads)
        found["read_p99_us"] = statistics.median(p99 for _p50, p99 in reads)
    return found


def filled(store: str, folder: str) -> None:
    """What is there before."""
    insert, _find = STORES[store](folder)
    for number in range(ROWS):
        insert(f"r{number}", {"n": number, "text": TEXT})


WORKS: Final = ("find_one", "insert, memory", "insert, commit")


def alone(folder: str, *, may_share: bool) -> dict[str, float]:
    """Microseconds of one process's work on a database that others may open, or that none can, as
    on a system without range locks.
    """
    import rango
    from rango.storage import lock

    before, lock.RANGE_LOCKS = lock.RANGE_LOCKS, may_share
    try:
        found = {}
        with rango.open(f"{folder}/db", key=KEY, durability="memory") as db:
            rows = db["rows"]
            rows.insert_many([{"_id": f"r{n}", "n": n, "text": TEXT} for n in range(ROWS)])
            found["find_one"] = spent_on(lambda n: rows.find_one(f"r{n % ROWS}"), 20_000)
            found["insert, memory"] = spent_on(
                lambda n: rows.insert_one({"_id": f"m{n}", "n": n, "text": TEXT}), 5_000
            )
        with rango.open(f"{folder}/db", key=KEY) as db:
            rows = db["rows"]
            found["insert, commit"] = spent_on(
                lambda n: rows.insert_one({"_id": f"c{n}", "n": n, "text": TEXT}), 2_000
            )
        return found
    finally:
        lock.RANGE_LOCKS = before


def spent_on(work: Callable[[int], object], count: int) -> float:
    """The median, in microseconds, of the pieces that the work is done in."""
    pieces, each = 50, count // 50
    spent = []
    for piece in range(pieces):
        began = time.perf_counter_ns()
        for number in range(piece * each, piece * each + each):
            work(number)
        spent.append((time.perf_counter_ns() - began) / each / 1e3)
    return statistics.median(spent)


def compare_alone(rounds: int, folder: Path) -> None:
    """What the possibility of other processes costs one that is alone."""
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for turn in range(rounds):
        for may_share in (True, False)[:: 1 if turn % 2 else -1]:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                found[may_share].append(alone(place, may_share=may_share))
    for work in WORKS:
        ratios = [
            ours[work] / lone[work] for ours, lone in zip(found[True], found[False], strict=True)
        ]
        medians = [statistics.median(each[work] for each in found[way]) for way in (True, False)]
        print(
            f"{work:15} {medians[0]:8.2f} us, {medians[1]:8.2f} where nobody else can come: "
            f"ratio {statistics.median(ratios):.3f}",
            flush=True,
        )


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="asv_benchmarks.processes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=Path("build"), help="on a disk")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--alone", action="store_true", help="what company could cost one process")
    options = parser.parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.alone:
        compare_alone(options.rounds, options.folder)
        return 0
    for writers, readers in ((1, 0), (2, 0), (4, 0), (1, 2)):
        rounds: dict[str, list[dict[str, Any]]] = {store: [] for store in options.stores}
        for turn in range(options.rounds):
            for store in options.stores[:: 1 if turn % 2 else -1]:
                with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                    rounds[store].append(
                        measured(store, f"{folder}/files", writers, readers, options.seconds)
                    )
        for store, found in rounds.items():
            medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
            figures = ", ".join(f"{name} {value:,.0f}" for name, value in medians.items())
            print(f"{writers} writing, {readers} reading: {store:8} {figures}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
