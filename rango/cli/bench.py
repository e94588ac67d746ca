"""`rango bench`: how fast this machine is, in a database that is thrown away."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

import click

import rango
from rango.cli.output import print_object, print_table, progress

POINT_READS: Final = 1_000
DURABLE_WRITES: Final = 200


@click.command("bench")
@click.option("--count", "-c", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--dir", "place", metavar="DIR", help="Where to make it; the disk is measured too.")
@click.option("--plain", is_flag=True, help="Without encryption.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def command(count: int, place: str | None, plain: bool, as_json: bool) -> None:
    """Measure inserts, reads, a filter and a count on COUNT documents in a temporary database.

    The rates are of this moment on this machine; the benchmarks of the repository compare.

    \b
    Examples:
      rango bench
      rango bench -c 100000 --dir /mnt/sdcard --json
    """
    with tempfile.TemporaryDirectory(prefix="rango-bench-", dir=place) as folder:
        options: dict[str, Any] = {} if plain else {"key": os.urandom(32)}
        with rango.open(os.path.join(folder, "db"), **options) as db:
            results = measured(db, count)
    if as_json:
        print_object({"count": count, "encrypted": not plain, "results": results})
        return
    print_table(
        ["work", "per second", "median"],
        [(each["work"], f"{each['per_s']:,.0f}", time_text(each["median_s"])) for each in results],
    )


def measured(db: rango.Database, count: int) -> list[dict[str, Any]]:
    """Every measurement, in order."""
    documents = db["bench"]
    numbers = range(count)
    with progress("inserting", count) as bar:
        start = time.perf_counter()
        for begin in range(0, count, 1_000):
            documents.insert_many([document(number) for number in numbers[begin : begin + 1_000]])
            bar(min(begin + 1_000, count))
        inserting = time.perf_counter() - start
    reads = min(count, POINT_READS)
    results = [
        result("insert_many, batches of 1,000", count, [inserting / count]),
        timed("insert_one, durable", DURABLE_WRITES, lambda n: documents.insert_one({"n": n})),
        timed("find_one by _id", reads, lambda n: documents.find_one(f"document-{n}")),
    ]
    everything = timed(
        "filter without index (documents)", 5, lambda _: documents.count_documents(HIGH)
    )
    results.append(result("filter without index", count, [everything["median_s"] / count]))
    documents.create_index("importance")
    results.append(timed("find 10 by index", 200, lambda _: documents.find_many(HIGH, limit=10)))
    return results


HIGH: Final = {"importance": {"$gte": 0.99}}


def document(number: int) -> dict[str, Any]:
    """A document as agents write them."""
    return {
        "_id": f"document-{number}",
        "agent_id": f"planner-{number % 10:02d}",
        "kind": "summary",
        "content": "what was said, what was done and what came of it " * 4,
        "importance": (number * 7919 % 1000) / 1000,
    }


def timed(work: str, count: int, call: Callable[[int], object]) -> dict[str, Any]:
    """The times of `count` calls."""
    times = []
    for number in range(count):
        start = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - start)
    return result(work, count, times)


def result(work: str, count: int, times: list[float]) -> dict[str, Any]:
    """A measurement as it is printed."""
    median = statistics.median(times)
    return {"work": work, "count": count, "median_s": median, "per_s": 1 / median if median else 0}


def time_text(seconds: float) -> str:
    """Seconds for people."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e9:.0f} ns"
