"""Metrics and exporters: what is counted, and that others can read it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rango
from ci.environment import ROOT
from rango._ext.histogram import Histogram, bound_ns
from rango.exporters import CONTENT_TYPE, prometheus_text
from rango.metrics import FIND_SAMPLE, INSERT_SAMPLE
from tests.unit.test_cli import python


def test_a_histogram_bounds_what_it_counts() -> None:
    histogram = Histogram()
    for ns in (0, 1023, 1024, 5_000, 10_000_000, (1 << 63) - 1):
        histogram.observe(ns)
    assert histogram.count == 6
    assert histogram.buckets[0] == 2 and histogram.buckets[1] == 1
    assert histogram.buckets[-1] == 1
    assert 5_000 < bound_ns(3) <= 10_000 and histogram.buckets[3] == 1
    assert histogram.quantile_ms(0.5) == bound_ns(1) / 1e6


def test_bounds_of_buckets_double_up_to_all_times() -> None:
    assert [bound_ns(place) for place in range(54)] == [1024 << place for place in range(54)]
    histogram = Histogram()
    histogram.observe(3 * 10**9)
    assert histogram.as_dict()["p50_ms"] == 4294.967296
    assert Histogram().quantile_ms(0.5) == 0


@pytest.fixture
def worked(tmp_path: Path) -> Any:
    """A database on which every kind of operation was done."""
    with rango.open(tmp_path / 'a "path"\\n') as db:
        notes = db["notes"]
        for number in range(2 * INSERT_SAMPLE):
            notes.insert_one({"_id": number, "n": number})
        notes.insert_many([{"n": 1}, {"n": 2}])
        notes.update_one({"_id": 1}, {"$set": {"n": 5}})
        notes.delete_one({"_id": 2})
        assert notes.find_many({"n": {"$gt": 3}})
        assert notes.find_one({"n": 5})
        assert notes.count_documents({"n": 5}) == 2
        assert notes.distinct("n")
        assert list(notes.aggregate([{"$match": {"n": 5}}]))
        notes.bulk_write([rango.InsertOne({"_id": "b"}), rango.DeleteOne({"_id": "b"})])
        db.checkpoint()
        yield db


def test_every_operation_is_timed(worked: rango.Database) -> None:
    times = worked.stats()["times"]
    counts = {name: found["count"] for name, found in times.items()}
    assert counts.pop("commit") >= 2 * INSERT_SAMPLE
    assert counts == {
        "find": FIND_SAMPLE,
        "count": 1,
        "distinct": 1,
        "aggregate": 1,
        "insert": 2 * INSERT_SAMPLE + 1,
        "update": 1,
        "delete": 1,
        "bulk_write": 1,
        "recovery": 1,
        "checkpoint": 1,
    }
    for found in times.values():
        assert 0 < found["p50_ms"] <= found["p99_ms"] and found["total_ms"] > 0


def test_prometheus_can_read_the_text(worked: rango.Database) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    text = prometheus_text(worked)
    families = {each.name: each for each in parser.text_string_to_metric_families(text)}
    samples = families["rango_documents_inserted"].samples
    assert [(each.labels, each.value) for each in samples] == [
        ({"path": worked.path}, 2 * INSERT_SAMPLE + 3)
    ]
    found = [
        each
        for each in families["rango_operation_seconds"].samples
        if each.labels["operation"] == "find"
    ]
    buckets = [each.value for each in found if each.name.endswith("_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == FIND_SAMPLE
    assert found[len(buckets) - 1].labels["le"] == "+Inf"
    assert {each.name.rpartition("_")[2]: each.value for each in found}["count"] == FIND_SAMPLE
    assert "0.0.4" in CONTENT_TYPE


def test_two_databases_are_one_text(worked: rango.Database, tmp_path: Path) -> None:
    with rango.open(tmp_path / "second") as other:
        text = prometheus_text(worked, other)
    assert text.count("# TYPE rango_commits_total counter\n") == 1
    assert text.count("\nrango_commits_total{") == 2


def test_open_telemetry_reads_the_figures(worked: rango.Database) -> None:
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    from opentelemetry.sdk.metrics import MeterProvider

    from rango.exporters import open_telemetry

    reader = export.InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    open_telemetry(worked, provider.get_meter("rango"))

    def collected() -> dict[str, Any]:
        data = reader.get_metrics_data()
        return {
            metric.name: metric.data.data_points
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    found = collected()
    assert found["rango.documents"][0].value == 2 * INSERT_SAMPLE + 1
    times = {point.attributes["operation"]: point.value for point in found["rango.operations"]}
    assert times["find"] == FIND_SAMPLE
    worked.close()
    assert not any(collected().values())
    provider.shutdown()


def test_the_command_prints_prometheus_text_and_watches(tmp_path: Path) -> None:
    with rango.open(tmp_path / "db") as db:
        db["notes"].insert_one({})
    answer = python("stats", "-P", str(tmp_path / "db"), "--prometheus")
    assert f'rango_documents{{path="{tmp_path / "db"}"}} 1\n' in answer.stdout
    command = [sys.executable, "-m", "rango", "stats", "-P", str(tmp_path / "db"), "--json"]
    with subprocess.Popen(
        [*command, "--watch", "--interval", "0.1"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = map(json.loads, process.stdout)
        assert "commits_per_s" not in next(lines)
        assert next(lines)["commits_per_s"] == 0
        process.kill()


def test_a_database_is_collected_although_nobody_closed_it(tmp_path: Path) -> None:
    """Timing holds no reference that would keep a handle open."""
    db = rango.open(tmp_path / "db")
    db["a"].insert_one({})
    core = db._handle.core
    del db
    assert core.is_closed
