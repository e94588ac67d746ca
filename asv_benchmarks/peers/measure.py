"""Time one piece of work on one store; rounds of all work on all stores, which take turns.

A figure is the median over rounds of the round's median: stores meet the same minute of the same
machine, in another order each time, so that none always follows the same neighbour. Each round
begins with the files as they were loaded, so that no store carries along what rounds before it have
inserted and deleted. A disk may change its pace within seconds (here: from 0.1 ms a flush to 4 ms
and back), so work that flushes changes the store every few operations.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Final

from asv_benchmarks.benchmarks.workload import Document, Workload
from asv_benchmarks.peers.store import FILE_WORKS, THREAD_WORKS, Store

SAMPLES: Final = 1000
SAMPLES_SCAN: Final = 20
SAMPLES_SCAN_LARGE: Final = 3
SAMPLES_COLD: Final = 200
DURABLE_PARTS: Final = 12
DURABLE_PER_PART: Final = 20
"""The first of a part meets caches that other stores have filled; of five it was a fifth."""
SAMPLES_BATCH: Final = 3
SAMPLES_OPEN: Final = 3
LARGE: Final = 10_000
CALLS_PER_SAMPLE: Final = 50
"""Of work that takes less than a microsecond, so that the timer's own 50 ns do not count."""
TOP: Final = 10
IMPORTANCE_NEVER: Final = 2.0
NANOSECONDS: Final = 1000.0
MEGABYTE: Final = 1 << 20

WORKS: Final = (
    "import ms", "open", "find_one cold", "encode", "decode", "find_one", "filter 1 %",
    "filter 20 %",
    "find by index", "sort+limit", "sort+limit index", "count", "count range", "group",
    "insert_one", "update_one", "delete_one", "insert_one 4 threads", "insert_one 16 threads",
    "insert_many/doc", "insert_one no flush", "update_one no flush", "delete_one no flush",
    "disk bytes/doc", "data bytes/doc", "memory MB opened",
    "memory MB scanned",
)  # fmt: skip
"""In the order in which they run: cold means after open and before anything else was read, and
what insert_one adds delete_one takes away."""
DOCUMENTS_PER_THREAD: Final = {4: 50, 16: 25}
SAMPLES_IMPORT: Final = 5
START_SECONDS: Final = 60
IMPORT_MIN: Final = 0.1
FIRST_RELAXED, LAST_RELAXED = "insert_one no flush", "delete_one no flush"
DURABLE: Final = frozenset({"insert_one", "update_one", "delete_one"})


@dataclass
class Figure:
    """One cell of the table: each round's median and 99th percentile; times in microseconds."""

    medians: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The median over rounds."""
        return statistics.median(self.medians)


Figures = dict[str, dict[str, Figure]]
"""work -> store name -> figure"""


def timed(call: Callable[[Any], object], arguments: Iterable[Any]) -> list[float]:
    """Microseconds of each call."""
    samples = []
    for argument in arguments:
        start = perf_counter_ns()
        call(argument)
        samples.append((perf_counter_ns() - start) / NANOSECONDS)
    return samples


def timed_many(call: Callable[[Any], object], arguments: list[Any]) -> list[float]:
    """Microseconds of each call, taken over CALLS_PER_SAMPLE of them at a time."""
    samples = []
    for at in range(0, len(arguments), CALLS_PER_SAMPLE):
        part = arguments[at : at + CALLS_PER_SAMPLE]
        start = perf_counter_ns()
        for argument in part:
            call(argument)
        samples.append((perf_counter_ns() - start) / NANOSECONDS / len(part))
    return samples


class Round:
    """The inputs of one round: the same for every store."""

    def __init__(self, workload: Workload, number: int) -> None:
        self.workload = workload
        self.order = random.Random(number)
        self.ids = workload.sample_ids(SAMPLES, number)
        self.agents = workload.sample_agents(SAMPLES // 10, number)
        self.cold_ids = workload.sample_ids(SAMPLES_COLD, -1 - number)
        self.fresh = [workload.take(DURABLE_PER_PART) for _ in range(DURABLE_PARTS)]
        self.batches = [workload.take(workload.batch_size) for _ in range(SAMPLES_BATCH)]
        self.relaxed = workload.take(SAMPLES // 5)
        created = [int(each["created_at"].timestamp() * 1000) for each in workload.documents]
        self.between = (created[len(created) // 4], created[len(created) * 3 // 4])
        self.threads = {
            f"insert_one {count} threads": [
                [workload.take(each) for _ in range(count)] for _ in range(SAMPLES_BATCH)
            ]
            for count, each in DOCUMENTS_PER_THREAD.items()
        }
        self.scans = SAMPLES_SCAN_LARGE if workload.count >= LARGE else SAMPLES_SCAN

    def parts(self, work: str) -> int:
        """In how many parts the work is done, other stores taking their turns between them."""
        if work in DURABLE:
            return DURABLE_PARTS
        return SAMPLES_BATCH if work in THREAD_WORKS | {"insert_many/doc"} else 1

    def samples(self, work: str, store: Store, part: int) -> list[float]:
        """Do a part of the work on the store; what each time took."""
        most = store.samples_max or SAMPLES
        documents = self.workload.documents[:SAMPLES]
        fresh = self.fresh[part]
        fresh_ids = [document["_id"] for document in fresh]
        relaxed_ids = [document["_id"] for document in self.relaxed]
        few = [None] * min(self.scans, most)
        many = [None] * min(CALLS_PER_SAMPLE * 4, most)
        ways: dict[str, Callable[[], list[float]]] = {
            "encode": lambda: timed_many(store.encode, documents),
            "decode": lambda: timed_many(store.decode, [store.encode(each) for each in documents]),
            "find_one": lambda: timed(store.find_one, self.ids[:most]),
            "find_one cold": lambda: timed(store.find_one, self.cold_ids[:most]),
            "filter 1 %": lambda: timed(lambda _: store.find_at_least(0.99), few),
            "filter 20 %": lambda: timed(lambda _: store.find_at_least(0.8), few),
            "find by index": lambda: timed(store.find_agent, self.agents[:most]),
            "sort+limit": lambda: timed(lambda _: store.top_importance(TOP), few),
            "sort+limit index": lambda: timed(lambda _: store.top_created(TOP), many),
            "count": lambda: timed_many(lambda _: store.count(), many),
            "count range": lambda: timed(lambda _: store.count_between(*self.between), few),
            "group": lambda: timed(lambda _: store.group_agents(), few),
            "open": lambda: timed(lambda _: store.open(), _closed(store, few[:SAMPLES_OPEN])),
            "insert_one": lambda: timed(store.insert_one, fresh),
            "update_one": lambda: timed(lambda each: store.update_one(each, 0.5), fresh_ids),
            "delete_one": lambda: timed(store.delete_one, fresh_ids),
            "insert_many/doc": lambda: [self._batch(store, self.batches[part])],
            "insert_one no flush": lambda: timed(store.insert_one, self.relaxed),
            "update_one no flush": lambda: timed(
                lambda each: store.update_one(each, 0.5), relaxed_ids
            ),
            "delete_one no flush": lambda: timed(store.delete_one, relaxed_ids),
        }
        if work in THREAD_WORKS:
            return [in_threads(store, self.threads[work][part])]
        return ways[work]()

    def _batch(self, store: Store, batch: list[Document]) -> float:
        sample = timed(store.insert_many, [batch])[0] / len(batch)
        if not store.is_floor or store.works >= {"find_one"}:
            for document in batch:
                store.delete_one(document["_id"])
        return sample


def in_threads(store: Store, shares: list[list[Document]]) -> float:
    """Microseconds a document, all threads starting at once; the documents are deleted again."""
    # a thread that cannot open the store must not leave the others waiting
    start = threading.Barrier(len(shares) + 1, timeout=START_SECONDS)

    def work(documents: list[Document]) -> None:
        with store.in_thread() as own:
            start.wait()
            for document in documents:
                own.insert_one(document)

    with ThreadPoolExecutor(len(shares)) as pool:
        done = [pool.submit(work, share) for share in shares]
        start.wait()
        begun = perf_counter_ns()
        for each in done:
            each.result()
        spent = perf_counter_ns() - begun
    everything = [document["_id"] for share in shares for document in share]
    for identity in everything:
        store.delete_one(identity)
    return spent / NANOSECONDS / len(everything)


def import_measure(store: Store, figures: Figures) -> None:
    """Milliseconds that importing the store adds to a fresh interpreter, medians of a few."""
    if "import ms" not in store.works:
        return
    # byte code is written once, as an installation does
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    gathered = []
    for _ in range(SAMPLES_IMPORT + 1):
        pair = []
        for program in ("pass", f"import {store.module}"):
            start = perf_counter_ns()
            subprocess.run([sys.executable, "-c", program], check=True, env=environment)
            pair.append((perf_counter_ns() - start) / NANOSECONDS / 1000)
        gathered.append(max(pair[1] - pair[0], IMPORT_MIN))
    del gathered[0]
    figures["import ms"][store.name] = Figure([statistics.median(gathered)], [max(gathered)])


def _closed(store: Store, times: list[None]) -> Iterable[None]:
    for each in times:
        store.close()
        yield each


def verify(store: Store, workload: Workload) -> None:
    """Stop unless the store gives the right answers; a fast wrong one is worth nothing."""
    if "find_one" not in store.works:
        return
    documents = {document["_id"]: document for document in workload.documents}
    by_importance = sorted(documents.values(), key=lambda each: each["importance"], reverse=True)
    agent = workload.documents[0]["agent_id"]
    identity = workload.ids[len(workload.ids) // 2]
    _same(store, "find_one", [store.find_one(identity)], [documents[identity]])
    _same(
        store,
        "filter",
        store.find_at_least(0.8),
        [each for each in by_importance if each["importance"] >= 0.8],
    )
    _same(
        store,
        "find by index",
        store.find_agent(agent),
        [each for each in workload.documents if each["agent_id"] == agent],
    )
    _same(store, "sort+limit index", store.top_created(TOP), workload.documents[-TOP:])
    best = [document["importance"] for document in store.top_importance(TOP)]
    if best != [document["importance"] for document in by_importance[:TOP]]:
        raise SystemExit(f"{store.name}: wrong answer to sort+limit")
    if "group" in store.works:
        sums: dict[str, float] = {}
        for each in workload.documents:
            sums[each["agent_id"]] = sums.get(each["agent_id"], 0.0) + each["importance"]
        found = store.group_agents()
        if {agent: round(total, 6) for agent, total in found.items()} != {
            agent: round(total, 6) for agent, total in sums.items()
        }:
            raise SystemExit(f"{store.name}: wrong answer to group")
    dates = [int(each["created_at"].timestamp() * 1000) for each in workload.documents]
    if "count range" in store.works and store.count_between(dates[0], dates[-2]) != len(dates) - 1:
        raise SystemExit(f"{store.name}: wrong answer to count range")
    if store.count() != len(documents):
        raise SystemExit(f"{store.name}: counts {store.count()} of {len(documents)} documents")


def _same(store: Store, work: str, found: list[Any], expected: list[Document]) -> None:
    def order(document: Document) -> str:
        return str(document["_id"])

    if None in found or sorted(found, key=order) != sorted(expected, key=order):
        raise SystemExit(f"{store.name}: wrong answer to {work}")


def load(store: Store, workload: Workload) -> None:
    """Fill an empty store."""
    store.open()
    for at in range(0, workload.count, workload.batch_size):
        store.insert_many(workload.documents[at : at + workload.batch_size])
    store.settle()


def files_measure(store: Store, count: int, figures: Figures) -> None:
    """Bytes on disk of a store that was just loaded."""
    if "disk bytes/doc" not in store.works:
        return
    for work, size in (
        ("disk bytes/doc", store.bytes_on_disk()),
        ("data bytes/doc", store.data_bytes_on_disk()),
    ):
        figures[work][store.name] = Figure([size / count], [size / count])


def memory_measure(store: Store, figures: Figures) -> None:
    """Megabytes that the store, which must be closed, adds to a fresh process."""
    if "memory MB opened" not in store.works:
        return
    command = [sys.executable, "-m", "asv_benchmarks.peers.memory", store.short, str(store.folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    for moment in ("opened", "scanned"):
        size = float(found[moment])
        figures[f"memory MB {moment}"][store.name] = Figure([size], [size])


def run(
    stores: list[Store], workload: Workload, rounds: int, tell: Callable[[str], None]
) -> Figures:
    """Everything: load, check, rounds, files."""
    figures: Figures = {work: {} for work in WORKS}
    for store in stores:
        tell(f"loading {workload.count} documents into {store.name}")
        load(store, workload)
        verify(store, workload)
        files_measure(store, workload.count, figures)
    for store in stores:
        store.keep()
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        for store in stores:
            store.restore()
        one_round(stores, Round(workload, number), figures)
    for store in stores:
        verify(store, workload)
        store.restore()
        store.close()
        memory_measure(store, figures)
        import_measure(store, figures)
    return figures


def one_round(everyone: list[Store], inputs: Round, figures: Figures) -> None:
    """All work once, every store in turn."""
    for work in WORKS:
        if work in FILE_WORKS - {"open"}:
            continue
        stores = [store for store in everyone if work in store.works]
        if work == "find_one":
            warm(stores)
        gathered: dict[str, list[float]] = {store.name: [] for store in stores}
        if work == FIRST_RELAXED:
            for store in stores:
                store.reopen(is_relaxed=True)
            warm(stores)
        for part in range(inputs.parts(work)):
            inputs.order.shuffle(stores)
            for store in stores:
                if part == 0:
                    gc.collect()
                gathered[store.name] += inputs.samples(work, store, part)
        if work == LAST_RELAXED:
            for store in stores:
                store.reopen(is_relaxed=False)
        for name, samples in gathered.items():
            samples.sort()
            figure = figures[work].setdefault(name, Figure())
            figure.medians.append(statistics.median(samples))
            figure.highs.append(samples[min(len(samples) - 1, len(samples) * 99 // 100)])


def warm(stores: list[Store]) -> None:
    """Let every store read all that it has once, so that caches hold what they can."""
    for store in stores:
        if "find_one" in store.works:
            store.find_at_least(IMPORTANCE_NEVER)
