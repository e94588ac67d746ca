"""`rango purge`: delete documents and their history."""

from __future__ import annotations

import click

from rango.cli.documents import document_of
from rango.cli.output import print_object, progress
from rango.cli.secret import is_terminal
from rango.cli.session import Target, with_target


@click.command("purge")
@click.argument("collection")
@click.argument("filter")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed without a terminal.")
@with_target(is_writing=True)
def command(target: Target, collection: str, filter: str, yes: bool) -> None:
    """Delete every document of COLLECTION that matches FILTER, with all of its history.

    For secrets typed by accident and requests for erasure: afterwards nothing of the documents is
    in the oplog, the data file or the indexes. Backups made before still hold them. That there was
    a purge stays on record, without content. Exit code 1 if no document matched.

    \b
    Examples:
      rango purge notes '{"_id": 17}'             # asks first
      rango purge users '{"email": "a@example.org"}' --yes --json
    """
    selected = document_of(filter, "FILTER")
    if not yes and not is_terminal():
        raise click.UsageError("nobody can be asked whether to purge for good; give --yes")
    with target.open() as db:
        count = db[collection].count_documents(selected)
        if not yes:
            text = f"Purge {count} documents of {collection} and all of their history, for good?"
            click.confirm(text, abort=True, err=True)
        with progress("rewriting the oplog") as bar:
            result = db[collection].purge(selected, progress=bar)
    if target.as_json:
        print_object(
            {
                "purged": result.purged_count,
                "commits": result.commits,
                "segments": result.segments,
            }
        )
    else:
        click.echo(f"{result.purged_count} purged, from {result.commits} commits of the history")
    if not result.purged_count:
        raise click.exceptions.Exit(1)
