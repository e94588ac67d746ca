"""`rango compact`: give up old history, and pack the rest."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Final

import click

from rango.cli.output import print_object, progress, size_text
from rango.cli.secret import is_terminal
from rango.cli.session import PATH_ARGUMENT, Target, with_target

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class KeepPoint(click.ParamType[Any]):
    """now, all, 30d, 2026-01-31, last:1000, an ordinal, or the name of a snapshot."""

    name = "keep"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int | datetime | timedelta:
        """What Database.compact takes."""
        from rango.engine.named import NAME

        text = str(value)
        if NAME.fullmatch(text):  # "now" and "all" as well
            return text
        if match := re.fullmatch(r"(\d{1,9})([smhdw])", text):
            return timedelta(**{UNITS[match[2]]: int(match[1])})
        if match := re.fullmatch(r"last:([1-9]\d{0,17})", text):
            return -int(match[1])
        if re.fullmatch(r"\d{1,18}", text):
            return int(text)
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            what = "now, all, 30d, 2026-01-31, last:1000, a commit or the name of a snapshot"
            self.fail(f"{text!r} is not {what}", param, ctx)


@click.command("compact")
@click.option(
    "--keep",
    type=KeepPoint(),
    required=True,
    help="now, all, 30d, 2026-01-31T12:00, last:1000, 17, a snapshot.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed without a terminal.")
@with_target(PATH_ARGUMENT)
def command(
    target: Target, keep: str | int | datetime | timedelta, dry_run: bool, yes: bool
) -> None:
    """Give up the history of the database in DIR before a point, for good, and pack the rest.

    The documents stay as they are. KEEP is what is kept: `now` nothing of the history, `all` all
    of it, `30d` (s, m, h, d, w) so long, a date the state then and all after it, `last:N` so many
    commits, a number the state after that commit and all after it, the name of a snapshot that one
    and all after it (not one that is called now or all: give its commit). The log is cut between
    two segments, so more may be kept. What is kept is compressed, and read as before. Exit code 1
    if there was nothing to give up and nothing to pack.

    \b
    Examples:
      rango compact ./my-data --keep 30d --dry-run
      rango compact ./my-data --keep before-cleanup
      rango compact ./my-data --keep all
      rango compact ./my-data --keep now --yes --json
    """
    # nothing goes for good
    yes = yes or keep == "all"
    if not (yes or dry_run or is_terminal()):
        raise click.UsageError("nobody can be asked whether to give history up; give --yes")
    with target.open() as db:
        if not (yes or dry_run):
            click.echo(said(db.compact(keep, dry_run=True), "This gives up"), err=True)
            click.confirm("Give it up, for good?", abort=True, err=True)
        with progress("compacting") as bar:
            done = db.compact(keep, dry_run=dry_run, progress=bar)
    if target.as_json:
        print_object(done)
    else:
        if keep != "all":
            click.echo(said(done, "This would give up" if dry_run else "Given up:"))
        if not dry_run:
            click.echo(packed(done))
    if not done["segments"] and not done["packed"]:
        raise click.exceptions.Exit(1)


def said(found: dict[str, Any], begin: str) -> str:
    """What goes, for people."""
    if not found["segments"]:
        return "nothing to give up: no whole segment of the log lies before that point"
    since = "" if found["oldest"] is None else f" since {found['oldest']:%Y-%m-%d %H:%M:%S}Z"
    base = f"; {size_text(found['base_bytes'])} keep their state" if found["base_bytes"] else ""
    names = ", ".join(found["snapshots"])
    ended = f"; with it end the snapshots {names}" if names else ""
    return (
        f"{begin} {found['commits']} commits{since}, in {found['segments']} segments "
        f"({size_text(found['bytes'])}){base}; history begins after commit {found['ordinal']}"
        f"{ended}"
    )


def packed(done: dict[str, Any]) -> str:
    """What was packed, for people."""
    if not done["packed"]:
        return "nothing was packed"
    before, after = size_text(done["packed_bytes_before"]), size_text(done["packed_bytes_after"])
    return f"Packed: {done['packed']} segments of the history, from {before} to {after}"
