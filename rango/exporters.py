"""Figures of open databases for monitors: Prometheus' text format, and OpenTelemetry.

Terms       metric family: one name with its help, type and samples, one for each set of labels.
Invariants  Labels are the path of the database, the name of an operation and nothing of documents.
            Reading figures touches no page.
Layout      Prometheus text exposition format 0.0.4; a histogram has cumulative buckets in seconds.
Sources     prometheus.io/docs/instrumenting/exposition_formats; OpenTelemetry metrics API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from rango._ext.histogram import Histogram, bound_ns

if TYPE_CHECKING:
    from rango.database import Database

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of prometheus_text(), for an HTTP answer."""

BUCKETS_SHOWN: Final = 26
"""Up to 34 seconds; what took longer is in the last bucket, +Inf."""

COUNTERS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], float]]]] = {
    "commits": ("Commits by this process.", lambda s: s["commits"]),
    "flushes": ("Flushes of the log by this process.", lambda s: s["flushes"]),
    "checkpoints": ("Checkpoints by this process.", lambda s: s["checkpoints"]),
    "page_cache_hits": ("Pages found in the cache.", lambda s: s["pages"]["hits"]),
    "page_reads": ("Pages read from the file and opened.", lambda s: s["pages"]["reads"]),
    "page_seals": ("Pages sealed and written.", lambda s: s["pages"]["seals"]),
    "documents_inserted": ("Documents inserted.", lambda s: s["operations"]["inserts"]),
    "documents_updated": ("Documents changed.", lambda s: s["operations"]["updates"]),
    "documents_deleted": ("Documents deleted.", lambda s: s["operations"]["deletes"]),
    "queries": ("Cursors, counts and distincts.", lambda s: s["operations"]["queries"]),
    "transactions": ("Transactions committed.", lambda s: s["operations"]["transactions"]),
    "transactions_aborted": (
        "Transactions that ended without a commit.",
        lambda s: s["operations"]["transactions_aborted"],
    ),
    "conflicts": ("Transactions refused with Conflict.", lambda s: s["operations"]["conflicts"]),
}
"""Name -> help, and where it is in stats(). They start at zero when the database is opened."""

GAUGES: Final[dict[str, tuple[str, Callable[[dict[str, Any]], float]]]] = {
    "ordinal": ("Number of the last commit.", lambda s: s["ordinal"]),
    "durable_ordinal": ("Number of the last commit on disk.", lambda s: s["durable"]),
    "generation": ("Number of the last checkpoint.", lambda s: s["generation"]),
    "overlay_entries": ("Entries not in the data file yet.", lambda s: s["overlay_entries"]),
    "overlay_bytes": ("Bytes of the overlay.", lambda s: s["overlay_bytes"]),
    "data_bytes": ("Size of the data file.", lambda s: s["data_bytes"]),
    "page_cache_bytes": ("Bytes in the page cache.", lambda s: s["pages"]["cache_bytes"]),
    "page_cache_size_bytes": ("What it may hold.", lambda s: s["pages"]["cache_size"]),
    "documents": (
        "Documents of all collections.",
        lambda s: sum(each["documents"] for each in s["collections"].values()),
    ),
    "findings": ("Remarks of recovery and maintenance.", lambda s: len(s["findings"])),
}
"""The same, for what may fall."""


def prometheus_text(*databases: Database) -> str:
    """The figures of open databases in Prometheus' text format, as an HTTP answer has them.

    Serve it with CONTENT_TYPE. Each path may be given once. Raises DatabaseClosed.
    """
    taken = [(database, database.stats()) for database in databases]
    lines: list[str] = []
    for name, (text, value) in COUNTERS.items():
        lines += head(f"rango_{name}_total", text, "counter")
        for database, stats in taken:
            lines.append(sample(f"rango_{name}_total", value(stats), path=database.path))
    for name, (text, value) in GAUGES.items():
        lines += head(f"rango_{name}", text, "gauge")
        for database, stats in taken:
            lines.append(sample(f"rango_{name}", value(stats), path=database.path))
    lines += head("rango_operation_seconds", "How long operations took.", "histogram")
    for database, _stats in taken:
        for operation, histogram in histograms(database):
            lines += histogram_lines(histogram, path=database.path, operation=operation)
    return "\n".join(lines) + "\n"


def histograms(database: Database) -> Iterator[tuple[str, Histogram]]:
    """Every histogram of a database with the name of what it times."""
    handle = database._handle
    yield from handle.metrics.times.items()
    yield from handle.core.times.items()


def head(name: str, text: str, kind: str) -> list[str]:
    """The lines before the samples of a family."""
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def sample(name: str, value: float, **labels: str) -> str:
    """One line."""
    inside = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {number(value)}"


def escaped(text: str) -> str:
    """A label's value: backslash, quote and line feed are escaped."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """A number as the format has it."""
    return repr(value)


def histogram_lines(histogram: Histogram, **labels: str) -> list[str]:
    """Cumulative buckets, sum and count."""
    counts = list(histogram.buckets)  # one copy, so that buckets and count agree
    lines, seen = [], 0
    for place, count in enumerate(counts[:BUCKETS_SHOWN]):
        seen += count
        bound = number(bound_ns(place) / 1e9)
        lines.append(sample("rango_operation_seconds_bucket", seen, **labels, le=bound))
    seen = sum(counts)
    lines.append(sample("rango_operation_seconds_bucket", seen, **labels, le="+Inf"))
    lines.append(sample("rango_operation_seconds_sum", histogram.total_ns / 1e9, **labels))
    lines.append(sample("rango_operation_seconds_count", seen, **labels))
    return lines


def open_telemetry(database: Database, meter: Any = None) -> None:
    """Let OpenTelemetry read the figures of an open database whenever it collects.

    `meter` is by default that of the global provider, under the name "rango". Histograms become
    two counters, `rango.operations` and `rango.operations.time` (seconds), by `operation`: the API
    has no histogram that is read. Once the database is closed nothing more is reported. Raises
    ImportError if the package opentelemetry-api is not installed (`pip install "rango[otel]"`).
    """
    from opentelemetry import metrics
    from opentelemetry.metrics import Observation

    if meter is None:
        meter = metrics.get_meter("rango")
    path = database.path

    def read(value: Callable[[dict[str, Any]], float]) -> Callable[[Any], list[Any]]:
        def observed(_options: Any) -> list[Any]:
            if database.is_closed:
                return []
            return [Observation(value(database.stats()), {"path": path})]

        return observed

    def read_times(value: Callable[[Histogram], float]) -> Callable[[Any], list[Any]]:
        def observed(_options: Any) -> list[Any]:
            if database.is_closed:
                return []
            return [
                Observation(value(histogram), {"path": path, "operation": operation})
                for operation, histogram in histograms(database)
            ]

        return observed

    for name, (text, value) in COUNTERS.items():
        meter.create_observable_counter(f"rango.{name}", [read(value)], description=text)
    for name, (text, value) in GAUGES.items():
        meter.create_observable_gauge(f"rango.{name}", [read(value)], description=text)
    meter.create_observable_counter("rango.operations", [read_times(lambda found: found.count)])
    meter.create_observable_counter(
        "rango.operations.time", [read_times(lambda found: found.total_ns / 1e9)], unit="s"
    )
