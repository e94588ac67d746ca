"""`rango rollback`: back to an earlier state."""

from __future__ import annotations

import click

from rango.cli.diff import structure_line
from rango.cli.moment import moment_of
from rango.cli.output import print_object, print_table
from rango.cli.secret import is_terminal
from rango.cli.session import Target, with_target
from rango.difference import Rollback
from rango.limits import ROLLBACK_CHANGES_MAX


@click.command("rollback")
@click.argument("to")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option("--collection", "-c", "names", multiple=True, help="Only this one; may be repeated.")
@click.option(
    "--limit", type=click.IntRange(0), default=ROLLBACK_CHANGES_MAX, help="Documents, at most."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed without a terminal.")
@with_target(is_writing=True)
def command(
    target: Target, to: str, dry_run: bool, names: tuple[str, ...], limit: int, yes: bool
) -> None:
    """Go back to the state TO: documents, collections and indexes, in one commit.

    TO is a commit's number, a revision, a time (2026-11-29T12:00, UTC) or the name of a snapshot.
    The history stays: the command says how to take it back. What was purged stays purged. See
    `rango diff TO` for each document.

    \b
    Examples:
      rango rollback before-cleanup --dry-run
      rango rollback 1200 --collection notes --yes --json
    """
    if not (yes or dry_run or is_terminal()):
        raise click.UsageError("nobody can be asked whether to roll back; give --yes or --dry-run")
    moment, only = moment_of(to), names or None
    with target.open() as db:
        if not (yes or dry_run):
            show(db.rollback(moment, dry_run=True, collections=only, limit=limit), is_error=True)
            click.confirm(f"Roll back to {to}?", abort=True, err=True)
        done = db.rollback(moment, dry_run=dry_run, collections=only, limit=limit)
    if target.as_json:
        print_object(done.as_dict())
        return
    show(done, is_error=False)
    if not dry_run and (done.documents or done.structure):
        click.echo(f"to take it back: rango rollback {done.before}")


def show(done: Rollback, *, is_error: bool) -> None:
    """What was or would be done, for people."""
    if not done.documents and not done.structure:
        click.echo("nothing differs", err=is_error)
        return
    for change in done.structure:
        click.echo(structure_line(change), err=is_error)
    if is_error:
        for name, counts in done.collections.items():
            each = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            click.echo(f"{name}: {each}", err=True)
    elif done.collections:
        print_table(
            ["collection", "inserted", "changed", "deleted"],
            [(name, *counts.values()) for name, counts in done.collections.items()],
        )
