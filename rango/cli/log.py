"""`rango log`: what was committed, by whom and when."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

import click

from rango.cli.output import by, document_line, value_text
from rango.cli.session import PATH_ARGUMENT, Target, with_target


@click.command("log")
@click.option("--from", "start", type=click.IntRange(1), default=1, help="The first commit.")
@click.option("--to", "end", type=click.IntRange(1), default=None, help="The last commit.")
@click.option("--collection", "-c", metavar="NAME", help="Only changes of this collection.")
@click.option("--limit", "-n", type=click.IntRange(1), default=None, help="At most N, the first.")
@click.option("--last", type=click.IntRange(1), default=None, help="At most N, the last.")
@click.option("--values", is_flag=True, help="Also show the documents as they were written.")
@click.option("--follow", "-f", is_flag=True, help="Wait for new commits, until Ctrl-C.")
@with_target(PATH_ARGUMENT)
def command(
    target: Target,
    start: int,
    end: int | None,
    collection: str | None,
    limit: int | None,
    last: int | None,
    values: bool,
    follow: bool,
) -> None:
    """Show the commits of the oplog: number, time, node, collection, kind of change, `_id`, actor.

    Oldest first; with --json one commit a line. Reads the files of the log and takes no lock, so it
    works, --follow included, while another process has the database open (it looks twice a second;
    a commit may show a moment before it is on disk). Ordinals that no commit has were used for
    closing the log.

    \b
    Examples:
      rango log ./my-data --last 20
      rango log ./my-data -c notes --from 100 --values --json
      rango log ./my-data --follow
    """
    from rango.log import read_log

    if last is not None and (follow or limit is not None):
        raise click.UsageError("--last goes neither with --follow nor with --limit")
    secret = target.secret()
    commits: Iterable[dict[str, Any]] = read_log(
        target.path,
        start=start,
        end=end,
        collection=collection,
        values=values,
        follow=follow,
        **secret,
    )
    if limit is not None:
        commits = islice(commits, limit)
    if last is not None:
        commits = deque(commits, last)
    for commit in commits:
        for line in [document_line(commit)] if target.as_json else lines_of(commit):
            click.echo(line)


def lines_of(commit: dict[str, Any]) -> list[str]:
    """A commit for people: a line for each change."""
    lines = []
    for change in commit["changes"]:
        at = change.get("at")
        when = "-" if at is None else at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
        words = [f"{commit['ordinal']:>8}", f"{when:<24}", f"{change.get('node', '-'):<14}"]
        place = change["collection"] or ("" if change["kind"] == "purged" else "(database)")
        words += [f"{change['kind']:<7}", place, subject_of(change), by(change)]
        if "document" in change:
            words.append(document_line(change["document"]))
        lines.append(" ".join(word for word in words if word))
    return lines or [f"{commit['ordinal']:>8} (no change)"]


def subject_of(change: dict[str, Any]) -> str:
    """What of the collection is changed."""
    if "_id" in change:
        # the value alone, as `rango get` takes it
        return value_text(change["_id"])
    if "key" in change:
        return f"key {change['key']}"
    return "" if change.get("index") is None else f"index {change['index']}"
