"""`rango salvage`: rescue what is intact."""

from __future__ import annotations

import click

import rango
from rango.cli.output import print_object
from rango.cli.session import PATH_ARGUMENT, Target, with_target


@click.command("salvage")
@click.option("--to", required=True, metavar="DIR", help="A new directory for what is intact.")
@with_target(PATH_ARGUMENT)
def command(target: Target, to: str) -> None:
    """Write what is intact in a damaged database to a new one. The original is only read.

    Exit code 6 if something was lost.

    \b
    Example:
      rango salvage ./my-data --to ./rescued
    """
    report = rango.salvage(target.path, to=to, **target.secret())
    lost = report["lost"]
    if target.as_json:
        print_object({**report, "lost": [{"where": where, "what": what} for where, what in lost]})
    else:
        click.echo(
            f"{report['documents']} documents of {report['collections']} collections are in {to}"
        )
        for where, what in lost:
            click.echo(f"lost: {where}: {what}")
        for index, why in report["indexes_left_out"]:
            click.echo(f"left out: index {index}: {why}")
    if lost:
        raise click.exceptions.Exit(6)
