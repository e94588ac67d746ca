"""`rango history`: every version of one document."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from rango.cli.documents import id_of
from rango.cli.output import by, document_line, value_text
from rango.cli.session import Target, with_target
from rango.errors import NotFound


@click.command("history")
@click.argument("collection")
@click.argument("id")
@click.option("--limit", "-n", type=click.IntRange(1), default=None, help="At most N, the newest.")
@with_target()
def command(target: Target, collection: str, id: str, limit: int | None) -> None:
    """Show every version of the document of COLLECTION whose _id is ID, newest first.

    Each with the number of its commit, time, node, kind, actor, and what it changed:
    `field = value` or `- field`. Deletions are versions, too. With --json one version a line, with
    the whole document. Exit code 1 if there never was such a document, or if it was purged.

    \b
    Examples:
      rango history notes 0190163d-8694-739b-aea5-966c26f8ad91
      rango history users 17 --limit 1 --json
    """
    count = 0
    with target.open(read_only=True) as db:
        for version in islice(db[collection].history(id_of(id)), limit):
            for line in [document_line(version)] if target.as_json else lines_of(version):
                click.echo(line)
            count += 1
    if not count:
        raise NotFound(f"collection {collection!r} never had a document with _id {id}")


def lines_of(version: dict[str, Any]) -> list[str]:
    """A version for people: a line, and one for each field that changed."""
    if version["kind"] in ("purged", "gone"):
        return [f"{version['ordinal']:>8} {version['kind']}"]
    when = version["at"].strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
    words = [f"{version['ordinal']:>8} {when} {version['node']:<14} {version['kind']}", by(version)]
    lines = [" ".join(filter(None, words))]
    if version["kind"] == "delete":
        return lines
    for path, value in version["set"].items():
        lines.append(f"{'':>9}{path} = {value_text(value)}")
    return lines + [f"{'':>9}- {path}" for path in version["removed"]]
