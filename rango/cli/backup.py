"""`rango backup`: a copy that is consistent, incremental and verified."""

from __future__ import annotations

import click

import rango
from rango.cli.output import print_object, progress, size_text
from rango.cli.session import PATH_ARGUMENT, Target, with_target


@click.command("backup")
@click.option("--to", required=True, metavar="BACKUP", help="The directory of the backup.")
@click.option("--verify", is_flag=True, help="Read the whole backup afterwards.")
@with_target(PATH_ARGUMENT)
def command(target: Target, to: str, verify: bool) -> None:
    """Back the database in DIR up to BACKUP, or bring the backup that is there up to date.

    Only what is new is copied. The backup is sealed as the database is, and opens with the same
    secrets. What was purged is not in it.

    \b
    Examples:
      rango backup ./my-data --to /mnt/disk/my-data.backup
      rango backup ./my-data --to /mnt/disk/my-data.backup --verify --json
    """
    with target.open() as db, progress("copying") as bar:
        done = db.backup(to, progress=bar)
    if verify:
        with progress("verifying") as bar:
            done["verified"] = rango.verify_backup(to, progress=bar)["bytes"]
    if target.as_json:
        print_object({"backup": to, **done})
        return
    click.echo(
        f"{to} holds everything up to commit {done['ordinal']}: {done['copied']} of "
        f"{done['segments']} segments were copied ({size_text(done['bytes_copied'])})"
    )
