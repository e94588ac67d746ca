"""`rango check`: read everything and say what is wrong."""

from __future__ import annotations

import click

from rango.cli.output import print_object
from rango.cli.session import PATH_ARGUMENT, Target, with_target


@click.command("check")
@with_target(PATH_ARGUMENT)
def command(target: Target) -> None:
    """Read every page, frame and index of a database and name what is damaged.

    Takes about as long as reading all files. Exit code 0: all is well; 6: there is damage.

    \b
    Examples:
      rango check ./my-data
      rango check ./my-data --json || rango salvage ./my-data --to ./rescued
    """
    count = 0
    with target.open(read_only=True) as db:
        for finding in db.check():
            count += 1
            if target.as_json:
                print_object({"where": finding.where, "what": finding.what})
            else:
                click.echo(f"{finding.where}: {finding.what}")
    if count:
        click.echo(f"{count} findings; `rango salvage` writes what is intact elsewhere", err=True)
        raise click.exceptions.Exit(6)
    if not target.as_json:
        click.echo("all is well")
