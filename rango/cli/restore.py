"""`rango restore`: a database from a backup."""

from __future__ import annotations

import click

import rango
from rango.cli.output import print_object, progress
from rango.cli.session import Target, with_target

BACKUP = click.argument("path", metavar="BACKUP")


@click.command("restore")
@click.option("--to", metavar="DIR", help="The new directory. Without it the backup is verified.")
@click.option("--node-id", metavar="NAME", help="Its name in revisions; drawn by default.")
@with_target(BACKUP)
def command(target: Target, to: str | None, node_id: str | None) -> None:
    """Make a new database in DIR from BACKUP, after reading and checking every byte of it.

    The copy is a node of its own. Exit code 6 if the backup is damaged; then nothing is restored.

    \b
    Examples:
      rango restore /mnt/disk/my-data.backup --to ./my-data
      rango restore /mnt/disk/my-data.backup            # only verify
    """
    with progress("verifying") as bar:
        if to is None:
            found = rango.verify_backup(target.path, progress=bar)
        else:
            secret = target.secret_of_backup()
            found = rango.restore(target.path, to=to, node_id=node_id, progress=bar, **secret)
    if target.as_json:
        print_object(found)
    elif to is None:
        click.echo(f"{target.path} is whole, up to commit {found['ordinal']}")
    else:
        click.echo(
            f"restored {found['documents']} documents of {found['collections']} collections "
            f"to {to}, node {found['node_id']}"
        )
