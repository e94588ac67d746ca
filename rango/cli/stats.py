"""`rango stats`: figures about a database."""

from __future__ import annotations

import time
from typing import Any

import click

from rango.cli.output import print_object, print_pairs
from rango.cli.session import Target, with_target


@click.command("stats")
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--interval", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Seconds."
)
@click.option("--prometheus", is_flag=True, help="In Prometheus' text format, once.")
@with_target()
def command(target: Target, watch: bool, interval: float, prometheus: bool) -> None:
    """Show figures: commits, sizes, cache, operations, times.

    Opens the database read-only each time it looks: counts of operations are those of this command.
    A program that has it open exports its own with rango.exporters. --watch adds the commits a
    second since the last look.

    \b
    Examples:
      rango stats
      rango stats --json
      rango stats --watch --interval 1
      rango stats --prometheus
    """
    import rango

    secret = target.secret()
    last: tuple[int, float] | None = None
    while True:
        with rango.open(target.path, read_only=True, create=False, **secret) as db:
            if prometheus:
                from rango.exporters import prometheus_text

                click.echo(prometheus_text(db), nl=False)
                return
            found = db.stats()
        now = time.monotonic()
        if last is not None:
            found["commits_per_s"] = round((found["ordinal"] - last[0]) / (now - last[1]), 1)
        last = found["ordinal"], now
        if watch and not target.as_json:
            click.clear()
        if target.as_json:
            print_object(found)
        else:
            print_pairs(flattened(found))
        if not watch:
            return
        time.sleep(interval)


def flattened(found: dict[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Nested figures as dotted names."""
    pairs: list[tuple[str, object]] = []
    for name, value in found.items():
        if isinstance(value, dict):
            pairs += flattened(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            pairs.append((prefix + name, "; ".join(map(str, value))))
        else:
            pairs.append((prefix + name, value))
    return pairs
