"""The benchmarks run, so that they never rot, and work on the documents that they say."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import parse

import bson
import pytest

from asv_benchmarks import board, runner, scale
from asv_benchmarks.__main__ import unexplained
from asv_benchmarks.benchmarks.workload import Workload
from asv_benchmarks.peers import charts, table, targets
from asv_benchmarks.peers.choice import store_class
from asv_benchmarks.peers.measure import WORKS, Figure, Figures, run
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
    for package in (
        *("lmdb", "apsw", "sqlcipher3", "plyvel", "rocksdict", "mongomock", "montydb", "tinydb"),
    ):
        pytest.importorskip(package, reason="the peers are in the dependency group `bench`")
    from asv_benchmarks.peers.choice import STORES

    stores = [store_class(short)(tmp_path / short) for short in STORES]
    figures = run(stores, Workload(SMALL), 1, lambda _: None)
    assert set(figures) == set(WORKS) == ALL_WORKS
    for store in stores:
        done = {work for work, cells in figures.items() if store.name in cells}
        assert done == store.works
    lines = table.text(table.rows(stores, figures)).splitlines()
    assert len(lines) == len(WORKS) + 2


def test_stores_without_a_package_take_part_and_are_drawn(tmp_path: Path) -> None:
    stores = [store_class(each)(tmp_path / each) for each in ("rango", "sqlite", "floor-log")]
    figures = run(stores, Workload(SMALL), 1, lambda _: None)
    judged = list(targets.lines(stores, figures, SMALL))
    assert any("insert_one 4 threads" in line and "sqlite" in line for line in judged)
    assert not any("lmdb" in line for line in judged)
    drawn = charts.write(tmp_path / "charts", stores, figures, SMALL)
    files = list((tmp_path / "charts").glob("*.svg"))
    assert len(files) == drawn > 20
    for file in files:
        assert parse(file).getroot().tag.endswith("svg")


def figures_of(work: str, **medians: list[float]) -> Figures:
    """The figures of one row."""
    figures: Figures = {each: {} for each in WORKS}
    names = {short: store_class(short).name for short in medians}
    figures[work] = {
        names[short]: Figure(list(each), list(each)) for short, each in medians.items()
    }
    return figures


@pytest.mark.parametrize(("own", "verdict"), [([10.0, 2.0, 2.0], "met"), ([2.1] * 3, "NOT met")])
def test_a_target_is_judged_round_by_round(own: list[float], verdict: str, tmp_path: Path) -> None:
    stores = [store_class(each)(tmp_path / each) for each in ("rango", "sqlite")]
    figures = figures_of("find by index", rango=own, sqlite=[5.0, 5.0, 5.1])
    (line,) = [each for each in targets.lines(stores, figures, 1000) if "best" in each]
    assert line.split("  ")[0] == verdict


def test_every_target_names_work_and_a_peer_that_exist() -> None:
    from asv_benchmarks.peers.choice import STORES

    for target in targets.TARGETS:
        assert target.work in WORKS
        assert target.peer in {*STORES, "best"}
    assert {limit.work for limit in targets.LIMITS} <= set(WORKS)


BEFORE = {"cost.Costs.track_log_bytes_per_insert_one": 646.0, "cost.Costs.track_reads": 2.0}


def test_a_cost_that_changed_without_a_word_is_named() -> None:
    now = BEFORE | {"cost.Costs.track_log_bytes_per_insert_one": 654.0, "cost.Costs.track_new": 1.0}
    name = "cost.Costs.track_log_bytes_per_insert_one"
    assert unexplained(BEFORE, now, "Entries say the types of their fields") == [name]
    assert unexplained(BEFORE, now, "log bytes per insert_one grow by 8") == []
    assert unexplained(BEFORE, now, "track_log_bytes_per_insert_one: 646 -> 654") == []
    assert unexplained(BEFORE, BEFORE, "") == []


def test_the_bounds_of_a_board_are_for_what_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = board.measured(str(tmp_path), 5)
    assert set(found) == {*board.BOUNDS_MS, "flush"}
    assert all(each == sorted(each) and len(each) == 5 for each in found.values())
    for most, code in ((1e9, 0), (0.0, 1)):
        monkeypatch.setattr(board, "BOUNDS_MS", dict.fromkeys(board.BOUNDS_MS, most))
        assert board.main(str(tmp_path), 5) == code
        assert ("too slow" in capsys.readouterr().out) == bool(code)


def test_scale_measures_and_judges_two_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--sizes", "60", "2500", "--rounds", "1", "--samples", "20"]
    assert scale.main([*sizes, "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" documents: find_one ") == 2
    assert printed.count("  at most ") == 7
    assert "entries replayed a second (2,50" in printed
    assert not list(tmp_path.iterdir())
