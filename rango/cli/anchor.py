"""`rango anchor`: one line to keep elsewhere, against which `rango verify` holds a database."""

from __future__ import annotations

import click

import rango
from rango.cli.output import print_object
from rango.cli.session import PATH_ARGUMENT, Target, with_target


@click.command("anchor")
@click.option("--now", is_flag=True, help="Sign the history as it is now; needs the secret.")
@with_target(PATH_ARGUMENT)
def command(target: Target, now: bool) -> None:
    """Print an anchor of the database in DIR: number and hash of its last commit, signed.

    Without --now it is the newest one that the database has signed by itself, at its last
    checkpoint or when it was closed, and no secret is needed. Keep it where nobody who can write
    the database can write: in a repository, on paper, with somebody else.

    \b
    Examples:
      rango anchor ./my-data >> anchors.txt
      rango anchor ./my-data --now --json
      rango verify ./my-data --anchor anchors.txt
    """
    if now:
        with target.open() as db:
            anchor = db.anchor()
    else:
        anchor = rango.read_anchor(target.path)
    if target.as_json:
        print_object(anchor.as_dict())
    else:
        click.echo(str(anchor))
