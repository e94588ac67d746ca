"""`rango replay`: a state of the past, rebuilt from the oplog, and its digest."""

from __future__ import annotations

import click

import rango
from rango.cli.output import print_object, progress
from rango.cli.session import PATH_ARGUMENT, Target, with_target


@click.command("replay")
@click.option("--into", required=True, metavar="NEWDIR", help="The new directory.")
@click.option(
    "--to", "until", type=click.IntRange(1), metavar="N", help="The last commit; by default all."
)
@click.option(
    "--from",
    "base",
    metavar="DIR",
    help="An earlier state of the same history to start from; by default nothing.",
)
@with_target(PATH_ARGUMENT)
def command(target: Target, into: str, until: int | None, base: str | None) -> None:
    """Rebuild the database in DIR as it was after commit N, from its oplog, in NEWDIR.

    Prints the digest: any two databases with the same history have the same, on any machine. The
    original is only read; its oplog is verified up to there.

    \b
    Examples:
      rango replay ./my-data --into ./rebuilt
      rango replay ./my-data --to 1200 --into ./as-it-was --json
      rango replay ./my-data --from ./last-week --into ./rebuilt
    """
    with progress("replaying") as bar:
        done = rango.replay(
            target.path, to=into, until=until, base=base, progress=bar, **target.secret()
        )
    if target.as_json:
        print_object(done)
        return
    click.echo(
        f"{into} is the state after commit {done['ordinal']}: {done['documents']} documents of "
        f"{done['collections']} collections, node {done['node_id']}"
    )
    click.echo(f"digest {done['digest']}")
