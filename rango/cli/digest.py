"""`rango digest`: one number that says whether two databases hold the same."""

from __future__ import annotations

import click

from rango.cli.output import print_object
from rango.cli.session import PATH_ARGUMENT, Target, with_target


@click.command("digest")
@with_target(PATH_ARGUMENT)
def command(target: Target) -> None:
    """Print a hash of all documents, revisions and indexes of the database in DIR.

    Two databases with the same history have the same digest, whatever their keys, checkpoints and
    machines. Reads everything.

    \b
    Examples:
      rango digest ./my-data
      rango digest ./my-data --json
    """
    with target.open(read_only=True) as db:
        found = {"ordinal": db.stats()["ordinal"], "digest": db.digest()}
    if target.as_json:
        print_object(found)
    else:
        click.echo(found["digest"])
