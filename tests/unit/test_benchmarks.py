"""The benchmarks run, so that they never rot, and work on the documents that they say."""

from __future__ import annotations

from pathlib import Path

import bson
import pytest

from asv_benchmarks import runner
from asv_benchmarks.benchmarks.workload import Workload
from asv_benchmarks.peers import table
from asv_benchmarks.peers.measure import WORKS, run
from asv_benchmarks.peers.store import ALL_WORKS

SMALL = 60


def test_workload_is_the_documented_one() -> None:
    workload = Workload(2000, seed=5)
    again = Workload(2000, seed=5)
    assert workload.documents == again.documents
    assert workload.take(3) == again.take(3)
    assert len(set(workload.ids)) == 2000
    sizes = [len(bson.encode(document)) for document in workload.documents]
    assert 375 <= sum(sizes) / len(sizes) <= 390
    important = sum(document["importance"] >= 0.8 for document in workload.documents)
    assert 300 <= important <= 500
    assert len({document["agent_id"] for document in workload.documents}) == 40


@pytest.mark.parametrize("module", runner.MODULES)
def test_every_benchmark_runs(module: str) -> None:
    names = [name for name, _ in runner.results(module, runner.KINDS, 1, SMALL)]
    assert names


def test_every_store_gives_the_right_answers_and_takes_part(tmp_path: Path) -> None:
    for package in ("lmdb", "apsw", "mongomock", "montydb", "tinydb"):
        pytest.importorskip(package, reason="the peers are in the dependency group `bench`")
    from asv_benchmarks.peers.choice import STORES, store_class

    stores = [store_class(short)(tmp_path / short) for short in STORES]
    figures = run(stores, Workload(SMALL), 1, lambda _: None)
    assert set(figures) == set(WORKS) == ALL_WORKS
    for store in stores:
        done = {work for work, cells in figures.items() if store.name in cells}
        assert done == store.works
    lines = table.text(table.rows(stores, figures)).splitlines()
    assert len(lines) == len(WORKS) + 2
